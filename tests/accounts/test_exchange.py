"""Exchange rates: the newest row of a pair applies, older ones stay as history."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import IntegrityError

from accounts.exchange import RateBook, RateMissing
from accounts.models import ExchangeRate
from tests.factories import ExchangeRateFactory

pytestmark = pytest.mark.django_db


def test_the_newest_rate_of_a_pair_applies_and_the_old_one_stays():
    ExchangeRateFactory(rate=Decimal(600))
    ExchangeRateFactory(rate=Decimal("612.5"))
    ExchangeRateFactory(quote="TRY", rate=Decimal(41))

    book = RateBook()

    assert book.rate("USD", "XAF") == Decimal("612.5")
    assert book.rate("USD", "TRY") == Decimal(41)
    assert ExchangeRate.objects.filter(quote="XAF").count() == 2


def test_a_currency_is_worth_itself():
    assert RateBook().rate("EUR", "EUR") == 1


@pytest.mark.parametrize(
    ("rate", "inverse"),
    # Rounded up at the tenth decimal, which is what a row can keep.
    [("600", "0.0016666667"), ("0.25", "4"), ("3", "0.3333333334")],
)
def test_the_opposite_pair_is_inverted(rate, inverse):
    ExchangeRateFactory(rate=Decimal(rate))

    assert RateBook().rate("XAF", "USD") == Decimal(inverse)


def test_a_pair_of_its_own_is_preferred_to_the_inverse():
    ExchangeRateFactory(rate=Decimal(600))
    ExchangeRateFactory(base="XAF", quote="USD", rate=Decimal("0.0018"))

    assert RateBook().rate("XAF", "USD") == Decimal("0.0018")


def test_nothing_is_converted_through_a_third_currency():
    ExchangeRateFactory(quote="XAF")
    ExchangeRateFactory(quote="TRY")

    with pytest.raises(RateMissing):
        RateBook().rate("TRY", "XAF")


def test_worth_in_names_the_currencies_that_rate_converts():
    ExchangeRateFactory(base="EUR", quote="XAF")
    ExchangeRateFactory(base="XAF", quote="USD")
    ExchangeRateFactory(base="USD", quote="TRY")

    book = RateBook()

    assert book.worth_in("XAF") == {"XAF", "EUR", "USD"}
    for base in ("XAF", "EUR", "USD"):
        book.rate(base, "XAF")
    with pytest.raises(RateMissing):
        book.rate("TRY", "XAF")


@pytest.mark.parametrize("pairs", [1, 3])
def test_a_book_is_read_with_one_query(django_assert_num_queries, pairs):
    for quote in ["XAF", "TRY", "EUR"][:pairs]:
        ExchangeRateFactory(quote=quote)

    with django_assert_num_queries(1):
        book = RateBook()
        book.rate("USD", "XAF")


@pytest.mark.parametrize(
    "changes", [{"rate": Decimal(0)}, {"rate": Decimal(-1)}, {"base": "XAF", "quote": "XAF"}]
)
def test_the_database_refuses_rates_without_meaning(changes):
    with pytest.raises(IntegrityError):
        ExchangeRateFactory(**changes)
