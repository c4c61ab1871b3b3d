"""Staff see one open alert per code and subject, counted instead of repeated."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import time_machine
from django.db import transaction

from accounts import alerts
from accounts.alerts import MESSAGE_LIMIT, alert, close, resolve
from accounts.models import Alert

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


def rows():
    return list(
        Alert.objects.order_by("pk").values_list(
            "code", "subject", "message", "times", "resolved_at"
        )
    )


def test_repeated_alert_is_counted_and_says_the_latest():
    alert("sync_failed", subject="provider:1", message="time-out")
    alert("sync_failed", subject="provider:1", message="HTML")

    assert rows() == [("sync_failed", "provider:1", "HTML", 2, None)]


def test_alerts_of_other_codes_and_subjects_are_their_own():
    alert("sync_failed", subject="provider:1", message="a")
    alert("sync_failed", subject="provider:2", message="b")
    alert("sync_held", subject="provider:1", message="c")

    assert [row[3] for row in rows()] == [1, 1, 1]


def test_resolved_alert_opens_anew():
    alert("sync_failed", subject="provider:1", message="first")
    with time_machine.travel(NOON, tick=False):
        resolve("sync_failed", subject="provider:1")

    alert("sync_failed", subject="provider:1", message="second")

    assert rows() == [
        ("sync_failed", "provider:1", "first", 1, NOON),
        ("sync_failed", "provider:1", "second", 1, None),
    ]


def test_resolving_twice_keeps_the_first_time():
    alert("sync_failed", subject="provider:1", message="first")
    with time_machine.travel(NOON, tick=False):
        closed = [close(Alert.objects.all()), close(Alert.objects.all())]

    assert closed == [1, 0]
    resolve("sync_failed", subject="provider:1")
    assert Alert.objects.get().resolved_at == NOON


def test_alert_opened_by_another_process_in_the_same_moment_is_counted(monkeypatch):
    alert("sync_failed", subject="provider:1", message="theirs")
    real = alerts._count_again
    looks = []

    def count_again(*args):
        looks.append(args)
        return real(*args) if len(looks) > 1 else 0  # at first theirs was not visible yet

    monkeypatch.setattr(alerts, "_count_again", count_again)

    alert("sync_failed", subject="provider:1", message="ours")

    assert rows() == [("sync_failed", "provider:1", "ours", 2, None)]


def test_alert_takes_any_text_of_a_provider():
    alert("sync_failed", subject="provider:1", message="a\x00b\ud800c" + "x" * 10_000)

    (row,) = rows()
    assert row[2].startswith("a\ufffdb?c")
    assert len(row[2]) == MESSAGE_LIMIT


def test_alert_of_a_transaction_that_rolls_back_is_lost():
    """The contract that callers must know."""
    with transaction.atomic():
        alert("sync_failed", subject="provider:1", message="never seen")
        transaction.set_rollback(True)

    assert rows() == []
