"""The panel dialect as the sandbox speaks it: one action in, one JSON value out.

Texts are a panel's own, fixed English. Refusals are `{"error": …}`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from zlib import crc32

from catalog.order_types import ORDER_TYPES, ChargedOn, lines_of
from catalog.sandbox import delivery
from catalog.sandbox.delivery import Habits
from catalog.sandbox.menu import Item
from catalog.sandbox.state import OutOfFunds, State, Taken

MOST_IDS = 100
CURRENCY = "USD"

Parameters = Mapping[str, str]


class Refusal(Exception):
    """The sandbox says no, in these words; nothing has changed."""


class Desk:
    """Answers the actions of the dialect over a menu and a state."""

    def __init__(self, *, menu: tuple[Item, ...], state: State, habits: Habits) -> None:
        self._menu = {item.id: item for item in menu}
        self._state = state
        self._habits = habits
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
            for item in self._menu.values()
        ]

    def _add(self, parameters: Parameters) -> object:
        item = self._menu.get(_whole(parameters.get("service", "")) or 0)
        if item is None:
            raise Refusal("Incorrect service ID")
        row = ORDER_TYPES[item.type]
        for field in row.fields:
            if not parameters.get(field, "").strip():
                raise Refusal("Bad link" if field == "link" else f"Incorrect {field}")
        quantity = _quantity(item, row.charged_on, parameters)
        runs = _whole(parameters.get("runs") or "1")
        interval = _whole(parameters.get("interval") or "0")
        if runs is None or interval is None or runs < 1:
            raise Refusal("Incorrect runs or interval")
        if runs > 1 and not item.dripfeed:
            raise Refusal("Drip-feed is not available for this service")
        target = parameters.get("link") or parameters.get("username", "")
        total = quantity * runs
        packaged = row.charged_on is ChargedOn.PACKAGE
        try:
            order = self._state.take(
                item=item,
                target=target,
                fields={k: v for k, v in parameters.items() if k != "action"},
                total=total,
                cost=item.rate if packaged else item.rate * total / 1000,
                start_count=crc32(target.encode()) % 50_000,
                plan_of=lambda number: delivery.plan(
                    number=number,
                    target=target,
                    quantity=quantity,
                    runs=runs,
                    interval=interval,
                    habits=self._habits,
                ),
            )
        except OutOfFunds:
            raise Refusal("Not enough funds on balance") from None
        return {"order": order}

    def _balance(self, _parameters: Parameters) -> object:
        return {"balance": f"{self._state.balance():f}", "currency": CURRENCY}

    # --- telling -----------------------------------------------------------------------------

    def _status(self, parameters: Parameters) -> object:
        if "orders" not in parameters:
            return _status_of(self._found(parameters.get("order", "")))
        asked = _ids(parameters["orders"])
        found = self._state.find([number for text in asked if (number := _whole(text))])
        return {
            text: _status_of(found[number])
            if (number := _whole(text)) in found
            else {"error": "Incorrect order ID"}
            for text in asked
        }

    def _found(self, text: str) -> Taken:
        number = _whole(text)
        order = self._state.find([number]).get(number) if number else None
        if order is None:
            raise Refusal("Incorrect order ID")
        return order

    # --- after the sale ----------------------------------------------------------------------

    def _refill(self, parameters: Parameters) -> object:
        if "orders" not in parameters:
            return {"refill": str(self._begin_refill(parameters.get("order", "")))}
        return _each(
            _ids(parameters["orders"]), self._begin_refill, asked_as="order", answered_as="refill"
        )

    def _begin_refill(self, text: str) -> int:
        order = self._found(text)
        if order.status not in (delivery.COMPLETED, delivery.PARTIAL):
            raise Refusal("Order is not eligible for refill")
        if not self._menu[order.service].refill:
            raise Refusal("Refill is not available for this service")
        refill = self._state.refill(order.id)
        if refill is None:
            raise Refusal("Refill is already in progress")
        return refill

    def _refill_status(self, parameters: Parameters) -> object:
        if "refills" not in parameters:
            return {"status": self._refill_word(parameters.get("refill", ""))}
        return _each(
            _ids(parameters["refills"]),
            self._refill_word,
            asked_as="refill",
            answered_as="status",
        )

    def _refill_word(self, text: str) -> str:
        done = self._state.refill_is_done(_whole(text) or 0)
        if done is None:
            raise Refusal("Refill not found")
        return "Completed" if done else "In progress"

    def _cancel(self, parameters: Parameters) -> object:
        return _each(
            _ids(parameters.get("orders", "")),
            self._begin_cancel,
            asked_as="order",
            answered_as="cancel",
        )

    def _begin_cancel(self, text: str) -> int:
        order = self._found(text)
        if order.ended or not self._menu[order.service].cancel:
            raise Refusal("Order cannot be canceled")
        if order.cancel_asked:
            raise Refusal("Cancel already requested")
        self._state.ask_cancel(order.id)
        return 1


def _quantity(item: Item, charged_on: ChargedOn, parameters: Parameters) -> int:
    """How many units a call asks for; lists are counted, packages are one."""
    if charged_on is ChargedOn.PACKAGE:
        return 1
    if charged_on in (ChargedOn.COMMENTS, ChargedOn.USERNAMES):
        quantity: int | None = len(lines_of(parameters[charged_on.value]))
    elif charged_on is ChargedOn.POSTS:
        # The sandbox serves every post with the maximum, and takes the money beforehand.
        posts = _whole(parameters.get("posts") or "1")
        most = _whole(parameters["max"])
        if not posts or not most or most > item.max:
            raise Refusal("Incorrect posts or max")
        return posts * most
    else:
        quantity = _whole(parameters["quantity"])
    if quantity is None:
        raise Refusal("Incorrect quantity")
    if quantity < item.min:
        raise Refusal(f"Quantity less than minimal {item.min}")
    if quantity > item.max:
        raise Refusal(f"Quantity more than maximum {item.max}")
    return quantity


def _status_of(order: Taken) -> dict[str, Any]:
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
        {asked_as: _whole(text) or text, answered_as: _or_error(partial(answer, text))}
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


def _whole(text: str) -> int | None:
    """The whole number that the text is; None where it is none that SQLite could hold."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
