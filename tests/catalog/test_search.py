"""The text that customers search is normalised, and follows every change of a name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.models import Network, Service
from catalog.networks import guess_network
from catalog.search import normalise
from tests.factories import CategoryFactory, ServiceFactory


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Takipçi ★ İSTANBUL", "takipci istanbul"),
        ("ıĞüŞöÇ", "igusoc"),
        ("𝐈𝐧𝐬𝐭𝐚𝐠𝐫𝐚𝐦 ℒikes", "instagram likes"),
        ("Abonnés français — Été", "abonnes francais ete"),
        ("  [HQ]  1K/Day | R30 ⚡️ ", "hq 1k day r30"),
        ("Straße", "strasse"),
        ("", ""),
    ],
)
def test_normalise_forgets_case_accents_and_signs(text, expected):
    assert normalise(text) == expected


@given(st.text())
def test_normalise_leaves_only_words_with_single_spaces_and_is_settled(text):
    normal = normalise(text)

    assert normal == " ".join(normal.split())
    assert all(character.isalnum() or character == " " for character in normal)
    assert normalise(normal) == normal


@pytest.mark.django_db
def test_saving_a_service_keeps_its_search_text():
    service = ServiceFactory(
        provider_name="Real Followers",
        category__source_name="Takipçi",
        category__network=Network.TWITTER,
    )
    assert service.search_text == "real followers takipci twitter"

    service.name = "Our Fans"
    service.save(update_fields=["name"])

    service.refresh_from_db()
    assert service.search_text == "our fans takipci twitter"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": "Heading"}, "likes heading instagram"),
        ({"source_name": "Other words"}, "likes other words instagram"),
        ({"network": Network.TIKTOK}, "likes takipci tiktok"),
        ({"network": Network.OTHER}, "likes takipci"),
    ],
)
def test_changing_a_category_renews_its_services_search_texts(change, expected):
    category = CategoryFactory(source_name="Takipçi")
    services = ServiceFactory.create_batch(2, category=category, provider_name="Likes")
    other = ServiceFactory()

    for field, value in change.items():
        setattr(category, field, value)
    category.save()

    texts = Service.objects.filter(pk__in=[s.pk for s in services]).values_list("search_text")
    assert list(texts) == [(expected,), (expected,)]
    assert Service.objects.get(pk=other.pk).search_text == other.search_text


@pytest.mark.django_db
@pytest.mark.parametrize("rows", [1, 3])
def test_renaming_a_category_takes_a_fixed_number_of_queries(django_assert_num_queries, rows):
    category = CategoryFactory()
    ServiceFactory.create_batch(rows, category=category)
    category.name = "Heading"

    # A savepoint around the UPDATE of the category, its services, and one UPDATE of them.
    with django_assert_num_queries(5):
        category.save()


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("Instagram Followers", Network.INSTAGRAM),
        ("🔥 𝐈𝐧𝐬𝐭𝐚𝐠𝐫𝐚𝐦 | Takipçi", Network.INSTAGRAM),
        ("IG Likes", Network.INSTAGRAM),
        ("TikTokViews cheap", Network.TIKTOK),
        ("YouTube Shorts for Facebook ads", Network.YOUTUBE),
        ("X (Twitter) Retweets", Network.TWITTER),
        ("FB Page Likes", Network.FACEBOOK),
        ("Telegram Post Views", Network.TELEGRAM),
        ("Threads Followers", Network.THREADS),
        ("Whatsapp Channel", Network.WHATSAPP),
        ("Website Traffic from Instagram", Network.WEBSITE),
        ("Big Xtra fig offers", Network.OTHER),
        ("", Network.OTHER),
    ],
)
def test_a_categorys_network_is_the_one_that_it_names_first(name, network):
    assert guess_network(name) == network
