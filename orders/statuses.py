"""The states of an order, the allowed moves between them, and the words for the outside.

A move is a conditional UPDATE (`orders/moves.py`): the row count says who won a race. Final states
never go back except by a logged correction.
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


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

# What the provider may be working on: these hold a link (orders/queueing.py).
RUNNING = frozenset({Status.SENDING, Status.UNCONFIRMED, Status.PROCESSING, Status.IN_PROGRESS})

_ENDS = {Status.COMPLETED, Status.PARTIAL, Status.CANCELLED, Status.REFUNDED, Status.FAILED}
MOVES: dict[Status, frozenset[Status]] = {
    # In progress at once: an order whose runs are sent in its place (orders/dripfeed.py).
    Status.PENDING: frozenset({Status.SENDING, Status.IN_PROGRESS, Status.CANCELLED}),
    # Back to pending: nothing was sent (connection refused), or the provider lacks our funds.
    Status.SENDING: frozenset(
        {Status.PENDING, Status.PROCESSING, Status.UNCONFIRMED, Status.FAILED}
    ),
    # Only staff, or proof, leave this state.
    Status.UNCONFIRMED: frozenset(
        {Status.PENDING, Status.PROCESSING, Status.CANCELLED, Status.FAILED}
    ),
    Status.PROCESSING: frozenset({Status.IN_PROGRESS, *_ENDS}),
    Status.IN_PROGRESS: frozenset(_ENDS),
    # The provider's late corrections: they pay back, and never take.
    Status.COMPLETED: frozenset({Status.PARTIAL, Status.REFUNDED}),
    Status.PARTIAL: frozenset({Status.REFUNDED}),
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
