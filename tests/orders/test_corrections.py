"""What following an order tells people: progress, orders that stand still, late corrections."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts.models import Alert
from orders import tracking
from orders.cancellations import cancel_and_refund
from orders.models import EventKind, Order, OrderEvent, Refill, RefillState
from orders.models.requests import OPEN_REFILLS
from orders.refills import PAID_BACK
from orders.statuses import Status
from tests.factories import StaffFactory
from tests.orders.conftest import SPENT, WHOLE, make_due, open_alerts, sent
from tests.orders.test_tracking import asked, follow, refunds, reload, report

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books")]


@pytest.fixture
def order(sandbox, provider):
    """An order of 1000 units for 1.30 that the sandbox has; its check is due."""
    return sent(provider, sandbox)


# --- what the history tells ----------------------------------------------------------------------


def progress(order):
    events = OrderEvent.objects.filter(order=order, kind=EventKind.PROGRESS)
    return [event.changes["remains"] for event in events]


def test_progress_is_told_at_most_once_for_each_tenth(order):
    order = reload(order)
    tracking.apply(order, report("in_progress", remains=1000))
    for remains in range(995, -1, -5):
        tracking.apply(order, report("in_progress", remains=remains))

    assert progress(order) == [[1000 - 100 * n + 105, 1000 - 100 * n] for n in range(1, 11)] or (
        [after for _, after in progress(order)] == list(range(900, -1, -100))
    )
    assert reload(order).remains == 0


def test_counter_that_jumps_about_does_not_flood_the_history(order):
    order = reload(order)
    for _ in range(20):
        tracking.apply(order, report("in_progress", remains=900))
        tracking.apply(order, report("in_progress", remains=100))

    assert len(progress(order)) == 10


@pytest.mark.parametrize(("later", "shown"), [(499, 499), (501, 500), (599, 500), (600, 600)])
def test_small_rise_of_what_remains_is_a_flutter_and_a_large_one_the_providers_word(
    order, later, shown
):
    order = reload(order)
    tracking.apply(order, report("in_progress", remains=500))

    tracking.apply(order, report("in_progress", remains=later))

    assert reload(order).remains == shown


def test_end_takes_what_remains_at_the_providers_word(order):
    order = reload(order)
    tracking.apply(order, report("in_progress", remains=500))

    tracking.apply(order, report("partial", remains=501))

    assert (reload(order).remains, order.refunded) == (501, Decimal("0.6513"))


def test_order_has_its_times_and_the_providers_charge(order):
    order = reload(order)
    tracking.apply(order, report("processing", remains=1000, charge=Decimal("0.9")))
    assert (reload(order).started_at, order.progress_at) == (None, None)
    assert reload(order).upstream_charge == Decimal("0.9")

    tracking.apply(order, report("in_progress", remains=1000))
    started = reload(order).started_at
    assert started == reload(order).progress_at

    tracking.apply(order, report("in_progress", remains=990))
    assert (reload(order).started_at, order.progress_at > started) == (started, True)
    tracking.apply(order, report("in_progress", remains=990))
    tracking.apply(order, report("in_progress", remains=990, charge=Decimal("1e30")))
    assert reload(order).upstream_charge == Decimal("0.9")


# --- orders that stand still ---------------------------------------------------------------------


@pytest.fixture
def still(order, settings):
    """An order in progress that has shown none for 25 hours."""
    settings.STALLED_AFTER_HOURS = 24
    long_ago = timezone.now() - timedelta(hours=25)
    Order.objects.update(
        status=Status.IN_PROGRESS,
        remains=800,
        sent_at=long_ago,
        started_at=long_ago,
        progress_at=long_ago,
    )
    return reload(order)


def test_order_without_progress_is_flagged_once_and_unflagged_when_it_goes_on(
    sandbox, provider, still
):
    sandbox.say(still.external_id, status="In progress", remains="800")
    follow(provider)
    follow(provider)

    assert open_alerts() == {("order_stalled", still.subject)}
    assert Alert.objects.get().times == 1

    sandbox.say(still.external_id, status="In progress", remains="799")
    follow(provider)
    assert open_alerts() == set()


@pytest.mark.parametrize("hours", [24, 26])
def test_how_long_an_order_may_stand_still_is_a_setting(sandbox, provider, still, settings, hours):
    settings.STALLED_AFTER_HOURS = hours

    follow(provider)

    assert len(open_alerts()) == (1 if hours == 24 else 0)


def test_order_about_which_the_provider_is_silent_is_flagged(sandbox, provider, still):
    sandbox.answer("status", {"error": "Incorrect order ID"})
    follow(provider)
    sandbox.answer("status", {still.external_id: {"error": "Incorrect order ID"}})
    follow(provider)

    assert ("order_stalled", still.subject) in open_alerts()


@pytest.mark.parametrize("by", ["provider", "staff"])
def test_flag_goes_with_the_end_of_the_order(sandbox, provider, still, by):
    sandbox.say(still.external_id, status="In progress", remains="800")
    follow(provider)
    if by == "staff":
        cancel_and_refund(reload(still), actor=StaffFactory(), reason="stands still")
    else:
        sandbox.say(still.external_id, status="Completed")

    follow(provider)

    assert open_alerts() == set()


# --- corrections after the end -------------------------------------------------------------------


@pytest.fixture
def ended(sandbox, provider, order):
    """An order that the provider has completed; it is looked at again now."""
    sandbox.say(order.external_id, status="Completed", remains="0")
    follow(provider)
    assert reload(order).status == Status.COMPLETED
    return order


def test_completed_order_that_becomes_partial_is_paid_back(sandbox, provider, ended):
    before = reload(ended).completed_at
    sandbox.say(ended.external_id, status="Partial", remains="250")

    for _ in range(3):
        follow(provider)

    assert (reload(ended).status, ended.remains, ended.refunded) == (
        Status.PARTIAL,
        250,
        Decimal("0.325"),
    )
    assert (ended.completed_at, refunds(), ended.wallet.balance) == (
        before,
        1,
        SPENT + Decimal("0.325"),
    )
    assert open_alerts() == {("order_corrected", ended.subject)}
    event = OrderEvent.objects.filter(order=ended, kind=EventKind.MOVED).latest("pk")
    assert event.status == ("completed", "partial")
    assert event.note == "correction: the provider says “Partial” after completed"
    assert event.job == "tracking"


@pytest.mark.parametrize("word", ["Canceled", "Refunded", "Fail"])
@pytest.mark.parametrize("first", ["Completed", "Partial"])
def test_ended_order_that_is_taken_back_is_paid_back_whole(sandbox, provider, order, first, word):
    sandbox.say(order.external_id, status=first, remains="500")
    follow(provider)
    sandbox.say(order.external_id, status=word, remains="1000")

    for _ in range(3):
        follow(provider)

    assert (reload(order).status, order.refunded, order.wallet.balance) == (
        Status.REFUNDED,
        order.charge,
        WHOLE,
    )
    assert (refunds(), order.next_check_at) == (1 if first == "Completed" else 2, None)
    assert open_alerts() == {("order_corrected", order.subject)}


@pytest.mark.parametrize("state", OPEN_REFILLS)
def test_open_refill_of_an_order_that_is_taken_back_is_rejected(sandbox, provider, ended, state):
    refill = Refill.objects.create(order=ended, state=state)
    sandbox.say(ended.external_id, status="Refunded")

    follow(provider)

    refill.refresh_from_db()
    assert (refill.state, refill.reason) == (RefillState.REJECTED, PAID_BACK)
    assert refill.settled_at is not None


@pytest.mark.parametrize(
    "later",
    [
        {"status": "Completed", "remains": "0"},
        {"status": "Partial", "remains": "100"},
        {"status": "Partial", "remains": "900"},
    ],
)
def test_partial_order_is_never_paid_back_or_charged_again_by_a_later_report(
    sandbox, provider, order, later
):
    sandbox.say(order.external_id, status="Partial", remains="500")
    follow(provider)
    sandbox.say(order.external_id, **later)

    for _ in range(3):
        follow(provider)

    assert (reload(order).status, order.remains, order.refunded) == (
        Status.PARTIAL,
        500,
        Decimal("0.65"),
    )
    assert open_alerts() == {("order_corrected", order.subject)}
    assert Alert.objects.get().times == 1
    assert OrderEvent.objects.filter(order=order, kind=EventKind.NOTE).count() == 1


@pytest.mark.parametrize(
    "later",
    [
        {"status": "Completed", "remains": "0"},
        {"status": "In progress", "remains": "700"},
        {"status": "Pending", "remains": "1000"},
        {"status": "Partial", "remains": "0"},
    ],
)
def test_late_or_repeated_report_changes_nothing_of_an_ended_order(sandbox, provider, ended, later):
    sandbox.say(ended.external_id, **later)
    columns = ("status", "remains", "start_count", "refunded", "completed_at", "progress_at")
    before = Order.objects.values(*columns).get()

    follow(provider)

    assert Order.objects.values(*columns).get() == before
    assert (refunds(), open_alerts()) == (0, set())


def test_correction_to_partial_without_remains_waits_for_staff(sandbox, provider, ended):
    sandbox.say(ended.external_id, status="Partial", remains=None)

    follow(provider)

    assert reload(ended).status == Status.COMPLETED
    assert open_alerts() == {("partial_without_remains", ended.subject)}


@pytest.mark.parametrize(
    ("age", "wait"),
    [
        (timedelta(minutes=61), timedelta(hours=6) - timedelta(minutes=61)),
        (timedelta(hours=7), timedelta(hours=17)),
        (timedelta(days=2), timedelta(days=1)),
        (timedelta(days=4), timedelta(days=3)),
        (timedelta(days=8), None),
    ],
)
def test_ended_orders_are_looked_at_again_rarely(sandbox, provider, ended, age, wait):
    Order.objects.update(completed_at=timezone.now() - age)

    tracking.poll(provider)

    due = reload(ended).next_check_at
    if wait is None:
        assert due is None
    else:
        assert abs(due - timezone.now() - wait) < timedelta(seconds=5)


def test_first_look_again_is_after_an_hour(sandbox, provider, order):
    sandbox.say(order.external_id, status="Completed", remains="0")

    tracking.poll(provider)

    wait = reload(order).next_check_at - timezone.now()
    assert abs(wait - timedelta(hours=1)) < timedelta(seconds=5)


def test_orders_under_way_are_asked_about_before_the_ended(sandbox, provider, ended):
    under_way = sent(provider, sandbox)
    make_due()

    tracking.poll(provider)

    assert asked(sandbox)[-2:] == [[under_way.external_id], [ended.external_id]]
