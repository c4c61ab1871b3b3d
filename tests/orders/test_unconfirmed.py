"""Orders whose answer is lost, late or odd: never sent again by machine, nothing paid twice."""

from __future__ import annotations

import pytest
from django.db import DatabaseError
from django.utils import timezone

from catalog.sandbox.misbehaviour import Kind
from orders import cancellations, dispatch, unconfirmed
from orders.dispatch import sweep
from orders.models import Order
from orders.statuses import Status
from tests.factories import StaffFactory
from tests.orders.conftest import (
    LINK,
    SPENT,
    WHOLE,
    adds,
    balance,
    let_leases_run_out,
    make_due,
    open_alerts,
    waiting,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books")]


def send(provider):
    return dispatch.dispatch(provider)


UNKNOWN = [
    Kind.LOSE_REPLY,
    Kind.HANG,
    Kind.HTML,
    Kind.EMPTY,
    Kind.TRUNCATED,
    Kind.NAN,
    Kind.LIST,
    Kind.STRING,
    Kind.HUGE,
    Kind.NO_ID,
    Kind.RESET,
    Kind.ERROR_500,
    Kind.REDIRECT,
]


def assert_unconfirmed(order):
    order.refresh_from_db()
    assert (order.status, order.external_id, order.refunded) == (Status.UNCONFIRMED, None, 0)
    assert order.failure != ""
    assert balance(order) == SPENT
    assert open_alerts() == {("order_unconfirmed", order.subject)}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_lost_answer_leaves_the_order_unconfirmed_and_never_sent_again(
    sandbox, provider, order, kind
):
    provider.read_timeout = 1
    provider.save()
    sandbox.misbehave("add", kind)

    assert send(provider) == 0
    assert_unconfirmed(order)
    make_due()
    let_leases_run_out()

    assert (send(provider), sweep(), send(provider)) == (0, 0, 0)

    assert_unconfirmed(order)
    assert len(adds(sandbox)) == 1
    assert len(sandbox.orders) <= 1


def test_id_of_another_order_leaves_this_one_unconfirmed(sandbox, provider, order):
    send(provider)
    second = waiting(provider)
    sandbox.misbehave("add", Kind.DUPLICATE_ID)

    assert send(provider) == 0

    assert_unconfirmed(second)
    order.refresh_from_db()
    assert order.status == Status.PROCESSING
    make_due()
    assert (send(provider), len(adds(sandbox))) == (0, 2)


def test_id_that_cannot_be_kept_leaves_the_order_unconfirmed(provider, order, monkeypatch):
    """A client of another dialect might let it through; SQLite would store it, PostgreSQL not."""

    class Client:
        def add(self, _order):
            return "7" * 65

    monkeypatch.setattr(dispatch, "client_for", lambda _provider: Client())

    assert send(provider) == 0

    assert_unconfirmed(order)


def test_fault_of_our_own_while_sending_leaves_the_order_unconfirmed(
    sandbox, provider, order, monkeypatch
):
    class Client:
        def add(self, _order):
            raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(dispatch, "client_for", lambda _provider: Client())

    assert send(provider) == 0

    assert_unconfirmed(order)


def test_answer_that_cannot_be_recorded_costs_only_its_own_order(
    sandbox, provider, order, monkeypatch
):
    others = [waiting(provider, link=f"{LINK}/{number}") for number in range(3)]
    record = dispatch._accepted

    def failing(claimed, external_id):
        if claimed == order:
            raise DatabaseError("the connection was lost")
        record(claimed, external_id)

    monkeypatch.setattr(dispatch, "_accepted", failing)

    assert send(provider) == 3

    order.refresh_from_db()
    assert order.status == Status.SENDING
    assert {balance(other) for other in others} == {SPENT}
    assert Order.objects.filter(status=Status.PROCESSING).count() == 3
    let_leases_run_out()
    assert sweep() == 1
    assert_unconfirmed(order)


# --- a job that never came back ------------------------------------------------------------------


def test_sweep_takes_up_what_was_claimed_and_never_answered_for(sandbox, provider, order):
    assert dispatch.claim(provider, limit=4) == [order]

    assert sweep() == 0
    let_leases_run_out()
    assert sweep() == 1
    assert sweep() == 0

    assert_unconfirmed(order)
    make_due()
    assert (send(provider), len(sandbox.calls)) == (0, 0)


def test_sweep_takes_up_a_disabled_providers_orders_too(provider, order):
    dispatch.claim(provider, limit=4)
    provider.enabled = False
    provider.save()
    let_leases_run_out()

    assert sweep() == 1
    assert_unconfirmed(order)


def test_claim_takes_no_more_than_asked_and_nothing_twice(provider):
    orders = [waiting(provider) for _ in range(5)]

    first, second = dispatch.claim(provider, limit=3), dispatch.claim(provider, limit=3)

    assert (first, second) == (orders[:3], orders[3:])
    assert dispatch.claim(provider, limit=3) == []


def overtaken(meanwhile, *happenings):
    """While the provider answers, the lease runs out, the sweep comes by, and then …"""

    def happening():
        let_leases_run_out()
        assert sweep() == 1
        for then in happenings:
            then()

    meanwhile(happening)


def test_acceptance_after_the_sweep_links_the_order(sandbox, meanwhile, provider, order):
    overtaken(meanwhile)

    assert send(provider) == 1

    order.refresh_from_db()
    assert (order.status, order.external_id) == (Status.PROCESSING, str(sandbox.orders[0].id))
    assert (order.failure, order.lease_until, open_alerts()) == ("", None, set())


def test_refusal_after_the_sweep_pays_nothing_and_tells_staff(sandbox, meanwhile, provider, order):
    sandbox.misbehave("add", Kind.REFUSE)
    overtaken(meanwhile)

    assert send(provider) == 0

    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.UNCONFIRMED, 0)
    assert open_alerts() == {
        ("order_unconfirmed", order.subject),
        ("order_answered_late", order.subject),
    }


@pytest.mark.parametrize("kind", [Kind.LOSE_REPLY, Kind.TOO_MANY, Kind.OUT_OF_FUNDS])
def test_other_answers_after_the_sweep_change_nothing(sandbox, meanwhile, provider, order, kind):
    sandbox.misbehave("add", kind)
    overtaken(meanwhile)

    assert send(provider) == 0

    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.UNCONFIRMED, 0)
    assert ("order_unconfirmed", order.subject) in open_alerts()
    assert ("order_answered_late", order.subject) not in open_alerts()


def settle(action, *args):
    """Staff act on the one order, as they would in the admin."""
    return lambda: action(
        Order.objects.select_related("wallet").get(), *args, actor=StaffFactory(), reason="checked"
    )


def test_acceptance_after_staff_cancelled_pays_nothing_twice_and_tells_them(
    sandbox, meanwhile, provider, order
):
    overtaken(meanwhile, settle(cancellations.cancel_and_refund))

    send(provider)

    order.refresh_from_db()
    # It is linked with what was bought, which is our loss.
    assert (order.status, order.refunded) == (Status.CANCELLED, order.charge)
    assert order.external_id == str(sandbox.orders[0].id)
    assert balance(order) == WHOLE
    assert open_alerts() == {("order_found_after_refund", order.subject)}
    make_due()
    assert (send(provider), len(sandbox.orders)) == (0, 1)


@pytest.mark.parametrize("kind", [None, Kind.LOSE_REPLY, Kind.REFUSE])
def test_answer_after_staff_sent_again_does_not_meet_the_new_attempt(
    sandbox, meanwhile, provider, order, kind
):
    if kind:
        sandbox.misbehave("add", kind)
    overtaken(meanwhile, settle(unconfirmed.send_again))

    send(provider)

    # The first answer changed nothing; the second attempt is staff's own decision.
    order.refresh_from_db()
    assert (order.external_id, order.refunded) == (None, 0)
    assert order.status == Status.PENDING
    assert open_alerts() == {("order_answered_late", order.subject)}


@pytest.mark.parametrize("kind", [None, Kind.LOSE_REPLY, Kind.REFUSE, Kind.TOO_MANY])
def test_late_answer_does_not_meet_an_attempt_that_is_under_way(
    sandbox, meanwhile, provider, order, kind
):
    if kind:
        sandbox.misbehave("add", kind)
    overtaken(meanwhile, settle(unconfirmed.send_again), lambda: dispatch.claim(provider, limit=1))

    assert send(provider) == 0

    order.refresh_from_db()
    assert (order.status, order.external_id, order.refunded) == (Status.SENDING, None, 0)
    assert order.lease_until > timezone.now()


def test_acceptance_that_staff_entered_already_needs_no_further_look(
    sandbox, meanwhile, provider, order
):
    def enter():
        settle(unconfirmed.mark_sent_as, str(sandbox.orders[0].id))()

    overtaken(meanwhile, enter)

    send(provider)

    order.refresh_from_db()
    assert (order.status, order.external_id) == (Status.PROCESSING, str(sandbox.orders[0].id))
    assert open_alerts() == set()


def test_acceptance_under_another_id_than_staff_entered_is_told(
    sandbox, meanwhile, provider, order
):
    overtaken(meanwhile, settle(unconfirmed.mark_sent_as, "77"))

    send(provider)

    order.refresh_from_db()
    assert order.external_id == "77"
    assert open_alerts() == {("order_answered_late", order.subject)}
