"""Selling: the exact charge, all or nothing, once per idempotency key."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django_q.models import OrmQ
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from accounts import api_keys, ledger
from accounts.exchange import RateBook
from accounts.ledger import InsufficientFunds
from accounts.models import Account, JournalEntry, Posting, Wallet
from accounts.money import PRICE_STEP, Currency
from catalog import pricing
from catalog.listing import ServiceNotFound, ServiceUnavailable
from catalog.models import Category, DripfeedBy, LinkTarget, Network, RefillBy, SameLink
from catalog.order_types import DEFAULT_POSTS, ORDER_TYPES, ChargedOn, ServiceType, lines_of
from orders import checkout
from orders.checkout import (
    IDEMPOTENCY_KEY_LIMIT,
    LARGEST_CHARGE,
    IdempotencyKeyReused,
    InvalidIdempotencyKey,
    InvalidOrder,
    LinkBusy,
    PriceRaised,
    TwinOrder,
    place_order,
    preview,
)
from orders.models import (
    DripFeed,
    EventKind,
    EventSource,
    Order,
    OrderEvent,
    SeriesState,
    Source,
    Subscription,
)
from orders.requests import OrderDraft, Problem, ProblemCode
from orders.statuses import Status
from tests.books import breaches
from tests.factories import (
    ExchangeRateFactory,
    ManualPriceFactory,
    ServiceFactory,
    UserFactory,
    WalletFactory,
    fund,
)
from tests.orders.conftest import LINK

pytestmark = pytest.mark.django_db


def draft(service, quantity=1000, **values):
    return OrderDraft(service.pk, {"link": LINK, "quantity": quantity, **values})


def buy(customer, drafted, *, currency=Currency.USD, **others):
    return place_order(
        customer=customer, currency=currency, draft=drafted, source=Source.WEB, **others
    )


def written():
    """Everything that a sale writes, to compare before and after."""
    return [
        list(model.objects.order_by("pk").values())
        for model in (
            Order,
            OrderEvent,
            DripFeed,
            Subscription,
            JournalEntry,
            Posting,
            Wallet,
            OrmQ,
        )
    ]


@pytest.fixture
def nothing_changes():
    """The test's refusal leaves every table as it was when `begin` was called."""
    before = []
    yield lambda: before.append(written())
    assert before == [written()]


# --- a sale --------------------------------------------------------------------------------------


def test_order_is_charged_and_waits_to_be_sent(customer, wallet, service):
    api_key, _text = api_keys.issue(customer, name="program", currency="USD")

    placed = place_order(
        customer=customer,
        currency="USD",
        draft=OrderDraft(service.pk, {"link": LINK, "quantity": "1001"}, "A-1"),
        source=Source.REST,
        api_key=api_key,
    )

    charge = Decimal("1.3013")
    assert (placed.replayed, placed.balance_after) == (False, 10 - charge)
    order = Order.objects.get()
    assert (order.status, order.charge, order.refunded) == (Status.PENDING, charge, 0)
    assert (order.customer, order.wallet, order.currency) == (customer, wallet, "USD")
    assert (order.service, order.provider) == (service, service.provider)
    assert (order.type, order.link, order.quantity, order.fields) == (
        ServiceType.DEFAULT,
        LINK,
        1001,
        {},
    )
    assert (order.source, order.api_key, order.client_ref) == (Source.REST, api_key, "A-1")
    assert (order.rate, order.provider_rate, order.exchange_rate) == (Decimal("1.30"), 1, 1)
    assert (order.external_id, order.send_attempts, order.claim) == (None, 0, None)
    wallet.refresh_from_db()
    assert wallet.balance == placed.balance_after
    assert list(
        Posting.objects.filter(entry=f"order:{order.pk}:charge")
        .order_by("pk")
        .values_list("account", "wallet", "amount", "balance_after")
    ) == [
        (Account.WALLET, wallet.pk, -charge, 10 - charge),
        (Account.SALES, None, charge, None),
    ]
    assert breaches() == []


def test_order_wakes_the_job_that_sends_it(customer, service):
    buy(customer, draft(service))

    [job] = OrmQ.objects.all()
    assert job.task["func"] == "orders.tasks.dispatch_provider"
    assert job.task["args"] == (service.provider_id,)


def test_placed_order_needs_no_further_query_to_be_shown(customer, service):
    order = buy(customer, draft(service)).order

    with CaptureQueriesContext(connection) as queries:
        shown = (order.service.shown_name, order.service.category.shown_name, order.created_at)
    assert all(shown)
    assert len(queries) == 0


def test_package_is_charged_flat(customer, wallet):
    package = ServiceFactory(
        type=ServiceType.PACKAGE, provider_rate=2, min_quantity=1, max_quantity=1
    )

    placed = buy(customer, draft(package, quantity=None))

    assert (placed.order.charge, placed.order.quantity) == (Decimal("2.6"), 1)


def test_comments_are_charged_by_their_number(customer):
    comments = ServiceFactory(type=ServiceType.CUSTOM_COMMENTS, min_quantity=1)

    placed = buy(customer, OrderDraft(comments.pk, {"link": LINK, "comments": "a\r\n\r\nb\nc"}))

    assert (placed.order.charge, placed.order.quantity) == (Decimal("0.0039"), 3)
    assert placed.order.fields == {"comments": "a\nb\nc"}


def test_order_keeps_the_rates_that_it_was_priced_with(customer):
    ExchangeRateFactory(base="USD", quote="XAF", rate=Decimal("600.5"))
    fund(ledger.wallet_of(customer, "XAF"), 1000)
    service = ServiceFactory(provider_rate=Decimal("0.1234567891"))

    order = buy(customer, draft(service), currency="XAF").order
    ExchangeRateFactory(base="USD", quote="XAF", rate=700)
    order.refresh_from_db()

    # 0.1234567891 × 600.5 × 1.3 = 96.377… → rounded up to a tenth of a franc.
    assert (order.rate, order.charge) == (Decimal("96.4"), Decimal("96.4"))
    assert (order.provider_rate, order.exchange_rate) == (
        Decimal("0.1234567891"),
        Decimal("600.5"),
    )


def test_order_is_paid_from_the_wallet_of_its_currency_only(customer, wallet, service):
    ExchangeRateFactory(base="USD", quote="TRY", rate=40)
    lira = ledger.wallet_of(customer, "TRY")
    fund(lira, 100)

    placed = buy(customer, draft(service), currency="TRY")

    assert (placed.order.charge, placed.balance_after) == (52, 48)
    wallet.refresh_from_db()
    assert wallet.balance == 10


def test_history_begins_with_the_sale(customer, service):
    api_key, _text = api_keys.issue(customer, name="program", currency="USD")

    by_hand = buy(customer, draft(service)).order
    by_program = buy(customer, draft(service), api_key=api_key).order

    for order, source, key in (
        (by_hand, EventSource.CUSTOMER, None),
        (by_program, EventSource.API, api_key),
    ):
        event = OrderEvent.objects.get(order=order)
        assert (event.kind, event.source, event.actor, event.api_key, event.changes) == (
            EventKind.CREATED,
            source,
            customer,
            key,
            {},
        )


@pytest.mark.parametrize(
    ("columns", "days"),
    [
        ({"refill": False}, None),
        ({"refill": True}, 30),
        ({"refill": True, "refill_days": 90}, 90),
        # Empty: without end.
        ({"refill": True, "refill_days": None}, 0),
        ({"refill": True, "refill_by": RefillBy.NOBODY}, None),
        ({"refill_by": RefillBy.STAFF, "refill_days": 7}, 7),
    ],
)
def test_order_keeps_the_guarantee_it_was_sold_with(customer, columns, days):
    assert buy(customer, draft(ServiceFactory(**columns))).order.guarantee_days == days


def test_order_keeps_the_key_of_its_link(customer, service):
    forms = ("https://www.instagram.com/Someone/?igsh=x", "@someone", LINK)

    keys = {buy(customer, draft(service, link=form)).order.link_key for form in forms}

    assert keys == {"instagram:@someone"}
    assert set(Order.objects.values_list("link", flat=True)) == set(forms)


# --- drip-feeds and subscriptions ----------------------------------------------------------------


def dripping(service, runs=4, interval=30, quantity=100):
    return draft(service, quantity, runs=runs, interval=interval)


def test_drip_feed_is_charged_in_full_and_never_sent_itself(customer, wallet):
    service = ServiceFactory(dripfeed=True)

    placed = buy(customer, dripping(service))

    order = Order.objects.get()
    assert (order.charge, placed.balance_after) == (Decimal("0.52"), Decimal("9.48"))
    assert (order.quantity, order.runs, order.interval) == (400, 4, 30)
    assert (order.status, order.send_after, placed.order.send_after) == (Status.PENDING, None, None)
    feed = DripFeed.objects.get(order=order)
    assert (feed.runs, feed.quantity, feed.interval, feed.runs_made, feed.state) == (
        4,
        100,
        30,
        0,
        SeriesState.ACTIVE,
    )
    assert [job.task["func"] for job in OrmQ.objects.all()] == ["orders.tasks.tick"]
    assert breaches() == []


def test_drip_feed_passed_on_is_one_plain_order(customer):
    service = ServiceFactory(dripfeed=True, dripfeed_by=DripfeedBy.PROVIDER)

    buy(customer, dripping(service))

    order = Order.objects.get()
    assert (order.quantity, order.runs, order.interval) == (400, 4, 30)
    assert (order.quantity_per_run, order.charge) == (100, Decimal("0.52"))
    assert order.send_after is not None
    assert not DripFeed.objects.exists()
    assert [job.task["func"] for job in OrmQ.objects.all()] == ["orders.tasks.dispatch_provider"]


@pytest.mark.parametrize("runs", ["", 0, 1, "1"])
def test_one_run_is_a_plain_order(customer, runs):
    service = ServiceFactory(dripfeed=True)

    order = buy(customer, dripping(service, runs)).order

    assert (order.quantity, order.runs, order.interval) == (100, None, None)
    assert order.send_after is not None
    assert not DripFeed.objects.exists()


def subscribed(service, **values):
    terms = {"username": "@someone", "min": 100, "max": 200, "delay": 5}
    return OrderDraft(service.pk, {**terms, **values})


def test_subscription_reserves_the_most_that_it_can_come_to(customer, wallet):
    service = ServiceFactory(type=ServiceType.SUBSCRIPTIONS)

    placed = buy(customer, subscribed(service, posts=3, old_posts=2, expiry="31/12/2999"))

    order = Order.objects.get()
    # 200 × 5 posts at 1.30 per 1000.
    assert (order.quantity, order.charge, placed.balance_after) == (
        1000,
        Decimal("1.30"),
        Decimal("8.70"),
    )
    assert (order.link, order.link_key) == ("someone", "instagram:@someone")
    assert order.fields == {
        "username": "someone",
        "min": "100",
        "max": "200",
        "delay": "5",
        "posts": "3",
        "old_posts": "2",
        "expiry": "31/12/2999",
    }
    assert set(
        Posting.objects.filter(entry=f"order:{order.pk}:charge").values_list("account", "amount")
    ) == {(Account.WALLET, Decimal("-1.30")), (Account.RESERVED, Decimal("1.30"))}
    terms = Subscription.objects.get(order=order)
    assert (terms.minimum, terms.maximum, terms.posts, terms.delay) == (100, 200, 5, 5)
    assert (f"{terms.expires_on}", terms.served, terms.state) == (
        "2999-12-31",
        0,
        SeriesState.ACTIVE,
    )
    assert [job.task["func"] for job in OrmQ.objects.all()] == ["orders.tasks.dispatch_provider"]
    assert breaches() == []


def test_subscription_that_its_wallet_cannot_reserve_is_refused(customer, nothing_changes):
    service = ServiceFactory(type=ServiceType.SUBSCRIPTIONS)
    nothing_changes()

    with pytest.raises(InsufficientFunds) as refused:
        buy(customer, subscribed(service, max=1000))

    assert refused.value.required == Decimal("1.30") * DEFAULT_POSTS


def test_preview_of_a_subscription_tells_the_reserve_and_its_terms(customer):
    service = ServiceFactory(type=ServiceType.SUBSCRIPTIONS)

    shown = preview(customer=customer, currency="USD", draft=subscribed(service))

    assert shown.quote.charge == Decimal("0.26") * DEFAULT_POSTS
    assert (shown.request.terms.posts, shown.request.terms.maximum) == (DEFAULT_POSTS, 200)


# --- the same link, the same order ---------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.PENDING, Status.SENDING, Status.IN_PROGRESS])
def test_link_with_a_running_order_is_refused_where_the_service_says_so(
    customer, status, nothing_changes
):
    service = ServiceFactory(same_link=SameLink.REFUSE)
    other = buy(WalletFactory().user, draft(service)).order
    Order.objects.filter(pk=other.pk).update(status=status)
    same = draft(service, link="instagram.com/Someone?igsh=x")
    nothing_changes()

    with pytest.raises(LinkBusy):
        buy(customer, same)

    assert preview(customer=customer, currency="USD", draft=same).link_taken


def test_link_is_free_again_when_its_order_has_ended(customer):
    service = ServiceFactory(same_link=SameLink.REFUSE)
    first = buy(customer, draft(service)).order
    other_service = ServiceFactory(same_link=SameLink.REFUSE)

    assert buy(customer, draft(service, link="@other")).order
    assert buy(customer, draft(other_service)).order
    Order.objects.filter(pk=first.pk).update(status=Status.COMPLETED)
    assert not preview(customer=customer, currency="USD", draft=draft(service)).link_taken
    assert buy(customer, draft(service)).order


@pytest.mark.parametrize(("rule", "told"), [(SameLink.QUEUE, True), (SameLink.OFF, False)])
def test_link_with_a_running_order_is_sold_where_orders_wait_or_do_not_matter(customer, rule, told):
    service = ServiceFactory(same_link=rule)
    buy(customer, draft(service))

    assert preview(customer=customer, currency="USD", draft=draft(service)).link_taken == told
    assert buy(customer, draft(service)).order


def test_repeat_with_the_key_is_answered_though_its_own_order_holds_the_link(customer):
    service = ServiceFactory(same_link=SameLink.REFUSE)
    first = buy(customer, draft(service), idempotency_key="key-1")

    again = buy(customer, draft(service), idempotency_key="key-1")

    assert (again.order, again.replayed) == (first.order, True)


SOON = timedelta(minutes=2)


def test_twin_within_the_time_is_refused(customer, service, nothing_changes):
    first = buy(customer, draft(service), refuse_twins_within=SOON).order
    nothing_changes()

    with pytest.raises(TwinOrder) as refused:
        buy(customer, draft(service, link="instagram.com/someone/"), refuse_twins_within=SOON)

    assert refused.value.order == first


def test_twin_is_sold_to_whoever_asks_again(customer, service):
    first = buy(customer, draft(service), refuse_twins_within=SOON).order

    assert buy(customer, draft(service)).order != first


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED, Status.REFUNDED])
def test_order_that_came_to_nothing_has_no_twin(customer, service, status):
    first = buy(customer, draft(service), refuse_twins_within=SOON).order
    Order.objects.filter(pk=first.pk).update(status=status)

    assert buy(customer, draft(service), refuse_twins_within=SOON).order


def test_twins_differ_in_nothing(customer, service):
    comments = ServiceFactory(type=ServiceType.CUSTOM_COMMENTS, min_quantity=1)
    dripfeed = ServiceFactory(dripfeed=True)
    drafts = [
        draft(service),
        draft(service, 1001),
        draft(service, link="@other"),
        draft(ServiceFactory()),
        draft(comments, comments="a"),
        draft(comments, comments="b"),
        dripping(dripfeed, runs=2, quantity=200),
        dripping(dripfeed, runs=4, quantity=100),
        dripping(dripfeed, runs=4, quantity=100, interval=31),
    ]

    for different in drafts:
        assert buy(customer, different, refuse_twins_within=SOON).order
    assert buy(WalletFactory().user, drafts[0], refuse_twins_within=SOON).order


def test_twin_of_long_ago_is_another_order(customer, service):
    first = buy(customer, draft(service)).order
    Order.objects.filter(pk=first.pk).update(created_at=first.created_at - SOON)

    assert buy(customer, draft(service), refuse_twins_within=SOON).order


def test_repeat_with_the_key_is_answered_though_it_is_its_own_twin(customer, service):
    first = buy(customer, draft(service), idempotency_key="key-1", refuse_twins_within=SOON)

    again = buy(customer, draft(service), idempotency_key="key-1", refuse_twins_within=SOON)

    assert (again.order, again.replayed) == (first.order, True)


# --- whatever the type ---------------------------------------------------------------------------

_LINES = st.lists(st.text("abc #@", min_size=1), max_size=6).map("\n".join)
_SMALL = st.integers(0, 30)
_VALUES = {
    "link": st.sampled_from([LINK, "https://instagram.com/p/DAx", "@someone", "https://x.com/a"]),
    "quantity": st.integers(0, 400),
    "runs": st.sampled_from([None, 1, 2, 3, 50]),
    "interval": st.sampled_from([None, 0, 15]),
    "usernames": _LINES,
    "comments": _LINES,
    "hashtags": _LINES,
    "keywords": _LINES,
    "groups": _LINES,
    "hashtag": st.sampled_from(["#a", "a\nb"]),
    "username": st.sampled_from(["@someone", "someone", "instagram.com/someone", "two names"]),
    "media": st.sampled_from([LINK, "x:y"]),
    "answer_number": _SMALL,
    "min": st.integers(1, 10),
    "max": st.integers(8, 30),
    "posts": _SMALL,
    "old_posts": _SMALL,
    "delay": st.sampled_from([0, 5, 600, 601]),
    "expiry": st.sampled_from([None, "31/12/2999", "2999-12-31", "31/12/1999"]),
    "country": st.sampled_from(["US", "Turkey", "ww", "XX"]),
    "device": st.integers(1, 6),
    "type_of_traffic": st.integers(1, 4),
    "google_keyword": st.sampled_from([None, "shoes"]),
    "referring_url": st.sampled_from([None, "example.com"]),
}


class Charges(TestCase):
    """Properties that need a database."""

    @settings(max_examples=80, deadline=None)
    @given(
        order_type=st.sampled_from(sorted(ORDER_TYPES)),
        values=st.fixed_dictionaries(_VALUES),
        dripfeed_by=st.sampled_from(sorted(DripfeedBy)),
    )
    def test_charge_of_every_type_is_its_rate_times_what_the_table_says(
        self, order_type, values, dripfeed_by
    ):
        service = ServiceFactory(
            type=order_type,
            min_quantity=1,
            max_quantity=5000,
            dripfeed=True,
            dripfeed_by=dripfeed_by,
            provider_name="",
            category=Category.objects.get_or_create(source_name="Anything", network=Network.OTHER)[
                0
            ],
            link_target=LinkTarget.ANY,
        )
        wallet = WalletFactory(funds=1000)
        drafted = OrderDraft(service.pk, values)
        shown = preview(customer=wallet.user, currency="USD", draft=drafted)

        if shown.problems:
            with pytest.raises(InvalidOrder) as refused:
                buy(wallet.user, drafted, idempotency_key="key")
            assert refused.value.problems == shown.problems
            assert not Order.objects.exists()
            return
        placed = buy(wallet.user, drafted, idempotency_key="key", at_most=shown.quote.charge)

        order = Order.objects.get(pk=placed.order.pk)
        units = {
            ChargedOn.QUANTITY: lambda: values["quantity"] * max(values["runs"] or 1, 1),
            ChargedOn.PACKAGE: lambda: 1000,
            ChargedOn.COMMENTS: lambda: len(lines_of(values["comments"])),
            ChargedOn.USERNAMES: lambda: len(lines_of(values["usernames"])),
            ChargedOn.POSTS: lambda: (
                values["max"] * ((values["posts"] or DEFAULT_POSTS) + values["old_posts"])
            ),
        }[ORDER_TYPES[order_type].charged_on]()
        assert order.charge == Decimal("1.30") * units / 1000 == shown.quote.charge
        assert placed.balance_after == 1000 - order.charge
        assert DripFeed.objects.filter(order=order).exists() == (
            order.runs is not None and dripfeed_by != DripfeedBy.PROVIDER
        )
        assert Subscription.objects.filter(order=order).exists() == (
            order_type == ServiceType.SUBSCRIPTIONS
        )
        again = buy(wallet.user, drafted, idempotency_key="key")
        assert (again.order, again.replayed, again.balance_after) == (
            order,
            True,
            placed.balance_after,
        )
        assert breaches() == []

    @settings(max_examples=60, deadline=None)
    @given(
        rate=st.decimals("0.0000000001", "2000", places=10, allow_nan=False, allow_infinity=False),
        exchange=st.decimals("0.0001", "1000", places=4),
        quantity=st.integers(1, 10**7),
        currency=st.sampled_from(sorted(Currency)),
        markup=st.sampled_from([Decimal("-99.99"), Decimal(0), Decimal("12.34"), Decimal(900)]),
    )
    def test_charge_is_price_times_quantity_and_never_below_cost(
        self, rate, exchange, quantity, currency, markup
    ):
        ExchangeRateFactory(base="EUR", quote=currency, rate=exchange)
        service = ServiceFactory(
            provider__currency="EUR",
            provider_rate=rate,
            markup_percent=markup,
            min_quantity=1,
            max_quantity=10**7,
        )
        wallet = WalletFactory(currency=currency, funds=10**12)
        price = pricing.PriceBook(currency).price(service)

        placed = buy(wallet.user, draft(service, quantity), currency=currency)

        order = Order.objects.get(pk=placed.order.pk)
        assert order.charge == price.rate * quantity / 1000
        assert order.rate % PRICE_STEP[currency] == 0
        assert order.charge * 1000 >= rate * RateBook().rate("EUR", currency) * quantity
        assert placed.balance_after == 10**12 - order.charge
        assert Wallet.objects.get(pk=wallet.pk).balance == placed.balance_after


# --- refusals leave nothing ----------------------------------------------------------------------


def test_too_little_in_the_wallet_is_refused(customer, wallet, service, nothing_changes):
    fund(wallet, Decimal("-8.700001"))
    nothing_changes()

    with pytest.raises(InsufficientFunds) as refused:
        buy(customer, draft(service))

    assert (refused.value.required, refused.value.available, refused.value.currency) == (
        Decimal("1.30"),
        Decimal("1.299999"),
        "USD",
    )


def test_wallet_may_be_spent_to_the_last_millionth(customer, wallet, service):
    fund(wallet, Decimal("-8.7"))

    assert buy(customer, draft(service)).balance_after == 0


def test_customer_without_a_wallet_gets_none_by_a_refusal(service, nothing_changes):
    customer = UserFactory()
    nothing_changes()

    with pytest.raises(InsufficientFunds):
        buy(customer, draft(service))


def test_charge_that_no_wallet_could_ever_hold_is_refused(customer, nothing_changes):
    service = ServiceFactory(max_quantity=2**63 - 1, provider_rate=10**6)
    nothing_changes()

    with pytest.raises(InsufficientFunds) as refused:
        buy(customer, draft(service, 2**63 - 1))

    assert refused.value.required > LARGEST_CHARGE
    assert (
        preview(customer=customer, currency="USD", draft=draft(service, 2**63 - 1)).missing
        == refused.value.required - 10
    )


@pytest.mark.parametrize("service_id", [999_999, "999999", 0, -3, 10**40])
def test_unknown_service_is_refused(customer, service_id, nothing_changes):
    nothing_changes()

    with pytest.raises(ServiceNotFound):
        buy(customer, OrderDraft(service_id, {"link": LINK, "quantity": 100}))


@pytest.mark.parametrize(
    "change",
    [
        {"disabled_by_staff": True},
        {"provider_rate": None},
        {"provider_rate": 0},
        {"provider__enabled": False},
        {"category__enabled": False},
    ],
    ids=repr,
)
def test_service_that_cannot_be_ordered_now_is_refused(customer, change, nothing_changes):
    service = ServiceFactory(**change)
    nothing_changes()

    with pytest.raises(ServiceUnavailable):
        buy(customer, draft(service))


def test_service_without_an_exchange_rate_is_unavailable_in_that_currency(
    customer, service, nothing_changes
):
    fund(ledger.wallet_of(customer, "TRY"), 1000)
    nothing_changes()

    with pytest.raises(ServiceUnavailable):
        buy(customer, draft(service), currency="TRY")


def test_invalid_draft_is_refused_with_every_problem(customer, service, nothing_changes):
    nothing_changes()

    with pytest.raises(InvalidOrder) as refused:
        buy(customer, OrderDraft(service.pk, {"quantity": 5}))

    assert refused.value.problems == (
        Problem("link", ProblemCode.REQUIRED),
        Problem("quantity", ProblemCode.TOO_SMALL, {"minimum": 10, "maximum": 10_000}),
    )


@pytest.mark.parametrize("service_id", [None, "", "abc", True])
def test_draft_that_names_no_service_is_invalid(customer, service_id, nothing_changes):
    nothing_changes()

    with pytest.raises(InvalidOrder) as refused:
        buy(customer, OrderDraft(service_id, {"link": LINK, "quantity": 100}))

    assert [problem.field for problem in refused.value.problems] == ["service_id"]


def test_price_that_rose_since_it_was_shown_is_refused(customer, service, nothing_changes):
    nothing_changes()

    with pytest.raises(PriceRaised) as refused:
        buy(customer, draft(service), at_most=Decimal("1.299999"))

    assert refused.value.quote.charge == Decimal("1.30")


def test_price_that_did_not_rise_is_charged_as_it_is_now(customer, service):
    assert buy(customer, draft(service), at_most=Decimal("1.30")).order.charge == Decimal("1.30")
    assert buy(customer, draft(service), at_most=Decimal(9)).order.charge == Decimal("1.30")


class Fault(Exception):
    """What the test lets go wrong."""


def fault(*_args, **_kwargs):
    raise Fault


@pytest.mark.parametrize(
    "step",
    [
        (ledger, "wallet_of"),
        (Order.objects, "create"),
        (ledger, "charge"),
        (checkout, "record"),
        (checkout, "async_task"),
        (Order, "refresh_from_db"),
    ],
    ids=lambda step: step[1],
)
def test_fault_at_any_step_leaves_nothing(customer, service, monkeypatch, nothing_changes, step):
    nothing_changes()
    monkeypatch.setattr(*step, fault)

    with pytest.raises(Fault):
        buy(customer, draft(service), idempotency_key="k")


def test_job_that_cannot_be_queued_takes_the_sale_back(customer, service, monkeypatch):
    """As above, with the database's own refusal."""
    before = written()
    monkeypatch.setattr(OrmQ._meta.get_field("key"), "get_prep_value", lambda value: None)

    with pytest.raises(DatabaseError):
        buy(customer, draft(service))

    monkeypatch.undo()
    assert written() == before


# --- once per key --------------------------------------------------------------------------------


def test_repeat_with_the_key_returns_the_first_order(customer, service, wallet):
    first = buy(customer, draft(service), idempotency_key="key-1")
    before = written()

    again = buy(customer, draft(service, "1000"), idempotency_key="key-1")

    assert (again.order, again.replayed) == (first.order, True)
    assert again.balance_after == first.balance_after == Decimal("8.70")
    assert written() == before


def test_repeat_answers_as_then_whatever_has_happened_since(customer, service, wallet):
    first = buy(customer, draft(service), idempotency_key="key-1", at_most=Decimal("1.30"))
    buy(customer, draft(service))
    ManualPriceFactory(service=service, rate=9)
    service.disabled_by_staff = True
    service.save()
    Order.objects.filter(pk=first.order.pk).update(status=Status.COMPLETED, refunded=1)
    before = written()

    again = buy(customer, draft(service), idempotency_key="key-1", at_most=Decimal("1.30"))

    assert (again.order.pk, again.order.charge) == (first.order.pk, Decimal("1.30"))
    assert (again.replayed, again.balance_after) == (True, Decimal("8.70"))
    assert written() == before


def test_key_with_another_order_is_refused(customer, service, nothing_changes):
    ExchangeRateFactory(base="USD", quote="TRY", rate=40)
    buy(customer, draft(service), idempotency_key="key-1")
    nothing_changes()

    with pytest.raises(IdempotencyKeyReused):
        buy(customer, draft(service, 1001), idempotency_key="key-1")
    with pytest.raises(IdempotencyKeyReused):
        buy(customer, draft(service), idempotency_key="key-1", currency="TRY")
    with pytest.raises(IdempotencyKeyReused):
        buy(customer, OrderDraft("nonsense", {}), idempotency_key="key-1")


def test_key_belongs_to_its_customer(customer, service):
    other = WalletFactory().user

    mine = buy(customer, draft(service), idempotency_key="key-1")
    theirs = buy(other, draft(service), idempotency_key="key-1")

    assert (mine.order.customer, theirs.order.customer) == (customer, other)
    assert not theirs.replayed


def test_refusal_does_not_use_the_key_up(customer, wallet, service):
    fund(wallet, -10)
    with pytest.raises(InsufficientFunds):
        buy(customer, draft(service), idempotency_key="key-1")
    fund(wallet, 10)

    assert not buy(customer, draft(service), idempotency_key="key-1").replayed


def test_orders_without_a_key_are_each_their_own(customer, service):
    assert buy(customer, draft(service)).order != buy(customer, draft(service)).order


@pytest.mark.parametrize("key", ["k", " k ", "é👋", "x" * IDEMPOTENCY_KEY_LIMIT])
def test_printable_key_is_taken(customer, service, key):
    assert buy(customer, draft(service), idempotency_key=key).order.idempotency_key == key


@pytest.mark.parametrize(
    "key",
    ["", " ", "\t", "a\nb", "\x00", "\ud800", "\u200b\u2028", "x" * (IDEMPOTENCY_KEY_LIMIT + 1)],
    ids=ascii,
)
def test_key_that_cannot_be_kept_is_refused(customer, service, key, nothing_changes):
    nothing_changes()

    with pytest.raises(InvalidIdempotencyKey):
        buy(customer, draft(service), idempotency_key=key)


@pytest.mark.parametrize(
    ("columns", "values", "expected"),
    [
        ({}, {}, 21),
        ({"same_link": SameLink.REFUSE}, {}, 22),
        ({"dripfeed": True}, {"runs": 2, "interval": 5}, 23),
        (
            {"type": ServiceType.SUBSCRIPTIONS},
            {"username": "a", "min": 10, "max": 10, "delay": 0},
            22,
        ),
    ],
)
def test_checkout_takes_a_known_number_of_queries(customer, columns, values, expected):
    service = ServiceFactory(**columns)
    buy(customer, draft(ServiceFactory(), link="@warm"), idempotency_key="warm")
    with CaptureQueriesContext(connection) as queries:
        buy(customer, draft(service, **values), idempotency_key="key")

    # PostgreSQL locks the key.
    assert len(queries) == expected + (connection.vendor == "postgresql")
