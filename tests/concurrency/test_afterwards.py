"""Cancels and refills at the same moment as each other, as dispatch and as tracking.

`test_without_the_lock_…` and `test_without_the_constraint_…` take a guard away and see the harm.
What decides a cancel is the lock of the order's row; what decides a refill is the unique
constraint on open ones.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from functools import partial
from threading import Barrier

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import EntryKind, JournalEntry
from catalog.providers import UpstreamState, UpstreamStatus
from orders import cancellations, dispatch, refills, tracking
from orders.cancellations import CancelProblem, CancelRefused
from orders.models import CancelRequest, CancelState, Order, Refill
from orders.moves import by_customer
from orders.refills import RefillProblem, RefillRefused
from orders.statuses import Status
from tests.books import breaches
from tests.concurrency.together import PATIENCE, together
from tests.factories import OrderFactory, ServiceFactory, WalletFactory

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

CHARGE = Decimal("1.30")
CANCELLED = UpstreamStatus(state=UpstreamState.CANCELLED, word="Canceled")
COMPLETED = UpstreamStatus(state=UpstreamState.COMPLETED, word="Completed")


def held():
    """The one order, as a front loads it."""
    return Order.objects.select_related("wallet", "customer").get()


def ask():
    order = held()
    return cancellations.request(order, by=by_customer(order.customer))


def refunds():
    return JournalEntry.objects.filter(kind=EntryKind.REFUND).count()


def problems(results):
    return Counter(
        result.problem if isinstance(result, CancelRefused | RefillRefused) else "done"
        for result in results
    )


@pytest.fixture
def provider(transactional_db, sandbox):
    return sandbox.provider()


# --- cancels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [2, 8])
def test_cancels_at_once_of_a_waiting_order_pay_back_once(transactional_db, at_once):
    OrderFactory()

    results = together(*[ask] * at_once)

    assert problems(results) == {"done": 1, CancelProblem.ENDED: at_once - 1}
    assert (held().status, held().wallet.balance, refunds()) == (Status.CANCELLED, 100, 1)
    assert breaches() == []


@pytest.mark.parametrize("at_once", [2, 8])
def test_cancels_at_once_of_a_running_order_keep_one_request(transactional_db, at_once):
    OrderFactory(sent=True, service=ServiceFactory(cancel=True))

    results = together(*[ask] * at_once)

    assert problems(results) == {"done": 1, CancelProblem.REQUESTED: at_once - 1}
    assert CancelRequest.objects.count() == 1


def test_cancel_against_dispatch_has_one_winner(sandbox, provider):
    service = ServiceFactory(provider=provider, external_id="1076", cancel=True)
    wallet = WalletFactory(funds=13)
    orders = [OrderFactory(service=service, wallet=wallet) for _ in range(10)]

    def cancel_all():
        results = []
        for order in reversed(orders):
            try:
                results.append(cancellations.request(order, by=by_customer(order.customer)))
            except CancelRefused as refused:
                results.append(refused)
        return results

    _accepted, results = together(partial(dispatch.dispatch, provider), cancel_all)

    assert not any(isinstance(result, Exception) for result in results)
    at_once = [order for order in orders if Order.objects.get(pk=order.pk).status == "cancelled"]
    bought = Order.objects.exclude(status=Status.CANCELLED)
    assert {order.status for order in bought} <= {Status.PROCESSING}
    assert len(sandbox.orders) == len(bought) == 10 - len(at_once)
    # Whatever was on its way has a request that is open; what was not, has none.
    assert {request.order for request in CancelRequest.objects.all()} == set(bought)
    wallet.refresh_from_db()
    assert wallet.balance == len(at_once) * CHARGE
    assert refunds() == len(at_once)
    assert breaches() == []


def test_cancel_waits_for_the_dispatchers_claim_and_then_keeps_the_wish(provider, monkeypatch):
    """The claim is made, and not yet committed, when the customer asks."""
    OrderFactory(service=ServiceFactory(provider=provider, cancel=True))
    claimed, real = Barrier(2, timeout=PATIENCE), dispatch.move_all

    def slow(*args, **changes):
        moved = real(*args, **changes)
        claimed.wait()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.3)")
        return moved

    def ask_meanwhile():
        claimed.wait()
        return ask()

    monkeypatch.setattr(dispatch, "move_all", slow)

    orders, kept = together(partial(dispatch.claim, provider, limit=1), ask_meanwhile)

    assert len(orders) == 1
    assert kept.state == CancelState.WAITING
    assert (held().status, refunds()) == (Status.SENDING, 0)


def test_without_the_lock_a_cancel_is_refused_that_should_have_been_kept(provider, monkeypatch):
    """The same moment, read without the lock: the order still looks as if it waited."""
    OrderFactory(service=ServiceFactory(provider=provider, cancel=True))
    claimed, real = Barrier(2, timeout=PATIENCE), dispatch.move_all

    def slow(*args, **changes):
        moved = real(*args, **changes)
        claimed.wait()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.3)")
        return moved

    def ask_meanwhile():
        claimed.wait()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(QuerySet, "select_for_update", lambda self, **_how: self.all())
            return ask()

    monkeypatch.setattr(dispatch, "move_all", slow)

    _orders, kept = together(partial(dispatch.claim, provider, limit=1), ask_meanwhile)

    # The conditional UPDATE still keeps the money safe, but the customer's wish is lost.
    assert kept is None
    assert (held().status, CancelRequest.objects.count(), refunds()) == (Status.SENDING, 0, 0)


def test_cancel_against_completion_has_one_winner(transactional_db):
    OrderFactory(sent=True, service=ServiceFactory(cancel=True))
    tracked = held()

    applied, asked = together(partial(tracking.apply, tracked, COMPLETED), ask)

    assert applied is True
    order = held()
    assert (order.status, order.refunded) == (Status.COMPLETED, 0)
    if isinstance(asked, CancelRefused):
        assert asked.problem is CancelProblem.ENDED
    else:
        assert asked.state == CancelState.WAITING
        cancellations.attend(order.provider)
        assert CancelRequest.objects.get().state == CancelState.REFUSED
    assert breaches() == []


def test_attending_jobs_at_once_ask_once_and_pay_back_once(sandbox, provider):
    service = ServiceFactory(provider=provider, external_id="1076", cancel=True)
    wallet = WalletFactory(funds=13)
    for _ in range(10):
        OrderFactory(service=service, wallet=wallet)
    dispatch.dispatch(provider)
    for order in Order.objects.select_related("customer"):
        cancellations.request(order, by=by_customer(order.customer))

    together(*[partial(cancellations.attend, provider)] * 3)

    asked = [
        external_id
        for call in sandbox.calls
        if call["action"] == "cancel"
        for external_id in call["orders"].split(",")
    ]
    assert Counter(asked) == {str(order.id): 1 for order in sandbox.orders}
    assert set(CancelRequest.objects.values_list("state", flat=True)) == {CancelState.ASKED}


def test_kept_wishes_are_carried_out_once_by_jobs_beside_a_dispatcher(sandbox, provider):
    """Orders that came back unsent, with a wish to cancel them: cancelled, or bought, not both."""
    service = ServiceFactory(provider=provider, external_id="1076", cancel=True)
    wallet = WalletFactory(funds=13)
    for _ in range(10):
        OrderFactory(service=service, wallet=wallet, status=Status.SENDING)
    for order in Order.objects.select_related("customer"):
        cancellations.request(order, by=by_customer(order.customer))
    Order.objects.update(status=Status.PENDING)

    results = together(
        *[partial(cancellations.attend, provider)] * 2, partial(dispatch.dispatch, provider)
    )

    assert not any(isinstance(result, Exception) for result in results)
    cancelled = Order.objects.filter(status=Status.CANCELLED).count()
    assert len(sandbox.orders) == 10 - cancelled
    wallet.refresh_from_db()
    assert wallet.balance == cancelled * CHARGE
    assert breaches() == []


# --- refills -------------------------------------------------------------------------------------


@pytest.fixture
def delivered(transactional_db):
    return OrderFactory(
        status=Status.COMPLETED,
        completed_at=timezone.now(),
        guarantee_days=30,
        external_id="77",
        service=ServiceFactory(refill=True),
    )


def ask_refill():
    order = held()
    return refills.request(order, by=by_customer(order.customer))


@pytest.mark.parametrize("at_once", [2, 8])
def test_refills_at_once_make_one(delivered, at_once):
    results = together(*[ask_refill] * at_once)

    assert problems(results) == {"done": 1, RefillProblem.OPEN: at_once - 1}
    assert Refill.objects.count() == 1


def test_without_the_constraint_two_refills_are_made(delivered, monkeypatch):
    constraint = next(c for c in Refill._meta.constraints if c.name == "refill_one_open")
    both_have_looked, real = Barrier(2, timeout=PATIENCE), refills.refusal

    def looking(order):
        found = real(order)
        both_have_looked.wait()
        return found

    monkeypatch.setattr(refills, "refusal", looking)
    with connection.schema_editor() as editor:
        editor.remove_constraint(Refill, constraint)
    try:
        results = together(*[ask_refill] * 2)

        assert problems(results) == {"done": 2}
    finally:
        Refill.objects.all().delete()
        with connection.schema_editor() as editor:
            editor.add_constraint(Refill, constraint)


def test_attending_jobs_at_once_ask_for_each_refill_once(sandbox, provider):
    service = ServiceFactory(provider=provider, external_id="1076", refill=True)
    wallet = WalletFactory(funds=13)
    for _ in range(6):
        OrderFactory(service=service, wallet=wallet, guarantee_days=30)
    dispatch.dispatch(provider)
    for taken in sandbox.orders:
        sandbox.complete(taken.id)
    Order.objects.update(status=Status.COMPLETED, completed_at=timezone.now())
    for order in Order.objects.select_related("service", "sent_service", "customer"):
        refills.request(order, by=by_customer(order.customer))

    together(*[partial(refills.attend, provider)] * 3)

    asked = Counter(call["order"] for call in sandbox.calls if call["action"] == "refill")
    assert asked == {str(order.id): 1 for order in sandbox.orders}
    assert set(Refill.objects.values_list("state", flat=True)) == {"asked"}
