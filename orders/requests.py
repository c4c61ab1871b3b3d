"""Reading an order as a customer or a program sends it, by the table of order types."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from catalog.models import Service
from catalog.order_types import LIST_FIELDS, ORDER_TYPES, lines_of

LINK_LIMIT = 2048
CLIENT_REF_LIMIT = 255
# One comment longer than this is accepted by no network; the whole list must fit a request.
LINE_LIMIT = 1000
LIST_LIMIT = 100_000
_MAX_INTEGER = 2**63 - 1
_INTEGER = re.compile(r"[+-]?[0-9]+")
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
ORDER_FIELDS = frozenset(
    name for row in ORDER_TYPES.values() for name in (*row.fields, *row.optional)
)


class ProblemCode(StrEnum):
    """What is wrong with one field."""

    REQUIRED = "required"
    INVALID = "invalid"
    TOO_SMALL = "too_small"  # params: minimum, maximum
    TOO_LARGE = "too_large"  # params: minimum, maximum
    TOO_LONG = "too_long"  # params: limit (characters)
    NOT_ALLOWED = "not_allowed"


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
class OrderRequest:
    """A checked order. `quantity` is what is charged and delivered (comments: their number)."""

    link: str
    quantity: int
    fields: Mapping[str, str]
    client_ref: str


def read_service_id(value: object) -> int:
    """The service id of a draft. Raises InvalidRequest (field `service_id`)."""
    if _is_blank(value):
        raise InvalidRequest(Problem("service_id", ProblemCode.REQUIRED))
    number = read_integer(value)
    if number is None:
        raise InvalidRequest(Problem("service_id", ProblemCode.INVALID))
    return min(max(number, 0), _MAX_INTEGER)


def read_request(draft: OrderDraft, service: Service) -> OrderRequest:
    """Check a draft against the service's type and limits. Raises InvalidRequest."""
    row = ORDER_TYPES[service.type]
    problems: list[Problem] = []
    link, link_problem = _read_link(draft.values.get("link"))
    problems += link_problem
    fields: dict[str, str] = {}
    quantity = max(service.min_quantity, 1)
    for name in row.fields:
        if name == "link":
            continue
        value = draft.values.get(name)
        if name == "quantity":
            number, found = _read_quantity(value, service)
            quantity = number or quantity
        else:
            text, found = _read_text(name, value)
            if not found and name == row.charged_on:
                quantity = len(lines_of(text))
                found = _within_limits(name, quantity, service)
            fields[name] = text
        problems += found
    for name in row.optional:
        # Running a drip-feed as one plain order would charge and deliver something else.
        if read_integer(draft.values.get(name)) != 0 and not _is_blank(draft.values.get(name)):
            problems.append(Problem(name, ProblemCode.NOT_ALLOWED))
    client_ref, found = _read_client_ref(draft.client_ref)
    problems += found
    if problems:
        charged_on_wrong = any(p.field == row.charged_on for p in problems)
        raise InvalidRequest(*problems, quantity=None if charged_on_wrong else quantity)
    return OrderRequest(link=link, quantity=quantity, fields=fields, client_ref=client_ref)


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


def _read_link(value: object) -> tuple[str, list[Problem]]:
    if _is_blank(value):
        return "", [Problem("link", ProblemCode.REQUIRED)]
    link = value.strip() if isinstance(value, str) else ""
    if len(link) > LINK_LIMIT:
        return "", [Problem("link", ProblemCode.TOO_LONG, {"limit": LINK_LIMIT})]
    if link.split() != [link] or not _is_printable(link) or not _is_web_address_or_name(link):
        return "", [Problem("link", ProblemCode.INVALID)]
    return link, []


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


def _read_quantity(value: object, service: Service) -> tuple[int | None, list[Problem]]:
    if _is_blank(value):
        return None, [Problem("quantity", ProblemCode.REQUIRED)]
    quantity = read_integer(value)
    if quantity is None:
        return None, [Problem("quantity", ProblemCode.INVALID)]
    return quantity, _within_limits("quantity", quantity, service)


def _within_limits(name: str, quantity: int, service: Service) -> list[Problem]:
    limits = {"minimum": service.min_quantity, "maximum": service.max_quantity}
    if quantity < max(service.min_quantity, 1):
        return [Problem(name, ProblemCode.TOO_SMALL, limits)]
    if quantity > service.max_quantity:
        return [Problem(name, ProblemCode.TOO_LARGE, limits)]
    return []


def _read_text(name: str, value: object) -> tuple[str, list[Problem]]:
    if name in LIST_FIELDS and _is_list_of_text(value):
        value = "\n".join(value)
    if _is_blank(value):
        return "", [Problem(name, ProblemCode.REQUIRED)]
    if not isinstance(value, str):
        return "", [Problem(name, ProblemCode.INVALID)]
    if len(value) > LIST_LIMIT:
        return "", [Problem(name, ProblemCode.TOO_LONG, {"limit": LIST_LIMIT})]
    lines = lines_of(value)
    if not lines:
        return "", [Problem(name, ProblemCode.REQUIRED)]
    if not all(_is_printable(line) for line in lines):
        return "", [Problem(name, ProblemCode.INVALID)]
    if any(len(line) > LINE_LIMIT for line in lines):
        return "", [Problem(name, ProblemCode.TOO_LONG, {"limit": LINE_LIMIT})]
    return "\n".join(lines), []


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
