"""What is deleted goes a little at a time, and one fault keeps nothing else from going."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts import jobs, limits, pruning, tasks, webhooks
from accounts.clock import from_now
from accounts.models import WebhookAttempt, WebhookDelivery, WebhookEvent, WrongKeys
from accounts.webhooks import Happened
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def guessed(times: int) -> None:
    WrongKeys.objects.bulk_create(WrongKeys(address=f"10.0.0.{n}", count=1) for n in range(times))


def pass_after(patch: pytest.MonkeyPatch, batches: int) -> None:
    """Let the time be over after so many batches."""
    moments = iter([0.0] * (1 + batches))  # the first: when it begins
    patch.setattr(pruning, "monotonic", lambda: next(moments, 1000.0))


@pytest.mark.parametrize(("batches", "left"), [(1, 3), (2, 1), (9, 0)])
def test_rows_go_in_batches_until_the_time_is_over(monkeypatch, batches, left):
    guessed(5)
    monkeypatch.setattr(pruning, "BATCH", 2)
    pass_after(monkeypatch, batches)

    assert limits.forget_wrong_keys() == 5 - left
    assert WrongKeys.objects.count() == left


def test_log_goes_before_its_event_and_each_batch_by_itself(monkeypatch):
    user = UserFactory()
    webhooks.create(user, url="https://a.example/", events=["order.created"])
    webhooks.record([Happened(user.pk, "order.created", "order:1", {})])
    delivery = WebhookDelivery.objects.get()
    WebhookAttempt.objects.bulk_create(
        WebhookAttempt(delivery=delivery, milliseconds=1) for _ in range(5)
    )
    WebhookEvent.objects.update(created_at=from_now(-timedelta(days=31)))
    monkeypatch.setattr(pruning, "BATCH", 2)

    # The first is asked for the event's batch.
    with monkeypatch.context() as patch:
        pass_after(patch, 1 + 2)
        assert webhooks.prune_events() == 4
    assert (WebhookAttempt.objects.count(), WebhookDelivery.objects.count()) == (1, 1)

    with CaptureQueriesContext(connection) as asked:
        assert webhooks.prune_events() == 3
    gone = [query["sql"].split()[2].strip('"') for query in asked if "DELETE" in query["sql"]]
    assert [*dict.fromkeys(gone)] == [
        "accounts_webhookattempt",
        "accounts_webhookdelivery",
        "accounts_webhookevent",
    ]


def test_one_fault_keeps_nothing_else_from_going(monkeypatch):
    def broken():
        raise RuntimeError

    guessed(1)
    monkeypatch.setitem(tasks._FORGETTING, "webhook_events", broken)

    tasks.prune()

    assert WrongKeys.objects.count() == 0


def test_job_is_alone():
    guessed(1)

    with jobs.alone("prune"):
        tasks.prune()

    assert WrongKeys.objects.count() == 1
