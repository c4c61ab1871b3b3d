"""Several orders in one request: each has its own answer, one wallet pays, all or nothing of it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.ledger import InsufficientFunds
from accounts.models import JournalEntry
from catalog.listing import ServiceNotFound, ServiceUnavailable
from catalog.models import SameLink, Service
from catalog.order_types import ServiceType
from orders import bulk
from orders.bulk import MAX_ORDERS, BulkItem, TooManyOrders, place_many
from orders.checkout import (
    IdempotencyKeyReused,
    InvalidIdempotencyKey,
    InvalidOrder,
    LinkBusy,
    Placed,
    place_order,
)
from orders.models import (
    DripFeed,
    EventKind,
    KeyedBatch,
    Order,
    OrderEvent,
    Source,
    Subscription,
)
from orders.requests import OrderDraft, ProblemCode
from orders.statuses import Status
from tests.books import breaches
from tests.factories import OrderFactory, ProviderFactory, ServiceFactory, WalletFactory, fund
from tests.orders.conftest import LINK, queued

# Statements of one more order in a batch.
PER_ORDER = 11
COST = Decimal("1.30")


@pytest.fixture(autouse=True)
def _books_add_up(db):
    yield
    assert breaches() == []


def item(service, quantity=1000, *, key=None, link=LINK, **values):
    service_id = getattr(service, "pk", service)
    draft = OrderDraft(service_id, {"link": link, "quantity": quantity, **values})
    return BulkItem(draft, idempotency_key=key)


def buy(customer, *items, key=None):
    return place_many(
        customer=customer, currency="USD", items=items, source=Source.PANEL, idempotency_key=key
    )


def ids(batch):
    return [outcome.order.pk for outcome in batch.outcomes if isinstance(outcome, Placed)]


def kinds(batch):
    return [type(outcome) for outcome in batch.outcomes]


def test_batch_places_what_is_good_and_says_what_is_wrong_with_the_rest(customer, wallet, service):
    gone = ServiceFactory(disabled_by_staff=True)

    batch = buy(
        customer,
        item(service),
        item(service, 5, link=""),
        item(10**30),
        item(gone),
        item(None),
        item(service, "2000"),
    )

    assert kinds(batch) == [
        *(Placed, InvalidOrder, ServiceNotFound, ServiceUnavailable, InvalidOrder, Placed)
    ]
    assert [problem.code for problem in batch.outcomes[1].problems] == [
        ProblemCode.REQUIRED,
        ProblemCode.TOO_SMALL,
    ]
    assert [(one.order.charge, one.balance_after) for one in batch.placed] == [
        (COST, 10 - COST),
        (2 * COST, 10 - 3 * COST),
    ]
    wallet.refresh_from_db()
    assert wallet.balance == batch.balance == 10 - 3 * COST
    assert ids(batch) == list(Order.objects.order_by("pk").values_list("pk", flat=True))
    assert OrderEvent.objects.filter(kind=EventKind.CREATED).count() == 2


def test_batch_wakes_each_provider_once(customer, service):
    other = ServiceFactory(provider=ProviderFactory(), dripfeed=True)

    buy(customer, item(service), item(other), item(service), item(other, 10, runs=2, interval=5))

    assert queued() == [
        ("dispatch_provider", service.provider_id),
        ("dispatch_provider", other.provider_id),
        ("tick",),
    ]


def test_batch_opens_what_follows_on_a_sale(customer):
    drip = ServiceFactory(dripfeed=True)
    posts = ServiceFactory(type=ServiceType.SUBSCRIPTIONS)

    batch = buy(
        customer,
        item(drip, 10, runs=2, interval=5),
        item(posts, username="a", min=10, max=10, delay=0),
    )

    assert kinds(batch) == [Placed, Placed]
    assert (DripFeed.objects.count(), Subscription.objects.count()) == (1, 1)


def test_batch_that_the_wallet_cannot_pay_in_full_changes_nothing(customer, wallet, service):
    entries = JournalEntry.objects.count()

    with pytest.raises(InsufficientFunds) as refused:
        buy(customer, *[item(service, 4000)] * 2, item(service, 5))

    # The total of the good ones: each alone, but not both, could have been paid.
    assert (refused.value.required, refused.value.available) == (8 * COST, Decimal(10))
    assert (Order.objects.count(), JournalEntry.objects.count()) == (0, entries)
    assert queued() == []


def test_batch_may_take_all_that_there_is(customer, wallet, service):
    fund(wallet, 3 * COST - 10)

    batch = buy(customer, *[item(service)] * 3)

    assert (kinds(batch), batch.balance) == ([Placed] * 3, Decimal(0))


def test_fault_in_the_middle_leaves_nothing(customer, service, monkeypatch):
    write = bulk.write_sale

    def second_fails(sale, **how):
        if Order.objects.exists():
            raise RuntimeError
        return write(sale, **how)

    monkeypatch.setattr(bulk, "write_sale", second_fails)

    with pytest.raises(RuntimeError):
        buy(customer, item(service), item(service))

    assert Order.objects.count() == 0


def test_number_of_items_is_limited(customer, service):
    with pytest.raises(TooManyOrders):
        buy(customer, *[item(service)] * (MAX_ORDERS + 1))
    with pytest.raises(InvalidOrder) as refused:
        buy(customer)

    assert [(p.field, p.code) for p in refused.value.problems] == [("orders", ProblemCode.REQUIRED)]
    assert Order.objects.count() == 0


# --- once per key ---------------------------------------------------------------------------------


def test_repeated_items_are_the_first_orders_and_cost_nothing(customer, wallet, service):
    first = buy(customer, item(service, 4000, key="a"), item(service, 3000, key=7))
    alone = place_order(
        customer=customer,
        currency="USD",
        draft=item(service, 500).draft,
        source=Source.REST,
        idempotency_key="b",
    )

    # There is money left for the last one only.
    again = buy(
        customer,
        item(service, "4000", key="a"),
        item(service, 501, key="b"),
        item(service, 3000, key="7"),
        item(service, 500, key="b"),
        item(service, 100),
    )

    assert kinds(again) == [Placed, IdempotencyKeyReused, Placed, Placed, Placed]
    assert ids(again)[:3] == [*ids(first), alone.order.pk]
    assert [one.replayed for one in again.placed] == [True, True, True, False]
    assert [one.balance_after for one in again.placed[:2]] == [
        one.balance_after for one in first.placed
    ]
    wallet.refresh_from_db()
    assert wallet.balance == again.balance == 10 - Decimal("7.6") * COST


def test_key_given_twice_in_a_batch_is_one_order(customer, service):
    batch = buy(
        customer,
        item(service, 5, key="a"),  # refused, and so does not use the key up
        item(service, key="a"),
        item(service, key="a"),
        item(service, 999, key="a"),
    )

    assert kinds(batch) == [InvalidOrder, Placed, Placed, IdempotencyKeyReused]
    assert ids(batch) == [Order.objects.get().pk] * 2
    assert [one.replayed for one in batch.placed] == [False, True]


@pytest.mark.parametrize(
    "key", [True, 1.5, ["a"], {"a": 1}, "x" * 256, "\t"], ids=lambda key: ascii(key)[:9]
)
def test_odd_key_of_an_item_refuses_that_item(customer, service, key):
    batch = buy(customer, item(service, key=key), item(service, key=""))

    assert kinds(batch) == [InvalidIdempotencyKey, Placed]
    assert Order.objects.get().idempotency_key is None


def test_repeated_batch_gets_the_first_answer_whatever_has_changed_since(customer, wallet, service):
    gone = ServiceFactory(disabled_by_staff=True)
    alone = ServiceFactory(same_link=SameLink.REFUSE)
    single = buy(customer, item(service, key="single")).placed[0]
    busy = buy(customer, item(alone)).placed[0].order
    items = [
        item(service, key="own"),
        item(service, 5, link=""),
        item(gone),
        item(10**30),
        item(alone),
        item(service, key="single"),
        item(service, 999, key="single"),
        item(service, key="\t"),
        item(service),
        item(service, key="own"),
    ]
    first = buy(customer, *items, key="x" * 255)
    # All that was refused could be had now, and what was placed no more.
    Service.objects.update(disabled_by_staff=False, min_quantity=1)
    Service.objects.filter(pk=service.pk).update(provider_rate=9)
    Order.objects.filter(pk=busy.pk).update(status=Status.COMPLETED)
    Order.objects.filter(pk=single.order.pk).update(idempotency_key="another")
    fund(wallet, 1 - first.balance)
    entries = JournalEntry.objects.count()

    again = buy(customer, *items, key="x" * 255)

    assert kinds(again) == [
        *(Placed, InvalidOrder, ServiceUnavailable, ServiceNotFound, LinkBusy),
        *(Placed, IdempotencyKeyReused, InvalidIdempotencyKey, Placed, Placed),
    ]
    assert told(again) == told(first)
    assert again.balance == first.balance == 10 - 4 * COST
    assert {one.replayed for one in again.placed} == {True}
    assert (Order.objects.count(), JournalEntry.objects.count()) == (4, entries)


def told(batch):
    """What each outcome says to the outside."""
    return [
        (one.order.pk, one.balance_after)
        if isinstance(one, Placed)
        else (type(one), getattr(one, "problems", ()))
        for one in batch.outcomes
    ]


def test_batch_of_which_nothing_was_placed_leaves_its_key_free(customer, service):
    first = buy(customer, item(service, 5), key="k")
    with pytest.raises(InsufficientFunds):
        buy(customer, item(service, 9000), key="k")
    Service.objects.update(min_quantity=1)

    again = buy(customer, item(service, 5), key="k")

    assert (kinds(first), kinds(again)) == ([InvalidOrder], [Placed])


def test_batch_whose_answer_cannot_be_kept_is_not_placed(customer, service, monkeypatch):
    def fails(**columns):
        raise RuntimeError

    monkeypatch.setattr(KeyedBatch.objects, "create", fails)

    with pytest.raises(RuntimeError):
        buy(customer, item(service), key="k")

    assert Order.objects.count() == 0


def test_keys_of_batches_are_each_customers_own(customer, service):
    other = WalletFactory(funds=10).user

    batches = [buy(one, item(service), key="k") for one in (customer, other)]

    assert [batch.placed[0].replayed for batch in batches] == [False, False]


def test_key_of_a_batch_takes_no_other_batch(customer, service):
    items = [item(service, 5), item(service), item(service, 2000)]
    buy(customer, *items, key="k")

    for others in (
        items[:1],
        items[1:],
        [*items, item(service)],
        [items[0], items[2], items[1]],
        [*items[:2], item(service, 2000, key="own")],
    ):
        with pytest.raises(IdempotencyKeyReused):
            buy(customer, *others, key="k")
    with pytest.raises(InvalidIdempotencyKey):
        buy(customer, *items, key=" ")

    assert Order.objects.count() == 2


# --- links ----------------------------------------------------------------------------------------


def test_one_order_a_link_holds_within_a_batch_too(customer, service):
    alone = ServiceFactory(same_link=SameLink.REFUSE)
    busy = OrderFactory(service=alone, customer=customer)

    batch = buy(
        customer,
        item(alone, link="https://instagram.com/one"),
        item(alone, link="https://www.instagram.com/one/"),
        item(service, link="https://instagram.com/one"),
        item(alone, link="https://instagram.com/two"),
    )
    Order.objects.filter(pk=busy.pk).update(link_key=batch.outcomes[3].order.link_key)

    again = buy(customer, item(alone, link="https://instagram.com/two"))

    assert kinds(batch) == [Placed, LinkBusy, Placed, Placed]
    assert kinds(again) == [LinkBusy]


def test_each_further_order_costs_a_fixed_number_of_statements(customer, service):
    services = [service, *(ServiceFactory(provider=service.provider) for _ in range(2))]

    def statements(number):
        with CaptureQueriesContext(connection) as counted:
            buy(customer, *map(item, services[:number]), key=f"{number}")
        return len(counted)

    assert statements(3) - statements(1) == 2 * PER_ORDER
