"""JSON out: money is an exact number, never a float, never in scientific notation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any
from uuid import UUID

from django.utils.functional import Promise
from rest_framework.renderers import BaseRenderer


def exact_text(amount: Decimal) -> str:
    """The amount in plain digits, exact, with at least two decimals: 50.00, 0.05, 0.27819."""
    if not amount.is_finite():
        raise ValueError(f"{amount} is not an amount")
    whole, _, fraction = f"{amount:f}".partition(".")
    return f"{whole}.{fraction.rstrip('0'):0<2}"


def dumps(value: Any) -> bytes:
    """The value as compact JSON in UTF-8, decimals as `exact_text` prints them.

    Raises TypeError for a float: whoever made one has lost the exact amount already.
    """
    parts: list[str] = []
    _write(value, parts.append)
    return "".join(parts).encode()


def _write(value: Any, put: Callable[[str], None]) -> None:
    # The standard library's encoder cannot print a Decimal as a number.
    match value:
        case str():
            put(encode_basestring(value))
        case None:
            put("null")
        case bool():
            put("true" if value else "false")
        case int():
            put(int.__repr__(value))
        case Decimal():
            put(exact_text(value))
        case Mapping():
            separator = "{"
            for name, item in value.items():
                put(f"{separator}{encode_basestring(str(name))}:")
                _write(item, put)
                separator = ","
            put("}" if value else "{}")
        case list() | tuple():
            separator = "["
            for item in value:
                put(separator)
                _write(item, put)
                separator = ","
            put("]" if value else "[]")
        case Promise() | UUID():
            put(encode_basestring(str(value)))
        case _:
            raise TypeError(f"{type(value).__name__} has no exact JSON form")


class ExactJSONRenderer(BaseRenderer):
    """The only renderer of the REST dialect."""

    media_type = "application/json"
    format = "json"
    charset = None  # JSON is UTF-8 by definition

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return dumps(data)
