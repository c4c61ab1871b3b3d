"""The panel dialect in the OpenAPI document: one address, and an answer for each action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accounts.money import Currency
from catalog.order_types import FIELDS, FieldKind, ServiceType
from orders.models import PublicRefillState
from storefront.api.panel.actions import ACTIONS, MAX_ORDERS
from storefront.api.panel.texts import STATUS_WORDS

_Json = dict[str, Any]

TAG = (
    "The action-style dialect of panel software. Parameters in the query, a form or JSON; numbers "
    "may be texts. Refusals are HTTP 200 with `error`, except past a limit and for failures of "
    "ours. Texts are fixed English."
)
SECURITY_SCHEMES: dict[str, _Json] = {
    "panelKey": {"type": "apiKey", "in": "query", "name": "key"},
}
ADDRESSES = {"/api/v2": "panel", "/api": "panel_short"}

_TEXT: _Json = {"type": "string"}
_DIGITS: _Json = {"type": "string", "pattern": r"^\d+$"}
_AMOUNT: _Json = {"type": "string", "pattern": r"^\d+\.\d{2,6}$"}
_NUMBER: _Json = {"type": ["integer", "string"]}
# Repeated as it was sent.
_ECHO: _Json = {"description": "The id; of what could be none, the JSON that was sent."}
_IDS: _Json = {
    "description": f"At most {MAX_ORDERS} ids, separated by commas; in JSON also a list.",
    "anyOf": [
        {"type": ["string", "integer"]},
        {"type": "array", "items": _NUMBER, "maxItems": MAX_ORDERS},
    ],
}


def _object(properties: Mapping[str, _Json], *, optional: tuple[str, ...] = ()) -> _Json:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": sorted(set(properties) - set(optional)),
        "additionalProperties": False,
    }


def _ref(name: str) -> _Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(item: _Json) -> _Json:
    return {"type": "array", "items": item}


def _by_id(item: _Json) -> _Json:
    return {"type": "object", "additionalProperties": {"oneOf": [item, _ref("PanelError")]}}


_MADE = {"refill": _DIGITS, "status": {"const": "completed"}}
_NOT_MADE = {"refill": {"type": "null"}, "status": {"const": "rejected"}, "error": _TEXT}
_STATE = {
    "refill": _DIGITS,
    "status": {"enum": PublicRefillState.values},
    "reason": {"type": "string", "description": "Why it was rejected."},
}

# What each action may answer, beside PanelError.
ANSWERS: Mapping[str, tuple[str, ...]] = {
    "services": ("PanelServices",),
    "add": ("PanelOrder",),
    "add_bulk": ("PanelBatch",),
    "status": ("PanelStatus", "PanelStatuses"),
    "refill": ("PanelRefill", "PanelRefills"),
    "refill_status": ("PanelRefillStatus", "PanelRefillStatuses"),
    "cancel": ("PanelCancels",),
    "balance": ("PanelBalance",),
}

_ANSWER_SCHEMAS: dict[str, _Json] = {
    "PanelError": _object({"error": {"type": "string", "examples": ["Unauthorized"]}}),
    "PanelLimited": _object(
        {"error": {"const": "Too Many Requests"}, "retry_after": {"type": "integer", "minimum": 1}}
    ),
    "PanelService": _object(
        {
            "service": {"type": "integer"},
            "name": _TEXT,
            "type": {"enum": [kind for kind in ServiceType.values if kind != ServiceType.UNKNOWN]},
            "category": _TEXT,
            "rate": {**_AMOUNT, "description": "Of 1000 units, or of one package."},
            "min": {"type": "integer"},
            "max": {"type": "integer"},
            "refill": {"type": "boolean"},
            "cancel": {"type": "boolean"},
            "dripfeed": {"type": "boolean"},
            "description": _TEXT,
            "average_time": _TEXT,
        }
    ),
    "PanelServices": _list(_ref("PanelService")),
    "PanelOrder": _object({"order": {"type": "integer"}}),
    "PanelBatch": {
        "description": "By the place of each order, from 0.",
        "type": "object",
        "propertyNames": {"pattern": r"^\d+$"},
        "additionalProperties": {"oneOf": [_ref("PanelOrder"), _ref("PanelError")]},
    },
    "PanelStatus": _object(
        {
            "charge": {**_AMOUNT, "description": "What was paid, refunds taken off."},
            "start_count": _DIGITS,
            "status": {"enum": list(STATUS_WORDS.values())},
            "remains": _DIGITS,
            "currency": {"enum": Currency.values},
        }
    ),
    "PanelStatuses": _by_id(_ref("PanelStatus")),
    "PanelRefill": {"oneOf": [_object(_MADE), _object(_NOT_MADE)]},
    "PanelRefills": _list(
        {"oneOf": [_object({"order": _NUMBER, **_MADE}), _object({"order": _ECHO, **_NOT_MADE})]}
    ),
    "PanelRefillStatus": _object(_STATE, optional=("reason",)),
    "PanelRefillStatuses": _list(
        {"oneOf": [_ref("PanelRefillStatus"), _object({"refill": _TEXT, "error": _TEXT})]}
    ),
    "PanelCancels": _list(
        _object({"order": _ECHO, "cancel": {"oneOf": [{"const": 1}, _ref("PanelError")]}})
    ),
    "PanelBalance": _object({"balance": _AMOUNT, "currency": {"enum": Currency.values}}),
}


def schemas(order_fields: Mapping[str, _Json]) -> dict[str, _Json]:
    """The dialect's schemas. `order_fields` are the REST dialect's: their descriptions hold."""
    fields = {
        name: {
            "type": ["string", "array", "integer"] if _is_list(name) else ["string", "integer"],
            **({"items": _TEXT} if _is_list(name) else {}),
            "description": order_fields[name].get("description", ""),
        }
        for name in FIELDS
    }
    order = {
        "service": _NUMBER,
        **fields,
        "client_ref": {"type": "string", "description": "Your own reference."},
        "idempotency_key": {
            "type": "string",
            "maxLength": 255,
            "description": "A repeat answers the first order's id and charges nothing.",
        },
    }
    asked: dict[str, _Json] = {
        "services": {},
        "add": order,
        "add_bulk": {
            "orders": {
                "description": "In a form: the same as JSON text.",
                "anyOf": [
                    {"type": "array", "items": _ref("PanelItem"), "maxItems": MAX_ORDERS},
                    _TEXT,
                ],
            },
            "idempotency_key": {
                "type": "string",
                "maxLength": 255,
                "description": "Of the whole batch: of the orders that have none of their own.",
            },
        },
        "status": {"order": _NUMBER, "orders": _IDS},
        "refill": {"order": _NUMBER, "orders": _IDS},
        "refill_status": {"refill": _NUMBER, "refills": _IDS},
        "cancel": {"orders": _IDS},
        "balance": {},
    }
    needed = {"add": ["service"], "add_bulk": ["orders"], "cancel": ["orders"]}
    requests = {
        _request_name(action): {
            "type": "object",
            "properties": {
                "key": {"type": "string", "description": "Or as a header."},
                "action": {"const": action},
                **fields_of_action,
            },
            "required": ["action", *needed.get(action, [])],
        }
        for action, fields_of_action in asked.items()
    }
    item = {"type": "object", "properties": order, "required": ["service"]}
    return {
        **_ANSWER_SCHEMAS,
        **requests,
        "PanelItem": item,
        "PanelRequest": _any_request(requests),
    }


def paths(rate_headers: Mapping[str, _Json], retry_after: Mapping[str, _Json]) -> dict[str, _Json]:
    """The dialect's addresses, each with GET and POST."""
    answers = {
        "200": _answer(
            {
                "anyOf": [_ref(name) for names in ANSWERS.values() for name in names]
                + [_ref("PanelError")]
            },
            "The action's answer, or `error`.",
            rate_headers,
        ),
        "304": {"description": "`services`, unchanged.", "headers": dict(rate_headers)},
        "405": _answer(_ref("PanelError"), "Neither GET, HEAD nor POST.", rate_headers),
        "429": _answer(
            _ref("PanelLimited"),
            "Past a limit of the key, or too many wrong keys.",
            {**rate_headers, **retry_after},
        ),
        "500": _answer(_ref("PanelError"), "Our failure: never a clear no.", rate_headers),
        "503": _answer(
            _ref("PanelError"), "Try again in a few seconds.", {**rate_headers, **retry_after}
        ),
    }
    content = {
        kind: {"schema": _ref("PanelRequest"), "examples": _EXAMPLES}
        for kind in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
    }
    shared = {"tags": ["panel"], "responses": answers, "security": _SECURITY}
    return {
        address: {
            "get": {
                "operationId": f"{name}_get",
                "summary": "Ask by query (the key then stands in logs on the way)",
                "parameters": _query(),
                **shared,
            },
            "post": {
                "operationId": f"{name}_post",
                "summary": "Ask by form or JSON",
                "requestBody": {"required": True, "content": content},
                **shared,
            },
        }
        for address, name in ADDRESSES.items()
    }


_EXAMPLES: dict[str, _Json] = {
    "balance": {"value": {"action": "balance"}},
    "add": {
        "value": {
            "action": "add",
            "service": 1,
            "link": "https://www.instagram.com/your_page",
            "quantity": 100,
        }
    },
    "status": {"value": {"action": "status", "orders": "1,2"}},
}
_SECURITY: list[dict[str, list[str]]] = [{"apiKey": []}, {"bearer": []}, {"panelKey": []}]


def _query() -> list[_Json]:
    action = {
        "name": "action",
        "in": "query",
        "required": True,
        "schema": {"enum": list(ACTIONS)},
    }
    names = ("service", *FIELDS, "client_ref", "idempotency_key")
    ids = ("order", "orders", "refill", "refills")
    others = [{"name": name, "in": "query", "schema": _TEXT} for name in (*names, *ids)]
    return [action, *others]


def _answer(schema: _Json, description: str, headers: Mapping[str, _Json]) -> _Json:
    return {
        "description": description,
        "content": {"application/json": {"schema": schema}},
        "headers": dict(headers),
    }


def _any_request(requests: Mapping[str, _Json]) -> _Json:
    return {
        "oneOf": [_ref(name) for name in requests],
        "discriminator": {
            "propertyName": "action",
            "mapping": {
                action: f"#/components/schemas/{_request_name(action)}" for action in ACTIONS
            },
        },
    }


def _request_name(action: str) -> str:
    return f"PanelAsk{''.join(word.capitalize() for word in action.split('_'))}"


def _is_list(name: str) -> bool:
    return FIELDS[name].kind is FieldKind.LINES
