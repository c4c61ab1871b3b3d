"""The jobs that keep the catalogue up to date."""

from __future__ import annotations

import pytest
from django_q.models import OrmQ

from catalog import tasks
from catalog.models import Provider, Service, SyncOutcome, SyncRecord
from tests.factories import ProviderFactory

pytestmark = pytest.mark.django_db


def queued() -> list[tuple[str, tuple[int, ...]]]:
    return [(job.task["func"], job.task["args"]) for job in OrmQ.objects.order_by("pk")]


def test_sync_all_queues_one_job_for_each_enabled_provider():
    first, second = ProviderFactory.create_batch(2)
    ProviderFactory(enabled=False)

    tasks.sync_all()

    assert sorted(queued()) == [
        ("catalog.tasks.sync_provider", (first.pk,)),
        ("catalog.tasks.sync_provider", (second.pk,)),
    ]


def test_sync_all_passes_a_provider_whose_key_cannot_be_read(settings):
    ProviderFactory()
    settings.ENCRYPTION_KEYS = ["bmV3LWtleS1uZXcta2V5LW5ldy1rZXktbmV3LWtleS0="]

    tasks.sync_all()

    assert len(queued()) == 1


def test_sync_provider_syncs_and_is_safe_to_run_twice(sandbox):
    provider = sandbox.provider()

    tasks.sync_provider(provider.pk)
    tasks.sync_provider(provider.pk)

    assert Service.objects.filter(provider=provider).count() >= 300
    assert SyncRecord.objects.values_list("outcome", flat=True).get() == SyncOutcome.CHANGED


def test_sync_provider_leaves_a_disabled_or_deleted_provider_alone(sandbox):
    provider = sandbox.provider(enabled=False)

    tasks.sync_provider(provider.pk)
    Provider.objects.all().delete()
    tasks.sync_provider(provider.pk)

    assert not sandbox.calls
    assert not SyncRecord.objects.exists()


def test_sync_provider_records_a_key_that_cannot_be_read(settings):
    provider = ProviderFactory()
    settings.ENCRYPTION_KEYS = ["bmV3LWtleS1uZXcta2V5LW5ldy1rZXktbmV3LWtleS0="]

    tasks.sync_provider(provider.pk)

    assert SyncRecord.objects.values_list("outcome", flat=True).get() == SyncOutcome.FAILED
