"""From a provider's rate to a charge, exactly."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from accounts.money import AMOUNT_STEP, PRICE_STEP, Currency
from catalog import pricing
from catalog.models import Category, ManualPrice, Provider, Service
from catalog.order_types import ServiceType
from catalog.pricing import NotPriced, PriceBook
from tests.factories import ExchangeRateFactory, ManualPriceFactory, ServiceFactory

# --- examples ----------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("currency", "exchange", "rate", "expected"),
    [
        # 0.123456 × 1.3 = 0.1604928
        ("USD", None, "0.123456", "0.161"),
        ("TRY", "41.5", "0.123456", "6.67"),
        ("XAF", "600", "0.123456", "96.3"),
        # Exactly on the step: nothing is added.
        ("USD", None, "10", "13"),
        # Below one step: one step.
        ("XAF", "600", "0.0000000001", "0.1"),
    ],
)
def test_price_is_rate_times_exchange_times_markup_rounded_up(currency, exchange, rate, expected):
    if exchange:
        ExchangeRateFactory(quote=currency, rate=Decimal(exchange))
    service = ServiceFactory(provider_rate=Decimal(rate))

    price = pricing.quote(service, 1000, currency=currency).price

    assert price.rate == Decimal(expected)
    assert price.cost == Decimal(rate) * Decimal(exchange or 1)
    assert price.provider_rate == Decimal(rate)
    assert price.exchange_rate == Decimal(exchange or 1)
    assert price.currency == currency


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("service", "category", "provider", "expected"),
    [
        (None, None, None, "1.3"),
        (None, None, 50, "1.5"),
        (None, 40, 50, "1.4"),
        (20, 40, 50, "1.2"),
        (0, 40, 50, "1"),
    ],
)
def test_markup_is_the_services_over_the_categorys_over_the_providers_over_the_default(
    service, category, provider, expected
):
    priced = ServiceFactory(
        markup_percent=service,
        category__markup_percent=category,
        provider__markup_percent=provider,
    )

    assert pricing.quote(priced, 1, currency="USD").price.rate == Decimal(expected)


@pytest.mark.django_db
def test_default_markup_is_a_setting(settings):
    settings.DEFAULT_MARKUP_PERCENT = "75"

    assert pricing.quote(ServiceFactory(), 1, currency="USD").price.rate == Decimal("1.75")


@pytest.mark.django_db
def test_a_manual_price_wins_in_its_currency():
    ExchangeRateFactory()
    manual = ManualPriceFactory(rate=Decimal("4.2"))
    ManualPriceFactory(rate=Decimal("9"))

    assert pricing.quote(manual.service, 1, currency="USD").price.rate == Decimal("4.2")
    assert pricing.quote(manual.service, 1, currency="XAF").price.rate == Decimal("780")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("below_cost", "expected"),
    [(False, "2.001"), (True, "1.5")],
    ids=["floored at the cost, rounded up", "staff allow it"],
)
def test_a_manual_price_below_cost_needs_staffs_permission(below_cost, expected):
    service = ServiceFactory(provider_rate=Decimal("2.0005"), allow_below_cost=below_cost)
    ManualPriceFactory(service=service, rate=Decimal("1.5"))

    assert pricing.quote(service, 1, currency="USD").price.rate == Decimal(expected)


@pytest.mark.django_db
@pytest.mark.parametrize(("below_cost", "expected"), [(False, "2"), (True, "1")])
def test_a_discount_below_cost_needs_staffs_permission(below_cost, expected):
    service = ServiceFactory(
        provider_rate=Decimal(2), markup_percent=-50, allow_below_cost=below_cost
    )

    assert pricing.quote(service, 1, currency="USD").price.rate == Decimal(expected)


@pytest.mark.django_db
@pytest.mark.parametrize("rate", [None, Decimal(0)])
def test_without_a_rate_there_is_no_price_even_a_manual_one(rate):
    service = ServiceFactory(provider_rate=rate)
    ManualPriceFactory(service=service)

    with pytest.raises(NotPriced):
        pricing.quote(service, 1, currency="USD")


@pytest.mark.django_db
def test_without_an_exchange_rate_there_is_no_price():
    with pytest.raises(NotPriced):
        pricing.quote(ServiceFactory(), 1, currency="XAF")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("type_", "quantity", "charge"),
    [
        (ServiceType.DEFAULT, 1, "0.0013"),
        (ServiceType.DEFAULT, 1234, "1.6042"),
        (ServiceType.CUSTOM_COMMENTS, 7, "0.0091"),
        (ServiceType.PACKAGE, 1, "1.3"),
        (ServiceType.PACKAGE, 500, "1.3"),
    ],
)
def test_charge_is_per_1000_or_per_package(type_, quantity, charge):
    quote = pricing.quote(ServiceFactory(type=type_), quantity, currency="USD")

    assert (quote.charge, quote.quantity) == (Decimal(charge), quantity)
    assert quote.price.per_unit == Decimal("1.3" if type_ == ServiceType.PACKAGE else "0.0013")


@pytest.mark.django_db
@pytest.mark.parametrize("rows", [1, 3])
def test_a_price_book_reads_twice_however_many_services_it_prices(django_assert_num_queries, rows):
    ExchangeRateFactory()
    services = ServiceFactory.create_batch(rows)

    with django_assert_num_queries(2):
        book = PriceBook("XAF", services)
        prices = [book.price(service) for service in services]

    assert [price.rate for price in prices] == [Decimal(780)] * rows


def test_a_manual_price_is_a_multiple_of_its_currencys_step():
    with pytest.raises(ValidationError) as refused:
        ManualPrice(currency="TRY", rate=Decimal("1.005")).clean()

    assert refused.value.message_dict == {
        "rate": ["Prices in this currency are multiples of 0.01."]
    }


# --- properties, over everything that the columns can hold -------------------------------------

rates = st.integers(1, 2**63 - 1).map(lambda number: Decimal(number).scaleb(-10))
markups = st.integers(-9999, 10_000_000).map(lambda number: Decimal(number).scaleb(-2))
currencies = st.sampled_from(Currency.values)
quantities = st.integers(1, 2**63 - 1)


class OneRate:
    """An exchange-rate book that holds a single rate."""

    def __init__(self, rate: Decimal) -> None:
        self._rate = rate

    def rate(self, base: str, quote: str) -> Decimal:
        return self._rate


def priced(rate, exchange, markup, currency, *, allow_below_cost=False):
    service = Service(
        pk=1,
        provider=Provider(currency="USD"),
        category=Category(),
        type=ServiceType.DEFAULT,
        provider_rate=rate,
        markup_percent=markup,
        allow_below_cost=allow_below_cost,
    )
    return PriceBook(currency, [], exchange=OneRate(exchange)).price(service)


@given(rates, rates, markups, currencies)
def test_price_is_the_smallest_step_that_covers_cost_and_markup(rate, exchange, markup, currency):
    price = priced(rate, exchange, markup, currency)

    cost = Fraction(rate) * Fraction(exchange)
    wanted = max(cost * (1 + Fraction(markup) / 100), cost)
    step = Fraction(PRICE_STEP[currency])
    assert Fraction(price.cost) == cost
    assert Fraction(price.rate) % step == 0
    assert wanted <= Fraction(price.rate) < wanted + step


@given(rates, rates, markups, currencies)
def test_price_below_cost_is_still_above_zero_and_on_the_step(rate, exchange, markup, currency):
    price = priced(rate, exchange, markup, currency, allow_below_cost=True)

    assert price.rate > 0
    assert Fraction(price.rate) % Fraction(PRICE_STEP[currency]) == 0


@given(rates, rates, markups, currencies, quantities)
def test_charge_is_exact_and_never_below_the_cost_of_the_quantity(
    rate, exchange, markup, currency, quantity
):
    price = priced(rate, exchange, markup, currency)

    charge = pricing.quote_at(price, quantity).charge

    assert Fraction(charge) == Fraction(price.rate) * quantity / 1000
    assert Fraction(charge) % Fraction(AMOUNT_STEP) == 0
    assert Fraction(price.per_unit) % Fraction(AMOUNT_STEP) == 0
    assert Fraction(charge) >= Fraction(price.cost) * quantity / 1000


@given(rates, rates, markups, currencies, st.tuples(quantities, quantities))
def test_charge_grows_with_the_quantity(rate, exchange, markup, currency, both):
    price = priced(rate, exchange, markup, currency)
    fewer, more = sorted(both)

    assert pricing.quote_at(price, fewer).charge <= pricing.quote_at(price, more).charge
    if fewer < more:
        assert pricing.quote_at(price, fewer).charge < pricing.quote_at(price, more).charge
