"""Jobs: ticks over batches, safe to run twice, at the same time, and to be killed anywhere.

The marks in the cache only spare work: without them nothing would be sent or paid twice, but a
slow provider could occupy every worker.
"""

from __future__ import annotations

import time

from django.core.cache import cache
from django.db.models.functions import Now
from django_q.tasks import async_task

from catalog.models import Provider
from orders import dispatch, tracking
from orders.models import Order
from orders.statuses import TRACKED, Status

# The queue's schedules come once a minute and up to 30 s late: within its minute a tick looks
# again every few seconds.
TICK_SECONDS = 50
PAUSE_SECONDS = 3
_TICKING = "orders.tick"


def dispatch_provider(provider_id: int) -> None:
    """Send one provider's waiting orders; woken by each order, and by the tick."""
    provider = Provider.objects.filter(pk=provider_id).first()
    if provider is None:
        return
    mark = f"orders.dispatch.{provider_id}"
    if not cache.add(mark, 1, timeout=dispatch.lease(provider).seconds + dispatch.BUDGET_SECONDS):
        return
    try:
        accepted = dispatch.dispatch(provider)
    finally:
        cache.delete(mark)
    if accepted:
        async_task("orders.tasks.tick", q_options={"save": False})
    # An order whose own wake-up met our mark was committed before: it is seen here.
    if dispatch.due().filter(provider=provider).exists():
        async_task("orders.tasks.dispatch_provider", provider_id, q_options={"save": False})


def tick() -> None:
    """For most of a minute, and while there is anything under way: sweep, send, follow."""
    if not cache.add(_TICKING, 1, timeout=TICK_SECONDS + 10):
        return
    try:
        until = time.monotonic() + TICK_SECONDS
        while beat() and time.monotonic() < until:
            time.sleep(PAUSE_SECONDS)
    finally:
        cache.delete(_TICKING)


def beat() -> bool:
    """Do once what is due now; returns whether any order is still under way."""
    dispatch.sweep()
    for provider_id in dispatch.due().values_list("provider", flat=True).distinct():
        async_task("orders.tasks.dispatch_provider", provider_id, q_options={"save": False})
    tracking.poll_all(
        Provider.objects.filter(
            orders__status__in=TRACKED, orders__next_check_at__lte=Now()
        ).distinct()
    )
    return Order.objects.filter(status__in=[Status.PENDING, Status.SENDING, *TRACKED]).exists()
