"""What the ledger tells: a wallet's transactions, sales by day, what customers hold."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts import ledger, statement
from accounts.statement import DaySales, Holdings
from tests.factories import WalletFactory

pytestmark = pytest.mark.django_db


def test_transactions_are_the_wallets_own_newest_first(django_assert_num_queries):
    wallet, _other = WalletFactory(funds=10), WalletFactory(funds=10)
    ledger.charge(wallet, Decimal(4), key="order:1:charge", subject="order:1")

    with django_assert_num_queries(1):
        found = [
            (p.entry.subject, p.amount, p.balance_after) for p in statement.transactions(wallet)
        ]

    assert found == [("order:1", -4, 6), ("", 10, 10)]


def test_sales_are_net_of_refunds_by_day_and_currency(django_assert_num_queries):
    dollars, francs = WalletFactory(funds=10), WalletFactory(funds=100, currency="XAF")
    ledger.charge(dollars, Decimal(4), key="order:1:charge", subject="order:1")
    ledger.charge(francs, Decimal(70), key="order:2:charge", subject="order:2")
    ledger.refund(dollars, Decimal("0.5"), key="order:1:refund:1", subject="order:1")
    now = timezone.now()

    with django_assert_num_queries(1):
        found = statement.sales_since(now - timedelta(hours=1))

    today = timezone.localdate()
    assert found == [DaySales(today, "USD", Decimal("3.5")), DaySales(today, "XAF", Decimal(70))]
    assert statement.sales_since(now + timedelta(hours=1)) == []


def test_sales_belong_to_the_day_of_the_readers_time_zone():
    wallet = WalletFactory(funds=10)
    ledger.charge(wallet, Decimal(4), key="order:1:charge", subject="order:1")
    days = set()
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):  # 25 hours apart
        with timezone.override(zone):
            (sales,) = statement.sales_since(timezone.now() - timedelta(hours=1))
            assert sales.day == timezone.localdate()
            days.add(sales.day)

    assert len(days) == 2
    assert all(isinstance(day, date) for day in days)


def test_holdings_count_only_wallets_that_hold_something(django_assert_num_queries):
    WalletFactory(funds="0.1")
    WalletFactory(funds="0.2")
    WalletFactory(funds=0)
    WalletFactory(funds=0, currency="XAF")

    with django_assert_num_queries(1):
        found = statement.holdings()

    assert found == [Holdings("USD", Decimal("0.3"), 2), Holdings("XAF", Decimal(0), 0)]
