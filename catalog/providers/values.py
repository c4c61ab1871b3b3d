"""Single values as panels really send them. Every function here is total: odd input gives None or
an empty value, never an exception, and never a made-up 0.

A number that could mean two things counts as unreadable: "1,234" is 1.234 to one seller and 1234
to the next, and a rate that is a thousand times too low is sold at a loss.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from html import unescape
from typing import Any

LARGEST_WHOLE = 2**63 - 1
LARGEST_AMOUNT = Decimal(10) ** 15


class Unreadable(Exception):
    """The answer as a whole cannot be used; the text says why."""


class _BadNumber:
    """Stands for NaN, Infinity and numbers beyond reason, so that one spoils only its own item."""

    def __repr__(self) -> str:
        return "not a number"


_BAD_NUMBER = _BadNumber()


def load(body: bytes) -> Any:
    """The JSON value, fractions as exact Decimals. Raises Unreadable (HTML, empty, truncated)."""
    # A broken letter in one name (Latin-5 sent as UTF-8) must not cost the whole list.
    text = body.decode("utf-8-sig", errors="replace")
    if not text.strip():
        raise Unreadable("empty answer")
    try:
        return json.loads(
            text,
            parse_float=_fraction,
            parse_int=_integer,
            parse_constant=lambda _name: _BAD_NUMBER,
        )
    except (ValueError, RecursionError):
        kind = "a web page" if text.lstrip().startswith("<") else "no readable JSON"
        raise Unreadable(kind) from None


def _fraction(text: str) -> Decimal | _BadNumber:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return _BAD_NUMBER
    # Beyond these, turning it into an int or rounding it would take memory without end.
    return number if -60 < number.adjusted() < 30 and len(text) < 100 else _BAD_NUMBER


def _integer(text: str) -> int | _BadNumber:
    return int(text) if len(text) <= 30 else _BAD_NUMBER


_PLAIN = re.compile(r"[+-]?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,2})?")
_COMMA_GROUPS = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]{1,30})?")
_POINT_GROUPS = re.compile(
    r"[+-]?[1-9][0-9]{0,2}(?:(?:\.[0-9]{3})+,[0-9]{1,30}|(?:\.[0-9]{3}){2,})"
)
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]{1,30},[0-9]{1,30}")
_TWO_READINGS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}(?:\.(?:0|00|0{4,30}))?")
_WHOLE_GROUPS = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+")


def amount(value: object, *, decimal_comma: bool = False) -> Decimal | None:
    """An exact number out of 1.5, 3, "0.90000", "0,9", "1,234.56", "1.234,56", "9.0E-5".

    `decimal_comma`: the seller is known to write decimal commas, so "1,234" is a bit over 1.
    """
    if isinstance(value, bool):
        return None
    number: Decimal | None = None
    if isinstance(value, int | Decimal):
        number = Decimal(value)
    elif isinstance(value, str):
        number = _amount_in(value.strip(), decimal_comma=decimal_comma)
    return number if number is not None and abs(number) <= LARGEST_AMOUNT else None


def _amount_in(text: str, *, decimal_comma: bool) -> Decimal | None:
    if _PLAIN.fullmatch(text):
        return Decimal(text)
    if _TWO_READINGS.fullmatch(text) and not decimal_comma:
        return None
    if _DECIMAL_COMMA.fullmatch(text):
        return Decimal(text.replace(",", "."))
    if _COMMA_GROUPS.fullmatch(text):
        return Decimal(text.replace(",", ""))
    if _POINT_GROUPS.fullmatch(text):
        return Decimal(text.replace(".", "").replace(",", "."))
    return None


def uses_decimal_commas(texts: Iterable[str]) -> bool:
    """Whether a seller writes decimal commas, by those of its numbers that have one reading."""
    texts = [text.strip() for text in texts]
    decimal = any(
        _DECIMAL_COMMA.fullmatch(text) and not _TWO_READINGS.fullmatch(text) for text in texts
    )
    grouping = any("." in text and _COMMA_GROUPS.fullmatch(text) for text in texts)
    return decimal and not grouping


def whole(value: object) -> int | None:
    """A whole number that fits the database out of 100, "100", "1,000", 100.0, "100.00".

    "1.000" is None: one thousand to some sellers, one to others.
    """
    number: int | None = None
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        number = value
    elif isinstance(value, Decimal):
        number = int(value) if value == value.to_integral_value() else None
    elif isinstance(value, str):
        text = value.strip()
        if _WHOLE.fullmatch(text):
            number = int(text.partition(".")[0])
        elif _WHOLE_GROUPS.fullmatch(text):
            number = int(text.replace(",", ""))
    return number if number is not None and abs(number) <= LARGEST_WHOLE else None


def flag(value: object) -> bool:
    """Yes or no out of true, 1, "1", "true", "yes", "on"; anything else and missing is no."""
    if isinstance(value, str):
        return value.strip().casefold() in ("1", "true", "yes", "y", "on")
    return isinstance(value, bool | int | Decimal) and value == 1


_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:-]{0,63}")


def identifier(value: object) -> str | None:
    """A provider's id as text out of 12, "12", 12.0 or "a1-b2"; None for 0, negatives, the rest."""
    if isinstance(value, Decimal) or (isinstance(value, int) and not isinstance(value, bool)):
        number = whole(value)
        return str(number) if number is not None and number > 0 else None
    if not isinstance(value, str):
        return None
    text = value.strip()
    return text if _ID.fullmatch(text) and text.strip("0") else None


# Characters that turn the direction of the text around them; names use them to deceive.
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_TAGS_THAT_BREAK_LINES = re.compile(r"<\s*(?:br\s*/?|/p|/div|/li)\s*>", re.IGNORECASE)
_TAGS = re.compile(r"</?[a-zA-Z][^<>]*>")


def _printable(text: str, *, kept: str = "") -> str:
    """Without null bytes, control characters and halves of surrogate pairs."""
    return "".join(
        c
        for c in text
        if c in kept or (unicodedata.category(c) not in ("Cc", "Cs") and c not in _BIDI)
    )


def line(value: object, *, limit: int) -> str:
    """One line of text, HTML entities resolved, spaces tidied, cut to `limit`; "" if not text."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return ""
    # Cut twice: a name of many megabytes is not worth reading to its end.
    tidy = " ".join(_printable(unescape(value[: limit * 8]), kept="\n\t\r").split())
    return tidy[:limit].rstrip()


def paragraph(value: object, *, limit: int) -> str:
    """Several lines of text, HTML tags taken off, cut to `limit`; "" if not text."""
    if not isinstance(value, str):
        return ""
    text = unescape(value[: limit * 4].replace("\r\n", "\n"))
    text = _TAGS.sub("", _TAGS_THAT_BREAK_LINES.sub("\n", text))
    return _printable(text, kept="\n\t").strip()[:limit].rstrip()


def seconds(value: object) -> float | None:
    """A waiting time out of `retry_after`, between a second and an hour; None if unreadable."""
    number = amount(value)
    return None if number is None or number < 0 else min(max(float(number), 1.0), 3600.0)
