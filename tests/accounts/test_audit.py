"""The audit proves a healthy ledger, and names each way in which a damaged one is wrong.

Damage needs raw SQL with the database's own guards lifted: that is what the guards are for.
"""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from django.core.management import call_command
from django.db import connection

from accounts import ledger
from accounts.audit import RULES as LEDGER_RULES
from catalog.audit import RULES as CATALOGUE_RULES
from orders.audit import RULES as ORDER_RULES
from orders.refunds import move_and_refund
from orders.statuses import Status
from tests.factories import OrderFactory, WalletFactory

pytestmark = pytest.mark.django_db

CHECKS = {
    "accounts_wallet": ["wallet_never_negative"],
    "accounts_posting": ["posting_wallet_named", "posting_moves_something"],
}


def findings():
    """Rule and subject of each finding; that the guards are lifted is no news here."""
    found = [finding for rule in (*LEDGER_RULES, *ORDER_RULES) for finding in rule()]
    return [(f.rule, f.subject) for f in found if f.rule != "trigger_missing"]


@pytest.fixture
def damage(db):
    """Executes SQL with triggers, checks and foreign keys lifted, in this test's transaction."""
    postgresql = connection.vendor == "postgresql"

    def execute(*statements):
        with connection.cursor() as cursor:
            if postgresql:
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
                for table, checks in CHECKS.items():
                    for check in checks:
                        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {check}")
                cursor.execute("SET LOCAL session_replication_role = replica")
            else:
                cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
                for (name,) in cursor.fetchall():
                    cursor.execute(f"DROP TRIGGER {name}")
                cursor.execute("PRAGMA ignore_check_constraints = ON")
            for sql, *params in statements:
                cursor.execute(sql, params)
                assert cursor.rowcount > 0, sql

    yield execute
    if not postgresql:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA ignore_check_constraints = OFF")
    # The damage is not for the check that ends each test.
    connection.set_rollback(True)


@pytest.fixture
def wallet():
    """10 USD, put there as 4 and 6."""
    wallet = WalletFactory(funds=4)
    ledger.adjust(wallet, Decimal(6), key="second", reason="test", actor=None)
    return wallet


@pytest.fixture
def order():
    """Charged 1.30 USD and refunded 0.30 of them."""
    order = OrderFactory(sent=True)
    assert move_and_refund(order, Status.PARTIAL, Decimal("0.30"))
    return order


def test_empty_shop_adds_up(db):
    assert findings() == []


def test_healthy_shop_adds_up_in_a_constant_number_of_queries(
    order, wallet, django_assert_num_queries
):
    WalletFactory(funds=0)
    # One a rule, and one more for each further table that a rule looks into.
    with django_assert_num_queries(len(LEDGER_RULES) + len(ORDER_RULES) + 6):
        assert findings() == []
    for _ in range(3):
        OrderFactory()

    with django_assert_num_queries(len(LEDGER_RULES) + len(ORDER_RULES) + 6):
        assert findings() == []


def test_missing_trigger_is_found(db):
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ALTER TABLE accounts_posting DISABLE TRIGGER ledger_posting_allowed")
            name = "ledger_posting_allowed"
        else:
            cursor.execute("DROP TRIGGER ledger_posting_sealed")
            name = "ledger_posting_sealed"

    assert [f.subject for rule in LEDGER_RULES for f in rule()] == [name]


def test_missing_trigger_of_the_catalogue_is_found(db):
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ALTER TABLE catalog_service DISABLE TRIGGER catalog_service_shown")
            name = "catalog_service_shown"
        else:
            cursor.execute("DROP TRIGGER catalog_service_shown_update")
            name = "catalog_service_shown_update"

    assert [f.subject for rule in CATALOGUE_RULES for f in rule()] == [name]


def test_unbalanced_entry_is_found(wallet, damage):
    damage(
        (
            "UPDATE accounts_posting SET amount = amount + 1"
            " WHERE entry_id = 'second' AND account = 'adjustments'",
        )
    )

    assert findings() == [("entry_unbalanced", "second")]


def test_entry_that_balances_only_across_currencies_is_found(wallet, damage):
    damage(
        (
            "UPDATE accounts_posting SET currency = 'XAF'"
            " WHERE entry_id = 'second' AND account = 'adjustments'",
        )
    )

    assert findings() == [("entry_unbalanced", "second")] * 2


def test_entry_without_postings_is_found(db, damage):
    damage(
        (
            "INSERT INTO accounts_journalentry (key, kind, subject, reason, created_at)"
            " VALUES ('hollow', 'adjustment', '', '', CURRENT_TIMESTAMP)",
        )
    )

    assert findings() == [("entry_empty", "hollow")]


def test_posting_without_entry_is_found(wallet, damage):
    damage(("DELETE FROM accounts_journalentry WHERE key = 'second'",))

    assert findings() == [("posting_without_entry", "second")] * 2


def test_posting_in_another_currency_than_its_wallet_is_found(wallet, damage):
    damage(("UPDATE accounts_posting SET currency = 'XAF' WHERE entry_id = 'second'",))

    assert findings() == [("posting_currency", f"wallet:{wallet.pk}")]


def test_balance_that_is_not_the_sum_of_its_postings_is_found(wallet, damage):
    damage(("UPDATE accounts_wallet SET balance = balance + 1",))

    assert findings() == [("wallet_balance_wrong", f"wallet:{wallet.pk}")]


def test_wallet_whose_postings_are_gone_is_found(wallet, damage):
    damage(("DELETE FROM accounts_posting",), ("DELETE FROM accounts_journalentry",))

    assert findings() == [("wallet_balance_wrong", f"wallet:{wallet.pk}")]


def test_balance_after_that_does_not_follow_is_found_at_its_posting(wallet, damage):
    ledger.adjust(wallet, Decimal(5), key="third", reason="test", actor=None)

    damage(
        (
            "UPDATE accounts_posting SET balance_after = balance_after + 1"
            " WHERE entry_id = 'second' AND account = 'wallet'",
        )
    )

    # The step up to it and the step away from it.
    assert findings() == [("balance_after_wrong", f"wallet:{wallet.pk}")] * 2


def test_postings_that_left_no_gap_in_the_sums_are_found_by_the_last_balance(wallet, damage):
    """Sum and entries still agree; only the running balance tells."""
    damage(("UPDATE accounts_posting SET balance_after = 9 WHERE balance_after = 10000000",))

    assert findings() == [
        ("balance_after_wrong", f"wallet:{wallet.pk}"),
        ("wallet_balance_wrong", f"wallet:{wallet.pk}"),
    ]


def test_overdrawn_wallet_is_found(wallet, damage):
    damage(
        ("UPDATE accounts_wallet SET balance = -1",),
        (
            "UPDATE accounts_posting SET balance_after = -1"
            " WHERE entry_id = 'second' AND account = 'wallet'",
        ),
    )

    assert findings() == [
        ("balance_after_wrong", f"wallet:{wallet.pk}"),
        ("wallet_balance_wrong", f"wallet:{wallet.pk}"),
        ("wallet_negative", f"wallet:{wallet.pk}"),
        ("wallet_was_negative", f"wallet:{wallet.pk}"),
    ]


def test_order_that_was_never_charged_is_found(order, damage):
    damage(("UPDATE accounts_journalentry SET subject = '' WHERE kind = 'charge'",))

    subject = order.subject
    assert findings() == [
        ("order_charged_not_once", subject),
        ("order_net_charge_wrong", subject),
        ("order_refunded_too_much", subject),
    ]


def test_order_that_was_charged_twice_is_found(order):
    ledger.adjust(order.wallet, Decimal(5), key="funds", reason="test", actor=None)

    ledger.charge(order.wallet, order.charge, key="order:again", subject=order.subject)

    assert findings() == [
        ("order_charged_not_once", order.subject),
        ("order_net_charge_wrong", order.subject),
    ]


def test_refund_that_the_order_does_not_know_is_found(order):
    ledger.refund(order.wallet, Decimal("0.000001"), key="order:extra", subject=order.subject)

    assert findings() == [("order_net_charge_wrong", order.subject)]


def test_refunds_beyond_the_charge_are_found(order):
    ledger.refund(order.wallet, Decimal("1.01"), key="order:extra", subject=order.subject)

    assert findings() == [
        ("order_net_charge_wrong", order.subject),
        ("order_refunded_too_much", order.subject),
    ]


def test_order_whose_charge_and_refund_are_both_off_is_found(order):
    """The net charge still agrees."""
    type(order).objects.update(charge=Decimal("1.40"), refunded=Decimal("0.40"))

    assert findings() == [("order_charge_wrong", order.subject)]


def test_entry_of_an_order_that_does_not_exist_is_found(wallet):
    ledger.charge(wallet, Decimal(1), key="order:999999999:charge", subject="order:999999999")

    assert findings() == [
        ("entry_without_order", "order:999999999"),
        ("order_in_another_wallet", "order:999999999"),
    ]


def test_order_that_moved_anothers_wallet_is_found(order, wallet):
    ledger.refund(wallet, Decimal("0.10"), key="order:astray", subject=order.subject)

    assert findings() == [("order_in_another_wallet", order.subject)]


def test_command_says_in_short_that_all_is_well(order, capsys):
    call_command("audit_ledger", no_color=True)

    rules = len(CATALOGUE_RULES) + len(LEDGER_RULES) + len(ORDER_RULES)
    assert capsys.readouterr().out == (
        f"Checking 3 entries, 6 postings, 1 wallets, 1 orders, {rules} rules.\n"
        "Everything adds up.\n"
    )


def test_command_lists_what_is_wrong_and_exits_with_1(wallet, damage, capsys):
    damage(("UPDATE accounts_wallet SET balance = balance + 1",))

    with pytest.raises(SystemExit) as end:
        call_command("audit_ledger", no_color=True)

    assert end.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        f"wallet_balance_wrong: wallet:{wallet.pk}: 10.000001 held, 10.000000 posted, "
        "10.000000 after the last one",
        f"{len(lines) - 2} findings.",
    ]


def test_command_prints_json_for_programs(wallet, damage, capsys):
    call_command("audit_ledger", json=True)
    healthy = json.loads(capsys.readouterr().out)
    damage(("UPDATE accounts_wallet SET balance = balance + 1",))

    with pytest.raises(SystemExit) as end:
        call_command("audit_ledger", json=True)

    damaged = json.loads(capsys.readouterr().out)
    assert (healthy["ok"], healthy["findings"], damaged["ok"], end.value.code) == (
        True,
        [],
        False,
        1,
    )
    assert healthy["checked"] == {
        "entries": 2,
        "postings": 4,
        "wallets": 1,
        "orders": 0,
        "rules": len(CATALOGUE_RULES) + len(LEDGER_RULES) + len(ORDER_RULES),
    }
    assert damaged["findings"][-1] == {
        "rule": "wallet_balance_wrong",
        "subject": f"wallet:{wallet.pk}",
        "detail": "10.000001 held, 10.000000 posted, 10.000000 after the last one",
    }
