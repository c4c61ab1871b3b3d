"""Measures one database (see __main__.py) with the product's own settings; prints JSON."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "storefront.settings"
django.setup()

from django.core.management import call_command
from django.db import connection
from django.db.models import F
from django.http import HttpResponse
from django.test import Client

from accounts import api_keys, ledger
from accounts.models import ExchangeRate, User
from catalog import listing
from catalog.models import Provider, Service
from catalog.sandbox.delivery import NEVER_FAILS
from catalog.sandbox.server import Sandbox
from catalog.sync import sync
from orders.audit import RULES as ORDER_RULES
from orders.checkout import place_order
from orders.models import Source
from orders.requests import OrderDraft

SERVICES = 10_000
ORDERS = 200
THREADS = 8

results: list[tuple[str, float, str]] = []


def seconds(work: Callable[[], object]) -> float:
    """How long this took."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def took(name: str, work: Callable[[], object], *, times: int = 1) -> None:
    """Note the median of so many runs, in milliseconds."""
    results.append((name, statistics.median(seconds(work) for _ in range(times)) * 1000, "ms"))


def rate(name: str, count: int, work: Callable[[], object]) -> None:
    """Note how many of `count` things were done a second."""
    results.append((name, count / seconds(work), "/s"))


def durable() -> None:
    """tests.postgres takes short cuts with the disk; both databases keep their promises here."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                cursor.execute(f"ALTER SYSTEM SET {setting} = on")
            cursor.execute("SELECT pg_reload_conf()")


def measure_catalogue(folder: Path) -> None:
    sandbox = Sandbox(
        folder / "sandbox.sqlite3", key="key", services=SERVICES, speed=0, habits=NEVER_FAILS
    )
    sandbox.start("127.0.0.1", 0)
    try:
        provider = Provider.objects.create(name="Sandbox", base_url=sandbox.url, api_key="key")
        took(f"sync of {SERVICES:,} services, the first", lambda: sync(provider))
        took("  again, nothing changed", lambda: sync(provider), times=3)
        Service.objects.filter(pk__in=Service.objects.values("pk")[:100]).update(provider_rate=9)
        took("  again, 100 changed", lambda: sync(provider))
    finally:
        sandbox.close()
    took("whole catalogue with prices", lambda: listing.catalogue("XAF"), times=3)
    for text in ("", "instagram followers", "takipci"):
        took(
            f"search, 25 of “{text}”",
            lambda text=text: listing.search(currency="XAF", text=text, limit=25),
            times=10,
        )


def measure_services() -> None:
    """A reseller's program that asks for all services, through all that the API does."""
    limits = {"api_per_minute": 10**6, "api_per_day": 10**6}
    user = User.objects.create_user("program@example.com", **limits)
    _, key = api_keys.issue(user, name="bench", currency="XAF")
    client = Client(
        SERVER_NAME="localhost", headers={"X-API-Key": key, "Accept-Encoding": "gzip, zstd"}
    )
    shown = Service.objects.filter(pk=Service.objects.orderable().values("pk")[:1])

    def get(**headers: str) -> HttpResponse:
        return client.get("/api/v1/services", headers=headers)

    def get_after_change() -> None:
        shown.update(max_quantity=F("max_quantity") + 1)
        get()

    get()
    took(f"GET /services of {SERVICES:,}, right after a change", get_after_change, times=3)
    took("  again: the prepared bytes", get, times=20)
    tag = get().headers["ETag"]
    took("  again, with their ETag: 304", lambda: get(**{"If-None-Match": tag}), times=20)


def place(customer: User, service: Service, count: int) -> None:
    draft = OrderDraft(
        service_id=service.pk, values={"link": "https://example.com/a", "quantity": 1000}
    )
    for _ in range(count):
        place_order(customer=customer, currency="XAF", draft=draft, source=Source.REST)


def measure_orders() -> None:
    service = Service.objects.orderable().filter(type="Default").first()
    assert service is not None
    customers = [User.objects.create_user(f"c{number}@example.com") for number in range(THREADS)]
    for customer in customers:
        wallet = ledger.wallet_of(customer, "XAF")
        ledger.adjust(wallet, Decimal(10**9), key=f"bench:{wallet.pk}", reason="bench", actor=None)

    def together(buyers: list[User]) -> None:
        def buy(buyer: User) -> None:
            try:
                place(buyer, service, ORDERS // THREADS)
            finally:
                connection.close()

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(buy, buyers))

    rate("orders placed, one after another", ORDERS, lambda: place(customers[0], service, ORDERS))
    rate(f"orders placed by {THREADS} customers at once", ORDERS, lambda: together(customers))
    rate(
        f"  {THREADS} at once out of one wallet", ORDERS, lambda: together(customers[:1] * THREADS)
    )
    took("audit of their orders", lambda: [list(rule()) for rule in ORDER_RULES], times=3)


def main() -> None:
    call_command("migrate", verbosity=0)
    call_command("createcachetable", verbosity=0)
    durable()
    ExchangeRate.objects.create(base="USD", quote="XAF", rate=Decimal(600))
    with tempfile.TemporaryDirectory() as folder:
        measure_catalogue(Path(folder))
    measure_services()
    measure_orders()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
