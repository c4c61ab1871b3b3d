"""Refusals kept beside what they refused: facts without words, so that each reader's language
works, however much later they are read."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from accounts.ledger import InsufficientFunds
from catalog.listing import ServiceNotFound, ServiceUnavailable
from orders.checkout import (
    IdempotencyKeyReused,
    InvalidIdempotencyKey,
    InvalidOrder,
    LinkBusy,
    PriceRaised,
)
from orders.requests import Problem, ProblemCode

_WITHOUT_FACTS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        ServiceNotFound,
        ServiceUnavailable,
        LinkBusy,
        InvalidIdempotencyKey,
        IdempotencyKeyReused,
    )
}


class LineDearer(Exception):
    """An order cost more by then (`charge`) than was agreed to: a PriceRaised as it is kept."""

    def __init__(self, charge: Decimal, currency: str) -> None:
        super().__init__(f"now {charge} {currency}")
        self.charge, self.currency = charge, currency


def keep(refused: Exception) -> dict[str, Any]:
    """The refusal of an order as JSON, for `read`."""
    match refused:
        case InvalidOrder():
            problems = [
                {"field": problem.field, "code": problem.code, "params": dict(problem.params)}
                for problem in refused.problems
            ]
            return {"kind": "InvalidOrder", "problems": problems}
        case InsufficientFunds():
            return {
                "kind": "InsufficientFunds",
                "required": str(refused.required),
                "available": str(refused.available),
                "currency": refused.currency,
            }
        case PriceRaised():
            quote = refused.quote
            return {
                "kind": "LineDearer",
                "charge": str(quote.charge),
                "currency": quote.price.currency,
            }
    return {"kind": type(refused).__name__}


def read(kept: Mapping[str, Any]) -> Exception:
    """The exception that `keep` was given, for the table of errors to put into words."""
    match kept["kind"]:
        case "InvalidOrder":
            return InvalidOrder(
                tuple(
                    Problem(problem["field"], ProblemCode(problem["code"]), problem["params"])
                    for problem in kept["problems"]
                )
            )
        case "InsufficientFunds":
            return InsufficientFunds(
                required=Decimal(kept["required"]),
                available=Decimal(kept["available"]),
                currency=kept["currency"],
            )
        case "LineDearer":
            return LineDearer(Decimal(kept["charge"]), kept["currency"])
        case kind:
            return _WITHOUT_FACTS.get(kind, ServiceUnavailable)()
