"""Whether the books add up: every rule of `manage.py audit_ledger`, for the end of a test."""

from __future__ import annotations

from accounts.audit import RULES as LEDGER_RULES
from accounts.audit import Finding
from orders.audit import RULES as ORDER_RULES


def breaches() -> list[Finding]:
    """What breaks a rule of ledger, wallets and orders; empty when all is well."""
    return [finding for rule in (*LEDGER_RULES, *ORDER_RULES) for finding in rule()]
