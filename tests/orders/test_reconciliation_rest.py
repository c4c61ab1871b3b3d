"""Orders of unknown outcome at a provider that knows our references: its list is asked for them,
and the same request again under its key buys once, whatever became of the first."""

from __future__ import annotations

from datetime import timedelta

import pytest

from accounts.clock import from_now
from catalog.order_types import ServiceType
from catalog.sandbox.misbehaviour import Kind
from orders import book, dispatch, reconciliation, unconfirmed
from orders.models import CancelRequest, EvidenceKind, Order, OrderEvent, Verdict
from orders.statuses import Status
from tests.factories import ServiceFactory
from tests.orders.conftest import MENU, SPENT, WHOLE, balance, open_alerts, waiting
from tests.orders.test_reconciliation import evidence, lose, some_time_passes

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books")]

LIST, REPEAT, BALANCE = EvidenceKind.LIST, EvidenceKind.REPEAT, EvidenceKind.BALANCE
BOUGHT, NOT_BOUGHT, UNCLEAR = Verdict.BOUGHT, Verdict.NOT_BOUGHT, Verdict.UNCLEAR


@pytest.fixture
def provider(db, sandbox):
    provider = sandbox.provider(dialect="rest")
    item = MENU[ServiceType.DEFAULT]
    ServiceFactory(provider=provider, external_id=str(item.id), provider_rate=item.rate)
    book.read(provider)
    provider.refresh_from_db()
    return provider


def adds(sandbox):
    return [call for call in sandbox.calls if call["action"] == "add"]


def test_order_that_the_list_has_is_linked(sandbox, provider):
    order = lose(provider, sandbox)

    assert reconciliation.reconcile(provider) == 1

    order.refresh_from_db()
    assert (order.status, order.external_id) == (Status.PROCESSING, str(sandbox.orders[0].id))
    assert evidence(order) == {LIST: BOUGHT}
    assert (len(adds(sandbox)), open_alerts()) == (1, set())


def test_order_that_the_list_lacks_is_asked_for_again_and_bought_once(sandbox, provider):
    order = lose(provider, sandbox, Kind.RESET)

    assert reconciliation.reconcile(provider) == 1

    order.refresh_from_db()
    assert [str(taken.id) for taken in sandbox.orders] == [order.external_id]
    assert (order.status, order.lease_until, balance(order)) == (Status.PROCESSING, None, SPENT)
    assert evidence(order) == {LIST: NOT_BOUGHT, REPEAT: BOUGHT}
    assert open_alerts() == set()


def test_list_that_is_late_and_a_repeat_find_the_first_order(sandbox, provider):
    """The list is empty although the order was taken: the key gives the first answer again."""
    order = lose(provider, sandbox)
    sandbox.answer("find", {"data": [], "meta": {"current_page": 1, "total": 0, "per_page": 100}})

    assert reconciliation.reconcile(provider) == 1

    order.refresh_from_db()
    assert [str(taken.id) for taken in sandbox.orders] == [order.external_id]
    assert evidence(order) == {LIST: NOT_BOUGHT, REPEAT: BOUGHT}


def test_repeat_whose_answer_is_lost_too_is_repeated_and_bought_once(sandbox, provider):
    order = lose(provider, sandbox, Kind.RESET)
    sandbox.misbehave("add", Kind.LOSE_REPLY)

    assert reconciliation.reconcile(provider) == 0

    order.refresh_from_db()
    assert (order.status, order.lease_until) == (Status.UNCONFIRMED, None)
    assert evidence(order)[REPEAT] == UNCLEAR
    some_time_passes(minutes=1)
    assert reconciliation.reconcile(provider) == 1
    order.refresh_from_db()
    assert [str(taken.id) for taken in sandbox.orders] == [order.external_id]


def test_repeat_that_is_refused_ends_the_order_and_pays_it_back(sandbox, provider):
    order = lose(provider, sandbox, Kind.RESET)
    sandbox.misbehave("add", Kind.REFUSE, text="Service is gone", status=422)

    assert reconciliation.reconcile(provider) == 1

    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.FAILED, order.charge)
    assert "Service is gone" in order.failure
    assert (balance(order), open_alerts()) == (WHOLE, set())
    assert evidence(order)[REPEAT] == NOT_BOUGHT


def test_refusal_while_the_list_cannot_be_read_proves_nothing(sandbox, provider):
    order = lose(provider, sandbox)
    sandbox.answer("find", {"data": [], "meta": {"current_page": 1, "total": 0, "per_page": 100}})
    sandbox.misbehave("add", Kind.REFUSE, text="No access", status=403)
    sandbox.misbehave("find", Kind.ERROR_500)

    assert reconciliation.reconcile(provider) == 0

    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.UNCONFIRMED, 0)
    assert evidence(order)[REPEAT] == UNCLEAR


def test_repeat_for_which_our_funds_do_not_suffice_waits_for_them(sandbox, provider):
    order = lose(provider, sandbox, Kind.RESET)
    funds = sandbox.balance
    sandbox.set_balance("0")

    assert reconciliation.reconcile(provider) == 0

    order.refresh_from_db()
    assert (order.status, balance(order)) == (Status.UNCONFIRMED, SPENT)
    sandbox.set_balance(funds)
    some_time_passes(minutes=1)
    assert reconciliation.reconcile(provider) == 1
    assert len(sandbox.orders) == 1


@pytest.mark.parametrize("columns", [{"enabled": False}, {"maintenance": True}])
def test_nothing_is_repeated_where_nothing_may_be_bought(sandbox, provider, columns):
    lose(provider, sandbox, Kind.RESET)
    type(provider).objects.update(**columns)

    assert reconciliation.reconcile(provider) == 0

    assert len(adds(sandbox)) == 1


def test_nothing_is_repeated_for_who_wants_it_cancelled(sandbox, provider):
    order = lose(provider, sandbox, Kind.RESET)
    CancelRequest.objects.create(order=order)
    some_time_passes()

    assert reconciliation.reconcile(provider) == 1

    order.refresh_from_db()
    assert (order.status, balance(order)) == (Status.CANCELLED, WHOLE)
    assert len(adds(sandbox)) == 1


def test_key_that_may_be_forgotten_is_not_used_but_two_proofs_send_again(sandbox, provider):
    order = lose(provider, sandbox, Kind.RESET)
    some_time_passes(minutes=20 * 60 + 1)

    assert reconciliation.reconcile(provider) == 1

    assert len(adds(sandbox)) == 1
    order.refresh_from_db()
    assert (order.status, evidence(order)) == (
        Status.PENDING,
        {LIST: NOT_BOUGHT, BALANCE: NOT_BOUGHT},
    )


def test_window_of_the_key_begins_with_the_first_call(sandbox, provider):
    order = lose(provider, sandbox, Kind.RESET)
    OrderEvent.objects.update(at=from_now(timedelta(hours=-21)))
    unconfirmed.return_to_queue(order, by=unconfirmed.JOB, note="test")
    sandbox.misbehave("add", Kind.RESET)
    dispatch.dispatch(provider)

    reconciliation.reconcile(provider)

    assert len(adds(sandbox)) == 2


def test_repeat_takes_the_order_away_from_who_loaded_it_before(sandbox, provider, monkeypatch):
    """Staff decide while the call that may be buying the order is under way."""
    order = lose(provider, sandbox, Kind.RESET)
    stale = Order.objects.select_related("wallet").get(pk=order.pk)
    outcomes = []
    real = dispatch.upstream_order

    def meanwhile(asked):
        if Order.objects.get(pk=order.pk).lease_until is not None:
            outcomes.append(
                unconfirmed.pay_back(stale, Status.CANCELLED, by=unconfirmed.JOB, reason="x")
            )
            outcomes.append(Order.objects.get(pk=order.pk).is_being_asked_for)
        return real(asked)

    monkeypatch.setattr(dispatch, "upstream_order", meanwhile)

    assert reconciliation.reconcile(provider) == 1

    assert outcomes == [False, True]
    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.PROCESSING, 0)


def test_provider_that_is_out_of_reach_is_asked_once_a_round(sandbox, provider):
    orders = [waiting(provider, link=f"https://instagram.com/{number}") for number in range(2)]
    sandbox.misbehave("add", Kind.LOSE_REPLY, times=2)
    dispatch.dispatch(provider)
    sandbox.misbehave("find", Kind.ERROR_500, times=5)
    calls = len(sandbox.calls)

    assert reconciliation.reconcile(provider) == 0

    assert [call["action"] for call in list(sandbox.calls)[calls:]].count("find") == 1
    orders[0].refresh_from_db()
    assert evidence(orders[0])[LIST] == UNCLEAR
