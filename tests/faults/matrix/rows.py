"""The rows: each breaks one thing under load and proves what must hold."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from django.conf import settings
from django.db import connection, transaction
from django_q.tasks import async_task

from accounts import api_keys, ledger
from accounts.models import User, Wallet
from catalog.models import Category, Network, Provider, Service
from catalog.order_types import ServiceType
from catalog.sandbox.misbehaviour import Kind
from orders.models import Order
from orders.statuses import Status
from tests.factories import UserFactory, fund
from tests.faults.matrix.database import Server
from tests.faults.matrix.load import AT_ONCE, Load, panel
from tests.faults.matrix.proofs import become_quiet, prove, reconnect
from tests.faults.matrix.store import (
    Store,
    again_and_again,
    command,
    kill,
    kill_tree,
    measured,
    provider_in_hand,
)
from tests.processes import descendants, environment, eventually
from tests.running import run
from tests.sandbox import SandboxInTest

SUITE_WITHIN = 600
# Two ticks of the queue's schedule (each up to 30 s late), a start of the queue, and what the
# orders themselves take.
WATCHDOG_WITHIN = 260
NOISE = 0.25  # seconds: the queue looks for jobs twice a second
ODD_REPORTS = (
    Kind.HTML,
    Kind.EMPTY,
    Kind.TRUNCATED,
    Kind.NAN,
    Kind.FOREIGN_ID,
    Kind.HUGE,
    Kind.LIST,
)


@dataclass
class World:
    """What a row breaks: a store under way, its database, its provider, and how much load."""

    store: Store
    server: Server
    provider: SandboxInTest
    row: Provider
    service: Service
    orders: int  # how many orders a row places
    folder: Path
    away: float  # seconds for which the database is unreachable
    timed: bool  # whether what takes too long is broken, too

    def in_time(self, seconds: float, limit: float, what: str) -> None:
        """Raises AssertionError where this took longer than the matrix allows."""
        assert not self.timed or seconds < limit, f"{what} took {seconds:.1f} s"

    def customer(self, name: str, funds: int = 100_000) -> tuple[Wallet, Load]:
        """A customer with money and a key, and the load of that customer's program."""
        user = UserFactory(email=f"{name}-{User.objects.count()}@example.com")
        wallet = ledger.wallet_of(user, "USD")
        fund(wallet, funds)
        _key, text = api_keys.issue(user, name=name, currency="USD")
        return wallet, Load(f"{name}x", self.store.port, text, self.service.pk)

    def settle(self, wallet: Wallet, load: Load) -> str:
        """Become quiet, prove everything, and tell where the orders stand."""
        become_quiet()
        stand = prove(load, wallet, self.provider)
        told = ", ".join(f"{number} {status}" for status, number in sorted(stand.items()))
        return f"{told}; {load.failures} calls repeated"


Row = Callable[[World], str]
ROWS: dict[str, tuple[str, Row]] = {}


def row(title: str) -> Callable[[Row], Row]:
    """Put a function into the table under its own name."""

    def add(function: Row) -> Row:
        ROWS[function.__name__] = (title, function)
        return function

    return add


def suite(name: str, title: str, *tests: str, postgresql: bool = True) -> None:
    """A row that tests of the suite prove, on real processes or with real row locks."""

    def prove_by_tests(world: World) -> str:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
        if postgresql:
            command = [sys.executable, "-m", "tests.postgres", *command]
        clean = {
            key: value
            for key, value in os.environ.items()
            if key not in ("DATABASE_URL", "DATA_DIR", "DJANGO_SETTINGS_MODULE")
        }
        done = subprocess.run(
            command,
            check=False,
            cwd=settings.BASE_DIR,
            env=clean,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SUITE_WITHIN,
        )
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout.strip().splitlines()[-1].strip("= ")

    ROWS[name] = (title, prove_by_tests)


@contextmanager
def world(
    folder: Path, server: Server, *, orders: int, away: float, timed: bool
) -> Iterator[World]:
    """A store on the server's database that sells one service of a provider in hand."""
    provider = provider_in_hand(folder)
    store = Store(folder, server.url)
    try:
        store.manage("migrate", "--verbosity=0")
        selling = provider.provider(
            name="In hand", connect_timeout=2, read_timeout=2, low_balance=None
        )
        provider.set_balance("1000000")
        service = Service.objects.create(
            provider=selling,
            category=Category.objects.create(
                source_name="Instagram Followers", network=Network.INSTAGRAM
            ),
            external_id="1001",
            provider_name="Instagram Followers",
            provider_category="Instagram Followers",
            provider_type=ServiceType.DEFAULT,
            type=ServiceType.DEFAULT,
            provider_rate=1,
            min_quantity=10,
            max_quantity=100_000,
        )
        store.start()
        yield World(store, server, provider, selling, service, orders, folder, away, timed)
    finally:
        provider.behave()
        store.stop()
        connection.close()
        provider.close()


# --- the website ---------------------------------------------------------------------------------


@row("kill -9 a web worker, again and again")
def web_worker_killed(world: World) -> str:
    wallet, load = world.customer("webworker")

    with again_and_again(lambda: kill(world.store.web_workers()[0]), pause=0.7):
        load.place(world.orders)

    assert world.store.is_ready_again()
    return world.settle(wallet, load)


@row("kill -9 the web master")
def web_master_killed(world: World) -> str:
    wallet, load = world.customer("webmaster")

    def at_a_third(done: int) -> None:
        if done == world.orders // 3:
            kill(world.store.web_master())

    load.place(world.orders, after=at_a_third)

    assert world.store.is_ready_again()
    return world.settle(wallet, load)


@row("SIGTERM to each web worker in turn")
def web_rolling_sigterm(world: World) -> str:
    wallet, load = world.customer("rolling")

    def roll() -> None:
        os.kill(world.store.web_workers()[0], signal.SIGTERM)

    with again_and_again(roll, pause=1.0):
        load.place(world.orders)

    assert load.failures == 0, f"{load.failures} requests failed"
    return world.settle(wallet, load)


@row("50 orders with funds for 10, at once")
def funds_for_ten(world: World) -> str:
    wallet, load = world.customer("poor", funds=13)

    load.place(50)

    assert (len(load.orders), len(load.refused)) == (10, 40), (load.orders, load.refused)
    assert all(text.startswith("Insufficient balance") for text in load.refused.values())
    wallet.refresh_from_db()
    assert wallet.balance == 0
    return world.settle(wallet, load)


@row("the same key 50 times, at once")
def same_key(world: World) -> str:
    wallet, load = world.customer("samekey")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda _: load.call(0), range(50)))

    ids = {answer.body["order"] for answer in answers}
    assert len(ids) == 1
    load.orders[0] = ids.pop()
    assert Order.objects.filter(wallet=wallet).count() == 1
    return world.settle(wallet, load)


# --- the worker ----------------------------------------------------------------------------------


@row("kill -9 the job workers, again and again")
def job_worker_killed(world: World) -> str:
    wallet, load = world.customer("jobworker")

    with again_and_again(lambda: kill(*world.store.job_workers()[:1]), pause=2.0):
        load.place(world.orders)

    # An idle one may take the queue's lock with it: then the watchdog starts the queue anew.
    become_quiet(within=WATCHDOG_WITHIN)
    return world.settle(wallet, load)


@row("kill -9 the whole queue")
def cluster_killed(world: World) -> str:
    wallet, load = world.customer("cluster")

    def at_a_half(done: int) -> None:
        if done == world.orders // 2:
            kill_tree(world.store.cluster())

    load.place(world.orders, after=at_a_half)

    return world.settle(wallet, load)


@row("kill -9 an idle job worker, then the queue's sentinel")
def idle_worker_and_sentinel_killed(world: World) -> str:
    wallet, load = world.customer("idle")
    for victims in (world.store.job_workers, lambda: [world.store.sentinel()]):
        before = descendants(world.store.cluster())
        kill(*victims())
        load.place(1)
        become_quiet(within=WATCHDOG_WITHIN)
        left = before & descendants(1) - descendants(os.getpid())
        assert not left, f"orphans: {left}"
    return world.settle(wallet, load)


@row("clocks an hour ahead and an hour behind, and over a change to summer time")
def clocks_differ(world: World) -> str:
    wallet, load = world.customer("clock")
    with _clusters(world, "+3600", "-3600", "2027-03-28T00:59:50+00:00"):
        load.place(world.orders)
        return world.settle(wallet, load)


@row("jobs are run again while they run, here and on another machine")
def jobs_run_again(world: World) -> str:
    """What a queue does with a job that takes longer than its retry time."""
    wallet, load = world.customer("again")

    def queue_all() -> None:
        for job in ("dispatch_provider", "track_provider", "attend_provider", "reconcile_provider"):
            async_task(f"orders.tasks.{job}", world.row.pk, q_options={"save": False})
        async_task("orders.tasks.tick", q_options={"save": False})

    world.provider.misbehave("add", Kind.SLOW, seconds=0.3, times=world.orders)
    with _clusters(world, "+0"), again_and_again(queue_all, pause=0.5):
        load.place(world.orders)
        told = world.settle(wallet, load)
    world.provider.behave()
    return told


# --- the database --------------------------------------------------------------------------------


@row("kill -9 PostgreSQL")
def database_killed(world: World) -> str:
    wallet, load = world.customer("pgkilled")
    back: list[float] = []

    def at_a_third(done: int) -> None:
        if done == world.orders // 3:
            world.server.kill()
            world.server.start()
            back.append(measured(lambda: eventually(lambda: answers(load), within=10)))

    load.place(world.orders, after=at_a_third)

    reconnect()
    world.in_time(back[0], 1.0, "the website's first answer after the database's return")
    told = world.settle(wallet, load)
    load.place(1)
    sent = measured(
        lambda: eventually(
            lambda: Order.objects.get(pk=load.orders[world.orders]).sent_at is not None
        )
    )
    world.in_time(sent, 15, "sending a new order")
    return f"{told}; website back in {back[0] * 1000:.0f} ms, worker in {sent:.1f} s"


@row("the database is away")
def database_away(world: World) -> str:
    wallet, load = world.customer("pgaway")
    load.place(world.orders // 2)
    world.server.stop()
    reconnect()
    try:
        adds = len(world.provider.calls)
        until = time.monotonic() + world.away
        answers = []
        while time.monotonic() < until:
            answers.append(panel(world.store.port, load.key, action="balance"))
            time.sleep(0.5)
    finally:
        world.server.start()
    statuses = {answer.status for answer in answers}
    assert statuses == {503}, f"answered {statuses}"
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
    # What was being sent when it went away may end; nothing new can begin.
    assert len(world.provider.calls) - adds <= 8
    load.place(world.orders - world.orders // 2)
    return world.settle(wallet, load)


@row("one wallet is held for 10 s")
def wallet_held(world: World) -> str:
    wallet, load = world.customer("held")
    _wallet, other = world.customer("free")
    other.place(5)
    with transaction.atomic():
        Wallet.objects.select_for_update().get(pk=wallet.pk)
        held = load.call(0)
        free = [other.call(number).seconds for number in range(5, 15)]
    assert held.status == 503, f"answered {held.status}"
    world.in_time(held.seconds, 3.0, "the request for the held wallet")
    world.in_time(max(free), 1.0, "the slowest of the other wallets' requests")
    other.orders |= {number: other.call(number).body["order"] for number in range(5, 15)}
    load.place(1)
    world.settle(wallet, load)
    return f"503 after {held.seconds:.1f} s, others {max(free) * 1000:.0f} ms at most"


@row("restored from a dump that was made under load")
def restored(world: World) -> str:
    wallet, load = world.customer("restored")
    Provider.objects.filter(pk=world.row.pk).update(read_timeout=60)
    world.provider.misbehave("add", Kind.HANG, times=2)
    load.place(world.orders // 4)
    sending = Order.objects.filter(status=Status.SENDING)
    assert eventually(lambda: sending.count() >= 2), "nothing is being sent"
    address = world.server.copy(f"restored{int(time.time())}")
    world.provider.behave()
    folder = _folder(world, "restored")
    changes = {"DATABASE_URL": address, "DATA_DIR": str(folder)}
    told = world.store.manage("after_restore", **changes)
    world.store.manage("audit_ledger", **changes)  # fails where something does not add up
    before = len(world.provider.orders)
    world.store.manage(
        "shell",
        "-v",
        "0",
        "-c",
        "from orders import tasks; tasks.beat(); "
        "from catalog.models import Provider\n"
        "for p in Provider.objects.all(): tasks.dispatch_provider(p.pk)\n"
        "from orders.models import Order\n"
        "assert not Order.objects.filter(status='sending').exists()\n"
        "assert Order.objects.filter(status='unconfirmed').count() >= 2",
        **changes,
    )
    # Only the store that goes on sent what still waited; the copy sent nothing.
    assert len(world.provider.orders) - before <= world.orders // 4
    world.settle(wallet, load)
    Provider.objects.filter(pk=world.row.pk).update(read_timeout=2)
    return told.splitlines()[1]


@row("the disk is full, for database and log (SQLite)")
def disk_full(world: World) -> str:
    folder = _folder(world, f"full{int(time.time())}")
    url = f"sqlite:///{folder / 'store.sqlite3'}"
    with run(folder, SANDBOX_SERVICES="100", DATABASE_URL=url) as store:
        service = json.loads(store.text("services"))[0]["service"]

        def buy(number: int) -> int:
            try:
                answer = store.text(
                    "add",
                    service=str(service),
                    link=f"https://instagram.com/full{number}",
                    quantity="1000",
                    idempotency_key=f"full-{number}",
                )
            except urllib.error.HTTPError as error:
                error.close()
                return error.code
            assert "order" in json.loads(answer), answer
            return 200

        assert buy(0) == 200, "not even before"
        website = [pid for pid in descendants(store.process.pid) if "gunicorn" in command(pid)]
        for pid in website:
            # No file of theirs may grow beyond nothing: what a full disk does to them.
            _soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
        full = {buy(1) for _ in range(6)}
        for pid in website:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert full == {503}, f"answered {full}"
        assert eventually(lambda: buy(1) == 200), "it does not recover"
        audit = [sys.executable, "manage.py", "audit_ledger"]
        subprocess.run(
            audit,
            cwd=settings.BASE_DIR,
            env=environment(DATA_DIR=str(folder), DATABASE_URL=url),
            stdout=subprocess.DEVNULL,
            check=True,
        )
    return "503 while it was full, then on without repair"


# --- the provider --------------------------------------------------------------------------------


@row("the reply to one add in ten is lost; the provider keeps our references")
def reply_lost_with_evidence(world: World) -> str:
    wallet, load = world.customer("lostrest")
    unknown = Order.objects.filter(status=Status.UNCONFIRMED, wallet=wallet)
    # Three of them in ten minutes interrupt the provider, rightly; staff let it go on.
    with _speaking(world, "rest"), again_and_again(lambda: _close_breaker(world), pause=2.0):
        world.provider.misbehave("add", Kind.LOSE_REPLY, every=10)
        load.place(world.orders)
        become_quiet(within=120)
        lost = unknown.count()
        world.provider.behave()
        assert eventually(lambda: not unknown.exists(), within=180), "evidence settled nothing"
        become_quiet()
    return f"{world.settle(wallet, load)}; {lost} still unknown when the last one had been sent"


@row("the reply to one add in ten is lost; nothing tells what was bought")
def reply_lost_without_evidence(world: World) -> str:
    wallet, load = world.customer("lostpanel")
    world.provider.misbehave("add", Kind.LOSE_REPLY, every=10)

    # Three of them in ten minutes interrupt the provider, rightly; staff let it go on.
    with again_and_again(lambda: _close_breaker(world), pause=2.0):
        load.place(world.orders)
        become_quiet(within=120)
    world.provider.behave()
    return world.settle(wallet, load)


@row("the provider refuses connections for a while")
def connection_refused(world: World) -> str:
    wallet, load = world.customer("refused")
    world.provider.stop()
    load.place(world.orders)
    assert not Order.objects.filter(wallet=wallet, status=Status.UNCONFIRMED).exists()
    world.provider.start_again()

    _close_breaker(world)
    told = world.settle(wallet, load)

    assert Order.objects.filter(wallet=wallet, external_id=None).count() == 0
    return told


@row("status answers that are HTML, empty, truncated, NaN, foreign, 10 MB")
def odd_reports(world: World) -> str:
    wallet, load = world.customer("odd")
    for kind in ODD_REPORTS:
        world.provider.misbehave("status", kind)

    load.place(world.orders)

    _close_breaker(world)
    return world.settle(wallet, load)


@row("one slow provider beside another")
def slow_provider(world: World) -> str:
    wallet, load = world.customer("quick")
    slow = provider_in_hand(_folder(world, "slow"))
    try:
        row = slow.provider(name="Slow", connect_timeout=2, read_timeout=20)
        slow.set_balance("1000000")
        service = Service.objects.get(pk=world.service.pk)
        service.pk, service.provider = None, row
        service.save(force_insert=True)
        _wallet, other = world.customer("slow")
        other.service = service.pk
        load.place(world.orders)
        alone = _median_wait(wallet, first=0)
        slow.misbehave("*", Kind.SLOW, seconds=6, times=100_000)
        other.place(8)
        # It is known as slow once it has been.
        assert eventually(lambda: len(slow.calls) > 0)
        load.place(world.orders)
        beside = _median_wait(wallet, first=world.orders)
        slow.behave()
        world.in_time(beside, alone * 1.2 + NOISE, "handing over, beside a slow provider,")
        told = world.settle(wallet, load)
    finally:
        slow.behave()
        Provider.objects.filter(name="Slow").update(enabled=False)
        slow.close()
    return f"{told}; handed over in {alone:.2f} s alone, {beside:.2f} s beside the slow one"


def _median_wait(wallet: Wallet, *, first: int) -> float:
    """Seconds from an order to its being handed over, in the middle of those from `first` on."""
    orders = Order.objects.filter(wallet=wallet).order_by("pk")[first:]
    assert eventually(lambda: not any(order.sent_at is None for order in orders.all()), within=120)
    return median((order.sent_at - order.created_at).total_seconds() for order in orders.all())


suite(
    "killed_at_each_place",
    "kill -9 before, during and after the call, and after the record",
    "tests/faults/test_killed_worker.py",
    "tests/faults/test_killed_queue.py",
)
suite(
    "odd_catalogues",
    "the catalogue is empty, halved, priced 0, its ids doubled",
    "tests/catalog/test_sync.py",
)
suite(
    "races",
    "funds, keys, claims, cancels, runs, probes: at once",
    "tests/concurrency",
)
suite(
    "webhook_targets",
    "a customer's webhook is dead, answers 410, or is a private address",
    "tests/storefront/webhooks",
)
suite(
    "sqlite_writers",
    "SQLite: 16 writers and a backup",
    "tests/storefront/test_sqlite.py",
    postgresql=False,
)


def answers(load: Load) -> bool:
    """Whether one small request that needs the database is served."""
    return panel(load.port, load.key, action="balance").status == 200


@contextmanager
def _speaking(world: World, dialect: str) -> Iterator[None]:
    """Let the provider be bought from in another dialect for a while."""
    before = {"dialect": world.row.dialect, "base_url": world.row.base_url}
    url = world.row.base_url.replace("/api/v2", "/api/v1") if dialect == "rest" else None
    Provider.objects.filter(pk=world.row.pk).update(dialect=dialect, base_url=url)
    try:
        yield
    finally:
        Provider.objects.filter(pk=world.row.pk).update(**before)


@contextmanager
def _clusters(world: World, *clocks: str) -> Iterator[None]:
    """The queue's workers on further machines: their clocks are wrong, their locks are not ours."""
    others = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.matrix.shifted", clock, "qcluster"],
            cwd=settings.BASE_DIR,
            env=world.store.environment
            | {"DATA_DIR": str(_folder(world, f"machine{number}-{time.time():.0f}"))},
            start_new_session=True,
        )
        for number, clock in enumerate(clocks)
    ]
    try:
        yield
    finally:
        for other in others:
            kill_tree(other.pid)
            other.wait()


def _close_breaker(world: World) -> None:
    """As staff do who know that the provider is well again."""
    from catalog import health

    health.close(world.row)


def _folder(world: World, name: str) -> Path:
    folder = world.folder / name
    folder.mkdir(exist_ok=True)
    return folder
