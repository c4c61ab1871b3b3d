"""The panel dialect: one address, an `action`, and the answers that panel programs expect."""

from __future__ import annotations

from typing import Any

import structlog
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils import translation
from django.views.decorators.csrf import csrf_exempt

from accounts import api_keys
from accounts.api_keys import InvalidApiKey
from storefront.api.authentication import client_address, key_in_headers
from storefront.api.conditional import conditional
from storefront.api.panel import texts
from storefront.api.panel.actions import (
    ACTIONS,
    InvalidRefillId,
    Params,
    TooManyOrders,
    no_refill,
    services,
)
from storefront.api.parsing import NoFiles, Unreadable, parse_json, refuse_unstorable_text
from storefront.api.rendering import dumps
from storefront.errors import RETRY_AFTER, describe, log_failure

log = structlog.get_logger(__name__)


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
        response = _json(action.answer(api_key, params))
    except Unreadable:
        return _json({"error": texts.INVALID_REQUEST})
    except TooManyOrders:
        return _json({"error": texts.TOO_MANY_ORDERS})
    except InvalidRefillId:
        return _json({"error": texts.INVALID_REFILL_ID})
    except Exception as error:  # the boundary: whatever it is, it is told in the dialect's shape
        return _refusal(request, error, params)
    return conditional(request, response) if action.answer is services else response


def _refusal(request: HttpRequest, error: Exception, params: Params) -> HttpResponse:
    status = describe(error).http_status
    if status < 500:
        is_refill = params.get("action") == "refill"
        return _json(no_refill(error) if is_refill else {"error": texts.error_text(error)})
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
