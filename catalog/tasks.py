"""Jobs of the catalogue. Each may run twice, and at the same time as itself: see `sync`."""

from __future__ import annotations

import structlog
from django_q.tasks import async_task

from accounts import jobs
from catalog import versions
from catalog.models import Dialect, Provider
from catalog.sync import sync

log = structlog.get_logger(__name__)


def sync_all() -> None:
    """Queue a sync of each enabled provider: none waits for another, or fails with it."""
    real = Provider.objects.filter(enabled=True).exclude(dialect=Dialect.PLAY)
    for provider_id in real.values_list("pk", flat=True):
        async_task("catalog.tasks.sync_provider", provider_id, q_options={"save": False})


def sync_provider(provider_id: int) -> None:
    """Sync one provider, unless it has been disabled or deleted since this was queued."""
    provider = Provider.objects.filter(pk=provider_id, enabled=True).first()
    if provider is None:
        return
    with jobs.attempt(f"sync_provider:{provider_id}") as may_run:
        if not may_run:
            return
        record = sync(provider)
    log.info(
        "synced",
        provider=provider_id,
        outcome=record.outcome,
        listed=record.listed,
        added=record.added,
        changed=record.changed,
        disabled=record.disabled,
        enabled=record.enabled,
        refused=record.refused,
    )


def prune_changes() -> None:
    """Forget old changes of the catalogue, where there are many."""
    versions.prune()
