"""Misbehaving on command: each kind is a habit or an accident of real providers.

A misbehaviour waits in a queue for the next calls of one action. Each says whether the call still
takes effect before the answer is spoiled: the order is taken and its reply lost, or refused
before anything happened.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from threading import Lock
from typing import Any

ANY_ACTION = "*"
HTML = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>…</body></html>"
HUGE = 10 * 1024 * 1024


class Ending(StrEnum):
    """What becomes of the connection."""

    ANSWER = "answer"
    RESET = "reset"
    HANG = "hang"


@dataclass(frozen=True)
class Reply:
    """What goes over the wire."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0  # real seconds before it is sent
    ending: Ending = Ending.ANSWER


def plain(answer: object, *, status: int = 200) -> Reply:
    """The reply of a provider that behaves."""
    return Reply(json.dumps(answer, ensure_ascii=False).encode(), status=status)


class Kind(StrEnum):
    """What goes wrong. Those of the first block come after the call took effect."""

    LOSE_REPLY = "lose_reply"  # the connection is reset instead of answering
    HANG = "hang"  # no answer, for as long as the client waits
    SLOW = "slow"  # the right answer after `seconds`
    HTML = "html"  # a web page with status 200
    EMPTY = "empty"  # no body
    TRUNCATED = "truncated"  # half of the JSON
    NAN = "nan"  # ids and numbers are NaN
    LIST = "list"  # a list instead of an object, and the reverse
    STRING = "string"  # a bare JSON string
    HUGE = "huge"  # 10 MB around the right answer
    NO_ID = "no_id"  # add: success, without the order's id
    FOREIGN_ID = "foreign_id"  # an id that was never ours
    DUPLICATE_ID = "duplicate_id"  # add: the id of the first order ever taken
    UNKNOWN_WORD = "unknown_word"  # status: a word that no panel uses
    NEGATIVE_REMAINS = "negative_remains"  # status
    CATALOGUE_EMPTY = "catalogue_empty"  # services
    CATALOGUE_HALVED = "catalogue_halved"
    CATALOGUE_DOUBLED_IDS = "catalogue_doubled_ids"
    CATALOGUE_PRICED_ZERO = "catalogue_priced_zero"
    CATALOGUE_BROKEN_RATES = "catalogue_broken_rates"

    RESET = "reset"  # the connection is reset before anything happened
    ERROR_500 = "error_500"  # a server error as a web page
    TOO_MANY = "too_many"  # 429; `seconds`: with retry_after
    REFUSE = "refuse"  # {"error": `text`} with `status`
    OUT_OF_FUNDS = "out_of_funds"  # {"error": "Not enough funds on balance"}
    REDIRECT = "redirect"  # 302 to another path
    ANSWER = "answer"  # `body` as it stands, with `status`


_WITHOUT_EFFECT = frozenset(
    {
        Kind.RESET,
        Kind.ERROR_500,
        Kind.TOO_MANY,
        Kind.REFUSE,
        Kind.OUT_OF_FUNDS,
        Kind.REDIRECT,
        Kind.ANSWER,
    }
)


@dataclass(frozen=True)
class Misbehaviour:
    """One thing that will go wrong once."""

    kind: Kind
    seconds: float = 0
    text: str = "Incorrect service ID"
    status: int = 200
    body: str = ""
    takes_effect: bool | None = None  # None: as usual for the kind

    @property
    def lets_act(self) -> bool:
        """Whether the call takes effect before its answer is spoiled."""
        if self.takes_effect is None:
            return self.kind not in _WITHOUT_EFFECT
        return self.takes_effect


class Queue:
    """Misbehaviours waiting for calls, per action; `ANY_ACTION` waits for any. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: dict[str, deque[Misbehaviour]] = {}

    def put(self, action: str, misbehaviour: Misbehaviour, *, times: int) -> None:
        """The next `times` calls of the action go wrong like this, after those already queued."""
        with self._lock:
            self._waiting.setdefault(action, deque()).extend([misbehaviour] * times)

    def take(self, action: str) -> Misbehaviour | None:
        """What goes wrong with this call; None: nothing."""
        with self._lock:
            for key in (action, ANY_ACTION):
                if waiting := self._waiting.get(key):
                    return waiting.popleft()
        return None

    def clear(self) -> None:
        """Behave from now on."""
        with self._lock:
            self._waiting.clear()


def spoil(answer: Any, misbehaviour: Misbehaviour, *, first_order: int) -> Reply:
    """The reply that goes out instead of the right answer; `first_order`: an id taken before."""
    kind = misbehaviour.kind
    if kind is Kind.DUPLICATE_ID:
        return plain({"order": first_order})
    if transform := _TRANSFORMS.get(kind):
        return plain(transform(answer))
    return _REPLIES[kind](plain(answer).body, misbehaviour)


def _too_many(_good: bytes, how: Misbehaviour) -> Reply:
    if not how.seconds:
        return Reply(HTML.encode(), status=429, content_type="text/html")
    body = {"error": "Too Many Requests", "retry_after": how.seconds}
    return replace(plain(body, status=429), headers={"Retry-After": f"{how.seconds:.0f}"})


_REPLIES: Mapping[Kind, Callable[[bytes, Misbehaviour], Reply]] = {
    Kind.LOSE_REPLY: lambda _good, _how: Reply(ending=Ending.RESET),
    Kind.RESET: lambda _good, _how: Reply(ending=Ending.RESET),
    Kind.HANG: lambda _good, _how: Reply(ending=Ending.HANG),
    Kind.SLOW: lambda good, how: Reply(good, delay=how.seconds),
    Kind.HTML: lambda _good, _how: Reply(HTML.encode(), content_type="text/html; charset=utf-8"),
    Kind.EMPTY: lambda _good, _how: Reply(),
    Kind.TRUNCATED: lambda good, _how: Reply(good[: len(good) // 2]),
    Kind.ERROR_500: lambda _good, _how: Reply(HTML.encode(), status=500, content_type="text/html"),
    Kind.TOO_MANY: _too_many,
    Kind.REFUSE: lambda _good, how: plain({"error": how.text}, status=how.status),
    Kind.OUT_OF_FUNDS: lambda _good, _how: plain({"error": "Not enough funds on balance"}),
    Kind.REDIRECT: lambda _good, _how: Reply(status=302, headers={"Location": "/elsewhere"}),
    Kind.ANSWER: lambda _good, how: Reply(how.body.encode(), status=how.status),
}


def _each_status(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Any], Any]:
    """Change every status object of a single or multi answer."""

    def transform(answer: Any) -> Any:
        if "status" in answer:
            return change(answer)
        return {key: change(value) for key, value in answer.items()}

    return transform


def _each_service(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Any], Any]:
    return lambda answer: [change(entry) for entry in answer]


def _with_nan(answer: Any) -> Any:
    numbers = ("order", "charge", "start_count", "remains", "rate", "balance")
    if isinstance(answer, list):
        return [_with_nan(entry) for entry in answer]
    if isinstance(answer, dict):
        return {
            key: float("nan") if key in numbers else _with_nan(value)
            for key, value in answer.items()
        }
    return answer


def _as_list(answer: Any) -> Any:
    if isinstance(answer, list):
        return {str(number): entry for number, entry in enumerate(answer)}
    return [answer]


def _inflated(answer: Any) -> Any:
    padding = "x" * HUGE
    return [*answer, padding] if isinstance(answer, list) else {"padding": padding, **answer}


def _with_foreign_id(answer: Any) -> Any:
    if "order" in answer:
        return {"order": 1}
    return {**answer, "1": {"status": "Completed", "charge": "0", "remains": "0"}}


_TRANSFORMS: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.NAN: _with_nan,
    Kind.LIST: _as_list,
    Kind.STRING: str,
    Kind.HUGE: _inflated,
    Kind.NO_ID: lambda _answer: {"status": "success"},
    Kind.FOREIGN_ID: _with_foreign_id,
    Kind.UNKNOWN_WORD: _each_status(lambda status: {**status, "status": "Marinating"}),
    Kind.NEGATIVE_REMAINS: _each_status(lambda status: {**status, "remains": "-12"}),
    Kind.CATALOGUE_EMPTY: lambda _answer: [],
    Kind.CATALOGUE_HALVED: lambda answer: answer[: len(answer) // 2],
    Kind.CATALOGUE_DOUBLED_IDS: lambda answer: [
        twin for entry in answer for twin in (entry, {**entry, "rate": _twice(entry["rate"])})
    ],
    Kind.CATALOGUE_PRICED_ZERO: _each_service(lambda entry: {**entry, "rate": "0"}),
    Kind.CATALOGUE_BROKEN_RATES: _each_service(lambda entry: {**entry, "rate": "N/A"}),
}


def _twice(rate: str) -> str:
    return f"{Decimal(rate) * 2:f}"
