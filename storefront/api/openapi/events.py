"""What is sent to webhooks, in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from accounts.models import WebhookType
from accounts.webhooks import TEST

_Json = dict[str, Any]

_TEXT: _Json = {"type": "string"}
_CHARGE: _Json = {
    "type": "number",
    "minimum": 0,
    "description": "What was paid, refunds taken off.",
}
_PREVIOUS: _Json = {
    "type": "object",
    "description": "What stood there before, of what has changed.",
}


def _with_previous(schema: str, **more: _Json) -> _Json:
    return {
        "allOf": [_ref(schema)],
        "properties": {**more, "previous": _PREVIOUS},
        "required": [*more, "previous"],
        "type": "object",
    }


def _ref(schema: str) -> _Json:
    return {"$ref": f"#/components/schemas/{schema}"}


SCHEMAS: dict[str, _Json] = {
    "WalletLow": {
        "type": "object",
        "properties": {
            "balance": {"type": "number"},
            "currency": _TEXT,
            "threshold": {"type": "number", "description": "The mark that it fell below."},
        },
        "required": ["balance", "currency", "threshold"],
    },
    "ServiceUpdated": {
        "type": "object",
        "description": "While it cannot be ordered: as it was listed last. A service that is no "
        "more has empty names.",
        "properties": {
            "id": {"type": "integer"},
            "name": _TEXT,
            "category": _TEXT,
            "currency": _TEXT,
            "price_per_unit": {"type": "number"},
            "min_quantity": {"type": "integer"},
            "max_quantity": {"type": "integer"},
            "available": {"type": "boolean"},
            "previous": _PREVIOUS,
        },
        "required": ["available", "category", "currency", "id", "name", "previous"],
    },
    "TestEvent": {
        "type": "object",
        "properties": {"webhook_id": {"type": "integer"}},
        "required": ["webhook_id"],
    },
}

DATA: dict[str, _Json] = {
    WebhookType.ORDER_CREATED: _ref("OrderDetail"),
    WebhookType.ORDER_UPDATED: _with_previous("OrderDetail", charge=_CHARGE),
    WebhookType.REFILL_UPDATED: _with_previous("Refill"),
    WebhookType.WALLET_CREDITED: _ref("Transaction"),
    WebhookType.WALLET_LOW: _ref("WalletLow"),
    WebhookType.SERVICE_UPDATED: _ref("ServiceUpdated"),
    TEST: _ref("TestEvent"),
}


def webhooks() -> dict[str, _Json]:
    """One entry for each type of event."""
    return {str(name): {"post": _sent(str(name), data)} for name, data in DATA.items()}


def _sent(name: str, data: _Json) -> _Json:
    body = {
        "type": "object",
        "properties": {
            "type": {"const": name},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": data,
        },
        "required": ["type", "timestamp", "data"],
        "additionalProperties": False,
    }
    return {
        "tags": ["webhooks"],
        "summary": _summary(name),
        "parameters": [
            _header("webhook-id", "The same at every attempt: who has seen it knows a repeat."),
            _header("webhook-timestamp", "When this attempt was made, in seconds since 1970."),
            _header(
                "webhook-signature",
                "`v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`; several, separated by "
                "spaces, while the secret is being changed.",
            ),
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "2XX": {"description": "Taken. Anything else is tried again for three days."},
            "410": {"description": "Gone: the endpoint is switched off."},
        },
    }


def _summary(name: str) -> str:
    return "A test, whenever you ask for it" if name == TEST else str(WebhookType(name).label)


def _header(name: str, description: str) -> _Json:
    return {
        "name": name,
        "in": "header",
        "required": True,
        "description": description,
        "schema": _TEXT,
    }
