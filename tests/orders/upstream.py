"""A provider without a socket, for the model-based test: it does what it is told, badly too.

It stands where the registry gives clients. What it has sold is its own record (`sold`), kept
whatever becomes of its answers: the proof of "bought exactly once".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from itertools import count

from catalog.models import Provider
from catalog.providers import (
    NotOffered,
    OutcomeUnknown,
    ProviderAnswerInvalid,
    ProviderBusy,
    ProviderOutOfFunds,
    ProviderRefused,
    ProviderUnreachable,
    ServiceList,
    UpstreamCancel,
    UpstreamOrder,
    UpstreamRefill,
    UpstreamRefillState,
    UpstreamState,
    UpstreamStatus,
)
from orders.models import Order


class Crash(BaseException):
    """What SIGKILL does, as far as one process can play it: nothing after this line happens."""


class Habit(StrEnum):
    """How the next call ends."""

    GOOD = "good"
    REFUSE = "refuse"
    NO_FUNDS = "no_funds"
    BUSY = "busy"
    UNREACHABLE = "unreachable"
    LOST = "lost"  # done, and the reply never arrives
    NOT_DONE = "not_done"  # not done, and no reply tells so
    FOREIGN_ID = "foreign_id"  # done, and answered with the id of another order of ours
    CRASH_BEFORE = "crash_before"  # our process dies before the provider is reached
    CRASH_AFTER = "crash_after"  # … and after the provider has done it


_OVER = {
    UpstreamState.COMPLETED,
    UpstreamState.PARTIAL,
    UpstreamState.CANCELLED,
    UpstreamState.REFUNDED,
    UpstreamState.FAILED,
}


@dataclass
class Sold:
    """One order that the provider has taken."""

    id: str
    reference: str
    quantity: int
    cost: Decimal
    is_subscription: bool
    state: UpstreamState = UpstreamState.PENDING
    remains: int = 0
    posts: int = 0
    # For the next answer only.
    odd: UpstreamStatus | None = None
    reported: set[UpstreamState] = field(default_factory=set)

    @property
    def is_over(self) -> bool:
        return self.state in _OVER

    @property
    def charge(self) -> Decimal:
        """What the provider keeps of it."""
        if self.state in (UpstreamState.CANCELLED, UpstreamState.REFUNDED, UpstreamState.FAILED):
            return Decimal(0)
        if self.is_subscription:
            return self.cost * self.posts / 10
        if self.state is UpstreamState.PARTIAL:
            return self.cost * (self.quantity - self.remains) / self.quantity
        return self.cost


class Upstream:
    """The provider itself; `Upstream.client` is what the registry is made to give."""

    def __init__(self, provider: Provider, *, lists_orders: bool) -> None:
        self.provider_id = provider.pk
        # Knows orders by our reference, and repeats under it (the REST dialect).
        self.lists_orders = self.repeats_safely = lists_orders
        self.sold: list[Sold] = []
        self.habits: list[Habit] = []
        self.refills: dict[str, UpstreamRefillState] = {}
        self._ids = count(10_000 * provider.pk)

    def behave(self, *habits: Habit) -> None:
        """How the next calls end, one each; all others end well."""
        self.habits = list(habits)

    def find_sold(self, external_id: str) -> Sold | None:
        return next((sold for sold in self.sold if sold.id == external_id), None)

    def of(self, reference: str) -> list[Sold]:
        return [sold for sold in self.sold if sold.reference == reference]

    # --- the protocol ----------------------------------------------------------------------------

    def add(self, order: UpstreamOrder) -> str:
        habit = self._habit()
        if habit is Habit.REFUSE:
            raise ProviderRefused("Incorrect link")
        if habit is Habit.NO_FUNDS:
            raise ProviderOutOfFunds("Not enough funds")
        if habit is Habit.NOT_DONE:
            raise OutcomeUnknown("read time-out")
        known = self.of(order.reference) if self.repeats_safely else []
        sold = known[0] if known else self._sell(order)
        if habit is Habit.FOREIGN_ID and (other := self._linked()) is not None:
            return other
        self._reply(habit)
        return sold.id

    def _linked(self) -> str | None:
        """An id that one of our orders has: of any other nobody could tell that it is wrong."""
        linked = Order.objects.filter(provider=self.provider_id, external_id__isnull=False)
        return linked.order_by("pk").values_list("external_id", flat=True).first()

    def _sell(self, order: UpstreamOrder) -> Sold:
        is_subscription = "posts" in order.fields
        quantity = int(order.fields.get("quantity") or 1000)
        sold = Sold(
            id=str(next(self._ids)),
            reference=order.reference,
            quantity=quantity,
            cost=Decimal(quantity) / 1000,
            is_subscription=is_subscription,
        )
        sold.remains = quantity
        self.sold.append(sold)
        return sold

    def statuses(self, external_ids: Sequence[str]) -> dict[str, UpstreamStatus]:
        habit = self._habit(refuses=True)
        if habit is Habit.NOT_DONE:
            raise ProviderAnswerInvalid("an HTML page")
        self._reply(habit)
        told = {}
        for external_id in external_ids:
            if (sold := self.find_sold(external_id)) is not None:
                told[external_id] = self._status(sold)
        if habit is Habit.FOREIGN_ID and told:
            told.pop(min(told))
        return told

    def _status(self, sold: Sold) -> UpstreamStatus:
        if sold.odd is not None:
            odd, sold.odd = sold.odd, None
            return odd
        sold.reported.add(sold.state)
        return UpstreamStatus(
            state=sold.state,
            word=sold.state.value,
            start_count=7,
            remains=sold.remains,
            charge=sold.charge,
            posts=sold.posts if sold.is_subscription else None,
        )

    def balance(self) -> tuple[Decimal, str]:
        self._reply(self._habit(refuses=True))
        return Decimal(10_000) - sum(sold.charge for sold in self.sold), "USD"

    def find(self, reference: str) -> str | None:
        if not self.lists_orders:
            raise NotOffered("no list of orders")
        self._reply(self._habit(refuses=True))
        return next((sold.id for sold in self.of(reference)), None)

    def cancel(self, external_ids: Sequence[str]) -> dict[str, UpstreamCancel]:
        habit = self._habit()
        if habit is Habit.REFUSE:
            return {each: UpstreamCancel(False, "too late") for each in external_ids}
        for external_id in external_ids:
            sold = self.find_sold(external_id)
            if sold is not None and not sold.is_over:
                # What was delivered is kept; what was served too.
                started = sold.remains < sold.quantity or sold.posts > 0
                sold.state = UpstreamState.PARTIAL if started else UpstreamState.CANCELLED
        self._reply(habit)
        return {each: UpstreamCancel(True) for each in external_ids}

    def refill(self, external_id: str) -> str:
        habit = self._habit()
        if habit is Habit.REFUSE:
            raise ProviderRefused("No drop")
        refill_id = str(next(self._ids))
        self.refills[refill_id] = UpstreamRefillState.PENDING
        self._reply(habit)
        return refill_id

    def refill_statuses(self, refill_ids: Sequence[str]) -> dict[str, UpstreamRefill]:
        self._reply(self._habit(refuses=True))
        return {
            each: UpstreamRefill(self.refills[each], self.refills[each].value)
            for each in refill_ids
            if each in self.refills
        }

    def services(self) -> ServiceList:
        return ServiceList([])

    def _habit(self, *, refuses: bool = False) -> Habit:
        habit = self.habits.pop(0) if self.habits else Habit.GOOD
        if habit is Habit.BUSY:
            raise ProviderBusy("429", retry_after=5)
        if habit is Habit.UNREACHABLE:
            raise ProviderUnreachable("connection refused")
        if habit is Habit.CRASH_BEFORE:
            raise Crash
        if refuses and habit in (Habit.REFUSE, Habit.NO_FUNDS):
            raise ProviderRefused("Invalid API key")
        return habit

    @staticmethod
    def _reply(habit: Habit) -> None:
        if habit is Habit.CRASH_AFTER:
            raise Crash
        if habit is Habit.LOST:
            raise OutcomeUnknown("reset before the answer")
