"""Reading the answers of the REST dialect. As in `parsing`: what cannot be read is None or absent,
nothing but `Unreadable` is raised for an odd answer, and one bad entry never costs the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from catalog.order_types import ORDER_TYPES, ChargedOn, ServiceType
from catalog.providers import ServiceList, UpstreamRefill, UpstreamStatus
from catalog.providers.aftersale import is_yes
from catalog.providers.aftersale import refill_report as _refill_report
from catalog.providers.parsing import offers_of, report
from catalog.providers.refusals import parts, refusal
from catalog.providers.values import Unreadable, amount, identifier, line, whole

LONGEST_MESSAGE = 300

_PACKAGES = frozenset(
    "".join(kind.casefold().split())
    for kind, row in ORDER_TYPES.items()
    if row.charged_on is ChargedOn.PACKAGE
)


# --- errors --------------------------------------------------------------------------------------


def message(payload: object) -> str:
    """What an error says to a person: its title and its sentence, as far as they are there."""
    title = refusal(payload) or ""
    for part in parts(payload):
        sentence = line(part.get("message"), limit=LONGEST_MESSAGE)
        if sentence and sentence != title:
            return f"{title}: {sentence}"[:LONGEST_MESSAGE] if title else sentence
    return title


def code(payload: object) -> str:
    """An error's machine word; "" without one."""
    return next(
        (found for part in parts(payload) if (found := line(part.get("code"), limit=64))), ""
    )


# --- orders --------------------------------------------------------------------------------------


def order_id(payload: object) -> str | None:
    """The new order's id; None where there is no credible one."""
    for part in parts(payload):
        order = part.get("order")
        found = identifier(order.get("id") if isinstance(order, dict) else order)
        # "success" in the id's place is no id.
        if found and any(c.isdigit() for c in found):
            return found
    return None


@dataclass(frozen=True)
class Page:
    """One page of the list of orders."""

    items: Sequence[Mapping[str, Any]]
    total: int | None  # None: not told
    is_last: bool


def page(payload: object) -> Page:
    """A page of orders. Raises Unreadable where there is no list."""
    listed = payload.get("data") if isinstance(payload, dict) else payload
    if not isinstance(listed, list):
        raise Unreadable("no list of orders")
    meta = payload.get("meta") if isinstance(payload, dict) else None
    told = meta if isinstance(meta, dict) else {}
    total, number = whole(told.get("total")), whole(told.get("current_page"))
    size = whole(told.get("per_page"))
    reached = None if number is None or size is None else number * size
    is_last = not listed or total is None or reached is None or reached >= total
    return Page([entry for entry in listed if isinstance(entry, dict)], total, is_last)


def statuses(listed: Page, asked: Sequence[str]) -> dict[str, UpstreamStatus]:
    """Reports on the orders asked for; others on the page are passed over."""
    found: dict[str, UpstreamStatus] = {}
    for item in listed.items:
        external_id = identifier(item.get("id"))
        if external_id in asked and external_id not in found and external_id is not None:
            found[external_id] = report({**item, "charge": _net(item)})
    return found


def _net(item: Mapping[str, Any]) -> Decimal | None:
    """What an order costs after refunds; sellers that tell them apart say `refunded` too."""
    cost, refunded = amount(item.get("cost")), amount(item.get("refunded"))
    return cost if cost is None or refunded is None else cost - refunded


def order_with(listed: Page, reference: str) -> str | None:
    """The id of the one order with this reference; None: the provider says that it has none.

    Raises Unreadable for an answer that proves neither: several orders, or those of others (the
    filter is unknown there).
    """
    if not listed.items and listed.total == 0:
        return None
    found = [item for item in listed.items if item.get("client_ref") == reference]
    external_id = identifier(found[0].get("id")) if len(found) == 1 else None
    if external_id is None or len(listed.items) > 1 or (listed.total or 1) > 1:
        raise Unreadable("the list does not tell whether there is an order with this reference")
    return external_id


# --- services ------------------------------------------------------------------------------------


def service_list(payload: object) -> ServiceList:
    """The list out of an object of category → services. Raises Unreadable without one."""
    for name in ("data", "services"):
        if isinstance(payload, dict) and _wraps(payload, name):
            payload = payload[name]
    if not isinstance(payload, dict | list) or refusal(payload) is not None:
        raise Unreadable("no list of services")
    return offers_of(list(_entries(payload)))


def _wraps(payload: Mapping[str, Any], name: str) -> bool:
    """Whether the list is under this name alone, and it is not one category among others."""
    holders = [key for key, value in payload.items() if isinstance(value, dict | list)]
    return holders == [name]


def _entries(payload: dict[str, Any] | list[Any]) -> Iterator[object]:
    """The services in the form that the panel dialect gives them."""
    groups = payload.items() if isinstance(payload, dict) else [("", payload)]
    for category, group in groups:
        # PHP writes a list with gaps as an object.
        services = list(group.values()) if isinstance(group, dict) else group
        for service in services if isinstance(services, list) else [services]:
            yield _as_panel(service, category) if isinstance(service, dict) else service


def _as_panel(service: Mapping[str, Any], category: str) -> dict[str, Any]:
    kind = service.get("type", ServiceType.DEFAULT.value)
    packaged = "".join(str(kind).casefold().split()) in _PACKAGES
    price = amount(service.get("price_per_unit"))
    return {
        **service,
        "service": service.get("id"),
        "category": category or service.get("category"),
        "type": kind,
        "rate": price if price is None or packaged else price * 1000,
        "min": service.get("min_quantity"),
        "max": service.get("max_quantity"),
    }


# --- after the sale ------------------------------------------------------------------------------


def refill_report(payload: object, *, refill_id: str) -> UpstreamRefill:
    """The report on one refill. Raises Unreadable where it is about another, or about none."""
    for part in parts(payload):
        inner = part.get("refill")
        entry = inner if isinstance(inner, dict) else part
        if "status" in entry and identifier(entry.get("id", refill_id)) == refill_id:
            return _refill_report(entry)
    raise Unreadable("not about the refill asked for")


def cancelled(payload: object, *, external_id: str) -> None:
    """Read a yes to a cancel: the order, a message, or `{"status": "success"}`.

    Raises Unreadable where it is about another order, or neither yes nor no.
    """
    for part in parts(payload):
        order = part.get("order")
        told = identifier(order.get("id") if isinstance(order, dict) else order)
        if told is not None and told != external_id:
            raise Unreadable("about another order")
        if told is not None or line(part.get("message"), limit=LONGEST_MESSAGE):
            return
        if is_yes(part.get("status")) or is_yes(part.get("cancel")):
            return
    raise Unreadable("neither a cancel nor a refusal")
