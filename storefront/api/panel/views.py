"""The panel dialect: one address, an `action`, and the answers that panel programs expect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils import translation
from django.views.decorators.csrf import csrf_exempt

from accounts import api_keys, ledger
from accounts.api_keys import InvalidApiKey
from accounts.models import ApiKey
from catalog.facts import average_time
from catalog.listing import catalogue
from orders import cancellations, listing, refills
from orders.cancellations import CancelRefused
from orders.checkout import InvalidIdempotencyKey, place_order
from orders.listing import OrderNotFound
from orders.models import Order, Refill, Source
from orders.moves import by_customer
from orders.refills import RefillRefused
from orders.requests import OrderDraft
from storefront.api.authentication import client_address, key_in_headers
from storefront.api.conditional import conditional
from storefront.api.panel import texts
from storefront.api.parsing import NoFiles, Unreadable, parse_json, refuse_unstorable_text
from storefront.api.rendering import dumps, exact_text
from storefront.errors import RETRY_AFTER, describe, log_failure

log = structlog.get_logger(__name__)

MAX_ORDERS = 100

Params = Mapping[str, Any]


class TooManyOrders(Exception):
    """More ids than one request may ask for."""


class InvalidRefillId(Exception):
    """What was sent could be no refill's id."""


@csrf_exempt
def panel(request: HttpRequest) -> HttpResponse:
    """Answer one action. Refusals are HTTP 200 as well; only our own failure is a 500, so that a
    program never takes it for a clear no."""
    with translation.override("en"):
        response = _answer(request)
    response.headers["Content-Language"] = "en"
    return response


def _answer(request: HttpRequest) -> HttpResponse:
    if request.method not in ("GET", "POST"):
        response = _json({"error": texts.METHOD_NOT_ALLOWED}, status=405)
        response.headers["Allow"] = "GET, POST"
        return response
    params: Params = {}
    try:
        params = _read(request)
        api_key = api_keys.authenticate(_key(request, params), address=client_address(request))
        action = ACTIONS.get(str(params.get("action")))
        if action is None:
            return _json({"error": texts.INVALID_ACTION})
        response = _json(action(api_key, params))
    except Unreadable:
        return _json({"error": texts.INVALID_REQUEST})
    except TooManyOrders:
        return _json({"error": texts.TOO_MANY_ORDERS})
    except InvalidRefillId:
        return _json({"error": texts.INVALID_REFILL_ID})
    except Exception as error:  # the boundary: whatever it is, it is told in the dialect's shape
        return _refusal(request, error, params)
    return conditional(request, response) if action is _services else response


def _refusal(request: HttpRequest, error: Exception, params: Params) -> HttpResponse:
    status = describe(error).http_status
    if status < 500:
        is_refill = params.get("action") == "refill"
        return _json(_no_refill(error) if is_refill else {"error": texts.error_text(error)})
    log_failure(request.path, error)
    response = _json({"error": texts.error_text(error)}, status=status)
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


def _json(body: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(dumps(body), content_type="application/json", status=status)


def _read(request: HttpRequest) -> Params:
    """The parameters of the query and, before it, of the body. Raises Unreadable."""
    try:
        request.encoding = "utf-8"
        request.upload_handlers = [NoFiles(request)]
        query, form = request.GET.dict(), {}
        if request.content_type == "application/json" and request.method == "POST":
            body = parse_json(request.body)
            if not isinstance(body, dict):
                raise Unreadable("not an object")
        else:
            body = form = request.POST.dict()
        refuse_unstorable_text({**query, **form})
    except (SuspiciousOperation, BadRequest, MultiPartParserError, UnreadablePostError) as error:
        raise Unreadable(str(error)) from None
    return {**query, **body}


def _key(request: HttpRequest, params: Params) -> str:
    key = params.get("key") or key_in_headers(request)
    if not isinstance(key, str):
        raise InvalidApiKey
    return key.strip()


def _services(api_key: ApiKey, params: Params) -> list[dict[str, Any]]:
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
        for listed in catalogue(api_key.currency)
    ]


def _add(api_key: ApiKey, params: Params) -> dict[str, Any]:
    placed = place_order(
        customer=api_key.user,
        currency=api_key.currency,
        draft=OrderDraft(
            service_id=params.get("service"),
            values=params,
            client_ref=params.get("client_ref", ""),
        ),
        source=Source.PANEL,
        idempotency_key=_idempotency_key(params),
        api_key=api_key,
    )
    return {"order": placed.order.pk}


def _idempotency_key(params: Params) -> str | None:
    # Forms send what they do not use as "".
    match params.get("idempotency_key"):
        case None | "":
            return None
        case str() as text:
            return text
        case bool():
            raise InvalidIdempotencyKey
        case int() as number:
            return str(number)
        case _:
            raise InvalidIdempotencyKey


def _status(api_key: ApiKey, params: Params) -> dict[str, Any]:
    if (several := params.get("orders")) not in (None, ""):
        asked = _ids(several)
        found = listing.find_many(api_key.user, asked)
        return {
            text: _status_of(found[text]) if text in found else {"error": texts.INVALID_ORDER_ID}
            for text in asked
        }
    # Whatever is no id, a missing one included, is no order's either.
    return _status_of(listing.find(api_key.user, str(params.get("order"))))


def _ids(value: Any) -> list[str]:
    """The ids as texts: comma-separated, or a JSON list of texts and numbers.

    Raises TooManyOrders.
    """
    parts = value if isinstance(value, list) else str(value).split(",")
    texts = [text for part in parts if (text := str(part).strip())]
    if len(texts) > MAX_ORDERS:
        raise TooManyOrders
    return texts


def _as_asked(text: str) -> int | str:
    """An order's id as programs read it in lists; what is no number stays as it was sent."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else text


def _status_of(order: Order) -> dict[str, str]:
    return {
        "charge": exact_text(order.net_charge),
        "start_count": str(order.start_count or 0),
        "status": texts.STATUS_WORDS[order.public_status],
        "remains": str(order.remains or 0),
        "currency": order.currency,
    }


def _balance(api_key: ApiKey, params: Params) -> dict[str, str]:
    wallet = ledger.wallet_of(api_key.user, api_key.currency)
    return {"balance": exact_text(wallet.balance), "currency": wallet.currency}


def _refill(api_key: ApiKey, params: Params) -> Any:
    by = by_customer(api_key.user, api_key)
    if (several := params.get("orders")) in (None, ""):
        return _made(refills.request(listing.find(api_key.user, str(params.get("order"))), by=by))
    asked = _ids(several)
    found = listing.find_many(api_key.user, asked)

    def answer(text: str) -> dict[str, Any]:
        try:
            if text not in found:
                raise OrderNotFound(text)
            return _made(refills.request(found[text], by=by))
        except (OrderNotFound, RefillRefused) as refused:
            return _no_refill(refused)

    return [{"order": _as_asked(text), **answer(text)} for text in asked]


def _made(refill: Refill) -> dict[str, str]:
    # "completed" says that the request was made; how it goes is told by refill_status.
    return {"refill": str(refill.pk), "status": "completed"}


def _no_refill(error: Exception) -> dict[str, Any]:
    return {"refill": None, "status": "rejected", "error": texts.error_text(error)}


def _refill_status(api_key: ApiKey, params: Params) -> Any:
    if (several := params.get("refills")) in (None, ""):
        asked = str(params.get("refill")).strip()
        if not refills.is_refill_id(asked):
            raise InvalidRefillId
        return _refill_state(refills.find(api_key.user, asked))
    ids = _ids(several)
    found = refills.find_many(api_key.user, ids)
    return [
        _refill_state(found[text])
        if text in found
        else {
            "refill": text,
            "error": texts.REFILL_NOT_FOUND
            if refills.is_refill_id(text)
            else texts.INVALID_REFILL_ID,
        }
        for text in ids
    ]


def _refill_state(refill: Refill) -> dict[str, str]:
    state = {"refill": str(refill.pk), "status": refill.public_state.value}
    return state | ({"reason": refill.shown_reason} if refill.reason else {})


def _cancel(api_key: ApiKey, params: Params) -> list[dict[str, Any]]:
    by = by_customer(api_key.user, api_key)
    asked = _ids(params.get("orders") or "")
    if not asked:
        raise OrderNotFound
    found = listing.find_many(api_key.user, asked)

    def answer(text: str) -> int | dict[str, str]:
        try:
            if text not in found:
                raise OrderNotFound(text)
            cancellations.request(found[text], by=by)
        except (OrderNotFound, CancelRefused) as refused:
            return {"error": texts.error_text(refused)}
        return 1

    return [{"order": _as_asked(text), "cancel": answer(text)} for text in asked]


ACTIONS: dict[str, Callable[[ApiKey, Params], Any]] = {
    "services": _services,
    "add": _add,
    "status": _status,
    "refill": _refill,
    "refill_status": _refill_status,
    "cancel": _cancel,
    "balance": _balance,
}
