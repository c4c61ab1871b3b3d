"""`/theme.css`: the shop's accent colour, as shades that stay readable in light and dark.

Any colour may be set. Its hue is kept; lightness moves only as far as the contrast demands:
4.5 for words, 3 for shapes (WCAG 2.2, 1.4.3 and 1.4.11).
"""

from __future__ import annotations

import colorsys
import re
from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.templatetags.static import static
from django.utils.cache import patch_cache_control
from django.utils.http import quote_etag
from django.views.decorators.http import condition

Colour = tuple[float, float, float]

WORDS, SHAPES = 4.5, 3.0
WHITE: Colour = (1.0, 1.0, 1.0)
INK: Colour = (0.047, 0.055, 0.078)
# The surfaces of static/css/tokens.css that accent words can stand on, lightest and darkest.
_LIGHT_SURFACES: tuple[Colour, ...] = (WHITE, (0.957, 0.961, 0.973))
_DARK_SURFACES: tuple[Colour, ...] = ((0.055, 0.063, 0.082), (0.133, 0.149, 0.188))
_DEFAULT = "#4338ca"


def is_colour(text: str) -> bool:
    """Whether the text is a colour that the shop can be given: #rgb or #rrggbb."""
    return re.fullmatch(r"#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})", text) is not None


def parse(text: str) -> Colour:
    """`#rgb` or `#rrggbb` as red, green and blue from 0 to 1."""
    digits = text[1:]
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    red, green, blue = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue


def contrast(one: Colour, other: Colour) -> float:
    """WCAG contrast ratio, 1 to 21."""
    brighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@dataclass(frozen=True)
class Shades:
    """The accent on one ground (light or dark)."""

    fill: Colour  # buttons, the paying wallet
    fill_hover: Colour
    on_fill: Colour  # words on both fills
    words: Colour  # links and accent words on any surface, and on `soft`
    soft: Colour  # a hint of the accent behind words


def shades(accent: Colour, *, dark: bool) -> Shades:
    """The accent's shades on light or dark ground; every pair of words and ground has 4.5."""
    surfaces = _DARK_SURFACES if dark else _LIGHT_SURFACES
    away = 1.0 if dark else 0.0
    fill = _moved(accent, surfaces, SHAPES, towards=away)
    on_fill = WHITE if contrast(fill, WHITE) >= WORDS else INK
    if contrast(fill, on_fill) < WORDS:
        # Between the two: a touch lighter for the dark words.
        fill = _moved(fill, (on_fill,), WORDS, towards=1.0)
    soft = _mixed(accent, surfaces[0], 0.2 if dark else 0.08)
    return Shades(
        fill=fill,
        # Hovering moves away from the words on it, so that their contrast can only grow.
        fill_hover=_mixed(fill, WHITE if on_fill == INK else INK, 0.86),
        on_fill=on_fill,
        words=_moved(accent, (*surfaces, soft), WORDS, towards=away),
        soft=soft,
    )


def stylesheet(accent: str) -> str:
    """The accent's tokens; a text that is no colour gives the built-in accent."""
    colour = parse(accent if is_colour(accent) else _DEFAULT)
    light, dark = shades(colour, dark=False), shades(colour, dark=True)
    tokens = "".join(
        f"--accent-{name}:light-dark({_hex(getattr(light, field))},{_hex(getattr(dark, field))});"
        for name, field in (
            ("fill", "fill"),
            ("fill-hover", "fill_hover"),
            ("on-fill", "on_fill"),
            ("words", "words"),
            ("soft", "soft"),
        )
    )
    return f"@layer tokens{{:root{{{tokens}}}}}\n"


@lru_cache(maxsize=8)
def _served(accent: str) -> tuple[str, str]:
    css = stylesheet(accent)
    return css, quote_etag(accent)


def _etag(request: HttpRequest) -> str:
    return _served(settings.STORE_ACCENT)[1]


@condition(etag_func=_etag)
def theme(request: HttpRequest) -> HttpResponse:
    """The stylesheet; addressed with the accent in its query, so it may be kept for long."""
    response = HttpResponse(_served(settings.STORE_ACCENT)[0], content_type="text/css")
    patch_cache_control(response, public=True, max_age=86_400)
    return response


def favicon(request: HttpRequest) -> HttpResponse:
    """Where browsers look for the icon of an answer that names none (an API's JSON)."""
    return redirect(static("img/mark.svg"))


def _luminance(colour: Colour) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _moved(colour: Colour, grounds: tuple[Colour, ...], wanted: float, *, towards: float) -> Colour:
    """The colour, its lightness moved towards 0 or 1 until it has the contrast on all grounds."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*colour)
    for step in range(101):
        moved = colorsys.hls_to_rgb(hue, lightness + (towards - lightness) * step / 100, saturation)
        # Compared as it is written, with 8 bits a channel.
        rounded = parse(_hex(moved))
        if all(contrast(rounded, ground) >= wanted for ground in grounds):
            return rounded
    return moved


def _mixed(colour: Colour, ground: Colour, share: float) -> Colour:
    red, green, blue = (c * share + g * (1 - share) for c, g in zip(colour, ground, strict=True))
    return parse(_hex((red, green, blue)))


def _hex(colour: Colour) -> str:
    return "#" + "".join(f"{round(max(0.0, min(1.0, c)) * 255):02x}" for c in colour)
