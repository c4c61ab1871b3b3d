"""Syncs that run at once, and one over a real socket."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction

from catalog import sync as sync_module
from catalog.models import Category, Service, SyncOutcome, SyncRecord
from catalog.providers import Offer, ServiceList
from catalog.sync import sync
from tests.factories import OrderFactory, ProviderFactory, ServiceFactory

OFFERS = [
    Offer(str(n), f"Followers {n}", f"Instagram {n}", "Default", Decimal(1), 1, 100)
    for n in range(20)
]


def in_thread(work: Callable[[], Any]) -> Any:
    try:
        return work()
    finally:
        connections.close_all()


@pytest.mark.django_db(transaction=True)
def test_the_provider_is_called_outside_any_transaction(monkeypatch):
    seen = []

    class Client:
        def services(self) -> ServiceList:
            seen.append(connection.in_atomic_block)
            return ServiceList(OFFERS)

    monkeypatch.setattr(sync_module, "client_for", lambda provider: Client())

    sync(ProviderFactory())

    assert seen == [False]


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_two_syncs_at_once_store_the_list_once(monkeypatch):
    provider = ProviderFactory()
    # Both have seen an empty catalogue before either may write; then, without the lock, both
    # would have compared before either has written.
    compared = [threading.Barrier(2), threading.Barrier(2)]
    rounds = threading.local()
    compare = sync_module._compare

    def compare_together(*args: Any) -> Any:
        difference = compare(*args)
        rounds.number = getattr(rounds, "number", -1) + 1
        try:
            compared[rounds.number].wait(timeout=10 if rounds.number == 0 else 1)
        except threading.BrokenBarrierError:
            assert rounds.number == 1
        return difference

    class Client:
        def services(self) -> ServiceList:
            return ServiceList(OFFERS)

    monkeypatch.setattr(sync_module, "_compare", compare_together)
    monkeypatch.setattr(sync_module, "client_for", lambda provider: Client())

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(in_thread, partial(sync, provider)) for _ in range(2)]
        records = [future.result() for future in both]

    assert sorted(record.outcome for record in records) == [
        SyncOutcome.CHANGED,
        SyncOutcome.UNCHANGED,
    ]
    assert Service.objects.count() == 20
    assert SyncRecord.objects.count() == 1


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_two_providers_with_the_same_new_categories_sync_at_once(monkeypatch):
    providers = ProviderFactory.create_batch(2)
    compared, inserted = threading.Barrier(2), threading.Barrier(2)
    write = sync_module._write

    def write_together(*args: Any) -> None:
        compared.wait(timeout=10)
        # Each has made its first category before either makes its second, unless it has to wait
        # for the other: in different orders, they would then wait for each other.
        with connection.execute_wrapper(meet_after_the_first_category()):
            write(*args)

    def meet_after_the_first_category() -> Callable[..., Any]:
        met = []

        def wrapper(execute: Any, sql: str, *args: Any) -> Any:
            result = execute(sql, *args)
            if 'INTO "catalog_category"' in sql and not met:
                met.append(sql)
                with suppress(threading.BrokenBarrierError):
                    inserted.wait(timeout=1)
            return result

        return wrapper

    class Client:
        def __init__(self, offers: list[Offer]) -> None:
            self.offers = offers

        def services(self) -> ServiceList:
            return ServiceList(self.offers)

    monkeypatch.setattr(sync_module, "BATCH", 1)
    monkeypatch.setattr(sync_module, "_write", write_together)
    monkeypatch.setattr(
        sync_module,
        "client_for",
        lambda provider: Client(OFFERS if provider == providers[0] else OFFERS[::-1]),
    )

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(in_thread, partial(sync, provider)) for provider in providers]
        outcomes = [future.result().outcome for future in both]

    assert outcomes == [SyncOutcome.CHANGED] * 2
    assert (Category.objects.count(), Service.objects.count()) == (20, 40)


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_staff_wait_for_a_sync_that_writes_and_orders_do_not(monkeypatch):
    service = ServiceFactory(external_id="0")
    order = OrderFactory(service=service)
    write = sync_module._write
    seen = []

    def attempt(work: Callable[[], Any]) -> str:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '300ms'")
                work()
        except OperationalError:
            return "waits"
        return "passes"

    def edit() -> None:
        Service.objects.filter(pk=service.pk).update(name="Ours")

    def buy() -> None:
        OrderFactory(service=service, wallet=order.wallet)

    def write_meanwhile(*args: Any) -> None:
        with ThreadPoolExecutor(1) as pool:
            for work in (edit, buy):
                seen.append(pool.submit(in_thread, partial(attempt, work)).result())
        write(*args)

    class Client:
        def services(self) -> ServiceList:
            return ServiceList(OFFERS)

    monkeypatch.setattr(sync_module, "_write", write_meanwhile)
    monkeypatch.setattr(sync_module, "client_for", lambda provider: Client())

    sync(service.provider)

    assert seen == ["waits", "passes"]


@pytest.mark.django_db
def test_sync_over_the_sandboxs_socket_fills_the_catalogue(sandbox):
    provider = sandbox.provider()

    record = sync(provider)

    assert record.outcome == SyncOutcome.CHANGED
    assert record.added == Service.objects.count() >= 300
    assert Service.objects.orderable().exists()
    assert sync(provider).pk is None
