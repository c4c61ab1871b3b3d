"""Any accent colour gives readable pages."""

import pytest
from django.templatetags.static import static
from hypothesis import given
from hypothesis import strategies as st

from storefront.pages import theme


@given(st.integers(0, 0xFFFFFF), st.booleans())
def test_shades_keep_words_readable(colour, dark):
    shades = theme.shades(theme.parse(f"#{colour:06x}"), dark=dark)
    surfaces = theme._DARK_SURFACES if dark else theme._LIGHT_SURFACES

    pairs = [
        (shades.fill, shades.on_fill),
        (shades.fill_hover, shades.on_fill),
        *((shades.words, ground) for ground in (*surfaces, shades.soft)),
    ]

    assert min(theme.contrast(words, ground) for words, ground in pairs) >= 4.5


def test_contrast_of_black_and_white_is_21():
    assert round(theme.contrast(theme.parse("#000"), theme.parse("#ffffff")), 6) == 21


def test_an_accent_that_is_readable_already_is_kept():
    assert theme.shades(theme.parse("#4338ca"), dark=False).fill == theme.parse("#4338ca")


@pytest.mark.parametrize("text", ["red", "#12", "#12345g", "", "#4338ca;} body{", "#1234567"])
def test_what_is_no_colour_gives_the_built_in_accent(text):
    assert theme.stylesheet(text) == theme.stylesheet("#4338ca")


def test_stylesheet_is_served_once_and_then_remembered(client, settings):
    settings.STORE_ACCENT = "#0f766e"

    first = client.get("/theme.css")
    again = client.get("/theme.css", headers={"If-None-Match": first["ETag"]})

    assert first["Content-Type"] == "text/css"
    assert "--accent-fill:light-dark(#0f766e," in first.content.decode()
    assert (again.status_code, again.content) == (304, b"")


def test_a_new_accent_is_a_new_stylesheet(client, settings):
    settings.STORE_ACCENT = "#0f766e"
    first = client.get("/theme.css")

    settings.STORE_ACCENT = "#b91c1c"
    second = client.get("/theme.css", headers={"If-None-Match": first["ETag"]})

    assert second.status_code == 200


def test_icon_is_found_where_browsers_look(client):
    answer = client.get("/favicon.ico")

    assert (answer.status_code, answer.url) == (302, static("img/mark.svg"))
