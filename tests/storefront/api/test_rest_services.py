"""`GET /services` and `GET /balance` of the REST dialect."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import time_machine

from accounts import ledger
from catalog.models import Service, ServiceFacts
from storefront.api.conditional import accepts_gzip
from storefront.api.rest.serializers import ServiceSerializer
from tests.factories import CategoryFactory, ManualPriceFactory, ServiceFactory, WalletFactory
from tests.storefront.api.conftest import program_of


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


def test_unchanged_services_are_not_sent_again(program, service):
    first = program.get("/services")
    tag = first.headers["ETag"]

    again = program.get("/services", If_None_Match=f'"other", {tag}')
    weak = program.get("/services", If_None_Match=f"W/{tag}")
    other = program.get("/services", If_None_Match='"other"')
    changed_language = program.get("/services", If_None_Match=tag, Accept_Language="tr")
    Service.objects.update(average_time="")
    changed = program.get("/services", If_None_Match=tag)

    assert tag.startswith('"')
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert "Content-Type" not in again.headers
    assert (weak.status_code, other.status_code) == (304, 200)
    assert changed_language.status_code == 304
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag
    assert first.headers["Cache-Control"] == "private, no-cache"
    assert {name.strip() for name in first.headers["Vary"].split(",")} >= {
        "Accept-Encoding",
        "Accept-Language",
    }


def test_services_are_compressed_on_request(program, service):
    for _ in range(5):
        ServiceFactory(category=service.category, provider=service.provider)
    plain = program.get("/services")

    packed = program.get("/services", Accept_Encoding="br, gzip")
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=1)):
        later = program.get("/services", Accept_Encoding="gzip")
    cached = program.get("/services", Accept_Encoding="gzip", If_None_Match=plain.headers["ETag"])

    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.content) == plain.content
    assert packed.headers["Content-Length"] == str(len(packed.content))
    assert packed.headers["ETag"] == plain.headers["ETag"][:-1] + '-gzip"'
    assert later.content == packed.content
    assert "Content-Encoding" not in plain.headers
    assert cached.status_code == 304


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("identity", False),
        ("gzip", True),
        ("GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q = 0.000, *", False),
        ("*", True),
        ("*;q=0", False),
    ],
)
def test_accepts_gzip(header, accepted):
    assert accepts_gzip(header) is accepted


@pytest.mark.parametrize("rows", [1, 3])
def test_services_cost_the_same_for_one_and_three_rows(
    program, service, rows, django_assert_num_queries
):
    for _ in range(rows - 1):
        other = ManualPriceFactory(service=ServiceFactory(), currency="XAF", rate=1000).service
        ServiceFacts.objects.create(service=other, completion_rate=98)
    program.get("/balance")  # notes the key's use

    with django_assert_num_queries(6):  # key and customer; five of the catalogue
        response = program.get("/services")

    assert sum(map(len, response.json().values())) == rows


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


def test_balance_costs_two_queries(program, django_assert_num_queries):
    program.get("/balance")

    with django_assert_num_queries(2):
        program.get("/balance")
