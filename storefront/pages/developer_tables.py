"""The tables of the developers' pages. Codes and texts are the APIs' own: tests hold them
against what the APIs answer."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.models import Permission
from orders.statuses import Status


@dataclass(frozen=True)
class Action:
    """An action of the panel dialect."""

    name: str
    parameters: str
    answer: str
    permission: Permission


@dataclass(frozen=True)
class Endpoint:
    """An address of the REST dialect, below /api/v1. No permission: needs no key."""

    method: str
    path: str
    meaning: str | Promise
    permission: Permission | None


@dataclass(frozen=True)
class Refusal:
    """What a request may be refused with. `panel` is that dialect's text, "" where it has none."""

    status: int
    code: str
    panel: str
    meaning: str | Promise


@dataclass(frozen=True)
class StatusWords:
    """A status in both dialects."""

    status: Status
    panel: str
    meaning: str | Promise


@dataclass(frozen=True)
class Magic:
    """How a sandbox order is told to end."""

    word: str
    digits: str
    meaning: str | Promise


ACTIONS = [
    Action(
        "services",
        "",
        '[{"service": 1, "name": "…", "type": "Default", "category": "…", "rate": "12.50",'
        ' "min": 100, "max": 10000, "refill": true, "cancel": true}]',
        Permission.SERVICES_READ,
    ),
    Action(
        "add",
        "service, link, quantity, runs, interval, …, idempotency_key",
        '{"order": 23501}',
        Permission.ORDERS_WRITE,
    ),
    Action(
        "add_bulk",
        "orders",
        '{"0": {"order": 23501}, "1": {"error": "Order 2: Quantity must be at least 100"}}',
        Permission.ORDERS_WRITE,
    ),
    Action(
        "status",
        "order",
        '{"charge": "0.27819", "start_count": "3572", "status": "Partial", "remains": "157",'
        ' "currency": "USD"}',
        Permission.ORDERS_READ,
    ),
    Action(
        "status",
        "orders",
        '{"1": {"charge": "0.27819", …}, "2": {"error": "Incorrect order ID"}}',
        Permission.ORDERS_READ,
    ),
    Action("refill", "order", '{"refill": "23", "status": "completed"}', Permission.REFILLS_WRITE),
    Action(
        "refill",
        "orders",
        '[{"order": 1, "refill": "23", "status": "completed"}, {"order": 2, "refill": null,'
        ' "status": "rejected", "error": "…"}]',
        Permission.REFILLS_WRITE,
    ),
    Action(
        "refill_status",
        "refill",
        '{"refill": "23", "status": "completed"}',
        Permission.ORDERS_READ,
    ),
    Action(
        "refill_status",
        "refills",
        '[{"refill": "23", "status": "pending"}, {"refill": "2", "error": "Refill not found"}]',
        Permission.ORDERS_READ,
    ),
    Action(
        "cancel",
        "orders",
        '[{"order": 9, "cancel": {"error": "Incorrect order ID"}}, {"order": 2, "cancel": 1}]',
        Permission.ORDERS_WRITE,
    ),
    Action("balance", "", '{"balance": "100.84", "currency": "USD"}', Permission.BALANCE_READ),
]

_READ, _WRITE = Permission.ORDERS_READ, Permission.ORDERS_WRITE
_HOOKS = Permission.WEBHOOKS_WRITE

ENDPOINTS = [
    Endpoint("GET", "/services", _("Services and prices, by category"), Permission.SERVICES_READ),
    Endpoint("GET", "/services/{id}", _("One service"), Permission.SERVICES_READ),
    Endpoint("POST", "/orders", _("Place an order"), _WRITE),
    Endpoint("POST", "/orders/bulk", _("Place up to 100 orders at once"), _WRITE),
    Endpoint("GET", "/orders", _("Your orders, newest first, with filters"), _READ),
    Endpoint("GET", "/orders/{id}", _("One order, by id or uuid"), _READ),
    Endpoint("POST", "/orders/{id}/cancel", _("Cancel an order, or ask for it"), _WRITE),
    Endpoint("POST", "/orders/{id}/refill", _("Ask for a refill"), Permission.REFILLS_WRITE),
    Endpoint("GET", "/refills/{id}", _("One refill"), _READ),
    Endpoint("GET", "/balance", _("What the key's wallet holds"), Permission.BALANCE_READ),
    Endpoint(
        "GET", "/transactions", _("What moved the wallet, newest first"), Permission.BALANCE_READ
    ),
    Endpoint("GET, POST", "/webhooks", _("Your webhooks; add one"), _HOOKS),
    Endpoint("GET, DELETE", "/webhooks/{id}", _("One webhook; remove it"), _HOOKS),
    Endpoint("POST", "/webhooks/{id}/rotate", _("A new signing secret"), _HOOKS),
    Endpoint("POST", "/webhooks/{id}/test", _("Send a test event"), _HOOKS),
    Endpoint("POST", "/webhooks/{id}/enable", _("Switch a webhook on"), _HOOKS),
    Endpoint("POST", "/webhooks/{id}/disable", _("Switch a webhook off"), _HOOKS),
    Endpoint("GET", "/webhooks/{id}/deliveries", _("What it was told"), _HOOKS),
    Endpoint("GET", "/webhooks/deliveries/{id}", _("One delivery, with its attempts"), _HOOKS),
    Endpoint("POST", "/webhooks/deliveries/{id}/replay", _("Send an event again"), _HOOKS),
    Endpoint("GET", "/openapi.json", _("The OpenAPI document"), None),
]

STATUSES = [
    StatusWords(Status.PENDING, "Pending", _("Paid, and waiting to be sent.")),
    StatusWords(Status.PROCESSING, "Processing", _("Handed over; delivery has not begun.")),
    StatusWords(Status.IN_PROGRESS, "In progress", _("Being delivered.")),
    StatusWords(Status.COMPLETED, "Completed", _("Delivered in full.")),
    StatusWords(Status.PARTIAL, "Partial", _("Delivered in part; the rest is paid back.")),
    StatusWords(Status.CANCELLED, "Canceled", _("Stopped; what was not delivered is paid back.")),
    StatusWords(Status.REFUNDED, "Refunded", _("Paid back after it had ended.")),
    StatusWords(Status.FAILED, "Failed", _("Nothing was delivered; all of it is paid back.")),
]

REFUSALS = [
    Refusal(
        401,
        "invalid_api_key",
        "Unauthorized",
        _("No key, or one that is wrong, revoked, expired, or used from another network."),
    ),
    Refusal(403, "account_suspended", "Unauthorized", _("The account is suspended.")),
    Refusal(403, "permission_denied", "Permission denied", _("The key lacks this permission.")),
    Refusal(
        429,
        "rate_limited",
        "Too Many Requests",
        _("Over the limit: wait as many seconds as Retry-After says."),
    ),
    Refusal(400, "bad_request", "Invalid request", _("The request could not be read.")),
    Refusal(422, "validation_error", "", _("A field is missing or wrong; the answer says which.")),
    Refusal(404, "service_not_found", "Service not found", _("There is no such service.")),
    Refusal(
        400,
        "service_unavailable",
        "Service is not available",
        _("The service cannot be ordered at the moment."),
    ),
    Refusal(400, "insufficient_balance", "", _("The wallet holds less than the order costs.")),
    Refusal(
        409,
        "link_busy",
        "An order for this link is already in progress",
        _("This service takes one order at a time for a link."),
    ),
    Refusal(
        422,
        "invalid_idempotency_key",
        "Invalid idempotency key",
        _("An idempotency key has 1 to 255 printable characters."),
    ),
    Refusal(
        422,
        "idempotency_key_reused",
        "Idempotency key already used for another order",
        _("This idempotency key was used for another order."),
    ),
    Refusal(
        409,
        "idempotency_key_in_use",
        "Idempotency key is in use, try again",
        _("The first request with this idempotency key still runs. Try again."),
    ),
    Refusal(
        422,
        "too_many_orders",
        "Maximum 100 orders allowed",
        _("More than 100 orders or ids at once; nothing was done."),
    ),
    Refusal(404, "order_not_found", "Incorrect order ID", _("You have no such order.")),
    Refusal(
        400, "not_cancellable", "Order cannot be canceled", _("It has ended, or cannot be stopped.")
    ),
    Refusal(
        409,
        "cancel_requested",
        "Cancel already requested",
        _("Its cancellation has been asked for already."),
    ),
    Refusal(404, "refill_not_found", "Refill not found", _("You have no such refill.")),
    Refusal(
        400,
        "not_refillable",
        "Order cannot be refilled",
        _("It has no guarantee, or has not ended, or nothing was delivered."),
    ),
    Refusal(400, "refill_window_over", "Refill period has ended", _("The guarantee is over.")),
    Refusal(409, "refill_open", "Refill already requested", _("A refill is under way already.")),
    Refusal(404, "webhook_not_found", "", _("You have no such webhook or delivery.")),
    Refusal(409, "webhook_refused", "", _("The event is still being sent, or the webhook is off.")),
    Refusal(404, "not_found", "", _("There is nothing at this address.")),
    Refusal(405, "method_not_allowed", "", _("This method is not available at this address.")),
    Refusal(415, "unsupported_media_type", "", _("Send JSON or a form.")),
    Refusal(
        500,
        "server_error",
        "Internal server error",
        _("Our failure. Try again with the same idempotency key."),
    ),
    Refusal(
        503,
        "temporarily_unavailable",
        "Temporarily unavailable, try again",
        _("Try again in a few seconds, with the same idempotency key."),
    ),
]

# Texts of the panel dialect that say which field is wrong, or belong to it alone.
PANEL_TEXTS: list[tuple[str, str | Promise]] = [
    ("Invalid action", _("The action is missing or unknown.")),
    (
        "Insufficient balance. Required: 15.500000, Available: 10.000000",
        _("The wallet holds less than the order costs."),
    ),
    ("Link is required", _("A field that this type of service needs is missing.")),
    ("Invalid link", _("The link leads to something else than the service is for.")),
    ("Quantity must be at least 100", _("Below the service's minimum.")),
    ("Quantity must be at most 10000", _("Above the service's maximum.")),
    ("Invalid quantity", _("No whole number.")),
    ("Invalid refill ID", _("No whole number.")),
]

HEADERS: list[tuple[str, str | Promise]] = [
    ("X-RateLimit-Limit", _("Requests that the tighter window allows")),
    ("X-RateLimit-Remaining", _("What is left of them")),
    ("X-RateLimit-Reset", _("When that window ends, in seconds since 1970")),
    ("Retry-After", _("With 429: how many seconds to wait")),
]

MAGIC = [
    Magic("", "", _("Completed in about a minute.")),
    Magic("sandbox-partial", "91", _("Partial: the rest is paid back.")),
    Magic("sandbox-cancel", "92", _("Cancelled and paid back.")),
    Magic("sandbox-fail", "93", _("Failed and paid back.")),
    Magic("sandbox-unknown", "94", _("The provider's answer is lost, and found a minute later.")),
    Magic("sandbox-norefill", "95", _("Completed; its refill is rejected.")),
    Magic("sandbox-slow", "96", _("Everything takes thirty times as long.")),
]

MESSAGE = """\
{"type": "order.updated",
 "timestamp": "2026-01-15T10:31:00Z",
 "data": {"id": 123, "uuid": "550e8400-e29b-41d4-a716-446655440000",
          "service": {"id": 1, "name": "Instagram Followers", "category": "Instagram"},
          "link": "https://www.instagram.com/your_page", "quantity": 1000,
          "cost": 50.00, "currency": "XAF", "status": "partial",
          "external_order_id": "EXT123", "created_at": "2026-01-15T10:30:00Z",
          "completed_at": "2026-01-15T10:31:00Z", "refunded": 7.85,
          "start_count": 3572, "remains": 157, "client_ref": "", "charge": 42.15,
          "previous": {"status": "in_progress", "remains": 400,
                       "refunded": 0.00, "charge": 50.00}}}"""

# The vector that Standard Webhooks publishes.
VECTOR = """\
secret     whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
id         msg_1
timestamp  1700000000
body       {"type":"order.updated"}
signature  v1,E96PY2ugAXQPYkUlMd77rrr1xnnBJ4GIUO9uiw5rRHQ="""
