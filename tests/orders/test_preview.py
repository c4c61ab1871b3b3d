"""Previews: they write nothing, raise nothing, and agree with what checkout then does."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from accounts.ledger import InsufficientFunds
from accounts.models import Wallet
from catalog.listing import ServiceNotFound
from catalog.models import SameLink
from orders.checkout import (
    InvalidOrder,
    place_order,
    preview,
)
from orders.models import Source
from orders.requests import OrderDraft, Problem, ProblemCode
from tests.factories import (
    ServiceFactory,
    UserFactory,
    WalletFactory,
)
from tests.orders.conftest import LINK

pytestmark = pytest.mark.django_db


def draft(service, quantity=1000):
    return OrderDraft(service.pk, {"link": LINK, "quantity": quantity})


def buy(customer, drafted, **others):
    return place_order(
        customer=customer, currency="USD", draft=drafted, source=Source.WEB, **others
    )


@pytest.mark.parametrize("quantity", [10, 999, 10_000])
def test_preview_tells_what_the_order_then_costs(customer, service, quantity):
    shown = preview(customer=customer, currency="USD", draft=draft(service, quantity))

    assert (shown.problems, shown.balance) == ((), 10)
    assert shown.listed.service == service
    assert shown.quote.charge == Decimal("1.30") * quantity / 1000
    assert shown.missing == max(shown.quote.charge - 10, 0)
    if not shown.missing:
        placed = buy(customer, draft(service, quantity), at_most=shown.quote.charge)
        assert placed.order.charge == shown.quote.charge
        assert placed.balance_after == shown.balance - shown.quote.charge
    else:
        with pytest.raises(InsufficientFunds) as refused:
            buy(customer, draft(service, quantity))
        assert refused.value.required == shown.quote.charge


def test_preview_tells_the_price_beside_problems_that_do_not_touch_it(customer, service):
    shown = preview(
        customer=customer, currency="USD", draft=OrderDraft(service.pk, {"quantity": 1000})
    )

    assert shown.problems == (Problem("link", ProblemCode.REQUIRED),)
    assert shown.quote.charge == Decimal("1.30")


def test_preview_of_a_quantity_that_cannot_be_sold_shows_the_service_without_a_price(
    customer, service
):
    shown = preview(customer=customer, currency="USD", draft=draft(service, 1))

    assert (shown.listed.service, shown.quote, shown.missing) == (service, None, 0)
    assert [problem.code for problem in shown.problems] == [ProblemCode.TOO_SMALL]


@pytest.mark.parametrize("service_id", [999_999, -1, 10**40])
def test_preview_of_an_unknown_service_shows_nothing(customer, service_id):
    shown = preview(customer=customer, currency="USD", draft=OrderDraft(service_id, {}))

    assert (shown.listed, shown.quote, shown.problems) == (None, None, ())


def test_preview_of_a_service_that_is_off_shows_nothing(customer):
    off = ServiceFactory(disabled_by_staff=True)

    shown = preview(customer=customer, currency="USD", draft=draft(off))

    assert (shown.listed, shown.quote, shown.problems) == (None, None, ())


def test_preview_needs_no_wallet(service):
    shown = preview(customer=UserFactory(), currency="USD", draft=draft(service))

    assert (shown.balance, shown.missing) == (0, Decimal("1.30"))
    assert Wallet.objects.count() == 0


@pytest.mark.parametrize("runs", [2, 5])
def test_preview_of_a_drip_feed_tells_the_price_of_all_runs(customer, runs):
    service = ServiceFactory(dripfeed=True)
    values = {"link": LINK, "quantity": 100, "runs": runs, "interval": 30}

    shown = preview(customer=customer, currency="USD", draft=OrderDraft(service.pk, values))

    assert (shown.quote.charge, shown.quote.quantity) == (Decimal("0.13") * runs, 100 * runs)
    assert (shown.request.runs, shown.request.interval) == (runs, 30)


def test_preview_tells_that_a_link_contradicts_the_service(customer):
    likes = ServiceFactory(name="Instagram Likes", provider_name="", category__source_name="Likes")

    shown = preview(customer=customer, currency="USD", draft=draft(likes))

    assert shown.problems == (
        Problem("link", ProblemCode.WRONG_TARGET, {"expected": "post", "found": "profile"}),
    )
    assert (shown.quote.charge, shown.request) == (Decimal("1.30"), None)


def test_preview_takes_a_known_number_of_queries(customer, django_assert_num_queries):
    waits = ServiceFactory(same_link=SameLink.QUEUE)
    at_once = ServiceFactory()

    for service, expected in ((at_once, 6), (waits, 7)):
        with django_assert_num_queries(expected):
            preview(customer=customer, currency="USD", draft=draft(service))


@pytest.mark.parametrize(
    "values", [{"link": LINK, "quantity": 1000}, {"quantity": 10**99}, {}, {"runs": 7}]
)
def test_preview_writes_nothing(customer, service, values):
    with CaptureQueriesContext(connection) as queries:
        preview(customer=customer, currency="USD", draft=OrderDraft(service.pk, values))

    assert {query["sql"].split()[0] for query in queries} == {"SELECT"}


class Previews(TestCase):
    """Whatever is typed: the preview never raises, and agrees with what checkout then says."""

    @settings(max_examples=60, deadline=None)
    @given(
        service_id=st.sampled_from(["the service", "another", None, "abc", 10**30]),
        values=st.dictionaries(
            st.sampled_from(["link", "quantity", "comments", "runs"]),
            st.sampled_from([LINK, "1000", 1000, 1, 20_000, None, "", "x y", "\x00", 1.5, [1]]),
        ),
    )
    def test_preview_agrees_with_checkout(self, service_id, values):
        service, wallet = ServiceFactory(), WalletFactory(funds=2)
        ids = {"the service": service.pk, "another": service.pk + 1}
        drafted = OrderDraft(ids.get(service_id, service_id), values)

        shown = preview(customer=wallet.user, currency="USD", draft=drafted)

        try:
            placed = buy(wallet.user, drafted)
        except InvalidOrder as invalid:
            agreed = shown.problems == invalid.problems
        except ServiceNotFound:
            agreed = shown.listed is None
        except InsufficientFunds as poor:
            agreed = shown.missing == poor.required - poor.available
        else:
            agreed = shown.problems == () and shown.quote.charge == placed.order.charge
        assert agreed
