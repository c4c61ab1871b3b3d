"""Looking for lost orders by the provider's ids: what is ours among those given around the call.

Only for providers whose ids are consecutive numbers, where staff allow it. Others' orders are
answered with "Incorrect order ID"; ours that are linked already are not asked for. A find is
linked only where it can belong to one lost call alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import QuerySet

from catalog.models import Provider
from catalog.providers import ProviderClient, ProviderError, UpstreamStatus
from orders import book, unconfirmed
from orders.models import EvidenceKind, Order, Verdict
from orders.statuses import Status
from orders.unconfirmed import LostCall, lost_calls

IDS_PER_CALL = 100
MOST_CALLS = 10
WIDEST = IDS_PER_CALL * MOST_CALLS
# Orders on either side of a lost call that are looked at for one with a number as its id.
NEIGHBOURS = 20
LONGEST_NUMBER = 18
# Of a price that the provider tells: its roundings.
_SHARE, _CENT = Decimal("0.005"), Decimal("0.005")


@dataclass(frozen=True)
class Lost:
    """A call of unknown outcome, and the ids that it can have been given (both included)."""

    order: Order
    call: LostCall
    first: int
    last: int
    # When the order was taken whose id ends the range; None: it has no end yet.
    closed_at: datetime | None


@dataclass(frozen=True)
class _Gap:
    """Lost calls whose ranges of ids touch: what is found there may belong to any of them."""

    lost: tuple[Lost, ...]

    @property
    def ids(self) -> range:
        return range(min(x.first for x in self.lost), max(x.last for x in self.lost) + 1)

    @property
    def is_closed(self) -> bool:
        return all(x.closed_at is not None for x in self.lost)


def search(client: ProviderClient, provider: Provider, orders: Sequence[Order]) -> None:
    """Look for the provider's unconfirmed orders, and keep what is found as evidence; at most
    ten calls. Does nothing where staff have not allowed it."""
    if not provider.reconcile_by_ids:
        return
    doubtful = list(book.in_doubt(provider).select_related("provider"))
    calls = lost_calls(doubtful)
    every = [(order, calls[order.pk]) for order in doubtful]
    every += unconfirmed.left_unknown(provider)
    lost = [found for order, call in every if (found := _located(provider, order, call))]
    wanted = {order.pk for order in orders}
    budget = MOST_CALLS
    for gap in _gaps(lost):
        if not any(x.order.pk in wanted for x in gap.lost):
            continue
        asked = [str(number) for number in gap.ids] if len(gap.ids) <= WIDEST else []
        linked = _linked(provider, asked)
        asked = [number for number in asked if number not in linked]
        needed = -(-len(asked) // IDS_PER_CALL)
        if len(gap.ids) > WIDEST or needed > budget:
            _tell(gap, Verdict.UNCLEAR, why="wide")
            continue
        if _is_disturbed(provider, gap):
            _tell(gap, Verdict.UNCLEAR, why="busy")
            continue
        budget -= needed
        try:
            reports = _ask(client, asked)
        except ProviderError as error:
            _tell(gap, Verdict.UNCLEAR, error=str(error))
            return
        taken = _linked(provider, list(reports))
        _judge(gap, {number: each for number, each in reports.items() if number not in taken})


# --- where to look --------------------------------------------------------------------------------


def _located(provider: Provider, order: Order, call: LostCall) -> Lost | None:
    """The ids between the last that we knew before the call and the first that was given after
    it; None where there is nothing to count from."""
    bought = Order.objects.filter(provider=provider).exclude(external_id=None)
    before = bought.filter(sent_at__lt=call.began).order_by("-sent_at")[:NEIGHBOURS]
    first = next((n for each in before if (n := _number(each)) is not None), None)
    after = list(bought.filter(sent_at__gt=call.ended).order_by("sent_at")[:NEIGHBOURS])
    began = {pk: each.began for pk, each in lost_calls(after).items()}
    closing = next((x for x in after if began[x.pk] > call.ended and _number(x) is not None), None)
    last = _number(closing) if closing else None
    if first is None or (last is not None and last <= first):
        if order.status == Status.UNCONFIRMED:
            why = "first" if first is None else "disorder"
            unconfirmed.note(order, EvidenceKind.IDS, Verdict.UNCLEAR, why=why)
        return None
    return Lost(
        order=order,
        call=call,
        first=first + 1,
        last=last - 1 if last is not None else first + WIDEST,
        closed_at=closing.sent_at if closing else None,
    )


def _number(order: Order) -> int | None:
    text = order.external_id or ""
    if text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER and text == str(int(text)):
        return int(text)
    return None


def _gaps(lost: Sequence[Lost]) -> list[_Gap]:
    gaps: list[_Gap] = []
    for each in sorted(lost, key=lambda x: (x.first, x.last)):
        # An empty range ends before it begins: neighbours with the same one belong together.
        if gaps and each.first <= max(gaps[-1].ids.stop - 1, gaps[-1].ids.start):
            gaps[-1] = _Gap((*gaps[-1].lost, each))
        else:
            gaps.append(_Gap((each,)))
    return gaps


def _is_disturbed(provider: Provider, gap: _Gap) -> bool:
    """Whether an order that is being bought at this moment may be given an id of the gap."""
    buying: QuerySet[Order] = book.under_way(provider)
    ends = [x.closed_at for x in gap.lost]
    return any(
        any(end is None or call.began <= end for end in ends)
        for call in lost_calls(buying).values()
    )


def _linked(provider: Provider, numbers: Sequence[str]) -> set[str]:
    linked = Order.objects.filter(provider=provider, external_id__in=numbers)
    return {str(number) for number in linked.values_list("external_id", flat=True)}


def _ask(client: ProviderClient, numbers: Sequence[str]) -> dict[str, UpstreamStatus]:
    found: dict[str, UpstreamStatus] = {}
    for start in range(0, len(numbers), IDS_PER_CALL):
        asked = numbers[start : start + IDS_PER_CALL]
        answered = client.statuses(asked)
        found |= {number: answered[number] for number in asked if number in answered}
    return found


# --- whose it is ----------------------------------------------------------------------------------


def _judge(gap: _Gap, found: Mapping[str, UpstreamStatus]) -> None:
    """Tell each order what was found; nobody's orders remain for staff to look at."""
    pairs = _pairs(gap, found)
    for index, number in pairs.items():
        order = gap.lost[index].order
        if order.status == Status.UNCONFIRMED:
            unconfirmed.note(order, EvidenceKind.IDS, Verdict.BOUGHT, external_id=number)
        else:
            unconfirmed.found_after_refund(order, number, by=unconfirmed.JOB)
    left = {number: each for number, each in found.items() if number not in pairs.values()}
    rest = _Gap(tuple(x for index, x in enumerate(gap.lost) if index not in pairs))
    if not rest.lost:
        return
    if left:
        candidates = [
            {"id": number, "charge": None if each.charge is None else f"{each.charge:f}"}
            for number, each in list(left.items())[:IDS_PER_CALL]
        ]
        _tell(rest, Verdict.UNCLEAR, why="several", candidates=candidates)
    elif gap.is_closed:
        _tell(rest, Verdict.NOT_BOUGHT, first=gap.ids.start, last=gap.ids.stop - 1)
    else:
        _tell(rest, Verdict.UNCLEAR, why="open", first=gap.ids.start)


def _pairs(gap: _Gap, found: Mapping[str, UpstreamStatus]) -> dict[int, str]:
    """Index of a lost call → id, where neither can belong to another."""
    may: dict[int, list[str]] = {
        index: [number for number, each in found.items() if _may_be(lost, number, each)]
        for index, lost in enumerate(gap.lost)
    }
    return {
        index: numbers[0]
        for index, numbers in may.items()
        if len(numbers) == 1
        and not any(numbers[0] in others for other, others in may.items() if other != index)
    }


def _may_be(lost: Lost, number: str, report: UpstreamStatus) -> bool:
    """Whether nothing speaks against it: the id, the price, what remains."""
    if not lost.first <= int(number) <= lost.last:
        return False
    if report.remains is not None and report.remains > lost.order.quantity:
        return False
    cost = book.cost(lost.order)
    # Many tell no price, or 0, until the order has ended.
    if not report.charge or cost is None:
        return True
    return abs(report.charge - cost) <= max(cost * _SHARE, min(_CENT, cost / 2))


def _tell(gap: _Gap, verdict: Verdict, **details: Any) -> None:
    for lost in gap.lost:
        if lost.order.status == Status.UNCONFIRMED:
            unconfirmed.note(lost.order, EvidenceKind.IDS, verdict, **details)
