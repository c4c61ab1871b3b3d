"""Jobs: ticks over batches, safe to run twice, at the same time, and to be killed anywhere.

Where a job wants to be alone, that only spares work: without it nothing would be sent or paid
twice, but a slow provider could occupy every worker.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django_q.tasks import async_task

from catalog.models import Provider
from orders import dispatch, tracking
from orders.models import Order
from orders.statuses import TRACKED, Status

# The queue's schedules come once a minute and up to 30 s late: a tick looks again every few
# seconds and, while there is anything under way, is followed by the next. It is short because a
# worker that is asked to stop ends what it does first.
TICK_SECONDS = 10
PAUSE_SECONDS = 3


def dispatch_provider(provider_id: int) -> None:
    """Send one provider's waiting orders; woken by each order, and by the tick."""
    provider = Provider.objects.filter(pk=provider_id).first()
    if provider is None:
        return
    with _alone(f"dispatch-{provider_id}") as alone:
        if not alone:
            return
        accepted = dispatch.dispatch(provider)
    if accepted:
        _queue("tick")
    # An order whose own wake-up found us at work was committed before: it is seen here.
    if dispatch.due().filter(provider=provider).exists():
        _queue("dispatch_provider", provider_id)


def track_provider(provider_id: int) -> None:
    """Ask one provider how its orders are doing; woken by the tick."""
    provider = Provider.objects.filter(pk=provider_id).first()
    if provider is None:
        return
    with _alone(f"track-{provider_id}") as alone:
        if alone:
            tracking.poll(provider)


def tick() -> None:
    """For some seconds, and while there is anything under way: sweep, send, follow."""
    with _alone("tick") as alone:
        if not alone:
            return
        until = time.monotonic() + TICK_SECONDS
        while beat() and time.monotonic() < until:
            time.sleep(PAUSE_SECONDS)
    # As above: what found us at work was committed before.
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
    # One question for each of the queues' indexes; asked at once they would read the whole table.
    queues = {"status": Status.PENDING}, {"status": Status.SENDING}, {"status__in": TRACKED}
    return any(Order.objects.filter(**queue).exists() for queue in queues)


def _queue(job: str, *ids: int) -> None:
    async_task(f"orders.tasks.{job}", *ids, q_options={"save": False})


@contextmanager
def _alone(name: str) -> Iterator[bool]:
    """Whether no other job of this machine has this name now.

    A lock of the operating system: it ends with the process that holds it, however that ends, so
    that a killed worker keeps nobody waiting.
    """
    with (settings.DATA_DIR / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
