"""Paying back: the one way in which an order returns money to its wallet."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

from django.db import transaction

from accounts import ledger
from accounts.models import EntryKind, JournalEntry
from accounts.money import ZERO, round_down
from catalog.order_types import ServiceType
from orders.models import EventKind, EventSource, Order, Subscription
from orders.moves import JOB, By, move, update
from orders.play import account_of
from orders.statuses import Status


def share_not_delivered(order: Order, remains: int) -> Decimal:
    """charge × remains / quantity, rounded down to a millionth (the order's currency)."""
    # Python's 28 digits would round the product of a large charge and a large quantity, up too.
    with localcontext(prec=60):
        return round_down(order.charge * remains / order.quantity)


def left(order: Order) -> Decimal:
    """What of the charge can still be paid back: of a subscription, what is in its reserve, from
    which nothing more is served until the caller's transaction ends."""
    left = order.charge - order.refunded
    if order.type == ServiceType.SUBSCRIPTIONS:
        Order.objects.select_for_update(no_key=True).get(pk=order.pk)
        served = Subscription.objects.filter(order=order).values_list("served", flat=True).first()
        left -= served or ZERO
    return left


@transaction.atomic
def move_and_refund(
    order: Order,
    to: Status,
    amount: Decimal,
    *,
    by: By = JOB,
    reason: str = "",
    **changes: Any,
) -> bool:
    """Move the order and pay `amount` back, both or neither, and only if the order still stands
    where it was loaded. Never pays back more than is left of the charge.

    Returns False, and nothing has changed, when the order has left that status meanwhile.
    `reason` stands in the ledger and, for staff, in the history.
    """
    amount = max(min(amount, left(order)), ZERO)
    if not move(order, to, by=by, note=reason, refunded=order.refunded + amount, **changes):
        return False
    _pay(order, amount, by=by, reason=reason)
    return True


@transaction.atomic
def pay_back(order: Order, amount: Decimal, *, by: By = JOB, reason: str = "") -> bool:
    """Pay `amount` back for an order that keeps its status (the runs of a drip-feed that will
    never be). As `move_and_refund` otherwise."""
    amount = max(min(amount, left(order)), ZERO)
    if not update(
        order, kind=EventKind.SERIES, by=by, note=reason, refunded=order.refunded + amount
    ):
        return False
    _pay(order, amount, by=by, reason=reason)
    return True


def _pay(order: Order, amount: Decimal, *, by: By, reason: str) -> None:
    """Post a refund that stands on the order's row already. That row is locked by its update, so
    the entry's number is unique and without gaps.

    A run was charged with its drip-feed, and is paid back through it: run first, then parent,
    in every transaction that takes both.
    """
    if not amount:
        return
    paid = order
    if order.parent_id is not None:
        paid = Order.objects.select_for_update(no_key=True).get(pk=order.parent_id)
        update(
            paid,
            kind=EventKind.SERIES,
            by=by,
            note=f"run {order.run}: {reason}".strip(": "),
            refunded=paid.refunded + amount,
        )
    earlier = JournalEntry.objects.filter(subject=paid.subject, kind=EntryKind.REFUND).count()
    ledger.refund(
        order.wallet,
        amount,
        key=f"{paid.subject}:refund:{earlier + 1}",
        subject=paid.subject,
        reason=reason,
        actor=by.actor if by.source == EventSource.STAFF else None,
        account=account_of(paid),
    )
