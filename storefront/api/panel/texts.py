"""The panel dialect's texts: fixed English, word for word what programs of this market match."""

from __future__ import annotations

from accounts.ledger import InsufficientFunds
from catalog.order_types import LIST_FIELDS
from orders.checkout import InvalidOrder
from orders.requests import InvalidRequest, Problem, ProblemCode
from orders.statuses import Status
from storefront.errors import describe

UNAUTHORIZED = "Unauthorized"
INVALID_ACTION = "Invalid action"
INVALID_REQUEST = "Invalid request"
INVALID_ORDER_ID = "Incorrect order ID"
INVALID_REFILL_ID = "Invalid refill ID"
REFILL_NOT_FOUND = "Refill not found"
TOO_MANY_ORDERS = "Maximum 100 orders allowed"
METHOD_NOT_ALLOWED = "Method not allowed"
NOT_FOUND = "Not found"
SERVER_ERROR = "Internal server error"

# By the codes of storefront/errors.py.
BY_CODE = {
    "invalid_api_key": UNAUTHORIZED,
    "account_suspended": UNAUTHORIZED,
    "permission_denied": "Permission denied",
    "rate_limited": "Too Many Requests",
    "service_not_found": "Service not found",
    "service_unavailable": "Service is not available",
    "order_not_found": INVALID_ORDER_ID,
    "invalid_idempotency_key": "Invalid idempotency key",
    "idempotency_key_reused": "Idempotency key already used for another order",
    "idempotency_key_in_use": "Idempotency key is in use, try again",
    "too_many_orders": TOO_MANY_ORDERS,
    "price_changed": "Price changed",
    "link_busy": "An order for this link is already in progress",
    "duplicate_order": "Duplicate order",
    "invalid_table": INVALID_REQUEST,
    "not_refillable": "Order cannot be refilled",
    "refill_window_over": "Refill period has ended",
    "refill_open": "Refill already requested",
    "refill_not_found": REFILL_NOT_FOUND,
    "not_cancellable": "Order cannot be canceled",
    "cancel_requested": "Cancel already requested",
    "series_refused": "Not allowed",
    "action_refused": "Not allowed",
    "webhook_refused": "Not allowed",
    "webhook_not_found": INVALID_REQUEST,
    "validation_error": INVALID_REQUEST,
    "server_error": SERVER_ERROR,
    "temporarily_unavailable": "Temporarily unavailable, try again",
}

STATUS_WORDS: dict[str, str] = {
    Status.PENDING: "Pending",
    Status.PROCESSING: "Processing",
    Status.IN_PROGRESS: "In progress",
    Status.COMPLETED: "Completed",
    Status.PARTIAL: "Partial",
    Status.CANCELLED: "Canceled",
    Status.REFUNDED: "Refunded",
    Status.FAILED: "Failed",
}


def error_text(exception: Exception) -> str:
    """The one text of an exception."""
    if isinstance(exception, InsufficientFunds):
        return (
            f"Insufficient balance. Required: {exception.required:.6f}, "
            f"Available: {exception.available:.6f}"
        )
    if isinstance(exception, InvalidOrder | InvalidRequest):
        return problem_text(exception.problems[0])
    return BY_CODE[describe(exception).code]


def problem_text(problem: Problem) -> str:
    """What is wrong with one field of an order."""
    name = problem.field.replace("_", " ")
    match problem.field, problem.code:
        case "service_id", _:
            return BY_CODE["service_not_found"]
        case _, ProblemCode.TOO_SMALL:
            return f"{_counted(problem)} must be at least {problem.params['minimum']}"
        case _, ProblemCode.TOO_LARGE:
            return f"{_counted(problem)} must be at most {problem.params['maximum']}"
        case _, ProblemCode.TOO_LARGE_TOGETHER:
            return f"Quantity must be at most {problem.params['maximum']}"
        case "quantity", _:
            return "Invalid quantity"
        case _, ProblemCode.REQUIRED:
            return f"{name.capitalize()} is required"
        case _, ProblemCode.NOT_ALLOWED:
            return f"{name.capitalize()} is not available for this service"
        case _:
            return f"Invalid {name}"


def _counted(problem: Problem) -> str:
    """Of a list the number of its lines is the quantity."""
    if problem.field in LIST_FIELDS:
        return "Quantity"
    return problem.field.replace("_", " ").capitalize()
