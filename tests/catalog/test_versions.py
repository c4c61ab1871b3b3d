"""The version of the catalogue: another one after each change, whatever commits late."""

from __future__ import annotations

from functools import partial
from threading import Event

import pytest
from django.db import connection, transaction

from catalog import health, versions
from catalog.models import CatalogueChange, Provider, Service
from tests.concurrency.together import PATIENCE, together
from tests.factories import ServiceFactory


def test_version_stays_while_nothing_changes(db, django_assert_num_queries):
    ServiceFactory()
    first = versions.current()

    with django_assert_num_queries(1):
        again = versions.current()

    assert again == first


def test_default_markup_is_part_of_the_version(db, settings):
    first = versions.current()

    settings.DEFAULT_MARKUP_PERCENT = "31"

    assert versions.current() != first


def test_change_that_is_rolled_back_makes_no_version(db):
    service = ServiceFactory()
    first = versions.current()

    with transaction.atomic():
        Service.objects.filter(pk=service.pk).update(name="Other")
        changed = versions.current()
        transaction.set_rollback(True)

    assert (versions.current() == first, changed == first) == (True, False)


def test_providers_health_makes_no_version(db):
    provider = ServiceFactory().provider
    first = versions.current()

    for _ in range(health.FAILURES_ALLOWED):
        health.failed(provider, "down")
    health.close(provider)
    Provider.objects.update(balance=7, window_calls=3, enabled=True)

    assert versions.current() == first


def test_a_sync_in_bulk_writes_few_rows(db):
    """PostgreSQL: one a statement. SQLite: the newest takes the place of the one before."""
    first = ServiceFactory()
    before = CatalogueChange.objects.count()

    Service.objects.bulk_create(
        Service(
            provider=first.provider,
            category=first.category,
            external_id=f"bulk{number}",
            provider_name="Bulk",
            type=first.type,
        )
        for number in range(20)
    )

    written = CatalogueChange.objects.count() - before
    assert written == (1 if connection.vendor == "postgresql" else 0)


def test_pruning_forgets_all_but_its_own_mark(db, monkeypatch):
    CatalogueChange.objects.bulk_create([CatalogueChange() for _ in range(3)])
    monkeypatch.setattr(versions, "ENOUGH", 3)
    few, first = versions.prune(), versions.current()

    monkeypatch.setattr(versions, "ENOUGH", 2)
    many = versions.prune()

    assert (few, many, CatalogueChange.objects.count()) == (0, 3, 1)
    assert versions.current() != first


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_change_that_commits_late_is_never_hidden(monkeypatch):
    """It takes its id before one that commits first; pruning meanwhile makes up for its row."""
    monkeypatch.setattr(versions, "ENOUGH", 0)
    late, quick = ServiceFactory(), ServiceFactory()
    taken, noted = Event(), Event()

    def commit_late():
        with transaction.atomic():
            Service.objects.filter(pk=late.pk).update(name="Late")
            taken.set()
            assert noted.wait(PATIENCE)

    def look(*, pruned):
        assert taken.wait(PATIENCE)
        Service.objects.filter(pk=quick.pk).update(name="Quick")
        seen = [versions.current()]
        if pruned:
            versions.prune()
            seen.append(versions.current())
        noted.set()
        return seen

    for pruned in (False, True):
        versions.prune()
        taken.clear()
        noted.clear()

        committed, seen = together(commit_late, partial(look, pruned=pruned))

        assert committed is None
        assert versions.current() not in seen
