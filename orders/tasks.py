"""Jobs: ticks over batches, safe to run twice, at the same time, and to be killed anywhere.

The marks in the cache only spare work: without them nothing would be sent or paid twice, but a
slow provider could occupy every worker.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.cache import cache
from django_q.tasks import async_task

from catalog.models import Provider
from orders import dispatch, tracking
from orders.models import Order
from orders.statuses import TRACKED, Status

# The queue's schedules come once a minute and up to 30 s late: a tick looks again every few
# seconds and, while there is anything under way, is followed by the next.
TICK_SECONDS = 50
PAUSE_SECONDS = 3


def dispatch_provider(provider_id: int) -> None:
    """Send one provider's waiting orders; woken by each order, and by the tick."""
    provider = Provider.objects.filter(pk=provider_id).first()
    if provider is None:
        return
    longest = dispatch.BUDGET_SECONDS + dispatch.lease(provider).total_seconds()
    with _alone(f"orders.dispatch.{provider_id}", seconds=longest) as alone:
        if not alone:
            return
        accepted = dispatch.dispatch(provider)
    if accepted:
        _queue("tick")
    # An order whose own wake-up met our mark was committed before: it is seen here.
    if dispatch.due().filter(provider=provider).exists():
        _queue("dispatch_provider", provider_id)


def track_provider(provider_id: int) -> None:
    """Ask one provider how its orders are doing; woken by the tick."""
    provider = Provider.objects.filter(pk=provider_id).first()
    if provider is None:
        return
    longest = tracking.BUDGET_SECONDS + dispatch.lease(provider).total_seconds()
    with _alone(f"orders.track.{provider_id}", seconds=longest) as alone:
        if alone:
            tracking.poll(provider)


def tick() -> None:
    """For most of a minute, and while there is anything under way: sweep, send, follow."""
    with _alone("orders.tick", seconds=TICK_SECONDS + 10) as alone:
        if not alone:
            return
        until = time.monotonic() + TICK_SECONDS
        while beat() and time.monotonic() < until:
            time.sleep(PAUSE_SECONDS)
    # As above: what met our mark was committed before.
    if _is_anything_under_way():
        _queue("tick")


def beat() -> bool:
    """Begin once what is due now; returns whether any order is still under way."""
    dispatch.sweep()
    # order_by(): the model's own order would make every row of the DISTINCT differ.
    for provider_id in dispatch.due().order_by().values_list("provider", flat=True).distinct():
        _queue("dispatch_provider", provider_id)
    for provider_id in tracking.due().order_by().values_list("provider", flat=True).distinct():
        _queue("track_provider", provider_id)
    return _is_anything_under_way()


def _is_anything_under_way() -> bool:
    return Order.objects.filter(status__in=[Status.PENDING, Status.SENDING, *TRACKED]).exists()


def _queue(job: str, *ids: int) -> None:
    async_task(f"orders.tasks.{job}", *ids, q_options={"save": False})


@contextmanager
def _alone(mark: str, *, seconds: float) -> Iterator[bool]:
    """Whether nobody else holds this mark; it is ours until the end, or for so long if we die."""
    ours = cache.add(mark, 1, timeout=seconds)
    try:
        yield ours
    finally:
        if ours:
            cache.delete(mark)
