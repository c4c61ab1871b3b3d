"""Many orders at the same moment: never more than the wallet pays for, one order a key.

`test_without_its_lock_…` takes the wallet's lock away and lets two sales read the wallet before
either writes: that is the race, and the tests after it fail on PostgreSQL when `select_for_update`
is removed from `ledger._write`. On SQLite the writer's lock, taken at BEGIN, does the same.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from decimal import Decimal
from functools import partial
from threading import Barrier

import pytest
from django.db.models import QuerySet
from django_q.models import OrmQ

from accounts.ledger import InsufficientFunds
from accounts.models import EntryKind, JournalEntry, Wallet
from catalog.models import SameLink
from catalog.order_types import ServiceType
from orders.checkout import IdempotencyKeyReused, Placed, TwinOrder, place_order
from orders.models import DripFeed, Order, Source, Subscription
from orders.requests import OrderDraft
from tests.books import breaches
from tests.concurrency.together import PATIENCE, together
from tests.factories import ServiceFactory, UserFactory, WalletFactory, fund

pytestmark = pytest.mark.django_db(transaction=True)

CHARGE = Decimal("1.30")


@pytest.fixture
def service():
    """1.30 USD per 1000."""
    return ServiceFactory()


def purchase(wallet, service, *, quantity=1000, key=None):
    return partial(
        place_order,
        customer=wallet.user,
        currency=wallet.currency,
        draft=OrderDraft(
            service.pk, {"link": "https://instagram.com/someone", "quantity": quantity}
        ),
        source=Source.REST,
        idempotency_key=key,
    )


def kinds(outcomes):
    return Counter(type(outcome) for outcome in outcomes)


def charges():
    return JournalEntry.objects.filter(kind=EntryKind.CHARGE).count()


@pytest.mark.postgresql
def test_without_its_lock_a_wallet_pays_for_more_than_it_holds(service, monkeypatch):
    wallet = WalletFactory(funds=CHARGE)
    both_have_read = Barrier(2, timeout=PATIENCE)
    write = QuerySet.bulk_update

    def bulk_update(self, wallets, fields):
        if self.model is Wallet:
            both_have_read.wait()
        return write(self, wallets, fields)

    monkeypatch.setattr(QuerySet, "select_for_update", lambda self, **_how: self.all())
    monkeypatch.setattr(QuerySet, "bulk_update", bulk_update)

    outcomes = together(*[purchase(wallet, service)] * 2)

    assert kinds(outcomes) == {Placed: 2}
    assert {finding.rule for finding in breaches()} >= {"wallet_balance_wrong"}


def test_fifty_orders_at_once_with_funds_for_ten(service):
    wallet = WalletFactory(funds=10 * CHARGE)

    outcomes = together(*[purchase(wallet, service)] * 50)

    assert kinds(outcomes) == {Placed: 10, InsufficientFunds: 40}
    assert sorted(o.balance_after for o in outcomes if isinstance(o, Placed)) == [
        CHARGE * left for left in range(10)
    ]
    wallet.refresh_from_db()
    assert wallet.balance == 0
    assert (Order.objects.count(), charges(), OrmQ.objects.count()) == (10, 10, 10)
    assert breaches() == []


def test_first_order_of_a_wallet_that_is_opened_meanwhile(service):
    """The lazily made wallet row is made once; nobody's order is lost to the race for it."""
    customer = UserFactory()
    wallet = Wallet(user=customer, currency="USD")

    outcomes = together(
        *[purchase(wallet, service)] * 8,
        lambda: fund(WalletFactory(user=customer, funds=0), 3 * CHARGE),
    )

    placed = kinds(outcomes)[Placed]
    assert kinds(outcomes[:8]) == Counter({Placed: placed, InsufficientFunds: 8 - placed})
    assert Wallet.objects.get().balance == (3 - placed) * CHARGE
    assert breaches() == []


def test_twenty_identical_requests_with_one_key_make_one_order(service):
    wallet = WalletFactory(funds=100)

    outcomes = together(*[purchase(wallet, service, key="the-key")] * 20)

    assert kinds(outcomes) == {Placed: 20}
    assert Counter(outcome.replayed for outcome in outcomes) == {False: 1, True: 19}
    assert {(o.order.pk, o.balance_after) for o in outcomes} == {
        (Order.objects.get().pk, 100 - CHARGE)
    }
    assert (charges(), OrmQ.objects.count()) == (1, 1)
    assert breaches() == []


def test_identical_requests_with_funds_for_one_all_get_the_one_order(service):
    """Whoever comes second finds the wallet empty, and is answered with the first order."""
    wallet = WalletFactory(funds=CHARGE)

    outcomes = together(*[purchase(wallet, service, key="the-key")] * 10)

    assert kinds(outcomes) == {Placed: 10}
    assert {o.balance_after for o in outcomes} == {Decimal(0)}
    assert charges() == 1


def test_different_requests_with_one_key_make_one_order_and_refusals(service):
    wallet = WalletFactory(funds=100)

    outcomes = together(
        *(purchase(wallet, service, quantity=1000 + n, key="the-key") for n in range(8))
    )

    assert kinds(outcomes) == {Placed: 1, IdempotencyKeyReused: 7}
    assert (Order.objects.count(), charges()) == (1, 1)
    assert breaches() == []


def test_two_clicks_at_once_are_one_order_and_a_question(service):
    """Each click has a key of its own; the wallet's lock lets the second one see the first."""
    wallet = WalletFactory(funds=100)

    outcomes = together(
        *(
            partial(purchase(wallet, service, key=f"{n}"), refuse_twins_within=timedelta(minutes=2))
            for n in range(6)
        )
    )

    assert kinds(outcomes) == {Placed: 1, TwinOrder: 5}
    assert (Order.objects.count(), charges(), OrmQ.objects.count()) == (1, 1, 1)
    assert breaches() == []


@pytest.mark.parametrize("same_link", [SameLink.OFF, SameLink.REFUSE])
def test_one_click_sent_many_times_is_one_order_and_no_question(same_link):
    service = ServiceFactory(same_link=same_link)
    wallet = WalletFactory(funds=100)
    click = partial(
        purchase(wallet, service, key="the-key"), refuse_twins_within=timedelta(minutes=2)
    )

    outcomes = together(*[click] * 10)

    assert kinds(outcomes) == {Placed: 10}
    assert Counter(outcome.replayed for outcome in outcomes) == {False: 1, True: 9}
    assert charges() == 1


@pytest.mark.parametrize(
    ("order_type", "values", "opened"),
    [
        (ServiceType.DEFAULT, {"quantity": 100, "runs": 4, "interval": 5}, DripFeed),
        (ServiceType.SUBSCRIPTIONS, {"min": 10, "max": 20, "delay": 0}, Subscription),
    ],
)
def test_identical_requests_of_a_series_make_one(order_type, values, opened):
    service = ServiceFactory(type=order_type, dripfeed=True)
    wallet = WalletFactory(funds=100)
    drafted = OrderDraft(service.pk, {"link": "@a", "username": "a", **values})
    request = partial(
        place_order,
        customer=wallet.user,
        currency=wallet.currency,
        draft=drafted,
        source=Source.REST,
        idempotency_key="the-key",
    )

    outcomes = together(*[request] * 8)

    assert kinds(outcomes) == {Placed: 8}
    assert (Order.objects.count(), opened.objects.count(), charges()) == (1, 1, 1)
    assert breaches() == []


def test_customers_do_not_stand_in_each_others_way(service):
    wallets = [WalletFactory(funds=CHARGE) for _ in range(12)]

    outcomes = together(*(purchase(wallet, service) for wallet in wallets))

    assert kinds(outcomes) == {Placed: 12}
    assert set(Wallet.objects.values_list("balance", flat=True)) == {Decimal(0)}
    assert breaches() == []
