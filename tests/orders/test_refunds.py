"""Paying back: to the last millionth, never more than was charged, once."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import ledger
from accounts.models import EntryKind, JournalEntry
from accounts.money import AMOUNT_STEP
from orders.models import Order
from orders.moves import MoveNotAllowed, by_staff
from orders.refunds import move_and_refund, share_not_delivered
from orders.statuses import Status
from tests.books import breaches
from tests.factories import OrderFactory, StaffFactory

CHARGES = st.integers(1, 2**63 - 1).map(lambda millionths: Decimal(millionths).scaleb(-6))


@given(charge=CHARGES, quantity=st.integers(1, 2**63 - 1), data=st.data())
def test_share_is_rounded_down_and_never_above_the_charge(charge, quantity, data):
    remains = data.draw(st.integers(0, quantity))

    share = share_not_delivered(Order(charge=charge, quantity=quantity), remains)

    # Compared in whole numbers: Python's 28 decimal digits are too few for these.
    millionths, paid = int(charge.scaleb(6)), int(share.scaleb(6))
    assert share == Decimal(paid) * AMOUNT_STEP
    assert paid * quantity <= millionths * remains < (paid + 1) * quantity


@given(charge=CHARGES, quantity=st.integers(1, 2**63 - 1))
def test_share_of_everything_is_the_charge_and_of_nothing_nothing(charge, quantity):
    order = Order(charge=charge, quantity=quantity)

    assert share_not_delivered(order, quantity) == charge
    assert share_not_delivered(order, 0) == 0


def test_share_goes_down_to_the_last_millionth():
    order = Order(charge=Decimal("1.000001"), quantity=3)

    assert share_not_delivered(order, 2) == Decimal("0.666667")
    assert share_not_delivered(order, 1) == Decimal("0.333333")


@pytest.fixture
def order(db):
    return OrderFactory(sent=True, charge=Decimal("1.30"), wallet__funds=Decimal("1.30"))


def refunds(order):
    return list(
        JournalEntry.objects.filter(kind=EntryKind.REFUND, subject=order.subject)
        .order_by("key")
        .values_list("key", "reason", "actor")
    )


def test_refund_moves_the_order_and_the_money(order):
    staff = StaffFactory()

    assert move_and_refund(
        order, Status.CANCELLED, Decimal("0.5"), reason="asked", by=by_staff(staff), remains=7
    )

    stored = Order.objects.get()
    assert (stored.status, stored.refunded, stored.remains) == ("cancelled", Decimal("0.5"), 7)
    assert stored.net_charge == order.net_charge == Decimal("0.8")
    assert refunds(order) == [(f"order:{order.pk}:refund:1", "asked", staff.pk)]
    assert order.wallet.balance == Decimal("0.5")
    assert breaches() == []


def test_refund_is_never_more_than_is_left_of_the_charge(order):
    earlier, subject = Decimal("1.1"), order.subject
    Order.objects.update(refunded=earlier)
    ledger.refund(order.wallet, earlier, key=f"{subject}:refund:1", subject=subject)
    order = Order.objects.select_related("wallet").get()

    assert move_and_refund(order, Status.REFUNDED, Decimal("1.30"))

    assert Order.objects.get().refunded == Decimal("1.30")
    assert [key for key, *_ in refunds(order)] == [f"{subject}:refund:{n}" for n in (1, 2)]
    assert breaches() == []


@pytest.mark.parametrize("amount", [Decimal(0), Decimal("-1")])
def test_refund_of_nothing_only_moves_the_order(order, amount):
    assert move_and_refund(order, Status.PARTIAL, amount)

    assert (Order.objects.get().status, refunds(order)) == (Status.PARTIAL, [])
    assert breaches() == []


def test_refund_that_comes_second_pays_nothing(order):
    late = Order.objects.select_related("wallet").get()
    assert move_and_refund(order, Status.PARTIAL, Decimal("0.3"))

    assert not move_and_refund(late, Status.CANCELLED, Decimal("1.30"))

    assert Order.objects.get().refunded == Decimal("0.3")
    assert len(refunds(order)) == 1
    assert breaches() == []


def test_refund_of_an_ended_order_is_refused(order):
    move_and_refund(order, Status.CANCELLED, Decimal(0))

    with pytest.raises(MoveNotAllowed):
        move_and_refund(order, Status.REFUNDED, Decimal(1))

    assert refunds(order) == []


def test_order_stays_where_it_is_when_the_money_cannot_move(order, monkeypatch):
    def broken(*_args, **_kwargs):
        raise ledger.LedgerError("broken")

    monkeypatch.setattr(ledger, "refund", broken)

    with pytest.raises(ledger.LedgerError):
        move_and_refund(order, Status.CANCELLED, Decimal(1))

    stored = Order.objects.get()
    assert (stored.status, stored.refunded) == (Status.IN_PROGRESS, 0)
