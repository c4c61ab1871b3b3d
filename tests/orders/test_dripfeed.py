"""Drip-feeds on our own schedule: each run once, at its time; the money exact whatever happens."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import transaction
from django.utils import timezone
from django_q.models import OrmQ
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import EntryKind, JournalEntry
from catalog.sandbox.misbehaviour import Kind
from orders import dispatch, dripfeed, tracking
from orders.dripfeed import SeriesRefusal, SeriesRefused
from orders.models import DripFeed, EventKind, Order, OrderEvent, SeriesState
from orders.moves import by_customer, by_staff
from orders.statuses import FINAL, Status
from tests.factories import OrderFactory, StaffFactory
from tests.orders.conftest import make_due, open_alerts, waiting

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books")]

CHARGE, FUNDS = Decimal("3.90"), Decimal(100)


def opened(provider, *, runs=3, interval=60, quantity=3000, charge=CHARGE, **columns):
    """A charged drip-feed whose first run is due."""
    order = waiting(
        provider, runs=runs, interval=interval, quantity=quantity, charge=charge, **columns
    )
    dripfeed.open(order)
    return reload(order)


@pytest.fixture
def feed(provider):
    """Three runs of 1000 units, an hour apart, for 3.90 from a wallet of 100."""
    return opened(provider)


def reload(order):
    order = Order.objects.select_related("wallet", "dripfeed").get(pk=order.pk)
    order.wallet.refresh_from_db()
    return order


def pass_time(**by):
    """Let that much time pass for every schedule and every order."""
    ago = timedelta(**by)
    for row in DripFeed.objects.exclude(next_run_at=None):
        DripFeed.objects.filter(pk=row.pk).update(next_run_at=row.next_run_at - ago)
    for row in Order.objects.exclude(sent_at=None):
        Order.objects.filter(pk=row.pk).update(sent_at=row.sent_at - ago)
    make_due()


def send(provider):
    """What a tick does now, the tracker apart."""
    begun = dripfeed.run_due()
    dispatch.dispatch(provider)
    return begun


def follow(provider):
    make_due()
    tracking.poll(provider)
    dripfeed.settle()


def runs(order):
    return list(order.run_orders.order_by("run"))


def series(order):
    """What the history tells of the drip-feed itself."""
    events = OrderEvent.objects.filter(order=order, kind=EventKind.SERIES)
    return [event.changes for event in events]


# --- runs ----------------------------------------------------------------------------------------


def test_drip_feed_itself_is_never_sent(sandbox, provider, feed):
    assert feed.send_after is None
    assert dispatch.dispatch(provider) == 0
    assert (sandbox.orders, feed.status) == ([], Status.PENDING)


def test_run_is_an_order_of_its_own(sandbox, provider, feed):
    assert send(provider) == 1

    [run] = runs(feed)
    assert (run.run, run.quantity, run.charge, run.status) == (
        1,
        1000,
        Decimal("1.30"),
        Status.PROCESSING,
    )
    [bought] = sandbox.orders
    assert (bought.link, bought.total, str(bought.id)) == (feed.link, 1000, run.external_id)
    assert (run.idempotency_key, run.client_ref, run.guarantee_days) == (None, "", None)
    feed = reload(feed)
    assert (feed.status, feed.wallet.balance) == (Status.IN_PROGRESS, FUNDS - CHARGE)
    assert abs(feed.dripfeed.next_run_at - timezone.now() - timedelta(hours=1)) < timedelta(
        seconds=5
    )
    assert feed.dripfeed.runs_made == 1


def test_run_and_its_job_are_one(provider, feed):
    OrmQ.objects.all().delete()

    assert dripfeed.run_due() == 1

    assert [job.func() for job in OrmQ.objects.all()] == ["orders.tasks.dispatch_provider"]
    assert [job.args() for job in OrmQ.objects.all()] == [(provider.pk,)]


def test_every_run_comes_at_its_time_and_the_last_ends_it(sandbox, provider, feed):
    for number in (1, 2, 3):
        assert [send(provider), send(provider)] == [1, 0]
        assert len(sandbox.orders) == number
        sandbox.complete(sandbox.orders[-1].id)
        follow(provider)
        pass_time(minutes=60)

    assert send(provider) == 0
    feed = reload(feed)
    assert (feed.status, feed.remains, feed.refunded) == (Status.COMPLETED, 0, 0)
    assert feed.completed_at is not None
    assert (feed.dripfeed.state, feed.dripfeed.next_run_at) == (SeriesState.ENDED, None)
    assert feed.wallet.balance == FUNDS - CHARGE
    assert series(feed) == [
        {"runs": [0, 1]},
        {"runs": [1, 2]},
        {"runs": [2, 3]},
        {"series": ["active", "ended"]},
    ]
    assert open_alerts() == set()


def test_missed_times_are_not_made_up_for(sandbox, provider, feed):
    send(provider)
    pass_time(days=3)

    begun = [send(provider) for _ in range(5)]

    assert (begun, len(sandbox.orders)) == ([1, 0, 0, 0, 0], 2)


def test_outage_of_the_provider_is_followed_by_one_run_an_interval(sandbox, provider, feed):
    sandbox.stop()
    for _ in range(4):
        send(provider)
        pass_time(minutes=60)
    # One run waits, in the ordinary way, and the others wait for it.
    assert [run.status for run in runs(feed)] == [Status.PENDING]

    sandbox.start_again()
    pass_time(minutes=60)
    begun = [send(provider) for _ in range(4)]
    assert (begun, len(sandbox.orders)) == ([0, 0, 0, 0], 1)
    pass_time(minutes=59)
    assert (send(provider), len(sandbox.orders)) == (1, 2)
    pass_time(minutes=60)
    assert (send(provider), len(sandbox.orders)) == (1, 3)


@pytest.mark.parametrize("column", ["provider", "service"])
def test_run_waits_while_its_provider_is_off_and_goes_out_where_only_the_service_is(
    sandbox, provider, feed, column
):
    if column == "provider":
        provider.enabled = False
        provider.save()
    else:
        feed.service.disabled_by_staff = True
        feed.service.save()

    send(provider)

    sold_is_sold = column == "service"
    assert [run.status for run in runs(feed)] == [
        Status.PROCESSING if sold_is_sold else Status.PENDING
    ]
    provider.enabled = True
    provider.save()
    pass_time(minutes=1)
    send(provider)
    assert [run.status for run in runs(feed)] == [Status.PROCESSING]


def test_fault_of_one_drip_feed_costs_the_others_nothing(provider, feed, monkeypatch):
    other = opened(provider)
    make_run = dripfeed._make_run

    def failing(parent, *args):
        if parent.pk == feed.pk:
            raise ValueError
        return make_run(parent, *args)

    monkeypatch.setattr(dripfeed, "_make_run", failing)

    assert dripfeed.run_due() == 1

    assert (len(runs(feed)), len(runs(other))) == (0, 1)
    assert reload(feed).dripfeed.runs_made == 0
    assert open_alerts() == {("dripfeed_fault", f"dripfeed:{feed.dripfeed.pk}")}


@pytest.mark.parametrize("feeds", [1, 3])
def test_looking_for_due_drip_feeds_is_cheap(provider, django_assert_num_queries, feeds):
    for _ in range(feeds):
        opened(provider)
    send(provider)

    with django_assert_num_queries(2):
        assert (dripfeed.run_due(), dripfeed.settle()) == (0, 0)


@given(
    runs=st.integers(1, 60),
    millionths=st.integers(60, 10**15),
)
def test_runs_charges_are_together_exactly_the_charge(runs, millionths):
    charge = Decimal(millionths).scaleb(-6)

    parts = [dripfeed._charge_of(runs, number, charge) for number in range(1, runs + 1)]

    assert sum(parts) == charge
    assert max(parts) - min(parts) <= Decimal("0.000001")


# --- money and ends ------------------------------------------------------------------------------


def test_failed_run_is_paid_back_and_the_others_go_on(sandbox, provider, feed):
    sandbox.misbehave("add", Kind.REFUSE)
    send(provider)

    feed = reload(feed)
    assert [(run.status, run.refunded) for run in runs(feed)] == [(Status.FAILED, Decimal("1.30"))]
    assert (feed.status, feed.refunded, feed.wallet.balance) == (
        Status.IN_PROGRESS,
        Decimal("1.30"),
        FUNDS - Decimal("2.60"),
    )
    for _ in range(2):
        pass_time(minutes=60)
        assert send(provider) == 1
        sandbox.complete(sandbox.orders[-1].id)
        follow(provider)

    feed = reload(feed)
    assert (feed.status, feed.remains, feed.refunded) == (
        Status.PARTIAL,
        1000,
        Decimal("1.30"),
    )


def test_partial_runs_are_paid_back_through_the_drip_feed(sandbox, provider, feed):
    for remains in (250, 0, 500):
        send(provider)
        sandbox.end_partial(sandbox.orders[-1].id, remains=remains)
        follow(provider)
        pass_time(minutes=60)

    feed = reload(feed)
    assert (feed.status, feed.remains, feed.delivered) == (Status.PARTIAL, 750, 2250)
    assert feed.refunded == CHARGE * 750 / 3000
    entries = JournalEntry.objects.filter(kind=EntryKind.REFUND)
    assert {entry.subject for entry in entries} == {feed.subject}


def test_drip_feed_of_nothing_but_failures_is_cancelled(sandbox, provider):
    feed = opened(provider, runs=2, quantity=2000, charge=Decimal("2.60"))
    for _ in range(2):
        send(provider)
        sandbox.cancel(sandbox.orders[-1].id)
        follow(provider)
        pass_time(minutes=60)

    feed = reload(feed)
    assert (feed.status, feed.refunded, feed.wallet.balance) == (
        Status.CANCELLED,
        feed.charge,
        FUNDS,
    )


def test_run_of_unknown_outcome_keeps_it_open(sandbox, provider):
    feed = opened(provider, runs=1, quantity=1000, charge=Decimal("1.30"))
    sandbox.misbehave("add", Kind.ERROR_500)

    send(provider)

    assert [run.status for run in runs(feed)] == [Status.UNCONFIRMED]
    assert dripfeed.settle() == 0
    assert (reload(feed).status, reload(feed).refunded) == (Status.IN_PROGRESS, 0)


def test_drip_feed_shows_how_far_its_runs_are(sandbox, provider, feed):
    send(provider)
    [run] = runs(feed)
    assert reload(feed).remains is None

    sandbox.say(run.external_id, status="In progress", start_count="77", remains="400")
    follow(provider)

    feed = reload(feed)
    assert (feed.start_count, feed.remains, feed.delivered) == (77, 2400, 600)
    assert feed.started_at == runs(feed)[0].started_at
    assert feed.progress_at is not None
    pass_time(minutes=60)
    send(provider)
    sandbox.say(runs(feed)[1].external_id, status="In progress", start_count="677", remains="900")
    follow(provider)
    assert (reload(feed).start_count, reload(feed).remains) == (77, 2300)
    # From nothing over 6 and 7 tenths of one run and the first of the next: 20 % and 23 %.
    progress = OrderEvent.objects.filter(order=feed, kind=EventKind.PROGRESS)
    assert [event.changes["remains"] for event in progress] == [[None, 2400]]


@pytest.mark.parametrize(
    ("said", "status", "refund"),
    [
        ({"status": "Partial", "remains": "500"}, Status.PARTIAL, "0.65"),
        ({"status": "Canceled"}, Status.PARTIAL, "1.30"),
    ],
)
def test_late_correction_of_a_run_corrects_the_ended_drip_feed(
    sandbox, provider, feed, said, status, refund
):
    for _ in range(3):
        send(provider)
        sandbox.complete(sandbox.orders[-1].id)
        follow(provider)
        pass_time(minutes=60)
    assert reload(feed).status == Status.COMPLETED

    sandbox.say(str(sandbox.orders[1].id), **said)
    follow(provider)
    follow(provider)

    feed = reload(feed)
    assert (feed.status, feed.refunded) == (status, Decimal(refund))
    assert open_alerts() == {("order_corrected", runs(feed)[1].subject)}


def test_drip_feed_of_which_everything_is_taken_back_is_refunded(sandbox, provider):
    feed = opened(provider, runs=1, quantity=1000, charge=Decimal("1.30"))
    send(provider)
    sandbox.complete(sandbox.orders[0].id)
    follow(provider)
    assert reload(feed).status == Status.COMPLETED

    sandbox.say(str(sandbox.orders[0].id), status="Refunded")
    follow(provider)

    assert (reload(feed).status, reload(feed).wallet.balance) == (Status.REFUNDED, FUNDS)


# --- failures in a row ---------------------------------------------------------------------------


@pytest.fixture
def failing(sandbox, provider):
    """A drip-feed of ten runs, three of which have failed."""
    feed = opened(provider, runs=10, quantity=10_000, charge=Decimal(13))
    sandbox.misbehave("add", Kind.REFUSE, times=3)
    for _ in range(3):
        assert send(provider) == 1
        pass_time(minutes=60)
    return feed


def test_three_failed_runs_in_a_row_pause_it_and_tell_staff(sandbox, provider, failing):
    assert send(provider) == 0

    feed = reload(failing)
    assert (feed.dripfeed.state, feed.status) == (SeriesState.PAUSED, Status.IN_PROGRESS)
    assert open_alerts() == {("dripfeed_paused", feed.subject)}
    assert series(feed)[-1] == {"series": ["active", "paused"]}
    assert feed.refunded == Decimal("3.90")


def test_resumed_drip_feed_has_its_failures_forgiven(sandbox, provider, failing):
    send(provider)

    dripfeed.resume(failing, by=by_staff(StaffFactory()))

    assert open_alerts() == set()
    sandbox.misbehave("add", Kind.REFUSE, times=2)
    for _ in range(2):
        assert send(provider) == 1
        pass_time(minutes=60)
    assert send(provider) == 1
    assert reload(failing).dripfeed.state == SeriesState.ACTIVE


def test_run_that_was_delivered_ends_the_row_of_failures(sandbox, provider):
    feed = opened(provider, runs=10, quantity=10_000, charge=Decimal(13))
    for outcome in ("cancel", "cancel", "complete", "cancel", "cancel"):
        assert send(provider) == 1
        getattr(sandbox, outcome)(sandbox.orders[-1].id)
        follow(provider)
        pass_time(minutes=60)

    assert send(provider) == 1
    assert reload(feed).dripfeed.state == SeriesState.ACTIVE


# --- pause, resume, stop -------------------------------------------------------------------------


def test_paused_drip_feed_begins_no_run(sandbox, provider, feed):
    send(provider)
    pass_time(minutes=60)

    dripfeed.pause(feed, by=by_customer(feed.customer))

    assert (send(provider), len(sandbox.orders)) == (0, 1)
    event = OrderEvent.objects.filter(order=feed).latest("pk")
    assert (event.kind, event.changes, event.actor) == (
        EventKind.SERIES,
        {"series": ["active", "paused"]},
        feed.customer,
    )


def test_resumed_drip_feed_goes_on_one_run_an_interval(sandbox, provider, feed):
    send(provider)
    dripfeed.pause(feed, by=by_customer(feed.customer))
    pass_time(days=2)

    dripfeed.resume(feed, by=by_customer(feed.customer))

    assert [send(provider), send(provider)] == [1, 0]
    pass_time(minutes=60)
    assert [send(provider), send(provider)] == [1, 0]


def test_drip_feed_stopped_before_its_first_run_is_paid_back_whole(sandbox, provider, feed):
    dripfeed.stop(feed, by=by_customer(feed.customer))

    feed = reload(feed)
    assert (feed.status, feed.refunded, feed.wallet.balance) == (Status.CANCELLED, CHARGE, FUNDS)
    assert (feed.dripfeed.state, send(provider), sandbox.orders) == (SeriesState.ENDED, 0, [])


def test_stop_cancels_the_waiting_run_and_pays_back_what_never_ran(provider, feed):
    dripfeed.run_due()

    dripfeed.stop(feed, by=by_customer(feed.customer))

    feed = reload(feed)
    assert [run.status for run in runs(feed)] == [Status.CANCELLED]
    assert (feed.status, feed.wallet.balance) == (Status.CANCELLED, FUNDS)
    assert dispatch.dispatch(provider) == 0


@pytest.mark.parametrize("status", ["sending", "unconfirmed", "processing", "in_progress"])
def test_stop_awaits_the_run_that_the_provider_has(sandbox, provider, feed, status):
    send(provider)
    before = runs(feed)[0]
    Order.objects.filter(pk=before.pk).update(status=status)

    dripfeed.stop(feed, by=by_customer(feed.customer))

    feed = reload(feed)
    assert (feed.dripfeed.state, feed.status) == (SeriesState.STOPPING, Status.IN_PROGRESS)
    assert (feed.refunded, runs(feed)[0].status) == (Decimal("2.60"), status)
    Order.objects.filter(pk=before.pk).update(status=Status.PROCESSING)
    pass_time(minutes=60)
    assert (send(provider), dripfeed.settle()) == (0, 0)

    sandbox.end_partial(sandbox.orders[0].id, remains=500)
    follow(provider)

    feed = reload(feed)
    assert (feed.status, feed.remains) == (Status.PARTIAL, 2500)
    assert feed.refunded == Decimal("2.60") + Decimal("0.65")
    assert feed.dripfeed.state == SeriesState.ENDED


def test_stop_pays_back_to_the_millionth(sandbox, provider):
    feed = opened(provider, runs=7, quantity=7000, charge=Decimal("1.000001"))
    send(provider)
    pass_time(minutes=60)
    send(provider)

    dripfeed.stop(feed, by=by_customer(feed.customer))

    begun = sum(run.charge for run in runs(feed))
    assert reload(feed).refunded == Decimal("1.000001") - begun
    assert begun == Decimal("0.285714")


def states(order):
    """A drip-feed as each of its states."""
    by = by_customer(order.customer)
    yield "active"
    dripfeed.pause(order, by=by)
    yield "paused"
    dripfeed.resume(order, by=by)
    dripfeed.run_due()
    Order.objects.filter(parent=order).update(status=Status.UNCONFIRMED)
    dripfeed.stop(order, by=by)
    yield "stopping"
    Order.objects.filter(parent=order).update(status=Status.COMPLETED)
    dripfeed.settle()
    yield "ended"


def refusal(action, order):
    try:
        with transaction.atomic():
            action(order, by=by_customer(order.customer))
            transaction.set_rollback(True)
    except SeriesRefused as refused:
        return refused.reason
    return None


def test_refusals_say_why(feed):
    told = {
        state: [refusal(getattr(dripfeed, name), feed) for name in ("pause", "resume", "stop")]
        for state in states(feed)
    }

    assert told == {
        "active": [None, SeriesRefusal.NOT_PAUSED, None],
        "paused": [SeriesRefusal.PAUSED, None, None],
        "stopping": [SeriesRefusal.STOPPING] * 3,
        "ended": [SeriesRefusal.ENDED] * 3,
    }


def test_drip_feed_without_runs_to_come_cannot_be_paused(provider):
    feed = opened(provider, runs=1, quantity=1000, charge=Decimal("1.30"))
    dripfeed.run_due()

    assert refusal(dripfeed.pause, feed) == SeriesRefusal.NO_RUN_LEFT


def test_order_without_runs_is_no_drip_feed(db):
    order = OrderFactory()

    assert {refusal(action, order) for action in (dripfeed.pause, dripfeed.stop)} == {
        SeriesRefusal.NO_SERIES
    }


def test_drip_feed_whose_order_was_ended_by_other_means_begins_no_run(provider, feed):
    Order.objects.filter(pk=feed.pk).update(status=Status.CANCELLED)

    assert dripfeed.run_due() == 0

    assert reload(feed).dripfeed.state == SeriesState.ENDED
    assert {Status.CANCELLED} < FINAL
    Order.objects.filter(pk=feed.pk).update(status=Status.PENDING)
