"""Time by the database's clock: several machines' own clocks may differ, leases must not."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import DateTimeField, ExpressionWrapper, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Now


def from_now(delay: timedelta) -> Combinable:
    """The moment `delay` after the statement runs."""
    return ExpressionWrapper(Now() + Value(delay), output_field=DateTimeField())
