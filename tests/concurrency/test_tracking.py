"""Several trackers at once, and staff beside them: each order is paid back at most once.

`test_without_its_condition_…` lets two trackers apply the same report, and the order is paid back
twice: the race is real. What holds it is the condition of the UPDATE in `moves.move`.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from functools import partial

import pytest

from accounts.models import EntryKind, JournalEntry
from catalog.providers import UpstreamState, UpstreamStatus
from orders import dispatch, refunds, tracking
from orders.cancellations import ActionRefused, cancel_and_refund
from orders.models import Order
from orders.statuses import Status
from tests.books import breaches
from tests.concurrency.together import together
from tests.factories import OrderFactory, ServiceFactory, StaffFactory, WalletFactory
from tests.orders.conftest import make_due

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

CHARGE = Decimal("1.30")
PARTIAL = UpstreamStatus(state=UpstreamState.PARTIAL, word="Partial", remains=500)


def held():
    """The one order, as a tracker loads it."""
    return Order.objects.select_related("wallet").get()


def paid_back():
    return JournalEntry.objects.filter(kind=EntryKind.REFUND).count()


def test_without_its_condition_an_order_is_paid_back_twice(db, monkeypatch):
    OrderFactory(sent=True)

    def unconditional(order, to, *, by, note, **changes):
        return bool(Order.objects.filter(pk=order.pk).update(status=to, **changes))

    monkeypatch.setattr(refunds, "move", unconditional)

    assert together(*(partial(tracking.apply, held(), PARTIAL) for _ in range(2))) == [True, True]

    assert paid_back() == 2
    assert {finding.rule for finding in breaches()} >= {"order_net_charge_wrong"}


@pytest.mark.parametrize("trackers", [2, 8])
def test_trackers_with_the_same_report_pay_back_once(trackers):
    OrderFactory(sent=True)

    applied = together(*(partial(tracking.apply, held(), PARTIAL) for _ in range(trackers)))

    assert Counter(applied) == {True: 1, False: trackers - 1}
    order = held()
    assert (order.status, order.refunded, paid_back()) == (Status.PARTIAL, CHARGE / 2, 1)
    assert order.wallet.balance == 100 - CHARGE / 2
    assert breaches() == []


def test_trackers_with_different_reports_leave_one_outcome():
    OrderFactory(sent=True)
    reports = [
        PARTIAL,
        UpstreamStatus(state=UpstreamState.CANCELLED, word="Canceled"),
        UpstreamStatus(state=UpstreamState.COMPLETED, word="Completed"),
        UpstreamStatus(state=UpstreamState.IN_PROGRESS, word="In progress", remains=1),
    ]

    applied = together(*(partial(tracking.apply, held(), report) for report in reports))

    assert sum(applied) == 1
    order = held()
    outcomes = {Status.PARTIAL: CHARGE / 2, Status.CANCELLED: CHARGE, Status.COMPLETED: 0}
    assert order.refunded == outcomes[Status(order.status)]
    assert breaches() == []


def test_staff_cancelling_an_order_that_just_ended_pays_back_once():
    OrderFactory(sent=True)
    shown, tracked, staff = held(), held(), StaffFactory()

    applied, cancelled = together(
        partial(tracking.apply, tracked, PARTIAL),
        partial(cancel_and_refund, shown, actor=staff, reason="asked"),
    )

    order = held()
    if applied:
        assert isinstance(cancelled, ActionRefused)
        assert (order.status, order.refunded) == (Status.PARTIAL, CHARGE / 2)
    else:
        assert cancelled is None
        assert (order.status, order.refunded) == (Status.CANCELLED, CHARGE)
    assert paid_back() == 1
    assert breaches() == []


def test_late_correction_is_paid_back_once_by_several_trackers():
    order = OrderFactory(sent=True)
    Order.objects.filter(pk=order.pk).update(status=Status.COMPLETED)

    applied = together(*(partial(tracking.apply, held(), PARTIAL) for _ in range(4)))

    assert Counter(applied) == {True: 1, False: 3}
    assert (held().status, held().refunded, paid_back()) == (Status.PARTIAL, CHARGE / 2, 1)
    assert breaches() == []


def test_two_trackers_share_the_work_and_apply_everything_once(sandbox):
    provider = sandbox.provider()
    service = ServiceFactory(provider=provider, external_id="1001")
    wallet = WalletFactory(funds=39)
    for _ in range(30):
        OrderFactory(service=service, wallet=wallet)
    dispatch.dispatch(provider)
    for number, order in enumerate(sandbox.orders):
        if number % 2:
            sandbox.end_partial(order.id, remains=500)
        else:
            sandbox.cancel(order.id)
    make_due()

    applied = together(*[lambda: tracking.poll(provider)] * 3)

    assert sum(applied) == 30
    asked = [
        external_id
        for call in sandbox.calls
        if call["action"] == "status"
        for external_id in call.get("orders", call.get("order")).split(",")
    ]
    assert Counter(asked) == {str(order.id): 1 for order in sandbox.orders}
    wallet.refresh_from_db()
    assert wallet.balance == 15 * CHARGE / 2 + 15 * CHARGE
    assert paid_back() == 30
    assert breaches() == []
