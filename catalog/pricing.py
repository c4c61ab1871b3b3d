"""From a provider's rate to what a customer pays.

price = rate × exchange rate × (1 + markup), rounded up to the currency's step; a manual price
wins; nothing is sold below cost unless staff allow it for that service. `quote` and `quote_at` are
the only place that turns a service and a quantity into a charge.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext

from django.conf import settings

from accounts.exchange import RateBook, RateMissing
from accounts.money import PRICE_STEP, round_up
from catalog.models import ManualPrice, Service
from catalog.order_types import ORDER_TYPES, ChargedOn

# Products of stored rates have up to 40 digits, more than Python's 28 keep exactly.
_EXACT = Context(prec=60)
_HUNDRED = Decimal(100)


class CatalogError(Exception):
    """Base of what the catalogue refuses. Nothing has changed."""


class NotPriced(CatalogError):
    """The service has no price in this currency: no readable rate, or no exchange rate."""


@dataclass(frozen=True)
class Price:
    """What a service costs, per 1000 units (a package: one), in `currency`."""

    rate: Decimal  # what the customer pays
    cost: Decimal  # what we pay, converted, not rounded
    currency: str
    provider_rate: Decimal  # in the provider's currency
    exchange_rate: Decimal  # 1 of the provider's currency = this many of `currency`
    per_package: bool

    @property
    def per_unit(self) -> Decimal:
        """Price of one unit (a package: of one), exact: prices are multiples of 0.001."""
        return self.rate if self.per_package else self.rate / 1000


@dataclass(frozen=True)
class Quote:
    """A price applied to a quantity: what will be taken from the wallet, in `price.currency`."""

    price: Price
    quantity: int
    charge: Decimal


class PriceBook:
    """Prices in one currency from one reading of the exchange rates and manual prices.

    Two queries when made: none for the rates where `exchange` is given; only the manual prices of
    `services` where those are. The priced services need their provider and category loaded, or
    cost a query each.
    """

    def __init__(
        self,
        currency: str,
        services: Iterable[Service] | None = None,
        *,
        exchange: RateBook | None = None,
    ) -> None:
        self.currency = currency
        self._exchange = exchange or RateBook()
        manual = ManualPrice.objects.filter(currency=currency)
        if services is not None:
            manual = manual.filter(service__in=[service.pk for service in services])
        self._manual = dict(manual.values_list("service_id", "rate"))

    def price(self, service: Service) -> Price:
        """The service's price. Raises NotPriced."""
        if not service.provider_rate:
            raise NotPriced(f"service {service.pk}: no rate")
        try:
            exchange = self._exchange.rate(service.provider.currency, self.currency)
        except RateMissing as error:
            raise NotPriced(f"service {service.pk}: {error}") from error
        with localcontext(_EXACT):
            cost = service.provider_rate * exchange
            rate = self._manual.get(service.pk)
            if rate is None:
                rate = cost * (1 + markup_percent(service) / _HUNDRED)
            if not service.allow_below_cost:
                rate = max(rate, cost)
            # Nothing is sold for 0, whatever discount staff have set.
            rate = max(round_up(rate, PRICE_STEP[self.currency]), PRICE_STEP[self.currency])
        return Price(
            rate=rate,
            cost=cost,
            currency=self.currency,
            provider_rate=service.provider_rate,
            exchange_rate=exchange,
            per_package=is_package(service),
        )

    def price_or_none(self, service: Service) -> Price | None:
        """The service's price, or None where it has none in this currency."""
        try:
            return self.price(service)
        except NotPriced:
            return None


def is_package(service: Service) -> bool:
    """Whether the rate is the price of one package instead of 1000 units."""
    row = ORDER_TYPES.get(service.type)
    return row is not None and row.charged_on is ChargedOn.PACKAGE


def markup_percent(service: Service) -> Decimal:
    """Percent on top of cost: service over category over provider over default."""
    for level in (service, service.category, service.provider):
        if level.markup_percent is not None:
            return level.markup_percent
    return Decimal(settings.DEFAULT_MARKUP_PERCENT)


def quote(service: Service, quantity: int, *, currency: str) -> Quote:
    """What `quantity` units of the service (ignored for packages) cost in this currency.

    Raises NotPriced.
    """
    return quote_at(PriceBook(currency, [service]).price(service), quantity)


def quote_at(price: Price, quantity: int) -> Quote:
    """A known price applied to a quantity (ignored for packages).

    Exact without rounding: a price's step is a thousand times an amount's.
    """
    with localcontext(_EXACT):
        charge = price.rate if price.per_package else price.rate * quantity / 1000
    return Quote(price=price, quantity=quantity, charge=charge)
