"""Reading the answers of the panel dialect: the new order, the services, the reports, the balance.

Nothing here raises anything but `Unreadable`, and one bad entry never costs the others. What
cannot be read is None or absent, never 0 or "Pending".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Any

from catalog.providers import Offer, ServiceList, UpstreamState, UpstreamStatus
from catalog.providers.refusals import OF_A_REPORT, parts, refusal
from catalog.providers.values import (
    LARGEST_WHOLE,
    Unreadable,
    amount,
    flag,
    identifier,
    line,
    paragraph,
    uses_decimal_commas,
    whole,
)

# What the columns hold that these values end in (catalog/models.py).
LONGEST_NAME = 500
LONGEST_CATEGORY = 200
LONGEST_TYPE = 64
LONGEST_DESCRIPTION = 10_000
LONGEST_WORD = 64
RATE_STEP = Decimal("1E-10")
LARGEST_RATE = LARGEST_WHOLE * RATE_STEP

OTHER_CATEGORY = "Other"


# --- add -----------------------------------------------------------------------------------------


def order_id(payload: object) -> str | None:
    """The new order's id out of the answer to `add`; None where there is no credible one."""
    for part in parts(payload):
        for name in ("order", "order_id"):
            found = identifier(part.get(name))
            # "success" in the id's place is no id.
            if found and any(c.isdigit() for c in found):
                return found
    return None


# --- services ------------------------------------------------------------------------------------


def service_list(payload: object) -> ServiceList:
    """The list, bare or wrapped. Raises Unreadable where there is none, or nothing in it reads."""
    entries = _entries(payload)
    if entries is None:
        raise Unreadable("no list of services")
    return offers_of(entries)


def offers_of(entries: Sequence[object]) -> ServiceList:
    """The offers in a list of services. Raises Unreadable when nothing in it reads.

    An id that is listed twice: the first entry counts, the others are reported as unreadable.
    """
    rates = [entry.get("rate") for entry in entries if isinstance(entry, dict)]
    decimal_comma = uses_decimal_commas(rate for rate in rates if isinstance(rate, str))
    offers: dict[str, Offer] = {}
    unreadable = []
    for position, entry in enumerate(entries, 1):
        try:
            offer = _offer(entry, decimal_comma=decimal_comma)
        except Unreadable as reason:
            unreadable.append(f"entry {position}: {reason}")
            continue
        if offer.external_id in offers:
            unreadable.append(f"entry {position}: service {offer.external_id} is listed twice")
            continue
        offers[offer.external_id] = offer
    if entries and not offers:
        raise Unreadable(f"none of {len(entries)} services can be read ({unreadable[0]})")
    return ServiceList(tuple(offers.values()), tuple(unreadable))


def _entries(payload: object) -> list[object] | None:
    for _wrapping in range(3):
        if not isinstance(payload, dict):
            break
        name = next((name for name in ("services", "data") if name in payload), None)
        if name is None:
            # PHP writes a list with gaps as an object with the positions as keys.
            values = list(payload.values())
            return values if values and all(isinstance(value, dict) for value in values) else None
        payload = payload[name]
    return payload if isinstance(payload, list) else None


def _offer(entry: object, *, decimal_comma: bool) -> Offer:
    if not isinstance(entry, dict):
        raise Unreadable("not an object")
    external_id = identifier(entry.get("service", entry.get("id")))
    if external_id is None:
        raise Unreadable("no service id")
    name = line(entry.get("name"), limit=LONGEST_NAME)
    if not name:
        raise Unreadable(f"service {external_id} has no name")
    return Offer(
        external_id=external_id,
        name=name,
        category=line(entry.get("category"), limit=LONGEST_CATEGORY) or OTHER_CATEGORY,
        type=line(entry.get("type"), limit=LONGEST_TYPE),
        rate=_rate(entry.get("rate"), decimal_comma=decimal_comma),
        min_quantity=_not_negative(entry.get("min")),
        max_quantity=_not_negative(entry.get("max")),
        refill=flag(entry.get("refill")),
        cancel=flag(entry.get("cancel")),
        dripfeed=flag(entry.get("dripfeed")),
        description=paragraph(
            entry.get("description") or entry.get("desc"), limit=LONGEST_DESCRIPTION
        ),
    )


def _rate(value: object, *, decimal_comma: bool) -> Decimal | None:
    rate = amount(value, decimal_comma=decimal_comma)
    if rate is None or not 0 <= rate <= LARGEST_RATE:
        return None
    # Up: never a rate below what the provider takes.
    return rate.quantize(RATE_STEP, ROUND_CEILING)


def _not_negative(value: object) -> int | None:
    number = whole(value)
    return number if number is not None and number >= 0 else None


# --- status --------------------------------------------------------------------------------------

# By the word's letters alone: "In progress", "in-progress" and "Inprogress" are one. Words and
# numeric codes that are not here stay unknown: panels number their states differently, so reading
# a code would move money on a guess.
STATES: Mapping[str, UpstreamState] = {
    "pending": UpstreamState.PENDING,
    "awaiting": UpstreamState.PENDING,
    "processing": UpstreamState.PROCESSING,
    "inprogress": UpstreamState.IN_PROGRESS,
    "active": UpstreamState.IN_PROGRESS,
    "paused": UpstreamState.IN_PROGRESS,  # it may go on, so nothing has ended
    "completed": UpstreamState.COMPLETED,
    "complete": UpstreamState.COMPLETED,
    "partial": UpstreamState.PARTIAL,
    # A subscription whose time ran out: what was not served by then never will be.
    "expired": UpstreamState.PARTIAL,
    "canceled": UpstreamState.CANCELLED,
    "cancelled": UpstreamState.CANCELLED,
    "refunded": UpstreamState.REFUNDED,
    "refunds": UpstreamState.REFUNDED,
    "fail": UpstreamState.FAILED,
    "failed": UpstreamState.FAILED,
    "error": UpstreamState.FAILED,
}


def state(word: str) -> UpstreamState | None:
    """A status word, understood; None for one that is not in the table."""
    return STATES.get("".join(c for c in word.casefold() if c.isalnum()))


def statuses(payload: object, asked: Sequence[str]) -> dict[str, UpstreamStatus]:
    """Reports out of a single or multi answer, keyed by the ids asked for.

    Orders that were not asked for are passed over; an error or a text in an order's place leaves
    it out. Raises Unreadable when the answer is about none of the orders asked for.
    """
    found: dict[str, UpstreamStatus] = {}
    mentioned = False
    for external_id, entry in _by_order(payload, asked):
        if external_id is None or external_id not in asked or external_id in found:
            continue
        mentioned = True
        if isinstance(entry, dict) and refusal({"error": entry.get("error")}) is None:
            found[external_id] = report(entry)
    if not mentioned:
        raise Unreadable("about none of the orders asked for")
    return found


def _by_order(payload: object, asked: Sequence[str]) -> Iterator[tuple[str | None, object]]:
    """Pairs of an order's id and what is said about it."""
    for name in ("data", "orders"):
        if isinstance(payload, dict) and _holds_reports(payload.get(name)):
            payload = payload[name]
    if isinstance(payload, list):
        for entry in payload:
            if isinstance(entry, dict):
                yield _order_named(entry, asked, alone=len(payload) == 1), entry
    elif isinstance(payload, dict) and isinstance(payload.get("status"), str | int | Decimal):
        yield _order_named(payload, asked, alone=True), payload
    elif isinstance(payload, dict):
        for key, entry in payload.items():
            inner = entry[0] if isinstance(entry, list) and len(entry) == 1 else entry
            yield key if key in asked else identifier(key), inner


def _holds_reports(value: object) -> bool:
    """A subscription's report has `orders` too: a list of ids."""
    if isinstance(value, list):
        return any(isinstance(entry, dict) for entry in value)
    return isinstance(value, dict)


def _order_named(entry: Mapping[str, Any], asked: Sequence[str], *, alone: bool) -> str | None:
    for name in ("order", "order_id", "id"):
        if name in entry:
            return identifier(entry[name])
    # Without an id it can only be meant where one order was asked for; and a bare "error" may
    # as well be the call's as the order's.
    meant = alone and len(asked) == 1 and _is_report(entry)
    return asked[0] if meant else None


def _is_report(entry: Mapping[str, Any]) -> bool:
    return bool(OF_A_REPORT & entry.keys()) or state(_word(entry)) is not UpstreamState.FAILED


def _word(entry: Mapping[str, Any]) -> str:
    return line(entry.get("status"), limit=LONGEST_WORD)


def _posts(entry: Mapping[str, Any]) -> int | None:
    """How many posts a subscription has served: told, or the length of its list of orders."""
    served = _not_negative(entry.get("posts"))
    orders = entry.get("orders")
    return len(orders) if served is None and isinstance(orders, list) else served


def report(entry: Mapping[str, Any]) -> UpstreamStatus:
    """One order's report; figures that are missing or odd are None."""
    word = _word(entry)
    charge = amount(entry.get("charge"))
    return UpstreamStatus(
        state=state(word),
        word=word,
        start_count=_not_negative(entry.get("start_count")),
        remains=whole(entry.get("remains")),
        charge=charge if charge is not None and charge >= 0 else None,
        posts=_posts(entry),
    )


# --- balance -------------------------------------------------------------------------------------


def balance(payload: object) -> tuple[Decimal, str]:
    """Our balance and its currency ("" when not told). Raises Unreadable."""
    for part in parts(payload):
        value = amount(part.get("balance"))
        if value is not None:
            currency = line(part.get("currency"), limit=3).upper()
            return value, currency if re.fullmatch("[A-Z]{3}", currency) else ""
    raise Unreadable("no balance")
