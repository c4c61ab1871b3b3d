"""Orders in the admin."""

from orders.admin import readings as _readings
from orders.admin import refills as _refills
from orders.admin.orders import OrderAdmin

__all__ = ["OrderAdmin", "_readings", "_refills"]
