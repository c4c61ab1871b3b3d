"""The proof that no list of services can go stale unseen."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection

from accounts.audit import Finding, Rule
from catalog import triggers


def triggers_in_force() -> Iterator[Finding]:
    """The database notes every change to what the lists show."""
    for name in triggers.missing(connection):
        yield Finding("trigger_missing", name, "changes to the catalogue are not noted")


RULES: tuple[Rule, ...] = (triggers_in_force,)
