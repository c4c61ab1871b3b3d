"""Deleting what is kept for a time only: a little at a time, so that nobody waits for it."""

from __future__ import annotations

from time import monotonic
from typing import Any

from django.db.models import QuerySet

# Rows of one transaction.
BATCH = 5000
# What is left after this waits for the next job.
BUDGET_SECONDS = 20


def deadline() -> float:
    """When deleting that begins now has to end; for `delete`."""
    return monotonic() + BUDGET_SECONDS


def is_over(until: float) -> bool:
    """Whether the time that began with `deadline` has run out."""
    return monotonic() >= until


def delete(rows: QuerySet[Any], *, until: float) -> int:
    """Delete the rows, a batch a transaction, in their order; returns how many went. What the time
    does not allow stays.

    Rows that hang on them go with them, unbounded: delete those first.
    """
    deleted = 0
    while not is_over(until):
        batch = list(rows.values_list("pk", flat=True)[:BATCH])
        deleted += rows.model._base_manager.filter(pk__in=batch).only("pk").delete()[0]
        if len(batch) < BATCH:
            break
    return deleted
