"""Misbehaving on command: each kind is a habit or an accident of real providers.

A misbehaviour waits in a queue for the next calls of one action, or stands for every so-manieth
call. Each says whether the call still takes effect before the answer is spoiled (`spoiling`): the
order is taken and its reply lost, or refused before anything happened.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock

ANY_ACTION = "*"


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
    REFUSE = "refuse"  # a clear no with `text`, and `status`
    OUT_OF_FUNDS = "out_of_funds"  # a clear no for want of our funds
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
    status: int | None = None  # None: the dialect's own for a refusal, 200 for an answer
    body: str = ""
    takes_effect: bool | None = None  # None: as usual for the kind

    @property
    def lets_act(self) -> bool:
        """Whether the call takes effect before its answer is spoiled."""
        if self.takes_effect is None:
            return self.kind not in _WITHOUT_EFFECT
        return self.takes_effect


@dataclass
class _Rule:
    misbehaviour: Misbehaviour
    every: int
    left: int | None  # how often it still holds; None: without end
    calls: int = 0

    def holds(self) -> bool:
        """Count one call; whether it goes wrong."""
        self.calls += 1
        if self.calls % self.every or self.left == 0:
            return False
        if self.left is not None:
            self.left -= 1
        return True


class Queue:
    """Misbehaviours waiting for calls, per action; `ANY_ACTION` waits for any. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: dict[str, deque[Misbehaviour]] = {}
        self._rules: dict[str, list[_Rule]] = {}

    def put(self, action: str, misbehaviour: Misbehaviour, *, times: int) -> None:
        """The next `times` calls of the action go wrong like this, after those already queued."""
        with self._lock:
            self._waiting.setdefault(action, deque()).extend([misbehaviour] * times)

    def put_every(
        self, action: str, misbehaviour: Misbehaviour, *, every: int, times: int | None
    ) -> None:
        """Of the calls of the action from now on every so-manieth goes wrong like this, `times`
        times (None: until `clear`). Raises ValueError when `every` is less than 1."""
        if every < 1:
            raise ValueError("every: at least 1")
        with self._lock:
            self._rules.setdefault(action, []).append(_Rule(misbehaviour, every, times))

    def take(self, action: str) -> Misbehaviour | None:
        """What goes wrong with this call; None: nothing. What waits comes before the rules, and
        the rules count every call."""
        with self._lock:
            rules = [*self._rules.get(action, ()), *self._rules.get(ANY_ACTION, ())]
            held = [rule.misbehaviour for rule in rules if rule.holds()]
            for key in (action, ANY_ACTION):
                if waiting := self._waiting.get(key):
                    return waiting.popleft()
        return held[0] if held else None

    def clear(self) -> None:
        """Behave from now on."""
        with self._lock:
            self._waiting.clear()
            self._rules.clear()
