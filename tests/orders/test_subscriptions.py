"""Subscriptions: what is reserved, what each report takes of it, what goes back at the end."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from accounts import ledger
from accounts.models import Account, EntryKind, JournalEntry, Posting
from catalog.order_types import ServiceType
from catalog.providers import UpstreamState, UpstreamStatus
from orders import dispatch, subscriptions, tracking
from orders.cancellations import cancel_and_refund
from orders.dripfeed import SeriesRefusal, SeriesRefused
from orders.models import (
    CancelRequest,
    CancelState,
    EventKind,
    EventSource,
    Order,
    OrderEvent,
    SeriesState,
    Subscription,
)
from orders.moves import by_customer
from orders.requests import SubscriptionTerms
from orders.statuses import Status
from tests.books import breaches
from tests.factories import OrderFactory, ServiceFactory, StaffFactory, WalletFactory
from tests.orders.conftest import make_due, open_alerts

pytestmark = pytest.mark.django_db

# 10 posts of at most 200 at 1.30 per 1000, bought at 1 per 1000.
RESERVE, FUNDS = Decimal("2.60"), Decimal(100)


@pytest.fixture(autouse=True)
def _books_add_up():
    yield
    assert breaches() == []


def subscribed(*, posts=10, expires_on=None, reserve=RESERVE, **columns):
    """An order whose charge is reserved, with its terms."""
    columns.setdefault("service", None) or columns.update(
        service=ServiceFactory(type=ServiceType.SUBSCRIPTIONS, cancel=True)
    )
    wallet = WalletFactory(funds=FUNDS)
    values = {
        "link": "someone",
        "quantity": 200 * posts,
        "charge": reserve,
        "status": Status.IN_PROGRESS,
        "external_id": "900",
        "sent_at": timezone.now(),
        **columns,
    }
    # The factory charges to sales, and this is a reserve.
    order = OrderFactory.build(wallet=wallet, customer=wallet.user, currency="USD", **values)
    order.provider, order.type = order.service.provider, order.service.type
    order.provider_rate = order.service.provider_rate
    order.save()
    ledger.charge(
        wallet,
        order.charge,
        key=f"{order.subject}:charge",
        subject=order.subject,
        account=Account.RESERVED,
    )
    terms = SubscriptionTerms(minimum=100, maximum=200, posts=posts, delay=0, expires_on=expires_on)
    subscriptions.open(order, terms)
    return reload(order)


@pytest.fixture
def order(db):
    return subscribed()


def reload(order):
    return Order.objects.select_related(
        "wallet", "subscription", "service", "sent_service", "customer"
    ).get(pk=order.pk)


def report(state="in_progress", **told):
    if "charge" in told and told["charge"] is not None:
        told["charge"] = Decimal(told["charge"])
    return UpstreamStatus(state=UpstreamState(state), word=state, **told)


def applied(order, state="in_progress", **told):
    """Apply a report as a tracker does; whether the status changed."""
    return tracking.apply(reload(order), report(state, **told))


def accounts():
    """What reserve and sales hold."""
    totals = dict.fromkeys((Account.RESERVED, Account.SALES), Decimal(0))
    for posting in Posting.objects.filter(account__in=totals):
        totals[Account(posting.account)] += posting.amount
    return tuple(totals.values())


def entries():
    return JournalEntry.objects.filter(kind=EntryKind.SERVED).count()


def state(order):
    order = reload(order)
    return order.status, order.refunded, order.wallet.balance, order.subscription.state


# --- while it runs -------------------------------------------------------------------------------


def test_each_report_takes_what_the_provider_took_more(order):
    assert accounts() == (RESERVE, 0)

    assert not applied(order, charge="0.2", posts=1)
    assert accounts() == (Decimal("2.34"), Decimal("0.26"))
    assert not applied(order, charge="0.5", posts=3)

    order = reload(order)
    assert accounts() == (Decimal("1.95"), Decimal("0.65"))
    assert (order.subscription.served, order.subscription.posts_served) == (Decimal("0.65"), 3)
    assert (order.upstream_charge, order.wallet.balance) == (Decimal("0.5"), FUNDS - RESERVE)
    assert list(
        JournalEntry.objects.filter(kind=EntryKind.SERVED).values_list("key", flat=True)
    ) == [f"{order.subject}:post:1", f"{order.subject}:post:2"]
    events = OrderEvent.objects.filter(order=order, kind=EventKind.SERIES)
    assert [event.changes.get("posts_served") for event in events if "served" in event.changes] == [
        [0, 1],
        [1, 3],
    ]


def test_first_report_starts_it(db):
    order = subscribed(status=Status.PROCESSING)

    assert applied(order, charge="0", posts=0)

    assert (reload(order).status, reload(order).started_at is not None) == (
        Status.IN_PROGRESS,
        True,
    )
    assert entries() == 0


@pytest.mark.parametrize(
    "told",
    [
        {"charge": "0.5", "posts": 3},
        {"charge": "0.4", "posts": 2},
        {"charge": "0"},
        {"charge": None, "posts": None},
        {"posts": -5},
        {"remains": 7, "start_count": 3},
    ],
)
def test_repeated_smaller_or_empty_report_changes_nothing(order, told):
    applied(order, charge="0.5", posts=3)
    before = (
        list(Order.objects.values()),
        list(Subscription.objects.values()),
        OrderEvent.objects.count(),
    )

    assert not applied(order, **told)

    assert before == (
        list(Order.objects.values()),
        list(Subscription.objects.values()),
        OrderEvent.objects.count(),
    )
    assert entries() == 1


def test_charge_above_the_reserve_is_capped_and_told(order):
    applied(order, charge="7", posts=11)

    assert accounts() == (0, RESERVE)
    assert reload(order).subscription.posts_served == 10
    assert open_alerts() == {("subscription_above_reserve", order.subject)}


def test_report_that_is_not_news_costs_one_query(order, django_assert_num_queries):
    applied(order, charge="0.5", posts=3)
    order = reload(order)

    with django_assert_num_queries(1):
        tracking.apply(order, report(charge="0.5", posts=3))


# --- its end -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "told", "status", "back"),
    [
        ("completed", {"charge": "2", "posts": 10}, Status.COMPLETED, "0"),
        ("completed", {"charge": "1.5", "posts": 10}, Status.COMPLETED, "0.65"),
        ("completed", {"charge": "1.5"}, Status.COMPLETED, "0.65"),
        ("completed", {"charge": "0.5", "posts": 3}, Status.PARTIAL, "1.95"),
        ("partial", {"charge": "0.5", "posts": 3}, Status.PARTIAL, "1.95"),
        ("partial", {"charge": "0.5"}, Status.PARTIAL, "1.95"),
        ("partial", {"charge": "2", "posts": 10}, Status.COMPLETED, "0"),
        ("cancelled", {"charge": "0.5"}, Status.PARTIAL, "1.95"),
        ("cancelled", {"charge": "0"}, Status.CANCELLED, "2.60"),
        ("cancelled", {"posts": 0}, Status.CANCELLED, "2.60"),
        ("completed", {"charge": "0"}, Status.CANCELLED, "2.60"),
        ("failed", {"charge": "0"}, Status.FAILED, "2.60"),
        ("failed", {"charge": "0.5"}, Status.PARTIAL, "1.95"),
        ("refunded", {"charge": "0.5"}, Status.REFUNDED, "2.60"),
        ("refunded", {}, Status.REFUNDED, "2.60"),
    ],
)
def test_end_pays_back_what_was_not_served(order, word, told, status, back):
    applied(order, charge="0.3", posts=2)

    assert applied(order, word, **told)

    assert state(order) == (
        status,
        Decimal(back),
        FUNDS - RESERVE + Decimal(back),
        SeriesState.ENDED,
    )
    assert accounts() == (0, RESERVE - Decimal(back))
    order = reload(order)
    assert (order.completed_at is not None, order.next_check_at) == (True, None)


def test_last_charge_counts_also_where_it_is_smaller(order):
    applied(order, charge="1.5", posts=8)

    applied(order, "partial", charge="1", posts=5)

    assert (reload(order).subscription.served, accounts()) == (
        Decimal("1.30"),
        (0, Decimal("1.30")),
    )
    assert state(order)[1] == Decimal("1.30")


@pytest.mark.parametrize("word", ["completed", "partial", "cancelled", "failed"])
def test_end_without_a_charge_releases_nothing_and_tells_staff(order, word):
    applied(order, charge="0.3", posts=2)

    assert not applied(order, word, charge=None, posts=4)

    assert state(order) == (Status.IN_PROGRESS, 0, FUNDS - RESERVE, SeriesState.ACTIVE)
    assert open_alerts() == {("subscription_without_charge", order.subject)}

    assert applied(order, word, charge="0.3")
    assert accounts() == (0, Decimal("0.39"))
    assert open_alerts() == set()


def test_staff_cancel_pays_back_only_what_is_still_reserved(order):
    applied(order, charge="0.5", posts=3)

    cancel_and_refund(reload(order), actor=StaffFactory(), reason="provider is gone")

    assert (state(order)[:2], accounts()) == (
        (Status.CANCELLED, Decimal("1.95")),
        (0, Decimal("0.65")),
    )
    subscriptions.expire_due()
    assert state(order)[3] == SeriesState.ENDED


@pytest.mark.parametrize("word", ["partial", "refunded", "in_progress", "completed"])
def test_late_report_changes_nothing(order, word):
    late = reload(order)
    applied(order, "partial", charge="0.5", posts=3)
    after = (state(order), accounts(), entries())

    assert not tracking.apply(late, report(word, charge="1.9", posts=9))
    assert not applied(order, word, charge="1.9", posts=9)

    assert (state(order), accounts(), entries()) == after


@pytest.mark.parametrize(
    ("charge", "rate", "provider_rate", "owed"),
    [
        ("0.2", "1.30", "1", "0.26"),
        ("0.0000001", "1.30", "1", "0.000001"),
        ("1", "1", "3", "0.333334"),
        ("0.9", "0.001", "0.0000000001", "9000000"),
        ("0", "1", "3", "0"),
    ],
)
def test_price_of_what_was_taken_is_exact(charge, rate, provider_rate, owed):
    order = Order(rate=Decimal(rate), provider_rate=Decimal(provider_rate))

    assert subscriptions.earned(order, Decimal(charge)) == Decimal(owed)


_CHARGES = st.decimals(0, 4, places=7, allow_nan=False)
_REPORTS = st.tuples(st.none() | _CHARGES, st.none() | st.integers(-3, 15))
_ENDS = st.sampled_from(["completed", "partial", "cancelled", "failed", "refunded"])


class Property(TestCase):
    """Whatever is reported, in whatever order: no millionth is lost, and none made."""

    @settings(max_examples=25, deadline=None)
    @given(
        reports=st.lists(_REPORTS, max_size=6),
        end=st.tuples(_ENDS, _CHARGES, st.none() | st.integers(0, 12)),
    )
    def test_reserve_is_served_or_paid_back_to_the_millionth(self, reports, end):
        order = subscribed()
        for charge, posts in reports:
            applied(order, charge=charge, posts=posts)
            reserved, sales = accounts()
            assert (reserved + sales, reload(order).subscription.served) == (RESERVE, sales)
        word, charge, posts = end

        assert applied(order, word, charge=charge, posts=posts)

        nothing = word == "refunded" or posts == 0
        served = 0 if nothing else min(subscriptions.earned(order, charge), RESERVE)
        assert accounts() == (0, served)
        assert state(order)[1:3] == (RESERVE - served, FUNDS - served)
        assert breaches() == []


# --- stop and expiry -----------------------------------------------------------------------------


def test_stop_asks_the_provider_and_pays_back_nothing_yet(order):
    subscriptions.stop(order, by=by_customer(order.customer))

    kept = CancelRequest.objects.get(order=order)
    assert (kept.state, state(order)) == (
        CancelState.WAITING,
        (Status.IN_PROGRESS, 0, FUNDS - RESERVE, SeriesState.STOPPING),
    )
    # Served on until the provider says that it has ended.
    applied(order, charge="0.5", posts=3)
    assert applied(order, "cancelled", charge="0.5")
    assert state(order)[::3] == (Status.PARTIAL, SeriesState.ENDED)


def test_stop_before_it_is_sent_pays_all_back_at_once(db):
    order = subscribed(status=Status.PENDING, external_id=None)

    subscriptions.stop(order, by=by_customer(order.customer))

    assert state(order) == (Status.CANCELLED, RESERVE, FUNDS, SeriesState.ENDED)
    assert (accounts(), CancelRequest.objects.count()) == ((0, 0), 0)


def refusal(order):
    with pytest.raises(SeriesRefused) as refused:
        subscriptions.stop(order, by=by_customer(order.customer))
    return refused.value.reason


def test_stop_is_refused_with_a_reason(order):
    subscriptions.stop(order, by=by_customer(order.customer))
    assert refusal(order) == SeriesRefusal.STOPPING

    applied(order, "cancelled", charge="0")
    assert refusal(order) == SeriesRefusal.ENDED
    assert refusal(OrderFactory()) == SeriesRefusal.NO_SERIES
    service = ServiceFactory(type=ServiceType.SUBSCRIPTIONS, cancel=False)
    assert refusal(subscribed(service=service, external_id="901")) == SeriesRefusal.NOT_OFFERED


def days_ago(days):
    return timezone.now().date() - timedelta(days=days)


@pytest.mark.parametrize(("days", "asked"), [(-3, 0), (0, 0), (1, 0), (2, 1), (9, 1)])
def test_overdue_subscription_is_ended_by_machine(db, days, asked):
    order = subscribed(expires_on=days_ago(days))

    assert [subscriptions.expire_due(), subscriptions.expire_due()] == [asked, 0]

    assert CancelRequest.objects.count() == asked
    assert open_alerts() == ({("subscription_overdue", order.subject)} if asked else set())
    if asked:
        event = OrderEvent.objects.filter(order=order, kind=EventKind.SERIES).get()
        assert (event.source, event.changes) == (
            EventSource.JOB,
            {"series": ["active", "stopping"]},
        )
        applied(order, "cancelled", charge="0")
        assert open_alerts() == set()


def test_overdue_subscription_that_was_never_sent_is_paid_back(db):
    order = subscribed(status=Status.PENDING, external_id=None, expires_on=date(2020, 1, 1))

    subscriptions.expire_due()

    assert state(order) == (Status.CANCELLED, RESERVE, FUNDS, SeriesState.ENDED)
    assert open_alerts() == set()


def test_subscription_whose_stop_was_refused_is_active_again(order):
    subscriptions.stop(order, by=by_customer(order.customer))
    CancelRequest.objects.update(state=CancelState.REFUSED)

    subscriptions.expire_due()

    assert state(order)[3] == SeriesState.ACTIVE
    assert refusal(order) == SeriesRefusal.NOT_OFFERED


def test_subscriptions_are_followed_like_other_orders(sandbox, provider):
    """Over the sandbox's own socket; it serves a post at a time."""
    item = next(offer for offer in provider_offers(provider) if offer.type == "Subscriptions")
    service = ServiceFactory(
        provider=provider,
        type=ServiceType.SUBSCRIPTIONS,
        external_id=item.external_id,
        provider_rate=item.rate,
    )
    order = subscribed(service=service, status=Status.PENDING, external_id=None, sent_at=None)
    Order.objects.update(
        fields={"username": "someone", "min": "100", "max": "200", "posts": "10", "delay": "0"}
    )
    dispatch.dispatch(provider)
    assert reload(order).status == Status.PROCESSING

    sandbox.say(reload(order).external_id, status="Active", charge="0.05", posts="2")
    make_due()
    tracking.poll(provider)

    assert reload(order).status == Status.IN_PROGRESS
    assert reload(order).upstream_charge == Decimal("0.05")
    assert reload(order).subscription.served == subscriptions.earned(reload(order), Decimal("0.05"))


def provider_offers(provider):
    from catalog.providers.registry import client_for

    return client_for(provider).services().offers
