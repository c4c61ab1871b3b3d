"""Refill, cancel, pause, resume: asked first, done once, refused in words."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from orders import dripfeed
from orders.models import CancelRequest, DripFeed, Order, OrderEvent, Refill, SeriesState
from orders.statuses import Status
from tests.factories import OrderFactory, ServiceFactory, WalletFactory

ACTIONS = ["order_refill", "order_cancel", "order_pause", "order_resume"]
MANY = reverse("orders_refill")


def words_of(response) -> str:
    text = re.sub(r"<[^>]*>", " ", response.content.decode())
    return " ".join(html.unescape(text).replace("\u00a0", " ").split())


def address(name: str, order: Order) -> str:
    return reverse(name, args=[order.pk])


@pytest.fixture
def done(wallet, service) -> Order:
    """Completed, with a guarantee."""
    return OrderFactory(
        wallet=wallet,
        service=service,
        status=Status.COMPLETED,
        external_id="7",
        guarantee_days=30,
        completed_at=timezone.now(),
    )


@pytest.fixture
def feed(wallet) -> DripFeed:
    """Ten runs of 0.50, of which none has begun."""
    service = ServiceFactory(dripfeed=True)
    order = OrderFactory(
        wallet=wallet, service=service, charge=Decimal(5), quantity=1000, runs=10, interval=60
    )
    return dripfeed.open(order)


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("method", ["get", "post"])
def test_nobody_elses_order_can_be_touched(signed_in, feed, name, method):
    foreign = OrderFactory(wallet=WalletFactory(), service=feed.order.service, runs=2, interval=5)
    dripfeed.open(foreign)

    assert getattr(signed_in, method)(address(name, foreign)).status_code == 404
    assert getattr(signed_in, method)(reverse(name, args=[10**40])).status_code == 404
    foreign.refresh_from_db()
    assert (foreign.status, foreign.dripfeed.state) == (Status.PENDING, SeriesState.ACTIVE)


@pytest.mark.parametrize("name", ACTIONS)
def test_visitors_are_asked_to_sign_in(client, feed, name):
    for answer in (client.get(address(name, feed.order)), client.post(address(name, feed.order))):
        assert answer.headers["Location"].startswith(reverse("account_login"))


@pytest.mark.parametrize("name", [*ACTIONS, "orders_refill"])
def test_forms_without_their_token_are_refused(customer, feed, name):
    client = Client(enforce_csrf_checks=True)
    client.force_login(customer)
    target = MANY if name == "orders_refill" else address(name, feed.order)

    assert client.post(target).status_code == 403
    assert Order.objects.get(pk=feed.order_id).status == Status.PENDING


@pytest.mark.parametrize("name", ACTIONS)
def test_asking_changes_nothing(signed_in, feed, done, name):
    events = OrderEvent.objects.count()
    order = done if name == "order_refill" else feed.order

    response = signed_in.get(address(name, order))

    assert response.status_code == 200
    assert '<form class="card form" method="post">' in response.content.decode()
    assert OrderEvent.objects.count() == events
    assert not Refill.objects.exists()


def test_a_refill_is_asked_for_once(signed_in, done):
    first, second = (signed_in.post(address("order_refill", done), follow=True) for _ in range(2))

    refill = Refill.objects.get(order=done)
    assert f"Refill {refill.pk} of order {done.pk} is asked for." in words_of(first)
    assert "note--error" in second.content.decode()
    assert OrderEvent.objects.get(order=done, kind="refill").source == "customer"


def test_a_refill_that_cannot_be_is_said_to_be_so(signed_in, done):
    Order.objects.update(completed_at=timezone.now() - timedelta(days=31))

    asked = signed_in.get(address("order_refill", done))
    posted = signed_in.post(address("order_refill", done), follow=True)

    assert "<button" not in asked.content.decode().partition('<form class="card form"')[2]
    assert "note--error" in posted.content.decode()
    assert not Refill.objects.exists()


def test_cancelling_before_sending_pays_back_at_once(signed_in, wallet, service):
    order = OrderFactory(wallet=wallet, service=service)

    asked = words_of(signed_in.get(address("order_cancel", order)))
    answer = words_of(signed_in.post(address("order_cancel", order), follow=True))

    assert "Nothing has been passed on yet: 1.30 USD goes back to your wallet at once." in asked
    assert f"Order {order.pk} is cancelled. 1.30 USD went back to your wallet." in answer
    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.CANCELLED, Decimal("1.30"))


def test_cancelling_later_is_asked_for(signed_in, wallet, service):
    service.cancel = True
    service.save()
    order = OrderFactory(wallet=wallet, service=service, sent=True, remains=400)

    asked = words_of(signed_in.get(address("order_cancel", order)))
    answer = words_of(signed_in.post(address("order_cancel", order), follow=True))

    assert "whether that succeeds is not certain" in asked
    assert "at most 0.52 USD" in asked
    assert f"We have asked for order {order.pk} to be stopped." in answer
    assert CancelRequest.objects.get().order == order
    assert Order.objects.get(pk=order.pk).refunded == 0


@pytest.mark.parametrize("hidden", [Status.SENDING, Status.UNCONFIRMED])
def test_an_order_of_unknown_outcome_looks_like_any_other(signed_in, wallet, service, hidden):
    order = OrderFactory(wallet=wallet, service=service, status=hidden)

    asked = words_of(signed_in.get(address("order_cancel", order)))

    assert "at most 1.30 USD" in asked
    assert str(hidden.label) not in asked


def test_an_order_that_has_ended_is_not_cancelled(signed_in, done):
    asked = signed_in.get(address("order_cancel", done))
    posted = signed_in.post(address("order_cancel", done), follow=True)

    assert "<button" not in asked.content.decode().partition('<form class="card form"')[2]
    assert "note--error" in posted.content.decode()
    assert Order.objects.get(pk=done.pk).refunded == 0


def test_stopping_a_drip_feed_says_what_comes_back_and_pays_it(signed_in, feed, wallet):
    dripfeed.run_due()
    Order.objects.filter(parent=feed.order).update(status=Status.PROCESSING, external_id="1")

    asked = words_of(signed_in.get(address("order_cancel", feed.order)))
    answer = words_of(signed_in.post(address("order_cancel", feed.order), follow=True))

    assert "never will, and 4.50 USD for them goes back to your wallet at once." in asked
    assert f"Order {feed.order_id} is stopped. 4.50 USD went back to your wallet." in answer
    assert Order.objects.get(pk=feed.order_id).refunded == Decimal("4.5")


def test_what_stopping_promises_is_what_it_pays(signed_in, feed):
    dripfeed.run_due()  # and the run waits to be sent

    promised = dripfeed.never_ran(feed.order)
    signed_in.post(address("order_cancel", feed.order))

    assert Order.objects.get(pk=feed.order_id).refunded == promised == Decimal(5)


def test_a_drip_feed_is_paused_and_resumed(signed_in, feed):
    paused = words_of(signed_in.post(address("order_pause", feed.order), follow=True))
    assert DripFeed.objects.get().state == SeriesState.PAUSED
    resumed = words_of(signed_in.post(address("order_resume", feed.order), follow=True))
    assert DripFeed.objects.get().state == SeriesState.ACTIVE

    assert f"Order {feed.order_id} is paused." in paused
    assert f"Order {feed.order_id} goes on." in resumed


def test_what_was_paused_already_is_said_to_be_so(signed_in, feed):
    signed_in.post(address("order_pause", feed.order))

    again = signed_in.post(address("order_pause", feed.order), follow=True)

    assert again.status_code == 200
    assert "note--error" in again.content.decode()
    assert "This order is paused already." in words_of(again)


@pytest.mark.parametrize("name", ["order_pause", "order_resume"])
def test_an_order_without_runs_cannot_be_paused(signed_in, done, name):
    assert signed_in.get(address(name, done)).status_code == 404
    assert signed_in.post(address(name, done)).status_code == 404


# --- many at once --------------------------------------------------------------------------------


def test_many_refills_show_their_effect_first_and_then_what_became_of_them(
    signed_in, wallet, service, done
):
    other = OrderFactory(wallet=wallet, service=service)
    foreign = OrderFactory(wallet=WalletFactory(), status=Status.COMPLETED, guarantee_days=0)
    chosen = {"order": [done.pk, other.pk, foreign.pk, "x", done.pk, f"0{done.pk}"]}

    asked = signed_in.get(MANY, chosen)
    assert not Refill.objects.exists()
    answered = signed_in.post(MANY, chosen)

    for response in (asked, answered):
        assert response.context["possible"] == [done]
        assert [order for order, _why in response.context["refused"]] == [other]
        assert f"#{foreign.pk}" not in words_of(response)
    assert "Ask for a refill of 1 order?" in words_of(asked)
    assert "1 refill is asked for" in words_of(answered)
    assert [refill.order for refill in Refill.objects.all()] == [done]
    assert "No refill can be asked for" in words_of(signed_in.get(MANY, chosen))


def test_nothing_chosen_is_told(signed_in, wallet):
    assert "No order was chosen." in words_of(signed_in.get(MANY))
    assert "No order was chosen." in words_of(signed_in.post(MANY))


@pytest.mark.parametrize("orders", [1, 3])
def test_the_question_costs_the_same_queries_however_many(
    signed_in, wallet, service, orders, django_assert_num_queries
):
    chosen = [OrderFactory(wallet=wallet, service=service).pk for _ in range(orders)]

    # session, user; orders; open refills; the header's purse
    with django_assert_num_queries(5):
        signed_in.get(MANY, {"order": chosen})


def test_the_list_offers_boxes_where_a_refill_is_possible(signed_in, wallet, service, done):
    OrderFactory(wallet=wallet, service=service)

    page = signed_in.get(reverse("orders")).content.decode()

    assert re.findall(r'<input type="checkbox" name="order" value="(\d+)"', page) == [str(done.pk)]
    assert f'action="{MANY}"' in page


def test_the_list_offers_none_where_none_is(signed_in, wallet, service):
    OrderFactory(wallet=wallet, service=service)

    assert "refill-many" not in signed_in.get(reverse("orders")).content.decode()
