"""The panel dialect: one address, an `action`, and the answers that panel programs expect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils import translation
from django.views.decorators.csrf import csrf_exempt

from accounts import api_keys
from accounts.limits import TooManyRequests
from accounts.models import ApiDialect
from storefront.api import gate
from storefront.api.conditional import Content, conditional
from storefront.api.panel import texts
from storefront.api.panel.actions import (
    ACTIONS,
    InvalidRefillId,
    Params,
    TooManyOrders,
    no_refill,
)
from storefront.api.parsing import NoFiles, Unreadable, load_json, refuse_unstorable
from storefront.api.rendering import dumps
from storefront.errors import RETRY_AFTER, describe, log_failure

METHODS = ("GET", "HEAD", "POST")
# What Django's own reading of requests raises, and ours.
_UNREADABLE = (
    SuspiciousOperation,
    BadRequest,
    MultiPartParserError,
    UnreadablePostError,
    Unreadable,
)


class UnknownAction(Exception):
    """No action, or none of ours."""


class MethodNotAllowed(Exception):
    """None of METHODS."""


class NothingHere(Exception):
    """No address of the dialect."""


# What this dialect refuses by itself, beside the domain's table: code, text and HTTP status.
_OWN: Mapping[type[Exception], tuple[str, str, int]] = {
    Unreadable: ("invalid_request", texts.INVALID_REQUEST, 200),
    UnknownAction: ("invalid_action", texts.INVALID_ACTION, 200),
    TooManyOrders: ("too_many_orders", texts.TOO_MANY_ORDERS, 200),
    InvalidRefillId: ("invalid_refill_id", texts.INVALID_REFILL_ID, 200),
    MethodNotAllowed: ("method_not_allowed", texts.METHOD_NOT_ALLOWED, 405),
    NothingHere: ("not_found", texts.NOT_FOUND, 404),
}


@dataclass(frozen=True)
class _Asked:
    """What a request asks. Of one that `is_readable` is not true of: what could be read of it."""

    params: Params
    key: str
    is_readable: bool


_Answer = Callable[[HttpRequest, gate.Visit, _Asked], HttpResponse]


@csrf_exempt
def panel(request: HttpRequest) -> HttpResponse:
    """Answer one action. Refusals are HTTP 200 as well, but for the limits' 429 and other methods'
    405; our own failure is a 500, so that a program never takes it for a clear no."""
    return _respond(request, _act)


@csrf_exempt
def nowhere(request: HttpRequest) -> HttpResponse:
    """Every other address below the dialect's own: 404 in its own shape, to any method."""
    return _respond(request, _find_nothing)


def _respond(request: HttpRequest, answer: _Answer) -> HttpResponse:
    visit = gate.Visit(request, ApiDialect.PANEL)
    asked = _Asked({}, key="", is_readable=False)
    result = gate.OK
    with translation.override("en"):
        try:
            asked = _read(request)
            response = answer(request, visit, asked)
        except Exception as error:  # the boundary: whatever it is, it is told in our own shape
            result, response = _refusal(request, error, asked.params)
    response.headers["Content-Language"] = "en"
    shown = {name: value for name, value in asked.params.items() if name != "key"}
    visit.leave(
        response,
        action=str(shown.get("action", "")),
        result=result,
        request=dumps(shown).decode(),
    )
    return response


def _act(request: HttpRequest, visit: gate.Visit, asked: _Asked) -> HttpResponse:
    if request.method not in METHODS:
        visit.recognise(asked.key)
        raise MethodNotAllowed
    api_key = visit.enter(asked.key)
    if not asked.is_readable:
        raise Unreadable
    action = ACTIONS.get(str(asked.params.get("action")))
    if action is None:
        raise UnknownAction
    if request.method == "HEAD" and action.permission.endswith(":write"):
        # Whoever asks for headers alone wants to look.
        raise MethodNotAllowed
    api_keys.require(api_key, action.permission)
    answer = action.answer(api_key, asked.params)
    return conditional(request, answer) if isinstance(answer, Content) else _json(answer)


def _find_nothing(request: HttpRequest, visit: gate.Visit, asked: _Asked) -> HttpResponse:
    visit.recognise(asked.key)
    raise NothingHere


def _refusal(request: HttpRequest, error: Exception, params: Params) -> tuple[str, HttpResponse]:
    """The code of what was refused, and the answer."""
    if own := _OWN.get(type(error)):
        code, text, status = own
    else:
        described = describe(error)
        code, text = described.code, texts.error_text(error)
        status = described.http_status if described.http_status >= 500 else 200
    body: dict[str, Any] = {"error": text}
    headers = {}
    if isinstance(error, TooManyRequests):
        status = 429
        body["retry_after"] = error.retry_after
        headers["Retry-After"] = str(error.retry_after)
    elif status == 200 and params.get("action") == "refill" and type(error) is not TooManyOrders:
        body = no_refill(text)
    elif status == 405:
        headers["Allow"] = ", ".join(METHODS)
    elif status == 503:
        headers["Retry-After"] = str(RETRY_AFTER)
    if status >= 500:
        log_failure(request.path, error)
    return code, _json(body, status, headers)


def _json(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpResponse:
    return HttpResponse(
        dumps(body), content_type="application/json", status=status, headers=headers
    )


def _read(request: HttpRequest) -> _Asked:
    """The parameters of the query and, before it, of the body; a blank one hides none."""
    request.upload_handlers = [NoFiles(request)]
    query, is_query_read = _part(request, _query)
    body, is_body_read = _part(request, _body)
    told = {
        name: value for name, value in body.items() if name not in query or not _is_blank(value)
    }
    params = {**query, **told}
    is_readable = is_query_read and is_body_read
    in_headers = gate.key_in_headers(request)
    if is_readable:
        key = params.get("key") or in_headers
    else:
        # The surest place first: what stands in a broken part may be broken as well.
        key = in_headers or query.get("key") or body.get("key")
    return _Asked(params, key.strip() if isinstance(key, str) else "", is_readable)


def _part(request: HttpRequest, read: Callable[[HttpRequest], Params]) -> tuple[Params, bool]:
    """The parameters of one part of the request, and whether it could be read. Of one that could
    not, what tells whose it is and how the refusal looks, where that much is known."""
    part: Params = {}
    try:
        part = read(request)
        refuse_unstorable(part)
    except _UNREADABLE:
        known = {"key": part.get("key")}
        action = part.get("action")
        return (known | {"action": action} if action in tuple(ACTIONS) else known), False
    return part, True


def _query(request: HttpRequest) -> Params:
    # For the body too, whatever charset it claims. Reads the query, and raises what that raises.
    request.encoding = "utf-8"
    return request.GET.dict()


def _body(request: HttpRequest) -> Params:
    if request.content_type != "application/json" or request.method != "POST":
        return request.POST.dict()
    if not request.body.strip():
        return {}
    body = load_json(request.body)
    if not isinstance(body, dict):
        raise Unreadable("not an object")
    return body


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
