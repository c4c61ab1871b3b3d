"""The panel dialect's texts: fixed English, word for word what programs of this market match."""

from __future__ import annotations

from accounts.ledger import InsufficientFunds
from orders.checkout import InvalidOrder
from orders.requests import InvalidRequest, Problem, ProblemCode
from orders.statuses import Status
from storefront.errors import describe

UNAUTHORIZED = "Unauthorized"
INVALID_ACTION = "Invalid action"
INVALID_REQUEST = "Invalid request"
INVALID_ORDER_ID = "Incorrect order ID"
TOO_MANY_ORDERS = "Maximum 100 orders allowed"
METHOD_NOT_ALLOWED = "Method not allowed"
SERVER_ERROR = "Internal server error"

# By the codes of storefront/errors.py.
BY_CODE = {
    "invalid_api_key": UNAUTHORIZED,
    "account_suspended": UNAUTHORIZED,
    "service_not_found": "Service not found",
    "service_unavailable": "Service is not available",
    "order_not_found": INVALID_ORDER_ID,
    "invalid_idempotency_key": "Invalid idempotency key",
    "idempotency_key_reused": "Idempotency key already used for another order",
    "price_changed": "Price changed",
    "action_refused": "Not allowed",
    "server_error": SERVER_ERROR,
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
            return f"Quantity must be at least {problem.params['minimum']}"
        case _, ProblemCode.TOO_LARGE:
            return f"Quantity must be at most {problem.params['maximum']}"
        case "quantity", _:
            return "Invalid quantity"
        case _, ProblemCode.REQUIRED:
            return f"{name.capitalize()} is required"
        case _, ProblemCode.NOT_ALLOWED:
            return f"{name.capitalize()} is not available for this service"
        case _:
            return f"Invalid {name}"
