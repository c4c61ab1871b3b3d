"""Jobs: ticks over batches, safe to run twice, at the same time, and to be killed anywhere.

Where a job wants to be alone, that only spares work: without it nothing would be sent or paid
twice, but a slow provider could occupy every worker. So a provider has one job at a time, of
whichever kind, and all the slow ones together have half of the workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import structlog
from django.conf import settings
from django_q.tasks import async_task

from accounts import jobs
from accounts.alerts import alert
from catalog import health
from catalog.models import Dialect, Provider
from orders import (
    book,
    cancellations,
    dispatch,
    dripfeed,
    facts,
    failover,
    mass,
    reconciliation,
    refills,
    subscriptions,
    tracking,
)
from orders.models import MassOrder, Order
from orders.statuses import TRACKED, Status

log = structlog.get_logger(__name__)

# The queue's schedules come once a minute and up to 30 s late: a tick looks again every few
# seconds and, while there is anything under way, is followed by the next. It is short because a
# worker that is asked to stop ends what it does first.
TICK_SECONDS = 10
PAUSE_SECONDS = 3


def dispatch_provider(provider_id: int) -> None:
    """Send one provider's waiting orders; woken by each order, and by the tick."""
    with _turn("dispatch_provider", provider_id) as provider:
        if provider is not None and dispatch.dispatch(provider):
            _queue("tick")


def track_provider(provider_id: int) -> None:
    """Ask one provider how its orders are doing; woken by the tick."""
    with _turn("track_provider", provider_id) as provider:
        if provider is not None:
            tracking.poll(provider)


def attend_provider(provider_id: int) -> None:
    """Cancellations and refills at one provider; woken by the tick and by each request."""
    with _turn("attend_provider", provider_id) as provider:
        if provider is not None:
            cancellations.attend(provider)
            refills.attend(provider)


def reconcile_provider(provider_id: int) -> None:
    """Look for the provider's orders of unknown outcome; woken by the tick."""
    with _turn("reconcile_provider", provider_id) as provider:
        if provider is not None:
            reconciliation.reconcile(provider)


def read_balances() -> None:
    """Have every provider's balance read; by the clock."""
    real = Provider.objects.filter(enabled=True).exclude(dialect=Dialect.PLAY)
    for provider_id in real.values_list("pk", flat=True):
        _queue("read_balance", provider_id)


def read_balance(provider_id: int) -> None:
    """Compare one provider's balance with our book."""
    with _turn("read_balance", provider_id) as provider:
        if provider is not None:
            book.read(provider)


def measure_facts() -> None:
    """Measure how quickly services deliver; by the clock."""
    with jobs.only("measure_facts") as may_run:
        if may_run:
            facts.measure()


def place_mass_order(mass_id: int) -> None:
    """Place the waiting lines of a mass order; woken by its confirmation, and by the tick."""
    with jobs.only(f"place_mass_order:{mass_id}") as may_run:
        if not may_run:
            return
        lines_are_left = mass.place(mass_id)
    if lines_are_left:
        _queue("place_mass_order", mass_id)


def tick() -> None:
    """For some seconds, and while there is anything under way: sweep, send, follow."""
    with jobs.only("tick") as may_run:
        if not may_run:
            return
        until = time.monotonic() + TICK_SECONDS
        while beat() and time.monotonic() < until:
            time.sleep(PAUSE_SECONDS)
    # What found us at work was committed before: it is seen here.
    if _is_anything_under_way():
        _queue("tick")


def beat() -> bool:
    """Begin once what is due now; returns whether any order is still under way."""
    jobs.beat()
    for work in (
        dispatch.sweep,
        failover.pass_on_interrupted,
        dripfeed.run_due,
        dripfeed.settle,
        subscriptions.expire_due,
    ):
        _do(work)
    for job, due, provider in (
        ("dispatch_provider", dispatch.due(), "provider"),
        ("track_provider", tracking.due(), "provider"),
        ("track_provider", tracking.due_again(), "provider"),
        ("attend_provider", cancellations.due(), "order__provider"),
        ("attend_provider", refills.due(), "order__provider"),
        ("reconcile_provider", reconciliation.due(), "provider"),
    ):
        # order_by(): the model's own order would make every row of the DISTINCT differ.
        for provider_id in due.order_by().values_list(provider, flat=True).distinct():
            _queue(job, provider_id)
    for mass_id in MassOrder.objects.filter(finished_at=None).values_list("pk", flat=True):
        _queue("place_mass_order", mass_id)
    return _is_anything_under_way()


def _do(work: Callable[[], int]) -> None:
    """A fault in one part of the tick must not keep the others from their work."""
    try:
        work()
    except Exception as error:
        log.exception("tick.fault", part=work.__qualname__)
        part = f"{work.__module__}.{work.__qualname__}"
        alert("job_failed", subject=f"job:{part}"[:60], message=f"{type(error).__name__}: {error}")


def _is_anything_under_way() -> bool:
    # One question for each of the queues' indexes; asked at once they would read the whole table.
    queues: tuple[dict[str, Any], ...] = (
        {"status": Status.PENDING},
        {"status": Status.SENDING},
        {"status__in": TRACKED, "next_check_at__isnull": False},
    )
    return any(Order.objects.filter(**queue).exists() for queue in queues)


def _queue(job: str, *ids: int) -> None:
    async_task(f"orders.tasks.{job}", *ids, q_options={"save": False})


@contextmanager
def _turn(job: str, provider_id: int) -> Iterator[Provider | None]:
    """The provider, where this job may work for it now: one job at a time for each provider, and
    no more than half of the workers for those that answer slowly."""
    provider = Provider.objects.filter(pk=provider_id).first()
    with ExitStack() as held:
        may_run = (
            provider is not None
            and held.enter_context(jobs.alone(f"provider-{provider_id}"))
            and (not health.is_slow(provider_id) or held.enter_context(_slow_lane()))
            and held.enter_context(jobs.attempt(f"{job}:{provider_id}"))
        )
        yield provider if may_run else None
    # An order whose own wake-up found us at work was committed before: it is seen here. So is one
    # that waited for the end of another of its link.
    if may_run and dispatch.due().filter(provider=provider_id).exists():
        _queue("dispatch_provider", provider_id)


@contextmanager
def _slow_lane() -> Iterator[bool]:
    """Whether one of the workers that slow providers may have is free."""
    with ExitStack() as held:
        yield any(
            held.enter_context(jobs.alone(f"slow-{number}"))
            for number in range(max(1, settings.Q_CLUSTER["workers"] // 2))
        )
