"""Currencies, and exact amounts of them: the one place that knows scales and rounding.

An amount is a `Decimal` with at most six decimals in Python and a whole number of millionths in
the database: SQLite keeps decimals as floats, which would lose money in sums and comparisons.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.core.validators import BaseValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.db.models.expressions import Combinable

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


def round_up(value: Decimal, step: Decimal) -> Decimal:
    """The smallest multiple of `step` that is not below `value` (charges and prices)."""
    return (value / step).to_integral_value(ROUND_CEILING) * step


def round_down(value: Decimal, step: Decimal = AMOUNT_STEP) -> Decimal:
    """The largest multiple of `step` that is not above `value` (refunds)."""
    return (value / step).to_integral_value(ROUND_FLOOR) * step


class ScaledDecimalField(_DecimalField):
    _pyi_private_set_type: Decimal | int | str | Combinable
    _pyi_private_get_type: Decimal

    """A `Decimal` with `places` decimals, kept exactly as a whole number in a bigint column.

    Works in filters, `F()` arithmetic, `Sum`, `Min` and `Max` on every database. A value with
    more decimals than `places`, or one that does not fit, raises ValidationError when validated
    and ValueError when it is sent to the database: nothing is ever rounded silently.
    """

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
        # PostgreSQL returns a numeric for SUM(bigint), SQLite an int.
        return None if value is None else Decimal(int(value)).scaleb(-self.places)

    def to_python(self, value: Any) -> Decimal | None:
        if value is None:
            return None
        try:
            number = value if isinstance(value, Decimal) else Decimal(str(value).strip())
        except InvalidOperation:
            raise ValidationError(
                self.error_messages["invalid"], code="invalid", params={"value": value}
            ) from None
        if not number.is_finite():
            raise ValidationError(
                self.error_messages["invalid"], code="invalid", params={"value": value}
            )
        scaled = number.scaleb(self.places)
        if abs(scaled) > MAX_BIGINT:
            raise ValidationError(self.error_messages["range"], code="range")
        if scaled != scaled.to_integral_value(ROUND_HALF_EVEN):
            raise ValidationError(
                self.error_messages["places"], code="places", params={"places": self.places}
            )
        # One scale in memory as in the database: a saved object and a read one print the same.
        return Decimal(int(scaled)).scaleb(-self.places)

    def get_prep_value(self, value: Any) -> int | None:
        value = super().get_prep_value(value)
        if value is None:
            return None
        try:
            number = self.to_python(value)
        except ValidationError as error:
            raise ValueError(f"{self.name}: {error.messages[0]}") from error
        assert number is not None
        return int(number.scaleb(self.places))

    def value_to_string(self, obj: models.Model) -> str:
        value = self.value_from_object(obj)
        return "" if value is None else str(value)

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
    """An amount of money in the currency that stands beside it; six decimals."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["places"] = AMOUNT_PLACES
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        del kwargs["places"]
        return name, path, args, kwargs


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
