"""Two reconcilers at once, and staff beside one: an order is linked, bought and paid back once.

`test_without_its_claim_…` leaves a repeated call without a claim of its own: then staff pay back
what the call is buying. The race is real; the claim, and the lease that goes with it, hold it.
"""

from __future__ import annotations

from threading import Event

import pytest
from django.db.models import QuerySet

from accounts.models import EntryKind, JournalEntry
from catalog.order_types import ServiceType
from catalog.sandbox.misbehaviour import Kind
from orders import book, dispatch, reconciliation, unconfirmed
from orders.cancellations import ActionRefused, cancel_and_refund
from orders.models import Order
from orders.statuses import Status
from tests.books import breaches
from tests.concurrency.together import PATIENCE, together
from tests.factories import ServiceFactory, StaffFactory
from tests.orders.conftest import MENU, open_alerts, waiting
from tests.orders.test_reconciliation import lose, some_time_passes

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def provider(transactional_db, sandbox):
    return begun(sandbox.provider(reconcile_by_ids=True))


@pytest.fixture
def rest(transactional_db, sandbox):
    return begun(sandbox.provider(dialect="rest"))


def begun(provider):
    item = MENU[ServiceType.DEFAULT]
    ServiceFactory(provider=provider, external_id=str(item.id), provider_rate=item.rate)
    book.read(provider)
    provider.refresh_from_db()
    return provider


def bought(provider):
    order = waiting(provider)
    dispatch.dispatch(provider)
    return order


def staff_refund(order):
    try:
        cancel_and_refund(
            Order.objects.select_related("wallet").get(pk=order.pk),
            actor=StaffFactory(),
            reason="x",
        )
    except ActionRefused:
        return False
    return True


def refunds(order):
    return JournalEntry.objects.filter(subject=order.subject, kind=EntryKind.REFUND).count()


def test_two_reconcilers_link_an_order_once(sandbox, provider):
    bought(provider)
    order = lose(provider, sandbox)

    results = together(*[lambda: reconciliation.reconcile(provider)] * 2)

    assert sorted(results) == [0, 1]
    assert order.events.filter(changes__status=["unconfirmed", "processing"]).count() == 1
    assert breaches() == []


def test_two_reconcilers_send_an_order_again_once(sandbox, provider):
    bought(provider)
    order = lose(provider, sandbox, Kind.RESET, link="https://instagram.com/lost")
    bought(provider)
    some_time_passes()

    together(*[lambda: reconciliation.reconcile(provider)] * 2)
    together(*[lambda: dispatch.dispatch(provider)] * 2)

    order.refresh_from_db()
    assert order.status == Status.PROCESSING
    assert [taken.link for taken in sandbox.orders].count(order.link) == 1
    assert breaches() == []


def test_two_reconcilers_repeat_a_call_and_buy_once(sandbox, rest):
    order = lose(rest, sandbox, Kind.RESET)

    together(*[lambda: reconciliation.reconcile(rest)] * 2)

    order.refresh_from_db()
    assert [str(taken.id) for taken in sandbox.orders] == [order.external_id]
    assert open_alerts() == set()


@pytest.mark.parametrize("kind", [Kind.LOSE_REPLY, Kind.RESET])
def test_staff_and_a_reconciler_settle_an_order_once(sandbox, provider, kind):
    bought(provider)
    order = lose(provider, sandbox, kind)
    bought(provider)
    some_time_passes()

    together(lambda: reconciliation.reconcile(provider), lambda: staff_refund(order))

    order.refresh_from_db()
    if order.status == Status.CANCELLED:
        # Found after all: linked, and told.
        assert (order.refunded, refunds(order)) == (order.charge, 1)
    else:
        assert order.status == (Status.PROCESSING if kind == Kind.LOSE_REPLY else Status.PENDING)
        assert (order.refunded, refunds(order)) == (0, 0)
    assert breaches() == []


def while_repeating(monkeypatch, order):
    """Staff have the order's page open; they decide while the repeated call is under way."""
    stale = Order.objects.select_related("wallet").get(pk=order.pk)
    staff = StaffFactory()
    calling, decided = Event(), Event()
    real = dispatch.upstream_order

    def slowly(asked):
        if reconciliation_repeats.is_set():
            calling.set()
            assert decided.wait(PATIENCE)
        return real(asked)

    reconciliation_repeats = Event()
    real_repeat = reconciliation._repeat

    def repeat(client, asked):
        reconciliation_repeats.set()
        real_repeat(client, asked)

    monkeypatch.setattr(dispatch, "upstream_order", slowly)
    monkeypatch.setattr(reconciliation, "_repeat", repeat)

    def decide():
        assert calling.wait(PATIENCE)
        try:
            cancel_and_refund(stale, actor=staff, reason="x")
        except ActionRefused:
            return "refused"
        finally:
            decided.set()
        return "paid back"

    return decide


def test_staff_do_not_pay_back_what_a_repeated_call_is_buying(sandbox, rest, monkeypatch):
    order = lose(rest, sandbox, Kind.RESET)
    decide = while_repeating(monkeypatch, order)

    assert together(lambda: reconciliation.reconcile(rest), decide) == [1, "refused"]

    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.PROCESSING, 0)
    assert (len(sandbox.orders), open_alerts()) == (1, set())


def test_without_its_claim_staff_pay_back_what_a_repeated_call_is_buying(
    sandbox, rest, monkeypatch
):
    order = lose(rest, sandbox, Kind.RESET)
    decide = while_repeating(monkeypatch, order)
    real = QuerySet.update
    monkeypatch.setattr(
        QuerySet,
        "update",
        lambda self, **columns: (
            self.count() if set(columns) == {"claim", "lease_until"} else real(self, **columns)
        ),
    )
    monkeypatch.setattr(reconciliation, "uuid4", lambda: order.claim)

    results = together(lambda: reconciliation.reconcile(rest), decide)

    order.refresh_from_db()
    assert results[1] == "paid back"
    # Even so nothing is lost sight of: it is linked, booked as a loss, and in front of staff.
    assert (order.status, len(sandbox.orders)) == (Status.CANCELLED, 1)
    assert order.external_id == str(sandbox.orders[0].id)
    assert open_alerts() == {("order_found_after_refund", order.subject)}
    assert breaches() == []


def test_loss_is_booked_once_by_two_at_once(sandbox, provider):
    order = lose(provider, sandbox)
    staff_refund(order)

    found = [
        lambda: unconfirmed.found_after_refund(
            Order.objects.get(pk=order.pk), "77", by=unconfirmed.JOB
        )
    ]
    results = together(*found * 2)

    assert sorted(results) == [False, True]
    assert JournalEntry.objects.filter(kind=EntryKind.LOSS).count() == 1
    assert breaches() == []
