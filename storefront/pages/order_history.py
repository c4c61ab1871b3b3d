"""The history of an order in its customer's words: public facts only.

Who supplies it, which member of staff acted, their notes, and the states that are our own affair
never appear: nothing but the columns below is ever read from an event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.formatting import money, number, percent
from catalog.order_types import ServiceType
from orders.models import (
    CancelState,
    EventKind,
    EventSource,
    Order,
    OrderEvent,
    RefillState,
    SeriesState,
)
from orders.statuses import FINAL, PUBLIC, Status
from storefront.templatetags.store import language

_REACHED: Mapping[str, Promise] = {
    Status.PROCESSING: gettext_lazy("Passed on for delivery"),
    Status.IN_PROGRESS: gettext_lazy("Delivery has begun"),
    Status.COMPLETED: gettext_lazy("Delivered in full"),
    Status.PARTIAL: gettext_lazy("Delivered in part"),
    Status.CANCELLED: gettext_lazy("Cancelled"),
    Status.REFUNDED: gettext_lazy("Paid back"),
    Status.FAILED: gettext_lazy("It could not be delivered"),
}
_REFILL: Mapping[str, Promise] = {
    RefillState.COMPLETED: gettext_lazy("Refill completed"),
    RefillState.REJECTED: gettext_lazy("Refill rejected"),
}
_SERIES: Mapping[str, Promise] = {
    SeriesState.ACTIVE: gettext_lazy("Resumed"),
    SeriesState.PAUSED: gettext_lazy("Paused"),
    SeriesState.STOPPING: gettext_lazy("Stopped: nothing new begins"),
}


@dataclass(frozen=True)
class Told:
    """One line of the history. `by` and `details` may be empty."""

    at: datetime
    text: str
    by: str = ""
    details: str = ""
    # Of what it tells: a public status, or the kind of the event.
    about: str = ""


def told(order: Order, events: Sequence[OrderEvent]) -> list[Told]:
    """What happened, from first to last. `events` are the order's own, in order."""
    lines: list[Told] = []
    for event in events:
        if event.status and PUBLIC.get(event.status[1]) == Status.PENDING:
            # It came back unsent: nothing had been passed on.
            while lines and lines[-1].about == Status.PROCESSING:
                lines.pop()
            continue
        line = _line(order, event)
        if line is None:
            continue
        if line.about == EventKind.PROGRESS and lines and lines[-1].about == EventKind.PROGRESS:
            lines.pop()
        lines.append(line)
    return _from_before_there_was_a_history(order, events) + lines


def _line(order: Order, event: OrderEvent) -> Told | None:
    text, about = _text(order, event)
    if not text:
        return None
    return Told(event.at, text, _by(event), " ".join(_details(order, event)), about)


def _text(order: Order, event: OrderEvent) -> tuple[str, str]:
    """The line, and what it is about; "" where the event is not for customers."""
    if event.status:
        return _moved(*event.status)
    match event.kind:
        case EventKind.CREATED:
            return _("Ordered and paid"), EventKind.CREATED
        case EventKind.REFILL:
            return _asked(event, "refill", _("Refill asked for"), _REFILL), event.kind
        case EventKind.CANCEL:
            return _cancel(event), event.kind
        case EventKind.SERIES if "series" in event.changes:
            return _series(order, event), event.kind
        case EventKind.PROGRESS | EventKind.SERIES:
            return _progress(order, event)
        case _:
            return "", ""


def _moved(before: str, after: str) -> tuple[str, str]:
    public = PUBLIC.get(after)
    if public is None or public == PUBLIC.get(before):
        return "", ""
    reached = str(_REACHED[public])
    if before in FINAL:
        reached = _("Corrected: %(status)s") % {"status": reached}
    return reached, public


def _asked(event: OrderEvent, name: str, asked: str, ended: Mapping[str, Promise]) -> str:
    before, after = event.changes.get(name) or (None, None)
    if before is None:
        return asked
    return str(ended.get(str(after), ""))


def _cancel(event: OrderEvent) -> str:
    if event.source == EventSource.JOB and _before(event, "cancel") is None:
        # A subscription whose last day is over: nobody asked for that.
        return ""
    return _asked(
        event,
        "cancel",
        _("Cancelling was asked for"),
        {CancelState.REFUSED: gettext_lazy("It could not be cancelled any more")},
    )


def _series(order: Order, event: OrderEvent) -> str:
    after = str(_after(event, "series"))
    if after == SeriesState.STOPPING and order.type == ServiceType.SUBSCRIPTIONS:
        # Whether it can be stopped is not known yet; that it was asked for has its own line.
        return ""
    return str(_SERIES.get(after, ""))


def _progress(order: Order, event: OrderEvent) -> tuple[str, str]:
    if (posts := _after(event, "posts_served")) is not None:
        words = _("%(posts)s of %(total)s posts served") % {
            "posts": number(int(posts), language()),
            "total": number(order.subscription.posts, language()),
        }
        return words, EventKind.PROGRESS
    if (run := _after(event, "runs")) is not None:
        words = _("Run %(run)s of %(runs)s has begun") % {
            "run": number(int(run), language()),
            "runs": number(order.runs or int(run), language()),
        }
        return words, EventKind.PROGRESS
    if "refunded" in event.changes:
        return _("Part of it was paid back"), EventKind.SERIES
    if (remains := _after(event, "remains")) is not None:
        delivered = (order.quantity - int(remains)) * 100 // order.quantity
        shown = percent(max(delivered, 0), language())
        return _("%(percent)s delivered") % {"percent": shown}, EventKind.PROGRESS
    return "", ""


def _details(order: Order, event: OrderEvent) -> list[str]:
    details = []
    if event.status and event.status[1] == Status.PARTIAL:
        remains = _after(event, "remains")
        left = order.remains if remains is None else int(remains)
        if left is not None:
            details.append(
                _("%(delivered)s of %(quantity)s.")
                % {
                    "delivered": number(order.quantity - left, language()),
                    "quantity": number(order.quantity, language()),
                }
            )
    if "refunded" in event.changes:
        before, after = event.changes["refunded"]
        back = Decimal(after) - Decimal(before)
        details.append(
            _("%(amount)s went back to your wallet.")
            % {"amount": money(back, order.currency, language())}
        )
    return details


def _by(event: OrderEvent) -> str:
    match event.source:
        case EventSource.CUSTOMER:
            return _("by you")
        case EventSource.API if event.api_key is not None:
            return _("by the API key “%(name)s”") % {"name": event.api_key.name}
        case EventSource.API:
            return _("by an API key")
        case EventSource.STAFF if event.kind != EventKind.REFILL:
            return _("by our support")
        case _:
            return ""


def _before(event: OrderEvent, name: str) -> object:
    return (event.changes.get(name) or (None, None))[0]


def _after(event: OrderEvent, name: str) -> int | str | None:
    value: int | str | None = (event.changes.get(name) or (None, None))[1]
    return value


def _from_before_there_was_a_history(order: Order, events: Sequence[OrderEvent]) -> list[Told]:
    """What the columns of an order without a beginning tell."""
    if any(event.kind == EventKind.CREATED for event in events):
        return []
    lines = [Told(order.created_at, _("Ordered and paid"), about=EventKind.CREATED)]
    if any(event.status for event in events):
        return lines
    if order.sent_at:
        lines.append(Told(order.sent_at, str(_REACHED[Status.PROCESSING])))
    if order.is_final:
        ended = order.completed_at or order.status_changed_at
        lines.append(Told(ended, str(_REACHED[order.public_status])))
    return lines
