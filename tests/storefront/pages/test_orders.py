"""Orders are listed, found, and followed."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.urls import reverse
from django.utils import timezone

from orders.models import Order
from orders.statuses import Status
from storefront.pages.orders import PER_PAGE, POLL_DELAYS
from tests.factories import OrderFactory, ServiceFactory, WalletFactory

ORDERS, PROGRESS = reverse("orders"), reverse("orders_progress")


def page_of(order: Order) -> str:
    return reverse("order", args=[order.pk])


def set_to(order: Order, status: Status, **changes) -> Order:
    Order.objects.filter(pk=order.pk).update(status=status, **changes)
    order.refresh_from_db()
    return order


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
    for _ in range(orders):
        OrderFactory(wallet=wallet, sent=True)

    # session, user; count and rows; the header's purse
    with django_assert_num_queries(5):
        signed_in.get(ORDERS)


@pytest.mark.parametrize("orders", [1, 3])
def test_progress_costs_the_same_queries_however_many(
    signed_in, wallet, orders, django_assert_num_queries
):
    watch = [f"{OrderFactory(wallet=wallet, sent=True).pk}:in_progress" for _ in range(orders)]

    with django_assert_num_queries(3):
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
    ("status", "states"),
    [
        (Status.PENDING, ["done", "now", "later", "later"]),
        (Status.UNCONFIRMED, ["done", "done", "now", "later"]),
        (Status.IN_PROGRESS, ["done", "done", "now", "later"]),
        (Status.COMPLETED, ["done", "done", "done", "done"]),
    ],
)
def test_timeline_tells_what_comes_next(signed_in, order, status, states):
    set_to(order, status, sent_at=timezone.now())

    steps = signed_in.get(page_of(order)).context["steps"]

    assert [step.state for step in steps] == states


def test_timeline_of_an_order_that_was_never_sent_has_no_delivery(signed_in, wallet, service):
    order = set_to(OrderFactory(wallet=wallet, service=service), Status.CANCELLED)

    steps = signed_in.get(page_of(order)).context["steps"]

    assert [str(step.title) for step in steps] == ["Ordered and paid", "Cancelled"]


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
