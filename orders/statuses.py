"""The states of an order, the allowed moves between them, and the words for the outside.

A move is a conditional UPDATE (`move`): the row count says who won a race. Final states never go
back except by a logged correction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from orders.models import Order


class Status(models.TextChoices):
    """Where an order stands, as we know it."""

    PENDING = "pending", _("Pending")  # charged, waiting to be sent
    SENDING = "sending", _("Being sent")  # claimed: a call to the provider may be under way
    UNCONFIRMED = "unconfirmed", _("Unconfirmed")  # the call's outcome is not known
    PROCESSING = "processing", _("Processing")  # the provider has it and has not begun
    IN_PROGRESS = "in_progress", _("In progress")
    COMPLETED = "completed", _("Completed")
    PARTIAL = "partial", _("Partial")
    CANCELLED = "cancelled", _("Cancelled")
    REFUNDED = "refunded", _("Refunded")
    FAILED = "failed", _("Failed")


FINAL = frozenset(
    {Status.COMPLETED, Status.PARTIAL, Status.CANCELLED, Status.REFUNDED, Status.FAILED}
)
# What the tracker asks the provider about.
TRACKED = frozenset({Status.PROCESSING, Status.IN_PROGRESS})

_ENDS = {Status.COMPLETED, Status.PARTIAL, Status.CANCELLED, Status.REFUNDED, Status.FAILED}
MOVES: dict[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.SENDING, Status.CANCELLED}),
    # Back to pending: nothing was sent (connection refused), or the provider lacks our funds.
    Status.SENDING: frozenset(
        {Status.PENDING, Status.PROCESSING, Status.UNCONFIRMED, Status.FAILED}
    ),
    # Only staff, or proof, leave this state.
    Status.UNCONFIRMED: frozenset({Status.PENDING, Status.PROCESSING, Status.CANCELLED}),
    Status.PROCESSING: frozenset({Status.IN_PROGRESS, *_ENDS}),
    Status.IN_PROGRESS: frozenset(_ENDS),
    Status.COMPLETED: frozenset(),
    Status.PARTIAL: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.REFUNDED: frozenset(),
    Status.FAILED: frozenset(),
}

# What the outside is told: a provider's lost reply is our affair, the customer sees "processing".
PUBLIC: dict[str, Status] = {
    status: Status.PROCESSING if status in (Status.SENDING, Status.UNCONFIRMED) else status
    for status in Status
}
PUBLIC_STATUSES = tuple(dict.fromkeys(PUBLIC.values()))


def behind(public: str) -> list[Status]:
    """The states that the outside sees as this public one (for filters)."""
    return [status for status in Status if PUBLIC[status] == public]


class MoveNotAllowed(Exception):
    """The table has no such move: a mistake in our code, not in the world."""


def move_all(queryset: QuerySet[Order], origin: Status, to: Status, **changes: Any) -> int:
    """Move every order of the queryset that still stands at `origin`, and set `changes`, in one
    UPDATE; returns how many moved. Raises MoveNotAllowed."""
    if to not in MOVES[origin]:
        raise MoveNotAllowed(f"{origin} → {to}")
    return queryset.filter(status=origin).update(status=to, status_changed_at=Now(), **changes)


def move(order: Order, to: Status, **changes: Any) -> bool:
    """Move the order from the status it was loaded with, and set `changes` in the same UPDATE.

    Returns False, and nothing has changed, when the order has left that status meanwhile, or
    when another dispatcher has claimed it since: a late answer must not meet a newer attempt.
    The object is brought up to date on success. Raises MoveNotAllowed.
    """
    queryset = type(order).objects.filter(pk=order.pk, claim=order.claim)
    if not move_all(queryset, Status(order.status), to, **changes):
        return False
    order.refresh_from_db(fields=["status", "status_changed_at", *changes])
    return True
