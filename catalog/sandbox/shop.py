"""How the sandbox sells, whichever dialect it is asked in: one menu, one memory, one set of rules.

What an order takes is read from the one table of order types. Refusals carry a panel's own words
and the REST dialect's code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zlib import crc32

from catalog.order_types import FIELDS, ORDER_TYPES, ChargedOn, FieldKind, OrderType, lines_of
from catalog.sandbox import delivery
from catalog.sandbox.delivery import Habits, Posts
from catalog.sandbox.menu import Item
from catalog.sandbox.state import OutOfFunds, Refilling, Sale, State, Taken

CURRENCY = "USD"
MOST_IDS = 100
# New posts of a subscription that is bought without a number of them.
ENDLESS = 1000
LONGEST_REFERENCE = 255


class Refusal(Exception):
    """The sandbox says no, in these words; nothing has changed."""

    def __init__(self, text: str, *, code: str = "", field: str = "") -> None:
        super().__init__(text)
        self.code = code or "validation_error"
        self.field = field


class NoFunds(Refusal):
    """Our balance does not cover the order."""

    def __init__(self, *, required: Decimal, available: Decimal) -> None:
        super().__init__("Not enough funds on balance", code="insufficient_balance")
        self.required, self.available = required, available


class Shop:
    """Sells from a menu, and remembers in a state."""

    def __init__(self, *, menu: Sequence[Item], state: State, habits: Habits) -> None:
        self.menu = {item.id: item for item in menu}
        self.state = state
        self._habits = habits

    def buy(self, service: str, fields: Mapping[str, str], *, reference: str = "") -> int:
        """Take an order and charge for it; returns its id. Raises Refusal, NoFunds."""
        item = self.menu.get(whole(service) or 0)
        if item is None:
            raise Refusal("Incorrect service ID", code="not_found", field="service_id")
        row = ORDER_TYPES[item.type]
        _check_fields(row, fields)
        target = fields.get("link") or fields.get("username", "")
        if row.charged_on is ChargedOn.POSTS:
            sale, plan_of = self._subscription(item, target, fields, reference)
        else:
            sale, plan_of = self._order(item, row, target, fields, reference)
        try:
            return self.state.take(sale, plan_of=plan_of)
        except OutOfFunds:
            raise NoFunds(required=sale.cost, available=self.state.balance()) from None

    def _order(
        self,
        item: Item,
        row: OrderType,
        target: str,
        fields: Mapping[str, str],
        reference: str,
    ) -> tuple[Sale, Callable[[int], delivery.Plan]]:
        quantity = _quantity(item, row.charged_on, fields)
        runs = whole(fields.get("runs") or "1")
        interval = whole(fields.get("interval") or "0")
        if runs is None or interval is None or runs < 1:
            raise Refusal("Incorrect runs or interval", field="runs")
        if runs > 1 and not item.dripfeed:
            raise Refusal("Drip-feed is not available for this service", field="runs")
        total = quantity * runs
        packaged = row.charged_on is ChargedOn.PACKAGE
        sale = Sale(
            service=item.id,
            target=target,
            fields=fields,
            total=total,
            cost=item.rate if packaged else item.rate * total / 1000,
            start_count=crc32(target.encode()) % 50_000,
            reference=reference,
        )
        return sale, lambda number: delivery.plan(
            number=number,
            target=target,
            quantity=quantity,
            runs=runs,
            interval=interval,
            habits=self._habits,
        )

    def _subscription(
        self, item: Item, target: str, fields: Mapping[str, str], reference: str
    ) -> tuple[Sale, Callable[[int], delivery.Plan]]:
        posts = _posts(item, fields)
        expires_after = None
        if expiry := fields.get("expiry", "").strip():
            last_day = datetime.strptime(expiry, "%d/%m/%Y").replace(tzinfo=UTC)
            over = (last_day + timedelta(days=1)).timestamp()
            expires_after = over - self.state.calendar()
            if expires_after <= 0:
                raise Refusal("Incorrect expiry", field="expiry")
        sale = Sale(
            service=item.id,
            target=target,
            fields=fields,
            total=posts.all * posts.each,
            cost=item.rate * posts.each / 1000,
            start_count=0,
            posts=posts,
            reference=reference,
        )
        return sale, lambda number: delivery.subscription_plan(
            number=number, target=target, posts=posts, expires_after=expires_after
        )

    # --- after the sale ----------------------------------------------------------------------

    def order(self, text: str) -> Taken:
        """The order with this id. Raises Refusal."""
        number = whole(text)
        found = self.state.find([number]).get(number) if number else None
        if found is None:
            raise Refusal("Incorrect order ID", code="not_found")
        return found

    def begin_refill(self, text: str) -> int:
        """Begin a refill of the order; returns the refill's id. Raises Refusal."""
        order = self.order(text)
        if order.status not in (delivery.COMPLETED, delivery.PARTIAL):
            raise Refusal("Order is not eligible for refill", code="refill_refused")
        if not self.menu[order.service].refill:
            raise Refusal("Refill is not available for this service", code="refill_refused")
        refill = self.state.refill(order.id)
        if refill is None:
            raise Refusal("Refill is already in progress", code="refill_open")
        return refill

    def refill(self, text: str) -> Refilling:
        """The refill with this id. Raises Refusal."""
        found = self.state.find_refill(whole(text) or 0)
        if found is None:
            raise Refusal("Refill not found", code="not_found")
        return found

    def begin_cancel(self, text: str) -> int:
        """Note a request to cancel the order, 1 for yes. Raises Refusal."""
        order = self.order(text)
        if order.ended or not self.menu[order.service].cancel:
            raise Refusal("Order cannot be canceled", code="cancel_refused")
        if order.cancel_asked:
            raise Refusal("Cancel already requested", code="cancel_requested")
        self.state.ask_cancel(order.id)
        return 1


def _check_fields(row: OrderType, fields: Mapping[str, str]) -> None:
    """Every field that is needed is there, and all of them hold what their kind says."""
    for name in row.fields:
        if not fields.get(name, "").strip():
            raise _bad(name)
    for name in (*row.fields, *row.optional):
        rule, text = FIELDS[name], fields.get(name, "").strip()
        if rule.needed_if is not None:
            other, value = rule.needed_if
            if fields.get(other, "").strip() == value and not text:
                raise _bad(name)
        if not text:
            continue
        number = whole(text)
        fits = {
            FieldKind.NUMBER: number is not None
            and (rule.minimum is None or number >= rule.minimum)
            and (rule.maximum is None or number <= rule.maximum),
            FieldKind.CHOICE: text in (rule.choices or {}),
            FieldKind.LINES: bool(lines_of(text)),
            FieldKind.DATE: _is_date(text),
            FieldKind.URL: text.startswith(("http://", "https://")),
        }
        # The bounds of a drip-feed have words of their own.
        if name not in ("runs", "interval") and not fits.get(rule.kind, True):
            raise _bad(name)


def _bad(name: str) -> Refusal:
    return Refusal("Bad link" if name == "link" else f"Incorrect {name}", field=name)


def _is_date(text: str) -> bool:
    try:
        datetime.strptime(text, "%d/%m/%Y")  # noqa: DTZ007
    except ValueError:
        return False
    return True


def _quantity(item: Item, charged_on: ChargedOn, fields: Mapping[str, str]) -> int:
    """How many units a call asks for; lists are counted, packages are one."""
    if charged_on is ChargedOn.PACKAGE:
        return 1
    if charged_on in (ChargedOn.COMMENTS, ChargedOn.USERNAMES):
        quantity = len(lines_of(fields[charged_on.value]))
    else:
        quantity = whole(fields["quantity"]) or 0
    if quantity < item.min:
        raise Refusal(f"Quantity less than minimal {item.min}", field="quantity")
    if quantity > item.max:
        raise Refusal(f"Quantity more than maximum {item.max}", field="quantity")
    return quantity


def _posts(item: Item, fields: Mapping[str, str]) -> Posts:
    """A subscription's posts: every one is served with the maximum."""
    least, most = whole(fields["min"]) or 0, whole(fields["max"]) or 0
    if not item.min <= least <= most <= item.max:
        raise Refusal("Incorrect min or max", field="max")
    return Posts(
        new=whole(fields.get("posts") or "0") or ENDLESS,
        old=whole(fields.get("old_posts") or "0") or 0,
        each=most,
    )


def whole(text: str) -> int | None:
    """The whole number that the text is; None where it is none that SQLite could hold."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
