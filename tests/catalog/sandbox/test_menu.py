"""The sandbox's catalogue."""

from __future__ import annotations

from collections import defaultdict

import pytest

from catalog.models import Network
from catalog.order_types import ORDER_TYPES, ChargedOn
from catalog.sandbox.menu import SHORTEST, menu


def test_menu_has_at_least_300_services_of_every_type() -> None:
    items = menu(SHORTEST)

    assert len(items) == SHORTEST >= 300
    assert {str(item.type) for item in items} == {str(name) for name in ORDER_TYPES}


def test_menu_has_several_categories_of_every_network() -> None:
    categories = defaultdict(set)
    for item in menu(SHORTEST):
        categories[item.category.split()[0].casefold()].add(item.category)

    names = {"x" if n == Network.TWITTER else n.value for n in Network if n != Network.OTHER}
    assert set(categories) == names
    assert {name for name, found in categories.items() if len(found) < 2} == {"whatsapp"}


@pytest.mark.parametrize("services", [SHORTEST, 10_000])
def test_every_item_can_be_sold(services: int) -> None:
    items = menu(services)

    assert len({item.id for item in items}) == len({item.name for item in items}) == services
    for item in items:
        assert item.name.strip()
        assert item.category.strip()
        assert item.description.strip()
        assert item.rate > 0
        assert 1 <= item.min <= item.max
        if ORDER_TYPES[item.type].charged_on is ChargedOn.PACKAGE:
            assert (item.min, item.max) == (1, 1)


def test_menu_has_what_makes_reading_hard() -> None:
    items = menu(SHORTEST)
    names = " ".join(item.name for item in items)

    assert all(text in names for text in ("&amp;", "&#39;", "Takipçi", "🇹🇷", "♻️"))
    assert all(
        {getattr(item, name) for item in items} == {True, False}
        for name in ("refill", "cancel", "dripfeed")
    )
    assert all(-item.rate.as_tuple().exponent == 7 for item in items)  # type: ignore[operator]


def test_longer_menu_begins_with_the_shorter_one() -> None:
    assert menu(2_000)[:SHORTEST] == menu(SHORTEST)
