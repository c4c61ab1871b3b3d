"""Every failure of the REST dialect in its one shape: error, message, code, and perhaps errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http import Http404, UnreadablePostError
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions
from rest_framework.response import Response

from accounts.ledger import InsufficientFunds
from accounts.limits import TooManyRequests
from accounts.webhooks import WebhookRefused
from orders.bulk import TooManyOrders
from orders.checkout import InvalidIdempotencyKey, InvalidOrder
from storefront.errors import RETRY_AFTER, Described, describe, log_failure, problem_text

# What HTTP itself goes wrong with, beside the domain's table.
_HTTP: dict[type[Exception], tuple[str, str, Promise, int]] = {
    exceptions.ParseError: (
        "bad_request",
        "Bad Request",
        _("The request could not be read."),
        400,
    ),
    exceptions.NotFound: ("not_found", "Not Found", _("There is nothing at this address."), 404),
    exceptions.MethodNotAllowed: (
        "method_not_allowed",
        "Method Not Allowed",
        _("This method is not available at this address."),
        405,
    ),
    exceptions.UnsupportedMediaType: (
        "unsupported_media_type",
        "Unsupported Media Type",
        _("Send JSON or a form."),
        415,
    ),
}
# Raised below DRF, by Django's own reading of requests.
_UNREADABLE = (SuspiciousOperation, BadRequest, UnreadablePostError)


def exception_handler(exception: Exception, context: Mapping[str, Any]) -> Response:
    """Any exception as an answer. What nobody expected is logged, and told to nobody."""
    if isinstance(exception, exceptions.ValidationError):
        return _answer(*_of_parameters(exception))
    described = _describe(exception)
    if described.http_status >= 500:
        log_failure(context["request"].path, exception)
    answer = _answer(described, _details(exception, described))
    if isinstance(exception, TooManyRequests):
        answer.headers["Retry-After"] = str(exception.retry_after)
    return answer


def body_of_item(exception: Exception) -> dict[str, Any]:
    """What is told of one item of a batch that was refused: the body that it would get alone."""
    described = _describe(exception)
    if isinstance(exception, InvalidIdempotencyKey):
        return _body(described, {"errors": {"idempotency_key": [described.message]}})
    return _body(described, _details(exception, described))


def _body(described: Described, details: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "error": described.title,
        "message": described.message,
        **details,
        "code": described.code,
    }


def _answer(described: Described, details: Mapping[str, Any]) -> Response:
    headers = {
        401: {"WWW-Authenticate": 'Bearer realm="api"'},
        503: {"Retry-After": str(RETRY_AFTER)},
    }.get(described.http_status)
    return Response(_body(described, details), status=described.http_status, headers=headers)


def _describe(exception: Exception) -> Described:
    if isinstance(exception, _UNREADABLE):
        exception = exceptions.ParseError()
    elif isinstance(exception, Http404):
        exception = exceptions.NotFound()
    if (known := _HTTP.get(type(exception))) is None:
        return describe(exception)
    code, title, message, http_status = known
    return Described(code, title, str(message), http_status)


def _details(exception: Exception, described: Described) -> dict[str, Any]:
    match exception:
        case TooManyRequests():
            return {"retry_after": exception.retry_after}
        case InsufficientFunds():
            return {"required": exception.required, "current_balance": exception.available}
        case InvalidOrder():
            errors: dict[str, list[str]] = {}
            for problem in exception.problems:
                text = problem_text(problem, field=problem.field)
                errors.setdefault(problem.field, []).append(text)
            return {"message": next(iter(errors.values()))[0], "errors": errors}
        case WebhookRefused() if described.http_status == 422:
            return {"errors": exception.problems}
        case TooManyOrders():
            return {"errors": {"orders": [described.message]}}
        case InvalidIdempotencyKey():
            return {"errors": {"Idempotency-Key": [described.message]}}
    return {}


def _of_parameters(
    exception: exceptions.ValidationError,
) -> tuple[Described, dict[str, Any]]:
    """Query parameters that a serializer refused; its texts are translated by DRF."""
    detail = exception.detail
    assert isinstance(detail, dict)
    errors = {name: [str(text) for text in texts] for name, texts in detail.items()}
    message = next(iter(errors.values()))[0]
    return Described("validation_error", "Validation Error", message, 422), {"errors": errors}
