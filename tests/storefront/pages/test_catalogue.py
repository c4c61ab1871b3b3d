"""The catalogue, a service's page and the home page."""

from __future__ import annotations

import pytest
from django.urls import reverse

from catalog.models import Network, ServiceFacts
from catalog.order_types import ServiceType
from storefront.pages.catalogue import PER_PAGE
from tests.factories import CategoryFactory, ServiceFactory

CATALOGUE, HOME = reverse("catalogue"), reverse("home")


def found(response) -> list:
    return [item.service for item in response.context["page"]]


@pytest.fixture
def views(db):
    category = CategoryFactory(source_name="TikTok Views", network=Network.TIKTOK, position=5)
    return ServiceFactory(category=category, provider_name="Video views")


def test_visitors_see_services_and_prices(client, service):
    response = client.get(CATALOGUE, {"currency": "USD"})

    assert found(response) == [service]
    assert "1.30\u00a0USD" in response.content.decode()


@pytest.mark.parametrize(
    ("language", "currency"), [("en", "USD"), ("fr", "XAF"), ("tr", "TRY"), ("de", "USD")]
)
def test_visitors_get_the_currency_that_their_language_suggests(client, db, language, currency):
    response = client.get(CATALOGUE, headers={"Accept-Language": language})

    assert response.context["currency"] == currency


def test_filters_narrow_the_list(client, service, views):
    asked = {"currency": "USD"}

    assert found(client.get(CATALOGUE, asked)) == [service, views]
    assert found(client.get(CATALOGUE, {**asked, "network": "tiktok"})) == [views]
    assert found(client.get(CATALOGUE, {**asked, "category": views.category_id})) == [views]
    assert found(client.get(CATALOGUE, {**asked, "q": "foLLowers"})) == [service]
    assert found(client.get(CATALOGUE, {**asked, "q": str(views.pk)})) == [views]


@pytest.mark.parametrize(
    "asked", [{"network": "myspace"}, {"category": "x"}, {"category": str(10**30)}]
)
def test_filters_that_do_not_exist_filter_nothing(client, service, asked):
    assert found(client.get(CATALOGUE, {"currency": "USD", **asked})) == [service]


def test_live_search_gets_the_list_alone(client, service, htmx):
    response = client.get(CATALOGUE, {"q": "followers", "currency": "USD"}, headers=htmx)

    assert "<html" not in response.content.decode()
    assert found(response) == [service]


def test_nothing_found_is_told(client, service):
    response = client.get(CATALOGUE, {"q": "zzzz", "currency": "USD"})

    assert "No service matches" in response.content.decode()


def test_long_catalogues_are_paged(client, service):
    ServiceFactory.create_batch(PER_PAGE, category=service.category, provider=service.provider)

    assert len(found(client.get(CATALOGUE, {"currency": "USD", "page": 2}))) == 1
    assert client.get(CATALOGUE, {"currency": "USD", "page": 3}).status_code == 404


@pytest.mark.parametrize("page", ["0", "-1", "x", "9" * 400, "100001"])
def test_pages_that_cannot_be_are_not_found(client, service, page):
    assert client.get(CATALOGUE, {"currency": "USD", "page": page}).status_code == 404


@pytest.mark.parametrize("services", [1, 3])
def test_list_costs_the_same_queries_however_many(
    client, service, services, django_assert_num_queries
):
    for other in ServiceFactory.create_batch(services - 1, category=service.category):
        ServiceFacts.objects.create(service=other, completion_rate=98)

    # exchange rates, count, services, providers, categories, manual prices; networks; categories
    with django_assert_num_queries(8):
        client.get(CATALOGUE, {"currency": "USD"})


def test_service_page_tells_limits_and_promises(client, service):
    text = client.get(reverse("service", args=[service.pk]), {"currency": "USD"}).content.decode()

    assert "10 – 10,000" in text
    assert "Without refill" in text
    assert "Cannot be cancelled once delivery has begun." in text
    assert "Not enough data" in text


def test_measured_time_and_rate_are_told(client, service):
    service.average_time = "what staff guess"
    service.save()
    ServiceFacts.objects.create(
        service=service,
        start_median=60,
        start_p90=300,
        completion_median=3600,
        completion_p90=10_800,
        completion_rate=98,
    )

    for address in (CATALOGUE, reverse("service", args=[service.pk])):
        text = client.get(address, {"currency": "USD"}).content.decode()
        assert "1-3 hours" in text
        assert "98%" in text
        assert "what staff guess" not in text


def test_guarantee_is_told_in_days(client, service):
    service.refill, service.refill_days = True, 30
    service.save()

    text = client.get(reverse("service", args=[service.pk]), {"currency": "USD"}).content.decode()

    assert "what drops off within 30 days of completion is delivered again" in text


def test_service_page_never_names_the_provider(client, service):
    service.provider.name = "AcmeUpstream"
    service.provider.save()

    text = client.get(reverse("service", args=[service.pk]), {"currency": "USD"}).content.decode()

    assert "AcmeUpstream" not in text
    assert service.external_id not in text.replace(str(service.pk), "")


@pytest.mark.parametrize(
    ("pk", "words"),
    [
        (10**40, "This service does not exist."),
        (999, "This service does not exist."),
    ],
)
def test_unknown_services_are_not_found(client, db, pk, words):
    response = client.get(f"/services/{pk}/")

    assert response.status_code == 404
    assert words in response.content.decode()


def test_services_that_are_not_sold_now_are_told_so(client, service):
    service.disabled_by_staff = True
    service.save()

    response = client.get(reverse("service", args=[service.pk]))

    assert response.status_code == 404
    assert "This service is not available at the moment." in response.content.decode()


def test_packages_are_priced_as_one(client, service):
    service.type = ServiceType.PACKAGE
    service.save()

    text = client.get(reverse("service", args=[service.pk]), {"currency": "USD"}).content.decode()

    assert "a package" in text


def test_home_shows_one_service_of_each_network(client, service, views):
    ServiceFactory(category=service.category)

    response = client.get(HOME, {"currency": "USD"})

    assert [item.service for item in response.context["offers"]] == [service, views]
    assert "All 3 services" in response.content.decode()


def test_home_of_an_empty_shop_promises_nothing(client, db):
    text = client.get(HOME).content.decode()

    assert "By network" not in text
    assert "How it works" in text


def test_home_is_worked_out_once_a_minute(client, service, django_assert_num_queries):
    client.get(HOME, {"currency": "USD"})

    with django_assert_num_queries(0):
        client.get(HOME, {"currency": "USD"})
