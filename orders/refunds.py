"""Paying back: the one way in which an order returns money to its wallet."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

from django.db import transaction

from accounts import ledger
from accounts.models import EntryKind, JournalEntry, User
from accounts.money import ZERO, round_down
from orders.models import Order
from orders.statuses import Status, move


def share_not_delivered(order: Order, remains: int) -> Decimal:
    """charge × remains / quantity, rounded down to a millionth (the order's currency)."""
    # Python's 28 digits would round the product of a large charge and a large quantity, up too.
    with localcontext(prec=60):
        return round_down(order.charge * remains / order.quantity)


@transaction.atomic
def move_and_refund(
    order: Order,
    to: Status,
    amount: Decimal,
    *,
    reason: str = "",
    actor: User | None = None,
    **changes: Any,
) -> bool:
    """Move the order and pay `amount` back, both or neither, and only if the order still stands
    where it was loaded. Never pays back more than is left of the charge.

    Returns False, and nothing has changed, when the order has left that status meanwhile.
    """
    amount = max(min(amount, order.charge - order.refunded), ZERO)
    if not move(order, to, refunded=order.refunded + amount, **changes):
        return False
    if amount:
        # The order's row is ours until commit, so the number is unique and without gaps.
        earlier = JournalEntry.objects.filter(subject=order.subject, kind=EntryKind.REFUND).count()
        ledger.refund(
            order.wallet,
            amount,
            key=f"{order.subject}:refund:{earlier + 1}",
            subject=order.subject,
            reason=reason,
            actor=actor,
        )
    return True
