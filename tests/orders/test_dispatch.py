"""Handing orders over, to the sandbox provider over real sockets: each is bought at most once."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.clock import from_now
from accounts.models import EntryKind, JournalEntry
from catalog import health
from catalog.models import Breaker, Provider, Service
from catalog.order_types import ORDER_TYPES, ServiceType
from catalog.sandbox.misbehaviour import Kind
from orders import dispatch
from orders.dispatch import FIRST_CHECK, FUNDS_PAUSE, LONGEST_PAUSE, lease
from orders.models import CancelRequest, Order, Subscription
from orders.statuses import TRACKED, Status
from tests.factories import OrderFactory, ServiceFactory
from tests.orders.conftest import (
    LINK,
    MENU,
    SPENT,
    WHOLE,
    adds,
    balance,
    make_due,
    open_alerts,
    waiting,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books")]


def send(provider):
    return dispatch.dispatch(provider)


def soon(moment, expected):
    """Whether a moment lies about `expected` from now."""
    return abs(moment - timezone.now() - expected) < timedelta(seconds=5)


# --- accepted ------------------------------------------------------------------------------------


def test_accepted_order_is_linked_and_followed(sandbox, provider, order):
    assert send(provider) == 1

    [bought] = sandbox.orders
    order.refresh_from_db()
    assert (order.status, order.external_id) == (Status.PROCESSING, str(bought.id))
    assert (order.lease_until, order.failure, order.send_attempts) == (None, "", 1)
    assert soon(order.sent_at, timedelta(0))
    assert soon(order.next_check_at, FIRST_CHECK)
    assert balance(order) == SPENT
    assert open_alerts() == set()


def test_default_order_sends_link_and_quantity(sandbox, provider, order):
    send(provider)

    assert list(sandbox.calls) == [
        {
            "action": "add",
            "service": str(MENU[ServiceType.DEFAULT].id),
            "link": LINK,
            "quantity": "1000",
        }
    ]


def test_package_sends_a_link_alone(sandbox, provider):
    waiting(provider, order_type=ServiceType.PACKAGE, quantity=1)

    assert send(provider) == 1

    assert sandbox.calls[0].keys() == {"action", "service", "link"}


def test_comments_are_sent_instead_of_a_quantity(sandbox, provider):
    waiting(
        provider,
        order_type=ServiceType.CUSTOM_COMMENTS,
        quantity=5,
        fields={"comments": "a\nb\nc\nd\n👋 é"},
    )

    assert send(provider) == 1

    assert sandbox.calls[0].keys() == {"action", "service", "link", "comments"}
    assert sandbox.calls[0]["comments"] == "a\nb\nc\nd\n👋 é"
    assert sandbox.orders[0].total == 5


def test_waiting_orders_are_sent_oldest_first_and_once(sandbox, provider):
    links = [f"{LINK}/{number}" for number in range(10)]
    for link in links:
        waiting(provider, link=link)

    assert send(provider) == 10
    assert send(provider) == 0

    bought = [order.link for order in sandbox.orders]
    assert sorted(bought) == links
    # Four at a time: within a batch the provider decides.
    assert [sorted(bought[n : n + 4]) for n in (0, 4, 8)] == [links[:4], links[4:8], links[8:]]
    assert dict(Order.objects.values_list("external_id", "link")) == {
        str(order.id): order.link for order in sandbox.orders
    }


def test_only_the_provider_asked_for_gets_orders(sandbox, provider, order):
    elsewhere = OrderFactory()

    assert send(provider) == 1

    elsewhere.refresh_from_db()
    assert elsewhere.status == Status.PENDING


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.PENDING}))
def test_only_pending_orders_are_sent(sandbox, provider, order, status):
    Order.objects.update(status=status, external_id="77" if status in TRACKED else None)

    assert send(provider) == 0
    assert len(sandbox.calls) == 0


def test_disabled_provider_gets_nothing(sandbox, provider, order):
    provider.enabled = False
    provider.save()

    assert send(provider) == 0

    order.refresh_from_db()
    assert (order.status, order.send_attempts, len(sandbox.calls)) == (Status.PENDING, 0, 0)


def test_claim_is_committed_before_the_first_byte(sandbox, meanwhile, provider, order):
    seen = []
    meanwhile(lambda: seen.append(Order.objects.values("status", "claim", "lease_until").get()))

    send(provider)

    [claimed] = seen
    assert claimed["status"] == Status.SENDING
    assert claimed["claim"] is not None
    assert soon(claimed["lease_until"], lease(provider))


def test_lease_outlasts_the_longest_call():
    """Connect time-out and twice the read time-out (ProviderClient), and room for the record."""
    provider = Provider(connect_timeout=7, read_timeout=100)

    assert lease(provider) == timedelta(seconds=7 + 2 * 100 + 30)


def test_job_that_was_held_up_after_its_claim_does_not_call(sandbox, provider, order, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(dispatch.time, "monotonic", lambda: now)
    claim = dispatch.claim

    def frozen_after_the_claim(*args, **kwargs):
        nonlocal now
        claimed = claim(*args, **kwargs)
        now += dispatch.SPARE_SECONDS + 1
        return claimed

    monkeypatch.setattr(dispatch, "claim", frozen_after_the_claim)

    dispatch.dispatch(provider)

    order.refresh_from_db()
    assert order.status == Status.PENDING
    assert sandbox.orders == []


def test_each_order_costs_few_queries(sandbox, provider):
    def queries(count):
        for _ in range(count):
            waiting(provider)
        with CaptureQueriesContext(connection) as captured:
            assert send(provider) == count
        return len(captured)

    four = queries(4)
    # Two batches more (the provider's row twice, what is due, the claim with its events, within a
    # transaction), and seven statements an order: two savepoints, move, read back, event.
    assert queries(12) - four <= 2 * 12 + 8 * 7


# --- refused -------------------------------------------------------------------------------------


def test_refused_order_fails_and_is_paid_back_once(sandbox, provider, order):
    sandbox.misbehave("add", Kind.REFUSE, text="Incorrect link")

    assert send(provider) == 0
    make_due()
    assert send(provider) == 0

    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.FAILED, order.charge)
    assert (order.failure, order.lease_until) == ("Incorrect link", None)
    assert balance(order) == WHOLE
    assert JournalEntry.objects.filter(kind=EntryKind.REFUND).count() == 1
    assert (len(adds(sandbox)), sandbox.orders, open_alerts()) == (1, [], set())


@pytest.mark.parametrize("status", [200, 400, 404, 500])
def test_clear_refusal_counts_whatever_the_http_status(sandbox, provider, order, status):
    sandbox.misbehave("add", Kind.REFUSE, text="Incorrect service ID", status=status)

    send(provider)

    order.refresh_from_db()
    assert (order.status, balance(order)) == (Status.FAILED, WHOLE)


@pytest.mark.parametrize("text", ["Bad link \x00\ud83d", "x" * 5000, "\u009f\x00"], ids=ascii)
def test_refusal_in_any_words_can_be_kept(sandbox, provider, order, text):
    sandbox.answer("add", json.dumps({"error": text}))

    send(provider)

    order.refresh_from_db()
    assert (order.status, balance(order)) == (Status.FAILED, WHOLE)


def test_refusal_does_not_touch_the_others_of_its_batch(sandbox, provider):
    orders = [waiting(provider, link=f"{LINK}/{number}") for number in range(6)]
    sandbox.misbehave("add", Kind.REFUSE)

    assert send(provider) == 5

    statuses = sorted(Order.objects.values_list("status", flat=True))
    assert statuses == [Status.FAILED] + [Status.PROCESSING] * 5
    assert sum(balance(order) == WHOLE for order in orders) == 1


# --- nothing was bought, try again ---------------------------------------------------------------


OUT_OF_FUNDS = "provider_out_of_funds"


def test_orders_wait_while_our_funds_upstream_are_used_up(sandbox, provider):
    links = [f"{LINK}/{number}" for number in range(6)]
    orders = [waiting(provider, link=link) for link in links]
    sandbox.set_balance(0)

    assert send(provider) == 0
    newcomer = waiting(provider, link=f"{LINK}/new")
    assert send(provider) == 0

    assert set(Order.objects.values_list("status", "refunded")) == {(Status.PENDING, 0)}
    provider.refresh_from_db()
    assert soon(provider.funds_wait_until, FUNDS_PAUSE)
    assert len(adds(sandbox)) == 4
    assert [balance(order) for order in orders] == [SPENT] * 6
    assert open_alerts() == {(OUT_OF_FUNDS, f"provider:{provider.pk}")}

    # Still none: one order is enough to see it, and that is the oldest.
    make_due()
    assert send(provider) == 0
    assert [call["link"] for call in adds(sandbox)[4:]] == links[:1]
    provider.refresh_from_db()
    assert soon(provider.funds_wait_until, FUNDS_PAUSE)

    sandbox.set_balance(100)
    make_due()
    assert send(provider) == 7

    bought = [order.link for order in sandbox.orders]
    assert bought[0] == links[0]
    assert [sorted(bought[1:5]), sorted(bought[5:])] == [links[1:5], [links[5], newcomer.link]]
    provider.refresh_from_db()
    assert (provider.funds_wait_until, open_alerts()) == (None, set())


def test_alert_stays_while_some_orders_still_lack_funds(sandbox, provider, order):
    for _ in range(3):
        waiting(provider)
    sandbox.set_balance(MENU[ServiceType.DEFAULT].rate * 2)

    assert send(provider) == 2

    assert open_alerts() == {(OUT_OF_FUNDS, f"provider:{provider.pk}")}
    provider.refresh_from_db()
    assert soon(provider.funds_wait_until, FUNDS_PAUSE)
    assert Order.objects.filter(status=Status.PENDING).count() == 2


def test_topped_up_balance_frees_those_that_waited_at_once(sandbox, provider, order):
    sandbox.set_balance(0)
    send(provider)
    sandbox.set_balance(100)

    health.funds_are_back(provider)

    assert open_alerts() == set()
    assert send(provider) == 1


def test_order_refused_for_itself_does_not_stand_for_the_funds(sandbox, provider, order):
    second = waiting(provider, link=f"{LINK}/2")
    sandbox.set_balance(0)
    send(provider)
    sandbox.set_balance(100)
    sandbox.misbehave("add", Kind.REFUSE)
    make_due()

    assert send(provider) == 1

    order.refresh_from_db()
    second.refresh_from_db()
    assert (order.status, second.status) == (Status.FAILED, Status.PROCESSING)
    assert open_alerts() == set()


def test_busy_provider_is_asked_again_when_it_said(sandbox, provider, order):
    behind = [waiting(provider) for _ in range(5)]
    sandbox.misbehave("add", Kind.TOO_MANY, seconds=120, times=4)

    assert send(provider) == 0
    newcomer = waiting(provider)
    assert send(provider) == 0

    assert set(Order.objects.values_list("status", flat=True)) == {Status.PENDING}
    order.refresh_from_db()
    assert soon(order.send_after, timedelta(seconds=120))
    assert (len(adds(sandbox)), dispatch.due().count()) == (4, 0)

    make_due()
    assert send(provider) == 1 + len(behind) + 1
    newcomer.refresh_from_db()
    # Of the second batch, of three.
    assert newcomer.external_id in {str(order.id) for order in sandbox.orders[4:]}


@pytest.mark.parametrize(
    "case",
    [(None, 1, 10), (0, 1, 10), (30, 1, 30), (10**6, 1, 300), (None, 3, 40), (None, 50, 300)],
)
def test_pause_grows_and_respects_the_provider(sandbox, provider, order, case):
    asked, attempts, pause = case
    Order.objects.update(send_attempts=attempts - 1)
    answer = {"error": "Too many requests"} | ({} if asked is None else {"retry_after": asked})
    sandbox.answer("add", answer, status=429)

    send(provider)

    order.refresh_from_db()
    assert soon(order.send_after, timedelta(seconds=pause))
    assert timedelta(seconds=pause) <= LONGEST_PAUSE


def test_unreachable_provider_gets_the_order_later_and_once(sandbox, provider, order):
    sandbox.stop()

    assert send(provider) == 0
    assert send(provider) == 0

    order.refresh_from_db()
    assert (order.status, order.send_attempts, order.claim) == (Status.PENDING, 1, None)
    assert soon(order.send_after, timedelta(seconds=10))
    assert (balance(order), open_alerts()) == (SPENT, set())

    sandbox.start_again()
    make_due()
    assert send(provider) == 1
    assert send(provider) == 0

    order.refresh_from_db()
    assert (order.status, order.failure, len(sandbox.orders)) == (Status.PROCESSING, "", 1)


def test_provider_out_of_reach_is_interrupted_and_tried_with_one_order(sandbox, provider):
    orders = [waiting(provider, link=f"{LINK}/{number}") for number in range(6)]
    interrupted = {("provider_interrupted", f"provider:{provider.pk}")}
    sandbox.stop()
    send(provider)
    make_due()
    assert open_alerts() == set()

    send(provider)
    make_due()
    provider.refresh_from_db()
    assert (provider.breaker, open_alerts()) == (Breaker.OPEN, interrupted)

    # The trial call fails, and the breaker stays open.
    assert send(provider) == 0
    assert sorted(Order.objects.values_list("send_attempts", flat=True)) == [0, 0, 2, 2, 2, 3]
    assert (send(provider), dispatch.due().count()) == (0, 0)

    sandbox.start_again()
    make_due()
    assert send(provider) == 6
    bought = [order.link for order in sandbox.orders]
    assert bought[0] == orders[0].link
    assert sorted(bought) == [order.link for order in orders]
    provider.refresh_from_db()
    assert (provider.breaker, provider.failures, open_alerts()) == (Breaker.CLOSED, 0, set())


def test_staff_are_told_of_a_provider_that_stays_busy(sandbox, provider, order):
    sandbox.misbehave("add", Kind.TOO_MANY, times=5)
    for _ in range(4):
        send(provider)
        make_due()
    assert open_alerts() == set()

    send(provider)
    assert open_alerts() == {("provider_busy", f"provider:{provider.pk}")}

    make_due()
    assert send(provider) == 1
    assert open_alerts() == set()


def test_three_lost_orders_interrupt_the_provider(sandbox, provider):
    orders = [waiting(provider, link=f"{LINK}/{number}") for number in range(9)]
    sandbox.misbehave("add", Kind.LOSE_REPLY, times=100)

    assert send(provider) == 0

    provider.refresh_from_db()
    assert provider.breaker == Breaker.OPEN
    assert provider.breaker_reason == "The outcome of 3 orders is not known."
    assert ("provider_interrupted", f"provider:{provider.pk}") in open_alerts()
    # A read closed it; the orders are sent one at a time all the same.
    assert health.close(provider)
    assert send(provider) == 0
    assert (len(adds(sandbox)), Order.objects.filter(status=Status.PENDING).count()) == (5, 4)
    provider.refresh_from_db()
    assert soon(provider.breaker_until, 4 * health.PAUSE)
    assert len(orders) == 9


def test_two_lost_orders_do_not(sandbox, provider):
    for number in range(6):
        waiting(provider, link=f"{LINK}/{number}")
    sandbox.misbehave("add", Kind.LOSE_REPLY, times=2)

    assert send(provider) == 4

    provider.refresh_from_db()
    assert provider.breaker == Breaker.CLOSED


def test_lost_orders_of_earlier_do_not_count(sandbox, provider, order):
    Order.objects.update(
        status=Status.UNCONFIRMED, status_changed_at=from_now(-dispatch.LOST_WITHIN)
    )
    for _ in range(3):
        OrderFactory(service=order.service, status=Status.UNCONFIRMED)
    Order.objects.update(status_changed_at=from_now(-dispatch.LOST_WITHIN))
    sandbox.misbehave("add", Kind.LOSE_REPLY)
    waiting(provider)

    send(provider)

    provider.refresh_from_db()
    assert (provider.breaker, provider.failures) == (Breaker.CLOSED, 1)


# --- what keeps a provider from being sent to -----------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        {"maintenance": True},
        {"enabled": False},
        {"breaker": Breaker.OPEN, "breaker_until": from_now(timedelta(minutes=1))},
        {"breaker": Breaker.PROBING, "breaker_until": from_now(timedelta(minutes=1))},
        {"funds_wait_until": from_now(timedelta(minutes=1))},
        {"requests_per_minute": 3, "window_calls": 3, "window_started_at": Now()},
    ],
    ids=lambda state: next(iter(state)),
)
def test_nothing_is_sent_or_due_while(sandbox, provider, order, state):
    Provider.objects.update(**state)

    assert (send(provider), dispatch.due().count(), len(sandbox.calls)) == (0, 0, 0)


def test_orders_are_sent_within_the_rate_limit(sandbox, provider):
    Provider.objects.update(requests_per_minute=6)
    for _ in range(8):
        waiting(provider)

    assert send(provider) == 6
    assert (send(provider), dispatch.due().count()) == (0, 0)

    Provider.objects.update(window_started_at=from_now(-health.RATE_WINDOW))
    assert send(provider) == 2
    assert len(sandbox.orders) == 8


def test_key_that_cannot_be_read_interrupts_the_provider(sandbox, provider, order):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE catalog_provider SET api_key = 'not encrypted by us'")
    provider = Provider.objects.get()

    assert send(provider) == 0

    provider = Provider.objects.defer("api_key").get()
    assert (provider.breaker, provider.breaker_reason) == (Breaker.OPEN, health.KEY_UNREADABLE)
    order.refresh_from_db()
    assert (order.status, order.send_attempts) == (Status.PENDING, 0)


def test_order_that_is_to_be_cancelled_is_not_sent(sandbox, provider, order):
    behind = waiting(provider)
    CancelRequest.objects.create(order=order)

    assert send(provider) == 1

    order.refresh_from_db()
    behind.refresh_from_db()
    assert (order.status, behind.status) == (Status.PENDING, Status.PROCESSING)


def test_parent_of_a_dripfeed_is_not_sent(sandbox, provider):
    waiting(provider, send_after=None)

    assert (send(provider), len(sandbox.calls)) == (0, 0)


# --- what is sent ---------------------------------------------------------------------------------

EXTRAS = {
    ServiceType.SEO: {"keywords": "a\nb"},
    ServiceType.MENTIONS: {"usernames": "a\nb"},
    ServiceType.MENTIONS_WITH_HASHTAGS: {"usernames": "a", "hashtags": "b"},
    ServiceType.MENTIONS_HASHTAG: {"hashtag": "b"},
    ServiceType.MENTIONS_USER_FOLLOWERS: {"username": "a"},
    ServiceType.MENTIONS_MEDIA_LIKERS: {"media": "https://instagram.com/p/x"},
    ServiceType.COMMENT_LIKES: {"username": "a"},
    ServiceType.POLL: {"answer_number": "2"},
    ServiceType.INVITES_FROM_GROUPS: {"groups": "g"},
    ServiceType.WEB_TRAFFIC: {
        "country": "US",
        "device": "1",
        "type_of_traffic": "1",
        "google_keyword": "k",
    },
    ServiceType.MENTIONS_CUSTOM_LIST: {"usernames": "a\nb"},
    ServiceType.COMMENT_REPLIES: {"username": "a", "comments": "b"},
    ServiceType.CUSTOM_COMMENTS_PACKAGE: {"comments": "a\nb"},
}


@pytest.mark.parametrize("order_type", sorted(EXTRAS))
def test_every_type_sends_its_own_fields(sandbox, provider, order_type):
    service = ServiceFactory(provider=provider, external_id="77", type=order_type)
    order = OrderFactory(service=service, quantity=20, fields=EXTRAS[order_type])
    sandbox.answer("add", {"order": 1})

    assert send(provider) == 1

    row = ORDER_TYPES[order_type]
    numbers = {"quantity": "20"} if "quantity" in row.fields else {}
    expected = {"action": "add", "service": "77", "link": LINK, **numbers, **EXTRAS[order_type]}
    [call] = sandbox.calls
    assert {name: value for name, value in call.items() if name in expected} == expected
    assert set(row.fields) <= set(call)
    assert order.bought_as == service


def test_subscription_is_told_its_posts():
    fields = {"min": "10", "max": "20", "delay": "0", "old_posts": "5"}
    order = Order(
        provider=Provider(),
        service=Service(external_id="77"),
        type=ServiceType.SUBSCRIPTIONS,
        link="someone",
        quantity=700,
        fields=fields,
    )
    Subscription(order=order, minimum=10, maximum=20, posts=35)

    sent = dispatch.upstream_order(order)

    assert (sent.service, sent.fields) == ("77", {**fields, "username": "someone", "posts": "30"})


def test_dripfeed_that_is_passed_on_tells_the_quantity_of_a_run(sandbox, provider):
    waiting(provider, quantity=300, runs=3, interval=60)
    sandbox.answer("add", {"order": 1})

    send(provider)

    [call] = sandbox.calls
    assert (call["quantity"], call["runs"], call["interval"]) == ("100", "3", "60")


def test_reference_is_the_orders_own_at_every_attempt(provider, order):
    sent = dispatch.upstream_order(order)

    assert sent.reference == str(order.uuid)


def test_fault_while_an_order_is_made_up_costs_the_others_nothing(sandbox, provider, order):
    broken = OrderFactory(
        service=ServiceFactory(provider=provider, type=ServiceType.SUBSCRIPTIONS), link="x"
    )

    assert send(provider) == 1

    broken.refresh_from_db()
    assert (broken.status, len(sandbox.orders)) == (Status.UNCONFIRMED, 1)


# --- the database's clock ------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [-86_400, -1, 1, 0.5, 86_400])
def test_from_now_is_by_the_databases_clock(order, seconds):
    delay = timedelta(seconds=seconds)

    Order.objects.update(send_after=from_now(delay))

    assert soon(Order.objects.get().send_after, delay)
    assert Order.objects.filter(send_after__gt=Now()).exists() == (seconds > 0)
    assert Order.objects.filter(send_after__lte=from_now(delay)).exists()
    assert not Order.objects.filter(
        send_after__lte=from_now(delay - timedelta(seconds=30))
    ).exists()
