"""Orders of unknown outcome, settled by proof against the real sandbox: linked once where the
provider has them, sent again once where two proofs say that it has not, and else left to staff."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.clock import from_now
from catalog.order_types import ServiceType
from catalog.sandbox.misbehaviour import Kind
from orders import book, cancellations, dispatch, reconciliation, unconfirmed
from orders.models import (
    CancelRequest,
    Evidence,
    EvidenceKind,
    Order,
    OrderEvent,
    Verdict,
)
from orders.moves import by_staff
from orders.statuses import Status
from tests.factories import ServiceFactory, StaffFactory
from tests.orders.conftest import (
    LINK,
    MENU,
    SPENT,
    WHOLE,
    balance,
    make_due,
    open_alerts,
    sent,
    waiting,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books")]

IDS, BALANCE = EvidenceKind.IDS, EvidenceKind.BALANCE
BOUGHT, NOT_BOUGHT, UNCLEAR = Verdict.BOUGHT, Verdict.NOT_BOUGHT, Verdict.UNCLEAR


@pytest.fixture
def provider(db, sandbox):
    """Panel dialect; its ids may be asked for, its price is known, and its book has begun."""
    provider = sandbox.provider(reconcile_by_ids=True)
    item = MENU[ServiceType.DEFAULT]
    ServiceFactory(provider=provider, external_id=str(item.id), provider_rate=item.rate)
    book.read(provider)
    provider.refresh_from_db()
    return provider


def lose(provider, sandbox, kind=Kind.LOSE_REPLY, **columns):
    """An order whose answer is lost; whether the sandbox took it depends on the kind."""
    order = waiting(provider, **columns)
    sandbox.misbehave("add", kind)
    dispatch.dispatch(provider)
    order.refresh_from_db()
    assert order.status == Status.UNCONFIRMED
    return order


def evidence(order):
    known = unconfirmed.known_of([order])[order.pk]
    return {EvidenceKind(kind): Verdict(each.verdict) for kind, each in known.items()}


def some_time_passes(minutes=15):
    """What happened until now was so much earlier."""
    earlier = timedelta(minutes=minutes)
    for order in Order.objects.all():
        Order.objects.filter(pk=order.pk).update(
            created_at=order.created_at - earlier,
            status_changed_at=order.status_changed_at - earlier,
            sent_at=order.sent_at and order.sent_at - earlier,
            next_check_at=None if order.status == Status.UNCONFIRMED else order.next_check_at,
        )
    for model in (OrderEvent, Evidence, book.BookReading):
        for row in model.objects.all():
            model.objects.filter(pk=row.pk).update(at=row.at - earlier)


def links(sandbox):
    return sorted(order.link for order in sandbox.orders)


# --- found ---------------------------------------------------------------------------------------


def test_lost_order_is_found_among_the_ids_around_its_call_and_linked(sandbox, provider):
    sent(provider, sandbox)
    order = lose(provider, sandbox, link=f"{LINK}/lost")
    sent(provider, sandbox)

    assert reconciliation.reconcile(provider) == 1

    order.refresh_from_db()
    assert (order.status, order.external_id) == (Status.PROCESSING, str(sandbox.orders[1].id))
    assert (order.failure, order.lease_until) == ("", None)
    assert evidence(order)[IDS] == BOUGHT
    assert open_alerts() == set()
    assert balance(order) == SPENT
    event = order.events.filter(kind="moved").last()
    assert (event.job, event.note, event.status) == (
        "reconciliation",
        "evidence: ids",
        (Status.UNCONFIRMED, Status.PROCESSING),
    )
    make_due()
    assert (dispatch.dispatch(provider), len(sandbox.orders)) == (0, 3)


def test_lost_order_is_found_before_anything_was_bought_after_it(sandbox, provider):
    sent(provider, sandbox)
    order = lose(provider, sandbox)

    assert reconciliation.reconcile(provider) == 1

    order.refresh_from_db()
    assert order.external_id == str(sandbox.orders[1].id)


def test_two_lost_orders_of_different_price_are_told_apart(sandbox, provider):
    sent(provider, sandbox)
    small = lose(provider, sandbox, quantity=100, link=f"{LINK}/small")
    large = lose(provider, sandbox, quantity=900, link=f"{LINK}/large")
    sent(provider, sandbox)

    assert reconciliation.reconcile(provider) == 2

    bought = {order.link: str(order.id) for order in sandbox.orders}
    for order in (small, large):
        order.refresh_from_db()
        assert order.external_id == bought[order.link]


def test_two_lost_orders_alike_are_left_to_staff_with_the_ids(sandbox, provider):
    sent(provider, sandbox)
    lost = [lose(provider, sandbox, link=f"{LINK}/{number}") for number in range(2)]
    sent(provider, sandbox)

    assert reconciliation.reconcile(provider) == 0

    ids = [str(order.id) for order in sandbox.orders[1:3]]
    for order in lost:
        told = Evidence.objects.get(order=order, kind=IDS)
        assert (told.verdict, told.details["why"]) == (UNCLEAR, "several")
        assert [candidate["id"] for candidate in told.details["candidates"]] == ids
        assert evidence(order)[BALANCE] == BOUGHT
        assert (balance(order), order.external_id) == (SPENT, None)


def test_one_of_two_alike_was_bought_and_nobody_guesses_which(sandbox, provider):
    sent(provider, sandbox)
    lose(provider, sandbox, link=f"{LINK}/bought")
    lose(provider, sandbox, Kind.RESET, link=f"{LINK}/not")
    sent(provider, sandbox)
    some_time_passes()

    assert reconciliation.reconcile(provider) == 0

    assert {tuple(evidence(order).items()) for order in book.in_doubt(provider)} == {
        ((IDS, UNCLEAR), (BALANCE, UNCLEAR))
    }


def test_bought_and_not_bought_side_by_side_are_told_apart_by_their_price(sandbox, provider):
    sent(provider, sandbox)
    bought = lose(provider, sandbox, quantity=100)
    not_bought = lose(provider, sandbox, Kind.RESET, quantity=900)
    sent(provider, sandbox)
    some_time_passes()

    assert reconciliation.reconcile(provider) == 2

    bought.refresh_from_db()
    not_bought.refresh_from_db()
    assert (bought.status, not_bought.status) == (Status.PROCESSING, Status.PENDING)


def test_order_of_the_provider_whose_price_does_not_fit_is_not_linked(sandbox, provider):
    """Bought by hand at the provider, say, while ours never arrived."""
    from catalog.providers import UpstreamOrder
    from catalog.providers.registry import client_for

    first = sent(provider, sandbox)
    order = lose(provider, sandbox, Kind.RESET)
    client_for(provider).add(
        UpstreamOrder(service=first.service.external_id, fields={"link": LINK, "quantity": "500"})
    )
    sent(provider, sandbox)
    some_time_passes()

    assert reconciliation.reconcile(provider) == 0

    order.refresh_from_db()
    assert (order.status, evidence(order)[IDS]) == (Status.UNCONFIRMED, UNCLEAR)
    assert Evidence.objects.get(kind=IDS).details["candidates"][0]["charge"] == (
        f"{MENU[ServiceType.DEFAULT].rate / 2:f}"
    )


def test_id_that_may_be_of_an_order_that_staff_refunded_is_not_guessed(sandbox, provider):
    sent(provider, sandbox)
    refunded = lose(provider, sandbox, link=f"{LINK}/refunded")
    sandbox.misbehave("status", Kind.ERROR_500)
    reconciliation.reconcile(provider)
    refunded.refresh_from_db()
    cancellations.cancel_and_refund(refunded, actor=StaffFactory(), reason="customer asked")
    order = lose(provider, sandbox, Kind.RESET, link=f"{LINK}/not")
    sent(provider, sandbox)

    assert reconciliation.reconcile(provider) == 0

    assert evidence(order)[IDS] == UNCLEAR


def test_order_found_after_its_refund_is_linked_and_booked_as_a_loss(sandbox, provider):
    sent(provider, sandbox)
    refunded = lose(provider, sandbox, quantity=100)
    sandbox.misbehave("status", Kind.ERROR_500)
    reconciliation.reconcile(provider)
    refunded.refresh_from_db()
    cancellations.cancel_and_refund(refunded, actor=StaffFactory(), reason="customer asked")
    order = lose(provider, sandbox, quantity=900)
    sent(provider, sandbox)

    assert reconciliation.reconcile(provider) == 1

    order.refresh_from_db()
    refunded.refresh_from_db()
    assert order.external_id == str(sandbox.orders[2].id)
    assert (refunded.status, refunded.external_id) == (
        Status.CANCELLED,
        str(sandbox.orders[1].id),
    )
    assert balance(refunded) == WHOLE
    assert open_alerts() == {("order_found_after_refund", refunded.subject)}


# --- certainly not there -------------------------------------------------------------------------


def test_order_that_two_proofs_miss_is_sent_again_once_and_bought_once(sandbox, provider):
    sent(provider, sandbox)
    order = lose(provider, sandbox, Kind.RESET, link=f"{LINK}/lost")
    sent(provider, sandbox)
    some_time_passes()

    assert reconciliation.reconcile(provider) == 1

    order.refresh_from_db()
    assert evidence(order) == {IDS: NOT_BOUGHT, BALANCE: NOT_BOUGHT}
    assert (order.status, order.claim, balance(order)) == (Status.PENDING, None, SPENT)
    assert order.events.last().note == "not bought: ids, balance"
    assert open_alerts() == set()
    assert dispatch.dispatch(provider) == 1
    assert links(sandbox).count(f"{LINK}/lost") == 1


def test_nothing_is_sent_again_before_the_provider_must_have_ended_its_work(sandbox, provider):
    sent(provider, sandbox)
    order = lose(provider, sandbox, Kind.RESET)
    sent(provider, sandbox)

    assert reconciliation.reconcile(provider) == 0

    order.refresh_from_db()
    assert evidence(order) == {IDS: NOT_BOUGHT, BALANCE: NOT_BOUGHT}
    assert order.status == Status.UNCONFIRMED


def test_one_proof_is_not_enough(sandbox, provider):
    provider.reconcile_by_ids = False
    provider.save()
    sent(provider, sandbox)
    order = lose(provider, sandbox, Kind.RESET)
    sent(provider, sandbox)
    some_time_passes()

    assert reconciliation.reconcile(provider) == 0

    order.refresh_from_db()
    assert (order.status, evidence(order)) == (Status.UNCONFIRMED, {BALANCE: NOT_BOUGHT})
    assert open_alerts() == {("order_unconfirmed", order.subject)}


def test_proofs_that_contradict_each_other_are_left_to_staff(sandbox, provider):
    sent(provider, sandbox)
    order = lose(provider, sandbox, Kind.RESET)
    sent(provider, sandbox)
    sandbox.set_balance(sandbox.balance - MENU[ServiceType.DEFAULT].rate)
    some_time_passes()

    assert reconciliation.reconcile(provider) == 0

    order.refresh_from_db()
    assert evidence(order) == {IDS: NOT_BOUGHT, BALANCE: BOUGHT}
    assert order.status == Status.UNCONFIRMED


def test_gap_without_an_end_proves_nothing(sandbox, provider):
    sent(provider, sandbox)
    order = lose(provider, sandbox, Kind.RESET)
    some_time_passes()

    assert reconciliation.reconcile(provider) == 0

    told = Evidence.objects.get(order=order, kind=IDS)
    assert (told.verdict, told.details["why"]) == (UNCLEAR, "open")


def test_gap_without_a_beginning_is_not_searched(sandbox, provider):
    order = lose(provider, sandbox)
    calls = len(sandbox.calls)

    assert reconciliation.reconcile(provider) == 0

    assert Evidence.objects.get(order=order, kind=IDS).details == {"why": "first"}
    assert [call["action"] for call in list(sandbox.calls)[calls:]] == ["balance"]


def test_gap_that_takes_more_than_ten_calls_is_not_searched(sandbox, provider):
    sent(provider, sandbox)
    order = lose(provider, sandbox, Kind.RESET)
    last = sent(provider, sandbox)
    Order.objects.filter(pk=last.pk).update(external_id=str(int(last.external_id) + 1001))
    calls = len(sandbox.calls)

    assert reconciliation.reconcile(provider) == 0

    assert Evidence.objects.get(order=order, kind=IDS).details == {"why": "wide"}
    assert [call["action"] for call in list(sandbox.calls)[calls:]] == ["balance"]


def test_widest_gap_is_searched_with_ten_calls_of_a_hundred_ids(sandbox, provider):
    sent(provider, sandbox)
    lose(provider, sandbox, Kind.RESET)
    calls = len(sandbox.calls)

    with CaptureQueriesContext(connection) as statements:
        reconciliation.reconcile(provider)

    assert len(statements) < 100  # not one for each of the thousand ids

    asked = [call["orders"].split(",") for call in list(sandbox.calls)[calls:] if "orders" in call]
    assert [len(ids) for ids in asked] == [100] * 10


def test_ids_are_asked_for_only_where_staff_allow_it(sandbox, provider):
    provider.reconcile_by_ids = False
    provider.save()
    sent(provider, sandbox)
    lose(provider, sandbox)
    calls = len(sandbox.calls)

    reconciliation.reconcile(provider)

    assert [call["action"] for call in list(sandbox.calls)[calls:]] == ["balance"]


def test_order_that_is_being_bought_now_may_be_what_is_found(sandbox, provider):
    sent(provider, sandbox)
    order = lose(provider, sandbox)
    waiting(provider)
    dispatch.claim(provider, limit=1)

    assert reconciliation.reconcile(provider) == 0

    assert Evidence.objects.get(order=order, kind=IDS).details == {"why": "busy"}


def test_customer_who_wants_it_cancelled_is_paid_back_instead_of_sent_again(sandbox, provider):
    sent(provider, sandbox)
    order = lose(provider, sandbox, Kind.RESET)
    sent(provider, sandbox)
    CancelRequest.objects.create(order=order)
    some_time_passes()

    assert reconciliation.reconcile(provider) == 1

    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.CANCELLED, order.charge)
    assert balance(order) == WHOLE
    assert open_alerts() == set()


# --- when it looks -------------------------------------------------------------------------------


def test_next_look_comes_later_and_later(sandbox, provider):
    order = lose(provider, sandbox)
    assert list(reconciliation.due()) == [order]
    reconciliation.reconcile(provider)
    order.refresh_from_db()
    first = order.next_check_at - order.status_changed_at

    assert list(reconciliation.due()) == []
    assert timedelta(seconds=29) < first < timedelta(seconds=40)
    some_time_passes(minutes=60)
    reconciliation.reconcile(provider)
    order.refresh_from_db()
    assert order.next_check_at - order.status_changed_at > timedelta(minutes=89)
    assert reconciliation._pause(timedelta(days=30)) == timedelta(days=1)


def test_provider_that_does_not_answer_changes_nothing(sandbox, provider):
    sent(provider, sandbox)
    order = lose(provider, sandbox)
    sandbox.stop()

    assert reconciliation.reconcile(provider) == 0

    order.refresh_from_db()
    assert (order.status, balance(order)) == (Status.UNCONFIRMED, SPENT)
    assert evidence(order) == {IDS: UNCLEAR}
    sandbox.start_again()
    some_time_passes(minutes=2)
    assert reconciliation.reconcile(provider) == 1


def test_evidence_found_again_is_no_second_line(sandbox, provider):
    order = lose(provider, sandbox)
    reconciliation.reconcile(provider)
    some_time_passes(minutes=2)
    before = Evidence.objects.get(order=order, kind=BALANCE).at
    events = order.events.count()

    reconciliation.reconcile(provider)

    assert Evidence.objects.get(order=order, kind=BALANCE).at > before
    assert order.events.count() == events


def test_new_attempt_needs_evidence_of_its_own(sandbox, provider):
    sent(provider, sandbox)
    order = lose(provider, sandbox, Kind.RESET)
    sent(provider, sandbox)
    some_time_passes()
    assert reconciliation.reconcile(provider) == 1
    sandbox.misbehave("add", Kind.LOSE_REPLY)
    dispatch.dispatch(provider)
    order.refresh_from_db()

    assert (order.status, evidence(order)) == (Status.UNCONFIRMED, {})


def test_staff_may_settle_it_first(sandbox, provider, monkeypatch):
    """Between the looking and the linking."""
    sent(provider, sandbox)
    order = lose(provider, sandbox)
    real = unconfirmed.link

    def link(found, external_id, *, by, note=""):
        staff = StaffFactory()
        cancellations.cancel_and_refund(
            Order.objects.select_related("wallet").get(pk=found.pk), actor=staff, reason="x"
        )
        real(found, external_id, by=by, note=note)

    monkeypatch.setattr(unconfirmed, "link", link)

    reconciliation.reconcile(provider)

    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.CANCELLED, order.charge)
    # What the provider has after all is linked, and in front of staff.
    assert order.external_id == str(sandbox.orders[1].id)
    assert open_alerts() == {("order_found_after_refund", order.subject)}
    assert balance(order) == WHOLE


def test_call_that_may_be_buying_the_order_keeps_staff_away(sandbox, provider):
    order = lose(provider, sandbox)
    Order.objects.filter(pk=order.pk).update(lease_until=from_now(timedelta(minutes=1)))
    order.refresh_from_db()
    staff = StaffFactory()

    for act in (
        lambda: unconfirmed.mark_sent_as(order, "7", actor=staff, reason="x"),
        lambda: unconfirmed.send_again(order, actor=staff, reason="x"),
        lambda: cancellations.cancel_and_refund(order, actor=staff, reason="x"),
    ):
        with pytest.raises(cancellations.ActionRefused, match="being asked"):
            act()

    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.UNCONFIRMED, 0)


# --- after a refund ------------------------------------------------------------------------------


def test_order_that_was_bought_twice_is_told(sandbox, provider):
    order = sent(provider, sandbox)

    assert not unconfirmed.found_after_refund(order, "77", by=by_staff(StaffFactory()))

    order.refresh_from_db()
    assert order.external_id == str(sandbox.orders[0].id)
    assert open_alerts() == {("order_bought_twice", order.subject)}


def test_loss_is_booked_once(sandbox, provider):
    order = lose(provider, sandbox)
    cancellations.cancel_and_refund(order, actor=StaffFactory(), reason="x")

    first = unconfirmed.found_after_refund(order, "77", by=by_staff(StaffFactory()))
    again = unconfirmed.found_after_refund(order, "77", by=by_staff(StaffFactory()))

    assert (first, again) == (True, False)
    assert open_alerts() == {("order_found_after_refund", order.subject)}
