"""Telling staff: one open alert per code and subject, counted instead of repeated."""

from __future__ import annotations

import structlog
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import Alert

log = structlog.get_logger(__name__)


def alert(code: str, *, subject: str, message: str) -> None:
    """Open an alert for staff, or count it once more where one is open."""
    log.error("alert", code=code, subject=subject, message=message)
    with transaction.atomic():
        repeated = Alert.objects.filter(code=code, subject=subject, resolved_at=None).update(
            times=F("times") + 1, message=message, last_at=timezone.now()
        )
        if not repeated:
            # Two at once: the unique constraint lets one in, and the other has nothing to add.
            Alert.objects.bulk_create(
                [Alert(code=code, subject=subject, message=message)], ignore_conflicts=True
            )


def resolve(code: str, *, subject: str) -> None:
    """Close the open alert of this code and subject, if there is one."""
    Alert.objects.filter(code=code, subject=subject, resolved_at=None).update(
        resolved_at=timezone.now()
    )
