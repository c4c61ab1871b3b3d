"""Ending an order before it is delivered, by staff."""

from __future__ import annotations

from django.db.models.functions import Now
from django.utils.translation import gettext as _

from accounts.alerts import resolve
from accounts.models import User
from orders.models import Order
from orders.refunds import move_and_refund
from orders.statuses import MOVES, Status


class ActionRefused(Exception):
    """The order's state does not allow this; the text tells staff why. Nothing has changed."""


def cancel_and_refund(order: Order, *, actor: User, reason: str) -> None:
    """Cancel an order and pay back all that is left of its charge.

    The provider is not told: what it has bought from us there stays bought. Raises ActionRefused.
    """
    if order.status == Status.SENDING:
        raise ActionRefused(_("The order is being sent right now. Try again in a minute."))
    if Status.CANCELLED not in MOVES[Status(order.status)]:
        raise ActionRefused(_("The order has ended already."))
    left = order.charge - order.refunded
    if not move_and_refund(
        order, Status.CANCELLED, left, reason=reason, actor=actor, completed_at=Now()
    ):
        raise ActionRefused(_("The order has changed meanwhile. Look at it again."))
    resolve("order_unconfirmed", subject=order.subject)
