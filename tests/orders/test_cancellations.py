"""Cancelling: at once, or asked of the provider and paid back when it says so."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from accounts import api_keys
from accounts.clock import from_now
from accounts.models import EntryKind, JournalEntry
from catalog.sandbox.misbehaviour import Kind
from orders import cancellations, dispatch, dripfeed, tracking
from orders.cancellations import ActionRefused, CancelProblem, CancelRefused
from orders.models import (
    CancelRequest,
    CancelState,
    DripFeed,
    EventKind,
    EventSource,
    Order,
    OrderEvent,
    SeriesState,
    Subscription,
)
from orders.moves import by_customer
from orders.statuses import Status
from tests.factories import OrderFactory, ServiceFactory, StaffFactory
from tests.orders.conftest import SPENT, WHOLE, balance, make_due, open_alerts
from tests.orders.test_subscriptions import subscribed

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books")]

CANCELS = "1076"  # of the sandbox's list: a service that takes orders back
KEEPS = "1151"  # one that does not


def bought(provider, *, external_id=CANCELS, **columns):
    """An order that the sandbox has; as its list says, `service.cancel` may differ from there."""
    service = provider.services.filter(external_id=external_id).first() or ServiceFactory(
        provider=provider, external_id=external_id, cancel=True
    )
    order = OrderFactory(service=service, **columns)
    dispatch.dispatch(provider)
    order.refresh_from_db()
    assert order.status == Status.PROCESSING
    return order


def ask(order):
    return cancellations.request(order, by=by_customer(order.customer))


def refused(order):
    """Why a request is refused; `refusal` and `request` agree."""
    told = cancellations.refusal(order)
    assert told is not None
    with pytest.raises(CancelRefused) as caught:
        ask(order)
    assert caught.value.problem is told.problem
    return told.problem


def calls(sandbox):
    return [call for call in sandbox.calls if call["action"] == "cancel"]


def let_pauses_end():
    CancelRequest.objects.update(next_try_at=from_now(timedelta(seconds=-1)))


def told(order):
    """The order's lines about cancelling: who, and the state after it."""
    events = OrderEvent.objects.filter(order=order, kind=EventKind.CANCEL)
    return [(event.source, event.changes["cancel"][1]) for event in events]


# --- at once -------------------------------------------------------------------------------------


def test_order_that_waits_is_cancelled_and_paid_back_at_once(order, sandbox, provider):
    assert ask(order) is None

    assert (order.status, order.refunded, order.is_final) == (
        Status.CANCELLED,
        Decimal("1.30"),
        True,
    )
    assert order.completed_at is not None
    assert balance(order) == WHOLE
    assert CancelRequest.objects.count() == 0
    event = OrderEvent.objects.get(order=order)
    assert (event.source, event.actor, event.status) == (
        EventSource.CUSTOMER,
        order.customer,
        ("pending", "cancelled"),
    )
    assert dispatch.dispatch(provider) == 0
    assert sandbox.orders == []


def test_order_that_ended_cannot_be_cancelled(order):
    ask(order)

    assert refused(order) is CancelProblem.ENDED
    assert JournalEntry.objects.filter(kind=EntryKind.REFUND).count() == 1


@pytest.mark.parametrize("status", [Status.SENDING, Status.UNCONFIRMED])
def test_wish_is_kept_while_an_order_is_on_its_way(order, provider, sandbox, status):
    Order.objects.update(status=status)

    kept = ask(order)
    cancellations.attend(provider)

    assert (kept.state, cancellations.due().count()) == (CancelState.WAITING, 0)
    assert balance(order) == SPENT
    assert calls(sandbox) == []


@pytest.mark.parametrize("status", [Status.SENDING, Status.UNCONFIRMED])
def test_kept_wish_ends_the_order_that_comes_back_unsent(order, provider, status):
    Order.objects.update(status=status)
    ask(order)
    Order.objects.update(status=Status.PENDING)

    assert cancellations.due().count() == 1
    cancellations.attend(provider)

    order.refresh_from_db()
    assert (order.status, balance(order)) == (Status.CANCELLED, WHOLE)
    assert order.cancel_request.state == CancelState.DONE
    assert told(order) == [(EventSource.CUSTOMER, "waiting"), (EventSource.JOB, "done")]


def test_customer_may_cancel_the_order_that_came_back_before_the_job_does(order):
    Order.objects.update(status=Status.SENDING)
    ask(order)
    Order.objects.update(status=Status.PENDING)
    order.refresh_from_db()

    assert ask(order) is None

    assert (order.status, balance(order)) == (Status.CANCELLED, WHOLE)
    assert CancelRequest.objects.get().state == CancelState.DONE


def test_kept_wish_is_asked_of_the_provider_that_took_the_order(order, provider, sandbox):
    provider.services.update(cancel=True)
    Order.objects.update(status=Status.SENDING)
    ask(order)
    Order.objects.update(status=Status.PENDING)
    dispatch.claim(provider, limit=1)
    Order.objects.update(status=Status.PROCESSING, external_id="7", claim=None)

    cancellations.attend(provider)

    assert calls(sandbox) == [{"action": "cancel", "orders": "7"}]


def test_kept_wish_is_refused_where_the_service_takes_nothing_back(order, provider, sandbox):
    Order.objects.update(status=Status.SENDING)
    ask(order)
    Order.objects.update(status=Status.PROCESSING, external_id="7")

    cancellations.attend(provider)

    assert CancelRequest.objects.get().state == CancelState.REFUSED
    assert calls(sandbox) == []


# --- asked of the provider -----------------------------------------------------------------------


def test_running_order_is_asked_back_and_paid_back_when_the_provider_says_so(provider, sandbox):
    order = bought(provider)

    kept = ask(order)

    assert kept.state == CancelState.WAITING
    assert balance(order) == SPENT
    cancellations.attend(provider)
    assert calls(sandbox) == [{"action": "cancel", "orders": order.external_id}]
    kept.refresh_from_db()
    assert (kept.state, kept.settled_at) == (CancelState.ASKED, None)
    assert balance(order) == SPENT

    sandbox.advance(61)
    make_due()
    tracking.poll(provider)
    order.refresh_from_db()
    assert (order.status, balance(order)) == (Status.CANCELLED, WHOLE)

    assert cancellations.due().count() == 1
    cancellations.attend(provider)
    kept.refresh_from_db()
    assert kept.state == CancelState.DONE
    assert kept.settled_at is not None
    assert cancellations.due().count() == 0
    assert len(calls(sandbox)) == 1
    assert told(order) == [
        (EventSource.CUSTOMER, "waiting"),
        (EventSource.JOB, "asked"),
        (EventSource.JOB, "done"),
    ]


def test_request_made_with_a_key_names_it_in_the_history(provider):
    order = bought(provider)
    key, _text = api_keys.issue(order.customer, name="program", currency="USD")

    cancellations.request(order, by=by_customer(order.customer, key))

    event = OrderEvent.objects.get(kind=EventKind.CANCEL)
    assert (event.source, event.api_key) == (EventSource.API, key)


def test_clear_no_closes_the_request_and_the_order_goes_on(provider):
    order = bought(provider, external_id=KEEPS)
    kept = ask(order)

    cancellations.attend(provider)

    kept.refresh_from_db()
    assert (kept.state, kept.failure) == (CancelState.REFUSED, "Order cannot be canceled")
    order.refresh_from_db()
    assert (order.status, balance(order)) == (Status.PROCESSING, SPENT)
    assert told(order) == [(EventSource.CUSTOMER, "waiting"), (EventSource.JOB, "refused")]
    assert refused(order) is CancelProblem.REFUSED
    assert open_alerts() == set()


def test_service_that_takes_nothing_back_is_not_asked(provider, sandbox):
    order = bought(provider)
    provider.services.update(cancel=False)
    order.service.refresh_from_db()

    assert refused(order) is CancelProblem.NOT_OFFERED
    assert CancelRequest.objects.count() == OrderEvent.objects.filter(kind="cancel").count() == 0


def test_substitute_that_delivers_decides_whether_it_takes_back(provider):
    order = bought(provider)
    order.sent_service = ServiceFactory(cancel=False)
    order.save()

    assert refused(order) is CancelProblem.NOT_OFFERED


def test_second_request_is_refused_while_one_is_open(provider):
    order = bought(provider)
    ask(order)

    assert refused(order) is CancelProblem.REQUESTED
    cancellations.attend(provider)
    assert refused(order) is CancelProblem.REQUESTED


def test_request_ends_as_refused_where_the_order_was_completed_all_the_same(provider, sandbox):
    order = bought(provider)
    kept = ask(order)
    cancellations.attend(provider)
    Order.objects.update(status=Status.COMPLETED)

    cancellations.attend(provider)

    kept.refresh_from_db()
    assert kept.state == CancelState.REFUSED
    assert len(calls(sandbox)) == 1


def test_requests_are_asked_in_one_call_and_each_has_its_own_answer(provider, sandbox):
    kept = [ask(bought(provider)), ask(bought(provider, external_id=KEEPS)), ask(bought(provider))]

    cancellations.attend(provider)

    assert len(calls(sandbox)) == 1
    for request in kept:
        request.refresh_from_db()
    assert [request.state for request in kept] == [
        CancelState.ASKED,
        CancelState.REFUSED,
        CancelState.ASKED,
    ]


def test_requests_are_claimed_before_the_call(provider, sandbox, monkeypatch):
    ask(bought(provider))
    seen = []

    class Watching:
        def cancel(self, external_ids):
            seen.append((list(external_ids), CancelRequest.objects.get().attempts))
            cancellations.attend(provider)  # another job, meanwhile
            return {}

    monkeypatch.setattr(cancellations, "guarded", lambda _provider: Watching())

    cancellations.attend(provider)

    assert [attempts for _ids, attempts in seen] == [1]


# --- replies that are lost, and calls that are not made -------------------------------------------


def test_lost_reply_is_asked_again_after_a_pause(provider, sandbox):
    kept = ask(bought(provider))
    sandbox.misbehave("cancel", Kind.LOSE_REPLY)
    cancellations.attend(provider)
    cancellations.attend(provider)
    assert len(calls(sandbox)) == 1
    kept.refresh_from_db()
    assert (kept.state, kept.attempts) == (CancelState.WAITING, 1)

    let_pauses_end()
    cancellations.attend(provider)

    kept.refresh_from_db()
    # "Cancel already requested", says the provider: it holds.
    assert (kept.state, len(calls(sandbox))) == (CancelState.ASKED, 2)


def test_no_after_a_lost_reply_leaves_it_to_the_orders_own_end(provider, sandbox):
    order = bought(provider)
    kept = ask(order)
    sandbox.misbehave("cancel", Kind.LOSE_REPLY)
    cancellations.attend(provider)
    let_pauses_end()
    no = {"order": order.external_id, "cancel": {"error": "Order cannot be canceled"}}
    sandbox.answer("cancel", [no])

    cancellations.attend(provider)

    kept.refresh_from_db()
    assert (kept.state, kept.failure) == (
        CancelState.ASKED,
        "After a lost reply: Order cannot be canceled",
    )


def test_staff_are_told_when_the_provider_never_answers(provider, sandbox):
    order = bought(provider)
    kept = ask(order)
    for _ in range(cancellations.MOST_ATTEMPTS):
        sandbox.misbehave("cancel", Kind.HTML)
        let_pauses_end()
        provider.breaker = "closed"
        type(provider).objects.update(breaker="closed", failures=0)
        cancellations.attend(provider)
    let_pauses_end()
    cancellations.attend(provider)

    kept.refresh_from_db()
    assert kept.state == CancelState.ASKED
    assert len(calls(sandbox)) == cancellations.MOST_ATTEMPTS
    assert ("cancel_unanswered", order.subject) in open_alerts()

    Order.objects.update(status=Status.COMPLETED)
    cancellations.attend(provider)
    assert ("cancel_unanswered", order.subject) not in open_alerts()


def test_order_that_the_answer_lacks_is_asked_again(provider, sandbox):
    order, other = bought(provider), bought(provider)
    kept, heard = ask(order), ask(other)
    sandbox.answer("cancel", [{"order": other.external_id, "cancel": 1}])

    cancellations.attend(provider)

    kept.refresh_from_db()
    heard.refresh_from_db()
    assert (kept.state, heard.state) == (CancelState.WAITING, CancelState.ASKED)
    assert kept.failure


def test_provider_out_of_reach_costs_no_attempt(provider, sandbox):
    kept = ask(bought(provider))
    sandbox.stop()

    cancellations.attend(provider)

    kept.refresh_from_db()
    assert (kept.state, kept.attempts) == (CancelState.WAITING, 0)
    assert cancellations.due().count() == 0
    sandbox.start_again()
    let_pauses_end()
    cancellations.attend(provider)
    kept.refresh_from_db()
    assert (kept.state, kept.attempts) == (CancelState.ASKED, 1)


@pytest.mark.parametrize("text", ["Invalid API key", "Incorrect request"])
def test_no_to_us_is_no_answer_about_the_order(provider, sandbox, text):
    kept = ask(bought(provider))
    sandbox.misbehave("cancel", Kind.REFUSE, text=text)

    cancellations.attend(provider)

    kept.refresh_from_db()
    assert (kept.state, kept.failure) == (CancelState.WAITING, text)


def test_fault_of_our_own_loses_no_request(provider, monkeypatch):
    kept = ask(bought(provider))

    class Broken:
        def cancel(self, external_ids):
            raise ZeroDivisionError

    monkeypatch.setattr(cancellations, "guarded", lambda _provider: Broken())

    cancellations.attend(provider)

    kept.refresh_from_db()
    assert (kept.state, kept.failure) == (
        CancelState.WAITING,
        "ZeroDivisionError while asking.",
    )


# --- series --------------------------------------------------------------------------------------


@pytest.fixture
def drip(provider):
    """Two runs of 500, none begun."""
    service = ServiceFactory(provider=provider, external_id=CANCELS, dripfeed=True)
    order = OrderFactory(service=service, runs=2, interval=10, send_after=None)
    dripfeed.open(order)
    return order


def test_dripfeed_that_has_not_begun_is_stopped_and_paid_back(drip):
    assert ask(drip) is None

    assert (drip.status, balance(drip)) == (Status.CANCELLED, WHOLE)
    assert DripFeed.objects.get().state == SeriesState.ENDED
    assert refused(drip) is CancelProblem.ENDED


def test_dripfeed_under_way_is_stopped_once(drip, provider):
    dripfeed.run_due()
    dispatch.dispatch(provider)
    drip.refresh_from_db()

    assert ask(drip) is None

    assert (drip.is_final, DripFeed.objects.get().state) == (False, SeriesState.STOPPING)
    assert drip.refunded == Decimal("0.65")
    assert refused(drip) is CancelProblem.REQUESTED


def test_staff_do_not_cancel_a_dripfeed_beside_its_schedule(drip):
    with pytest.raises(ActionRefused):
        cancellations.cancel_and_refund(drip, actor=StaffFactory(), reason="x")

    drip.refresh_from_db()
    assert (drip.status, DripFeed.objects.get().state) == (Status.PENDING, SeriesState.ACTIVE)


def test_subscription_that_was_not_sent_is_paid_back_at_once():
    order = subscribed(status=Status.PENDING, external_id=None)

    assert ask(order) is None

    assert (order.status, balance(order)) == (Status.CANCELLED, WHOLE)
    assert Subscription.objects.get().state == SeriesState.ENDED


def test_subscription_under_way_is_asked_back():
    order = subscribed()

    kept = ask(order)

    assert (kept.state, order.status) == (CancelState.WAITING, Status.IN_PROGRESS)
    assert Subscription.objects.get().state == SeriesState.STOPPING
    assert refused(order) is CancelProblem.REQUESTED
