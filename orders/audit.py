"""The proof that orders and ledger tell the same story; see accounts/audit.py for the method.

The ledger names an order in words (`order:42`), which the ORM cannot join on: plain SQL that both
databases run with one pass over each table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import connection

from accounts.audit import Finding, Rule
from accounts.money import AmountField

_ORDERS_AGAINST_LEDGER = """
WITH moved AS (
    SELECT entry.subject, posting.wallet_id,
        SUM(CASE entry.kind WHEN 'charge' THEN 1 ELSE 0 END) AS charges,
        SUM(CASE entry.kind WHEN 'charge' THEN -posting.amount ELSE 0 END) AS charged,
        SUM(CASE entry.kind WHEN 'charge' THEN 0 ELSE posting.amount END) AS paid_back
    FROM accounts_journalentry entry
    JOIN accounts_posting posting ON posting.entry_id = entry.key
    WHERE entry.subject LIKE 'order:%' AND posting.account = 'wallet'
    GROUP BY entry.subject, posting.wallet_id
)
SELECT * FROM (
    SELECT orders_order.id, orders_order.charge, orders_order.refunded,
        COALESCE(moved.charges, 0) AS charges,
        COALESCE(moved.charged, 0) AS charged,
        COALESCE(moved.paid_back, 0) AS paid_back
    FROM orders_order
    LEFT JOIN moved
        ON moved.subject = 'order:' || orders_order.id AND moved.wallet_id = orders_order.wallet_id
) compared
WHERE charges <> 1 OR charged <> charge OR paid_back <> refunded OR paid_back > charged
ORDER BY id
"""
_ENTRIES_WITHOUT_ORDER = """
SELECT subject FROM accounts_journalentry WHERE subject LIKE 'order:%'
EXCEPT SELECT 'order:' || id FROM orders_order
ORDER BY subject
"""
_MOVED_IN_ANOTHER_WALLET = """
SELECT entry.subject, posting.wallet_id
FROM accounts_journalentry entry JOIN accounts_posting posting ON posting.entry_id = entry.key
WHERE entry.subject LIKE 'order:%' AND posting.account = 'wallet'
EXCEPT SELECT 'order:' || id, wallet_id FROM orders_order
ORDER BY subject, wallet_id
"""


def orders_match_the_ledger() -> Iterator[Finding]:
    """I5: one charge entry an order, of its charge; what was paid back is what the order says it
    was, and never more than was charged."""
    for order, *amounts in _rows(_ORDERS_AGAINST_LEDGER):
        subject, charges = f"order:{order}", amounts.pop(2)
        charge, refunded, charged, paid_back = map(_amount, amounts)
        if charges != 1:
            yield Finding("order_charged_not_once", subject, f"the ledger has {charges} charges")
        if charged - paid_back != charge - refunded:
            detail = f"net charge {charge - refunded}, in the ledger {charged - paid_back}"
            yield Finding("order_net_charge_wrong", subject, detail)
        elif (charged, paid_back) != (charge, refunded):
            detail = f"charge {charge}, in the ledger {charged}; refunded {refunded}, {paid_back}"
            yield Finding("order_charge_wrong", subject, detail)
        if paid_back > charged:
            detail = f"{paid_back} paid back of {charged}"
            yield Finding("order_refunded_too_much", subject, detail)


def entries_have_orders() -> Iterator[Finding]:
    """I5: the ledger names no order that there is not."""
    for (subject,) in _rows(_ENTRIES_WITHOUT_ORDER):
        yield Finding("entry_without_order", subject, "the ledger has entries of it")


def orders_move_their_own_wallet() -> Iterator[Finding]:
    """I5: an order is paid from, and back to, the wallet that it names."""
    for subject, wallet in _rows(_MOVED_IN_ANOTHER_WALLET):
        yield Finding("order_in_another_wallet", subject, f"wallet {wallet} has postings of it")


RULES: tuple[Rule, ...] = (
    orders_match_the_ledger,
    entries_have_orders,
    orders_move_their_own_wallet,
)


def _rows(sql: str) -> Iterator[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        yield from cursor


def _amount(stored: Any) -> Any:
    return AmountField().from_db_value(stored, None, connection)
