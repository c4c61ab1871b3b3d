"""Each rule of the audit about orders finds what breaks it, and nothing in a healthy shop."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts import ledger
from accounts.alerts import alert, resolve
from accounts.models import Account
from catalog.order_types import ServiceType
from orders.models import (
    BookReading,
    CancelRequest,
    DripFeed,
    Order,
    Outcome,
    Refill,
    SeriesState,
    Subscription,
)
from orders.refunds import move_and_refund
from orders.statuses import Status
from tests.books import breaches
from tests.factories import OrderFactory, ProviderFactory, WalletFactory

pytestmark = pytest.mark.django_db


def findings():
    return [(finding.rule, finding.subject) for finding in breaches()]


@pytest.fixture
def parent():
    """A drip-feed of three runs for 1.30, one of which is running and one completed."""
    parent = OrderFactory(status=Status.IN_PROGRESS, runs=3, interval=10, quantity=3000)
    DripFeed.objects.create(order=parent, runs=3, quantity=1000, interval=10, runs_made=2)
    for number, status in ((1, Status.COMPLETED), (2, Status.PROCESSING)):
        Order.objects.create(
            parent=parent,
            run=number,
            customer=parent.customer,
            wallet=parent.wallet,
            service=parent.service,
            provider=parent.provider,
            type=parent.type,
            link=parent.link,
            quantity=1000,
            source=parent.source,
            fingerprint="0" * 64,
            currency=parent.currency,
            charge=Decimal("0.40"),
            rate=parent.rate,
            provider_rate=parent.provider_rate,
            exchange_rate=1,
            status=status,
            external_id=str(number),
        )
    return parent


def run(parent, number):
    return parent.run_orders.select_related("wallet").get(run=number)


@pytest.fixture
def subscription():
    """3 of 10 USD reserved, 1 of them served."""
    wallet = WalletFactory(funds=10)
    order = Order.objects.create(
        customer=wallet.user,
        wallet=wallet,
        currency=wallet.currency,
        service=OrderFactory().service,
        provider=ProviderFactory(),
        type=ServiceType.SUBSCRIPTIONS,
        link="someone",
        quantity=3000,
        source="web",
        fingerprint="0" * 64,
        charge=Decimal(3),
        rate=1,
        provider_rate=1,
        exchange_rate=1,
        status=Status.IN_PROGRESS,
        external_id="7",
    )
    ledger.charge(
        wallet,
        order.charge,
        key=f"{order.subject}:charge",
        subject=order.subject,
        account=Account.RESERVED,
    )
    ledger.serve(Decimal(1), currency="USD", key=f"{order.subject}:post:1", subject=order.subject)
    return Subscription.objects.create(
        order=order, minimum=100, maximum=1000, posts=3, posts_served=1, served=Decimal(1)
    )


# --- drip-feeds ----------------------------------------------------------------------------------


def test_healthy_drip_feed_is_no_finding(parent):
    move_and_refund(run(parent, 2), Status.CANCELLED, Decimal("0.40"))

    assert findings() == []


def test_runs_that_cost_more_than_their_drip_feed_are_found(parent):
    Order.objects.filter(parent=parent).update(charge=Decimal("0.66"))

    assert findings() == [("runs_beyond_charge", parent.subject)]


def test_refund_of_a_run_that_its_drip_feed_does_not_know_is_found(parent):
    Order.objects.filter(parent=parent, run=2).update(refunded=Decimal("0.10"))

    assert findings() == [("runs_refunded_beyond_order", parent.subject)]


def test_run_of_another_customer_is_found(parent):
    wallet = WalletFactory()
    Order.objects.filter(parent=parent, run=1).update(wallet=wallet, customer=wallet.user)

    assert findings() == [("run_of_another_wallet", run(parent, 1).subject)]


def test_run_that_outlives_its_drip_feed_is_found(parent):
    Order.objects.filter(pk=parent.pk).update(status=Status.COMPLETED)

    assert findings() == [("run_outlives_its_drip_feed", run(parent, 2).subject)]


def test_drip_feed_that_was_bought_itself_is_found(parent):
    Order.objects.filter(pk=parent.pk).update(external_id="77")

    assert findings() == [("drip_feed_bought_itself", parent.subject)]


# --- subscriptions -------------------------------------------------------------------------------


def test_healthy_subscription_is_no_finding(subscription):
    assert findings() == []


def test_reserve_that_is_not_what_is_left_is_found(subscription):
    subscription.served = Decimal(2)
    subscription.save()

    subject = subscription.order.subject
    assert findings() == [("reserve_wrong", subject), ("served_wrong", subject)]


def test_more_served_than_was_reserved_is_found(subscription):
    subject = subscription.order.subject
    ledger.serve(Decimal(3), currency="USD", key=f"{subject}:post:2", subject=subject)
    subscription.served = Decimal(4)
    subscription.save()

    assert findings() == [("served_beyond_charge", subject)]


def test_reserve_that_nobody_gave_back_is_found(subscription):
    subscription.state = SeriesState.ENDED
    subscription.save()

    assert findings() == [("reserve_after_the_end", subscription.order.subject)]


def test_reserve_of_another_kind_of_order_is_found(subscription):
    subject = subscription.order.subject
    subscription.delete()

    assert findings() == [("reserve_without_subscription", subject)]


# --- losses --------------------------------------------------------------------------------------


def test_loss_of_what_was_never_paid_back_is_found():
    order = OrderFactory(sent=True)
    ledger.write_off(
        Decimal(1), currency="USD", key=f"{order.subject}:loss", subject=order.subject, reason="x"
    )

    assert findings() == [("loss_beyond_refund", order.subject)]


# --- states and the provider's ids ---------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.PROCESSING, Status.IN_PROGRESS])
def test_order_that_runs_nowhere_is_found(status):
    order = OrderFactory(status=status)

    assert findings() == [("order_running_without_id", order.subject)]


@pytest.mark.parametrize("status", [Status.PENDING, Status.SENDING, Status.UNCONFIRMED])
def test_order_that_would_be_bought_again_is_found(status):
    order = OrderFactory(status=status, external_id="7")

    assert findings() == [("order_bought_before_sent", order.subject)]


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        (Refill, "refill_of_an_ended_order"),
        (CancelRequest, "cancellation_of_an_ended_order"),
    ],
)
def test_request_that_nobody_settles_any_more_is_found(model, rule):
    order = OrderFactory(sent=True)
    model.objects.create(order=order)
    move_and_refund(order, Status.CANCELLED, order.charge)
    assert findings() == []

    Order.objects.update(status_changed_at=timezone.now() - timedelta(hours=2))

    assert findings() == [(rule, order.subject)]


# --- the book ------------------------------------------------------------------------------------


def test_book_that_differs_while_nobody_is_told_is_found():
    provider = ProviderFactory()
    subject = f"provider:{provider.pk}"
    columns = {"provider": provider, "balance": 5, "book": 10}
    BookReading.objects.create(**columns, difference=-5, outcome=Outcome.DIFFERS)
    alert("provider_book_differs", subject=subject, message="x")
    assert findings() == []

    resolve("provider_book_differs", subject=subject)

    assert findings() == [("book_differs", subject)]
    BookReading.objects.create(**columns, difference=0, outcome=Outcome.ACCEPTED)
    assert findings() == []
