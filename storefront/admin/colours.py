"""The admin in the shop's colours."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.templatetags.static import static
from unfold.settings import CONFIG_DEFAULTS

from storefront.pages.theme import Colour, is_colour, parse, shades

# How much of the accent is in each of the theme's shades; the rest is white or black.
_TINTS = {"50": 6, "100": 12, "200": 24, "300": 42}
_SHADES = {"700": 86, "800": 72, "900": 56, "950": 38}


def colours(request: HttpRequest) -> dict[str, dict[str, str]]:
    """The theme's palette around STORE_ACCENT, readable on light and dark ground."""
    palette: dict[str, Any] = deepcopy(CONFIG_DEFAULTS["COLORS"])
    if is_colour(settings.STORE_ACCENT):
        accent = parse(settings.STORE_ACCENT)
        # The theme writes white words on 600, and words in 500 on dark ground.
        solid = _css(shades(accent, dark=False).words)
        bright = _css(shades(accent, dark=True).words)
        palette["primary"] = {
            **{name: f"color-mix(in oklab, {solid} {n}%, white)" for name, n in _TINTS.items()},
            "400": bright,
            "500": bright,
            "600": solid,
            **{name: f"color-mix(in oklab, {solid} {n}%, black)" for name, n in _SHADES.items()},
        }
    return palette


def stylesheet(request: HttpRequest) -> str:
    """Our few rules beside the theme's."""
    return static("css/admin.css")


def favicon(request: HttpRequest) -> str:
    """The same as the shop's."""
    return static("img/mark.svg")


def _css(colour: Colour) -> str:
    return f"rgb({', '.join(str(round(part * 255)) for part in colour)})"
