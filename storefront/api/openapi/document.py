"""The one OpenAPI 3.1 document of both dialects and of the webhooks, in English.

drf-spectacular writes the REST dialect's addresses from its views; `complete` adds what no view
says: limits and failures on every answer, the panel dialect, and what is sent to webhooks.
"""

from __future__ import annotations

import functools
from typing import Any

from django.conf import settings
from django.utils import translation
from drf_spectacular.generators import SchemaGenerator

from storefront.api.openapi import events, panel
from storefront.api.rendering import dumps

DESCRIPTION = (
    "Two dialects over the same services, prices and rules: `/api/v1` is REST, `/api/v2` (and "
    "`/api`) is the action-style dialect of panel software. A key that begins with `sk_test_` "
    "spends play money. Every address works with a trailing slash too."
)

_Json = dict[str, Any]

RATE_HEADERS: dict[str, _Json] = {
    "X-RateLimit-Limit": {
        "description": "Requests that the tighter of the two windows allows.",
        "schema": {"type": "integer"},
    },
    "X-RateLimit-Remaining": {
        "description": "What is left of them.",
        "schema": {"type": "integer"},
    },
    "X-RateLimit-Reset": {
        "description": "When that window ends, in seconds since 1970.",
        "schema": {"type": "integer"},
    },
}
RETRY_AFTER: dict[str, _Json] = {
    "Retry-After": {
        "description": "Seconds until it is worth asking again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}
# Answers to requests whose key is not known: nobody's limits are told.
_MAYBE_NOBODYS = ("401", "429", "500", "503")


@functools.cache
def document() -> bytes:
    """The document as JSON."""
    with translation.override("en"):
        generator = SchemaGenerator()  # type: ignore[no-untyped-call]
        return dumps(generator.get_schema(request=None, public=True))  # type: ignore[no-untyped-call]


def complete(result: _Json, generator: Any, request: Any, public: bool) -> _Json:
    """drf-spectacular's hook: its document, completed."""
    schemas = result["components"]["schemas"]
    schemas["TooManyRequests"] = _too_many_requests(schemas["Error"])
    for path in result["paths"].values():
        for operation in path.values():
            _complete(operation)
    result["paths"] |= panel.paths(RATE_HEADERS, RETRY_AFTER)
    schemas |= panel.schemas(schemas["OrderRequest"]["properties"])
    result["components"]["securitySchemes"] |= panel.SECURITY_SCHEMES
    result["webhooks"] = events.webhooks()
    schemas |= events.SCHEMAS
    result["components"]["schemas"] = dict(sorted(schemas.items()))
    result["info"]["description"] = DESCRIPTION
    result["info"]["contact"] = {"email": settings.SUPPORT_EMAIL}
    result["tags"] = [{"name": "panel", "description": panel.TAG}, *_tags(result)]
    return result


def _complete(operation: _Json) -> None:
    answers = operation["responses"]
    answers["429"] = _answer(
        "TooManyRequests", "`rate_limited`: past a limit of the key, or too many wrong keys."
    )
    answers["503"] = _answer("Error", "`temporarily_unavailable`: try again in a few seconds.")
    for status, answer in answers.items():
        headers = answer.setdefault("headers", {})
        if status in ("429", "503"):
            headers |= RETRY_AFTER
        if status != "401":
            for name, header in RATE_HEADERS.items():
                headers[name] = header | {"required": status not in _MAYBE_NOBODYS}
    operation["responses"] = dict(sorted(answers.items()))


def _answer(schema: str, description: str) -> _Json:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"content": content, "description": description}


def _too_many_requests(error: _Json) -> _Json:
    return {
        **error,
        "description": "Past a limit.",
        "properties": {
            **error["properties"],
            "retry_after": {"type": "integer", "minimum": 1, "description": "Seconds."},
        },
        "required": sorted([*error["required"], "retry_after"]),
    }


def _tags(result: _Json) -> list[_Json]:
    names = {
        tag for path in result["paths"].values() for one in path.values() for tag in one["tags"]
    }
    return [{"name": name} for name in sorted(names - {"panel"})]
