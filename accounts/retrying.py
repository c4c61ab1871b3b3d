"""Transactions that are begun again when the database broke them off in favour of another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import structlog
from django.db import OperationalError, connection, transaction

log = structlog.get_logger(__name__)

ATTEMPTS = 3
# PostgreSQL: deadlock detected, serialization failure.
_BROKEN_OFF = frozenset({"40P01", "40001"})

T = TypeVar("T")


def in_one_transaction(work: Callable[[], T]) -> T:
    """Do the work in a transaction, at most three times in all where the database chose it as the
    victim of a deadlock: nothing of it was done then. Lock order forbids deadlocks among our own
    transactions; this is for what others (a report, a person with psql) hold.

    Within another transaction it is done once: that one is broken off as a whole.
    """
    attempts = 1 if connection.in_atomic_block else ATTEMPTS
    for attempt in range(1, attempts + 1):
        try:
            with transaction.atomic():
                return work()
        except OperationalError as error:
            if attempt == attempts or not _was_broken_off(error):
                raise
            log.warning("transaction.again", attempt=attempt)
    raise AssertionError("the last attempt returns or raises")


def _was_broken_off(error: OperationalError) -> bool:
    return getattr(error.__cause__, "sqlstate", None) in _BROKEN_OFF
