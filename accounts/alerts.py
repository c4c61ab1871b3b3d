"""Telling staff: one open alert per code and subject, counted instead of repeated."""

from __future__ import annotations

import structlog
from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from accounts.models import Alert

log = structlog.get_logger(__name__)

MESSAGE_LIMIT = 2000


def alert(code: str, *, subject: str, message: str) -> None:
    """Open an alert for staff, or count it once more where one is open.

    It is a row of the caller's transaction: rolled back, it never was, and only the log has it.
    Tell after the transaction that failed, or in the one that succeeded; not inside one that the
    database has aborted. `message` may quote a provider: what no database takes is replaced.
    """
    log.error("alert", code=code, subject=subject, message=message)
    text = message.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")[:MESSAGE_LIMIT]
    if _count_again(code, subject, text):
        return
    try:
        with transaction.atomic():
            Alert.objects.create(code=code, subject=subject, message=text)
    except IntegrityError:
        # Two at once: the unique constraint let the other one open it.
        _count_again(code, subject, text)


def resolve(code: str, *, subject: str) -> None:
    """Close the open alert of this code and subject, if there is one."""
    close(Alert.objects.filter(code=code, subject=subject))


def close(alerts: QuerySet[Alert]) -> int:
    """Close those of the alerts that are open; returns how many were."""
    return alerts.filter(resolved_at=None).update(resolved_at=timezone.now())


def _count_again(code: str, subject: str, message: str) -> int:
    return Alert.objects.filter(code=code, subject=subject, resolved_at=None).update(
        times=F("times") + 1, message=message, last_at=timezone.now()
    )
