"""Orders of which we do not know whether the provider has them, and the three ways out: it has
this one, it surely has not, or the customer is paid back. For staff, with a reason, and for
machines, with proof (orders/reconciliation.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count, Min, Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django_q.tasks import async_task

from accounts import ledger
from accounts.alerts import resolve
from accounts.clock import from_now
from accounts.models import User
from accounts.money import ZERO
from catalog.models import Provider
from orders.cancellations import ActionRefused
from orders.dispatch import FIRST_CHECK, is_provider_id
from orders.models import (
    EventKind,
    EventSource,
    Evidence,
    EvidenceKind,
    Order,
    OrderEvent,
    Verdict,
)
from orders.moves import By, by_job, by_staff, move, record, update
from orders.play import tell_staff
from orders.refunds import move_and_refund
from orders.statuses import FINAL, Status

# After this a lost call matters to no other order any more: nobody looks for it by ids.
REMEMBERED = timedelta(days=7)

JOB = by_job("reconciliation")


@dataclass(frozen=True)
class LostCall:
    """The last call that was to buy an order, by the database's clock."""

    first: datetime  # when the order's first call began
    began: datetime
    ended: datetime  # when it was given up; the provider may have taken the order until then


# --- staff ---------------------------------------------------------------------------------------


def mark_sent_as(order: Order, external_id: str, *, actor: User, reason: str) -> None:
    """Staff found the order at the provider: link it and follow it from now on.

    Raises ActionRefused, also when another order has this id.
    """
    _refuse_while_asked(order)
    link(order, external_id, by=by_staff(actor), note=_signed(actor, reason))


def send_again(order: Order, *, actor: User, reason: str) -> None:
    """Staff made sure that nothing was bought: back into the queue. Raises ActionRefused."""
    _refuse_while_asked(order)
    return_to_queue(order, by=by_staff(actor), note=_signed(actor, reason))


def _signed(actor: User, reason: str) -> str:
    return _("%(staff)s: %(reason)s") % {"staff": actor, "reason": reason}


def _refuse_while_asked(order: Order) -> None:
    """A call under the order's key may be buying it at this moment (orders/reconciliation.py)."""
    if order.is_being_asked_for:
        raise ActionRefused(
            _("The provider is being asked for this order right now. Try again in a minute.")
        )


# --- the ways out ---------------------------------------------------------------------------------


def link(order: Order, external_id: str, *, by: By, note: str = "") -> None:
    """The provider has the order under this id: link it and follow it from now on.

    `note` is for staff. Raises ActionRefused where the order is not unconfirmed (any more), the
    id cannot be one, or another order has it; then nothing has changed.
    """
    external_id = external_id.strip()
    if not is_provider_id(external_id):
        raise ActionRefused(_("Enter the provider's order id."))
    try:
        with transaction.atomic():
            _leave(
                order,
                Status.PROCESSING,
                by=by,
                note=note,
                external_id=external_id,
                sent_at=Now(),
                next_check_at=from_now(FIRST_CHECK),
            )
    except IntegrityError:
        raise ActionRefused(_("Another order has this provider's id.")) from None


def return_to_queue(order: Order, *, by: By, note: str) -> None:
    """The provider surely does not have the order: it is sent again.

    Raises ActionRefused where it is not unconfirmed (any more); then nothing has changed.
    """
    with transaction.atomic():
        _leave(
            order,
            Status.PENDING,
            by=by,
            note=note,
            claim=None,
            send_after=Now(),
            next_check_at=None,
        )
        async_task("orders.tasks.dispatch_provider", order.provider_id, q_options={"save": False})


def pay_back(order: Order, to: Status, *, by: By, reason: str) -> bool:
    """The provider surely does not have the order, and will not get it: end it and pay back all.

    Returns False, and nothing has changed, where it is not unconfirmed any more.
    """
    with transaction.atomic():
        paid = order.status == Status.UNCONFIRMED and move_and_refund(
            order,
            to,
            order.net_charge,
            by=by,
            reason=reason,
            completed_at=Now(),
            lease_until=None,
            failure=reason[:500],
        )
        if paid:
            resolve("order_unconfirmed", subject=order.subject)
    return paid


def found_after_refund(order: Order, external_id: str, *, by: By) -> bool:
    """The provider has an order after all that was paid back: link it, book what was paid back
    as our loss, and tell staff. No wallet moves.

    An order that was bought under another id too is only told. Returns whether it was linked;
    where not, staff have been told as well.
    """
    try:
        with transaction.atomic():
            # Two that find it at once: the second sees what the first has written.
            Order.objects.select_for_update(no_key=True).get(pk=order.pk)
            order.refresh_from_db()
            linked = (
                order.is_final
                and order.external_id is None
                and update(
                    order,
                    kind=EventKind.NOTE,
                    by=by,
                    note="Found at the provider after it was paid back.",
                    external_id=external_id,
                    sent_at=Now(),
                )
            )
            if linked and order.refunded > ZERO and not order.sandbox:
                ledger.write_off(
                    order.refunded,
                    currency=order.currency,
                    key=f"{order.subject}:loss",
                    subject=order.subject,
                    reason=f"Bought at {order.provider} as {external_id} after all.",
                )
    except IntegrityError:
        linked = False
    if linked:
        tell_staff(
            order,
            "order_found_after_refund",
            f"{order.provider} has it as {external_id}, and it was paid back. It is booked "
            "as a loss. Cancel it there if it can be.",
        )
    elif order.external_id != external_id:
        tell_staff(
            order,
            "order_bought_twice",
            f"{order.provider} has it as {external_id} too. Here it is {order.status}"
            + (f", as {order.external_id}." if order.external_id else "."),
        )
    return linked


def _leave(order: Order, to: Status, *, by: By, note: str, **changes: Any) -> None:
    if order.status != Status.UNCONFIRMED:
        raise ActionRefused(_("The order is not unconfirmed."))
    failure = note[:500] if by.source == EventSource.STAFF else ""
    with transaction.atomic():
        if not move(order, to, by=by, note=note, failure=failure, lease_until=None, **changes):
            raise ActionRefused(_("The order has changed meanwhile. Look at it again."))
        resolve("order_unconfirmed", subject=order.subject)


# --- how many, and what is known of them ---------------------------------------------------------


@dataclass(frozen=True)
class Ages:
    """How many orders are of unknown outcome, by how long already."""

    young: int  # less than a quarter of an hour: machines are at it
    middle: int  # less than an hour
    old: int
    oldest: datetime | None  # since when the oldest of them

    @property
    def number(self) -> int:
        """All of them."""
        return self.young + self.middle + self.old


def ages() -> Ages:
    """Count the unconfirmed orders by age, in one query, by the database's clock. Machines settle
    those of sandbox keys."""
    quarter, hour = from_now(-timedelta(minutes=15)), from_now(-timedelta(hours=1))
    counted = Order.objects.filter(status=Status.UNCONFIRMED, sandbox=False).aggregate(
        young=Count("pk", filter=Q(status_changed_at__gt=quarter)),
        middle=Count("pk", filter=Q(status_changed_at__lte=quarter, status_changed_at__gt=hour)),
        old=Count("pk", filter=Q(status_changed_at__lte=hour)),
        oldest=Min("status_changed_at"),
    )
    return Ages(**counted)


def queue() -> QuerySet[Order]:
    """All unconfirmed orders that staff may have to settle, the oldest first."""
    lost = Order.objects.filter(status=Status.UNCONFIRMED, sandbox=False)
    return lost.order_by("status_changed_at", "pk")


def note(
    order: Order, kind: EvidenceKind, verdict: Verdict, *, external_id: str = "", **details: Any
) -> None:
    """Keep what was found out about the order's last attempt.

    Where the same was found before, it is as of now; what is new stands in the history too.
    """
    evidence = Evidence.objects.filter(order=order, kind=kind, attempt=order.send_attempts)
    newest = evidence.first()
    if newest and (newest.verdict, newest.external_id) == (verdict, external_id):
        evidence.filter(pk=newest.pk).update(at=Now(), details=details)
        return
    with transaction.atomic():
        Evidence.objects.create(
            order=order,
            kind=kind,
            verdict=verdict,
            external_id=external_id,
            details=details,
            attempt=order.send_attempts,
        )
        before = newest.verdict if newest else None
        record(order, EventKind.EVIDENCE, by=JOB, changes={kind.value: (before, verdict.value)})


def known_of(orders: Collection[Order]) -> dict[int, dict[str, Evidence]]:
    """The newest evidence of each kind about each order's last attempt, in one query."""
    attempts = {order.pk: order.send_attempts for order in orders}
    known: dict[int, dict[str, Evidence]] = {pk: {} for pk in attempts}
    for each in Evidence.objects.filter(order__in=list(attempts)).order_by("pk"):
        if each.attempt == attempts[each.order_id]:
            known[each.order_id][each.kind] = each
    return known


def lost_calls(orders: Iterable[Order]) -> dict[int, LostCall]:
    """When the orders' last calls began and ended, from their history, in one query."""
    calls = {
        order.pk: {"created": order.created_at, "ended": order.status_changed_at}
        for order in orders
    }
    for event in _moves(calls):
        assert event.status is not None
        origin, to = event.status
        call = calls[event.order_id]
        if to == Status.SENDING:
            call.setdefault("first", event.at)
            call["began"] = event.at
            call.pop("lost", None)
        elif origin == Status.SENDING:
            call["lost"] = event.at
    return {
        pk: LostCall(
            first=call.get("first", call["created"]),
            # Without a line about it: not before it was ordered, not after it was given up.
            began=call.get("began", call["created"]),
            ended=call.get("lost", call["ended"]),
        )
        for pk, call in calls.items()
    }


def left_unknown(provider: Provider) -> list[tuple[Order, LostCall]]:
    """Orders that were of unknown outcome lately and left that state without being found, each
    with the call that was lost: one of the ids at the provider may be theirs."""
    lately = Order.objects.filter(
        provider=provider, evidence__at__gte=from_now(-REMEMBERED)
    ).exclude(status=Status.UNCONFIRMED)
    orders = {order.pk: order for order in lately.select_related("provider").distinct()}
    began: dict[int, datetime] = {}
    ended: dict[int, datetime] = {}
    lost: dict[int, LostCall] = {}
    for event in _moves(orders):
        assert event.status is not None
        pk, (origin, to) = event.order_id, event.status
        if to == Status.SENDING:
            began[pk] = event.at
        elif origin == Status.SENDING:
            ended[pk] = event.at
        elif origin == Status.UNCONFIRMED and to == Status.PROCESSING:
            lost.pop(pk, None)
        elif origin == Status.UNCONFIRMED:
            created = orders[pk].created_at
            start = began.get(pk, created)
            lost[pk] = LostCall(first=start, began=start, ended=ended.get(pk, event.at))
    return [
        (orders[pk], call)
        for pk, call in lost.items()
        # What was paid back and has an id was found after that.
        if not (orders[pk].status in FINAL and orders[pk].external_id and orders[pk].refunded)
    ]


def _moves(orders: Iterable[int]) -> list[OrderEvent]:
    events = OrderEvent.objects.filter(order__in=list(orders), kind=EventKind.MOVED).order_by("pk")
    return [event for event in events if event.status is not None]
