"""Several dispatchers at once, and staff beside them: each order is bought at most once.

`test_without_its_condition_…` lets two dispatchers claim the same orders, which then are bought
twice: the race is real. What holds it is the condition of the UPDATE in `statuses.move_all`.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from decimal import Decimal
from threading import Barrier, Event

import pytest
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from accounts.clock import from_now
from catalog import health
from catalog.health import PAUSE
from catalog.models import Breaker, Provider, SameLink
from catalog.providers import ProviderBusy, ProviderUnreachable
from catalog.sandbox.misbehaviour import Kind
from orders import dispatch
from orders.cancellations import ActionRefused, cancel_and_refund
from orders.models import Order
from orders.statuses import Status
from orders.unconfirmed import mark_sent_as, send_again
from tests.books import breaches
from tests.concurrency.together import PATIENCE, together
from tests.factories import OrderFactory, ServiceFactory, StaffFactory, WalletFactory
from tests.orders.conftest import let_leases_run_out, meanwhile, open_alerts

__all__ = ["meanwhile"]  # a fixture

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

CHARGE = Decimal("1.30")


@pytest.fixture
def provider(transactional_db, sandbox):
    return sandbox.provider()


def place(provider, count):
    """Paid orders, each with a link of its own."""
    service = provider.services.first() or ServiceFactory(provider=provider, external_id="1001")
    wallet = WalletFactory(funds=1000)
    return [
        OrderFactory(service=service, wallet=wallet, link=f"https://instagram.com/{number}")
        for number in range(count)
    ]


def bought(sandbox):
    return Counter(order.link for order in sandbox.orders)


def test_without_its_condition_two_dispatchers_buy_the_same_orders(sandbox, provider, monkeypatch):
    place(provider, 4)
    both_have_looked = Barrier(2, timeout=PATIENCE)

    def unconditional(queryset, _origin, to, *, by, **changes):
        both_have_looked.wait()
        return queryset.update(status=to, **changes)

    monkeypatch.setattr(QuerySet, "select_for_update", lambda self, **_how: self.all())
    monkeypatch.setattr(dispatch, "move_all", unconditional)
    monkeypatch.setattr(dispatch, "_recorded", lambda _provider, _order, _answer: None)

    together(*[lambda: dispatch.dispatch(provider)] * 2)

    assert set(bought(sandbox).values()) == {2}


def test_without_its_lock_the_condition_alone_still_holds(sandbox, provider, monkeypatch):
    """The locks keep links; that each order is claimed once does not rest on them."""
    place(provider, 4)
    both_have_looked, real = Barrier(2, timeout=PATIENCE), dispatch.move_all

    def conditional(*args, **changes):
        if not both_have_looked.broken:
            both_have_looked.wait()
            both_have_looked.abort()
        return real(*args, **changes)

    monkeypatch.setattr(QuerySet, "select_for_update", lambda self, **_how: self.all())
    monkeypatch.setattr(dispatch, "move_all", conditional)

    together(*[lambda: dispatch.claim(provider, limit=4)] * 2)

    assert Counter(Order.objects.values_list("status", "send_attempts")) == {(Status.SENDING, 1): 4}
    assert Order.objects.values("claim").distinct().order_by().count() == 1


def test_two_dispatchers_buy_each_of_thirty_orders_once(sandbox, provider):
    orders = place(provider, 30)

    accepted = together(*[lambda: dispatch.dispatch(provider)] * 2)

    assert sum(accepted) == 30
    assert bought(sandbox) == {order.link: 1 for order in orders}
    assert dict(Order.objects.values_list("link", "external_id")) == {
        order.link: str(order.id) for order in sandbox.orders
    }
    assert set(Order.objects.values_list("status", "send_attempts")) == {(Status.PROCESSING, 1)}
    assert breaches() == []


def test_two_dispatchers_wait_together_when_funds_run_out(sandbox, provider):
    """The pause for all waiting orders and the other's claims do not lock each other up."""
    place(provider, 30)
    sandbox.set_balance(0)

    assert together(*[lambda: dispatch.dispatch(provider)] * 3) == [0, 0, 0]

    assert set(Order.objects.values_list("status", flat=True)) == {Status.PENDING}
    assert sandbox.orders == []
    assert open_alerts() == {("provider_out_of_funds", f"provider:{provider.pk}")}


def test_two_sweeps_tell_staff_once(provider):
    place(provider, 4)
    dispatch.claim(provider, limit=4)
    let_leases_run_out()

    assert sum(together(*[dispatch.sweep] * 4)) == 4

    assert Counter(Order.objects.values_list("status", flat=True)) == {Status.UNCONFIRMED: 4}
    assert len(open_alerts()) == 4


def held():
    """The one order, as a page of staff's shows it."""
    return Order.objects.select_related("wallet").get()


@pytest.mark.parametrize("_round", range(4))
def test_cancelling_while_the_order_is_being_claimed_has_one_outcome(sandbox, provider, _round):
    [order] = place(provider, 1)
    staff, shown = StaffFactory(), held()

    sent, cancelled = together(
        lambda: dispatch.dispatch(provider),
        lambda: cancel_and_refund(shown, actor=staff, reason="asked"),
    )

    order.refresh_from_db()
    if cancelled is None:
        assert (sent, order.status, order.refunded) == (0, Status.CANCELLED, CHARGE)
        assert sandbox.orders == []
    else:
        assert isinstance(cancelled, ActionRefused)
        assert (sent, order.status, order.refunded) == (1, Status.PROCESSING, 0)
        assert len(sandbox.orders) == 1
    assert breaches() == []


@pytest.mark.parametrize("action", ["cancel", "send_again", "mark_sent_as"])
def test_staff_settling_an_order_while_its_late_answer_arrives_has_one_outcome(
    sandbox, provider, meanwhile, action
):
    [order] = place(provider, 1)
    staff = StaffFactory()
    answered, shown = Barrier(2, timeout=PATIENCE), []

    def overtaken():
        let_leases_run_out()
        dispatch.sweep()
        shown.append(held())
        answered.wait()

    meanwhile(overtaken)
    actions = {
        "cancel": lambda: cancel_and_refund(*shown, actor=staff, reason="x"),
        "send_again": lambda: send_again(*shown, actor=staff, reason="x"),
        "mark_sent_as": lambda: mark_sent_as(*shown, "77", actor=staff, reason="x"),
    }

    def settle():
        answered.wait()
        return actions[action]()

    sent, settled = together(lambda: dispatch.dispatch(provider), settle)

    order.refresh_from_db()
    [upstream] = sandbox.orders
    if settled is None:
        settled_as = {
            "cancel": (Status.CANCELLED, CHARGE, str(upstream.id)),
            "send_again": (Status.PENDING, 0, None),
            "mark_sent_as": (Status.PROCESSING, 0, "77"),
        }
        assert (order.status, order.refunded, order.external_id) == settled_as[action]
        told = "order_found_after_refund" if action == "cancel" else "order_answered_late"
        assert open_alerts() == {(told, order.subject)}
    else:
        assert isinstance(settled, ActionRefused)
        assert (order.status, order.refunded) == (Status.PROCESSING, 0)
        assert (sent, order.external_id) == (1, str(upstream.id))
        assert open_alerts() == set()
    assert breaches() == []


# --- one order a link at a time -------------------------------------------------------------------


def queue_links(provider):
    provider.services.update(same_link=SameLink.QUEUE)


def test_ten_orders_of_one_link_at_once_run_one_at_a_time(sandbox, provider):
    place(provider, 10)
    Order.objects.update(link_key="instagram:post:1")
    queue_links(provider)

    together(*[lambda: dispatch.dispatch(provider)] * 4)

    assert Counter(Order.objects.values_list("status", flat=True)) == {
        Status.PROCESSING: 1,
        Status.PENDING: 9,
    }
    assert len(sandbox.orders) == 1


@pytest.fixture
def running_after_a_race(provider, monkeypatch):
    """Orders become visible in the order of their commits, not of their numbers: an older one
    does while a younger one of its link is being claimed. Returns how many run at the end."""

    def race():
        older, younger = place(provider, 2)
        queue_links(provider)
        of_link = {"link_key": "instagram:post:1", "send_after": Now()}
        Order.objects.filter(pk=older.pk).update(send_after=None)
        Order.objects.filter(pk=younger.pk).update(**of_link)
        claimed, both_claimed, real = Event(), Event(), dispatch.move_all

        def long_uncommitted(*args, **changes):
            moved = real(*args, **changes)
            if not claimed.is_set():
                claimed.set()
                both_claimed.wait(1)
            return moved

        monkeypatch.setattr(dispatch, "move_all", long_uncommitted)

        def second():
            assert claimed.wait(PATIENCE)
            Order.objects.filter(pk=older.pk).update(**of_link)
            dispatch.claim(Provider.objects.get(), limit=4)
            both_claimed.set()

        results = together(lambda: dispatch.claim(provider, limit=4), second)
        assert results == [[younger], None]
        return Order.objects.filter(status=Status.SENDING).count()

    return race


def test_link_is_kept_by_the_lock_on_the_provider(running_after_a_race):
    assert running_after_a_race() == 1


def test_without_its_lock_on_the_provider_two_orders_of_a_link_run(
    running_after_a_race, monkeypatch
):
    real = QuerySet.select_for_update
    monkeypatch.setattr(
        QuerySet,
        "select_for_update",
        lambda self, **how: self.all() if self.model is Provider else real(self, **how),
    )

    assert running_after_a_race() == 2


# --- the provider's health ------------------------------------------------------------------------


def admitted(calls=1):
    """What `health.admit` lets through, in calls; 0 where it refuses."""
    try:
        return health.admit(Provider.objects.get(), calls=calls)
    except (ProviderBusy, ProviderUnreachable):
        return 0


def test_of_many_callers_exactly_one_makes_the_trial_call(provider):
    health.trip(provider, "for a test")
    Provider.objects.update(breaker_until=from_now(timedelta(seconds=-1)))

    assert sorted(together(*[admitted] * 8)) == [0] * 7 + [1]


def test_without_its_condition_several_make_the_trial_call(provider, monkeypatch):
    health.trip(provider, "for a test")
    Provider.objects.update(breaker_until=from_now(timedelta(seconds=-1)))
    all_have_looked = Barrier(4, timeout=PATIENCE)

    def looks_first(provider):
        due = Provider.objects.filter(breaker_until__lte=Now()).exists()
        all_have_looked.wait()
        if not due:
            raise ProviderUnreachable("interrupted")
        Provider.objects.update(breaker=Breaker.PROBING, breaker_until=from_now(PAUSE))

    monkeypatch.setattr(health, "_win_probe", looks_first)

    assert sum(together(*[admitted] * 4)) == 4


def test_interrupted_provider_is_tried_with_exactly_one_order(sandbox, provider):
    place(provider, 12)
    health.trip(provider, "for a test")
    Provider.objects.update(breaker_until=from_now(timedelta(seconds=-1)))
    sandbox.misbehave("add", Kind.TOO_MANY, times=100)

    together(*[lambda: dispatch.dispatch(Provider.objects.get())] * 4)

    # It answered, so the others of the batch after that may have asked as well; not before.
    first = Order.objects.order_by("pk").first()
    assert first.send_attempts == 1


def test_rate_limit_is_exact_with_many_callers(provider):
    Provider.objects.update(requests_per_minute=13)

    granted = together(*[lambda: admitted(4)] * 8)

    assert sum(granted) == 13
    assert Provider.objects.get().window_calls == 13


def test_without_its_condition_the_rate_limit_is_exceeded(provider, monkeypatch):
    Provider.objects.update(requests_per_minute=3, window_started_at=Now())
    all_have_looked = Barrier(8, timeout=PATIENCE)

    def looks_first(provider, calls):
        left = 3 - Provider.objects.get().window_calls
        all_have_looked.wait()
        Provider.objects.update(window_calls=F("window_calls") + 1)
        return min(left, calls)

    monkeypatch.setattr(health, "_within_rate", looks_first)

    assert sum(together(*[admitted] * 8)) == 8


def test_failures_at_once_are_all_counted(provider):
    def fails():
        row = Provider.objects.get()
        health.admit(row, calls=1)
        health.failed(row, "no connection")

    together(*[fails] * (health.FAILURES_ALLOWED - 1))

    row = Provider.objects.get()
    assert (row.breaker, row.failures) == (Breaker.CLOSED, health.FAILURES_ALLOWED - 1)


def test_orders_that_waited_for_funds_keep_their_order(sandbox, provider):
    orders = place(provider, 9)
    sandbox.set_balance(0)
    together(*[lambda: dispatch.dispatch(Provider.objects.get())] * 3)
    sandbox.set_balance(100)
    Provider.objects.update(funds_wait_until=from_now(timedelta(seconds=-1)))

    together(*[lambda: dispatch.dispatch(Provider.objects.get())] * 3)

    sent = [order.link for order in sandbox.orders]
    assert sent[0] == orders[0].link
    assert bought(sandbox) == {order.link: 1 for order in orders[: len(sent)]}
    dispatch.dispatch(provider)
    assert bought(sandbox) == {order.link: 1 for order in orders}
    assert breaches() == []
