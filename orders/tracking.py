"""Following orders at their providers: ask in batches, apply each report once.

A check is claimed by pushing its next time forward before the call, so that two trackers share
the work and a crash costs one interval, not an order. A value that cannot be read changes
nothing. An order that has ended is looked at again a few times: what the provider takes back
later is paid back, and nothing is ever taken from the customer.

`remains` follows the provider, within 0..quantity: what would be paid back is what is shown.
Providers' counters flutter, so under way a rise by less than a tenth of the quantity is passed
over; one by more is the provider's word, and stands in the history.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import (
    Case,
    DateTimeField,
    ExpressionWrapper,
    F,
    QuerySet,
    Value,
    When,
)
from django.db.models.functions import Now
from django.utils import timezone

from accounts.alerts import alert, close, resolve
from accounts.clock import from_now
from accounts.models import Alert
from catalog.health import guarded
from catalog.models import Breaker, Provider
from catalog.order_types import ServiceType
from catalog.providers import (
    ProviderBusy,
    ProviderClient,
    ProviderError,
    ProviderRefused,
    ProviderUnreachable,
    UpstreamState,
    UpstreamStatus,
)
from orders import dripfeed, subscriptions
from orders.models import EventKind, Order, OrderEvent
from orders.moves import by_job, move, record, update
from orders.play import tell_staff
from orders.refunds import move_and_refund, share_not_delivered
from orders.statuses import FINAL, TRACKED, Status

log = structlog.get_logger(__name__)

BATCH = 100
# No new call is begun after this: the job must end before the queue's time-out takes it.
BUDGET_SECONDS = 60
# Young orders change often and their buyers are watching; old ones rarely do either.
INTERVALS = (
    (timedelta(minutes=10), timedelta(seconds=10)),
    (timedelta(hours=2), timedelta(minutes=1)),
    (timedelta(days=1), timedelta(minutes=5)),
)
LONGEST_INTERVAL = timedelta(minutes=30)
# When an order is looked at again after its end.
CORRECTABLE = frozenset({Status.COMPLETED, Status.PARTIAL})
LOOKS_AGAIN = (
    timedelta(hours=1),
    timedelta(hours=6),
    timedelta(days=1),
    timedelta(days=3),
    timedelta(days=7),
)
# After a call that was turned away unread, or that could not be made.
BUSY_PAUSE = timedelta(seconds=10)
AWAY_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(minutes=30)
PARTS = 10  # progress is told at each tenth

_JOB = by_job("tracking")
_UNDER_WAY = {
    UpstreamState.PENDING: Status.PROCESSING,
    UpstreamState.PROCESSING: Status.PROCESSING,
    UpstreamState.IN_PROGRESS: Status.IN_PROGRESS,
}
_ENDED = {
    UpstreamState.COMPLETED: Status.COMPLETED,
    UpstreamState.PARTIAL: Status.PARTIAL,
    UpstreamState.CANCELLED: Status.CANCELLED,
    UpstreamState.REFUNDED: Status.REFUNDED,
    UpstreamState.FAILED: Status.FAILED,
}
# Of a single order; over when it ends.
_ALERTS = ("status_unknown", "partial_without_remains", "order_stalled")
_CHARGE_STEP = Decimal(1).scaleb(-10)
_LARGEST_CHARGE = Decimal(2**63 - 1).scaleb(-10)


def poll(provider: Provider) -> int:
    """Ask the provider about its due orders, at most 100 a call; returns the reports applied.

    Those under way first, the longest overdue before the others; then those that have ended.
    Safe to run twice and at the same time as itself. Makes its calls outside any transaction.
    """
    client = guarded(provider)
    applied = 0
    until = time.monotonic() + BUDGET_SECONDS
    for claim in (claim_due, claim_due_again):
        more = True
        while more and time.monotonic() < until:
            orders = claim(provider)
            if not orders:
                break
            more = len(orders) == BATCH
            reports = _ask(provider, client, orders, until=until)
            if reports is None:
                return applied
            applied += _apply_all(orders, reports)
    _close_alerts_of_ended()
    return applied


def due() -> QuerySet[Order]:
    """Orders under way whose next check has come."""
    return Order.objects.filter(status__in=sorted(TRACKED), next_check_at__lte=Now())


def due_again() -> QuerySet[Order]:
    """Orders that have ended and are to be looked at again."""
    return Order.objects.filter(status__in=sorted(CORRECTABLE), next_check_at__lte=Now())


def claim_due(provider: Provider) -> list[Order]:
    """The provider's longest-waiting due orders, their next check already set."""
    by_age = (
        When(sent_at__gt=from_now(-age), then=from_now(interval)) for age, interval in INTERVALS
    )
    return _claim(
        due().filter(provider=provider), Case(*by_age, default=from_now(LONGEST_INTERVAL))
    )


def claim_due_again(provider: Provider) -> list[Order]:
    """The same of those that have ended; after the last look there is none."""
    steps = (
        When(
            completed_at__gt=from_now(-step),
            then=ExpressionWrapper(F("completed_at") + Value(step), DateTimeField()),
        )
        for step in LOOKS_AGAIN
    )
    last = Value(None, DateTimeField())
    return _claim(due_again().filter(provider=provider), Case(*steps, default=last))


@transaction.atomic
def _claim(waiting: QuerySet[Order], next_check: Case) -> list[Order]:
    claimed = list(
        waiting.order_by("next_check_at")
        .select_for_update(skip_locked=True, no_key=True)
        .values_list("pk", flat=True)[:BATCH]
    )
    if not claimed:
        return []
    Order.objects.filter(pk__in=claimed).update(next_check_at=next_check)
    return list(Order.objects.filter(pk__in=claimed).select_related("wallet"))


# --- asking --------------------------------------------------------------------------------------


def _ask(
    provider: Provider, client: ProviderClient, orders: Sequence[Order], *, until: float
) -> dict[str, UpstreamStatus] | None:
    """The provider's reports on these orders; None where it must not be asked on now."""
    subject = f"provider:{provider.pk}"
    try:
        reports = _reports(client, [str(order.external_id) for order in orders], until=until)
    except ProviderBusy as busy:
        pause = max(timedelta(seconds=busy.retry_after or 0), BUSY_PAUSE)
        _ask_again_after(min(pause, LONGEST_PAUSE), orders)
        return None
    except ProviderError as error:
        if isinstance(error, ProviderUnreachable):
            _ask_again_after(AWAY_PAUSE, orders)
        # Where calls are held back on purpose, staff know already.
        if provider.breaker == Breaker.CLOSED and not provider.maintenance:
            alert("provider_status_failed", subject=subject, message=f"{provider}: {error}")
        return None
    resolve("provider_status_failed", subject=subject)
    return reports


def _ask_again_after(pause: timedelta, orders: Sequence[Order]) -> None:
    """Nobody has been asked: the old do not wait for their long interval."""
    asked_for = Order.objects.filter(pk__in=[order.pk for order in orders])
    asked_for.filter(next_check_at__gt=from_now(pause)).update(next_check_at=from_now(pause))


def _reports(
    client: ProviderClient, external_ids: list[str], *, until: float
) -> dict[str, UpstreamStatus]:
    """One call; where a provider refuses all for the sake of one, the halves are asked, as long
    as one of two is answered."""
    try:
        return client.statuses(external_ids)
    except ProviderRefused:
        if len(external_ids) == 1:
            raise
    half = len(external_ids) // 2
    found: dict[str, UpstreamStatus] = {}
    refusals: list[ProviderRefused] = []
    for part in (external_ids[:half], external_ids[half:]):
        if time.monotonic() > until:
            break
        try:
            found |= client.statuses(part)
        except ProviderRefused as refusal:
            refusals.append(refusal)
            refused = part
    if len(refusals) == 2:
        raise refusals[0]
    if refusals and len(refused) > 1 and time.monotonic() < until:
        found |= _reports(client, refused, until=until)
    return found


# --- applying ------------------------------------------------------------------------------------


def apply(order: Order, report: UpstreamStatus) -> bool:
    """Bring the order to what the provider reports, with the money that goes with it.

    Exactly once: a repeated, late or unreadable report changes nothing. Returns whether the
    order's status changed.
    """
    if report.state is None:
        tell_staff(
            order,
            "status_unknown",
            f"The provider says “{report.word}”, which is no status that we know.",
        )
        return False
    if order.type == ServiceType.SUBSCRIPTIONS:
        return subscriptions.apply(order, report)
    if order.status in FINAL:
        return _correct(order, report, report.state)
    if order.status not in TRACKED:
        return False
    if report.state in _UNDER_WAY:
        return _apply_under_way(order, report, _UNDER_WAY[report.state])
    return _apply_end(order, report, _ENDED[report.state])


def storable_charge(report: UpstreamStatus) -> Decimal | None:
    """What the provider took (its currency), as the column keeps it; None: not told, or absurd."""
    if report.charge is None or not 0 <= report.charge <= _LARGEST_CHARGE:
        return None
    return report.charge.quantize(_CHARGE_STEP, ROUND_HALF_EVEN)


def _apply_under_way(order: Order, report: UpstreamStatus, to: Status) -> bool:
    changes = {
        name: value for name, value in _told(order, report).items() if getattr(order, name) != value
    }
    if "remains" in changes and _is_flutter(order, changes["remains"]):
        del changes["remains"]
    # An order never goes back from "in progress" to "processing" for a provider's flapping word.
    starts = to != order.status and order.status == Status.PROCESSING
    if not changes and not starts:
        return False
    before = order.remains
    after = changes.get("remains", before)
    if starts or _delivered(order, after) > _delivered(order, before):
        changes["progress_at"] = Now()
    with transaction.atomic():
        if starts:
            moved = move(order, to, by=_JOB, started_at=Now(), **changes)
        else:
            moved = False
            if not _keep_progress(order, changes, before, after):
                return False
        _follow_run(order)
    return moved


def _keep_progress(
    order: Order, changes: dict[str, Any], before: int | None, after: int | None
) -> bool:
    """Set what was told; each tenth of the way has its line of history, ten lines at most."""
    tenth = PARTS * _delivered(order, after) // order.quantity
    is_told = tenth != PARTS * _delivered(order, before) // order.quantity and (
        OrderEvent.objects.filter(order=order, kind=EventKind.PROGRESS).count() < PARTS
    )
    if is_told:
        return update(order, kind=EventKind.PROGRESS, by=_JOB, **changes)
    kept = Order.objects.filter(pk=order.pk, status=order.status).update(**changes)
    if kept:
        order.refresh_from_db(fields=list(changes))
    return bool(kept)


def _apply_end(order: Order, report: UpstreamStatus, to: Status) -> bool:
    told = _told(order, report)
    ended: dict[str, Any] = {"by": _JOB, "completed_at": Now()}
    with transaction.atomic():
        if to is Status.COMPLETED:
            moved = move(
                order, to, next_check_at=from_now(LOOKS_AGAIN[0]), **{**told, "remains": 0}, **ended
            )
        elif to is not Status.PARTIAL:
            moved = move_and_refund(order, to, order.charge, **told, **ended)
        elif "remains" not in told:
            # How much to pay back is not known, and guessing costs somebody money: what an
            # earlier report said remained may have been delivered since.
            _tell_without_remains(order)
            return False
        else:
            moved = move_and_refund(
                order,
                to,
                share_not_delivered(order, told["remains"]),
                next_check_at=from_now(LOOKS_AGAIN[0]),
                **told,
                **ended,
            )
        if moved:
            _follow_run(order)
            close(Alert.objects.filter(code__in=_ALERTS, subject=order.subject))
    return moved


def _correct(order: Order, report: UpstreamStatus, state: UpstreamState) -> bool:
    """What the provider says of an order that has ended otherwise by our books: what it takes
    back is paid back; what it delivered after all is for staff to know."""
    if order.status not in CORRECTABLE or state in _UNDER_WAY:
        return False
    told = _told(order, report)
    word = _ENDED[state]
    if word is Status.PARTIAL and "remains" not in told:
        _tell_without_remains(order)
        return False
    remains = told.get("remains", 0)
    if word in (Status.CANCELLED, Status.REFUNDED, Status.FAILED):
        to, amount = Status.REFUNDED, order.charge - order.refunded
    elif word is Status.PARTIAL and order.status == Status.COMPLETED:
        if not remains:
            return False
        to, amount = Status.PARTIAL, share_not_delivered(order, remains)
    else:
        left = 0 if word is Status.COMPLETED else remains
        if order.status == Status.PARTIAL and left != order.remains:
            _tell_staff_once(order, f"ended as partial with {order.remains} remaining", report)
        return False
    was = Status(order.status)
    with transaction.atomic():
        if not move_and_refund(
            order,
            to,
            amount,
            by=_JOB,
            reason=f"correction: the provider says “{report.word}” after {was.value}",
            # REFUNDED is the last word; a partial order is looked at as before.
            next_check_at=None if to is Status.REFUNDED else order.next_check_at,
            **told,
        ):
            return False
        if to is Status.REFUNDED:
            _end_refill(order)
        _follow_run(order)
        tell_staff(
            order,
            "order_corrected",
            f"It was {was.value}, and the provider now says “{report.word}”:"
            f" {order.refunded} {order.currency} of {order.charge} are paid back.",
        )
    return True


def _end_refill(order: Order) -> None:
    from orders import refills  # it imports a module that imports this one

    refills.end_of_paid_back(order)


def _tell_staff_once(order: Order, ours: str, report: UpstreamStatus) -> None:
    """Nothing is taken from a customer by machine: noted, once for each thing said."""
    note = f"The provider says “{report.word}”, remains {report.remains}; it {ours}."
    if OrderEvent.objects.filter(order=order, kind=EventKind.NOTE, note=note).exists():
        return
    with transaction.atomic():
        record(order, EventKind.NOTE, by=_JOB, note=note)
        tell_staff(order, "order_corrected", f"{note} Nothing was changed.")


def _tell_without_remains(order: Order) -> None:
    tell_staff(
        order,
        "partial_without_remains",
        "The provider says Partial and does not tell how much remains.",
    )


def _told(order: Order, report: UpstreamStatus) -> dict[str, Any]:
    """What the report tells of delivery: clamped, and only what could be read."""
    told: dict[str, Any] = {}
    if report.start_count is not None and 0 <= report.start_count < 2**63:
        told["start_count"] = report.start_count
    if report.remains is not None:
        told["remains"] = min(max(report.remains, 0), order.quantity)
    if (charge := storable_charge(report)) is not None:
        told["upstream_charge"] = charge
    return told


def _is_flutter(order: Order, remains: int) -> bool:
    """Whether this is a small rise of what remains of an order that is being delivered."""
    if order.status != Status.IN_PROGRESS or order.remains is None:
        return False
    return 0 < (remains - order.remains) * PARTS < order.quantity


def _delivered(order: Order, remains: int | None) -> int:
    return 0 if remains is None else order.quantity - remains


def _follow_run(order: Order) -> None:
    if order.parent_id is not None:
        dripfeed.follow(order.parent_id)


def _apply_all(orders: list[Order], reports: Mapping[str, UpstreamStatus]) -> int:
    reported = [order for order in orders if order.external_id in reports]
    Order.objects.filter(pk__in=[order.pk for order in reported]).update(last_checked_at=Now())
    applied = sum(_applied(order, reports[str(order.external_id)]) for order in reported)
    _tell_stalled(orders)
    return applied


def _applied(order: Order, report: UpstreamStatus) -> bool:
    """Apply one report; a fault in it costs this order its turn, and the others nothing."""
    try:
        apply(order, report)
    except Exception:
        log.exception("tracking.not_applied", order=order.pk)
        return False
    return True


# --- orders that stand still ---------------------------------------------------------------------


def _tell_stalled(orders: Sequence[Order]) -> None:
    """Flag, once, those that have stood still for too long; unflag those that go on."""
    before = timezone.now() - timedelta(hours=settings.STALLED_AFTER_HOURS)
    still = {
        order.subject: order
        for order in orders
        if order.status in TRACKED and (since := _last_sign(order)) and since < before
    }
    flagged = set(
        Alert.objects.filter(
            code="order_stalled",
            subject__in=[order.subject for order in orders],
            resolved_at=None,
        ).values_list("subject", flat=True)
    )
    for subject in still.keys() - flagged:
        since = f"{_last_sign(still[subject]):%Y-%m-%d %H:%M}"
        tell_staff(still[subject], "order_stalled", f"No progress since {since} UTC.")
    if over := flagged - still.keys():
        close(Alert.objects.filter(code="order_stalled", subject__in=over))


def _last_sign(order: Order) -> Any:
    return order.progress_at or order.started_at or order.sent_at


def _close_alerts_of_ended() -> None:
    """Orders that staff ended are asked about no more, and their flags would stay for ever."""
    open_ = Alert.objects.filter(code="order_stalled", resolved_at=None)
    ids = [int(subject.partition(":")[2]) for subject in open_.values_list("subject", flat=True)]
    if not ids:
        return
    ended = Order.objects.filter(pk__in=ids, status__in=sorted(FINAL)).values_list("pk", flat=True)
    if subjects := [f"order:{pk}" for pk in ended]:
        close(open_.filter(subject__in=subjects))
