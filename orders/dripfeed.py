"""Drip-feeds on our own schedule: each run is an order of its own towards the provider.

The order that the customer gave is charged in full and never sent. Each run is made when it is
due, in the transaction that sets the time of the next one, and is handed over, followed and, where
it fails, paid back like any other order, its money through its parent. Times are the database's.

Rows are locked in one order: the schedule, then runs, then the parent, then wallets.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from enum import StrEnum
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Case, Exists, F, Min, OuterRef, Q, QuerySet, Sum, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Now
from django_q.tasks import async_task

from accounts.alerts import alert, resolve
from accounts.clock import from_now
from accounts.money import round_down
from orders.models import DripFeed, EventKind, Order, SeriesState
from orders.moves import By, by_job, move, record, update
from orders.play import tell_staff
from orders.refunds import move_and_refund, pay_back
from orders.statuses import FINAL, RUNNING, Status

log = structlog.get_logger(__name__)

# Drip-feeds looked at in one go; the next tick takes the rest.
BATCH = 500
# So many runs in a row that came to nothing: staff have a look before more do.
FAILURES_IN_A_ROW = 3
# A run that waits to be sent is looked at again after this, or after the interval if shorter.
WAITING_RUN = timedelta(minutes=5)

_FAILED = frozenset({Status.CANCELLED, Status.REFUNDED, Status.FAILED})
# Of a run that is neither of these, what is missing is known or will be paid back.
_DELIVERING = sorted({Status.PARTIAL, *RUNNING})
_JOB = by_job("dripfeed")


class SeriesRefusal(StrEnum):
    """Why a drip-feed or a subscription cannot be paused, resumed or stopped."""

    NO_SERIES = "no_series"  # it is no drip-feed of ours, and no subscription
    ENDED = "ended"
    STOPPING = "stopping"
    PAUSED = "paused"
    NOT_PAUSED = "not_paused"
    NO_RUN_LEFT = "no_run_left"
    NOT_OFFERED = "not_offered"  # the provider takes nothing back


class SeriesRefused(Exception):
    """The drip-feed or subscription does not allow this; `reason` says why. Nothing has
    changed."""

    def __init__(self, reason: SeriesRefusal) -> None:
        super().__init__(reason.value)
        self.reason = reason


def open(order: Order) -> DripFeed:  # noqa: A001
    """Make the schedule of a charged drip-feed order, whose first run is due at once.

    Belongs into the transaction that makes the order; the caller wakes `orders.tasks.tick`. The
    order itself is taken from the dispatcher's queue.
    """
    assert order.runs
    assert order.interval
    order.send_after = None
    order.save(update_fields=["send_after"])
    return DripFeed.objects.create(
        order=order,
        runs=order.runs,
        quantity=order.quantity_per_run,
        interval=order.interval,
        next_run_at=Now(),
    )


# --- runs ----------------------------------------------------------------------------------------


def due() -> QuerySet[DripFeed]:
    """Drip-feeds whose next run has come."""
    return DripFeed.objects.filter(state=SeriesState.ACTIVE, next_run_at__lte=Now())


def run_due() -> int:
    """Begin the runs that are due, one per drip-feed; returns how many.

    Missed times are not made up for: the next run is an interval after this one. Safe to run
    twice, at the same time as itself, and to be killed anywhere.
    """
    waiting = list(due().order_by("next_run_at").values_list("pk", flat=True)[:BATCH])
    return sum(_attempted(_begin, pk) for pk in waiting)


@transaction.atomic
def _begin(pk: int) -> bool:
    """The run, its job and the time of the next one, all or nothing."""
    feed = (
        due()
        .filter(pk=pk)
        .annotate(now=Now())
        .select_for_update(no_key=True, skip_locked=True)
        .first()
    )
    if feed is None:
        return False
    if feed.runs_made == feed.runs:
        _set(feed, next_run_at=None)
        return False
    if _keeps_failing(feed):
        _pause_failing(feed)
        return False
    if (postponed := _must_wait(feed)) is not None:
        _set(feed, next_run_at=postponed)
        return False
    # Stopped or cancelled by other means: whoever ended the order ended its runs.
    parent = _locked_order(feed)
    if parent.is_final:
        _set(feed, state=SeriesState.ENDED, next_run_at=None)
        return False
    number = feed.runs_made + 1
    run = _make_run(parent, feed, number)
    last = number == feed.runs
    _set(
        feed,
        runs_made=number,
        next_run_at=None if last else from_now(timedelta(minutes=feed.interval)),
    )
    if parent.status == Status.PENDING:
        move(parent, Status.IN_PROGRESS, by=_JOB)
    record(parent, EventKind.SERIES, by=_JOB, changes={"runs": (number - 1, number)})
    async_task("orders.tasks.dispatch_provider", run.provider_id, q_options={"save": False})
    return True


def _make_run(parent: Order, feed: DripFeed, number: int) -> Order:
    run = Order.objects.create(
        parent=parent,
        run=number,
        customer_id=parent.customer_id,
        wallet_id=parent.wallet_id,
        service_id=parent.service_id,
        provider_id=parent.provider_id,
        type=parent.type,
        link=parent.link,
        link_key=parent.link_key,
        quantity=feed.quantity,
        fields=parent.fields,
        source=parent.source,
        sandbox=parent.sandbox,
        api_key_id=parent.api_key_id,
        fingerprint=parent.fingerprint,
        currency=parent.currency,
        charge=_charge_of(feed.runs, number, parent.charge),
        rate=parent.rate,
        provider_rate=parent.provider_rate,
        exchange_rate=parent.exchange_rate,
    )
    record(run, EventKind.CREATED, by=_JOB)
    return run


def _charge_of(runs: int, number: int, charge: Decimal) -> Decimal:
    """One run's part. The differences of rounded sums: together they are exactly the charge, by
    whatever it is divided."""
    with localcontext(prec=60):
        before, after = (round_down(charge * count / runs) for count in (number - 1, number))
        return after - before


def _must_wait(feed: DripFeed) -> datetime | Combinable | None:
    """When to look again, where the run before is not long enough ago: it waits to be sent
    (provider away, link taken), or was sent late. So an outage is followed by one run an
    interval, and never by all that were missed. None: the next run may begin."""
    interval = timedelta(minutes=feed.interval)
    last = Order.objects.filter(parent=feed.order_id).order_by("-run").first()
    if last is None:
        return None
    if last.status in (Status.PENDING, Status.SENDING):
        return from_now(min(interval, WAITING_RUN))
    # A run is sent some seconds after it was made: not every one is to be later for that.
    if last.sent_at is not None and last.sent_at + interval * 0.9 > _now(feed):
        return last.sent_at + interval
    return None


def _keeps_failing(feed: DripFeed) -> bool:
    ended = Order.objects.filter(
        parent=feed.order_id, run__gt=feed.forgiven, status__in=sorted(FINAL)
    )
    latest = ended.order_by("-run").values_list("status", flat=True)[:FAILURES_IN_A_ROW]
    return len(latest) == FAILURES_IN_A_ROW and all(status in _FAILED for status in latest)


def _pause_failing(feed: DripFeed) -> None:
    parent = Order.objects.get(pk=feed.order_id)
    why = f"The last {FAILURES_IN_A_ROW} runs came to nothing."
    _change(feed, parent, SeriesState.PAUSED, by=_JOB, note=why)
    tell_staff(parent, "dripfeed_paused", f"{why} It is paused: see why, then resume or stop it.")


# --- its end -------------------------------------------------------------------------------------


def settle() -> int:
    """End the drip-feeds whose last run has ended; returns how many."""
    runs = Order.objects.filter(parent=OuterRef("order"))
    ready = (
        DripFeed.objects.exclude(state=SeriesState.ENDED)
        .filter(Q(runs_made=F("runs")) | Q(state=SeriesState.STOPPING))
        .filter(~Exists(runs.exclude(status__in=sorted(FINAL))))
    )
    found = list(ready.order_by("pk").values_list("pk", flat=True)[:BATCH])
    return sum(_attempted(_settle, pk) for pk in found)


@transaction.atomic
def _settle(pk: int) -> bool:
    feed = (
        DripFeed.objects.exclude(state=SeriesState.ENDED)
        .filter(pk=pk)
        .select_for_update(no_key=True, skip_locked=True)
        .first()
    )
    if feed is None:
        return False
    return _end(feed, _locked_order(feed), by=_JOB)


def _end(feed: DripFeed, parent: Order, *, by: By) -> bool:
    """End it where nothing runs and nothing is to come; both rows are locked."""
    if feed.runs_made < feed.runs and feed.state != SeriesState.STOPPING:
        return False
    if Order.objects.filter(parent=parent).exclude(status__in=sorted(FINAL)).exists():
        return False
    if not parent.is_final:
        standing = _standing(parent)
        to = _outcome(parent, standing["delivered"])
        move(
            parent,
            to,
            by=by,
            completed_at=Now(),
            remains=parent.quantity - standing["delivered"],
            **_told_by_runs(parent, standing),
        )
    _change(feed, parent, SeriesState.ENDED, by=by)
    resolve("dripfeed_paused", subject=parent.subject)
    return True


def _outcome(parent: Order, delivered: int) -> Status:
    if delivered >= parent.quantity:
        return Status.COMPLETED
    return Status.PARTIAL if delivered else Status.CANCELLED


def follow(parent_id: int) -> None:
    """Bring the drip-feed's own numbers to what its runs tell; called in the transaction that
    has changed a run. A run's late correction may correct the ended drip-feed too: the money has
    gone through the run."""
    parent = Order.objects.select_for_update(no_key=True).get(pk=parent_id)
    standing = _standing(parent)
    remains = parent.quantity - standing["delivered"]
    if parent.is_final:
        _correct(parent, remains)
        return
    changes = _told_by_runs(parent, standing)
    if remains != parent.remains:
        changes["remains"] = remains
        if remains < (parent.quantity if parent.remains is None else parent.remains):
            changes["progress_at"] = Now()
    if not changes:
        return
    # Each tenth of the way is told once: its history is not its runs' histories together.
    if _tenths(parent.quantity, remains) > _tenths(parent.quantity, parent.remains):
        update(parent, kind=EventKind.PROGRESS, by=_JOB, **changes)
    else:
        Order.objects.filter(pk=parent.pk, status=parent.status).update(**changes)


def _correct(parent: Order, remains: int) -> None:
    to = {
        Status.COMPLETED: Status.PARTIAL if remains < parent.quantity else Status.REFUNDED,
        Status.PARTIAL: Status.REFUNDED,
    }.get(Status(parent.status))
    note = "A run was corrected by the provider."
    if to is None or not remains or remains == parent.remains:
        return
    if to is Status.REFUNDED and remains < parent.quantity:
        update(parent, kind=EventKind.SERIES, by=_JOB, note=note, remains=remains)
        return
    move(parent, to, by=_JOB, note=note, remains=remains)
    if to is Status.REFUNDED:
        from orders import refills  # it imports a module that imports this one

        refills.end_of_paid_back(parent)


def _standing(parent: Order) -> dict[str, Any]:
    """What the runs have delivered (units), and when the first began."""
    delivered = Sum(
        Case(
            When(status=Status.COMPLETED, then=F("quantity")),
            # What is paid back whole counts as not delivered, whatever was.
            When(status__in=_DELIVERING, remains__isnull=False, then=F("quantity") - F("remains")),
            default=0,
        )
    )
    told = Order.objects.filter(parent=parent).aggregate(
        delivered=delivered, started_at=Min("started_at")
    )
    return {"delivered": int(told["delivered"] or 0), "started_at": told["started_at"]}


def _told_by_runs(parent: Order, standing: dict[str, Any]) -> dict[str, Any]:
    """The start count of the first run, and when the first began, where not known yet."""
    changes: dict[str, Any] = {}
    if parent.started_at is None and standing["started_at"] is not None:
        changes["started_at"] = standing["started_at"]
    if parent.start_count is None:
        first = Order.objects.filter(parent=parent, run=1).values_list("start_count", flat=True)
        if (count := first.first()) is not None:
            changes["start_count"] = count
    return changes


def _tenths(quantity: int, remains: int | None) -> int:
    return 0 if remains is None else (quantity - remains) * 10 // quantity


# --- what people do with it ----------------------------------------------------------------------


@transaction.atomic
def pause(order: Order, *, by: By, note: str = "") -> None:
    """Begin no further run until it is resumed; what runs goes on. Raises SeriesRefused."""
    feed = _locked(order)
    if feed.state == SeriesState.PAUSED:
        raise SeriesRefused(SeriesRefusal.PAUSED)
    _refuse_without_runs(feed)
    _change(feed, order, SeriesState.PAUSED, by=by, note=note)


@transaction.atomic
def resume(order: Order, *, by: By, note: str = "") -> None:
    """Go on with the runs: the next at its time, or at once where that is over, and the others
    an interval apart. Earlier failures are forgiven. Raises SeriesRefused."""
    feed = _locked(order)
    if feed.state == SeriesState.ACTIVE:
        raise SeriesRefused(SeriesRefusal.NOT_PAUSED)
    _refuse_without_runs(feed)
    _set(feed, forgiven=feed.runs_made)
    _change(feed, order, SeriesState.ACTIVE, by=by, note=note)
    resolve("dripfeed_paused", subject=order.subject)
    async_task("orders.tasks.tick", q_options={"save": False})


@transaction.atomic
def stop(order: Order, *, by: By, note: str = "") -> None:
    """Begin no further run, cancel the one that waits, and pay back exactly what never ran; a run
    that the provider has, or may have, is awaited, and `settle` ends the drip-feed. Where nothing
    is awaited it has ended already. Raises SeriesRefused."""
    feed = _locked(order)
    if feed.state == SeriesState.STOPPING:
        raise SeriesRefused(SeriesRefusal.STOPPING)
    _change(feed, order, SeriesState.STOPPING, by=by, note=note)
    _set(feed, next_run_at=None)
    runs = Order.objects.filter(parent=order.pk)
    waiting = runs.filter(status=Status.PENDING).select_related("wallet").order_by("pk")
    for run in waiting.select_for_update(no_key=True, of=("self",)):
        move_and_refund(
            run, Status.CANCELLED, run.charge, by=by, reason="stopped", completed_at=Now()
        )
    parent = _locked_order(feed)
    begun = runs.aggregate(charge=Sum("charge"))["charge"] or 0
    if never_ran := parent.charge - begun:
        pay_back(parent, never_ran, by=by, reason="stopped: runs that never began")
    _end(feed, parent, by=by)
    resolve("dripfeed_paused", subject=order.subject)


def never_ran(order: Order) -> Decimal:
    """What `stop` would pay back now (order's currency): the runs that never began, and those
    that wait to be sent."""
    begun = order.run_orders.exclude(status=Status.PENDING).aggregate(charge=Sum("charge"))
    return order.charge - (begun["charge"] or Decimal(0))


def _refuse_without_runs(feed: DripFeed) -> None:
    if feed.state == SeriesState.STOPPING:
        raise SeriesRefused(SeriesRefusal.STOPPING)
    if feed.runs_made == feed.runs:
        raise SeriesRefused(SeriesRefusal.NO_RUN_LEFT)


# --- its rows ------------------------------------------------------------------------------------


def _locked(order: Order) -> DripFeed:
    feed = DripFeed.objects.select_for_update(no_key=True).filter(order=order).first()
    if feed is None:
        raise SeriesRefused(SeriesRefusal.NO_SERIES)
    if feed.state == SeriesState.ENDED:
        raise SeriesRefused(SeriesRefusal.ENDED)
    return feed


def _locked_order(feed: DripFeed) -> Order:
    return (
        Order.objects.select_for_update(no_key=True, of=("self",))
        .select_related("wallet")
        .get(pk=feed.order_id)
    )


def _set(feed: DripFeed, **columns: Any) -> None:
    DripFeed.objects.filter(pk=feed.pk).update(**columns)
    for name, value in columns.items():
        setattr(feed, name, value)


def _change(feed: DripFeed, order: Order, to: SeriesState, *, by: By, note: str = "") -> None:
    changes = {"series": (feed.state, to.value)}
    _set(feed, state=to)
    record(order, EventKind.SERIES, by=by, changes=changes, note=note)


def _now(feed: DripFeed) -> datetime:
    """The database's time, as read with the row."""
    now: datetime = feed.now  # type: ignore[attr-defined]
    return now


def _attempted(step: Callable[[int], bool], pk: int) -> bool:
    """One drip-feed's fault costs it its turn, and the others nothing."""
    try:
        return step(pk)
    except Exception as error:
        log.exception("dripfeed.fault", dripfeed=pk)
        alert(
            "dripfeed_fault",
            subject=f"dripfeed:{pk}",
            message=f"Its next step failed ({type(error).__name__}); it is tried again.",
        )
        return False
