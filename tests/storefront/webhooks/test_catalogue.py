"""`service.updated`: one event for each service that changed, in the customer's own currency."""

from __future__ import annotations

import json
from decimal import Decimal
from threading import Barrier

import pytest

from accounts import webhooks
from accounts.models import WebhookEvent
from accounts.twins import twin_of
from catalog.models import AnnouncedCatalogue, Service
from storefront.webhooks import bodies, catalogue
from storefront.webhooks.catalogue import announce
from tests.concurrency.together import PATIENCE, together
from tests.factories import ExchangeRateFactory, ManualPriceFactory, ServiceFactory, UserFactory


def listener(**fields):
    user = UserFactory(**fields)
    webhooks.create(user, url="https://example.com/hook", events=["service.updated"])
    return user


def told():
    """What was told since the last look: (customer, data of the body)."""
    events = WebhookEvent.objects.filter(body="").order_by("deliveries__pk")
    found = [(event.user, json.loads(bodies.render(event))["data"]) for event in events]
    events.update(body="{}")
    return found


@pytest.fixture
def service(db):
    ExchangeRateFactory()
    return ServiceFactory(category__source_name="Instagram", provider_name="Followers")


def test_price_and_limits_are_told_in_the_customers_currency(service):
    in_dollars, in_francs = listener(), listener(currency="XAF")
    announce()

    ManualPriceFactory(service=service, currency="USD", rate=Decimal("2.50"))
    events = announce()

    assert events == 1
    shape = {
        "id": service.pk,
        "name": "Followers",
        "category": "Instagram",
        "currency": "USD",
        "price_per_unit": 0.0025,
        "min_quantity": 10,
        "max_quantity": 10_000,
        "available": True,
        "previous": {"price_per_unit": 0.0013},
    }
    assert told() == [(in_dollars, shape)]

    Service.objects.update(min_quantity=20)
    announce()

    assert [(user, data["currency"], data["previous"]) for user, data in told()] == [
        (in_dollars, "USD", {"min_quantity": 10}),
        (in_francs, "XAF", {"min_quantity": 10}),
    ]


def test_availability_is_told(service):
    listener()
    announce()

    Service.objects.update(disabled_by_staff=True)
    announce()
    Service.objects.update(disabled_by_staff=False)
    added = ServiceFactory()
    announce()

    assert [(data["id"], data["available"], data["previous"]) for _, data in told()] == [
        (service.pk, False, {"available": True}),
        (service.pk, True, {"available": False}),
        (added.pk, True, {"available": False}),
    ]


def test_what_shows_no_other_price_or_limit_is_told_to_nobody(service):
    listener()
    announce()

    Service.objects.update(description="Another text")
    ManualPriceFactory(service=service, currency="USD", rate=Decimal("1.300000"))

    assert (announce(), told()) == (0, [])


def test_change_while_the_catalogue_is_read_is_told_the_next_time(service, monkeypatch):
    listener()
    announce()
    read = catalogue.catalogue

    def overtaken(currency):
        found = read(currency)
        Service.objects.update(min_quantity=20)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "catalogue", overtaken)
        Service.objects.update(description="Another text")
        first = announce()

    assert (first, announce()) == (0, 1)


def test_a_run_that_was_overtaken_by_another_tells_nothing(service, monkeypatch):
    listener()
    announce()
    Service.objects.update(min_quantity=20)
    read = catalogue.catalogue

    def overtaken(currency):
        found = read(currency)
        with monkeypatch.context() as patch:
            patch.setattr(catalogue, "catalogue", read)
            Service.objects.update(min_quantity=30)
            assert announce() == 1
        return found

    monkeypatch.setattr(catalogue, "catalogue", overtaken)

    assert announce() == 0
    assert [data["min_quantity"] for _, data in told()] == [30]


class Killed(BaseException):
    """The worker is gone."""


def test_killed_in_the_middle_it_goes_on_where_it_was(service, monkeypatch):
    listener(), listener()
    ServiceFactory.create_batch(2)
    announce()
    Service.objects.update(min_quantity=20)
    monkeypatch.setattr(catalogue, "SLICE", 2)  # one service's
    slices, record = [], webhooks.record

    def killed(happened):
        slices.append([one.subject for one in happened])
        record(happened)
        if len(slices) == 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "record", killed)
        with pytest.raises(Killed):
            announce()
    first = [data["id"] for _, data in told()]

    assert [len(one) for one in slices] == [2, 2]
    assert first == [service.pk] * 2
    assert (announce(), announce()) == (4, 0)
    rest = [data["id"] for _, data in told()]
    assert sorted(rest) == [service.pk + 1] * 2 + [service.pk + 2] * 2


def test_what_takes_too_long_is_told_by_the_next_run(service, monkeypatch):
    listener()
    ServiceFactory.create_batch(2)
    announce()
    Service.objects.update(min_quantity=20)
    monkeypatch.setattr(catalogue, "SLICE", 1)
    monkeypatch.setattr(catalogue, "BUDGET_SECONDS", 0)

    assert [announce() for _ in range(4)] == [1, 1, 1, 0]
    assert len(told()) == 3


def test_run_that_is_overtaken_between_slices_leaves_the_rest_to_the_other(service, monkeypatch):
    listener()
    ServiceFactory.create_batch(2)
    announce()
    Service.objects.update(min_quantity=20)
    monkeypatch.setattr(catalogue, "SLICE", 1)
    others, tell = [], catalogue._tell

    def overtaken(*args):
        done = tell(*args)
        with monkeypatch.context() as patch:
            patch.setattr(catalogue, "_tell", tell)
            others.append(announce())
        return done

    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "_tell", overtaken)
        mine = announce()

    assert (mine, others) == (1, [2, 0])
    assert len(told()) == 3


def test_nothing_of_before_the_first_listener_is_told(service):
    first = listener()
    announce()
    webhooks.disable(first.webhook_endpoints.get())
    announce()
    Service.objects.update(min_quantity=20)

    listener()

    assert (announce(), AnnouncedCatalogue.objects.count()) == (0, 1)


def test_only_those_who_want_it_are_told(service):
    other, suspended, owner = UserFactory(), listener(), UserFactory(currency="XAF")
    webhooks.create(other, url="https://example.com/hook", events=["order.created"])
    twin = twin_of(owner)
    webhooks.create(twin, url="https://example.com/hook", events=["service.updated"])
    announce()
    suspended.is_active = False
    suspended.save()

    Service.objects.update(min_quantity=20)
    announce()

    assert [(user, data["currency"]) for user, data in told()] == [(twin, "XAF")]


@pytest.mark.parametrize("services", [1, 3])
def test_telling_costs_the_same_for_one_and_three_services(
    service, services, django_assert_num_queries
):
    for _ in range(services - 1):
        ServiceFactory()
    listener()
    announce()

    with django_assert_num_queries(4):  # who listens; the others' rows; the version, old and new
        announce()
    Service.objects.update(min_quantity=20)
    with django_assert_num_queries(20):
        assert announce() == services


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_two_runs_at_once_tell_it_once(monkeypatch):
    ServiceFactory()
    listener()
    announce()
    Service.objects.update(min_quantity=20)
    read, both_have_read = catalogue.catalogue, Barrier(2, timeout=PATIENCE)

    def together_read(currency):
        found = read(currency)
        both_have_read.wait()
        return found

    monkeypatch.setattr(catalogue, "catalogue", together_read)

    assert sorted(together(announce, announce)) == [0, 1]
