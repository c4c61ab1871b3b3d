"""The history of an order in its customer's words, and what it never tells."""

from __future__ import annotations

import html
import itertools
import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.urls import reverse
from django.utils import timezone, translation

from accounts.api_keys import issue
from catalog.order_types import ServiceType
from orders import listing, refunds
from orders.models import EventKind, Order, SeriesState, Subscription
from orders.moves import by_customer, by_job, by_staff, move, record, update
from orders.statuses import MOVES, PUBLIC, Status
from storefront.pages.order_history import told
from tests.factories import OrderFactory, ServiceFactory, StaffFactory

SECRETS = "AcmeUpstream: order 8844221 refused by Wilma"


@pytest.fixture
def order(wallet, service) -> Order:
    order = OrderFactory(wallet=wallet, service=service)
    record(order, EventKind.CREATED, by=by_customer(order.customer))
    return order


@pytest.fixture
def staff(db):
    return StaffFactory(name="Wilma")


def lines(order: Order) -> list[str]:
    """The history as it is read, without times."""
    order.refresh_from_db()
    with translation.override("en"):
        return [
            " | ".join(part for part in (line.text, line.by, line.details) if part).replace(
                "\u00a0", " "
            )
            for line in told(order, listing.history_of(order))
        ]


def test_an_ordinary_order_tells_its_way(order):
    move(order, Status.SENDING, by=by_job("dispatch"))
    move(order, Status.PROCESSING, by=by_job("dispatch"), external_id="8844221")
    move(order, Status.IN_PROGRESS, by=by_job("tracking"), start_count=5)
    for remains in (900, 500, 250):
        update(order, kind=EventKind.PROGRESS, by=by_job("tracking"), remains=remains)
    move(order, Status.COMPLETED, by=by_job("tracking"), remains=0)

    assert lines(order) == [
        "Ordered and paid | by you",
        "Passed on for delivery",
        "Delivery has begun",
        "75% delivered",
        "Delivered in full",
    ]


def test_each_line_has_the_time_of_its_event(order):
    moment = timezone.now() - timedelta(days=3)
    order.events.update(at=moment)

    (line,) = told(order, listing.history_of(order))

    assert line.at == moment


def test_a_program_is_named_by_its_key(order, customer):
    key, _secret = issue(customer, name="Panel", currency="USD")
    record(order, EventKind.CANCEL, by=by_customer(customer, key), changes={"cancel": (None, "x")})
    revoked, _secret = issue(customer, name="Gone", currency="USD")
    record(
        order, EventKind.CANCEL, by=by_customer(customer, revoked), changes={"cancel": (None, "x")}
    )
    revoked.delete()

    assert lines(order)[1:] == [
        "Cancelling was asked for | by the API key “Panel”",
        "Cancelling was asked for | by an API key",
    ]


def test_our_own_troubles_are_not_told(order, staff):
    move(order, Status.SENDING, by=by_job("dispatch"))
    move(order, Status.UNCONFIRMED, by=by_job("sweep"), failure=SECRETS)
    record(order, EventKind.EVIDENCE, by=by_job("reconciliation"), note=SECRETS)
    record(order, EventKind.NOTE, by=by_staff(staff), note=SECRETS)
    record(
        order, EventKind.REROUTED, by=by_job("dispatch"), changes={"provider": (1, 2)}, note=SECRETS
    )

    assert lines(order) == ["Ordered and paid | by you", "Passed on for delivery"]


def test_what_came_back_unsent_had_not_been_passed_on(order):
    for _ in range(2):
        move(order, Status.SENDING, by=by_job("dispatch"))
        move(order, Status.PENDING, by=by_job("dispatch"), failure=SECRETS)
    assert lines(order) == ["Ordered and paid | by you"]

    move(order, Status.SENDING, by=by_job("dispatch"))

    assert lines(order) == ["Ordered and paid | by you", "Passed on for delivery"]


def test_partial_delivery_tells_what_and_how_much_came_back(order):
    Order.objects.filter(pk=order.pk).update(status=Status.IN_PROGRESS)
    order.refresh_from_db()
    refunds.move_and_refund(
        order, Status.PARTIAL, Decimal("0.325"), by=by_job("tracking"), reason=SECRETS, remains=250
    )

    assert lines(order)[-1] == (
        "Delivered in part | 750 of 1,000. 0.325 USD went back to your wallet."
    )


def test_a_late_correction_is_called_one(order):
    Order.objects.filter(pk=order.pk).update(status=Status.COMPLETED, remains=0)
    order.refresh_from_db()
    refunds.move_and_refund(order, Status.PARTIAL, Decimal("0.13"), by=by_job("t"), remains=100)

    assert lines(order)[-1] == (
        "Corrected: Delivered in part | 900 of 1,000. 0.13 USD went back to your wallet."
    )


def test_support_is_named_as_support(order, staff):
    refunds.move_and_refund(
        order, Status.CANCELLED, order.charge, by=by_staff(staff), reason=SECRETS
    )

    assert lines(order)[-1] == "Cancelled | by our support | 1.30 USD went back to your wallet."


def test_refills_and_cancellations_are_told_from_asking_to_their_end(order, customer, staff):
    you, job = by_customer(customer), by_job("refills")
    for name, kind, way in (
        ("refill", EventKind.REFILL, [None, "waiting", "asked", "manual", "rejected"]),
        ("refill", EventKind.REFILL, [None, "manual", "completed"]),
        ("cancel", EventKind.CANCEL, [None, "waiting", "asked", "refused"]),
        ("cancel", EventKind.CANCEL, [None, "waiting", "done"]),
    ):
        for before, after in itertools.pairwise(way):
            by = you if before is None else by_staff(staff) if after == "manual" else job
            record(order, kind, by=by, changes={name: (before, after)}, note=SECRETS)

    assert lines(order)[1:] == [
        "Refill asked for | by you",
        "Refill rejected",
        "Refill asked for | by you",
        "Refill completed",
        "Cancelling was asked for | by you",
        "It could not be cancelled any more",
        "Cancelling was asked for | by you",
    ]


def test_a_drip_feed_tells_its_runs_and_who_paused_it(order, customer, staff):
    Order.objects.filter(pk=order.pk).update(runs=10, interval=60)
    order.refresh_from_db()
    move(order, Status.IN_PROGRESS, by=by_job("dripfeed"))
    for run in (1, 2):
        record(order, EventKind.SERIES, by=by_job("dripfeed"), changes={"runs": (run - 1, run)})
    for by, before, after in (
        (by_customer(customer), "active", "paused"),
        (by_staff(staff), "paused", "active"),
        (by_customer(customer), "active", "stopping"),
    ):
        record(order, EventKind.SERIES, by=by, changes={"series": (before, after)}, note=SECRETS)
    refunds.pay_back(order, Decimal("1.04"), by=by_customer(customer), reason=SECRETS)
    record(
        order,
        EventKind.SERIES,
        changes={"series": (SeriesState.STOPPING.value, SeriesState.ENDED.value)},
    )

    assert lines(order)[1:] == [
        "Delivery has begun",
        "Run 2 of 10 has begun",
        "Paused | by you",
        "Resumed | by our support",
        "Stopped: nothing new begins | by you",
        "Part of it was paid back | by you | 1.04 USD went back to your wallet.",
    ]


def test_a_subscription_tells_its_posts(wallet, customer):
    service = ServiceFactory(type=ServiceType.SUBSCRIPTIONS)
    order = OrderFactory(wallet=wallet, service=service, sent=True)
    Subscription.objects.create(order=order, minimum=1, maximum=2, posts=3)
    record(order, EventKind.CREATED, by=by_customer(customer))
    for posts in (1, 2):
        changes = {"posts_served": (posts - 1, posts), "served": (Decimal(0), Decimal(1))}
        record(order, EventKind.SERIES, by=by_job("tracking"), changes=changes)
    # Its last day is over: a machine asks, and nobody else did.
    record(order, EventKind.SERIES, changes={"series": ("active", "stopping")})
    record(order, EventKind.CANCEL, changes={"cancel": (None, "waiting")})

    assert lines(order) == ["Ordered and paid | by you", "2 of 3 posts served"]


@pytest.mark.parametrize("status", [Status.PENDING, Status.UNCONFIRMED, Status.PARTIAL])
def test_orders_older_than_the_history_tell_what_their_columns_know(wallet, service, status):
    order = OrderFactory(wallet=wallet, service=service, status=status, external_id="1")
    Order.objects.filter(pk=order.pk).update(sent_at=timezone.now())

    assert lines(order) == [
        "Ordered and paid",
        "Passed on for delivery",
        *(["Delivered in part"] if status == Status.PARTIAL else []),
    ]


@pytest.mark.parametrize(("before", "after"), [(b, a) for b in MOVES for a in sorted(MOVES[b])])
def test_no_move_tells_a_state_that_is_ours_alone(wallet, service, before, after):
    order = OrderFactory(wallet=wallet, service=service, status=before)
    record(order, EventKind.CREATED)
    move(order, after, by=by_job("x"), note=SECRETS, failure=SECRETS)

    shown = lines(order)

    if PUBLIC[before] == PUBLIC[after] or after == Status.PENDING:
        assert len(shown) == 1
    else:
        assert len(shown) == 2
    for hidden in (Status.SENDING, Status.UNCONFIRMED):
        assert str(hidden.label) not in " ".join(shown)


def test_the_page_shows_the_history_and_no_staffs_words(signed_in, order, staff):
    order.provider.name = "AcmeUpstream"
    order.provider.save()
    move(order, Status.SENDING, by=by_job("dispatch"))
    move(order, Status.PROCESSING, by=by_job("dispatch"), external_id="8844221")
    for kind in EventKind:
        record(
            order,
            kind,
            by=by_staff(staff),
            changes={"provider": ("AcmeUpstream", "AcmeUpstream"), "failure": ("", SECRETS)},
            note=SECRETS,
        )
    Order.objects.filter(pk=order.pk).update(failure=SECRETS)

    page = signed_in.get(reverse("order", args=[order.pk])).content.decode()

    text = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())
    assert "Passed on for delivery" in text
    for secret in ("AcmeUpstream", "8844221", "Wilma", "refused", "dispatch"):
        assert secret not in page
