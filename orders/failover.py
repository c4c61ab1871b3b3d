"""Another provider's service in the place of one that cannot deliver (catalog.models.Substitute).

Only for orders that were certainly not bought: refused clearly, or waiting while their provider is
interrupted. Never twice to the same service, never where it would cost more than the customer has
paid (unless staff allow that for the service). What the customer bought and paid stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now
from django_q.tasks import async_task

from accounts.exchange import RateBook
from catalog.health import may_substitute
from catalog.models import Breaker, Service, Substitute
from catalog.order_types import ORDER_TYPES, ChargedOn
from catalog.pricing import Price, PriceBook, quote_at
from orders.models import CancelRequest, EventKind, Order, OrderEvent
from orders.models.requests import OPEN_CANCELS
from orders.moves import by_job, move, update
from orders.queueing import claimable
from orders.statuses import Status

# Orders looked at in one beat of the tick.
BATCH = 200

_BY = by_job("dispatch")


def pass_on(order: Order, *, why: str) -> bool:
    """Give a waiting or refused order to the next substitute, and wake that one's dispatcher.

    Returns False, and nothing has changed, when there is none that may take it, when the customer
    wants the order cancelled, or when it has left its status meanwhile.
    """
    return _pass_on(order, _Substitutes(), why=why)


def pass_on_interrupted() -> int:
    """Give the orders that wait at interrupted providers to substitutes; returns how many."""
    usable = Substitute.objects.filter(
        may_substitute("substitute__provider__"), service=OuterRef("service")
    )
    waiting = claimable(
        Order.objects.filter(
            Exists(usable), status=Status.PENDING, send_after__isnull=False
        ).exclude(provider__breaker=Breaker.CLOSED)
    )
    substitutes = _Substitutes()
    orders = waiting.select_related("service", "provider").order_by("pk")[:BATCH]
    return sum(_pass_on(order, substitutes, why="The provider is interrupted.") for order in orders)


class _Substitutes:
    """Which services may take another's place: read once for each service."""

    def __init__(self) -> None:
        self._exchange: RateBook | None = None
        self._of: dict[int, list[Service]] = {}

    def of(self, service: Service) -> list[Service]:
        if service.pk not in self._of:
            rows = Substitute.objects.filter(
                may_substitute("substitute__provider__"),
                service=service,
                substitute__vanished_at=None,
                substitute__provider_rate__gt=0,
            ).select_related("substitute__provider", "substitute__category")
            self._of[service.pk] = [row.substitute for row in rows]
        return self._of[service.pk]

    def price(self, service: Service, currency: str) -> Price | None:
        self._exchange = self._exchange or RateBook()
        return PriceBook(currency, [service], exchange=self._exchange).price_or_none(service)


def _pass_on(order: Order, substitutes: _Substitutes, *, why: str) -> bool:
    if order.sandbox:
        return False
    options = substitutes.of(order.service)
    if not options or _is_unwanted(order):
        return False
    tried = _tried(order)
    for service in options:
        if service.pk in tried or not _could_deliver(service, order):
            continue
        price = substitutes.price(service, order.currency)
        if price is not None and (
            order.service.allow_below_cost or _cost(price, order) <= order.charge
        ):
            return _give(order, service, price, why=why)
    return False


@transaction.atomic
def _give(order: Order, service: Service, price: Price, *, why: str) -> bool:
    if order.status != Status.PENDING and not move(
        order,
        Status.PENDING,
        by=_BY,
        claim=None,
        lease_until=None,
        send_after=Now(),
        failure=why[:500],
    ):
        return False
    given = update(
        order,
        kind=EventKind.REROUTED,
        by=_BY,
        note=why,
        provider=service.provider,
        sent_service=service,
        provider_rate=price.provider_rate,
        exchange_rate=price.exchange_rate,
        send_after=Now(),
    )
    if given:
        async_task("orders.tasks.dispatch_provider", service.provider_id, q_options={"save": False})
    return given


def _is_unwanted(order: Order) -> bool:
    return CancelRequest.objects.filter(order=order, state__in=OPEN_CANCELS).exists()


def _tried(order: Order) -> set[int]:
    """The services that have had their turn."""
    tried = {order.service_id}
    if order.sent_service_id is not None:
        events = OrderEvent.objects.filter(order=order, kind=EventKind.REROUTED)
        for changes in events.values_list("changes", flat=True):
            tried.update(pk for pk in changes.get("sent_service", ()) if pk is not None)
    return tried


def _could_deliver(service: Service, order: Order) -> bool:
    """Whether the service takes orders of this type and size."""
    if service.type != order.type or service.provider_id == order.provider_id:
        return False
    if order.runs is not None and not service.passes_dripfeed_on:
        return False
    return all(
        service.min_quantity <= quantity <= service.max_quantity for quantity in _sizes(order)
    )


def _sizes(order: Order) -> Iterable[int]:
    """The quantities that a service's limits are about."""
    match ORDER_TYPES[order.type].charged_on:
        case ChargedOn.PACKAGE:
            return ()
        case ChargedOn.POSTS:
            return order.subscription.minimum, order.subscription.maximum
    return order.quantity_per_run, order.quantity


def _cost(price: Price, order: Order) -> Decimal:
    """What the order would cost us there, in its own currency."""
    return quote_at(replace(price, rate=price.cost), order.quantity).charge
