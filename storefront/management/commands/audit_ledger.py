"""`manage.py audit_ledger`: proves that money and orders add up; its exit status tells."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from accounts.audit import RULES as LEDGER_RULES
from accounts.audit import Finding
from accounts.models import JournalEntry, Posting, Wallet
from catalog.audit import RULES as CATALOGUE_RULES
from orders.audit import RULES as ORDER_RULES
from orders.models import Order

RULES = (*CATALOGUE_RULES, *LEDGER_RULES, *ORDER_RULES)


class Command(BaseCommand):
    help = "Prove that the ledger balances and agrees with wallets and orders."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        checked = {
            "entries": JournalEntry.objects.count(),
            "postings": Posting.objects.count(),
            "wallets": Wallet.objects.count(),
            "orders": Order.objects.count(),
            "rules": len(RULES),
        }
        found = self._as_json(checked) if options["json"] else self._as_text(checked)
        if found:
            sys.exit(1)

    def _findings(self) -> Iterator[Finding]:
        for rule in RULES:
            yield from rule()

    def _as_json(self, checked: dict[str, int]) -> int:
        findings = [asdict(finding) for finding in self._findings()]
        report = {"ok": not findings, "checked": checked, "findings": findings}
        self.stdout.write(json.dumps(report, indent=2))
        return len(findings)

    def _as_text(self, checked: dict[str, int]) -> int:
        counted = ", ".join(f"{number} {what}" for what, number in checked.items())
        self.stdout.write(f"Checking {counted}.")
        found = 0
        for finding in self._findings():
            found += 1
            self.stdout.write(f"{finding.rule}: {finding.subject}: {finding.detail}")
        if found:
            self.stdout.write(self.style.ERROR(f"{found} findings."))
        else:
            self.stdout.write(self.style.SUCCESS("Everything adds up."))
        return found
