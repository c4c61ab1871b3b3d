"""A worker killed (SIGKILL) at each place of its work: no order lost, none bought or paid twice.

Real processes on the test's database, and the sandbox provider over real sockets.
"""

from __future__ import annotations

import signal
from collections import Counter
from decimal import Decimal

import pytest
from django_q.models import OrmQ

from accounts import jobs
from accounts.clock import from_now
from accounts.models import EntryKind, JobAttempt, JournalEntry
from catalog.sandbox.misbehaviour import Kind
from orders import dripfeed
from orders.models import DripFeed, Order
from orders.statuses import Status
from orders.unconfirmed import mark_sent_as, send_again
from tests.books import breaches
from tests.factories import OrderFactory, ServiceFactory, StaffFactory, WalletFactory
from tests.faults import worker
from tests.faults.conftest import PATIENCE
from tests.orders.conftest import let_leases_run_out, make_due, open_alerts

pytestmark = pytest.mark.django_db(transaction=True)

KILLED = -signal.SIGKILL
CHARGE, FUNDS = Decimal("1.30"), Decimal(100)


@pytest.fixture
def provider(transactional_db, sandbox):
    return sandbox.provider()


@pytest.fixture
def service(provider):
    return ServiceFactory(provider=provider, external_id="1001")


@pytest.fixture
def order(service):
    return OrderFactory(service=service)


@pytest.fixture(autouse=True)
def _books_add_up(transactional_db):
    yield
    assert breaches() == []


def adds(sandbox):
    return sum(call["action"] == "add" for call in sandbox.calls)


def state(order):
    order.refresh_from_db()
    order.wallet.refresh_from_db()
    return order.status, order.external_id, order.refunded, order.wallet.balance


def assert_never_sent_again_by_machine(sandbox, provider, order):
    """Another worker leaves the order alone; when its lease has run out, staff are told."""
    calls = adds(sandbox)
    worker.send(provider.pk)
    assert state(order) == (Status.SENDING, None, 0, FUNDS - CHARGE)

    let_leases_run_out()
    for _ in range(2):
        worker.send(provider.pk)
        make_due()

    assert state(order) == (Status.UNCONFIRMED, None, 0, FUNDS - CHARGE)
    assert open_alerts() == {("order_unconfirmed", order.subject)}
    assert adds(sandbox) == calls


def test_killed_between_claim_and_call(run, sandbox, provider, order):
    assert run("send", "claimed", provider.pk) == KILLED
    assert adds(sandbox) == 0

    assert_never_sent_again_by_machine(sandbox, provider, order)

    send_again(order, actor=StaffFactory(), reason="their list lacks it")
    worker.send(provider.pk)
    assert [bought.link for bought in sandbox.orders] == [order.link]
    assert state(order) == (
        Status.PROCESSING,
        str(sandbox.orders[0].id),
        0,
        FUNDS - CHARGE,
    )


def test_killed_during_the_call(start, run, sandbox, provider, order):
    sandbox.misbehave("add", Kind.HANG)
    process = start("send", "nowhere", provider.pk)
    assert sandbox.wait_for_orders(1, timeout=PATIENCE)

    process.kill()

    assert process.wait(PATIENCE) == KILLED
    sandbox.behave()
    assert_never_sent_again_by_machine(sandbox, provider, order)
    assert len(sandbox.orders) == 1


def test_killed_between_answer_and_record(run, sandbox, provider, order):
    assert run("send", "answered", provider.pk) == KILLED
    [bought] = sandbox.orders

    assert_never_sent_again_by_machine(sandbox, provider, order)

    mark_sent_as(order, str(bought.id), actor=StaffFactory(), reason="found by its link")
    sandbox.end_partial(bought.id, remains=500)
    make_due()
    worker.follow(provider.pk)
    assert state(order) == (
        Status.PARTIAL,
        str(bought.id),
        CHARGE / 2,
        FUNDS - CHARGE / 2,
    )


def test_killed_after_the_record(run, sandbox, provider, order):
    assert run("send", "recorded", provider.pk) == KILLED
    [bought] = sandbox.orders
    known = (Status.PROCESSING, str(bought.id), 0, FUNDS - CHARGE)
    assert state(order) == known

    let_leases_run_out()
    make_due()
    worker.send(provider.pk)

    assert state(order) == known
    assert (adds(sandbox), open_alerts()) == (1, set())


def test_refusal_is_paid_back_once_though_its_worker_was_killed_paying(
    run, sandbox, provider, order
):
    """The refund was not committed, so the order's state was not either: staff settle it."""
    sandbox.misbehave("add", Kind.REFUSE)

    assert run("send", "paying_back", provider.pk) == KILLED

    assert_never_sent_again_by_machine(sandbox, provider, order)
    assert not JournalEntry.objects.filter(kind=EntryKind.REFUND).exists()


@pytest.mark.parametrize("place", ["asked", "paying_back"])
def test_tracker_killed_pays_back_once_when_it_comes_again(run, sandbox, provider, order, place):
    worker.send(provider.pk)
    sandbox.cancel(sandbox.orders[0].id)
    make_due()

    assert run("follow", place, provider.pk) == KILLED
    assert state(order)[0] == Status.PROCESSING
    make_due()
    for _ in range(2):
        worker.follow(provider.pk)
        make_due()

    assert state(order)[::2] == (Status.CANCELLED, CHARGE)
    assert state(order)[3] == FUNDS
    assert JournalEntry.objects.filter(kind=EntryKind.REFUND).count() == 1


def test_killed_between_charge_and_commit_has_sold_nothing(run, service):
    """The customer got no answer, and repeats the request with its key."""
    wallet = WalletFactory(funds=FUNDS)

    assert run("sell", "charged", service.pk) == KILLED

    wallet.refresh_from_db()
    assert (Order.objects.count(), OrmQ.objects.count(), wallet.balance) == (0, 0, FUNDS)

    worker.sell(service.pk)
    worker.sell(service.pk)
    wallet.refresh_from_db()
    assert (Order.objects.count(), OrmQ.objects.count()) == (1, 1)
    assert wallet.balance == FUNDS - CHARGE


def test_worker_killed_again_and_again_loses_nothing_and_buys_nothing_twice(
    run, sandbox, provider, service
):
    wallet = WalletFactory(funds=FUNDS)
    links = [f"https://instagram.com/{number}" for number in range(24)]
    for link in links:
        OrderFactory(service=service, wallet=wallet, link=link)

    for place in ("claimed", "answered", "recorded", "claimed"):
        assert run("send", place, provider.pk) == KILLED
        let_leases_run_out()
    worker.send(provider.pk)

    bought = Counter(order.link for order in sandbox.orders)
    assert max(bought.values()) == 1
    assert set(Order.objects.values_list("status", flat=True)) == {
        Status.PROCESSING,
        Status.UNCONFIRMED,
    }
    known = dict(Order.objects.filter(status=Status.PROCESSING).values_list("link", "external_id"))
    upstream = {order.link: str(order.id) for order in sandbox.orders}
    assert known.items() <= upstream.items()
    # Each kill leaves what it was sending, at most four, to staff; all else was sent.
    lost = Order.objects.filter(status=Status.UNCONFIRMED)
    assert 4 < lost.count() <= 16
    assert len(known) + lost.count() == len(links)
    assert open_alerts() == {("order_unconfirmed", order.subject) for order in lost}
    wallet.refresh_from_db()
    assert wallet.balance == FUNDS - 24 * CHARGE


@pytest.mark.parametrize(("place", "kept"), [("run_made", 0), ("run_begun", 1)])
def test_killed_beginning_a_run_begins_it_once(run, sandbox, provider, service, place, kept):
    feed = OrderFactory(service=service, runs=2, interval=60, quantity=2000)
    dripfeed.open(feed)

    assert run("begin_runs", place, 0) == KILLED
    assert (feed.run_orders.count(), OrmQ.objects.count()) == (kept, kept)

    for _ in range(2):
        assert run("begin_runs", "nowhere", 0) == 0
        worker.send(provider.pk)
    assert [run.status for run in feed.run_orders.all()] == [Status.PROCESSING]
    assert (len(sandbox.orders), DripFeed.objects.get().runs_made) == (1, 1)


def test_job_that_kills_its_worker_is_parked(run, sandbox, provider, service):
    """Our own counter: the queue counts an attempt only when it ends."""
    for number in range(16):
        OrderFactory(service=service, link=f"https://instagram.com/{number}")

    for _ in range(jobs.ATTEMPTS_ALLOWED):
        assert run("dispatch_job", "claimed", provider.pk) == KILLED
    assert run("dispatch_job", "claimed", provider.pk) == 0

    job = f"job:dispatch_provider:{provider.pk}"
    assert open_alerts() == {("job_parked", job)}
    assert Order.objects.filter(status=Status.PENDING).count() == 4

    JobAttempt.objects.update(last_at=from_now(-jobs.PARKED_FOR))
    assert run("dispatch_job", "nowhere", provider.pk) == 0

    assert (len(sandbox.orders), open_alerts()) == (4, set())
    assert not JobAttempt.objects.exists()
