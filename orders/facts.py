"""What our own orders tell of each service: how soon they start and end, and how many do.

Counted are the orders that ended within the last 30 days. Of a drip-feed its runs count, not the
order that they belong to; subscriptions last as long as their owner posts, and tell nothing. An
order that was cancelled before the provider had it is nobody's failure, and not counted; whatever
the provider had counts, also when the customer asked for its end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import BooleanField, ExpressionWrapper, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts.clock import from_now
from catalog.models import Service, ServiceFacts
from catalog.order_types import ORDER_TYPES, ChargedOn, ServiceType
from orders.models import Order
from orders.statuses import FINAL, Status

WINDOW = timedelta(days=30)
# Fewer than these tell nothing.
FEWEST = 10
# "About 1000 units".
USUAL = range(500, 2001)
_CHUNK = 5000
_SPREAD = ExpressionWrapper(Q(parent=None, runs__isnull=False), output_field=BooleanField())
_MEASURED = (
    "orders",
    "start_average",
    "start_median",
    "start_p90",
    "completion_average",
    "completion_median",
    "completion_p90",
    "completion_rate",
)


@dataclass
class _Seen:
    """What was seen of one service; times in seconds."""

    finished: int = 0
    completed: int = 0
    starts: list[int] = field(default_factory=list)
    completions: list[int] = field(default_factory=list)


def measure() -> int:
    """Measure every service anew over the last 30 days; returns how many have facts.

    Reads the orders once, in a stream, and writes only what has changed. Safe to run twice.
    """
    measured = {pk: _measured(seen) for pk, seen in _look().items()}
    known = {facts.service_id: facts for facts in ServiceFacts.objects.all()}
    new = [
        ServiceFacts(service_id=pk, **values) for pk, values in measured.items() if pk not in known
    ]
    changed = [
        facts
        for pk, values in measured.items()
        if (facts := known.get(pk)) is not None and _differs(facts, values)
    ]
    ServiceFacts.objects.bulk_create(new, batch_size=_CHUNK, ignore_conflicts=True)
    ServiceFacts.objects.bulk_update(changed, [*_MEASURED, "measured_at"], batch_size=500)
    ServiceFacts.objects.filter(service__in=known.keys() - measured.keys()).delete()
    return len(measured)


def _look() -> dict[int, _Seen]:
    any_size = _of_any_size()
    services: dict[int, _Seen] = defaultdict(_Seen)
    for service, status, quantity, spread, created, sent, started, ended in _ended():
        seen = services[service]
        seen.finished += 1
        seen.completed += status == Status.COMPLETED
        # A drip-feed that the provider runs takes as long as its buyer wished.
        if spread or not (quantity in USUAL or service in any_size):
            continue
        if started is not None:
            seen.starts.append(_seconds(sent or created, started))
        if status == Status.COMPLETED:
            seen.completions.append(_seconds(created, ended))
    return services


def _ended() -> Iterable[tuple[int, str, int, bool, datetime, datetime, datetime, datetime]]:
    since = from_now(-WINDOW)
    return (
        Order.objects.filter(status__in=FINAL, sandbox=False)
        # What was refused outright has no time of completion.
        .filter(Q(completed_at__gte=since) | Q(completed_at=None, status_changed_at__gte=since))
        .exclude(status=Status.CANCELLED, external_id=None)
        .exclude(type=ServiceType.SUBSCRIPTIONS)
        .filter(dripfeed=None)
        .order_by()
        .values_list(
            "service",
            "status",
            "quantity",
            _SPREAD,
            "created_at",
            "sent_at",
            "started_at",
            Coalesce("completed_at", "status_changed_at"),
        )
        .iterator(chunk_size=_CHUNK)
    )


def _of_any_size() -> set[int]:
    """The services of which nobody can order about 1000 units."""
    sold_whole = [name for name, row in ORDER_TYPES.items() if row.charged_on is ChargedOn.PACKAGE]
    return set(
        Service.objects.filter(
            Q(max_quantity__lt=USUAL.start)
            | Q(min_quantity__gte=USUAL.stop)
            | Q(type__in=sold_whole)
        ).values_list("pk", flat=True)
    )


def _measured(seen: _Seen) -> dict[str, int | None]:
    # Rounded down: 99.9 % are not all.
    rate = seen.completed * 100 // seen.finished if seen.finished >= FEWEST else None
    return {
        "orders": seen.finished,
        **_spread("start", seen.starts),
        **_spread("completion", seen.completions),
        "completion_rate": rate,
    }


def _spread(name: str, seconds: Sequence[int]) -> dict[str, int | None]:
    if len(seconds) < FEWEST:
        return {f"{name}_average": None, f"{name}_median": None, f"{name}_p90": None}
    ranked = sorted(seconds)
    return {
        f"{name}_average": sum(ranked) // len(ranked),
        f"{name}_median": _percentile(ranked, 50),
        f"{name}_p90": _percentile(ranked, 90),
    }


def _percentile(ranked: Sequence[int], percent: int) -> int:
    """The smallest value that `percent` of the values do not exceed."""
    return ranked[-(-len(ranked) * percent // 100) - 1]


def _seconds(start: datetime, end: datetime) -> int:
    return max(int((end - start).total_seconds()), 0)


def _differs(facts: ServiceFacts, values: dict[str, int | None]) -> bool:
    """Whether the row differs from what was measured; it is brought up to date."""
    if all(getattr(facts, name) == value for name, value in values.items()):
        return False
    for name, value in values.items():
        setattr(facts, name, value)
    facts.measured_at = timezone.now()
    return True
