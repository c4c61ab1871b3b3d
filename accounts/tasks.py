"""Jobs of the accounts. Safe to run twice, at the same time, and to be killed anywhere."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from accounts import jobs, limits, request_log, webhooks

log = structlog.get_logger(__name__)


# Each for as long as accounts/pruning.py allows.
_FORGETTING: dict[str, Callable[[], int]] = {
    "api_requests": request_log.prune,
    "webhook_events": webhooks.prune_events,
    "webhook_endpoints": webhooks.prune_removed,
    "wrong_keys": limits.forget_wrong_keys,
}


def prune() -> None:
    """Delete what is kept for 30 days only, and addresses that guess no longer. What cannot be
    deleted keeps nothing else from going."""
    with jobs.only("prune") as may_run:
        if not may_run:
            return
        pruned = {}
        for what, forget in _FORGETTING.items():
            try:
                pruned[what] = forget()
            except Exception:
                log.exception("prune.failed", what=what)
            jobs.beat()
    log.info("pruned", **pruned)
