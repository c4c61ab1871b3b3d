"""Handing orders over, to the sandbox provider over real sockets: each is bought at most once."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import EntryKind, JournalEntry
from catalog.models import Provider
from catalog.order_types import ServiceType
from catalog.sandbox.misbehaviour import Kind
from orders import dispatch
from orders.clock import from_now
from orders.dispatch import FIRST_CHECK, FUNDS_PAUSE, LONGEST_PAUSE, lease
from orders.models import Order
from orders.statuses import Status
from tests.factories import OrderFactory
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
    Order.objects.update(status=status)

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
    # Two batches more, and five statements an order: savepoint, move, release, read back.
    assert queries(12) - four <= 2 * 6 + 8 * 5


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


def test_order_waits_while_our_funds_upstream_are_used_up(sandbox, provider):
    links = [f"{LINK}/{number}" for number in range(6)]
    orders = [waiting(provider, link=link) for link in links]
    sandbox.set_balance(0)

    assert send(provider) == 0
    assert send(provider) == 0

    assert set(Order.objects.values_list("status", "refunded")) == {(Status.PENDING, 0)}
    assert all(soon(o.send_after, FUNDS_PAUSE) for o in Order.objects.all())
    assert len(adds(sandbox)) == 4
    assert [balance(order) for order in orders] == [SPENT] * 6
    assert open_alerts() == {("provider_out_of_funds", f"provider:{provider.pk}")}

    sandbox.set_balance(100)
    make_due()
    assert send(provider) == 6

    assert [sorted(o.link for o in sandbox.orders[n : n + 4]) for n in (0, 4)] == [
        links[:4],
        links[4:],
    ]
    assert open_alerts() == set()


def test_alert_stays_while_some_orders_still_lack_funds(sandbox, provider, order):
    for _ in range(3):
        waiting(provider)
    sandbox.set_balance(MENU[ServiceType.DEFAULT].rate * 2)

    assert send(provider) == 2

    assert open_alerts() == {("provider_out_of_funds", f"provider:{provider.pk}")}
    assert Order.objects.filter(status=Status.PENDING, send_after__gt=Now()).count() == 2


def test_order_that_is_accepted_again_frees_those_that_waited(sandbox, provider, order):
    sandbox.set_balance(0)
    send(provider)
    sandbox.set_balance(100)
    newcomer = waiting(provider)

    assert send(provider) == 1
    assert send(provider) == 1

    order.refresh_from_db()
    newcomer.refresh_from_db()
    assert (order.status, newcomer.status) == (Status.PROCESSING, Status.PROCESSING)
    assert len(sandbox.orders) == 2


def test_busy_provider_is_asked_again_when_it_said(sandbox, provider, order):
    behind = [waiting(provider) for _ in range(5)]
    sandbox.misbehave("add", Kind.TOO_MANY, seconds=120, times=4)

    assert send(provider) == 0
    assert send(provider) == 0

    assert set(Order.objects.values_list("status", flat=True)) == {Status.PENDING}
    assert all(soon(o.send_after, timedelta(seconds=120)) for o in Order.objects.all())
    assert len(adds(sandbox)) == 4

    make_due()
    assert send(provider) == 1 + len(behind)
    assert len(sandbox.orders) == 1 + len(behind)


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


def test_staff_are_told_of_a_provider_that_stays_out_of_reach(sandbox, provider, order):
    sandbox.stop()
    for _ in range(4):
        send(provider)
        make_due()
    assert open_alerts() == set()

    send(provider)
    assert open_alerts() == {("provider_unreachable", f"provider:{provider.pk}")}

    sandbox.start_again()
    make_due()
    send(provider)
    assert open_alerts() == set()


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
