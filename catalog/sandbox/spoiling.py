"""What goes out instead of the right answer, kind by kind.

The changes know an answer by its shape, so that they hold for both dialects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Protocol

from catalog.sandbox.misbehaviour import Kind, Misbehaviour
from catalog.sandbox.replies import Ending, Reply, to_json

HTML = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>…</body></html>"
HUGE = 10 * 1024 * 1024


class Face(Protocol):
    """A dialect's own way to say no."""

    def refuse(self, text: str, *, status: int | None) -> Reply: ...

    def out_of_funds(self) -> Reply: ...

    def too_many(self, seconds: float) -> Reply: ...


@dataclass(frozen=True)
class Spoilt:
    """A call that goes wrong: how, in which dialect, and what would have been right.

    `good` and its `answer` are empty where the call took no effect. `first_order`: the id of the
    first order ever taken.
    """

    how: Misbehaviour
    face: Face
    good: Reply
    answer: Any
    first_order: int


def spoil(call: Spoilt) -> Reply:
    """The reply that goes out instead of the right one."""
    kind = call.how.kind
    if reply := _REPLIES.get(kind):
        return reply(call)
    if not call.answer or "error" in call.answer:
        return call.good  # a refusal has nothing that these kinds could change
    if kind is Kind.DUPLICATE_ID:
        return _instead(call, _with_order_id(call.answer, call.first_order))
    return _instead(call, _TRANSFORMS[kind](call.answer))


def _instead(call: Spoilt, answer: object) -> Reply:
    return replace(call.good, body=to_json(answer).encode())


def _page(body: str, *, status: int) -> Reply:
    return Reply(body.encode(), status=status, content_type="text/html; charset=utf-8")


def _too_many(call: Spoilt) -> Reply:
    seconds = call.how.seconds
    if not seconds:
        return _page(HTML, status=429)
    return replace(call.face.too_many(seconds), headers={"Retry-After": f"{seconds:.0f}"})


_REPLIES: Mapping[Kind, Callable[[Spoilt], Reply]] = {
    Kind.LOSE_REPLY: lambda _call: Reply(ending=Ending.RESET),
    Kind.RESET: lambda _call: Reply(ending=Ending.RESET),
    Kind.HANG: lambda _call: Reply(ending=Ending.HANG),
    Kind.SLOW: lambda call: replace(call.good, delay=call.how.seconds),
    Kind.HTML: lambda _call: _page(HTML, status=200),
    Kind.EMPTY: lambda call: replace(call.good, body=b""),
    Kind.TRUNCATED: lambda call: replace(
        call.good, body=call.good.body[: len(call.good.body) // 2]
    ),
    Kind.ERROR_500: lambda _call: _page(HTML, status=500),
    Kind.TOO_MANY: _too_many,
    Kind.REFUSE: lambda call: call.face.refuse(call.how.text, status=call.how.status),
    Kind.OUT_OF_FUNDS: lambda call: call.face.out_of_funds(),
    Kind.REDIRECT: lambda _call: Reply(status=302, headers={"Location": "/elsewhere"}),
    Kind.ANSWER: lambda call: Reply(call.how.body.encode(), status=call.how.status or 200),
}

Change = Callable[[dict[str, Any]], dict[str, Any]]


def _each_status(change: Change) -> Callable[[Any], Any]:
    """Change every status object of a single or multi answer, or of a page of orders."""

    def transform(answer: Any) -> Any:
        if "data" in answer:
            return {**answer, "data": [change(item) for item in answer["data"]]}
        if "status" in answer:
            return change(answer)
        return {key: change(value) for key, value in answer.items()}

    return transform


def _each_service(change: Callable[[dict[str, Any]], list[Any]]) -> Callable[[Any], Any]:
    """Put other services in the place of each, in a list or in an object of categories."""

    def transform(answer: Any) -> Any:
        if isinstance(answer, dict):
            return {category: transform(services) for category, services in answer.items()}
        return [entry for service in answer for entry in change(service)]

    return transform


def _halved(answer: Any) -> Any:
    if isinstance(answer, dict):
        return dict(list(answer.items())[: len(answer) // 2])
    return answer[: len(answer) // 2]


def _priced(service: dict[str, Any], price: Callable[[Any], object]) -> dict[str, Any]:
    name = "rate" if "rate" in service else "price_per_unit"
    return {**service, name: price(service[name])}


def _twice(rate: Any) -> Any:
    twice = Decimal(rate) * 2
    return f"{twice:f}" if isinstance(rate, str) else twice


_NUMBERS = frozenset(
    {"order", "charge", "cost", "start_count", "remains", "rate", "price_per_unit", "balance"}
)


def _with_nan(answer: Any) -> Any:
    if isinstance(answer, list):
        return [_with_nan(entry) for entry in answer]
    if isinstance(answer, dict):
        return {
            key: float("nan") if key in _NUMBERS else _with_nan(value)
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


def _with_order_id(answer: Any, order_id: int) -> Any:
    order = answer["order"]
    return {**answer, "order": {**order, "id": order_id} if isinstance(order, dict) else order_id}


FOREIGN_ORDER = 1


def _with_foreign_id(answer: Any) -> Any:
    if "order" in answer:
        return _with_order_id(answer, FOREIGN_ORDER)
    if "data" in answer:
        foreign = {"id": FOREIGN_ORDER, "status": "completed", "cost": Decimal(0), "remains": 0}
        return {**answer, "data": [foreign, *answer["data"]]}
    foreign = {"status": "Completed", "charge": "0", "remains": "0"}
    return {**answer, str(FOREIGN_ORDER): foreign}


_TRANSFORMS: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.NAN: _with_nan,
    Kind.LIST: _as_list,
    Kind.STRING: str,
    Kind.HUGE: _inflated,
    Kind.NO_ID: lambda _answer: {"status": "success"},
    Kind.FOREIGN_ID: _with_foreign_id,
    Kind.UNKNOWN_WORD: _each_status(lambda status: {**status, "status": "Marinating"}),
    Kind.NEGATIVE_REMAINS: _each_status(lambda status: {**status, "remains": "-12"}),
    Kind.CATALOGUE_EMPTY: lambda answer: type(answer)(),
    Kind.CATALOGUE_HALVED: _halved,
    Kind.CATALOGUE_DOUBLED_IDS: _each_service(lambda entry: [entry, _priced(entry, _twice)]),
    Kind.CATALOGUE_PRICED_ZERO: _each_service(lambda entry: [_priced(entry, lambda _rate: "0")]),
    Kind.CATALOGUE_BROKEN_RATES: _each_service(lambda entry: [_priced(entry, lambda _rate: "N/A")]),
}
