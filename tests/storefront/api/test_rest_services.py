"""`GET /services` and `GET /balance` of the REST dialect."""

from __future__ import annotations

from decimal import Decimal

import pytest

from accounts import ledger
from catalog.models import Service, ServiceFacts
from storefront.api.rest.serializers import ServiceSerializer
from tests.factories import CategoryFactory, ServiceFactory, WalletFactory
from tests.storefront.api.conftest import GATE, program_of


def test_services_answers_exactly_as_the_contract(program, service):
    response = program.get("/services")

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.content.decode() == (
        f'{{"Instagram":[{{"id":{service.pk},"name":"Instagram Followers [Real]",'
        '"category":"Instagram","min_quantity":10,"max_quantity":10000,"price_per_unit":0.05,'
        '"currency":"XAF","average_time":"1-3 hours","type":"Default","description":"",'
        '"refill":false,"cancel":false,"dripfeed":false,"network":"instagram","completion_rate":null}]}'
    )


def test_services_shape_has_exactly_the_published_fields(program, service):
    (services,) = program.get("/services").json().values()

    assert list(services[0]) == list(ServiceSerializer().fields)


def test_services_are_grouped_by_category_in_shop_order(program, service):
    second = CategoryFactory(source_name="TikTok", position=2)
    first = CategoryFactory(source_name="x", name="Views", position=1)
    for category in (second, first, first):
        ServiceFactory(category=category, provider=service.provider)

    body = program.get("/services").json()

    assert {name: len(items) for name, items in body.items()} == {
        "Instagram": 1,
        "Views": 2,
        "TikTok": 1,
    }
    assert list(body) == ["Instagram", "Views", "TikTok"]


def test_prices_are_exact_and_in_the_keys_currency(program, service):
    Service.objects.filter(pk=service.pk).update(provider_rate=Decimal("0.0000000001"))
    in_dollars = program_of(program.user, "USD")

    response = in_dollars.get("/services")

    assert b'"price_per_unit":0.000001,"currency":"USD"' in response.content


@pytest.mark.parametrize(
    ("language", "text"),
    [("", "Données insuffisantes"), ("en", "Not enough data"), ("tr", "Yetersiz veri")],
)
def test_unknown_average_time_is_told_in_words(program, service, language, text):
    Service.objects.update(average_time="")

    response = program.get("/services", Accept_Language=language)

    assert response.json()["Instagram"][0]["average_time"] == text


@pytest.mark.parametrize(
    ("language", "text"), [("", "1-3 heures"), ("en", "1-3 hours"), ("tr", "1-3 saat")]
)
def test_average_time_is_measured_from_our_own_orders(program, service, language, text):
    ServiceFacts.objects.create(
        service=service,
        orders=10,
        completion_median=3600,
        completion_p90=10_800,
        completion_rate=98,
    )

    (shape,) = program.get("/services", Accept_Language=language).json()["Instagram"]

    assert (shape["average_time"], shape["completion_rate"]) == (text, 98)


def test_services_that_cannot_be_ordered_are_left_out(program, service):
    Service.objects.update(disabled_by_staff=True)

    response = program.get("/services")

    assert (response.status_code, response.content) == (200, b"{}")


def test_balance_is_exact(program):
    wallet = program.user.wallets.get()
    ledger.adjust(wallet, Decimal("-0.000001"), key="test", reason="test", actor=None)

    response = program.get("/balance")

    assert response.content == (
        b'{"balance":499.999999,"currency":"XAF","earnings":0.00,"withdrawable":0.00}'
    )


def test_balance_is_of_the_keys_own_currency(program):
    WalletFactory(user=program.user, currency="TRY", funds=7)

    assert program_of(program.user, "TRY").get("/balance").json()["balance"] == 7
    assert program_of(program.user, "USD").get("/balance").content == (
        b'{"balance":0.00,"currency":"USD","earnings":0.00,"withdrawable":0.00}'
    )


def test_balance_costs_one_query_beside_the_gates(program, django_assert_num_queries):
    program.get("/balance")

    with django_assert_num_queries(GATE + 1):
        program.get("/balance")
