"""The panel dialect: one address, an `action`, and the answers that panel programs expect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from accounts import api_keys, ledger
from accounts.api_keys import InvalidApiKey
from accounts.models import ApiKey
from catalog.listing import catalogue
from orders import listing
from orders.checkout import InvalidIdempotencyKey, place_order
from orders.models import Order, Source
from orders.requests import OrderDraft
from storefront.api.authentication import client_address, key_in_headers
from storefront.api.conditional import conditional
from storefront.api.panel import texts
from storefront.api.parsing import NoFiles, Unreadable, parse_json, refuse_unstorable_text
from storefront.api.rendering import dumps, exact_text
from storefront.errors import describe

log = structlog.get_logger(__name__)

MAX_ORDERS = 100

Params = Mapping[str, Any]


class TooManyOrders(Exception):
    """More ids than one request may ask for."""


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
    except Exception as error:  # the boundary: whatever it is, it is told in the dialect's shape
        return _refusal(request, error)
    return conditional(request, response) if action is _services else response


def _refusal(request: HttpRequest, error: Exception) -> HttpResponse:
    failed = describe(error).http_status == 500
    if failed:
        log.error("api_failure", path=request.path, exc_info=error)
    return _json({"error": texts.error_text(error)}, status=500 if failed else 200)


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
            "refill": listed.service.refill,
            "cancel": listed.service.cancel,
            "dripfeed": listed.service.dripfeed,
            "description": listed.service.shown_description,
            "average_time": listed.service.average_time or _("Not enough data"),
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
        if len(asked) > MAX_ORDERS:
            raise TooManyOrders
        found = listing.find_many(api_key.user, asked)
        return {
            text: _status_of(found[text]) if text in found else {"error": texts.INVALID_ORDER_ID}
            for text in asked
        }
    # Whatever is no id, a missing one included, is no order's either.
    return _status_of(listing.find(api_key.user, str(params.get("order"))))


def _ids(value: Any) -> list[str]:
    """The ids as texts: comma-separated, or a JSON list of texts and numbers."""
    parts = value if isinstance(value, list) else str(value).split(",")
    return [text for part in parts if (text := str(part).strip())]


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


ACTIONS: dict[str, Callable[[ApiKey, Params], Any]] = {
    "services": _services,
    "add": _add,
    "status": _status,
    "balance": _balance,
}
