"""Refills: asked for within the guarantee, followed to their end, or done by staff."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone, translation

from accounts import api_keys
from accounts.clock import from_now
from catalog.models import Provider, RefillBy
from catalog.sandbox.misbehaviour import Kind
from orders import dispatch, refills
from orders.cancellations import ActionRefused
from orders.models import (
    EventKind,
    EventSource,
    Order,
    OrderEvent,
    PublicRefillState,
    Refill,
    RefillState,
)
from orders.moves import by_customer
from orders.refills import RefillNotFound, RefillProblem, RefillRefused
from orders.statuses import Status
from tests.factories import OrderFactory, ServiceFactory, StaffFactory
from tests.orders.conftest import open_alerts

REFILLS = "1076"  # of the sandbox's list: a service with refill
REFILL_TAKES = 600


def finished(provider=None, **columns):
    """A completed order with 30 days of guarantee."""
    values = {
        "status": Status.COMPLETED,
        "completed_at": timezone.now(),
        "guarantee_days": 30,
        "external_id": str(70_000 + Order.objects.count()),
    }
    if "service" not in columns:
        columns["service"] = (provider and provider.services.first()) or ServiceFactory(
            refill=True, **({"provider": provider, "external_id": REFILLS} if provider else {})
        )
    return OrderFactory(**{**values, **columns})


def delivered(provider, sandbox):
    """A completed order that the sandbox knows."""
    service = provider.services.first() or ServiceFactory(
        provider=provider, external_id=REFILLS, refill=True
    )
    order = OrderFactory(service=service, guarantee_days=30)
    dispatch.dispatch(provider)
    order.refresh_from_db()
    sandbox.complete(int(order.external_id))
    Order.objects.filter(pk=order.pk).update(
        status=Status.COMPLETED, completed_at=timezone.now(), remains=0
    )
    order.refresh_from_db()
    return order


def ask(order):
    return refills.request(order, by=by_customer(order.customer))


def refused(order):
    """Why a request is refused; `refusal` and `request` agree."""
    told = refills.refusal(order)
    assert told is not None
    with pytest.raises(RefillRefused) as caught:
        ask(order)
    assert caught.value.problem is told.problem
    return told.problem


def calls(sandbox, action="refill"):
    return [call for call in sandbox.calls if call["action"] == action]


def let_pauses_end():
    Refill.objects.filter(next_check_at__isnull=False).update(
        next_check_at=from_now(timedelta(seconds=-1))
    )
    Provider.objects.update(breaker="closed", failures=0)


def told(order):
    """The order's lines about its refills: who, and the state after it."""
    events = OrderEvent.objects.filter(order=order, kind=EventKind.REFILL)
    return [(event.source, event.changes["refill"][1]) for event in events]


# --- whether it may be asked for -----------------------------------------------------------------


def test_order_without_guarantee_is_not_refilled(db):
    assert refused(finished(guarantee_days=None)) is RefillProblem.NO_GUARANTEE
    assert Refill.objects.count() == OrderEvent.objects.count() == 0


@pytest.mark.parametrize("status", sorted({*Status} - refills.REFILLABLE))
def test_only_a_delivered_order_is_refilled(db, status):
    order = finished(status=status)

    ended = status in (Status.CANCELLED, Status.REFUNDED, Status.FAILED)
    expected = RefillProblem.NOT_DELIVERED if ended else RefillProblem.NOT_FINISHED
    assert refused(order) is expected


@pytest.mark.parametrize("status", sorted(refills.REFILLABLE))
def test_delivered_order_may_be_refilled(db, status):
    order = finished(status=status)

    assert refills.refusal(order) is None
    assert ask(order).state == RefillState.WAITING


def test_guarantee_ends_after_its_days_from_completion_on(db):
    lately = finished(completed_at=timezone.now() - timedelta(days=30) + timedelta(minutes=1))
    over = finished(completed_at=timezone.now() - timedelta(days=30, minutes=1))

    assert refills.refusal(lately) is None
    assert refused(over) is RefillProblem.WINDOW_OVER
    assert refills.refusal(over).until == over.completed_at + timedelta(days=30)


def test_guarantee_of_no_days_has_no_end(db):
    order = finished(guarantee_days=0, completed_at=timezone.now() - timedelta(days=4000))

    assert refills.refusal(order) is None


def test_promise_of_the_order_counts_whatever_the_service_says_now(db):
    order = finished()
    order.service.refill_days, order.service.refill_by = 1, RefillBy.NOBODY
    order.service.save()

    assert ask(order).state == RefillState.WAITING


def test_one_refill_at_a_time(db):
    order = finished()
    first = ask(order)

    assert refused(order) is RefillProblem.OPEN
    refills.settle(first, completed=False, reason="not dropped", actor=StaffFactory())
    assert ask(order).pk != first.pk


def test_unique_constraint_refuses_the_second_of_two_at_once(db, monkeypatch):
    order = finished()
    ask(order)
    monkeypatch.setattr(refills, "refusal", lambda _order: None)

    with pytest.raises(RefillRefused) as caught:
        ask(order)

    assert caught.value.problem is RefillProblem.OPEN
    assert Refill.objects.count() == 1


def test_refusals_of_many_orders_take_one_query(db, django_assert_num_queries):
    orders = [finished(), finished(), finished(guarantee_days=None)]
    ask(orders[0])

    with django_assert_num_queries(1):
        found = refills.refusals(orders)

    assert {pk: refusal.problem for pk, refusal in found.items()} == {
        orders[0].pk: RefillProblem.OPEN,
        orders[2].pk: RefillProblem.NO_GUARANTEE,
    }


def test_each_of_many_stands_for_itself(db):
    orders = [finished(guarantee_days=None), finished()]

    made = refills.request_each(orders, by=by_customer(orders[0].customer))

    assert made[orders[0].pk].problem is RefillProblem.NO_GUARANTEE
    assert made[orders[1].pk] == Refill.objects.get()


def test_request_is_told_in_the_history_with_its_key(db):
    order = finished()
    key, _text = api_keys.issue(order.customer, name="program", currency="USD")

    refill = refills.request(order, by=by_customer(order.customer, key))

    event = OrderEvent.objects.get(kind=EventKind.REFILL)
    assert (event.source, event.api_key, event.changes) == (
        EventSource.API,
        key,
        {"refill": [None, "waiting"]},
    )
    assert (refill.api_key, refill.public_state) == (key, PublicRefillState.PENDING)


@pytest.mark.parametrize(
    ("service", "order"),
    [
        ({"refill_by": RefillBy.STAFF, "refill": True}, {}),
        ({"refill_by": RefillBy.STAFF, "refill": False}, {}),
        ({"refill": False}, {}),
        ({"refill": True}, {"external_id": None}),
    ],
)
def test_what_no_provider_could_be_asked_for_is_staffs(db, service, order):
    refill = ask(finished(service=ServiceFactory(**service), **order))

    assert (refill.state, refill.public_state) == (RefillState.MANUAL, PublicRefillState.PENDING)
    assert open_alerts() == {("refill_manual", f"refill:{refill.pk}")}
    assert refills.due().count() == 0


def test_only_the_customers_own_refills_are_found(db, django_assert_num_queries):
    mine, other = ask(finished()), ask(finished())
    customer = mine.order.customer

    assert refills.find(customer, str(mine.pk)) == mine
    for unknown in (str(other.pk), "0", "-1", "x", "", "9" * 30, "²"):
        with pytest.raises(RefillNotFound):
            refills.find(customer, unknown)
    with django_assert_num_queries(1):
        found = refills.find_many(customer, [str(mine.pk), str(other.pk), "x"])
    assert found == {str(mine.pk): mine}


# --- asked of the provider -----------------------------------------------------------------------


def test_refill_is_asked_for_and_followed_to_its_end(provider, sandbox):
    order = delivered(provider, sandbox)
    refill = ask(order)

    refills.attend(provider)

    assert calls(sandbox) == [{"action": "refill", "order": order.external_id}]
    refill.refresh_from_db()
    assert (refill.state, bool(refill.external_id)) == (RefillState.ASKED, True)
    refills.attend(provider)
    assert calls(sandbox, "refill_status") == []

    let_pauses_end()
    refills.attend(provider)
    refill.refresh_from_db()
    assert refill.state == RefillState.ASKED

    sandbox.advance(REFILL_TAKES + 1)
    let_pauses_end()
    refills.attend(provider)
    refill.refresh_from_db()
    assert (refill.state, refill.public_state) == (
        RefillState.COMPLETED,
        PublicRefillState.COMPLETED,
    )
    assert refill.settled_at is not None
    assert len(calls(sandbox)) == 1
    assert told(order) == [
        (EventSource.CUSTOMER, "waiting"),
        (EventSource.JOB, "asked"),
        (EventSource.JOB, "completed"),
    ]
    assert refills.refusal(order) is None
    order.refresh_from_db()
    assert order.status == Status.COMPLETED


def test_clear_no_rejects_it_in_our_words(provider, sandbox):
    refill = ask(delivered(provider, sandbox))
    sandbox.misbehave("refill", Kind.REFUSE, text="SMMKing says: not dropped enough")

    refills.attend(provider)

    refill.refresh_from_db()
    assert (refill.state, refill.public_state) == (
        RefillState.REJECTED,
        PublicRefillState.REJECTED,
    )
    assert refill.failure == "SMMKing says: not dropped enough"
    assert refill.reason == refill.shown_reason == refills.DECLINED
    assert open_alerts() == set()
    assert refills.refusal(refill.order) is None


@pytest.mark.parametrize("text", ["Invalid API key", "Not enough funds", "Incorrect request"])
def test_no_to_us_is_no_answer_about_the_order(provider, sandbox, text):
    refill = ask(delivered(provider, sandbox))
    sandbox.misbehave("refill", Kind.REFUSE, text=text)

    refills.attend(provider)

    refill.refresh_from_db()
    assert (refill.state, refill.failure) == (RefillState.MANUAL, text)
    assert ("refill_manual", f"refill:{refill.pk}") in open_alerts()


def test_lost_reply_is_asked_again_after_a_pause_and_a_later_no_goes_to_staff(provider, sandbox):
    refill = ask(delivered(provider, sandbox))
    sandbox.misbehave("refill", Kind.LOSE_REPLY)
    refills.attend(provider)
    refills.attend(provider)
    refill.refresh_from_db()
    assert (refill.state, refill.attempts, len(calls(sandbox))) == (RefillState.WAITING, 1, 1)

    let_pauses_end()
    refills.attend(provider)

    # The sandbox took the first and now refuses a second.
    refill.refresh_from_db()
    assert (refill.state, refill.attempts, len(calls(sandbox))) == (RefillState.MANUAL, 2, 2)
    assert refill.failure.startswith("Refused after a lost reply")
    assert ("refill_manual", f"refill:{refill.pk}") in open_alerts()


def test_provider_that_never_answers_is_asked_a_few_times_and_then_staff(provider, sandbox):
    refill = ask(delivered(provider, sandbox))
    sandbox.misbehave("refill", Kind.HTML, times=9)
    for _ in range(refills.MOST_ATTEMPTS + 2):
        refills.attend(provider)
        let_pauses_end()

    refill.refresh_from_db()
    assert (refill.state, len(calls(sandbox))) == (RefillState.MANUAL, refills.MOST_ATTEMPTS)


def test_provider_out_of_reach_costs_no_attempt(provider, sandbox):
    refill = ask(delivered(provider, sandbox))
    sandbox.stop()

    refills.attend(provider)

    refill.refresh_from_db()
    assert (refill.state, refill.attempts) == (RefillState.WAITING, 0)
    assert refills.due().count() == 0
    sandbox.start_again()
    let_pauses_end()
    refills.attend(provider)
    refill.refresh_from_db()
    assert (refill.state, refill.attempts) == (RefillState.ASKED, 1)


def test_yes_without_an_id_is_staffs_after_a_while(provider, sandbox):
    refill = ask(delivered(provider, sandbox))
    sandbox.answer("refill", {"status": "Success"})
    refills.attend(provider)
    refill.refresh_from_db()
    assert (refill.state, refill.external_id) == (RefillState.ASKED, "")
    assert refills.due().count() == 0
    soonest = timezone.now() + refills.UNTRACKED - timedelta(minutes=1)
    assert refill.next_check_at > soonest

    let_pauses_end()
    refills.attend(provider)

    refill.refresh_from_db()
    assert refill.state == RefillState.MANUAL
    assert calls(sandbox, "refill_status") == []


def test_refill_is_claimed_before_the_call(provider, sandbox, monkeypatch):
    ask(delivered(provider, sandbox))
    seen = []

    class Watching:
        def refill(self, external_id):
            seen.append(Refill.objects.get().attempts)
            refills.attend(provider)  # another job, meanwhile
            return "1"

    monkeypatch.setattr(refills, "guarded", lambda _provider: Watching())

    refills.attend(provider)

    assert seen == [1]


def test_fault_of_our_own_loses_no_refill(provider, sandbox, monkeypatch):
    refill = ask(delivered(provider, sandbox))

    class Broken:
        def refill(self, external_id):
            raise ZeroDivisionError

    monkeypatch.setattr(refills, "guarded", lambda _provider: Broken())

    refills.attend(provider)

    refill.refresh_from_db()
    assert (refill.state, refill.failure) == (
        RefillState.WAITING,
        "ZeroDivisionError while asking.",
    )


def test_refill_of_an_order_that_was_paid_back_is_not_asked_for(provider, sandbox):
    refill = ask(delivered(provider, sandbox))
    Order.objects.update(status=Status.REFUNDED)

    refills.attend(provider)

    refill.refresh_from_db()
    assert (refill.state, refill.reason) == (RefillState.REJECTED, refills.PAID_BACK)
    assert calls(sandbox) == []


# --- followed ------------------------------------------------------------------------------------


def asked(provider, sandbox, count=1):
    """Refills that the sandbox has, due to be asked about."""
    made = [ask(delivered(provider, sandbox)) for _ in range(count)]
    refills.attend(provider)
    let_pauses_end()
    for refill in made:
        refill.refresh_from_db()
        assert refill.state == RefillState.ASKED
    return made


def test_refills_are_followed_in_one_call(provider, sandbox):
    asked(provider, sandbox, count=3)

    refills.attend(provider)

    (call,) = calls(sandbox, "refill_status")
    assert len(call["refills"].split(",")) == 3


def test_rejected_refill_says_why_in_our_words(provider, sandbox):
    (refill,) = asked(provider, sandbox)
    sandbox.answer("refill_status", {"status": "Rejected", "reason": "your panel is too cheap"})

    refills.attend(provider)

    refill.refresh_from_db()
    assert (refill.state, refill.reason, refill.failure) == (
        RefillState.REJECTED,
        refills.NOT_DONE,
        "your panel is too cheap",
    )


def test_unknown_word_changes_nothing_and_is_told(provider, sandbox):
    (refill,) = asked(provider, sandbox)
    sandbox.answer("refill_status", {"status": "Marinating"})

    refills.attend(provider)

    refill.refresh_from_db()
    assert refill.state == RefillState.ASKED
    assert open_alerts() == {("refill_status_unknown", f"refill:{refill.pk}")}


def test_unusable_answer_changes_nothing_and_is_told_until_it_is_usable(provider, sandbox):
    (refill,) = asked(provider, sandbox)
    subject = f"provider:{provider.pk}"
    sandbox.misbehave("refill_status", Kind.HTML)
    refills.attend(provider)
    refill.refresh_from_db()
    assert (refill.state, open_alerts()) == (
        RefillState.ASKED,
        {("refill_status_failed", subject)},
    )

    let_pauses_end()
    refills.attend(provider)

    assert open_alerts() == set()


def test_refill_left_open_for_too_long_is_staffs(provider, sandbox):
    (refill,) = asked(provider, sandbox)
    Refill.objects.update(created_at=timezone.now() - refills.LONGEST - timedelta(minutes=1))

    refills.attend(provider)

    refill.refresh_from_db()
    assert refill.state == RefillState.MANUAL


def test_late_completion_does_not_reopen_what_staff_settled(provider, sandbox, monkeypatch):
    (refill,) = asked(provider, sandbox)
    sandbox.advance(REFILL_TAKES + 1)
    real = refills._claim_asked

    def claimed(its_provider):
        found = real(its_provider)
        if found:
            held = Refill.objects.get()
            refills.settle(held, completed=False, reason="not dropped", actor=StaffFactory())
        return found

    monkeypatch.setattr(refills, "_claim_asked", claimed)

    refills.attend(provider)

    refill.refresh_from_db()
    assert (refill.state, refill.reason) == (RefillState.REJECTED, "not dropped")


# --- staff ---------------------------------------------------------------------------------------


@pytest.fixture
def manual(db):
    return ask(finished(service=ServiceFactory(refill_by=RefillBy.STAFF)))


def test_staff_complete_a_refill(manual):
    staff = StaffFactory()

    refills.settle(manual, completed=True, reason="done by hand", actor=staff)

    manual.refresh_from_db()
    assert (manual.state, manual.settled_by, manual.reason) == (RefillState.COMPLETED, staff, "")
    assert manual.settled_at is not None
    assert open_alerts() == set()
    event = OrderEvent.objects.latest("pk")
    assert (event.source, event.actor, event.note) == (EventSource.STAFF, staff, "done by hand")


def test_staff_reject_a_refill_with_a_reason_for_the_customer(manual):
    refills.settle(manual, completed=False, reason=" nothing has dropped ", actor=StaffFactory())

    manual.refresh_from_db()
    assert (manual.state, manual.reason) == (RefillState.REJECTED, "nothing has dropped")


def test_staff_do_not_reject_without_a_reason(manual):
    with pytest.raises(ActionRefused):
        refills.settle(manual, completed=False, reason=" ", actor=StaffFactory())

    manual.refresh_from_db()
    assert manual.state == RefillState.MANUAL


def test_settled_refill_stays_as_it_ended(manual):
    held = Refill.objects.get()
    refills.settle(manual, completed=True, reason="x", actor=StaffFactory())

    for stale in (held, manual):
        with pytest.raises(ActionRefused):
            refills.settle(stale, completed=False, reason="x", actor=StaffFactory())

    held.refresh_from_db()
    assert held.state == RefillState.COMPLETED


def test_reason_of_ours_is_shown_in_the_readers_language_and_staffs_as_typed(db):
    with translation.override("fr"):
        assert Refill(reason="rien n'est tombé").shown_reason == "rien n'est tombé"
        assert Refill(reason="").shown_reason == ""
