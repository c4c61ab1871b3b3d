"""Finding orders: only one's own, by any reference, in a constant number of queries."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from accounts.api_keys import issue
from catalog.facts import completion_rate
from orders.listing import OrderNotFound, find, find_many, history_of, orders_of, runs_of
from orders.models import CancelRequest, DripFeed, EventKind, Order, Subscription
from orders.moves import by_customer, record
from orders.statuses import Status
from tests.factories import OrderFactory, ServiceFactory, UserFactory, WalletFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def wallet():
    return WalletFactory()


@pytest.fixture
def customer(wallet):
    return wallet.user


@pytest.fixture
def order(wallet):
    return OrderFactory(wallet=wallet)


def test_orders_are_the_customers_own_newest_first(wallet, customer, order):
    OrderFactory()
    newer = OrderFactory(wallet=wallet)

    assert list(orders_of(customer)) == [newer, order]
    assert list(orders_of(UserFactory())) == []


@pytest.mark.parametrize("rows", [1, 3])
def test_list_costs_one_query_with_everything_a_row_shows(wallet, customer, rows):
    for _ in range(rows):
        order = OrderFactory(wallet=wallet)
        DripFeed.objects.create(order=order, runs=2, quantity=500, interval=60)
        Subscription.objects.create(order=order, minimum=1, maximum=2, posts=3)
        CancelRequest.objects.create(order=order)

    with CaptureQueriesContext(connection) as queries:
        shown = [
            (
                o.service.shown_name,
                o.service.category.shown_name,
                completion_rate(o.service),
                o.dripfeed.runs,
                o.subscription.posts,
                o.cancel_request.state,
            )
            for o in orders_of(customer)
        ]

    assert (len(shown), len(queries)) == (rows, 1)


def test_what_an_order_has_not_costs_no_query_either(wallet, customer, order):
    (found,) = orders_of(customer)

    with CaptureQueriesContext(connection) as queries:
        for name in ("dripfeed", "subscription", "cancel_request"):
            assert getattr(found, name, None) is None

    assert len(queries) == 0


def test_runs_are_seen_nowhere_but_with_their_order(wallet, customer, order):
    second, first = (OrderFactory(wallet=wallet, parent=order, run=run) for run in (2, 1))

    assert list(orders_of(customer)) == [order]
    assert list(orders_of(customer, ids=[first.pk])) == []
    assert find_many(customer, [str(first.pk), str(first.uuid)]) == {}
    with pytest.raises(OrderNotFound):
        find(customer, str(first.pk))
    assert runs_of(order, newest=5) == [second, first]
    assert runs_of(order, newest=1) == [second]
    assert runs_of(first, newest=5) == []


def test_history_is_the_orders_own_from_first_to_last(
    wallet, customer, order, django_assert_num_queries
):
    key, _secret = issue(customer, name="Mine", currency="USD")
    record(OrderFactory(wallet=wallet), EventKind.CREATED)
    record(order, EventKind.CREATED, by=by_customer(customer, key))
    record(order, EventKind.NOTE, by=by_customer(customer, key))

    with django_assert_num_queries(1):
        told = [(event.kind, event.api_key.name) for event in history_of(order)]

    assert told == [("created", "Mine"), ("note", "Mine")]


def test_filters(wallet, customer):
    done = OrderFactory(wallet=wallet, status=Status.COMPLETED, client_ref="A-1")
    lost = OrderFactory(wallet=wallet, status=Status.UNCONFIRMED, client_ref="A-2")
    other = OrderFactory(status=Status.COMPLETED, client_ref="A-1")
    Order.objects.filter(pk=lost.pk).update(created_at=timezone.now() - timedelta(days=2))
    yesterday = timezone.now() - timedelta(days=1)

    def found(**filters):
        return set(orders_of(customer, **filters))

    assert found(statuses=[Status.COMPLETED]) == {done}
    assert found(statuses=[Status.SENDING, Status.UNCONFIRMED]) == {lost}
    assert found(statuses=[Status.FAILED]) == set()
    assert found(statuses=[]) == {done, lost}
    assert found(service_id=done.service_id) == {done}
    assert found(service_id=other.service_id) == set()
    assert found(client_ref="A-1") == {done}
    assert found(client_ref="a-1") == set()
    assert found(ids=[done.pk, other.pk]) == {done}
    assert found(created_from=yesterday) == {done}
    assert found(created_to=yesterday) == {lost}
    assert found(created_from=yesterday, created_to=yesterday) == set()
    assert found(statuses=[Status.COMPLETED], client_ref="A-2") == set()


def test_text_finds_ids_links_and_service_names(wallet, customer):
    likes = ServiceFactory(provider_name="Instagram Beğeni (Likes) Gerçek")
    views = ServiceFactory(provider_name="TikTok Views Gerçek")
    liked = OrderFactory(wallet=wallet, service=likes, link="https://instagram.com/p/AbC_d")
    viewed = OrderFactory(wallet=wallet, service=views, link="https://tiktok.com/100%")

    def found(text):
        return set(orders_of(customer, text=text))

    assert found("abc_D") == {liked}
    assert found("100%") == {viewed}
    assert found("gercek BEGENI") == {liked}
    assert found("gerçek") == {liked, viewed}
    assert found("likes tiktok") == set()
    assert found(f" #{viewed.pk} ") == {viewed}
    assert found(str(liked.pk)) >= {liked}
    assert found("  ") == {liked, viewed}
    assert found("…") == set()
    assert found("%") == {viewed}


@pytest.mark.parametrize("text", ["x " * 5000, "x" * 100_000, "'\"\\;--", "9" * 30, "#"])
def test_text_of_any_kind_is_searched_for_without_fault(customer, order, text):
    assert list(orders_of(customer, text=text)) == []


def test_find_takes_id_and_uuid(customer, order):
    for reference in (str(order.pk), f" {order.pk} ", str(order.uuid), str(order.uuid).upper()):
        assert find(customer, reference) == order


@pytest.mark.parametrize(
    "reference",
    [
        "",
        " ",
        "0",
        "-1",
        "+1",
        "1.0",
        "1e3",
        "01x",
        "١",
        "²",
        "\x00",
        "\ud800",
        "9" * 19,
        "9" * 5000,
        str(2**63),
        "5f0c3f0e-6d1a-4a55-9a53-0d1f3f3c9a11",
        "5f0c3f0e6d1a4a559a530d1f3f3c9a11",
        "{5f0c3f0e-6d1a-4a55-9a53-0d1f3f3c9a11}",
        "x" * 36,
        "-" * 36,
        "_" * 36,
        "urn:uuid:" + "0" * 27,
        "' OR 1=1 --",
    ],
    ids=lambda reference: ascii(reference)[:40],
)
def test_reference_that_names_no_order_is_not_found(customer, order, reference):
    with pytest.raises(OrderNotFound):
        find(customer, reference)
    assert find_many(customer, [reference, str(order.pk)]) == {str(order.pk): order}


def test_somebody_elses_order_is_not_found(order):
    stranger = UserFactory()

    for reference in (str(order.pk), str(order.uuid)):
        with pytest.raises(OrderNotFound):
            find(stranger, reference)
    assert find_many(stranger, [str(order.pk), str(order.uuid)]) == {}


def test_find_many_answers_by_the_texts_asked_for_in_one_query(wallet, customer, order):
    second, foreign = OrderFactory(wallet=wallet), OrderFactory()
    asked = [str(order.pk), f"0{order.pk}", str(order.uuid), str(second.pk), str(foreign.pk), "x"]

    with CaptureQueriesContext(connection) as queries:
        found = find_many(customer, [*asked, *asked])
        names = {o.service.category.shown_name for o in found.values()}

    assert found == {asked[0]: order, asked[1]: order, asked[2]: order, asked[3]: second}
    assert (len(queries), len(names)) == (1, 2)


def test_find_many_of_nothing_asks_nothing(customer, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert find_many(customer, []) == find_many(customer, ["x", ""]) == {}


class References(TestCase):
    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.text(max_size=40) | st.integers().map(str) | st.uuids().map(str)))
    def test_any_reference_is_found_or_not_but_never_a_fault(self, references):
        order = OrderFactory()

        found = find_many(order.customer, [*references, str(order.uuid)])

        assert found.pop(str(order.uuid)) == order
        assert set(found.values()) <= {order}
