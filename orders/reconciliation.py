"""Settling orders of unknown outcome by evidence; what proof does not settle goes to staff.

Strongest first: the provider's own list of orders, or the same request again under its key (where
the dialect has them); the status of the ids around the lost call (`orders/gaps.py`, only where
staff allow it); the provider's balance against our book of it (`orders/book.py`). An order is
linked on one of the first three. It is sent again only when two of them agree, some time after the
call, that nothing was bought. Until then it is neither sent nor paid back.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import structlog
from django.db import transaction
from django.db.models import Case, Q, QuerySet, When
from django.db.models.functions import Now
from django.utils import timezone

from accounts.clock import from_now
from catalog import health
from catalog.models import Provider
from catalog.providers import (
    NotOffered,
    ProviderBusy,
    ProviderClient,
    ProviderError,
    ProviderOutOfFunds,
    ProviderRefused,
    ProviderUnreachable,
)
from orders import book, dispatch, gaps, unconfirmed
from orders.cancellations import ActionRefused
from orders.models import CancelRequest, Evidence, EvidenceKind, Order, Verdict
from orders.models.requests import OPEN_CANCELS
from orders.play import at_fitting_provider
from orders.statuses import FINAL, Status
from orders.unconfirmed import LostCall

log = structlog.get_logger(__name__)

BATCH = 20
# The next look comes after half of the order's age: often at first, then ever more rarely.
SHORTEST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(days=1)
# A provider may still be at work on a call that we have given up: that nothing was bought is
# believed only of what was seen this long after it.
SAFETY = timedelta(minutes=10)
# Keys are kept for 24 h at least; clocks and slow answers have the rest.
REPEATED_WITHIN = timedelta(hours=20)

# Two of these have to agree before an order is sent again.
_PROOFS = (EvidenceKind.LIST, EvidenceKind.IDS, EvidenceKind.BALANCE)
_LINKS = (EvidenceKind.LIST, EvidenceKind.REPEAT, EvidenceKind.IDS)


def due() -> QuerySet[Order]:
    """Unconfirmed orders for which there may be new evidence now."""
    return Order.objects.filter(
        Q(next_check_at=None) | Q(next_check_at__lte=Now()),
        at_fitting_provider(),
        status=Status.UNCONFIRMED,
    )


def reconcile(provider: Provider) -> int:
    """Gather evidence on the provider's unconfirmed orders and settle what it proves; returns how
    many were settled.

    Safe to run twice and at the same time as itself. Makes its calls outside any transaction.
    """
    orders = _claim(provider)
    if not orders:
        return 0
    client = health.guarded(provider)
    calls = unconfirmed.lost_calls(orders)
    _by_reference(client, orders, calls)
    if open_ones := _still_open(orders):
        gaps.search(client, provider, open_ones)
        book.read(provider)
        _settle(open_ones, calls)
    return len(orders) - len(_still_open(orders))


@transaction.atomic
def _claim(provider: Provider) -> list[Order]:
    """The due orders of the provider, their next look already set: others leave them alone."""
    claimed = list(
        due()
        .filter(provider=provider)
        .order_by("pk")
        .select_for_update(skip_locked=True, of=("self",))[:BATCH]
    )
    if claimed:
        now = timezone.now()
        Order.objects.filter(pk__in=[order.pk for order in claimed]).update(
            next_check_at=Case(
                *(
                    When(pk=order.pk, then=from_now(_pause(now - order.status_changed_at)))
                    for order in claimed
                )
            )
        )
    return _loaded(claimed)


def _pause(age: timedelta) -> timedelta:
    return min(max(age / 2, SHORTEST_PAUSE), LONGEST_PAUSE)


def _loaded(orders: Sequence[Order]) -> list[Order]:
    return list(
        Order.objects.filter(pk__in=[order.pk for order in orders])
        .select_related("provider", "wallet", "service", "sent_service")
        .order_by("pk")
    )


def _still_open(orders: Sequence[Order]) -> list[Order]:
    return [order for order in _loaded(orders) if order.status == Status.UNCONFIRMED]


# --- the provider's list, and the same request again ----------------------------------------------


def _by_reference(
    client: ProviderClient, orders: Sequence[Order], calls: dict[int, LostCall]
) -> None:
    """Where the dialect knows orders by our reference. A provider that does not answer is not
    asked about the rest."""
    for order in orders:
        try:
            found = client.find(dispatch.upstream_order(order).reference)
        except NotOffered:
            return
        except ProviderError as error:
            unconfirmed.note(order, EvidenceKind.LIST, Verdict.UNCLEAR, error=str(error))
            return
        if found is not None:
            unconfirmed.note(order, EvidenceKind.LIST, Verdict.BOUGHT, external_id=found)
            _link(order, found, EvidenceKind.LIST)
            continue
        unconfirmed.note(order, EvidenceKind.LIST, Verdict.NOT_BOUGHT)
        if client.repeats_safely and _may_repeat(order, calls[order.pk]):
            try:
                _repeat(client, order)
            except (ProviderUnreachable, ProviderBusy):
                return


def _may_repeat(order: Order, call: LostCall) -> bool:
    """Whether the key still holds, something may be bought there, and it is still wanted."""
    provider = Provider.objects.get(pk=order.provider_id)
    return (
        timezone.now() < call.first + REPEATED_WITHIN
        and provider.enabled
        and not provider.maintenance
        and not _is_given_up(order)
    )


def _repeat(client: ProviderClient, order: Order) -> None:
    """The same request under the same key: the provider answers with the order that it has, or
    takes it now; either way it is bought once.

    Nobody else may settle the order meanwhile: whoever has loaded it before holds an old claim,
    and whoever loads it now sees the lease. Raises ProviderUnreachable and ProviderBusy.
    """
    mark = uuid4()
    ours = Order.objects.filter(pk=order.pk, status=Status.UNCONFIRMED)
    lease = from_now(dispatch.lease(order.provider))
    if not ours.filter(claim=order.claim).update(claim=mark, lease_until=lease):
        return
    order.claim = mark
    try:
        external_id = client.add(dispatch.upstream_order(order))
    except (ProviderUnreachable, ProviderBusy) as error:
        unconfirmed.note(order, EvidenceKind.REPEAT, Verdict.UNCLEAR, error=str(error))
        raise
    except ProviderRefused as refusal:
        _refused(client, order, refusal)
    except ProviderError as error:
        unconfirmed.note(order, EvidenceKind.REPEAT, Verdict.UNCLEAR, error=str(error))
    except Exception as error:
        log.exception("reconciliation.fault", order=order.pk)
        text = f"{type(error).__name__} while repeating."
        unconfirmed.note(order, EvidenceKind.REPEAT, Verdict.UNCLEAR, error=text)
    else:
        unconfirmed.note(order, EvidenceKind.REPEAT, Verdict.BOUGHT, external_id=external_id[:64])
        _link(order, external_id, EvidenceKind.REPEAT)
    finally:
        ours.filter(claim=mark).update(lease_until=None)


def _refused(client: ProviderClient, order: Order, refusal: ProviderRefused) -> None:
    """A no to the repeat: the order does not exist, if the provider's list says so as well (a
    key that was withdrawn meanwhile is refused too, whatever was bought before)."""
    try:
        exists = client.find(dispatch.upstream_order(order).reference) is not None
    except ProviderError as error:
        unconfirmed.note(
            order, EvidenceKind.REPEAT, Verdict.UNCLEAR, refused=str(refusal), error=str(error)
        )
        return
    verdict = Verdict.UNCLEAR if exists else Verdict.NOT_BOUGHT
    unconfirmed.note(order, EvidenceKind.REPEAT, verdict, refused=str(refusal))
    # Funds of ours are no reason to end a customer's order: it is asked for again later.
    if not exists and not isinstance(refusal, ProviderOutOfFunds):
        unconfirmed.pay_back(order, Status.FAILED, by=unconfirmed.JOB, reason=str(refusal))


def _link(order: Order, external_id: str, kind: EvidenceKind) -> None:
    try:
        unconfirmed.link(order, external_id, by=unconfirmed.JOB, note=f"evidence: {kind.value}")
    except ActionRefused as refusal:
        # Staff, or a late answer, were faster; or the id is another order's.
        order.refresh_from_db()
        if order.status == Status.UNCONFIRMED:
            unconfirmed.note(
                order, kind, Verdict.UNCLEAR, external_id=external_id[:64], error=str(refusal)
            )
        elif order.status in FINAL and order.external_id is None:
            unconfirmed.found_after_refund(order, external_id, by=unconfirmed.JOB)


# --- what it proves -------------------------------------------------------------------------------


def _settle(orders: Sequence[Order], calls: dict[int, LostCall]) -> None:
    known = unconfirmed.known_of(orders)
    for order in orders:
        evidence = known[order.pk]
        if external_id := _told_id(evidence):
            _link(order, *external_id)
        elif agreeing := _proofs_of_nothing(evidence, calls[order.pk]):
            _was_not_bought(order, agreeing)


def _told_id(evidence: dict[str, Evidence]) -> tuple[str, EvidenceKind] | None:
    for kind in _LINKS:
        found = evidence.get(kind)
        if found and found.verdict == Verdict.BOUGHT and found.external_id:
            return found.external_id, kind
    return None


def _proofs_of_nothing(evidence: dict[str, Evidence], call: LostCall) -> list[str]:
    """The kinds of evidence that agree that nothing was bought; none if they are too few, too
    early, or contradicted."""
    if any(each.verdict == Verdict.BOUGHT for each in evidence.values()):
        return []
    agreeing = [
        kind.value
        for kind in _PROOFS
        if (found := evidence.get(kind))
        and found.verdict == Verdict.NOT_BOUGHT
        and found.at >= call.ended + SAFETY
    ]
    return agreeing if len(agreeing) >= 2 else []


def _was_not_bought(order: Order, proofs: Sequence[str]) -> None:
    note = f"not bought: {', '.join(proofs)}"
    if _is_given_up(order):
        unconfirmed.pay_back(order, Status.CANCELLED, by=unconfirmed.JOB, reason=note)
        return
    try:
        unconfirmed.return_to_queue(order, by=unconfirmed.JOB, note=note)
    except ActionRefused:
        log.info("reconciliation.overtaken", order=order.pk)


def _is_given_up(order: Order) -> bool:
    """Whether the customer wants the order cancelled."""
    return CancelRequest.objects.filter(order=order, state__in=OPEN_CANCELS).exists()
