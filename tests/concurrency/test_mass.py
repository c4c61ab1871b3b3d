"""Two workers place one mass order: each line is one order, and says so.

The idempotency key lets only one order through; the lock on the line's row sees to it that no
refusal is written over it. `test_a_refusal_…` fails when `select_for_update` is removed from
`mass._place_line`.
"""

from __future__ import annotations

import uuid
from decimal import Decimal
from functools import partial
from itertools import count
from threading import Event

import pytest

from catalog.listing import ServiceUnavailable
from orders import mass
from orders.mass import Agreed
from orders.models import LineState, MassOrder, Order
from tests.books import breaches
from tests.concurrency.together import together
from tests.factories import ServiceFactory, WalletFactory
from tests.processes import eventually

pytestmark = pytest.mark.django_db(transaction=True)

LINES = 12


def lines_of(service):
    return [
        Agreed(
            number,
            str(service.pk),
            {"link": f"https://instagram.com/someone{number}", "quantity": "1000"},
            Decimal("1.30"),
        )
        for number in range(1, LINES + 1)
    ]


def confirm(wallet, key):
    return mass.confirm(
        customer=wallet.user, currency="USD", uuid=key, lines=lines_of(ServiceFactory())
    )


@pytest.mark.postgresql
@pytest.mark.parametrize("funds", [100, Decimal("7.80")])
def test_two_jobs_at_once_place_each_line_once(funds):
    wallet = WalletFactory(funds=100)
    order = confirm(wallet, uuid.uuid4())
    WalletFactory(user=wallet.user, funds=funds)

    outcomes = together(*[partial(mass.place, order.pk)] * 2)

    assert outcomes == [False, False]
    paid = min(LINES, int(funds / Decimal("1.30")))
    states = list(order.lines.values_list("state", flat=True))
    assert (states.count(LineState.PLACED), states.count(LineState.REFUSED)) == (paid, LINES - paid)
    placed = order.lines.filter(state=LineState.PLACED).values_list("order", flat=True)
    assert sorted(placed) == sorted(Order.objects.values_list("pk", flat=True))
    order.refresh_from_db()
    assert order.finished_at is not None
    assert breaches() == []


@pytest.mark.postgresql
def test_a_refusal_is_not_written_over_an_order(monkeypatch):
    """One job is refused (say, for lack of funds) while the other, a moment later, is not."""
    wallet, real = WalletFactory(funds=100), mass.checkout.place_order
    order = mass.confirm(
        customer=wallet.user,
        currency="USD",
        uuid=uuid.uuid4(),
        lines=lines_of(ServiceFactory())[:1],
    )
    turns, second_came = count(), Event()

    def place_order(**how):
        if next(turns) > 0:
            second_came.set()
            return real(**how)
        if second_came.wait(timeout=1):
            assert eventually(order.lines.filter(state=LineState.PLACED).exists)
        raise ServiceUnavailable

    monkeypatch.setattr(mass.checkout, "place_order", place_order)

    together(*[partial(mass.place, order.pk)] * 2)

    line = order.lines.get()
    assert (line.state, Order.objects.count()) in [
        (LineState.REFUSED, 0),
        (LineState.PLACED, 1),
    ]


def test_confirmed_twice_at_once_it_is_one():
    wallet, key = WalletFactory(funds=100), uuid.uuid4()
    lines = lines_of(ServiceFactory())
    confirming = partial(mass.confirm, customer=wallet.user, currency="USD", uuid=key, lines=lines)

    outcomes = together(*[confirming] * 4)

    assert {outcome.pk for outcome in outcomes} == {MassOrder.objects.get().pk}
    assert MassOrder.objects.get().lines.count() == LINES
