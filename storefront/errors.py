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

import structlog
from django.db import InterfaceError, OperationalError
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.api_keys import AccountSuspended, InvalidApiKey, NotPermitted
from accounts.encryption import SecretUnreadable
from accounts.exchange import RateMissing
from accounts.ledger import EntryKeyReused, InsufficientFunds, UnbalancedEntry
from accounts.limits import TooManyRequests
from accounts.webhook_urls import UrlRefused
from accounts.webhooks import WebhookNotFound, WebhookRefused
from catalog.listing import ServiceNotFound, ServiceUnavailable
from catalog.models import LinkTarget, Network
from catalog.order_types import LIST_FIELDS
from catalog.pricing import NotPriced
from catalog.providers import ProviderError
from orders.bulk import MAX_ORDERS, TooManyOrders
from orders.cancellations import ActionRefused, CancelProblem, CancelRefused
from orders.checkout import (
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    InvalidIdempotencyKey,
    InvalidOrder,
    LinkBusy,
    PriceRaised,
    TwinOrder,
)
from orders.dripfeed import SeriesRefusal, SeriesRefused
from orders.listing import OrderNotFound
from orders.mass import ColumnsWrong, Fault, TableRefused
from orders.moves import MoveNotAllowed
from orders.play import WrongAccount, WrongProvider
from orders.refills import RefillNotFound, RefillProblem, RefillRefused
from orders.refusals import LineDearer
from orders.requests import InvalidRequest, Problem, ProblemCode

_CENT = Decimal("0.01")

# What the database drivers raise when it is away, full, or another holds a row for too long. What
# was being done is rolled back, or was committed and its answer lost.
DATABASE_AWAY = (OperationalError, InterfaceError)
RETRY_AFTER = 5  # seconds

log = structlog.get_logger(__name__)

# What people call the fields; a program's front passes the name that the program used.
_LABELS: dict[str, Promise] = {
    "service_id": gettext_lazy("Service"),
    "link": gettext_lazy("Link"),
    "quantity": gettext_lazy("Quantity"),
    "comments": gettext_lazy("Comments"),
    "runs": gettext_lazy("Runs"),
    "interval": gettext_lazy("Minutes between runs"),
    "usernames": gettext_lazy("User names"),
    "hashtags": gettext_lazy("Hashtags"),
    "keywords": gettext_lazy("Keywords"),
    "groups": gettext_lazy("Groups"),
    "hashtag": gettext_lazy("Hashtag"),
    "username": gettext_lazy("User name"),
    "media": gettext_lazy("Media link"),
    "answer_number": gettext_lazy("Number of the answer"),
    "min": gettext_lazy("Minimum per post"),
    "max": gettext_lazy("Maximum per post"),
    "posts": gettext_lazy("New posts"),
    "old_posts": gettext_lazy("Old posts"),
    "delay": gettext_lazy("Delay in minutes"),
    "expiry": gettext_lazy("Last day"),
    "country": gettext_lazy("Country"),
    "device": gettext_lazy("Device"),
    "type_of_traffic": gettext_lazy("Visitors come"),
    "google_keyword": gettext_lazy("Google search words"),
    "referring_url": gettext_lazy("Page they come from"),
    "client_ref": gettext_lazy("Your reference"),
}


# Two sentences that stand one after the other: what the service needs, what the link leads to.
_TARGET_NEEDED: dict[str, Promise] = {
    LinkTarget.PROFILE: gettext_lazy("This service needs the link of a profile, page or channel."),
    LinkTarget.POST: gettext_lazy("This service needs the link of a single post or video."),
    LinkTarget.GROUP: gettext_lazy("This service needs the link of a group or an invitation."),
}
_TARGET_FOUND: dict[str, Promise] = {
    LinkTarget.PROFILE: gettext_lazy("Yours leads to a profile, page or channel."),
    LinkTarget.POST: gettext_lazy("Yours leads to a single post or video."),
    LinkTarget.GROUP: gettext_lazy("Yours leads to a group or an invitation."),
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


def label_of(field: str) -> str:
    """What people call a field of an order, in the active language."""
    return str(_LABELS.get(field, field))


def log_failure(path: str, exception: Exception) -> None:
    """Log an answer of 500 and more. A database that is away fails every request: a line each."""
    if isinstance(exception, DATABASE_AWAY):
        log.error("database_away", path=path, reason=str(exception).partition("\n")[0])
    else:
        log.error("api_failure", path=path, exc_info=exception)


def problem_text(problem: Problem, *, field: str = "") -> str:
    """One sentence about one wrong field, in the active language.

    `field` is the field as the reader knows it; by default its label for people.
    """
    shown = field or label_of(problem.field)
    params = {**problem.params, "field": shown}
    match problem.code:
        case ProblemCode.REQUIRED:
            return _("The %(field)s field is required.") % params
        case ProblemCode.TOO_SMALL | ProblemCode.TOO_LARGE:
            if problem.field == "quantity":
                return _("The quantity must be between %(minimum)s and %(maximum)s.") % params
            if problem.field not in LIST_FIELDS:
                return (
                    _("The %(field)s field must be between %(minimum)s and %(maximum)s.") % params
                )
            # Each line is one unit.
            return (
                _("The %(field)s field must have between %(minimum)s and %(maximum)s lines.")
                % params
            )
        case ProblemCode.TOO_LARGE_TOGETHER:
            return _("All runs together may come to at most %(maximum)s.") % params
        case ProblemCode.IN_THE_PAST:
            return _("The %(field)s field must be a day after today.") % params
        case ProblemCode.WRONG_NETWORK:
            return _("This link leads to %(found)s, and the service is for %(expected)s.") % {
                name: Network(params[name]).label for name in ("found", "expected")
            }
        case ProblemCode.WRONG_TARGET:
            needed, found = LinkTarget(params["expected"]), LinkTarget(params["found"])
            return f"{_TARGET_NEEDED[needed]} {_TARGET_FOUND[found]}"
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


def _not_permitted(exception: NotPermitted) -> Described:
    message = _("This API key does not have the permission %(permission)s.") % {
        "permission": exception.permission
    }
    return Described("permission_denied", "Forbidden", message, 403)


def _too_many_requests(exception: TooManyRequests) -> Described:
    message = ngettext(
        "You have exceeded the request limit. Try again in %(seconds)s second.",
        "You have exceeded the request limit. Try again in %(seconds)s seconds.",
        exception.retry_after,
    ) % {"seconds": exception.retry_after}
    return Described("rate_limited", "Too Many Requests", message, 429)


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


def _too_many_orders(exception: TooManyOrders) -> Described:
    message = _("At most %(limit)s orders are allowed at once.") % {"limit": MAX_ORDERS}
    return Described("too_many_orders", "Validation Error", message, 422)


def _price_raised(exception: PriceRaised) -> Described:
    message = _("The price has changed: this order now costs %(charge)s %(currency)s.") % {
        "charge": _short(exception.quote.charge, ROUND_CEILING),
        "currency": exception.quote.price.currency,
    }
    return Described("price_changed", _("Price changed"), message, 409)


def _twin_order(exception: TwinOrder) -> Described:
    message = _("You gave this same order a moment ago: %(order)s.") % {"order": exception.order}
    return Described("duplicate_order", _("Ordered already"), message, 409)


def _invalid_order(exception: InvalidOrder | InvalidRequest) -> Described:
    first = exception.problems[0]
    return Described("validation_error", "Validation Error", problem_text(first), 422)


_TABLE_FAULTS: dict[Fault, Promise] = {
    Fault.EMPTY: gettext_lazy("There is no line to order."),
    Fault.TOO_LONG: gettext_lazy("This is too long: at most %(limit)s kB at once."),
    Fault.TOO_MANY: gettext_lazy("These are too many lines: at most %(limit)s at once."),
    Fault.NOT_TEXT: gettext_lazy(
        "This file cannot be read as text. Save it as CSV with the encoding UTF-8."
    ),
    Fault.QUOTES: gettext_lazy("Line %(line)s cannot be read: look at its quotation marks."),
    Fault.UNKNOWN_COLUMN: gettext_lazy("There is no field for the column “%(column)s”."),
    Fault.DOUBLE_COLUMN: gettext_lazy("The column “%(column)s” is there twice."),
}


def _table_refused(exception: TableRefused) -> Described:
    message = str(_TABLE_FAULTS[exception.fault]) % exception.params
    return Described("invalid_table", "Validation Error", message, 422)


def _columns_wrong(exception: ColumnsWrong) -> Described:
    message = _("This line needs other columns: %(columns)s.") % {
        "columns": " | ".join(exception.columns)
    }
    return Described("invalid_table", "Validation Error", message, 422)


def _line_dearer(exception: LineDearer) -> Described:
    message = _("The price has risen since: this line would cost %(charge)s %(currency)s now.") % {
        "charge": _short(exception.charge, ROUND_CEILING),
        "currency": exception.currency,
    }
    return Described("price_changed", _("Price changed"), message, 409)


def _action_refused(exception: ActionRefused) -> Described:
    return Described("action_refused", "Conflict", str(exception), 409)


def _refill_refused(exception: RefillRefused) -> Described:
    title = _("Refill not possible")
    match exception.problem:
        case RefillProblem.NO_GUARANTEE:
            code, message = "not_refillable", _("This order comes without a refill guarantee.")
        case RefillProblem.NOT_FINISHED:
            code = "not_refillable"
            message = _("A refill can be asked for once the order is finished.")
        case RefillProblem.NOT_DELIVERED:
            code, message = "not_refillable", _("Nothing was delivered that could be refilled.")
        case RefillProblem.WINDOW_OVER:
            assert exception.until is not None
            code, message = (
                "refill_window_over",
                _("The refill guarantee ended on %(day)s.")
                % {"day": date_format(timezone.localtime(exception.until), "DATE_FORMAT")},
            )
        case RefillProblem.OPEN:
            message = _("A refill of this order is already under way.")
            return Described("refill_open", title, message, 409)
    return Described(code, title, message, 400)


def _cancel_refused(exception: CancelRefused) -> Described:
    title = _("Cancellation not possible")
    match exception.problem:
        case CancelProblem.REQUESTED:
            message = _("The cancellation of this order has already been asked for.")
            return Described("cancel_requested", title, message, 409)
        case CancelProblem.ENDED:
            message = _("This order has ended already.")
        case CancelProblem.NOT_OFFERED:
            message = _("This service cannot be stopped once the order has been passed on.")
        case CancelProblem.REFUSED:
            message = _("Its delivery can no longer be stopped.")
    return Described("not_cancellable", title, message, 400)


_SERIES_REFUSALS: dict[SeriesRefusal, Promise] = {
    SeriesRefusal.NO_SERIES: gettext_lazy("This order is not delivered in parts."),
    SeriesRefusal.ENDED: gettext_lazy("This order has ended already."),
    SeriesRefusal.STOPPING: gettext_lazy("This order is being stopped already."),
    SeriesRefusal.PAUSED: gettext_lazy("This order is paused already."),
    SeriesRefusal.NOT_PAUSED: gettext_lazy("This order is not paused."),
    SeriesRefusal.NO_RUN_LEFT: gettext_lazy("The last run of this order has begun already."),
    SeriesRefusal.NOT_OFFERED: gettext_lazy("This order cannot be stopped any more."),
}


def _series_refused(exception: SeriesRefused) -> Described:
    message = str(_SERIES_REFUSALS[exception.reason])
    return Described("series_refused", _("Not possible now"), message, 409)


def _short(amount: Decimal, rounding: str) -> str:
    """Two decimals, more only where two would show 0. Rounded away from looking sufficient."""
    # A charge that no wallet could pay can have more digits than Python's 28.
    with localcontext(prec=100):
        shown = amount.quantize(_CENT, rounding)
        if amount and not (shown and amount.quantize(_CENT, ROUND_HALF_EVEN)):
            return f"{amount.normalize():f}"
        return f"{shown:f}"


def _webhook_refused(exception: WebhookRefused) -> Described:
    message = next(iter(exception.problems.values()))[0]
    if "delivery" in exception.problems:
        return Described("webhook_refused", "Conflict", message, 409)
    return Described("validation_error", "Validation Error", message, 422)


def _url_refused(exception: UrlRefused) -> Described:
    return Described("validation_error", "Validation Error", str(exception), 422)


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

_unreachable = _fixed(
    "temporarily_unavailable",
    503,
    "Service Unavailable",
    gettext_lazy("We cannot reach our records right now. Please try again in a few seconds."),
)

TABLE: dict[type[Exception], Callable[[Any], Described]] = {
    **dict.fromkeys(DATABASE_AWAY, _unreachable),
    InvalidApiKey: _fixed(
        "invalid_api_key",
        401,
        "Unauthorized",
        gettext_lazy("The API key is missing or not valid."),
    ),
    AccountSuspended: _fixed(
        "account_suspended", 403, "Forbidden", gettext_lazy("This account is suspended.")
    ),
    NotPermitted: _not_permitted,
    TooManyRequests: _too_many_requests,
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
    IdempotencyKeyInUse: _fixed(
        "idempotency_key_in_use",
        409,
        "Conflict",
        gettext_lazy("The first request with this idempotency key still runs. Try again."),
    ),
    TooManyOrders: _too_many_orders,
    PriceRaised: _price_raised,
    LinkBusy: _fixed(
        "link_busy",
        409,
        gettext_lazy("Link in use"),
        gettext_lazy(
            "This service takes one order at a time for a link. Order again once the one that is"
            " under way has ended."
        ),
    ),
    TwinOrder: _twin_order,
    LineDearer: _line_dearer,
    TableRefused: _table_refused,
    ColumnsWrong: _columns_wrong,
    OrderNotFound: _fixed(
        "order_not_found", 404, "Not Found", gettext_lazy("This order does not exist.")
    ),
    RefillRefused: _refill_refused,
    RefillNotFound: _fixed(
        "refill_not_found", 404, "Not Found", gettext_lazy("This refill does not exist.")
    ),
    CancelRefused: _cancel_refused,
    SeriesRefused: _series_refused,
    ActionRefused: _action_refused,
    WebhookRefused: _webhook_refused,
    WebhookNotFound: _fixed(
        "webhook_not_found",
        404,
        "Not Found",
        gettext_lazy("This webhook or delivery does not exist."),
    ),
    UrlRefused: _url_refused,
    # A customer never meets these: they are mistakes of ours, or a provider's, whose identity
    # stays ours. Staff see them in the admin and in the logs.
    UnbalancedEntry: _server_error,
    EntryKeyReused: _server_error,
    MoveNotAllowed: _server_error,
    WrongAccount: _server_error,
    WrongProvider: _server_error,
    ProviderError: _server_error,
    SecretUnreadable: _server_error,
}
