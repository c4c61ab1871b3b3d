"""What each action of the panel dialect does: one domain call, and the answer's shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accounts import ledger
from accounts.models import ApiKey, Permission
from catalog.facts import average_time
from catalog.listing import Listed
from orders import cancellations, listing, refills
from orders.bulk import place_many
from orders.cancellations import CancelRefused
from orders.checkout import Placed, place_order, read_idempotency_key
from orders.listing import OrderNotFound
from orders.models import Order, Refill, Source
from orders.moves import by_customer
from orders.refills import RefillRefused
from orders.requests import OrderDraft
from storefront.api import prepared
from storefront.api.batches import read_batch
from storefront.api.conditional import Content
from storefront.api.panel import texts
from storefront.api.rendering import dumps, exact_text

MAX_ORDERS = 100

Params = Mapping[str, Any]


class TooManyOrders(Exception):
    """More ids than one request may ask for."""


class InvalidRefillId(Exception):
    """What was sent could be no refill's id."""


@dataclass(frozen=True)
class Action:
    """One action: what it does, and the permission that a key needs for it."""

    answer: Callable[[ApiKey, Params], Any]
    permission: Permission


def services(api_key: ApiKey, params: Params) -> Content:
    """Every service that can be ordered now, as prepared bytes."""
    return prepared.services("panel", api_key.currency, _list)


def _list(catalogue: Sequence[Listed]) -> list[dict[str, Any]]:
    return [
        {
            "service": listed.service.pk,
            "name": listed.service.shown_name,
            "type": listed.service.type,
            "category": listed.service.category.shown_name,
            "rate": exact_text(listed.price.rate),
            "min": listed.service.min_quantity,
            "max": listed.service.max_quantity,
            "refill": listed.service.offers_refill,
            "cancel": listed.service.cancel,
            "dripfeed": listed.service.offers_dripfeed,
            "description": listed.service.shown_description,
            "average_time": average_time(listed.service),
        }
        for listed in catalogue
    ]


def _add(api_key: ApiKey, params: Params) -> dict[str, Any]:
    placed = place_order(
        customer=api_key.customer,
        currency=api_key.currency,
        draft=OrderDraft(
            service_id=params.get("service"),
            values=params,
            client_ref=params.get("client_ref", ""),
        ),
        source=Source.PANEL,
        idempotency_key=read_idempotency_key(params.get("idempotency_key")),
        api_key=api_key,
    )
    return {"order": placed.order.pk}


def _add_bulk(api_key: ApiKey, params: Params) -> dict[str, Any]:
    batch = place_many(
        customer=api_key.customer,
        currency=api_key.currency,
        items=read_batch(params.get("orders"), service="service"),
        source=Source.PANEL,
        api_key=api_key,
        idempotency_key=read_idempotency_key(params.get("idempotency_key")),
    )
    return {
        str(place): {"order": outcome.order.pk}
        if isinstance(outcome, Placed)
        # People count from 1.
        else {"error": f"Order {place + 1}: {texts.error_text(outcome)}"}
        for place, outcome in enumerate(batch.outcomes)
    }


def _status(api_key: ApiKey, params: Params) -> dict[str, Any]:
    if (several := params.get("orders")) not in (None, ""):
        asked = [each.text for each in _ids(several)]
        found = listing.find_many(api_key.customer, asked)
        return {
            text: _status_of(found[text]) if text in found else {"error": texts.INVALID_ORDER_ID}
            for text in asked
        }
    # Whatever is no id, a missing one included, is no order's either.
    return _status_of(listing.find(api_key.customer, str(params.get("order"))))


@dataclass(frozen=True)
class _Id:
    """An id as text, and as programs read it in lists: a number, or what was sent for one."""

    text: str
    echo: Any


def _ids(value: Any) -> list[_Id]:
    """The ids: comma-separated, or a JSON list of texts and numbers. Raises TooManyOrders."""
    if isinstance(value, str):
        value = value.split(",")
    parts = value if isinstance(value, list) else [value]
    ids = [one for part in parts if (one := _id(part)).text]
    if len(ids) > MAX_ORDERS:
        raise TooManyOrders
    return ids


def _id(part: Any) -> _Id:
    if not isinstance(part, str):
        # Of what is neither text nor number the JSON is nobody's id.
        return _Id(dumps(part).decode(), part)
    text = part.strip()
    is_short_number = text.isascii() and text.isdigit() and len(text) < 20
    return _Id(text, int(text) if is_short_number else text)


def _status_of(order: Order) -> dict[str, str]:
    return {
        "charge": exact_text(order.net_charge),
        "start_count": str(order.start_count or 0),
        "status": texts.STATUS_WORDS[order.public_status],
        "remains": str(order.remains or 0),
        "currency": order.currency,
    }


def _balance(api_key: ApiKey, params: Params) -> dict[str, str]:
    wallet = ledger.wallet_of(api_key.customer, api_key.currency)
    return {"balance": exact_text(wallet.balance), "currency": wallet.currency}


def _refill(api_key: ApiKey, params: Params) -> Any:
    by = by_customer(api_key.customer, api_key)
    if (several := params.get("orders")) in (None, ""):
        return _made(
            refills.request(listing.find(api_key.customer, str(params.get("order"))), by=by)
        )
    asked = _ids(several)
    found = listing.find_many(api_key.customer, [each.text for each in asked])

    def answer(text: str) -> dict[str, Any]:
        try:
            if text not in found:
                raise OrderNotFound(text)
            return _made(refills.request(found[text], by=by))
        except (OrderNotFound, RefillRefused) as refused:
            return no_refill(texts.error_text(refused))

    return [{"order": each.echo, **answer(each.text)} for each in asked]


def _made(refill: Refill) -> dict[str, str]:
    # "completed" says that the request was made; how it goes is told by refill_status.
    return {"refill": str(refill.pk), "status": "completed"}


def no_refill(text: str) -> dict[str, Any]:
    """A refused refill, in the shape that it has whatever the reason, which the text tells."""
    return {"refill": None, "status": "rejected", "error": text}


def _refill_status(api_key: ApiKey, params: Params) -> Any:
    if (several := params.get("refills")) in (None, ""):
        asked = str(params.get("refill")).strip()
        if not _counts(asked):
            raise InvalidRefillId
        return _refill_state(refills.find(api_key.customer, asked))
    ids = [each.text for each in _ids(several)]
    found = refills.find_many(api_key.customer, ids)
    return [
        _refill_state(found[text])
        if text in found
        else {
            "refill": text,
            "error": texts.REFILL_NOT_FOUND if _counts(text) else texts.INVALID_REFILL_ID,
        }
        for text in ids
    ]


def _counts(text: str) -> bool:
    """Whether it is a number from 1 on, however large: of a refill that there may be one day."""
    return text.isascii() and text.isdigit() and text.strip("0") != ""


def _refill_state(refill: Refill) -> dict[str, str]:
    state = {"refill": str(refill.pk), "status": refill.public_state.value}
    return state | ({"reason": refill.shown_reason} if refill.reason else {})


def _cancel(api_key: ApiKey, params: Params) -> list[dict[str, Any]]:
    by = by_customer(api_key.customer, api_key)
    if (several := params.get("orders")) in (None, ""):
        raise OrderNotFound
    asked = _ids(several)
    found = listing.find_many(api_key.customer, [each.text for each in asked])

    def answer(text: str) -> int | dict[str, str]:
        try:
            if text not in found:
                raise OrderNotFound(text)
            cancellations.request(found[text], by=by)
        except (OrderNotFound, CancelRefused) as refused:
            return {"error": texts.error_text(refused)}
        return 1

    return [{"order": each.echo, "cancel": answer(each.text)} for each in asked]


ACTIONS: Mapping[str, Action] = {
    "services": Action(services, Permission.SERVICES_READ),
    "add": Action(_add, Permission.ORDERS_WRITE),
    "add_bulk": Action(_add_bulk, Permission.ORDERS_WRITE),
    "status": Action(_status, Permission.ORDERS_READ),
    "refill": Action(_refill, Permission.REFILLS_WRITE),
    "refill_status": Action(_refill_status, Permission.ORDERS_READ),
    "cancel": Action(_cancel, Permission.ORDERS_WRITE),
    "balance": Action(_balance, Permission.BALANCE_READ),
}
