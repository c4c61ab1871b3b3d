"""What is measured of a service's speed, from which orders, and when it is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from catalog.models import Service, ServiceFacts
from catalog.order_types import ServiceType
from orders import facts
from orders.models import DripFeed, Order
from orders.statuses import Status
from tests.factories import ServiceFactory, WalletFactory

pytestmark = pytest.mark.django_db

MINUTE, HOUR = 60, 3600


@pytest.fixture
def wallet(db):
    return WalletFactory()


@pytest.fixture
def service(db):
    return ServiceFactory()


def ended(
    service: Service,
    wallet: Any,
    *,
    status: str = Status.COMPLETED,
    started: int | None = HOUR,
    took: int = 2 * HOUR,
    ago: timedelta = timedelta(days=1),
    number: int = 1,
    **columns: Any,
) -> list[Order]:
    """Ended orders; `started` and `took` in seconds after they were made."""
    created = timezone.now() - ago - timedelta(seconds=took)
    columns = {"quantity": 1000, "external_id": "x", **columns}
    external = columns.pop("external_id")
    made = [
        Order.objects.create(
            customer=wallet.user,
            wallet=wallet,
            service=service,
            provider=service.provider,
            type=service.type,
            link="https://instagram.com/someone",
            source="web",
            fingerprint="0" * 64,
            currency="USD",
            charge=1,
            rate=1,
            provider_rate=1,
            exchange_rate=1,
            status=status,
            external_id=external and f"{Order.objects.count()}-{_}",
            **columns,
        )
        for _ in range(number)
    ]
    Order.objects.filter(pk__in=[order.pk for order in made]).update(
        created_at=created,
        started_at=None if started is None else created + timedelta(seconds=started),
        completed_at=created + timedelta(seconds=took),
        status_changed_at=created + timedelta(seconds=took),
    )
    return made


def measured(service: Service) -> ServiceFacts:
    facts.measure()
    return ServiceFacts.objects.get(service=service)


def test_times_are_averaged_and_ranked(service, wallet):
    for minutes in range(1, 11):
        ended(service, wallet, started=minutes * MINUTE, took=minutes * HOUR)

    found = measured(service)

    assert (found.start_average, found.start_median, found.start_p90) == (
        330,
        5 * MINUTE,
        9 * MINUTE,
    )
    assert (found.completion_average, found.completion_median, found.completion_p90) == (
        19_800,
        5 * HOUR,
        9 * HOUR,
    )
    assert (found.orders, found.completion_rate) == (10, 100)


def test_one_slow_order_of_ten_moves_the_average_and_not_the_rest(service, wallet):
    ended(service, wallet, took=HOUR, started=60, number=9)
    ended(service, wallet, took=101 * HOUR, started=60)

    found = measured(service)

    assert (found.completion_average, found.completion_median, found.completion_p90) == (
        11 * HOUR,
        HOUR,
        HOUR,
    )


def test_fewer_than_ten_tell_nothing(service, wallet):
    ended(service, wallet, number=9)

    found = measured(service)

    assert found.orders == 9
    assert [found.start_median, found.completion_median, found.completion_rate] == [None] * 3


@pytest.mark.parametrize(("quantity", "counts"), [(499, 0), (500, 1), (2000, 1), (2001, 0)])
def test_times_are_those_of_about_a_thousand_units(service, wallet, quantity, counts):
    ended(service, wallet, number=9)
    ended(service, wallet, quantity=quantity)

    found = measured(service)

    assert (found.completion_median is not None) == bool(counts)
    assert found.completion_rate == 100


@pytest.mark.parametrize(
    "columns",
    [
        {"max_quantity": 499},
        {"min_quantity": 2001, "max_quantity": 5000},
        {"type": ServiceType.PACKAGE},
    ],
    ids=["small", "large", "package"],
)
def test_services_without_such_orders_are_measured_at_any_size(wallet, columns):
    service = ServiceFactory(**columns)
    ended(service, wallet, number=10, quantity=1)

    assert measured(service).completion_median == 2 * HOUR


def test_start_counts_from_the_sending(service, wallet):
    orders = ended(service, wallet, number=10, started=HOUR)
    sent = Order.objects.get(pk=orders[0].pk).created_at + timedelta(minutes=50)
    Order.objects.update(sent_at=sent)

    found = measured(service)

    assert (found.start_median, found.completion_median) == (10 * MINUTE, 2 * HOUR)


def test_orders_of_unknown_start_are_not_guessed(service, wallet):
    ended(service, wallet, number=10, started=None)

    found = measured(service)

    assert (found.start_median, found.completion_median) == (None, 2 * HOUR)


def test_rate_counts_all_that_the_provider_had(service, wallet):
    ended(service, wallet, number=9, quantity=10)
    for status in (Status.PARTIAL, Status.REFUNDED, Status.FAILED, Status.CANCELLED):
        ended(service, wallet, status=status)
    # Refused outright: never had an id, and no time of completion.
    (refused,) = ended(service, wallet, status=Status.FAILED, external_id=None)
    Order.objects.filter(pk=refused.pk).update(completed_at=None)

    found = measured(service)

    # 9 of 14 are 64.28 %.
    assert (found.orders, found.completion_rate) == (14, 64)
    assert found.completion_median is None


def test_what_was_cancelled_before_sending_is_nobodys_failure(service, wallet):
    ended(service, wallet, number=10)
    ended(service, wallet, status=Status.CANCELLED, external_id=None)

    found = measured(service)

    assert (found.orders, found.completion_rate) == (10, 100)


def test_runs_count_and_their_drip_feed_does_not(service, wallet):
    (parent,) = ended(service, wallet, runs=10, external_id=None, took=500 * HOUR)
    DripFeed.objects.create(order=parent, runs=10, quantity=1000, interval=60)
    for run in range(1, 11):
        ended(service, wallet, parent=parent, run=run, took=HOUR, started=60)

    found = measured(service)

    assert (found.orders, found.completion_average) == (10, HOUR)


def test_drip_feeds_of_the_provider_count_in_the_rate_alone(service, wallet):
    ended(service, wallet, number=10, runs=5)

    found = measured(service)

    assert (found.completion_rate, found.completion_median) == (100, None)


def test_subscriptions_tell_nothing(wallet):
    service = ServiceFactory(type=ServiceType.SUBSCRIPTIONS)
    ended(service, wallet, number=10)

    assert facts.measure() == 0


def test_only_the_last_thirty_days_count(service, wallet):
    ended(service, wallet, number=10, ago=timedelta(days=29))
    ended(service, wallet, status=Status.FAILED, ago=timedelta(days=31))

    assert measured(service).orders == 10


def test_orders_under_way_do_not_count(service, wallet):
    ended(service, wallet, number=10)
    ended(service, wallet, status=Status.IN_PROGRESS)

    assert measured(service).orders == 10


def test_measuring_again_writes_only_what_changed(service, wallet, django_assert_num_queries):
    other = ServiceFactory()
    ended(service, wallet, number=10)
    ended(other, wallet, number=10)
    assert facts.measure() == 2
    before = ServiceFacts.objects.get(service=service).measured_at

    # Services of any size, orders, facts: nothing is written.
    with django_assert_num_queries(3):
        facts.measure()
    ended(other, wallet, took=HOUR, started=60)
    facts.measure()

    assert ServiceFacts.objects.get(service=service).measured_at == before
    assert ServiceFacts.objects.get(service=other).orders == 11
    assert ServiceFacts.objects.get(service=other).measured_at > before


def test_facts_older_than_the_window_are_forgotten(service, wallet):
    ServiceFacts.objects.create(service=service, orders=50, completion_rate=99)

    assert facts.measure() == 0
    assert not ServiceFacts.objects.exists()


def test_clocks_that_disagree_measure_no_negative_time(service, wallet):
    ended(service, wallet, number=10, started=-5, took=10)

    assert measured(service).start_median == 0
