"""The panel dialect as the sandbox speaks it: one action in, one JSON value out.

Texts are a panel's own, fixed English. Refusals are `{"error": …}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from catalog.sandbox.replies import Reply, plain
from catalog.sandbox.shop import CURRENCY, MOST_IDS, Refusal, Shop, whole
from catalog.sandbox.state import Taken

Parameters = Mapping[str, str]


class Desk:
    """Answers the actions of the dialect over a menu and a state."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.actions: dict[str, Callable[[Parameters], object]] = {
            "services": self._services,
            "add": self._add,
            "status": self._status,
            "balance": self._balance,
            "refill": self._refill,
            "refill_status": self._refill_status,
            "cancel": self._cancel,
        }

    def answer(self, parameters: Parameters) -> Any:
        """The JSON value that answers this call."""
        action = self.actions.get(parameters.get("action", ""))
        if action is None:
            return {"error": "Incorrect request"}
        try:
            return action(parameters)
        except Refusal as refusal:
            return {"error": str(refusal)}

    # --- misbehaving on command --------------------------------------------------------------

    def refuse(self, text: str, *, status: int | None) -> Reply:
        """A no in these words."""
        return plain({"error": text}, status=status or 200)

    def out_of_funds(self) -> Reply:
        """Our balance does not cover it."""
        return plain({"error": "Not enough funds on balance"})

    def too_many(self, seconds: float) -> Reply:
        """Turned away unread, with the seconds to wait."""
        return plain({"error": "Too Many Requests", "retry_after": seconds}, status=429)

    # --- selling -----------------------------------------------------------------------------

    def _services(self, _parameters: Parameters) -> object:
        return [
            {
                "service": item.id,
                "name": item.name,
                "type": str(item.type),
                "category": item.category,
                "rate": f"{item.rate:f}",
                "min": str(item.min),
                "max": str(item.max),
                "refill": item.refill,
                "cancel": item.cancel,
                "dripfeed": item.dripfeed,
                "desc": item.description,
            }
            for item in self._shop.menu.values()
        ]

    def _add(self, parameters: Parameters) -> object:
        fields = {k: v for k, v in parameters.items() if k != "action"}
        return {"order": self._shop.buy(parameters.get("service", ""), fields)}

    def _balance(self, _parameters: Parameters) -> object:
        return {"balance": f"{self._shop.state.balance():f}", "currency": CURRENCY}

    # --- telling -----------------------------------------------------------------------------

    def _status(self, parameters: Parameters) -> object:
        if "orders" not in parameters:
            return _status_of(self._shop.order(parameters.get("order", "")))
        asked = _ids(parameters["orders"])
        found = self._shop.state.find([number for text in asked if (number := whole(text))])
        return {
            text: _status_of(found[number])
            if (number := whole(text)) in found
            else {"error": "Incorrect order ID"}
            for text in asked
        }

    # --- after the sale ----------------------------------------------------------------------

    def _refill(self, parameters: Parameters) -> object:
        begin = self._shop.begin_refill
        if "orders" not in parameters:
            return {"refill": str(begin(parameters.get("order", "")))}
        return _each(_ids(parameters["orders"]), begin, asked_as="order", answered_as="refill")

    def _refill_status(self, parameters: Parameters) -> object:
        def word(text: str) -> str:
            return self._shop.refill(text).status

        if "refills" not in parameters:
            return {"status": word(parameters.get("refill", ""))}
        return _each(_ids(parameters["refills"]), word, asked_as="refill", answered_as="status")

    def _cancel(self, parameters: Parameters) -> object:
        return _each(
            _ids(parameters.get("orders", "")),
            self._shop.begin_cancel,
            asked_as="order",
            answered_as="cancel",
        )


def _status_of(order: Taken) -> dict[str, Any]:
    if order.posts is not None:
        return {
            "status": order.status,
            "charge": f"{order.cost:f}",
            "posts": str(order.served),
            "expiry": order.fields.get("expiry") or None,
            "currency": CURRENCY,
            **order.said,
        }
    return {
        "charge": f"{order.cost - order.paid_back:f}",
        "start_count": str(order.start_count),
        "status": order.status,
        "remains": str(order.remains),
        "currency": CURRENCY,
        **order.said,
    }


def _each(
    asked: list[str], answer: Callable[[str], object], *, asked_as: str, answered_as: str
) -> list[dict[str, object]]:
    return [
        {asked_as: whole(text) or text, answered_as: _or_error(partial(answer, text))}
        for text in asked
    ]


def _or_error(answer: Callable[[], object]) -> object:
    try:
        return answer()
    except Refusal as refusal:
        return {"error": str(refusal)}


def _ids(text: str) -> list[str]:
    ids = [part.strip() for part in text.split(",") if part.strip()]
    if not ids:
        raise Refusal("Incorrect order ID")
    if len(ids) > MOST_IDS:
        raise Refusal(f"Maximum {MOST_IDS} orders allowed")
    return ids
