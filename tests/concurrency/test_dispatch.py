"""Several dispatchers at once, and staff beside them: each order is bought at most once.

`test_without_its_condition_…` lets two dispatchers claim the same orders, which then are bought
twice: the race is real. What holds it is the condition of the UPDATE in `statuses.move_all`.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from threading import Barrier

import pytest
from django.db.models import QuerySet

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

    def unconditional(queryset, _origin, to, **changes):
        both_have_looked.wait()
        return queryset.update(status=to, **changes)

    monkeypatch.setattr(QuerySet, "select_for_update", lambda self, **_how: self.all())
    monkeypatch.setattr(dispatch, "move_all", unconditional)
    monkeypatch.setattr(dispatch, "_recorded", lambda _order, _answer: None)

    together(*[lambda: dispatch.dispatch(provider)] * 2)

    assert set(bought(sandbox).values()) == {2}


def test_without_its_lock_the_condition_alone_still_holds(sandbox, provider, monkeypatch):
    """`SKIP LOCKED` spares waiting; that each order is claimed once does not rest on it."""
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
            "cancel": (Status.CANCELLED, CHARGE, None),
            "send_again": (Status.PENDING, 0, None),
            "mark_sent_as": (Status.PROCESSING, 0, "77"),
        }
        assert (order.status, order.refunded, order.external_id) == settled_as[action]
        assert open_alerts() == {("order_answered_late", order.subject)}
    else:
        assert isinstance(settled, ActionRefused)
        assert (order.status, order.refunded) == (Status.PROCESSING, 0)
        assert (sent, order.external_id) == (1, str(upstream.id))
        assert open_alerts() == set()
    assert breaches() == []
