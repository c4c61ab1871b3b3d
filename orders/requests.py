"""Reading an order as a customer or a program sends it, by the table of order types."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from django.utils import timezone

from catalog import links
from catalog.countries import country_code
from catalog.models import LinkTarget, Service
from catalog.order_types import (
    DEFAULT_POSTS,
    FIELDS,
    ORDER_TYPES,
    ChargedOn,
    FieldKind,
    FieldRule,
    lines_of,
)

LINK_LIMIT = 2048
CLIENT_REF_LIMIT = 255
NAME_LIMIT = 255
# One comment longer than this is accepted by no network; the whole list must fit a request.
LINE_LIMIT = 1000
LIST_LIMIT = 100_000
_MAX_INTEGER = 2**63 - 1
_INTEGER = re.compile(r"[+-]?[0-9]+")
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
_DAY_FIRST = re.compile(r"([0-9]{1,2})[/.-]([0-9]{1,2})[/.-]([0-9]{4})")
_YEAR_FIRST = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})")
ORDER_FIELDS = frozenset(FIELDS)
# What an order keeps in columns of its own.
_COLUMNS = frozenset({"link", "quantity", "runs", "interval"})
# The fields that say how much is charged.
_COUNTED: dict[ChargedOn, frozenset[str]] = {
    ChargedOn.QUANTITY: frozenset({"quantity", "runs"}),
    ChargedOn.PACKAGE: frozenset(),
    ChargedOn.COMMENTS: frozenset({"comments"}),
    ChargedOn.USERNAMES: frozenset({"usernames"}),
    ChargedOn.POSTS: frozenset({"max", "posts", "old_posts"}),
}


class ProblemCode(StrEnum):
    """What is wrong with one field."""

    REQUIRED = "required"
    INVALID = "invalid"
    TOO_SMALL = "too_small"  # params: minimum, maximum
    TOO_LARGE = "too_large"  # params: minimum, maximum
    TOO_LONG = "too_long"  # params: limit (characters)
    TOO_LARGE_TOGETHER = "too_large_together"  # params: maximum (of all runs)
    NOT_ALLOWED = "not_allowed"
    IN_THE_PAST = "in_the_past"
    WRONG_NETWORK = "wrong_network"  # params: expected, found (catalog.models.Network)
    WRONG_TARGET = "wrong_target"  # params: expected, found (catalog.models.LinkTarget)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with an order; `field` is the panel dialect's name."""

    field: str
    code: ProblemCode
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class InvalidRequest(Exception):
    """The order cannot be read; `problems` says why, in the order of the type's fields.

    `quantity` is what would be charged, where that much could be read.
    """

    def __init__(self, *problems: Problem, quantity: int | None = None) -> None:
        super().__init__(", ".join(f"{p.field}: {p.code}" for p in problems))
        self.problems = problems
        self.quantity = quantity


@dataclass(frozen=True)
class OrderDraft:
    """An order as received: form strings or JSON values, nothing checked yet.

    `values` may hold anything; only the fields of the table of order types are looked at.
    """

    service_id: object
    values: Mapping[str, object]
    client_ref: object = ""

    def fingerprint(self, currency: str) -> str:
        """Tells whether two drafts ask for the same, however their numbers were written."""
        asked = {
            "service": _text(self.service_id),
            "currency": currency,
            "client_ref": _text(self.client_ref),
            "values": {
                name: _text(value)
                for name, value in self.values.items()
                if name in ORDER_FIELDS and not _is_blank(value)
            },
        }
        encoded = json.dumps(asked, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(encoded.encode()).hexdigest()


@dataclass(frozen=True)
class SubscriptionTerms:
    """What a subscription asks for; `posts` are new and old ones together, `delay` is minutes."""

    minimum: int
    maximum: int
    posts: int
    delay: int
    expires_on: date | None


@dataclass(frozen=True)
class OrderRequest:
    """A checked order.

    `quantity` is what is charged and delivered: of all runs together, the number of comments or
    names, of a subscription the most that it can come to. `link` of a type without one is the
    user's name. `fields` are the type's further fields as a provider takes them; `runs` (at least
    two) and `interval` (minutes) are set for a drip-feed only.
    """

    link: str
    link_key: str
    quantity: int
    fields: Mapping[str, str]
    client_ref: str
    runs: int | None = None
    interval: int | None = None
    terms: SubscriptionTerms | None = None


def read_service_id(value: object) -> int:
    """The service id of a draft. Raises InvalidRequest (field `service_id`)."""
    if _is_blank(value):
        raise InvalidRequest(Problem("service_id", ProblemCode.REQUIRED))
    number = read_integer(value)
    if number is None:
        raise InvalidRequest(Problem("service_id", ProblemCode.INVALID))
    return min(max(number, 0), _MAX_INTEGER)


def read_request(draft: OrderDraft, service: Service) -> OrderRequest:
    """Check a draft against the service's type, limits and links. Raises InvalidRequest."""
    row = ORDER_TYPES[service.type]
    reading = _Reading(draft.values, service)
    for name in row.fields:
        reading.read(name, required=True)
    runs = reading.read_runs()
    for name in row.optional:
        if name not in ("runs", "interval"):
            reading.read(name, required=False)
    terms = reading.terms() if row.charged_on is ChargedOn.POSTS else None
    quantity = reading.units(row.charged_on, terms)
    client_ref, found = _read_client_ref(draft.client_ref)
    problems = (*reading.problems, *found)
    if problems:
        # What is not to be had at all does not change the price of the rest.
        wrong = {p.field for p in problems if p.code is not ProblemCode.NOT_ALLOWED}
        counted_wrong = wrong & _COUNTED[row.charged_on]
        raise InvalidRequest(*problems, quantity=None if counted_wrong else quantity)
    texts = {name: str(value) for name, value in reading.found.items() if value is not None}
    link = texts.pop("link", "") or texts["username"]
    return OrderRequest(
        link=link,
        link_key=links.of_service(link, service).key,
        quantity=quantity,
        fields={name: text for name, text in texts.items() if name not in _COLUMNS},
        client_ref=client_ref,
        runs=runs,
        interval=reading.number("interval") if runs else None,
        terms=terms,
    )


class _Reading:
    """The fields of one draft as they are understood, and what is wrong with them so far."""

    def __init__(self, values: Mapping[str, object], service: Service) -> None:
        self._values, self._service = values, service
        self.found: dict[str, str | int | None] = {}
        self.problems: list[Problem] = []

    def read(self, name: str, *, required: bool) -> None:
        """Understand one field by its rule, or say what is wrong with it."""
        rule, value = FIELDS[name], self._values.get(name)
        if rule.needed_if:
            other, wanted = rule.needed_if
            if self.found.get(other) != wanted:
                return
            required = True
        if _is_empty(value):
            if required:
                self.problems.append(Problem(name, ProblemCode.REQUIRED))
            return
        try:
            self.found[name] = _READERS[rule.kind](name, value, rule)
            self._check(name, rule)
        except InvalidRequest as wrong:
            self.problems += wrong.problems

    def number(self, name: str) -> int | None:
        """A number that was read; None where it was not given, or is wrong."""
        value = self.found.get(name)
        wrong = any(problem.field == name for problem in self.problems)
        return value if isinstance(value, int) and not wrong else None

    def read_runs(self) -> int | None:
        """How many runs a drip-feed is to have; None for a plain order."""
        value = self._values.get("runs")
        if _is_empty(value) or read_integer(value) in (0, 1):
            return None
        # Running a drip-feed as one plain order would charge and deliver something else.
        if not self._service.offers_dripfeed:
            self.problems.append(Problem("runs", ProblemCode.NOT_ALLOWED))
            return None
        self.read("runs", required=True)
        self.read("interval", required=True)
        runs, quantity = self.number("runs"), self.number("quantity")
        most = self._service.max_quantity
        if runs and quantity and runs * quantity > most:
            self.problems.append(Problem("runs", ProblemCode.TOO_LARGE_TOGETHER, {"maximum": most}))
        return runs

    def terms(self) -> SubscriptionTerms | None:
        """What a subscription asks for, where it can be priced; fills in the number of posts."""
        least, most = self.number("min"), self.number("max")
        if least and most and most < least:
            limits = {"minimum": least, "maximum": self._service.max_quantity}
            self.problems.append(Problem("max", ProblemCode.TOO_SMALL, limits))
        posts = self.found["posts"] = self.number("posts") or DEFAULT_POSTS
        old_posts = self.found["old_posts"] = self.number("old_posts") or None
        if most is None:
            return None
        expiry = self.found.get("expiry")
        return SubscriptionTerms(
            minimum=least or most,
            maximum=most,
            posts=posts + (old_posts or 0),
            delay=self.number("delay") or 0,
            expires_on=_date(expiry) if isinstance(expiry, str) else None,
        )

    def units(self, charged_on: ChargedOn, terms: SubscriptionTerms | None) -> int:
        """What is charged and delivered, where that could be read."""
        match charged_on:
            case ChargedOn.QUANTITY:
                return (self.number("quantity") or 0) * (self.number("runs") or 1)
            case ChargedOn.PACKAGE:
                return max(self._service.min_quantity, 1)
            case ChargedOn.POSTS:
                return terms.maximum * terms.posts if terms else 0
            case ChargedOn.COMMENTS | ChargedOn.USERNAMES:
                return len(lines_of(str(self.found.get(charged_on.value, ""))))

    def _check(self, name: str, rule: FieldRule) -> None:
        """What depends on the service. Raises InvalidRequest."""
        value = self.found[name]
        if name in ("quantity", "min", "max") and isinstance(value, int):
            self._check_limits(name, value)
        elif rule.kind is FieldKind.LINES and name == ORDER_TYPES[self._service.type].charged_on:
            self._check_limits(name, len(lines_of(str(value))))
        elif name == "link":
            link = links.of_service(str(value), self._service)
            if wrong := links.mismatch(link, self._service):
                is_target = isinstance(wrong.expected, LinkTarget)
                code = ProblemCode.WRONG_TARGET if is_target else ProblemCode.WRONG_NETWORK
                params = {"expected": wrong.expected.value, "found": wrong.found.value}
                raise InvalidRequest(Problem(name, code, params))

    def _check_limits(self, name: str, quantity: int) -> None:
        # Some lists say 0, which nobody can order.
        least, most = max(self._service.min_quantity, 1), self._service.max_quantity
        limits = {"minimum": least, "maximum": most}
        if quantity < least:
            raise InvalidRequest(Problem(name, ProblemCode.TOO_SMALL, limits))
        if quantity > most:
            raise InvalidRequest(Problem(name, ProblemCode.TOO_LARGE, limits))


def read_integer(value: object) -> int | None:
    """A whole number as programs send it: 5, "5", " 5 ", 5.0; None for anything else, numbers
    of hundreds of digits among it."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if value.bit_length() <= 400 else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, Decimal):
        # Bounded before int(): 1e999999 would fill the memory.
        if not value.is_finite() or value.adjusted() > 30 or value != value.to_integral_value():
            return None
        return int(value)
    if isinstance(value, str) and len(value) <= 100 and _INTEGER.fullmatch(value.strip()):
        return int(value)
    return None


# --- one value by the kind of its field; each raises InvalidRequest ------------------------------


def _read_link(name: str, value: object, rule: FieldRule) -> str:
    link = value.strip() if isinstance(value, str) else ""
    if len(link) > LINK_LIMIT:
        raise _wrong(name, ProblemCode.TOO_LONG, limit=LINK_LIMIT)
    if link.split() != [link] or not _is_printable(link) or not _is_web_address_or_name(link):
        raise _wrong(name)
    return link


def _is_web_address_or_name(link: str) -> bool:
    scheme = _SCHEME.match(link)
    # "example.com:8080/x" has a port, not a scheme.
    if scheme is None or "." in scheme[1]:
        return any(character.isalnum() for character in link)
    try:
        parts = urlsplit(link)
        return parts.scheme.lower() in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def _read_url(name: str, value: object, rule: FieldRule) -> str:
    url = _read_link(name, value, rule)
    if "://" not in url:
        url = f"https://{url}"
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    if "." not in host.strip("."):
        raise _wrong(name)
    return url


def _read_name(name: str, value: object, rule: FieldRule) -> str:
    text = _read_text(name, value, rule)
    if "/" in text:
        link = links.read(text)
        # Some profiles have an address only.
        text = (link.name or text) if link.kind == LinkTarget.PROFILE else ""
    text = text.removeprefix("@")
    if len(text) > NAME_LIMIT:
        raise _wrong(name, ProblemCode.TOO_LONG, limit=NAME_LIMIT)
    if text.split() != [text] or not any(character.isalnum() for character in text):
        raise _wrong(name)
    return text


def _read_text(name: str, value: object, rule: FieldRule) -> str:
    if isinstance(value, list):
        raise _wrong(name)
    text = _read_lines(name, value, rule)
    if "\n" in text:
        raise _wrong(name)
    return text


def _read_lines(name: str, value: object, rule: FieldRule) -> str:
    if _is_list_of_text(value):
        value = "\n".join(value)
    if not isinstance(value, str):
        raise _wrong(name)
    if len(value) > LIST_LIMIT:
        raise _wrong(name, ProblemCode.TOO_LONG, limit=LIST_LIMIT)
    lines = lines_of(value)
    if not all(_is_printable(line) for line in lines):
        raise _wrong(name)
    if any(len(line) > LINE_LIMIT for line in lines):
        raise _wrong(name, ProblemCode.TOO_LONG, limit=LINE_LIMIT)
    return "\n".join(lines)


def _read_number(name: str, value: object, rule: FieldRule) -> int:
    number = read_integer(value)
    if number is None:
        raise _wrong(name)
    if rule.maximum is not None and rule.minimum is not None:
        limits = {"minimum": rule.minimum, "maximum": rule.maximum}
        if number < rule.minimum:
            raise _wrong(name, ProblemCode.TOO_SMALL, **limits)
        if number > rule.maximum:
            raise _wrong(name, ProblemCode.TOO_LARGE, **limits)
    return number


def _read_choice(name: str, value: object, rule: FieldRule) -> str:
    chosen = str(read_integer(value))
    if chosen not in (rule.choices or {}):
        raise _wrong(name)
    return chosen


def _read_country(name: str, value: object, rule: FieldRule) -> str:
    code = country_code(_read_text(name, value, rule))
    if code is None:
        raise _wrong(name)
    return code


def _read_date(name: str, value: object, rule: FieldRule) -> str:
    try:
        day = _date(_read_text(name, value, rule))
    except ValueError:
        raise _wrong(name) from None
    if day <= timezone.localdate():
        raise _wrong(name, ProblemCode.IN_THE_PAST)
    return day.strftime("%d/%m/%Y")


def _date(text: str) -> date:
    """A day as d/m/Y, or Y-m-d as browsers send it. Raises ValueError."""
    if found := _DAY_FIRST.fullmatch(text):
        day, month, year = (int(part) for part in found.groups())
    elif found := _YEAR_FIRST.fullmatch(text):
        year, month, day = (int(part) for part in found.groups())
    else:
        raise ValueError(text)
    return date(year, month, day)


_READERS: dict[FieldKind, Callable[[str, object, FieldRule], str | int]] = {
    FieldKind.LINK: _read_link,
    FieldKind.URL: _read_url,
    FieldKind.NAME: _read_name,
    FieldKind.TEXT: _read_text,
    FieldKind.LINES: _read_lines,
    FieldKind.NUMBER: _read_number,
    FieldKind.CHOICE: _read_choice,
    FieldKind.COUNTRY: _read_country,
    FieldKind.DATE: _read_date,
}


def _wrong(name: str, code: ProblemCode = ProblemCode.INVALID, **params: Any) -> InvalidRequest:
    return InvalidRequest(Problem(name, code, params))


def _read_client_ref(value: object) -> tuple[str, list[Problem]]:
    if _is_blank(value):
        return "", []
    if isinstance(value, int) and read_integer(value) is not None:
        value = str(value)
    if not isinstance(value, str) or not _is_printable(value):
        return "", [Problem("client_ref", ProblemCode.INVALID)]
    if len(value) > CLIENT_REF_LIMIT:
        return "", [Problem("client_ref", ProblemCode.TOO_LONG, {"limit": CLIENT_REF_LIMIT})]
    return value.strip(), []


def _is_list_of_text(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_empty(value: object) -> bool:
    """Nothing at all: blank, or a list with nothing in it."""
    if _is_list_of_text(value):
        return not any(item.strip() for item in value)
    return _is_blank(value)


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _is_printable(text: str) -> bool:
    """No control characters, nulls, or halves of surrogate pairs (which no database stores).

    Format characters stay: emoji are joined with them.
    """
    return not any(
        ord(character) < 32 or 127 <= ord(character) < 160 or 0xD800 <= ord(character) <= 0xDFFF
        for character in text
    )


def _text(value: object) -> str:
    if (number := read_integer(value)) is not None:
        return str(number)
    if _is_list_of_text(value):
        value = "\n".join(value)
    if isinstance(value, str):
        return "\n".join(lines_of(value))
    # No field takes anything else, so that no order is ever made of it.
    return type(value).__name__
