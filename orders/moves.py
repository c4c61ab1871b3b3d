"""Changing an order: the one conditional UPDATE, and the event that tells of it.

Whoever changes a status, or anything else that the history shows, does it here, so that no change
is without its line: who, when, and what stood there before. What the outside sees of it is told to
the customer's webhooks, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from accounts import webhooks
from accounts.models import ApiKey, User, WebhookType
from accounts.webhooks import Happened
from orders.models import EventKind, EventSource, Order, OrderEvent
from orders.statuses import FINAL, MOVES, PUBLIC, Status

NOTE_LIMIT = 500
# Columns whose changes the history shows; the rest is the machine's own book-keeping.
TOLD = frozenset(
    {
        "status",
        "external_id",
        "start_count",
        "remains",
        "refunded",
        "provider",
        "sent_service",
        "upstream_charge",
    }
)
# What webhooks tell of an order as it stood: all that the REST dialect shows and that changes.
_SNAPSHOT = ("status", "start_count", "remains", "refunded", "external_id", "completed_at")
# Of these also what stood there before.
_BEFORE = ("start_count", "remains", "refunded")


@dataclass(frozen=True)
class By:
    """Who makes a change."""

    source: EventSource
    actor: User | None = None
    api_key: ApiKey | None = None
    job: str = ""


JOB = By(EventSource.JOB)


def by_job(name: str) -> By:
    """A job of ours, by its name ("dispatch", "tracking")."""
    return By(EventSource.JOB, job=name)


def by_staff(actor: User) -> By:
    """A member of staff."""
    return By(EventSource.STAFF, actor=actor)


def by_customer(customer: User, api_key: ApiKey | None = None) -> By:
    """The customer on the website, or a program with the customer's key."""
    if api_key is not None:
        return By(EventSource.API, actor=customer, api_key=api_key)
    return By(EventSource.CUSTOMER, actor=customer)


class MoveNotAllowed(Exception):
    """The table has no such move: a mistake in our code, not in the world."""


def move(order: Order, to: Status, *, by: By = JOB, note: str = "", **changes: Any) -> bool:
    """Move the order from the status it was loaded with, set `changes` in the same UPDATE, and
    write the event of it, all or nothing.

    Returns False, and nothing has changed, when the order has left that status meanwhile, or
    when another dispatcher has claimed it since: a late answer must not meet a newer attempt.
    The object is brought up to date on success. `note` is for staff. Raises MoveNotAllowed.
    """
    origin = Status(order.status)
    _refuse(origin, to)
    before = _told(order, changes)
    with transaction.atomic():
        moved = Order.objects.filter(pk=order.pk, claim=order.claim, status=origin).update(
            **_with_status(to, changes)
        )
        if not moved:
            return False
        order.refresh_from_db(fields=["status", "status_changed_at", *_columns(changes)])
        differing = _differences(before, _told(order, changes))
        record(
            order,
            EventKind.MOVED,
            by=by,
            changes=differing,
            note=note or str(changes.get("failure", "")),
        )
        if PUBLIC[origin] != PUBLIC[to] and order.parent_id is None:
            previous = {name: differing[name][0] for name in _BEFORE if name in differing}
            webhooks.record([_updated(order, origin, previous)])
    return True


@transaction.atomic
def move_all(
    queryset: QuerySet[Order], origin: Status, to: Status, *, by: By = JOB, **changes: Any
) -> int:
    """Move every order of the queryset that still stands at `origin`, and set `changes`, in one
    UPDATE, with an event each; returns how many moved. Raises MoveNotAllowed.

    `changes` are columns that no webhook tells.
    """
    _refuse(origin, to)
    locking = queryset.filter(status=origin).order_by("pk").select_for_update(of=("self",))
    orders = list(locking.only("customer_id", "parent_id", *_SNAPSHOT))
    moving = [order.pk for order in orders]
    moved = Order.objects.filter(pk__in=moving).update(**_with_status(to, changes))
    OrderEvent.objects.bulk_create(
        OrderEvent(
            order_id=pk,
            kind=EventKind.MOVED,
            changes={"status": [origin.value, to.value]},
            **_author(by),
        )
        for pk in moving
    )
    if PUBLIC[origin] != PUBLIC[to]:
        for order in orders:
            order.status = to
        webhooks.record([_updated(order, origin) for order in orders if order.parent_id is None])
    return moved


def update(order: Order, *, kind: EventKind, by: By = JOB, note: str = "", **changes: Any) -> bool:
    """Set plain values of an order that keeps its status, with an event of what differs.

    Returns False, and nothing has changed, when the order has left the status it was loaded
    with. The object is brought up to date on success.
    """
    before = _told(order, changes)
    with transaction.atomic():
        if not Order.objects.filter(pk=order.pk, status=order.status).update(**changes):
            return False
        order.refresh_from_db(fields=list(_columns(changes)))
        if (differing := _differences(before, _told(order, changes))) or note:
            record(order, kind, by=by, changes=differing, note=note)
    return True


def record(
    order: Order,
    kind: EventKind,
    *,
    by: By = JOB,
    changes: Mapping[str, tuple[Any, Any]] | None = None,
    note: str = "",
) -> OrderEvent:
    """Write one line of history, in the caller's transaction. `note` is for staff only.

    That of an order's making is told to the customer's webhooks too; a run's is not.
    """
    if kind == EventKind.CREATED and order.parent_id is None:
        webhooks.record([_happened(WebhookType.ORDER_CREATED, order)])
    told = {name: [_plain(old), _plain(new)] for name, (old, new) in (changes or {}).items()}
    return OrderEvent.objects.create(
        order=order, kind=kind, changes=told, note=storable(note), **_author(by)
    )


def storable(text: str, *, limit: int = NOTE_LIMIT) -> str:
    """Words that may be a provider's, short enough, and without what no database takes."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")[:limit]


def _updated(order: Order, origin: Status, previous: Mapping[str, Any] | None = None) -> Happened:
    before = {"status": PUBLIC[origin], **(previous or {})}
    return _happened(WebhookType.ORDER_UPDATED, order, previous=before)


def _happened(
    webhook_type: WebhookType, order: Order, *, previous: Mapping[str, Any] | None = None
) -> Happened:
    facts = {
        "order": order.pk,
        **{name: _plain(getattr(order, name)) for name in _SNAPSHOT},
        "previous": {name: _plain(value) for name, value in (previous or {}).items()},
    }
    return Happened(order.customer_id, webhook_type, order.subject, facts)


def _refuse(origin: Status, to: Status) -> None:
    if to not in MOVES[origin]:
        raise MoveNotAllowed(f"{origin} → {to}")


def _with_status(to: Status, changes: Mapping[str, Any]) -> dict[str, Any]:
    # What has ended is asked about no more, unless the caller says when.
    ends = {"next_check_at": None} if to in FINAL else {}
    return {"status": to, "status_changed_at": Now(), **ends, **changes}


def _author(by: By) -> dict[str, Any]:
    return {"source": by.source, "actor": by.actor, "api_key": by.api_key, "job": by.job}


def _columns(changes: Iterable[str]) -> set[str]:
    return {name.removesuffix("_id") if name != "external_id" else name for name in changes}


def _told(order: Order, changes: Iterable[str]) -> dict[str, Any]:
    """The columns of the history that are being changed, as they stand on the object."""
    names = {"status", *_columns(changes)} & TOLD
    return {
        name: getattr(order, f"{name}_id" if name in ("provider", "sent_service") else name)
        for name in sorted(names)
    }


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (old, after[name]) for name, old in before.items() if old != after[name]}


def _plain(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, datetime) else value
