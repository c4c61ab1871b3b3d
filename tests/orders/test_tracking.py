"""Following orders at the sandbox provider: the right state, the right money, once."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.clock import from_now
from accounts.models import EntryKind, JournalEntry
from catalog.providers import ProviderRefused, UpstreamState, UpstreamStatus
from catalog.sandbox.misbehaviour import Kind
from orders import tracking
from orders.models import Order
from orders.statuses import FINAL, TRACKED, Status
from orders.tracking import CORRECTABLE
from tests.books import breaches
from tests.factories import OrderFactory, ServiceFactory, WalletFactory
from tests.orders.conftest import make_due, open_alerts, sent
from tests.sandbox import DAY

pytestmark = pytest.mark.django_db

SPENT, WHOLE = Decimal("98.70"), Decimal(100)


@pytest.fixture(autouse=True)
def _books_add_up():
    yield
    assert breaches() == []


@pytest.fixture
def order(sandbox, provider):
    """An order of 1000 units for 1.30 that the sandbox has; its check is due."""
    return sent(provider, sandbox)


def follow(provider):
    """Ask once, and let the next check be due; returns the reports applied."""
    applied = tracking.poll(provider)
    make_due()
    return applied


def reload(order):
    order.refresh_from_db()
    order.wallet.refresh_from_db()
    return order


def refunds():
    return JournalEntry.objects.filter(kind=EntryKind.REFUND).count()


def asked(sandbox):
    """The ids of each status call."""
    return [
        (call.get("orders") or call["order"]).split(",")
        for call in sandbox.calls
        if call["action"] == "status"
    ]


# --- under way -----------------------------------------------------------------------------------


def test_order_is_followed_from_processing_to_completed(sandbox, provider, order):
    assert follow(provider) == 1
    assert (reload(order).status, order.remains) == (Status.PROCESSING, 1000)
    assert order.last_checked_at is not None

    sandbox.advance(400)
    follow(provider)
    assert reload(order).status == Status.IN_PROGRESS
    assert 0 < order.remains < 1000
    assert order.delivered == 1000 - order.remains
    assert order.start_count == sandbox.orders[0].start_count

    sandbox.advance(DAY)
    follow(provider)
    assert (reload(order).status, order.remains, order.delivered) == (Status.COMPLETED, 0, 1000)
    assert order.completed_at is not None
    assert (order.wallet.balance, order.refunded, refunds()) == (SPENT, 0, 0)
    assert open_alerts() == set()


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("Pending", Status.PROCESSING),
        ("Awaiting", Status.PROCESSING),
        ("Processing", Status.PROCESSING),
        ("In progress", Status.IN_PROGRESS),
        ("in-progress", Status.IN_PROGRESS),
        ("Active", Status.IN_PROGRESS),
        ("COMPLETED", Status.COMPLETED),
        ("Partial", Status.PARTIAL),
        ("Canceled", Status.CANCELLED),
        ("Cancelled", Status.CANCELLED),
        ("Refunded", Status.REFUNDED),
        ("Fail", Status.FAILED),
        ("Error", Status.FAILED),
    ],
)
def test_every_word_leads_to_its_state(sandbox, provider, order, word, status):
    sandbox.say(order.external_id, status=word)

    assert follow(provider) == 1

    assert reload(order).status == status
    assert (order.completed_at is not None) == (status in FINAL)
    assert open_alerts() == set()


def test_order_does_not_go_back_for_a_flapping_word(sandbox, provider, order):
    sandbox.say(order.external_id, status="In progress", remains="700")
    follow(provider)
    sandbox.say(order.external_id, status="Pending", remains="600")

    follow(provider)

    assert (reload(order).status, order.remains) == (Status.IN_PROGRESS, 600)


@pytest.mark.parametrize(
    ("said", "kept"), [("-12", 0), ("5000", 1000), (250, 250), ("0", 0), (None, None), ("?", None)]
)
def test_remains_stay_within_the_quantity(sandbox, provider, order, said, kept):
    sandbox.say(order.external_id, status="In progress", remains=said)

    follow(provider)

    assert reload(order).remains == kept


@pytest.mark.parametrize("said", [None, "?", "-5", 2**63, "9" * 40])
def test_start_count_that_cannot_be_read_keeps_the_old_one(sandbox, provider, order, said):
    follow(provider)
    before = reload(order).start_count
    sandbox.say(order.external_id, status="In progress", start_count=said)

    follow(provider)

    assert (reload(order).status, order.start_count) == (Status.IN_PROGRESS, before)


def test_completed_order_has_nothing_left_whatever_the_report_says(sandbox, provider, order):
    sandbox.say(order.external_id, status="Completed", remains="430")

    follow(provider)

    assert (reload(order).status, order.remains, order.refunded) == (Status.COMPLETED, 0, 0)


# --- money back ----------------------------------------------------------------------------------


def test_partial_order_pays_back_what_was_not_delivered(sandbox, provider, order):
    sandbox.end_partial(order.external_id, remains=250)

    follow(provider)

    assert (reload(order).status, order.remains, order.delivered) == (Status.PARTIAL, 250, 750)
    assert (order.refunded, order.wallet.balance) == (Decimal("0.325"), SPENT + Decimal("0.325"))


@pytest.mark.parametrize(
    ("remains", "refund"),
    [
        (1, "0.000433"),
        (2, "0.000866"),
        (1500, "0.649999"),
        (2999, "1.299565"),
        (3000, "1.299999"),
        (0, "0"),
        (-7, "0"),
        (99_999, "1.299999"),
    ],
)
def test_partial_refund_is_exact_to_the_last_millionth(sandbox, provider, remains, refund):
    order = sent(provider, sandbox, quantity=3000, charge=Decimal("1.299999"))
    sandbox.say(order.external_id, status="Partial", remains=str(remains))

    follow(provider)

    assert (reload(order).status, order.refunded) == (Status.PARTIAL, Decimal(refund))
    assert order.wallet.balance == WHOLE - order.charge + Decimal(refund)


def test_partial_delivery_of_the_sandbox_is_paid_back(sandbox, provider):
    order = sent(provider, sandbox, link="https://instagram.com/partial")
    sandbox.advance(DAY)

    follow(provider)

    assert (reload(order).status, order.remains) == (Status.PARTIAL, 400)
    assert order.refunded == Decimal("0.52")


@pytest.mark.parametrize("said", [None, "", "Unknown"])
def test_partial_without_remains_changes_nothing_and_tells_staff(sandbox, provider, order, said):
    sandbox.say(order.external_id, status="In progress", remains="900")
    follow(provider)
    sandbox.say(order.external_id, status="Partial", remains=said)

    follow(provider)

    # What remained earlier may have been delivered since: 900 would be a guess.
    assert (reload(order).status, order.refunded) == (Status.IN_PROGRESS, 0)
    assert open_alerts() == {("partial_without_remains", order.subject)}

    sandbox.say(order.external_id, status="Partial", remains="100")
    follow(provider)
    assert (reload(order).status, order.refunded) == (Status.PARTIAL, Decimal("0.13"))


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("Canceled", Status.CANCELLED),
        ("Refunded", Status.REFUNDED),
        ("Failed", Status.FAILED),
    ],
)
@pytest.mark.parametrize("remains", ["1000", "0", None])
def test_order_that_came_to_nothing_is_paid_back_whole(
    sandbox, provider, order, word, status, remains
):
    sandbox.say(order.external_id, status=word, remains=remains)

    follow(provider)

    assert (reload(order).status, order.refunded) == (status, order.charge)
    assert order.wallet.balance == WHOLE


@pytest.mark.parametrize("word", ["Canceled", "Refunded", "Fail"])
def test_order_that_came_to_nothing_is_not_asked_about_again(sandbox, provider, order, word):
    sandbox.say(order.external_id, status=word, remains="500")
    follow(provider)
    after = (reload(order).status, order.refunded, order.wallet.balance)

    for later in ("Canceled", "In progress", "Partial"):
        sandbox.say(order.external_id, status=later, remains="1000")
        assert follow(provider) == 0

    assert (reload(order).status, order.refunded, order.wallet.balance) == after
    assert len(asked(sandbox)) == 1


def report(state, **told):
    return UpstreamStatus(state=UpstreamState(state), word=state, **told)


@pytest.mark.parametrize("first", ["completed", "partial", "cancelled", "refunded", "failed"])
@pytest.mark.parametrize("second", ["completed", "partial", "cancelled", "refunded", "failed"])
def test_report_that_comes_second_changes_nothing(order, first, second):
    """Two trackers hold the order as it was, and a report each."""
    late = Order.objects.select_related("wallet").get()
    assert tracking.apply(order, report(first, remains=300))
    after = Order.objects.values().get()
    paid = refunds()

    assert not tracking.apply(late, report(second, remains=900))

    assert (Order.objects.values().get(), refunds()) == (after, paid)


def test_late_progress_does_not_touch_an_ended_order(order):
    late = Order.objects.select_related("wallet").get()
    tracking.apply(order, report("partial", remains=300))

    assert not tracking.apply(late, report("in_progress", remains=900))
    assert not tracking.apply(late, report("pending", remains=900, start_count=5))

    assert (reload(order).status, order.remains) == (Status.PARTIAL, 300)


# --- reports that cannot be read -----------------------------------------------------------------


@pytest.mark.parametrize("word", ["Marinating", "", "7", "\x00", "x" * 500])
def test_unknown_word_changes_nothing_and_tells_staff(sandbox, provider, order, word):
    sandbox.say(order.external_id, status=word, remains="0", start_count="1")

    follow(provider)

    assert (reload(order).status, order.remains, order.start_count) == (
        Status.PROCESSING,
        None,
        None,
    )
    assert open_alerts() == {("status_unknown", order.subject)}


def test_missing_order_leaves_the_others_of_the_answer(sandbox, provider, order):
    missing = sent(provider, sandbox)
    sandbox.answer("status", {order.external_id: {"status": "Completed", "remains": "0"}})

    assert follow(provider) == 1

    assert reload(order).status == Status.COMPLETED
    assert (reload(missing).status, missing.last_checked_at) == (Status.PROCESSING, None)


@pytest.mark.parametrize(
    "entry",
    [
        "Incorrect order ID",
        {"error": "Incorrect order ID"},
        None,
        [],
        5,
        {"status": None},
        {"status": {"error": "x"}},
        {"status": ["Completed"]},
    ],
    ids=repr,
)
def test_unreadable_order_leaves_the_others_of_the_answer(sandbox, provider, order, entry):
    odd = sent(provider, sandbox)
    good = {"status": "Partial", "remains": "100"}
    sandbox.answer("status", {odd.external_id: entry, order.external_id: good})

    follow(provider)

    assert (reload(order).status, order.refunded) == (Status.PARTIAL, Decimal("0.13"))
    assert (reload(odd).status, odd.refunded) == (Status.PROCESSING, 0)


def test_order_that_was_not_asked_for_is_passed_over(sandbox, provider, order):
    sent(provider, sandbox)
    not_due = OrderFactory(sent=True, service=order.service, external_id="1")
    sandbox.misbehave("status", Kind.FOREIGN_ID)

    assert follow(provider) == 2

    assert (reload(order).status, reload(not_due).status) == (
        Status.PROCESSING,
        Status.IN_PROGRESS,
    )


@pytest.mark.parametrize(
    "kind",
    [
        Kind.HTML,
        Kind.EMPTY,
        Kind.TRUNCATED,
        Kind.STRING,
        Kind.HUGE,
        Kind.RESET,
        Kind.ERROR_500,
        Kind.REDIRECT,
        Kind.HANG,
        Kind.REFUSE,
    ],
)
def test_answer_that_cannot_be_used_changes_nothing_and_tells_staff(sandbox, provider, order, kind):
    provider.read_timeout = 1
    sandbox.misbehave("status", kind, **({"text": "Invalid API key"} if kind == "refuse" else {}))

    assert follow(provider) == 0

    assert (reload(order).status, order.refunded) == (Status.PROCESSING, 0)
    assert open_alerts() == {("provider_status_failed", f"provider:{provider.pk}")}

    assert follow(provider) == 1
    assert open_alerts() == set()


def test_busy_provider_is_asked_again_soon_and_nobody_is_told(sandbox, provider, order):
    Order.objects.update(sent_at=from_now(-timedelta(days=2)))
    sandbox.misbehave("status", Kind.TOO_MANY)

    assert tracking.poll(provider) == 0

    assert open_alerts() == set()
    assert timezone.now() < reload(order).next_check_at < timezone.now() + timedelta(minutes=2)


def test_unreachable_provider_costs_one_interval(sandbox, provider, order):
    sandbox.stop()

    assert tracking.poll(provider) == 0
    assert tracking.poll(provider) == 0

    assert open_alerts() == {("provider_status_failed", f"provider:{provider.pk}")}
    assert reload(order).next_check_at > timezone.now()


def test_report_that_cannot_be_applied_costs_only_its_own_order(
    sandbox, provider, order, monkeypatch
):
    other = sent(provider, sandbox)
    for each in (order, other):
        sandbox.cancel(each.external_id)
    move_and_refund = tracking.move_and_refund

    def failing(moved, *args, **changes):
        if moved == order:
            raise DatabaseError("deadlock detected")
        return move_and_refund(moved, *args, **changes)

    monkeypatch.setattr(tracking, "move_and_refund", failing)
    assert follow(provider) == 1
    assert (reload(order).status, reload(other).status) == (Status.PROCESSING, Status.CANCELLED)

    monkeypatch.undo()
    assert follow(provider) == 1
    assert (reload(order).status, order.refunded) == (Status.CANCELLED, order.charge)


# --- whom to ask, and when -----------------------------------------------------------------------


@pytest.mark.parametrize("status", sorted(set(Status) - TRACKED - CORRECTABLE))
def test_only_orders_that_the_provider_has_are_asked_about(sandbox, provider, order, status):
    Order.objects.update(status=status, **({} if status in FINAL else {"external_id": None}))

    assert follow(provider) == 0
    assert asked(sandbox) == []


def test_order_is_not_asked_about_before_its_time(sandbox, provider, order):
    assert tracking.poll(provider) == 1
    assert tracking.poll(provider) == 0
    assert len(asked(sandbox)) == 1


def test_orders_of_a_disabled_provider_are_followed_to_their_end(sandbox, provider, order):
    provider.enabled = False
    provider.save()
    sandbox.complete(order.external_id)

    follow(provider)

    assert reload(order).status == Status.COMPLETED


@pytest.mark.parametrize(
    ("age", "interval"),
    [
        (timedelta(minutes=9), timedelta(seconds=10)),
        (timedelta(minutes=11), timedelta(minutes=1)),
        (timedelta(hours=1, minutes=59), timedelta(minutes=1)),
        (timedelta(hours=3), timedelta(minutes=5)),
        (timedelta(days=2), timedelta(minutes=30)),
    ],
)
def test_young_orders_are_asked_about_more_often(sandbox, provider, order, age, interval):
    Order.objects.update(sent_at=from_now(-age))

    tracking.poll(provider)

    wait = reload(order).next_check_at - timezone.now()
    assert abs(wait - interval) < timedelta(seconds=5)


@pytest.fixture
def many(provider):
    """205 orders that the sandbox does not know, their checks due one after the other."""
    service, wallet = ServiceFactory(provider=provider), WalletFactory(funds=1000)
    for number in range(205):
        OrderFactory(
            service=service,
            wallet=wallet,
            status=Status.IN_PROGRESS,
            external_id=str(10_000 + number),
            sent_at=timezone.now() - timedelta(days=3),
            next_check_at=timezone.now() - timedelta(hours=10) + timedelta(seconds=number),
        )
    return [str(10_000 + number) for number in range(205)]


def test_at_most_100_are_asked_about_in_a_call_the_longest_waiting_first(sandbox, provider, many):
    assert tracking.poll(provider) == 0

    assert [sorted(ids) for ids in asked(sandbox)] == [many[:100], many[100:200], many[200:]]


def test_answers_without_news_cost_the_same_few_queries(sandbox, provider, order):
    follow(provider)
    with CaptureQueriesContext(connection) as one:
        follow(provider)
    for _ in range(9):
        sent(provider, sandbox)
    follow(provider)
    make_due()

    with CaptureQueriesContext(connection) as ten:
        assert follow(provider) == 10

    assert len(ten) == len(one) <= 17


def test_batch_of_endings_costs_a_bounded_number_of_queries(sandbox, provider, order):
    orders = [order, *(sent(provider, sandbox) for _ in range(4))]
    for each in orders:
        sandbox.end_partial(each.external_id, remains=10)

    with CaptureQueriesContext(connection) as queries:
        assert follow(provider) == 5

    assert len(queries) <= 17 + 5 * 20


def test_one_bad_id_for_which_all_are_refused_costs_the_others_nothing(
    provider, order, monkeypatch
):
    """Some providers answer a whole batch with "Incorrect order ID"."""
    others = [
        OrderFactory(sent=True, service=order.service, next_check_at=timezone.now())
        for _ in range(30)
    ]
    calls = []

    class Picky:
        def statuses(self, external_ids):
            calls.append(external_ids)
            if order.external_id in external_ids:
                raise ProviderRefused("Incorrect order ID")
            return {external_id: report("completed") for external_id in external_ids}

    monkeypatch.setattr(tracking, "guarded", lambda provider: Picky())

    assert tracking.poll(provider) == 30

    assert {reload(each).status for each in others} == {Status.COMPLETED}
    assert reload(order).status == Status.PROCESSING
    assert len(calls) < 16


def test_provider_that_refuses_everything_is_not_asked_for_each(provider, order, monkeypatch):
    for _ in range(30):
        OrderFactory(sent=True, service=order.service, next_check_at=timezone.now())
    calls = []

    class Closed:
        def statuses(self, external_ids):
            calls.append(external_ids)
            raise ProviderRefused("Invalid API key")

    monkeypatch.setattr(tracking, "guarded", lambda provider: Closed())

    assert tracking.poll(provider) == 0
    assert len(calls) == 3
    assert open_alerts() == {("provider_status_failed", f"provider:{provider.pk}")}


def test_job_ends_in_time_whatever_the_provider_takes(provider, many, monkeypatch):
    clock = iter(range(0, 10_000, 35))
    monkeypatch.setattr(tracking, "time", SimpleNamespace(monotonic=lambda: next(clock)))

    tracking.poll(provider)

    waiting = tracking.due().count()
    assert waiting == 105


@pytest.mark.parametrize("queue", [tracking.due, tracking.due_again])
def test_queue_has_its_index(provider, queue):
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # On an empty table other plans cost the same: leave it only those without a sort.
            for other in ("seqscan", "bitmapscan", "sort"):
                cursor.execute(f"SET LOCAL enable_{other} = off")

    assert (
        "order_to_check " in queue().filter(provider=provider).order_by("next_check_at").explain()
    )
