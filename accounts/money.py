"""Currencies, and exact amounts of them: the one place that knows scales and rounding.

An amount is a `Decimal` with at most six decimals in Python and a whole number of millionths in
the database: SQLite keeps decimals as floats, which would lose money in sums and comparisons.
"""

from __future__ import annotations

from decimal import (
    ROUND_CEILING,
    ROUND_FLOOR,
    Context,
    Decimal,
    Inexact,
    InvalidOperation,
    Overflow,
)
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldError, ValidationError
from django.core.validators import BaseValidator
from django.db import models
from django.db.models import Avg
from django.db.models.expressions import Combinable, register_combinable_fields
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    _DecimalField = models.Field[Decimal | int | str | Combinable, Decimal]
else:
    _DecimalField = models.Field

MAX_BIGINT = 2**63 - 1
ZERO = Decimal(0)


class Currency(models.TextChoices):
    """The currencies that a wallet can hold."""

    XAF = "XAF", _("CFA franc (XAF)")
    TRY = "TRY", _("Turkish lira (TRY)")
    USD = "USD", _("US dollar (USD)")


# What a price per 1000 units (or of one package) is rounded up to. Never finer than 0.001: then
# the price of ONE unit has at most six decimals and every charge is exact without rounding again.
PRICE_STEP: dict[str, Decimal] = {
    Currency.XAF: Decimal("0.1"),
    Currency.TRY: Decimal("0.01"),
    Currency.USD: Decimal("0.001"),
}

AMOUNT_PLACES = 6
AMOUNT_STEP = Decimal(1).scaleb(-AMOUNT_PLACES)


# Wide enough for every product of two stored numbers, and loud where it is not.
_EXACT = Context(prec=100, traps=[InvalidOperation, Overflow, Inexact])


def round_up(value: Decimal, step: Decimal) -> Decimal:
    """The smallest multiple of `step` that is not below `value` (charges and prices)."""
    return _to_multiple(value, step, ROUND_CEILING)


def round_down(value: Decimal, step: Decimal = AMOUNT_STEP) -> Decimal:
    """The largest multiple of `step` that is not above `value` (refunds)."""
    return _to_multiple(value, step, ROUND_FLOOR)


def _to_multiple(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    """Steps are decimal fractions (0.05, 25), so that dividing by them is exact."""
    times = _EXACT.divide(value, step).to_integral_value(rounding)
    return _EXACT.multiply(times, step)


class ScaledDecimalField(_DecimalField):
    """A `Decimal` with `places` decimals, kept exactly as a whole number in a bigint column.

    Works in filters, `F()` arithmetic, `Sum`, `Min` and `Max` on every database, not in `Avg`. A
    value with more decimals than `places`, or one that does not fit, raises ValidationError when
    validated and ValueError when it is sent to the database: nothing is ever rounded silently.
    """

    _pyi_private_set_type: Decimal | int | str | Combinable
    _pyi_private_get_type: Decimal

    empty_strings_allowed = False
    default_error_messages = {
        "invalid": _("“%(value)s” is not a number."),
        "places": _("At most %(places)s decimals are allowed."),
        "range": _("This number is too large."),
    }

    def __init__(self, *args: Any, places: int, **kwargs: Any) -> None:
        self.places = places
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        kwargs["places"] = self.places
        return name, path, args, kwargs

    def get_internal_type(self) -> str:
        return "BigIntegerField"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Decimal | None:
        if isinstance(expression, Avg):  # cut to a whole number already
            raise ValueError("Averages of exact numbers are not exact: divide Sum by Count.")
        return None if value is None else Decimal(int(value)).scaleb(-self.places, _EXACT)

    def to_python(self, value: Any) -> Decimal | None:
        if value is None:
            return None
        try:
            number = value if isinstance(value, Decimal) else Decimal(str(value).strip())
        except InvalidOperation:
            raise self._refusal("invalid", value=value) from None
        if not number.is_finite():
            raise self._refusal("invalid", value=value)
        if number.adjusted() > 18:  # the position of its first digit: cheap for 1e999999 too
            raise self._refusal("range")
        try:
            scaled = number.scaleb(self.places, _EXACT)
        except Inexact:
            raise self._refusal("places", places=self.places) from None
        if abs(scaled) > MAX_BIGINT:
            raise self._refusal("range")
        if scaled != scaled.to_integral_value():
            raise self._refusal("places", places=self.places)
        # One scale in memory as in the database: a saved object and a read one print the same.
        return Decimal(int(scaled)).scaleb(-self.places, _EXACT)

    def get_prep_value(self, value: Any) -> int | None:
        value = super().get_prep_value(value)
        if value is None:
            return None
        try:
            number = self.to_python(value)
        except ValidationError as error:
            raise ValueError(f"{self.name}: {error.messages[0]}") from error
        assert number is not None
        return int(number.scaleb(self.places, _EXACT))

    def _refusal(self, code: str, **params: Any) -> ValidationError:
        return ValidationError(self.error_messages[code], code=code, params=params)

    def formfield(self, **kwargs: Any) -> Any:
        from django import forms

        return super().formfield(
            **{
                "form_class": forms.DecimalField,
                "max_digits": 19,
                "decimal_places": self.places,
                **kwargs,
            }
        )


class AmountField(ScaledDecimalField):
    """An amount of money in the currency that stands beside it; six decimals.

    Inside an expression a bare number would mean millionths, so it says its field:
    `F("balance") + Value(amount, AmountField())`; an UPDATE that lacks that is refused.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["places"] = AMOUNT_PLACES
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        del kwargs["places"]
        return name, path, args, kwargs

    def get_placeholder(self, value: Any, compiler: Any, connection: Any) -> str:
        """Asked for by every INSERT and UPDATE; refuses an expression in another scale."""
        # output_field raises FieldError where an expression mixes types.
        if hasattr(value, "as_sql") and not isinstance(value.output_field, AmountField):
            raise FieldError(f"{self.name}: the expression is no amount.")
        return "%s"


for _sign in (Combinable.ADD, Combinable.SUB):
    register_combinable_fields(AmountField, _sign, AmountField, AmountField)


class RateField(ScaledDecimalField):
    """A provider's rate per 1000 units, or an exchange rate; ten decimals."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["places"] = 10
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        del kwargs["places"]
        return name, path, args, kwargs


class MoreThan(BaseValidator):
    """Validator: strictly more than the limit."""

    message = _("This must be more than %(limit_value)s.")
    code = "more_than"

    def compare(self, a: Any, b: Any) -> bool:
        return bool(a <= b)
