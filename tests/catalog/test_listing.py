"""What the shop shows: services that can be ordered now, priced, in shop order."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.utils import timezone

from catalog import listing
from catalog.facts import completion_rate
from catalog.listing import Listed, NetworkCount, ServiceNotFound, ServiceUnavailable
from catalog.models import Network, Service, ServiceFacts
from catalog.order_types import ServiceType
from tests.factories import (
    CategoryFactory,
    ExchangeRateFactory,
    ManualPriceFactory,
    ProviderFactory,
    ServiceFactory,
)

pytestmark = pytest.mark.django_db

# What makes a service unorderable, one reason each.
UNORDERABLE = {
    "vanished": {"vanished_at": timezone.now()},
    "disabled by staff": {"disabled_by_staff": True},
    "type unknown": {"type": ServiceType.UNKNOWN},
    "no rate": {"provider_rate": None},
    "rate 0": {"provider_rate": Decimal(0)},
    "no limits": {"min_quantity": 1, "max_quantity": 0},
    "provider disabled": {"provider__enabled": False},
    "category disabled": {"category__enabled": False},
}


def shown(items: list[Listed]) -> list[Service]:
    return [listed.service for listed in items]


def search(**filters: object) -> list[Service]:
    found = listing.search(**{"currency": "USD", "limit": 100, **filters})
    assert found.total == len(found.items)
    return shown(found.items)


# --- catalogue ---------------------------------------------------------------------------------


def test_catalogue_is_in_shop_order_with_prices():
    last = CategoryFactory(position=2, source_name="A")
    first = CategoryFactory(position=1, source_name="Z")
    third = ServiceFactory(category=last)
    second = ServiceFactory(category=first, position=1)
    also_second = ServiceFactory(category=first, position=1)
    leading = ServiceFactory(category=first, position=0)

    listed = listing.catalogue("USD")

    assert shown(listed) == [leading, second, also_second, third]
    assert [item.price.rate for item in listed] == [Decimal("1.3")] * 4


@pytest.mark.parametrize("reason", UNORDERABLE)
def test_what_cannot_be_ordered_is_not_listed(reason):
    service = ServiceFactory(**UNORDERABLE[reason])

    assert listing.catalogue("USD") == []
    assert search() == []
    assert listing.networks() == []
    assert listing.categories() == []
    # The two ways of asking agree.
    assert not Service.objects.orderable().exists()
    assert not service.is_orderable


def test_a_service_without_an_exchange_rate_is_not_listed():
    ServiceFactory(provider__currency="EUR")
    in_xaf = ServiceFactory()
    ExchangeRateFactory(base="USD", quote="XAF")

    assert shown(listing.catalogue("XAF")) == [in_xaf]
    assert search(currency="XAF") == [in_xaf]


def test_an_inverse_exchange_rate_lists_a_service_too():
    service = ServiceFactory(provider__currency="XAF")
    ExchangeRateFactory(base="USD", quote="XAF")

    assert shown(listing.catalogue("USD")) == [service]
    assert search() == [service]


def test_the_shop_stays_open_when_a_providers_key_cannot_be_read(settings):
    service = ServiceFactory()
    settings.ENCRYPTION_KEYS = ["bmV3LWtleS1uZXcta2V5LW5ldy1rZXktbmV3LWtleS0="]

    assert shown(listing.catalogue("USD")) == [service]
    assert listing.find(service.pk, currency="USD").service == service


@pytest.mark.parametrize(
    ("call", "queries"),
    [
        # Rates, manual prices, services, providers, categories; a search also counts.
        (lambda: listing.catalogue("XAF"), 5),
        (lambda: listing.search(currency="XAF", text="insta", limit=10), 6),
        (listing.networks, 1),
        (listing.categories, 1),
    ],
    ids=["catalogue", "search", "networks", "categories"],
)
@pytest.mark.parametrize("rows", [1, 3])
def test_queries_do_not_depend_on_the_number_of_rows(
    django_assert_num_queries, call, queries, rows
):
    ExchangeRateFactory()
    for number, service in enumerate(ServiceFactory.create_batch(rows)):
        ManualPriceFactory(service=service, currency="XAF", rate=Decimal(900))
        if number:
            ServiceFacts.objects.create(service=service, completion_rate=98)

    with django_assert_num_queries(queries):
        found = call()
        items = [item for item in getattr(found, "items", found) if isinstance(item, Listed)]
        rates = {completion_rate(item.service) for item in items}
        assert all(item.service.category.shown_name for item in items)
        assert all(item.service.provider.currency for item in items)

    assert rates <= {None, 98}


# --- search ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "takipci",
        "TAKİPÇİ",
        "takipçi türk",
        "türk takip",
        "instagram",
        "ınstagram turk",
        "  takip — türk!  ",
        "",
        "★",
    ],
)
def test_search_finds_every_word_however_it_is_typed(text):
    service = ServiceFactory(
        provider_name="★ Türk Takipçi 𝐈𝐧𝐬𝐭𝐚", category__source_name="Instagram · Takipçi"
    )

    assert search(text=text) == [service]


@pytest.mark.parametrize("text", ["takipci youtube", "takipcix", "9" * 30])
def test_search_wants_every_word(text):
    ServiceFactory(provider_name="Türk Takipçi", category__source_name="Instagram")

    assert search(text=text) == []


def test_search_does_not_find_the_providers_name_where_ours_is_shown():
    ServiceFactory(provider_name="Secret supplier", name="Followers")

    assert search(text="secret") == []


def test_search_finds_a_service_by_its_id_first():
    other = ServiceFactory(provider_name="placeholder")
    service = ServiceFactory(provider_name="Followers")
    other.provider_name = f"Followers {service.pk} days"
    other.save()

    assert search(text=str(service.pk)) == [service, other]
    assert search(text=f"#{service.pk}")[0] == service


def test_search_ranks_beginnings_of_names_then_of_words_then_shop_order():
    category = CategoryFactory(source_name="Various", network=Network.OTHER)
    inside = ServiceFactory(provider_name="Superlikes", category=category)
    word = ServiceFactory(provider_name="Many likes", category=category)
    word_too = ServiceFactory(provider_name="Few likes", category=category)
    name = ServiceFactory(provider_name="Likes for photos", category=category)

    assert search(text="likes") == [name, word, word_too, inside]


def test_search_filters_by_network_and_category():
    instagram = ServiceFactory(category__network=Network.INSTAGRAM)
    youtube = ServiceFactory(category__network=Network.YOUTUBE)

    assert search(network="youtube") == [youtube]
    assert search(category_id=instagram.category_id) == [instagram]
    assert search(category_id=instagram.category_id, network="youtube") == []
    assert search(network="nonsense") == []
    assert search(category_id=10**30) == []


def test_search_pages_and_tells_the_total():
    services = ServiceFactory.create_batch(5, category=CategoryFactory())

    found = listing.search(currency="USD", limit=2, offset=2)

    assert (shown(found.items), found.total) == (services[2:4], 5)
    assert listing.search(currency="USD", limit=2, offset=9).items == []


def test_search_survives_any_amount_of_words():
    ServiceFactory(provider_name=" ".join(f"w{n}" for n in range(50)))

    assert len(search(text=" ".join(f"w{n}" for n in range(50)))) == 1


# --- one service -------------------------------------------------------------------------------


def test_find_gives_the_service_and_its_price():
    service = ServiceFactory()

    listed = listing.find(service.pk, currency="USD")

    assert (listed.service, listed.price.rate) == (service, Decimal("1.3"))


@pytest.mark.parametrize("service_id", [0, -1, 12345, 2**63 - 1, 10**30])
def test_find_refuses_an_unknown_id(service_id):
    with pytest.raises(ServiceNotFound):
        listing.find(service_id, currency="USD")


@pytest.mark.parametrize("reason", UNORDERABLE)
def test_find_tells_apart_what_is_never_sold_and_what_is_not_sold_now(reason):
    service = ServiceFactory(**UNORDERABLE[reason])
    expected = ServiceNotFound if reason.startswith("type") else ServiceUnavailable

    with pytest.raises(expected):
        listing.find(service.pk, currency="USD")


def test_find_refuses_a_service_that_has_no_price_in_the_currency():
    service = ServiceFactory(provider__currency="EUR")

    with pytest.raises(ServiceUnavailable):
        listing.find(service.pk, currency="USD")


# --- headings ----------------------------------------------------------------------------------


def test_networks_are_counted_in_their_order():
    ServiceFactory.create_batch(2, category__network=Network.YOUTUBE)
    ServiceFactory(category__network=Network.INSTAGRAM)
    CategoryFactory(network=Network.TIKTOK)

    assert listing.networks() == [
        NetworkCount(Network.INSTAGRAM, 1),
        NetworkCount(Network.YOUTUBE, 2),
    ]


def test_categories_are_those_with_services_in_shop_order():
    provider = ProviderFactory()
    second = ServiceFactory(
        provider=provider, category__position=2, category__network=Network.YOUTUBE
    ).category
    first = ServiceFactory(provider=provider, category__position=1).category
    ServiceFactory(provider=provider, category=first)
    CategoryFactory(position=0)

    assert listing.categories() == [first, second]
    assert listing.categories("youtube") == [second]
