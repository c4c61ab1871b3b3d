"""What is told of a service's speed: measured, else estimated by staff, else "not enough data"."""

from __future__ import annotations

from enum import StrEnum

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from catalog.models import Service, ServiceFacts

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


class _Unit(StrEnum):
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"


def average_time(service: Service) -> str:
    """How long an order of about 1000 units takes, in the reader's language; never empty.

    Measured: from the median to the time within which nine of ten are finished ("1-3 hours").
    No query where `facts` is loaded with the service.
    """
    facts = _facts(service)
    if facts and facts.completion_median is not None and facts.completion_p90 is not None:
        return duration(facts.completion_median, facts.completion_p90)
    return service.average_time or _("Not enough data")


def start_time(service: Service) -> str:
    """How long it takes until delivery begins, as measured; "" before that. As `average_time`."""
    facts = _facts(service)
    if facts and facts.start_median is not None and facts.start_p90 is not None:
        return duration(facts.start_median, facts.start_p90)
    return ""


def completion_rate(service: Service) -> int | None:
    """Percent of the orders of the last 30 days that were delivered in full; None: too few.

    No query where `facts` is loaded with the service.
    """
    facts = _facts(service)
    return facts.completion_rate if facts else None


def duration(shortest: int, longest: int) -> str:
    """Two times in seconds as a short text: "1-3 hours", "20 minutes - 3 hours", "2 days".

    Each is rounded up, so that nothing looks quicker than it was.
    """
    (low, low_unit), (high, high_unit) = _rounded(shortest), _rounded(longest)
    if (low, low_unit) == (high, high_unit):
        return _words(high, high_unit)
    # A plain hyphen, as the market's programs write it.
    if low_unit == high_unit:
        return _words(high, high_unit, first=low)
    return f"{_words(low, low_unit)} - {_words(high, high_unit)}"


def _facts(service: Service) -> ServiceFacts | None:
    # A service without the row raises what is an AttributeError too.
    return getattr(service, "facts", None)


def _rounded(seconds: int) -> tuple[int, _Unit]:
    minutes = max(-(-seconds // _MINUTE), 1)
    if minutes > 10:
        minutes = -(-minutes // 5) * 5
    if minutes <= 90 and minutes != 60:
        return minutes, _Unit.MINUTE
    if seconds <= 2 * _DAY:
        return -(-seconds // _HOUR), _Unit.HOUR
    return -(-seconds // _DAY), _Unit.DAY


def _words(number: int, unit: _Unit, *, first: int | None = None) -> str:
    time = str(number) if first is None else f"{first}-{number}"
    match unit:
        case _Unit.MINUTE:
            words = ngettext("%(time)s minute", "%(time)s minutes", number)
        case _Unit.HOUR:
            words = ngettext("%(time)s hour", "%(time)s hours", number)
        case _Unit.DAY:
            words = ngettext("%(time)s day", "%(time)s days", number)
    return words % {"time": time}
