"""Money and numbers as people read them, in the language of the page.

Amounts are exact: never rounded, at least the currency's usual decimals, more only where the
amount has them. The currency's code always stands behind the number, so that it means the same
in three languages and on three continents ("$" and "FCFA" do not).
"""

from __future__ import annotations

from decimal import Decimal

from babel.numbers import format_decimal, format_percent

from accounts.money import Currency

NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"

# How many decimals people expect at least.
_USUAL_DECIMALS: dict[str, int] = {Currency.XAF: 0, Currency.TRY: 2, Currency.USD: 2}


def money(amount: Decimal, currency: str, language: str) -> str:
    """The exact amount with its currency: 1,248.50 USD · 1 248,50 USD · 1.248,50 USD."""
    decimals = _USUAL_DECIMALS.get(currency, 2)
    pattern = "#,##0." + "0" * decimals if decimals else "#,##0"
    return f"{_print(amount, pattern, language)}{NO_BREAK_SPACE}{currency}"


def number(value: int | Decimal, language: str) -> str:
    """A count with the language's separators: 10,000 · 10 000 · 10.000."""
    return _print(Decimal(value), "#,##0", language)


def percent(value: int, language: str) -> str:
    """A whole number of percent: 98% · 98 % · %98."""
    printed: str = format_percent(Decimal(value) / 100, locale=language.replace("-", "_"))
    return printed


def _print(value: Decimal, pattern: str, language: str) -> str:
    # -0 and trailing zeros of the stored scale mean nothing to a reader.
    exact = value.normalize() if value else Decimal(0)
    printed: str = format_decimal(
        exact, pattern, locale=language.replace("-", "_"), decimal_quantization=False
    )
    return printed.replace("-", MINUS)
