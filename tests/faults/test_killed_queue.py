"""The real queue killed as a whole in the middle of a call: it comes back and goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone
from django_q.models import OrmQ
from django_q.tasks import async_task

from catalog.sandbox.misbehaviour import Kind
from orders.checkout import place_order
from orders.models import Order, Source
from orders.requests import OrderDraft
from orders.statuses import Status
from storefront import processes
from storefront.processes import Supervisor
from tests.books import breaches
from tests.factories import ServiceFactory, WalletFactory
from tests.faults.conftest import PATIENCE, database_url
from tests.orders.conftest import let_leases_run_out, make_due, open_alerts
from tests.processes import descendants, environment, eventually, is_running

pytestmark = pytest.mark.django_db(transaction=True)


COMMAND = [sys.executable, "manage.py", "qcluster"]


def surroundings(tmp_path) -> dict[str, str]:
    """The product's settings, on the test's database."""
    return {
        "DJANGO_SETTINGS_MODULE": "storefront.settings",
        "DATABASE_URL": database_url(),
        "DATA_DIR": str(tmp_path),
        "CACHE_URL": "locmemcache://queue",
        "WORKERS": "2",
        "LOG_LEVEL": "WARNING",
    }


@contextmanager
def queue(tmp_path) -> Iterator[subprocess.Popen[bytes]]:
    """`manage.py qcluster` with the product's settings on the test's database."""
    cluster = subprocess.Popen(
        COMMAND,
        cwd=settings.BASE_DIR,
        env=environment(**surroundings(tmp_path)),
        start_new_session=True,
    )
    try:
        yield cluster
    finally:
        kill(cluster)


def kill(cluster):
    """SIGKILL to the cluster and every process of it, at once; returns when all are gone."""
    if cluster.poll() is not None:
        return
    family = descendants(cluster.pid)
    os.killpg(cluster.pid, signal.SIGKILL)
    cluster.wait(PATIENCE)
    assert eventually(lambda: not any(map(is_running, family)))


def statuses():
    return Counter(Order.objects.values_list("status", flat=True))


def test_queue_killed_in_the_middle_of_a_call_goes_on_after_its_restart(
    transactional_db, sandbox, tmp_path
):
    service = ServiceFactory(provider=sandbox.provider(), external_id="1001")
    wallet = WalletFactory(funds=100)

    def sell(name):
        place_order(
            customer=wallet.user,
            currency="USD",
            draft=OrderDraft(service.pk, {"link": f"instagram.com/{name}", "quantity": 1000}),
            source=Source.WEB,
        )

    sandbox.misbehave("add", Kind.HANG)
    for name in ("one", "two", "three"):
        sell(name)
    with queue(tmp_path) as cluster:
        assert eventually(
            lambda: statuses() == {Status.SENDING: 1, Status.PROCESSING: 2}, within=PATIENCE
        )
        assert sandbox.wait_for_orders(3)
        kill(cluster)

    sandbox.behave()
    sell("four")
    let_leases_run_out()
    # What the minutely schedule queues; and the job that was interrupted comes again.
    async_task("orders.tasks.tick", q_options={"save": False})
    OrmQ.objects.update(lock=timezone.now() - timedelta(seconds=1))
    with queue(tmp_path):
        assert eventually(
            lambda: statuses() == {Status.UNCONFIRMED: 1, Status.PROCESSING: 3}, within=PATIENCE
        )
        for order in sandbox.orders:
            sandbox.complete(order.id)
        make_due()
        assert eventually(
            lambda: statuses() == {Status.UNCONFIRMED: 1, Status.COMPLETED: 3}, within=PATIENCE
        )

    assert Counter(order.link for order in sandbox.orders) == {
        f"instagram.com/{name}": 1 for name in ("one", "two", "three", "four")
    }
    lost = Order.objects.get(status=Status.UNCONFIRMED)
    assert open_alerts() == {("order_unconfirmed", lost.subject)}
    wallet.refresh_from_db()
    assert wallet.balance == 100 - 4 * lost.charge
    assert breaches() == []


@pytest.fixture
def supervisor(transactional_db, tmp_path, monkeypatch):
    """The queue under the product's own supervisor, which is sooner to take silence for a hang."""
    monkeypatch.setattr(processes, "SILENCE_ALLOWED", 15.0)
    monkeypatch.setattr(processes, "PATIENCE", 0.5)
    monkeypatch.chdir(settings.BASE_DIR)
    handlers = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    made = Supervisor(lambda _text: None)
    made.start(
        "worker",
        COMMAND,
        environment=surroundings(tmp_path),
        heartbeat=tmp_path / "worker.alive",
    )
    yield made
    made.stop()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def freeze(leader):
    """All of it lives and nothing works: what a lock that a killed worker has kept looks like."""
    for pid in descendants(leader):
        os.kill(pid, signal.SIGSTOP)


def kill_sentinel(leader):
    """The one child of the command itself; the workers are its children."""
    [sentinel] = (pid for pid in descendants(leader) if len(descendants(pid)) > 1)
    os.kill(sentinel, signal.SIGKILL)


@pytest.mark.parametrize("harm", [freeze, kill_sentinel])
@pytest.mark.postgresql  # whichever database the queue is in
def test_queue_that_works_no_more_is_started_anew_as_a_whole(supervisor, tmp_path, harm):
    sign = tmp_path / "worker.alive"
    [child] = supervisor._children

    def works() -> bool:
        """Whether jobs are done; watched, and given some, meanwhile."""
        supervisor.look()
        # What was being done when it was harmed comes again later.
        if not OrmQ.objects.filter(lock__lte=timezone.now()).exists():
            async_task("orders.tasks.tick", q_options={"save": False})
        return child.process is not None and sign.exists()

    assert eventually(works, within=PATIENCE)
    leader = child.process.pid
    before = {leader, *descendants(leader)}
    assert len(before) > 4

    harm(leader)
    assert eventually(lambda: works() and not any(map(is_running, before)), within=PATIENCE)
    sign.unlink(missing_ok=True)
    assert eventually(works, within=PATIENCE)

    assert child.process.pid != leader
