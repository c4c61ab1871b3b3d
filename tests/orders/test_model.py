"""Whatever happens, in whatever order, the invariants hold: the model-based test of ordering.

A state machine gives orders of several kinds, cancels, refills, pauses and stops them, lets jobs
and time pass, and lets providers misbehave and our own process die: at any call to a provider, and
at any statement to the database. Clock, transport and the places to die are its own:

- time passes by moving every stored time into the past (`pass_time`);
- providers are tests/orders/upstream.py, whose record of what it sold is the judge;
- a process that dies is an exception that no code catches, and rolls back what was not committed.

The books of `tests/books.py` add up (I1 to I5), nothing has been bought twice (I6), no final state
has gone back but by a correction (I12), a key has one order (I10) at the price that was shown
(I16), and the wallet holds what the orders leave it. At the end everything that can be settled is:
nobody is left without an order or the money.

`MODEL_EXAMPLES=500 MODEL_STEPS=60 MODEL_BOOKS_EVERY=1` look longer. `test_model_finds_…` break a
rule on purpose.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from decimal import Decimal
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, Value
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from accounts.money import round_down
from catalog import health
from catalog.models import Dialect, Provider, SameLink, Substitute
from catalog.order_types import ServiceType
from catalog.providers import UpstreamState, UpstreamStatus
from orders import (
    cancellations,
    checkout,
    dispatch,
    dripfeed,
    failover,
    reconciliation,
    refills,
    refunds,
    subscriptions,
    tracking,
    unconfirmed,
)
from orders.cancellations import ActionRefused, CancelRefused
from orders.checkout import place_order
from orders.dripfeed import SeriesRefused
from orders.models import (
    CancelRequest,
    DripFeed,
    Evidence,
    Order,
    OrderEvent,
    Refill,
    SeriesState,
    Source,
    Subscription,
)
from orders.moves import by_customer, move
from orders.refills import RefillRefused
from orders.requests import OrderDraft
from orders.statuses import FINAL, MOVES, Status
from tests.books import breaches
from tests.factories import ProviderFactory, ServiceFactory, StaffFactory, WalletFactory
from tests.orders.upstream import Crash, Habit, Sold, Upstream

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "6"))
STEPS = int(os.environ.get("MODEL_STEPS", "30"))
BOOKS_EVERY = int(os.environ.get("MODEL_BOOKS_EVERY", "5"))
FUNDS = Decimal(10_000)
seeds = st.integers(0, 2**32)
LINKS = ("https://instagram.com/p/one", "https://instagram.com/p/two")
TIMED = (Order, DripFeed, Provider, CancelRequest, Refill, OrderEvent, Evidence)


def tick(_provider: Provider) -> None:
    dispatch.sweep()
    failover.pass_on_interrupted()
    dripfeed.run_due()
    dripfeed.settle()
    subscriptions.expire_due()


JOBS: tuple[Callable[[Provider], object], ...] = (
    tick,
    dispatch.dispatch,
    dispatch.dispatch,
    tracking.poll,
    tracking.poll,
    cancellations.attend,
    refills.attend,
    reconciliation.reconcile,
)
MINUTES = (0, 0, 1, 1, 12, 61, 60 * 26)
LIKELY = (UpstreamState.IN_PROGRESS, UpstreamState.COMPLETED, UpstreamState.PARTIAL)
WISHES = ("cancel", "cancel", "stop", "pause", "resume", "refill", "refill")


def pass_time(delta: timedelta) -> None:
    """Everything that is stored is that much longer ago."""
    for model in TIMED:
        columns = [each.name for each in model._meta.fields if isinstance(each, DateTimeField)]
        model.objects.update(
            **{name: ExpressionWrapper(F(name) - Value(delta), DateTimeField()) for name in columns}
        )


@contextmanager
def dying(at: int | None) -> Iterator[None]:
    """The process dies before its statement number `at` to the database, or at a call that the
    provider's habits say; either way we go on as another process."""
    left = at

    def execute(run: Callable[..., Any], sql: str, *args: Any) -> Any:
        nonlocal left
        if left is not None and sql.startswith(("SELECT", "INSERT", "UPDATE", "DELETE")):
            left -= 1
            if left < 0:
                left = None  # what Django rolls back is rolled back
                raise Crash
        return run(sql, *args)

    try:
        with connection.execute_wrapper(execute):
            yield
    except Crash:
        pass


class InOrder:
    """The dispatcher's threads, one after the other: what hypothesis finds, it finds again."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __enter__(self) -> InOrder:
        return self

    def __exit__(self, *args: object) -> None:
        pass

    def submit(self, work: Callable[..., str], *args: Any) -> Future[str]:
        future: Future[str] = Future()
        try:
            future.set_result(work(*args))
        except BaseException as error:
            future.set_exception(error)
        return future


class Store(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(transaction.atomic())
        self.faults: list[str] = []
        self.steps = 0
        self._replace_the_edges()
        self.one = ProviderFactory()
        self.other = ProviderFactory(dialect=Dialect.REST)
        self.providers = (self.one, self.other)
        self.upstream = {
            self.one.pk: Upstream(self.one, lists_orders=False),
            self.other.pk: Upstream(self.other, lists_orders=True),
        }
        offers = {"link_target": "any", "cancel": True, "refill": True, "dripfeed": True}
        queued = {**offers, "same_link": SameLink.QUEUE}
        with_substitute = ServiceFactory(provider=self.one, **offers)
        substitute = ServiceFactory(provider=self.other, **offers)
        Substitute.objects.create(service=with_substitute, substitute=substitute)
        self.services = [
            with_substitute,
            ServiceFactory(provider=self.one, **queued),
            ServiceFactory(provider=self.other, **queued),
            ServiceFactory(provider=self.one, type=ServiceType.PACKAGE, **offers),
            ServiceFactory(provider=self.other, type=ServiceType.CUSTOM_COMMENTS, **offers),
            ServiceFactory(provider=self.one, type=ServiceType.SUBSCRIPTIONS, **offers),
        ]
        self.wallet = WalletFactory(funds=FUNDS)
        self.customer = self.wallet.user
        self.staff = StaffFactory()
        self.keys: dict[str, tuple[OrderDraft, int]] = {}
        self.seen: dict[int, tuple[str, Decimal]] = {}

    def _replace_the_edges(self) -> None:
        self.patch = patch = self.stack.enter_context(pytest.MonkeyPatch.context())
        for module in (dispatch, health):
            patch.setattr(module, "client_for", lambda provider: self.upstream[provider.pk])
        patch.setattr(dispatch, "ThreadPoolExecutor", InOrder)
        patch.setattr(dispatch, "as_completed", list)
        # A fault of ours that a job survives is a fault all the same.
        log = SimpleNamespace(exception=lambda event, **_: self.faults.append(event))
        for quiet in ("info", "warning", "error"):
            setattr(log, quiet, lambda *_, **__: None)
        for module in (dispatch, tracking, dripfeed, cancellations, refills, reconciliation):
            patch.setattr(module, "log", log)

    def teardown(self) -> None:
        try:
            self.settle_everything()
        finally:
            transaction.set_rollback(True)
            self.stack.close()

    # --- what happens ----------------------------------------------------------------------------

    @initialize(seed=seeds)
    def begins(self, seed: int) -> None:
        self.dice = Random(seed)
        for _ in range(3):
            self.buys()

    @rule(seed=seeds)
    def happens(self, seed: int) -> None:
        """Anything. By dice of our own: hypothesis chooses among rules and values so unevenly
        that few orders ever came as far as their end; it shortens what it finds all the same."""
        # The same number again is something else.
        self.dice = Random(f"{seed} {self.steps}")
        what = self.dice.choice(
            [self.buys] * 2
            + [self.wants] * 2
            + [self.staff_look]
            + [self.provider_delivers] * 3
            + [self.works] * 7
        )
        note(what.__name__)
        what()

    def _death(self) -> int | None:
        """At which statement to the database the process dies, if at all."""
        return self.dice.randrange(40) if self.dice.random() < 0.1 else None

    # --- customers -------------------------------------------------------------------------------

    def buys(self) -> None:
        """With a key of before now and then, which asks for the same as then."""
        number = f"key {self.dice.randrange(20)}"
        draft, before = self.keys.get(number, (self._draft(), 0))
        shown = checkout.preview(customer=self.customer, currency="USD", draft=draft)
        with dying(self._death()):
            placed = place_order(
                customer=self.customer,
                currency="USD",
                draft=draft,
                source=Source.REST,
                idempotency_key=number,
            )
            # I10: one key, one order. I16: at the price that was shown, and not below cost.
            assert (placed.order.pk == before) == placed.replayed
            assert shown.quote is not None
            assert placed.order.charge == shown.quote.charge
            assert placed.order.rate >= placed.order.provider_rate
        for order in Order.objects.filter(idempotency_key=number):
            self.keys[number] = (draft, order.pk)

    def _draft(self) -> OrderDraft:
        service, link = self.dice.choice(self.services), self.dice.choice(LINKS)
        values: dict[str, object] = {"link": link}
        if service.type == ServiceType.SUBSCRIPTIONS:
            values = {"username": "someone", "min": 50, "max": 100, "posts": 10, "delay": 0}
        elif service.type == ServiceType.CUSTOM_COMMENTS:
            values["comments"] = "\n".join(["lovely"] * 10)
        elif service.type == ServiceType.DEFAULT:
            values["quantity"] = self.dice.choice([10, 333, 1000])
            if self.dice.random() < 0.4:
                values |= {"runs": self.dice.choice([2, 3]), "interval": 60}
        return OrderDraft(service.pk, values)

    def _one(self, **conditions: Any) -> Order | None:
        orders = Order.objects.filter(**conditions).order_by("pk")
        found = list(orders.select_related("wallet", "service", "sent_service", "provider"))
        return self.dice.choice(found) if found else None

    def wants(self) -> None:
        order = self._one(parent=None)
        if order is None:
            return
        wish = "refill" if order.is_final else self.dice.choice(WISHES)
        subscribed = order.type == ServiceType.SUBSCRIPTIONS
        act: Callable[..., object] = {
            "cancel": cancellations.request,
            "stop": subscriptions.stop if subscribed else dripfeed.stop,
            "pause": dripfeed.pause,
            "resume": dripfeed.resume,
            "refill": refills.request,
        }[wish]
        with dying(self._death()), suppress(CancelRefused, SeriesRefused, RefillRefused):
            act(order, by=by_customer(self.customer))

    # --- staff -----------------------------------------------------------------------------------

    def staff_look(self) -> None:
        """They look at the provider's own site, or give the order up."""
        order = self._one(status=Status.UNCONFIRMED)
        if order is None:
            return
        with dying(self._death()), suppress(ActionRefused):
            if self.dice.random() < 0.3:
                cancellations.cancel_and_refund(order, actor=self.staff, reason="gave up")
            else:
                self._settle_by_looking(order)

    def _settle_by_looking(self, order: Order) -> None:
        sold = self.upstream[order.provider_id].of(str(order.uuid))
        if sold:
            unconfirmed.mark_sent_as(order, sold[0].id, actor=self.staff, reason="found")
        else:
            unconfirmed.send_again(order, actor=self.staff, reason="not there")

    # --- providers -------------------------------------------------------------------------------

    def provider_delivers(self) -> None:
        """On, to an end, or back: what has ended may end differently after all."""
        every = [sold for each in self.upstream.values() for sold in each.sold]
        if not every:
            return
        sold, tenths = self.dice.choice(every), self.dice.randrange(11)
        state = self.dice.choice([*UpstreamState, *LIKELY])
        if self.dice.random() < 0.2:
            self._says_something_odd(sold, state, tenths)
            return
        sold.state = state
        sold.remains = 0 if state is UpstreamState.COMPLETED else sold.quantity * tenths // 10
        sold.posts = max(sold.posts, 10 - tenths)

    @staticmethod
    def _says_something_odd(sold: Sold, state: UpstreamState, tenths: int) -> None:
        """Once: a word that nobody knows, or numbers that cannot be."""
        under_way = state in (UpstreamState.PENDING, UpstreamState.IN_PROGRESS)
        sold.odd = UpstreamStatus(
            state=state if under_way else None,
            word="Marinating",
            remains=(-5, None, 10**12, 7)[tenths % 4],
            start_count=-tenths,
            charge=(None, Decimal(0), Decimal("0.01"), Decimal(10**12))[tenths % 4],
        )

    # --- jobs ------------------------------------------------------------------------------------

    def works(self) -> None:
        """Some time passes, and a few jobs come."""
        if minutes := self.dice.choice(MINUTES):
            pass_time(timedelta(minutes=minutes))
        for job in self.dice.choices(JOBS, k=4):
            provider = self.dice.choice(self.providers)
            likely = [20 if each is Habit.GOOD else 1 for each in Habit]
            habits = self.dice.choices([*Habit], likely, k=4)
            note(f"{job.__qualname__} at {provider.pk}: {habits}")
            self._work(job, provider, habits, self._death())

    def _work(self, job: Any, provider: Provider, habits: list[Habit], death: int | None) -> None:
        upstream = self.upstream[provider.pk]
        upstream.behave(*habits)
        with dying(death):
            job(Provider.objects.get(pk=provider.pk))
        upstream.behave()

    # --- what always holds -----------------------------------------------------------------------

    @invariant()
    def invariants_hold(self) -> None:
        self.steps += 1
        # Adding up everything takes longer than the step: what is wrong stays wrong.
        if self.steps % BOOKS_EVERY == 0:
            self.books_add_up()
        self.wallet_holds_what_the_orders_leave_it()
        self.nothing_was_bought_twice()
        self.final_states_go_back_only_by_corrections()
        self.what_was_paid_back_is_what_the_state_says()

    def books_add_up(self) -> None:
        """I1 to I5. That requests are settled soon is not asked while jobs may stay away."""
        found = [each for each in breaches() if not each.rule.endswith("_of_an_ended_order")]
        assert [str(each) for each in found] == []
        assert self.faults == []

    def wallet_holds_what_the_orders_leave_it(self) -> None:
        self.wallet.refresh_from_db()
        given = Order.objects.filter(parent=None)
        assert self.wallet.balance == FUNDS - sum(order.net_charge for order in given)

    def nothing_was_bought_twice(self) -> None:
        """I6: at most one order upstream for each order, and for each run of a drip-feed."""
        references = Counter(
            sold.reference for each in self.upstream.values() for sold in each.sold
        )
        assert [each for each, times in references.items() if times > 1] == []
        ours = {str(each) for each in Order.objects.values_list("uuid", flat=True)}
        assert references.keys() <= ours
        for feed in DripFeed.objects.all():
            assert Order.objects.filter(parent=feed.order_id).count() == feed.runs_made

    def final_states_go_back_only_by_corrections(self) -> None:
        """I12; and what was paid back is never taken."""
        for order in Order.objects.all():
            before, refunded = self.seen.get(order.pk, (order.status, order.refunded))
            if before in FINAL and order.status != before:
                assert order.status in MOVES[Status(before)]
            assert order.refunded >= refunded
            self.seen[order.pk] = (order.status, order.refunded)

    def what_was_paid_back_is_what_the_state_says(self) -> None:
        for order in Order.objects.filter(dripfeed=None).exclude(type=ServiceType.SUBSCRIPTIONS):
            if order.status in (Status.CANCELLED, Status.REFUNDED, Status.FAILED):
                assert order.refunded == order.charge
            elif order.status == Status.PARTIAL:
                assert order.remains is not None
                share = round_down(order.charge * order.remains / order.quantity)
                assert order.refunded == share
            else:
                assert order.refunded == 0

    # --- the end ---------------------------------------------------------------------------------

    def settle_everything(self) -> None:
        """All providers well, staff at work: everything comes to an end, and nobody is left
        without an order or the money."""
        for each in self.upstream.values():
            each.behave()
        for _ in range(15):
            if not self._is_anything_open():
                break
            pass_time(timedelta(minutes=61))
            for each in self.upstream.values():
                for sold in each.sold:
                    if not sold.is_over:
                        sold.state, sold.remains, sold.posts = UpstreamState.COMPLETED, 0, 10
            for feed in DripFeed.objects.filter(state=SeriesState.PAUSED).select_related("order"):
                dripfeed.resume(feed.order, by=by_customer(self.customer))
            tick(self.one)
            for order in Order.objects.filter(status=Status.UNCONFIRMED):
                self._settle_by_looking(order)
            for job in (dispatch.dispatch, tracking.poll, cancellations.attend, refills.attend):
                for provider in self.providers:
                    self._work(job, provider, [], None)
            tick(self.one)
        for job in (cancellations.attend, refills.attend):
            for provider in self.providers:
                self._work(job, provider, [], None)
        assert [str(each) for each in breaches()] == []
        self.invariants_hold()
        self.nobody_is_left()

    def _is_anything_open(self) -> bool:
        return (
            Order.objects.exclude(status__in=sorted(FINAL)).exists()
            or DripFeed.objects.exclude(state=SeriesState.ENDED).exists()
            or Subscription.objects.exclude(state=SeriesState.ENDED).exists()
        )

    def nobody_is_left(self) -> None:
        left = Order.objects.exclude(status__in=sorted(FINAL))
        assert [f"{order} {order.type} {order.status}" for order in left] == []
        assert not DripFeed.objects.exclude(state=SeriesState.ENDED).exists()
        assert not Subscription.objects.exclude(state=SeriesState.ENDED).exists()
        for order in Order.objects.filter(dripfeed=None):
            sold = self.upstream[order.provider_id].of(str(order.uuid))
            if order.status in (Status.COMPLETED, Status.PARTIAL):
                # Delivered by what the provider has told of the very order that it sold us.
                assert [each.id for each in sold] == [order.external_id]
                assert UpstreamState(order.status) in sold[0].reported or (
                    order.type == ServiceType.SUBSCRIPTIONS
                )
            elif sold and order.external_id is None:
                # I7: what was given up and bought after all is in front of staff.
                assert order.events.filter(kind="evidence").exists() or order.refunded


def search(machine: type[Store], *, examples: int = EXAMPLES, steps: int = STEPS, **more: Any):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            **more,
        ),
    )


def test_invariants_hold_whatever_happens(db):
    search(Store)


# --- what it would find --------------------------------------------------------------------------


class SendsUnknownAgain(Store):
    """A lost reply is taken for a refusal to connect."""

    def _replace_the_edges(self) -> None:
        super()._replace_the_edges()

        def wait(order: Order, why: str) -> None:
            dispatch._wait(order, timedelta(0), why)

        self.patch.setattr(dispatch, "_unknown", wait)


class PaysBackTwice(Store):
    """A refund is posted without looking whether the order still stands where it was."""

    def _replace_the_edges(self) -> None:
        super()._replace_the_edges()
        pay = refunds._pay

        def pay_twice(order: Order, amount: Decimal, **how: Any) -> None:
            pay(order, amount, **how)
            pay(order, amount, **how)

        self.patch.setattr(refunds, "_pay", pay_twice)


class CommitsTooEarly(Store):
    """A run and the time of the next one are two transactions."""

    def _replace_the_edges(self) -> None:
        super()._replace_the_edges()
        self.patch.setattr(dripfeed, "_set", lambda *args, **columns: None)


class ForgetsTheRefund(Store):
    """What the provider ends without delivering is ended, and not paid back."""

    def _replace_the_edges(self) -> None:
        super()._replace_the_edges()
        self.patch.setattr(tracking, "move_and_refund", _move_only)


def _move_only(order: Order, to: Status, amount: Decimal, *, reason: str = "", **changes: Any):
    return move(order, to, note=reason, **changes)


@pytest.mark.sqlite  # whether the model would find it does not depend on the database
@pytest.mark.parametrize(
    "broken", [SendsUnknownAgain, PaysBackTwice, CommitsTooEarly, ForgetsTheRefund]
)
def test_model_finds_a_broken_rule(db, broken):
    with pytest.raises((AssertionError, DatabaseError)):
        search(
            broken,
            examples=200,
            phases=[Phase.generate],
            report_multiple_bugs=False,
            database=None,
            print_blob=False,
        )
