"""Following orders at their providers: ask in batches, apply each report once.

A check is claimed by pushing its next time forward before the call, so that two trackers share
the work and a crash costs one interval, not an order. A value that cannot be read changes
nothing; final states are never left.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Case, QuerySet, When
from django.db.models.functions import Now

from accounts.alerts import alert, resolve
from catalog.models import Provider
from catalog.providers import ProviderError, UpstreamState, UpstreamStatus
from catalog.providers.registry import client_for
from orders.clock import from_now
from orders.models import Order
from orders.refunds import move_and_refund, share_not_delivered
from orders.statuses import TRACKED, Status, move

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


def poll(provider: Provider) -> int:
    """Ask the provider about its due orders, at most 100 a call; returns the reports applied.

    Safe to run twice and at the same time as itself. Makes its calls outside any transaction.
    """
    client = client_for(provider)
    applied = 0
    started = time.monotonic()
    more = True
    while more and time.monotonic() - started < BUDGET_SECONDS:
        orders = claim_due(provider)
        if not orders:
            break
        more = len(orders) == BATCH
        subject = f"provider:{provider.pk}"
        try:
            reports = client.statuses([str(order.external_id) for order in orders])
        except ProviderError as error:
            alert("provider_status_failed", subject=subject, message=f"{provider}: {error}")
            break
        resolve("provider_status_failed", subject=subject)
        applied += _apply_all(orders, reports)
    return applied


def due() -> QuerySet[Order]:
    """Orders whose next check has come."""
    return Order.objects.filter(status__in=TRACKED, next_check_at__lte=Now())


@transaction.atomic
def claim_due(provider: Provider) -> list[Order]:
    """The provider's longest-waiting due orders, their next check already set."""
    claimed = list(
        due()
        .filter(provider=provider)
        .order_by("next_check_at")
        .select_for_update(skip_locked=True)
        .values_list("pk", flat=True)[:BATCH]
    )
    if not claimed:
        return []
    Order.objects.filter(pk__in=claimed).update(
        next_check_at=Case(
            *(
                When(sent_at__gt=from_now(-age), then=from_now(interval))
                for age, interval in INTERVALS
            ),
            default=from_now(LONGEST_INTERVAL),
        )
    )
    return list(Order.objects.filter(pk__in=claimed).select_related("wallet"))


def apply(order: Order, report: UpstreamStatus) -> bool:
    """Bring the order to what the provider reports, with the money that goes with it.

    Exactly once: a repeated, late or unreadable report changes nothing. Returns whether the
    order's status changed.
    """
    progress = _progress(order, report)
    if report.state is None:
        alert(
            "status_unknown",
            subject=order.subject,
            message=f"The provider says “{report.word}”, which is no status that we know.",
        )
        return False
    if report.state in _UNDER_WAY:
        return _apply_under_way(order, _UNDER_WAY[report.state], progress)
    to = _ENDED[report.state]
    if to is Status.COMPLETED:
        return move(order, to, completed_at=Now(), **{**progress, "remains": 0})
    if to is not Status.PARTIAL:
        return move_and_refund(order, to, order.charge, completed_at=Now(), **progress)
    if "remains" not in progress:
        # How much to pay back is not known, and guessing costs somebody money: what an earlier
        # report said remained may have been delivered since.
        alert(
            "partial_without_remains",
            subject=order.subject,
            message="The provider says Partial and does not tell how much remains.",
        )
        return False
    amount = share_not_delivered(order, progress["remains"])
    return move_and_refund(order, to, amount, completed_at=Now(), **progress)


def _apply_under_way(order: Order, to: Status, progress: dict[str, Any]) -> bool:
    # An order never goes back from "in progress" to "processing" for a provider's flapping word.
    if to != order.status and order.status == Status.PROCESSING:
        return move(order, to, **progress)
    changed = {name: value for name, value in progress.items() if getattr(order, name) != value}
    if changed:
        Order.objects.filter(pk=order.pk, status=order.status).update(**changed)
    return False


def _progress(order: Order, report: UpstreamStatus) -> dict[str, Any]:
    """What the report tells of delivery: clamped, and only what could be read."""
    progress: dict[str, Any] = {}
    if report.start_count is not None and 0 <= report.start_count < 2**63:
        progress["start_count"] = report.start_count
    if report.remains is not None:
        progress["remains"] = min(max(report.remains, 0), order.quantity)
    return progress


def _apply_all(orders: list[Order], reports: Mapping[str, UpstreamStatus]) -> int:
    reported = [order for order in orders if order.external_id in reports]
    Order.objects.filter(pk__in=[order.pk for order in reported]).update(last_checked_at=Now())
    return sum(_applied(order, reports[str(order.external_id)]) for order in reported)


def _applied(order: Order, report: UpstreamStatus) -> bool:
    """Apply one report; a fault in it costs this order its turn, and the others nothing."""
    try:
        apply(order, report)
    except Exception:
        log.exception("tracking.not_applied", order=order.pk)
        return False
    return True
