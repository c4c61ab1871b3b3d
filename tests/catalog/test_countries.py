"""Countries as people write them."""

from __future__ import annotations

import pytest

from catalog.countries import WORLDWIDE, countries, country_code


@pytest.mark.parametrize("language", ["en", "fr", "tr"])
def test_every_country_is_understood_by_its_code_and_its_name(language):
    shown = countries(language)

    # Two names that differ in their accents only would be one: none are.
    assert {country_code(name) for name in shown.values()} == set(shown)
    assert [country_code(code.lower()) for code in shown] == list(shown)
    assert next(iter(shown)) == WORLDWIDE
    assert len(shown) > 240


@pytest.mark.parametrize("text", ["", " ", "EU", "ZZ", "XK1", "Europe", "u s", "\x00", "U" * 5000])
def test_what_names_no_country_is_none(text):
    assert country_code(text) is None
