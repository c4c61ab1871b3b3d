"""What goes over the wire."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any


class Ending(StrEnum):
    """What becomes of the connection."""

    ANSWER = "answer"
    RESET = "reset"
    HANG = "hang"


@dataclass(frozen=True)
class Reply:
    """One HTTP answer, or what happens instead of one."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0  # real seconds before it is sent
    ending: Ending = Ending.ANSWER


def plain(answer: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """The reply of a provider that behaves. Decimals become exact JSON numbers."""
    return Reply(to_json(answer).encode(), status=status, headers=headers or {})


_NUMBER = re.compile(r'"\\u0000(-?[0-9.]+)\\u0000"')


def to_json(answer: object) -> str:
    """JSON in which Decimals are numbers, with two decimals at least."""
    return _NUMBER.sub(r"\1", json.dumps(answer, ensure_ascii=False, default=_marked))


def _marked(value: Any) -> str:
    if not isinstance(value, Decimal):
        raise TypeError(f"no JSON for {type(value).__name__}")
    whole, _point, decimals = f"{value:f}".partition(".")
    return f"\0{whole}.{decimals.rstrip('0').ljust(2, '0')}\0"
