"""What staff can do with an order that is stuck, and what they cannot."""

from __future__ import annotations

from decimal import Decimal
from uuid import uuid4

import pytest
from django_q.models import OrmQ

from accounts.alerts import alert
from accounts.models import EntryKind, JournalEntry
from orders import dispatch
from orders.cancellations import ActionRefused, cancel_and_refund
from orders.models import Order
from orders.moves import move
from orders.statuses import MOVES, TRACKED, Status
from orders.unconfirmed import mark_sent_as, send_again
from tests.books import breaches
from tests.factories import OrderFactory, StaffFactory
from tests.orders.conftest import make_due, open_alerts, sent

pytestmark = pytest.mark.django_db

WHOLE = Decimal(100)


@pytest.fixture(autouse=True)
def _books_add_up():
    yield
    assert breaches() == []


@pytest.fixture
def staff():
    return StaffFactory()


@pytest.fixture
def lost(order):
    """An order whose outcome is not known, and of which staff were told."""
    Order.objects.update(status=Status.UNCONFIRMED, claim=uuid4())
    alert("order_unconfirmed", subject=order.subject, message="It may have been bought.")
    order.refresh_from_db()
    return order


def in_status(status):
    return OrderFactory(status=status, external_id="8" if status in TRACKED else None)


# --- cancel and refund ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", [Status.PENDING, Status.UNCONFIRMED, Status.PROCESSING, Status.IN_PROGRESS]
)
def test_cancelling_pays_back_the_charge_and_says_who_and_why(staff, status):
    order = in_status(status)

    cancel_and_refund(order, actor=staff, reason="provider is gone")

    stored = Order.objects.get()
    assert (stored.status, stored.refunded) == (Status.CANCELLED, stored.charge)
    assert stored.completed_at is not None
    order.wallet.refresh_from_db()
    assert order.wallet.balance == WHOLE
    assert JournalEntry.objects.filter(kind=EntryKind.REFUND).values_list(
        "actor", "reason"
    ).get() == (staff.pk, "provider is gone")


def test_cancelling_an_unconfirmed_order_settles_its_alert(staff, lost):
    cancel_and_refund(lost, actor=staff, reason="not found at the provider")

    assert open_alerts() == set()


@pytest.mark.parametrize("status", sorted(s for s in Status if Status.CANCELLED not in MOVES[s]))
def test_cancelling_is_refused_while_sending_and_after_the_end(staff, status):
    order = in_status(status)

    with pytest.raises(ActionRefused, match=r"\w+"):
        cancel_and_refund(order, actor=staff, reason="x")

    assert Order.objects.values_list("status", "refunded").get() == (status, 0)


def test_cancelling_is_refused_when_the_order_moved_meanwhile(staff, order):
    move(Order.objects.get(), Status.SENDING)

    with pytest.raises(ActionRefused):
        cancel_and_refund(order, actor=staff, reason="x")

    assert Order.objects.values_list("status", "refunded").get() == (Status.SENDING, 0)


def test_cancelling_twice_pays_once(staff, order):
    again = Order.objects.select_related("wallet").get()
    cancel_and_refund(order, actor=staff, reason="x")

    with pytest.raises(ActionRefused):
        cancel_and_refund(again, actor=staff, reason="x")
    with pytest.raises(ActionRefused):
        cancel_and_refund(order, actor=staff, reason="x")

    assert JournalEntry.objects.filter(kind=EntryKind.REFUND).count() == 1


# --- it was sent, as … ---------------------------------------------------------------------------


def test_order_found_at_the_provider_is_linked_and_followed(sandbox, provider, staff, lost):
    mark_sent_as(lost, " 500123 ", actor=staff, reason="found by its link")

    stored = Order.objects.get()
    assert (stored.status, stored.external_id) == (Status.PROCESSING, "500123")
    assert stored.failure == f"{staff}: found by its link"
    assert stored.sent_at is not None
    assert stored.next_check_at > stored.sent_at
    assert open_alerts() == set()
    make_due()
    assert (dispatch.dispatch(provider), len(sandbox.calls)) == (0, 0)


@pytest.mark.parametrize("external_id", ["", "  ", "a\nb", "\x00", "\ud800", "7" * 65])
def test_id_that_cannot_be_one_is_refused(staff, lost, external_id):
    with pytest.raises(ActionRefused, match="id"):
        mark_sent_as(lost, external_id, actor=staff, reason="x")

    assert Order.objects.get().status == Status.UNCONFIRMED


def test_id_of_another_order_is_refused(sandbox, provider, staff, lost):
    other = sent(provider, sandbox)

    with pytest.raises(ActionRefused, match="id"):
        mark_sent_as(lost, other.external_id, actor=staff, reason="x")

    lost.refresh_from_db()
    assert (lost.status, lost.external_id) == (Status.UNCONFIRMED, None)
    assert open_alerts() == {("order_unconfirmed", lost.subject)}


def test_same_id_at_another_provider_is_another_order(staff, lost):
    OrderFactory(sent=True, external_id="500123")

    mark_sent_as(lost, "500123", actor=staff, reason="x")

    assert Order.objects.filter(external_id="500123").count() == 2


# --- send again ----------------------------------------------------------------------------------


def test_order_that_was_not_bought_is_sent_again_and_bought_once(sandbox, provider, staff, lost):
    send_again(lost, actor=staff, reason="their list lacks it")

    stored = Order.objects.get()
    assert (stored.status, stored.claim) == (Status.PENDING, None)
    assert stored.failure == f"{staff}: their list lacks it"
    assert open_alerts() == set()
    assert [job.task["func"] for job in OrmQ.objects.all()] == ["orders.tasks.dispatch_provider"]

    assert dispatch.dispatch(provider) == 1
    assert dispatch.dispatch(provider) == 0
    assert len(sandbox.orders) == 1
    assert Order.objects.get().failure == ""


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.UNCONFIRMED}))
def test_only_unconfirmed_orders_can_be_settled(staff, status):
    order = in_status(status)

    with pytest.raises(ActionRefused):
        mark_sent_as(order, "7", actor=staff, reason="x")
    with pytest.raises(ActionRefused):
        send_again(order, actor=staff, reason="x")

    assert Order.objects.values_list("status", "external_id").get() == (status, order.external_id)
    assert OrmQ.objects.count() == 0


def test_second_of_two_decisions_is_refused(staff, lost):
    held = [Order.objects.select_related("wallet").get() for _ in range(3)]
    mark_sent_as(lost, "500123", actor=staff, reason="found")

    with pytest.raises(ActionRefused):
        mark_sent_as(held[0], "500124", actor=staff, reason="found")
    with pytest.raises(ActionRefused):
        send_again(held[1], actor=staff, reason="not found")
    with pytest.raises(ActionRefused):
        cancel_and_refund(held[2], actor=staff, reason="not found")

    assert Order.objects.values_list("status", "external_id", "refunded").get() == (
        Status.PROCESSING,
        "500123",
        0,
    )
    assert OrmQ.objects.count() == 0


def test_long_reason_is_cut_to_what_the_column_holds(staff, lost):
    send_again(lost, actor=staff, reason="x" * 5000)

    assert len(Order.objects.get().failure) == 500


def test_cancelled_unconfirmed_order_is_never_sent(sandbox, provider, staff, lost):
    cancel_and_refund(lost, actor=staff, reason="x")
    make_due()

    assert (dispatch.dispatch(provider), len(sandbox.calls)) == (0, 0)
