"""Following orders at their providers: ask in batches, apply each report once.

A check is claimed by pushing its next time forward before the call, so that two trackers share
the work and a crash costs one interval, not an order. A value that cannot be read changes
nothing; final states are never left.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from datetime import timedelta
from typing import Any

import structlog
from catalog.providers.registry import client_for
from django.db import transaction
from django.db.models import Case, When
from django.db.models.functions import Now

from accounts.alerts import alert, resolve
from catalog.models import Provider
from catalog.providers import ProviderError, UpstreamState, UpstreamStatus
from orders.clock import from_now
from orders.models import Order
from orders.refunds import move_and_refund, share_not_delivered
from orders.statuses import TRACKED, Status, move

log = structlog.get_logger(__name__)

BATCH = 100
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


def poll_all(providers: Iterable[Provider]) -> int:
    """Ask all these providers about their due orders, side by side; returns the reports applied.

    One provider's failure is an alert and never stops another.
    """
    batches = {provider: orders for provider in providers if (orders := claim_due(provider))}
    if not batches:
        return 0
    applied = 0
    with ThreadPoolExecutor(min(len(batches), 8), thread_name_prefix="tracking") as pool:
        # Only the calls run in threads; the database is left to this one.
        calls = {
            pool.submit(client_for(provider).statuses, [str(o.external_id) for o in orders]): (
                provider,
                orders,
            )
            for provider, orders in batches.items()
        }
        for call in as_completed(calls):
            applied += _apply_answer(*calls[call], call)
    return applied


def poll(provider: Provider) -> int:
    """Ask one provider about at most 100 due orders; returns the reports applied."""
    return poll_all([provider])


@transaction.atomic
def claim_due(provider: Provider) -> list[Order]:
    """The provider's longest-waiting due orders, their next check already set."""
    due = (
        Order.objects.filter(provider=provider, status__in=TRACKED, next_check_at__lte=Now())
        .order_by("next_check_at")
        .select_for_update(skip_locked=True)
        .values_list("pk", flat=True)[:BATCH]
    )
    claimed = list(due)
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
    remains = progress.get("remains", order.remains)
    if remains is None:
        # How much to pay back is not known, and guessing costs somebody money.
        alert(
            "partial_without_remains",
            subject=order.subject,
            message="The provider says Partial and does not tell how much remains.",
        )
        return False
    amount = share_not_delivered(order, remains)
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


def _apply_answer(
    provider: Provider, orders: list[Order], call: Future[dict[str, UpstreamStatus]]
) -> int:
    subject = f"provider:{provider.pk}"
    try:
        reports = call.result()
    except ProviderError as error:
        alert("provider_status_failed", subject=subject, message=f"{provider}: {error}")
        return 0
    resolve("provider_status_failed", subject=subject)
    reported = [order for order in orders if order.external_id in reports]
    Order.objects.filter(pk__in=[order.pk for order in reported]).update(last_checked_at=Now())
    for order in reported:
        apply(order, reports[str(order.external_id)])
    return len(reported)
