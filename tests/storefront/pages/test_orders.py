"""Orders are listed, found, and followed."""

from __future__ import annotations

import html
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.urls import reverse
from django.utils import timezone, translation

from catalog.models import SameLink
from catalog.order_types import ServiceType
from orders.cancellations import CancelProblem, CancelRefused
from orders.models import (
    CancelRequest,
    DripFeed,
    EventKind,
    Order,
    Refill,
    RefillState,
    SeriesState,
    Subscription,
)
from orders.moves import record
from orders.refills import RefillProblem, RefillRefused
from orders.statuses import Status
from storefront.errors import describe
from storefront.pages.orders import PER_PAGE, POLL_DELAYS
from tests.factories import OrderFactory, ServiceFactory, WalletFactory

ORDERS, PROGRESS = reverse("orders"), reverse("orders_progress")


def page_of(order: Order) -> str:
    return reverse("order", args=[order.pk])


def set_to(order: Order, status: Status, **changes) -> Order:
    Order.objects.filter(pk=order.pk).update(status=status, **changes)
    order.refresh_from_db()
    return order


def words_of(response) -> str:
    """The page's text, without its tags."""
    text = re.sub(r"<[^>]*>", " ", response.content.decode())
    return " ".join(html.unescape(text).replace("\u00a0", " ").split())


def series(order: Order, **columns) -> Order:
    """Make a drip-feed of it: ten runs, of which three have begun."""
    Order.objects.filter(pk=order.pk).update(
        runs=10, interval=60, send_after=None, external_id=None, remains=order.quantity
    )
    feed = {"runs": 10, "quantity": 100, "interval": 60, "runs_made": 3, **columns}
    DripFeed.objects.create(order=order, **feed)
    order.refresh_from_db()
    return order


def finished(wallet, **columns) -> Order:
    """A completed order whose guarantee holds."""
    usual = {
        "status": Status.COMPLETED,
        "completed_at": timezone.now(),
        "guarantee_days": 30,
        "external_id": "x",
    }
    return OrderFactory(wallet=wallet, **{**usual, **columns})


@pytest.fixture
def order(wallet, service) -> Order:
    return OrderFactory(wallet=wallet, service=service, sent=True)


def listed(response) -> list[Order]:
    return list(response.context["page"])


def test_orders_are_listed_newest_first(signed_in, wallet, service):
    first, second = OrderFactory.create_batch(2, wallet=wallet, service=service)

    assert listed(signed_in.get(ORDERS)) == [second, first]


def test_nobody_sees_others_orders(signed_in, order):
    foreign = OrderFactory(wallet=WalletFactory())

    assert listed(signed_in.get(ORDERS)) == [order]
    assert signed_in.get(page_of(foreign)).status_code == 404
    watched = signed_in.get(PROGRESS, {"watch": f"{foreign.pk}:pending"})
    assert f"order-{foreign.pk}" not in watched.content.decode()


@pytest.mark.parametrize("hidden", [Status.SENDING, Status.UNCONFIRMED])
def test_our_own_troubles_look_like_processing(signed_in, order, hidden):
    set_to(order, hidden, failure="provider Acme timed out")

    for response in (
        signed_in.get(ORDERS, {"status": "processing"}),
        signed_in.get(page_of(order)),
    ):
        text = response.content.decode()
        assert "Processing" in text
        assert "Acme" not in text
        assert str(hidden.label) not in text


def test_status_filters(signed_in, order, wallet, service):
    OrderFactory(wallet=wallet, service=service)

    assert listed(signed_in.get(ORDERS, {"status": "in_progress"})) == [order]
    assert len(listed(signed_in.get(ORDERS, {"status": "nonsense"}))) == 2


def test_text_finds_by_number_and_link(signed_in, order, wallet):
    other = OrderFactory(wallet=wallet, link="https://t.me/elsewhere")

    assert listed(signed_in.get(ORDERS, {"q": f"#{order.pk}"})) == [order]
    assert listed(signed_in.get(ORDERS, {"q": "elsewhere"})) == [other]


def test_live_search_gets_the_list_alone(signed_in, order, htmx):
    response = signed_in.get(ORDERS, {"q": "instagram"}, headers=htmx)

    assert "<html" not in response.content.decode()
    assert listed(response) == [order]


def test_no_orders_and_none_found_are_told_apart(signed_in, wallet):
    assert "No orders yet" in signed_in.get(ORDERS).content.decode()
    assert "No order matches" in signed_in.get(ORDERS, {"q": "x"}).content.decode()


def test_pages_keep_the_filters(signed_in, wallet, service):
    OrderFactory.create_batch(PER_PAGE + 1, wallet=wallet, service=service)

    first = signed_in.get(ORDERS, {"status": "pending"})
    second = signed_in.get(ORDERS, {"status": "pending", "page": 2})

    assert 'href="?status=pending&amp;page=2"' in first.content.decode()
    assert len(listed(second)) == 1


@pytest.mark.parametrize("page", ["0", "-1", "2", "x", "1.5", "", "9" * 400, "١", "100001"])
def test_pages_that_cannot_be_are_not_found(signed_in, order, page):
    assert signed_in.get(ORDERS, {"page": page}).status_code == 404


@pytest.mark.parametrize("orders", [1, 3])
def test_list_costs_the_same_queries_however_many(
    signed_in, wallet, orders, django_assert_num_queries
):
    for number in range(orders):
        series(OrderFactory(wallet=wallet, sent=True))
        OrderFactory(wallet=wallet, link_key="instagram:someone")
        refilled = finished(wallet, external_id=f"done-{number}")
        Refill.objects.create(order=refilled)

    # session, user; count and rows; what waits, what can be refilled; the header's purse
    with django_assert_num_queries(7):
        signed_in.get(ORDERS)


@pytest.mark.parametrize("orders", [1, 3])
def test_progress_costs_the_same_queries_however_many(
    signed_in, wallet, orders, django_assert_num_queries
):
    watch = []
    for _ in range(orders):
        running = series(OrderFactory(wallet=wallet, sent=True))
        waiting = OrderFactory(wallet=wallet, link_key="instagram:someone")
        watch += [f"{running.pk}:in_progress", f"{waiting.pk}:pending"]

    # session, user; rows; what waits, what can be refilled
    with django_assert_num_queries(5):
        signed_in.get(PROGRESS, {"watch": watch})


def test_running_orders_are_watched_and_ended_ones_are_not(signed_in, order, wallet, service):
    ended = set_to(OrderFactory(wallet=wallet, service=service), Status.COMPLETED)

    text = signed_in.get(ORDERS).content.decode()

    assert f'value="{order.pk}:in_progress"' in text
    assert f'value="{ended.pk}:' not in text


def test_progress_answers_changed_rows_and_says_so(signed_in, order):
    set_to(order, Status.COMPLETED, remains=0)

    response = signed_in.get(PROGRESS, {"watch": f"{order.pk}:in_progress", "step": "3"})

    text = response.content.decode()
    assert f'<tr id="order-{order.pk}" class="is-completed" hx-swap-oob="true">' in text
    assert f"Order {order.pk}: Completed." in text
    assert "data-poll" not in text


def test_progress_waits_longer_while_nothing_moves(signed_in, order):
    delays = [
        signed_in.get(PROGRESS, {"watch": f"{order.pk}:in_progress", "step": str(step)}).context[
            "delay"
        ]
        for step in range(len(POLL_DELAYS) + 1)
    ]

    assert delays == [*POLL_DELAYS[1:], POLL_DELAYS[-1], POLL_DELAYS[-1]]


def test_progress_starts_quickly_again_when_something_moved(signed_in, order):
    response = signed_in.get(PROGRESS, {"watch": f"{order.pk}:pending", "step": "5"})

    assert (response.context["step"], response.context["delay"]) == (0, POLL_DELAYS[0])


@pytest.mark.parametrize("watch", ["", ":", "x:y", "1", f"{10**30}:pending", "-1:pending"])
def test_progress_of_nonsense_is_empty(signed_in, watch):
    response = signed_in.get(PROGRESS, {"watch": watch, "step": "-1"})

    assert response.status_code == 200
    assert response.context["rows"] == []


def test_order_page_shows_money_and_progress(signed_in, wallet, service):
    order = OrderFactory(wallet=wallet, service=service, charge=Decimal("1.30"), sent=True)
    set_to(
        order,
        Status.PARTIAL,
        start_count=3572,
        remains=250,
        refunded=Decimal("0.325"),
        completed_at=timezone.now(),
    )

    text = " ".join(re.sub(r"<[^>]*>", " ", signed_in.get(page_of(order)).content.decode()).split())

    assert "Charge 1.30\u00a0USD".replace("\u00a0", " ") in text.replace("\u00a0", " ")
    assert "Refund 0.325 USD You paid 0.975 USD" in text.replace("\u00a0", " ")
    assert "750 / 1,000" in text
    assert "Start count 3,572 Remains 250" in text
    assert "What was not delivered went back to your wallet." in text


def test_order_page_says_when_it_was_last_checked(signed_in, order):
    set_to(order, Status.IN_PROGRESS, last_checked_at=timezone.now() - timedelta(seconds=20))

    assert re.search(
        r'Updated <time datetime="[^"]+" data-age>20 seconds ago</time>',
        signed_in.get(page_of(order)).content.decode(),
    )


@pytest.mark.parametrize(
    ("status", "ahead"),
    [
        (Status.PENDING, ["Passed on for delivery", "Delivery", "Finished"]),
        (Status.UNCONFIRMED, ["Delivery", "Finished"]),
        (Status.IN_PROGRESS, ["Delivery", "Finished"]),
        (Status.COMPLETED, []),
        (Status.CANCELLED, []),
    ],
)
def test_the_way_ahead_is_told_until_the_end(signed_in, order, status, ahead):
    set_to(order, status)

    response = signed_in.get(page_of(order))

    assert [str(title) for title in response.context["to_come"]] == ahead
    assert ("Still to come" in words_of(response)) == bool(ahead)


def test_order_page_is_asked_again_until_it_ends(signed_in, order, htmx):
    running = signed_in.get(page_of(order), {"seen": "in_progress", "step": "1"}, headers=htmx)
    set_to(order, Status.COMPLETED)
    ended = signed_in.get(page_of(order), {"seen": "in_progress", "step": "2"}, headers=htmx)

    assert "step=2" in running.content.decode()
    assert "data-poll" not in ended.content.decode()
    assert "Completed. Everything you ordered has been delivered." in ended.content.decode()


def test_order_page_of_a_huge_number_is_not_found(signed_in):
    assert signed_in.get(f"/orders/{10**40}/").status_code == 404


def test_orders_of_a_vanished_service_stay_readable(signed_in, wallet):
    service = ServiceFactory(vanished_at=timezone.now())
    order = OrderFactory(wallet=wallet, service=service)

    assert signed_in.get(page_of(order)).status_code == 200


# --- what an order waits for ------------------------------------------------------------------


def waiting(wallet, service, **columns) -> Order:
    return OrderFactory(wallet=wallet, service=service, link_key="instagram:someone", **columns)


def test_an_order_says_which_own_order_it_waits_for(signed_in, wallet):
    service = ServiceFactory(same_link=SameLink.QUEUE)
    first = waiting(wallet, service, sent=True)
    second = waiting(wallet, service)

    assert f"Waiting for order {first.pk}" in words_of(signed_in.get(ORDERS))
    assert (
        f"Waiting for order {first.pk}: the same link takes one order at a time."
        " It starts by itself afterwards." in words_of(signed_in.get(page_of(second)))
    )
    assert "Waiting for" not in words_of(signed_in.get(page_of(first)))


def test_a_run_is_named_by_the_order_that_it_belongs_to(signed_in, wallet):
    service = ServiceFactory(same_link=SameLink.QUEUE)
    parent = series(waiting(wallet, service, status=Status.IN_PROGRESS))
    waiting(wallet, service, sent=True, parent=parent, run=1)
    waiting(wallet, service)

    assert f"Waiting for order {parent.pk}" in words_of(signed_in.get(ORDERS))


def test_anothers_order_has_no_number(signed_in, wallet):
    service = ServiceFactory(same_link=SameLink.QUEUE)
    waiting(WalletFactory(), service, sent=True)
    own = waiting(wallet, service)

    for address in (ORDERS, page_of(own)):
        text = words_of(signed_in.get(address))
        assert "Waiting for another order of this link" in text
        assert "Waiting for order" not in text


# --- drip-feeds and subscriptions --------------------------------------------------------------


def test_runs_are_shown_with_their_order_and_nowhere_else(signed_in, wallet, service):
    parent = series(OrderFactory(wallet=wallet, service=service, status=Status.IN_PROGRESS))
    run = OrderFactory(
        wallet=wallet, service=service, parent=parent, run=1, quantity=100, sent=True, remains=40
    )

    text = words_of(signed_in.get(page_of(parent)))

    assert "3 of 10 begun" in text
    assert "60 / 100" in text
    assert listed(signed_in.get(ORDERS)) == [parent]
    assert "run 3 of 10" in words_of(signed_in.get(ORDERS))
    assert signed_in.get(page_of(run)).status_code == 404


@pytest.mark.parametrize("runs", [1, 3])
def test_order_page_costs_the_same_queries_however_many_runs(
    signed_in, wallet, service, runs, django_assert_num_queries
):
    parent = series(OrderFactory(wallet=wallet, service=service, status=Status.IN_PROGRESS))
    for run in range(1, runs + 1):
        OrderFactory(
            wallet=wallet, service=service, parent=parent, run=run, link_key="instagram:someone"
        )
        record(parent, EventKind.SERIES, changes={"runs": (run - 1, run)})
        Refill.objects.create(order=parent, state=RefillState.REJECTED)

    # session, user; order; what it waits for and its runs do; history, refills, whether another
    # is open, whether it can be stopped; runs; the header's purse
    with django_assert_num_queries(10):
        signed_in.get(page_of(parent))


@pytest.mark.parametrize(
    ("state", "offered", "next_words"),
    [
        (SeriesState.ACTIVE, ["pause", "cancel"], "It is delivered in parts"),
        (SeriesState.PAUSED, ["resume", "cancel"], "It is paused: no further run begins"),
        (SeriesState.STOPPING, [], "It is being stopped"),
    ],
)
def test_a_drip_feed_offers_what_can_be_done_with_it(
    signed_in, wallet, service, state, offered, next_words
):
    order = OrderFactory(wallet=wallet, service=service, status=Status.IN_PROGRESS)
    series(order, state=state, next_run_at=timezone.now() + timedelta(hours=1))

    response = signed_in.get(page_of(order))

    text = response.content.decode()
    assert [
        name
        for name in ("pause", "resume", "cancel", "refill")
        if reverse(f"order_{name}", args=[order.pk]) in text
    ] == offered
    assert next_words in words_of(response)
    assert ("Next run" in words_of(response)) == (state == SeriesState.ACTIVE)


def test_a_subscription_shows_posts_money_and_its_end(signed_in, wallet):
    service = ServiceFactory(type=ServiceType.SUBSCRIPTIONS, cancel=True)
    order = OrderFactory(
        wallet=wallet, service=service, charge=Decimal(3), quantity=300, sent=True, link="someone"
    )
    Subscription.objects.create(
        order=order,
        minimum=50,
        maximum=100,
        posts=3,
        posts_served=1,
        served=Decimal("0.75"),
        expires_on=date(2030, 5, 17),
    )

    text = words_of(signed_in.get(page_of(order)))

    assert "1 / 3 posts" in text
    assert "Reserved 3.00 USD Used for posts 0.75 USD Paid back 0.00 USD" in text
    assert "Still reserved 2.25 USD" in text
    assert "For each post 50 – 100" in text
    assert "17 May 2030" in text
    assert "User name someone" in text
    assert "Stop the order" in text
    assert "1 / 3 posts" in words_of(signed_in.get(ORDERS))


def test_everything_that_was_ordered_is_shown(signed_in, wallet, service):
    order = OrderFactory(
        wallet=wallet,
        service=service,
        client_ref="A-1",
        fields={
            "comments": "Nice\nGreat",
            "answer_number": 2,
            "hashtag": "sun",
            "device": "3",
            "country": "FR",
            "keywords": "",
        },
    )

    text = words_of(signed_in.get(page_of(order)))

    assert "Hashtag sun" in text
    assert "Device Phones (iOS)" in text
    assert "Number of the answer 2" in text
    assert "Comments Nice Great" in text
    assert "Your reference A-1" in text
    assert "Country France" in text
    assert "Keywords" not in text


def test_order_again_fills_the_form_in(signed_in, wallet, service):
    order = OrderFactory(
        wallet=wallet, service=service, quantity=700, link="https://instagram.com/someone"
    )

    text = signed_in.get(page_of(order)).content.decode()
    again = html.unescape(re.search(r'id="order-again" href="([^"]+)"', text).group(1))

    assert again == (
        f"/order/?service={service.pk}&currency=USD"
        "&link=https%3A%2F%2Finstagram.com%2Fsomeone&quantity=700"
    )


def test_order_again_leaves_out_what_no_address_can_carry(signed_in, wallet):
    service = ServiceFactory(type=ServiceType.CUSTOM_COMMENTS)
    order = OrderFactory(wallet=wallet, service=service, fields={"comments": "x\n" * 2000})

    text = signed_in.get(page_of(order)).content.decode()

    again = html.unescape(re.search(r'id="order-again" href="([^"]+)"', text).group(1))
    assert "comments" not in again
    assert "link=" in again


# --- refills and cancellations, as the page offers them ------------------------------------------


def test_refill_is_offered_until_the_end_of_the_guarantee(signed_in, wallet, service):
    order = finished(wallet, service=service, completed_at=datetime(2030, 5, 1, tzinfo=UTC))

    response = signed_in.get(page_of(order))

    assert "Refill until 31 May 2030" in words_of(response)
    assert reverse("order_refill", args=[order.pk]) in response.content.decode()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"status": Status.IN_PROGRESS, "completed_at": None}, "within 30 days of completion"),
        ({"guarantee_days": 0}, "without a time limit"),
    ],
)
def test_guarantee_is_told_before_and_without_an_end(signed_in, wallet, service, columns, words):
    order = finished(wallet, service=service, **columns)

    assert words in words_of(signed_in.get(page_of(order)))


def test_where_no_refill_can_be_asked_for_the_reason_stands(signed_in, wallet, service):
    order = finished(wallet, service=service)
    Refill.objects.create(order=order)

    response = signed_in.get(page_of(order))

    assert reverse("order_refill", args=[order.pk]) not in response.content.decode()
    assert refused_words(RefillRefused(RefillProblem.OPEN)) in words_of(response)
    assert "Pending Refill" in words_of(response)
    assert "Refill under way" in words_of(signed_in.get(ORDERS))


def test_refills_are_listed_in_our_words(signed_in, wallet, service):
    order = finished(wallet, service=service)
    Refill.objects.create(
        order=order,
        state=RefillState.REJECTED,
        reason="Nothing is missing.",
        failure="Acme: no drop found",
    )

    text = words_of(signed_in.get(page_of(order)))

    assert "Rejected Refill" in text
    assert "Nothing is missing." in text
    assert "Acme" not in text


def test_cancel_is_offered_or_the_reason_stands(signed_in, wallet, service):
    pending = OrderFactory(wallet=wallet, service=service)
    running = OrderFactory(wallet=wallet, service=service, sent=True)
    ended = finished(wallet, service=service)

    offered = {
        order.pk: reverse("order_cancel", args=[order.pk])
        in signed_in.get(page_of(order)).content.decode()
        for order in (pending, running, ended)
    }

    assert offered == {pending.pk: True, running.pk: False, ended.pk: False}
    reason = refused_words(CancelRefused(CancelProblem.NOT_OFFERED))
    assert reason in words_of(signed_in.get(page_of(running)))
    assert reason not in words_of(signed_in.get(page_of(ended)))


def test_an_order_that_is_asked_back_says_so(signed_in, wallet, service):
    order = OrderFactory(wallet=wallet, service=service, sent=True)
    CancelRequest.objects.create(order=order)

    assert "we are waiting for the answer" in words_of(signed_in.get(page_of(order)))


def refused_words(refused: Exception) -> str:
    with translation.override("en"):
        return describe(refused).message
