"""What the ledger tells: a wallet's transactions, sales by day, what customers hold."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts import ledger, statement
from accounts.statement import Holdings, Sales
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


def test_sales_are_net_of_refunds_by_currency(django_assert_num_queries):
    dollars, francs = WalletFactory(funds=10), WalletFactory(funds=100, currency="XAF")
    ledger.charge(dollars, Decimal(4), key="order:1:charge", subject="order:1")
    ledger.charge(francs, Decimal(70), key="order:2:charge", subject="order:2")
    ledger.refund(dollars, Decimal("0.5"), key="order:1:refund:1", subject="order:1")
    now = timezone.now()
    before, after = now - timedelta(hours=1), now + timedelta(hours=1)

    with django_assert_num_queries(1):
        found = statement.sales_since(after, before)

    assert found == [
        Sales("USD", (Decimal(0), Decimal("3.5"))),
        Sales("XAF", (Decimal(0), Decimal(70))),
    ]
    assert statement.sales_since(after) == []


def test_holdings_count_only_wallets_that_hold_something(django_assert_num_queries):
    WalletFactory(funds="0.1")
    WalletFactory(funds="0.2")
    WalletFactory(funds=0)
    WalletFactory(funds=0, currency="XAF")

    with django_assert_num_queries(1):
        found = statement.holdings()

    assert found == [Holdings("USD", Decimal("0.3"), 2), Holdings("XAF", Decimal(0), 0)]
