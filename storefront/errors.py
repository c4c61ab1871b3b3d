"""The one table from what the domain refuses to a code, words and an HTTP status.

Every front reads it: pages and the REST dialect show the words, the panel dialect keeps its own
fixed English texts by code (storefront/api/panel/texts.py). Words are in the active language;
titles that are plain HTTP names stay English everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.api_keys import AccountSuspended, InvalidApiKey
from accounts.encryption import SecretUnreadable
from accounts.exchange import RateMissing
from accounts.ledger import EntryKeyReused, InsufficientFunds, UnbalancedEntry
from catalog.listing import ServiceNotFound, ServiceUnavailable
from catalog.pricing import NotPriced
from catalog.providers import ProviderError
from orders.cancellations import ActionRefused
from orders.checkout import (
    IdempotencyKeyReused,
    InvalidIdempotencyKey,
    InvalidOrder,
    PriceRaised,
)
from orders.listing import OrderNotFound
from orders.requests import InvalidRequest, Problem, ProblemCode
from orders.statuses import MoveNotAllowed

_CENT = Decimal("0.01")

# What people call the fields; a program's front passes the name that the program used.
_LABELS: dict[str, Promise] = {
    "service_id": gettext_lazy("Service"),
    "link": gettext_lazy("Link"),
    "quantity": gettext_lazy("Quantity"),
    "comments": gettext_lazy("Comments"),
    "runs": gettext_lazy("Runs"),
    "interval": gettext_lazy("Interval"),
    "client_ref": gettext_lazy("Your reference"),
}


@dataclass(frozen=True)
class Described:
    """An exception for the outside. `code` is for programs, `title` and `message` for people."""

    code: str
    title: str
    message: str
    http_status: int


def describe(exception: Exception) -> Described:
    """What to tell the outside of this exception, in the active language.

    Whatever the table does not know is our own failure: 500, and not a word of what it was.
    """
    for ancestor in type(exception).__mro__:
        if ancestor in TABLE:
            return TABLE[ancestor](exception)
    return _server_error(exception)


def problem_text(problem: Problem, *, field: str = "") -> str:
    """One sentence about one wrong field, in the active language.

    `field` is the field as the reader knows it; by default its label for people.
    """
    shown = field or str(_LABELS.get(problem.field, problem.field))
    params = {**problem.params, "field": shown}
    match problem.code:
        case ProblemCode.REQUIRED:
            return _("The %(field)s field is required.") % params
        case ProblemCode.TOO_SMALL | ProblemCode.TOO_LARGE:
            if problem.field == "quantity":
                return _("The quantity must be between %(minimum)s and %(maximum)s.") % params
            # The other fields with limits are lists: each line is one unit.
            return (
                _("The %(field)s field must have between %(minimum)s and %(maximum)s lines.")
                % params
            )
        case ProblemCode.TOO_LONG:
            return _("The %(field)s field may have at most %(limit)s characters.") % params
        case ProblemCode.NOT_ALLOWED:
            return _("The %(field)s field is not available for this service.") % params
        case ProblemCode.INVALID:
            return _("The %(field)s field is not valid.") % params


def _fixed(
    code: str, http_status: int, title: str | Promise, message: Promise
) -> Callable[[Exception], Described]:
    def described(exception: Exception) -> Described:
        return Described(code, str(title), str(message), http_status)

    return described


def _insufficient_funds(exception: InsufficientFunds) -> Described:
    message = _(
        "Your balance (%(available)s %(currency)s) is not enough for this order"
        " (%(required)s %(currency)s)."
    ) % {
        "available": _short(exception.available, ROUND_FLOOR),
        "required": _short(exception.required, ROUND_CEILING),
        "currency": exception.currency,
    }
    return Described("insufficient_balance", _("Insufficient balance"), message, 400)


def _price_raised(exception: PriceRaised) -> Described:
    message = _("The price has changed: this order now costs %(charge)s %(currency)s.") % {
        "charge": _short(exception.quote.charge, ROUND_CEILING),
        "currency": exception.quote.price.currency,
    }
    return Described("price_changed", _("Price changed"), message, 409)


def _invalid_order(exception: InvalidOrder | InvalidRequest) -> Described:
    first = exception.problems[0]
    return Described("validation_error", "Validation Error", problem_text(first), 422)


def _action_refused(exception: ActionRefused) -> Described:
    return Described("action_refused", "Conflict", str(exception), 409)


def _short(amount: Decimal, rounding: str) -> str:
    """Two decimals, more only where two would show 0. Rounded away from looking sufficient."""
    # A charge that no wallet could pay can have more digits than Python's 28.
    with localcontext(prec=100):
        shown = amount.quantize(_CENT, rounding)
        if amount and not (shown and amount.quantize(_CENT, ROUND_HALF_EVEN)):
            return f"{amount.normalize():f}"
        return f"{shown:f}"


_unavailable = _fixed(
    "service_unavailable",
    400,
    gettext_lazy("Service not available"),
    gettext_lazy("This service is not available at the moment."),
)
_server_error = _fixed(
    "server_error",
    500,
    "Internal Server Error",
    gettext_lazy("Something went wrong on our side. Please try again later."),
)

TABLE: dict[type[Exception], Callable[[Any], Described]] = {
    InvalidApiKey: _fixed(
        "invalid_api_key",
        401,
        "Unauthorized",
        gettext_lazy("The API key is missing or not valid."),
    ),
    AccountSuspended: _fixed(
        "account_suspended", 403, "Forbidden", gettext_lazy("This account is suspended.")
    ),
    InsufficientFunds: _insufficient_funds,
    ServiceNotFound: _fixed(
        "service_not_found", 404, "Not Found", gettext_lazy("This service does not exist.")
    ),
    ServiceUnavailable: _unavailable,
    NotPriced: _unavailable,
    RateMissing: _unavailable,
    InvalidRequest: _invalid_order,
    InvalidOrder: _invalid_order,
    InvalidIdempotencyKey: _fixed(
        "invalid_idempotency_key",
        422,
        "Validation Error",
        gettext_lazy("The idempotency key must have 1 to 255 printable characters."),
    ),
    IdempotencyKeyReused: _fixed(
        "idempotency_key_reused",
        422,
        "Idempotency Error",
        gettext_lazy("This idempotency key was used before, with another request."),
    ),
    PriceRaised: _price_raised,
    OrderNotFound: _fixed(
        "order_not_found", 404, "Not Found", gettext_lazy("This order does not exist.")
    ),
    ActionRefused: _action_refused,
    # A customer never meets these: they are mistakes of ours, or a provider's, whose identity
    # stays ours. Staff see them in the admin and in the logs.
    UnbalancedEntry: _server_error,
    EntryKeyReused: _server_error,
    MoveNotAllowed: _server_error,
    ProviderError: _server_error,
    SecretUnreadable: _server_error,
}
