"""The jobs: nothing waits unseen, nobody works twice at once, and quiet when all is done."""

from __future__ import annotations

import os

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ

from accounts import jobs
from accounts.clock import from_now
from accounts.models import JobAttempt
from catalog import health
from orders import dispatch, tasks, tracking
from orders.models import Order
from orders.statuses import Status
from tests.factories import OrderFactory, ProviderFactory
from tests.orders.conftest import (
    let_leases_run_out,
    make_due,
    open_alerts,
    queued,
    sent,
    waiting,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(tasks, "PAUSE_SECONDS", 0)


def run_all():
    """Work the queue off, as a worker would; returns the names of the jobs that ran."""
    ran = []
    while jobs := queued():
        for name, *args in jobs:
            ran.append(name)
            getattr(tasks, name)(*args)
    return ran


# --- dispatch_provider ---------------------------------------------------------------------------


def test_dispatch_sends_and_wakes_the_tick(sandbox, provider, order):
    tasks.dispatch_provider(provider.pk)

    assert len(sandbox.orders) == 1
    assert queued() == [("tick",)]


def test_dispatch_with_nothing_to_send_queues_nothing(provider):
    tasks.dispatch_provider(provider.pk)

    assert queued() == []


def test_dispatch_of_a_provider_that_is_gone_does_nothing(db):
    tasks.dispatch_provider(999)
    tasks.track_provider(999)

    assert queued() == []


def test_second_wake_up_leaves_the_work_to_the_first(sandbox, provider, order, monkeypatch):
    inner = []
    real = dispatch.dispatch

    def while_woken_again(provider):
        tasks.dispatch_provider(provider.pk)
        inner.append((len(sandbox.calls), queued()))
        return real(provider)

    monkeypatch.setattr(dispatch, "dispatch", while_woken_again)

    tasks.dispatch_provider(provider.pk)

    assert inner == [(0, [])]
    assert len(sandbox.orders) == 1


def test_order_committed_while_the_first_was_ending_is_not_left_behind(
    sandbox, provider, order, monkeypatch
):
    """Its own wake-up found the first at work and left; the first had looked for the last time."""
    real = dispatch.dispatch

    def ending(provider):
        accepted = real(provider)
        waiting(provider)
        tasks.dispatch_provider(provider.pk)
        return accepted

    monkeypatch.setattr(dispatch, "dispatch", ending)
    tasks.dispatch_provider(provider.pk)
    monkeypatch.undo()

    assert queued() == [("tick",), ("dispatch_provider", provider.pk)]
    tasks.dispatch_provider(provider.pk)
    assert len(sandbox.orders) == 2


def test_fault_leaves_the_way_free(sandbox, provider, order, monkeypatch):
    def broken(_provider):
        raise RuntimeError("lost")

    monkeypatch.setattr(dispatch, "dispatch", broken)
    with pytest.raises(RuntimeError):
        tasks.dispatch_provider(provider.pk)
    monkeypatch.undo()

    tasks.dispatch_provider(provider.pk)

    assert len(sandbox.orders) == 1


def test_pausing_provider_is_not_asked_in_a_circle(sandbox, provider, order):
    sandbox.stop()

    tasks.dispatch_provider(provider.pk)

    assert queued() == []


# --- track_provider ------------------------------------------------------------------------------


def test_tracking_asks_once_at_a_time(sandbox, provider, monkeypatch):
    order = sent(provider, sandbox)
    real = tracking.poll
    inner = []

    def while_woken_again(provider):
        tasks.track_provider(provider.pk)
        inner.append(len(sandbox.calls))
        return real(provider)

    monkeypatch.setattr(tracking, "poll", while_woken_again)
    tasks.track_provider(provider.pk)

    order.refresh_from_db()
    assert order.last_checked_at is not None
    assert inner == [1]  # the order itself


def test_failing_provider_does_not_stop_another(sandbox, provider):
    followed = sent(provider, sandbox)
    elsewhere = OrderFactory(sent=True, service__provider=ProviderFactory(name="AAA"))
    sandbox.complete(followed.external_id)
    make_due()

    tasks.beat()
    for name, provider_id in queued():
        getattr(tasks, name)(provider_id)

    followed.refresh_from_db()
    elsewhere.refresh_from_db()
    assert (followed.status, elsewhere.status) == (Status.COMPLETED, Status.IN_PROGRESS)
    assert open_alerts() == {("provider_status_failed", f"provider:{elsewhere.provider_id}")}


# --- the tick ------------------------------------------------------------------------------------


def test_beat_queues_one_job_a_provider_however_many_orders_wait(sandbox, provider):
    other = ProviderFactory()
    for _ in range(3):
        waiting(provider)
        OrderFactory(service__provider=other)
        OrderFactory(sent=True, service__provider=other)
    make_due()

    assert tasks.beat()

    assert sorted(queued()) == sorted(
        [
            ("dispatch_provider", provider.pk),
            ("dispatch_provider", other.pk),
            ("track_provider", other.pk),
        ]
    )


def test_beat_sweeps(provider, order):
    dispatch.claim(provider, limit=1)
    let_leases_run_out()

    assert not tasks.beat()

    order.refresh_from_db()
    assert order.status == Status.UNCONFIRMED


@pytest.mark.parametrize("status", sorted(Status))
def test_beat_goes_on_while_machines_have_something_to_do(status):
    OrderFactory(status=status, next_check_at=timezone.now())

    assert tasks.beat() == (
        status in {Status.PENDING, Status.SENDING, Status.PROCESSING, Status.IN_PROGRESS}
    )


def test_beat_costs_the_same_few_queries_with_many_orders(provider):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            tasks.beat()
        OrmQ.objects.all().delete()
        return len(captured)

    OrderFactory(service__provider=provider)
    one = queries()
    for _ in range(4):
        OrderFactory(service__provider=provider)

    assert queries() == one <= 16


def test_tick_ends_when_nothing_is_under_way(provider):
    tasks.tick()

    assert queued() == []


def test_tick_beats_until_everything_has_ended(sandbox, provider, monkeypatch):
    order = sent(provider, sandbox)
    beats = []
    real = tasks.beat

    def beat():
        beats.append(1)
        if len(beats) == 3:
            sandbox.complete(order.external_id)
        make_due()
        under_way = real()
        run_all()
        return under_way and Order.objects.filter(status=Status.PROCESSING).exists()

    monkeypatch.setattr(tasks, "beat", beat)

    tasks.tick()

    order.refresh_from_db()
    assert (order.status, len(beats)) == (Status.COMPLETED, 3)
    assert queued() == []


def test_tick_is_followed_by_the_next_while_anything_is_under_way(provider, order, monkeypatch):
    monkeypatch.setattr(tasks, "TICK_SECONDS", -1)

    tasks.tick()

    assert queued() == [("dispatch_provider", provider.pk), ("tick",)]


def test_second_tick_leaves_the_work_to_the_first(provider, monkeypatch):
    beats = []

    def beat():
        beats.append(1)
        tasks.tick()
        return False

    monkeypatch.setattr(tasks, "beat", beat)

    tasks.tick()

    assert (beats, queued()) == ([1], [])


def test_order_accepted_while_the_tick_was_ending_is_not_left_behind(provider, monkeypatch):
    """The tick that it woke found this one at work and left; this one had seen nothing to do."""

    def beat():
        OrderFactory(sent=True, next_check_at=timezone.now())
        tasks.tick()
        return False

    monkeypatch.setattr(tasks, "beat", beat)

    tasks.tick()

    assert queued() == [("tick",)]


def test_order_goes_all_the_way_by_the_jobs_alone(sandbox, provider, order, monkeypatch):
    """The customer's order wakes the dispatcher, that wakes the tick, and that follows it."""
    monkeypatch.setattr(tasks, "TICK_SECONDS", -1)  # one beat a tick
    tasks.dispatch_provider(provider.pk)
    sandbox.end_partial(sandbox.orders[0].id, remains=500)
    make_due()

    ran = run_all()

    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.PARTIAL, order.charge / 2)
    assert ran == ["tick", "track_provider", "tick"]


# --- nobody is in anybody's way ------------------------------------------------------------------

KINDS = (
    tasks.dispatch_provider,
    tasks.track_provider,
    tasks.attend_provider,
    tasks.reconcile_provider,
    tasks.read_balance,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_provider_has_one_job_at_a_time_whatever_its_kind(sandbox, provider, order, kind):
    make_due()
    with jobs.alone(f"provider-{provider.pk}"):
        kind(provider.pk)

    assert (len(sandbox.calls), queued()) == (0, [])


def test_order_that_came_while_another_kind_was_at_work_is_sent_at_once(
    sandbox, provider, monkeypatch
):
    def reading(provider):
        waiting(provider)
        tasks.dispatch_provider(provider.pk)

    monkeypatch.setattr(tasks.book, "read", reading)

    tasks.read_balance(provider.pk)

    assert queued() == [("dispatch_provider", provider.pk)]


def test_slow_providers_have_half_of_the_workers(sandbox, provider, order, monkeypatch):
    """Four workers: two of them are with slow providers, and the third slow one has to wait."""
    slow = [ProviderFactory() for _ in range(3)]
    for each in slow:
        health.took(each, health.SLOW_CALL_SECONDS)
        OrderFactory(service__provider=each)
    at_work = []

    def sending(which):
        at_work.append(which)
        if which in slow and len(at_work) < 3:
            tasks.dispatch_provider(slow[len(at_work)].pk)
        elif which in slow:
            raise AssertionError("a third worker is with a slow provider")
        if len(at_work) == 2:
            tasks.dispatch_provider(provider.pk)
        return 0

    monkeypatch.setattr(dispatch, "dispatch", sending)

    tasks.dispatch_provider(slow[0].pk)

    assert at_work == [slow[0], slow[1], provider]


def test_slow_call_makes_its_provider_a_slow_one(sandbox, provider, order, monkeypatch):
    monkeypatch.setattr(health, "SLOW_CALL_SECONDS", 0)

    tasks.dispatch_provider(provider.pk)

    assert health.is_slow(provider.pk)


def test_dispatch_ends_after_its_budget_and_queues_itself_behind_the_others(
    sandbox, provider, monkeypatch
):
    for _ in range(6):
        waiting(provider)
    now = 1000.0
    monkeypatch.setattr(dispatch.time, "monotonic", lambda: now)
    claim = dispatch.claim

    def taking_long(*args, **kwargs):
        nonlocal now
        claimed = claim(*args, **kwargs)
        now += dispatch.BUDGET_SECONDS
        return claimed

    monkeypatch.setattr(dispatch, "claim", taking_long)

    tasks.dispatch_provider(provider.pk)

    assert len(sandbox.orders) == 4
    assert queued() == [("tick",), ("dispatch_provider", provider.pk)]


def test_fault_in_one_part_of_the_tick_leaves_the_others_at_work(
    sandbox, provider, order, monkeypatch
):
    def broken():
        raise RuntimeError("lost")

    monkeypatch.setattr(tasks.dripfeed, "settle", broken)

    assert tasks.beat()

    assert queued() == [("dispatch_provider", provider.pk)]
    [(code, _subject)] = open_alerts()
    assert code == "job_failed"


# --- jobs that kill their worker, and the sign of life --------------------------------------------


def killed(job):
    """As a worker leaves it that was killed in the middle of the job."""
    JobAttempt.objects.update_or_create(
        job=jobs.counted_as(job), defaults={"attempts": jobs.ATTEMPTS_ALLOWED}
    )


def test_job_that_killed_its_worker_again_and_again_is_parked(sandbox, provider, order):
    job = f"dispatch_provider:{provider.pk}"
    killed(job)

    tasks.dispatch_provider(provider.pk)

    assert (len(sandbox.calls), queued()) == (0, [])
    assert open_alerts() == {("job_parked", f"job:{job}")}

    JobAttempt.objects.update(last_at=from_now(-jobs.PARKED_FOR))
    tasks.dispatch_provider(provider.pk)

    assert len(sandbox.orders) == 1
    assert (open_alerts(), JobAttempt.objects.count()) == (set(), 0)


def test_job_of_one_provider_parks_no_other(sandbox, provider, order):
    killed("dispatch_provider:999")
    killed(f"track_provider:{provider.pk}")

    tasks.dispatch_provider(provider.pk)

    assert len(sandbox.orders) == 1


@pytest.mark.parametrize("job", ["tick", "measure_facts", "place_mass_order:7"])
def test_other_jobs_are_parked_too(order, job):
    killed(job)
    name, _, row = job.partition(":")

    getattr(tasks, name)(*([int(row)] if row else []))

    assert open_alerts() == {("job_parked", f"job:{job}")}
    assert queued() == []


def test_jobs_leave_a_sign_of_life(provider):
    assert not jobs.heartbeat().exists()

    tasks.tick()

    assert jobs.heartbeat().exists()
    os.utime(jobs.heartbeat(), (0, 0))
    tasks.track_provider(provider.pk)
    assert jobs.heartbeat().stat().st_mtime > 0
