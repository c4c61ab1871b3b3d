"""Exchange rates, kept by staff: the newest row of a pair applies."""

from __future__ import annotations

from decimal import Decimal

from django.db.models import Max

from accounts.models import ExchangeRate
from accounts.money import round_up

# As many decimals as the rates themselves have: an order keeps the rate that it was priced with.
_STEP = Decimal("1E-10")


class ExchangeError(Exception):
    """Base of what exchange refuses."""


class RateMissing(ExchangeError):
    """Staff have entered no rate between these two currencies."""


class RateBook:
    """The rates in force when it was made: one query, then no more."""

    def __init__(self) -> None:
        newest = ExchangeRate.objects.values("base", "quote").annotate(newest=Max("pk"))
        self._rates = {
            (row.base, row.quote): row.rate
            for row in ExchangeRate.objects.filter(pk__in=newest.values("newest"))
        }

    def rate(self, base: str, quote: str) -> Decimal:
        """How many `quote` one `base` is worth: the pair, or the inverse of its opposite.

        The inverse is rounded up at the tenth decimal, so that no cost is understated. Raises
        RateMissing. Never converts through a third currency: staff decide each pair.
        """
        if base == quote:
            return Decimal(1)
        if (direct := self._rates.get((base, quote))) is not None:
            return direct
        if (inverse := self._rates.get((quote, base))) is not None:
            return round_up(1 / inverse, _STEP)
        raise RateMissing(f"{base} → {quote}")

    def worth_in(self, quote: str) -> set[str]:
        """The currencies that `rate` converts into `quote`, itself included."""
        direct = {base for base, other in self._rates if other == quote}
        return direct | {other for base, other in self._rates if base == quote} | {quote}
