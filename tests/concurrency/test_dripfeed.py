"""Schedules looked at by several jobs at once, and by people beside them.

The tests named `test_without_…` take the lock of the schedule's row away: the race is real. (Two
runs of one number would still be refused by the unique constraint.)
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from decimal import Decimal
from functools import partial
from threading import Barrier, BrokenBarrierError

import pytest
from django.db.models import QuerySet

from catalog.providers import UpstreamState, UpstreamStatus
from orders import dripfeed, tracking
from orders.dripfeed import SeriesRefused
from orders.models import DripFeed, Order, SeriesState
from orders.moves import by_customer
from orders.statuses import Status
from tests.books import breaches
from tests.concurrency.together import together
from tests.factories import OrderFactory
from tests.orders.conftest import open_alerts

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

CHARGE = Decimal("3.90")


@pytest.fixture
def feed(transactional_db):
    """Three runs of 1000 units, the first of which is due."""
    order = OrderFactory(runs=3, interval=60, quantity=3000, charge=CHARGE)
    dripfeed.open(order)
    return order


@pytest.fixture
def unlocked(monkeypatch):
    monkeypatch.setattr(QuerySet, "select_for_update", lambda self, **options: self)


def meet(monkeypatch, name):
    """Whoever comes to this function of the schedule waits there for another, if one can come."""
    meeting, real = Barrier(2), getattr(dripfeed, name)

    def waiting(*args):
        with suppress(BrokenBarrierError):
            meeting.wait(1)
        return real(*args)

    monkeypatch.setattr(dripfeed, name, waiting)


def reload(order):
    return Order.objects.select_related("wallet", "dripfeed").get(pk=order.pk)


def runs(order):
    return Order.objects.filter(parent=order)


def test_two_jobs_begin_one_run(feed, monkeypatch):
    meet(monkeypatch, "_make_run")

    assert sorted(together(dripfeed.run_due, dripfeed.run_due)) == [0, 1]

    assert (runs(feed).count(), reload(feed).dripfeed.runs_made) == (1, 1)
    assert open_alerts() == set()


def test_without_its_lock_two_jobs_begin_the_same_run(feed, unlocked, monkeypatch):
    meet(monkeypatch, "_make_run")

    together(dripfeed.run_due, dripfeed.run_due)

    # Only the unique constraint has kept the second from being made.
    assert {code for code, _ in open_alerts()} == {"dripfeed_fault"}


def test_many_jobs_begin_each_run_of_many_once(transactional_db):
    feeds = [OrderFactory(runs=2, interval=1, quantity=2000) for _ in range(12)]
    for feed in feeds:
        dripfeed.open(feed)

    begun = together(*[dripfeed.run_due] * 4)

    assert sum(begun) == 12
    assert [runs(feed).count() for feed in feeds] == [1] * 12
    assert open_alerts() == set()


def stop(feed):
    dripfeed.stop(feed, by=by_customer(feed.customer))


def stopped_while_a_run_begins(feed, monkeypatch):
    meeting, make_run = Barrier(2), dripfeed._make_run

    def make_and_wait(*args):
        run = make_run(*args)
        meeting.wait(5)
        with suppress(BrokenBarrierError):
            meeting.wait(1)  # for a stop that does not wait for us
        return run

    def stop_meanwhile():
        meeting.wait(5)
        stop(feed)
        with suppress(BrokenBarrierError):
            meeting.wait(0)

    monkeypatch.setattr(dripfeed, "_make_run", make_and_wait)
    return together(dripfeed.run_due, stop_meanwhile)


def test_stop_beside_a_run_that_begins_cancels_it_and_pays_all_back(feed, monkeypatch):
    assert stopped_while_a_run_begins(feed, monkeypatch) == [1, None]

    assert [run.status for run in runs(feed)] == [Status.CANCELLED]
    stopped = reload(feed)
    assert (stopped.status, stopped.refunded) == (Status.CANCELLED, CHARGE)
    assert stopped.dripfeed.state == SeriesState.ENDED
    assert breaches() == []


def test_without_its_lock_a_stopped_drip_feed_has_a_run_that_is_paid_back(
    feed, unlocked, monkeypatch
):
    stopped_while_a_run_begins(feed, monkeypatch)

    assert reload(feed).refunded == CHARGE
    assert [run.status for run in runs(feed)] == [Status.PENDING]


def test_only_one_of_two_stops_pays_back(feed):
    dripfeed.run_due()

    ended = together(*[partial(stop, feed)] * 3)

    assert Counter(map(type, ended)) == {type(None): 1, SeriesRefused: 2}
    assert reload(feed).refunded == CHARGE
    assert breaches() == []


def test_runs_that_end_at_once_are_all_paid_back_through_their_drip_feed(transactional_db):
    feed = OrderFactory(runs=4, interval=60, quantity=4000, charge=Decimal("5.20"))
    dripfeed.open(feed)
    for number in range(1, 5):
        assert dripfeed.run_due() == 1
        runs(feed).filter(run=number).update(status=Status.PROCESSING, external_id=f"90{number}")
        DripFeed.objects.update(next_run_at="2020-01-01T00:00Z")
    half = UpstreamStatus(state=UpstreamState.PARTIAL, word="Partial", remains=500)
    held = list(runs(feed).select_related("wallet"))

    assert together(*(partial(tracking.apply, run, half) for run in held)) == [True] * 4
    assert sum(together(dripfeed.settle, dripfeed.settle, dripfeed.settle)) == 1

    ended = reload(feed)
    assert (ended.status, ended.remains, ended.refunded) == (Status.PARTIAL, 2000, Decimal("2.60"))
    assert breaches() == []
