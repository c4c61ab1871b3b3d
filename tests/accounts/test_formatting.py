"""Amounts are printed exactly, with the currency, in the reader's separators."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.formatting import money, number


@pytest.mark.parametrize(
    ("amount", "currency", "language", "printed"),
    [
        ("1248500", "XAF", "en", "1,248,500 XAF"),
        ("1248500", "XAF", "fr", "1\u202f248\u202f500 XAF"),
        ("1248500", "XAF", "tr", "1.248.500 XAF"),
        ("8420.75", "TRY", "en", "8,420.75 TRY"),
        ("8420.75", "TRY", "tr", "8.420,75 TRY"),
        ("12.5", "USD", "en", "12.50 USD"),
        ("12.500000", "USD", "fr", "12,50 USD"),
        ("12.5", "XAF", "en", "12.5 XAF"),
        ("0.000125", "USD", "en", "0.000125 USD"),
        ("0.0105", "TRY", "tr", "0,0105 TRY"),
        ("0", "USD", "en", "0.00 USD"),
        ("-0.00", "USD", "en", "0.00 USD"),
        ("0.000000", "XAF", "en", "0 XAF"),
        ("-12.5", "USD", "en", "−12.50 USD"),
        ("9223372036854.775807", "USD", "en", "9,223,372,036,854.775807 USD"),
        ("1E+3", "USD", "en", "1,000.00 USD"),
    ],
)
def test_money_is_exact_in_every_language(amount, currency, language, printed):
    assert money(Decimal(amount), currency, language) == printed.replace(
        f" {currency}", f"\u00a0{currency}"
    )


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from(["XAF", "TRY", "USD"]))
def test_money_never_rounds(millionths, currency):
    amount = Decimal(millionths).scaleb(-6)

    printed = money(amount, currency, "en")

    digits = printed.removesuffix(f"\u00a0{currency}").replace(",", "").replace("−", "-")
    assert Decimal(digits) == amount


@pytest.mark.parametrize(
    ("language", "printed"), [("en", "10,000"), ("fr", "10\u202f000"), ("tr", "10.000")]
)
def test_number_has_the_languages_separators(language, printed):
    assert number(10_000, language) == printed
