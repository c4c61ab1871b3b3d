"""The examples of the developers' pages: whole programs, filled with the reader's own facts.

They stand as text files in templates/developers/code, a folder for each topic, a file for each
language. tests/storefront/test_examples.py runs them as the pages show them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import ApiKey, User
from catalog import links, listing
from catalog.models import Network
from catalog.order_types import ServiceType
from storefront.pages.purses import chosen_currency

LANGUAGES = {"curl": "curl", "php": "PHP", "python": "Python", "javascript": "JavaScript"}
PLACEHOLDER_KEY = "sk_test_your_key"
PLACEHOLDER_SECRET = "whsec_your_secret"
KEPT_SECONDS = 60

_FOLDER: Path = settings.BASE_DIR / "templates" / "developers" / "code"
# One of these suits nearly every plain service.
_LINKS = (
    "https://www.instagram.com/your_page",
    "https://www.instagram.com/p/Cx1aB2cD3eF/",
    "https://www.tiktok.com/@your_page",
    "https://www.youtube.com/watch?v=dQw4w9WgXcQ",
    "https://t.me/your_channel",
    "https://your-site.example.com/",
)
_LOOKED_AT = 20


@dataclass(frozen=True)
class Example:
    """An order that this shop would take: what the programs buy."""

    service: int
    link: str
    quantity: int


@dataclass(frozen=True)
class Facts:
    """What the programs are filled with."""

    site: str
    key: str
    example: Example


def facts_for(request: HttpRequest) -> Facts:
    """The shop's own address, a plain service, and what is known of the reader's key.

    A key's text is known to its owner alone, so of the reader's newest key (a sandbox key first)
    the visible prefix is shown, followed by "…"; to others a placeholder.
    """
    currency = chosen_currency(None, request.user)
    example = cache.get_or_set(
        f"developers:{currency}", lambda: _find_example(currency), KEPT_SECONDS
    )
    return Facts(
        site=request.build_absolute_uri("/").rstrip("/"),
        key=_key_of(request.user) if isinstance(request.user, User) else PLACEHOLDER_KEY,
        example=example or _find_example(currency),
    )


def sample(topic: str, language: str, facts: Facts) -> str:
    """The program of this topic in this language, as its reader copies it."""
    text = _text(topic, language)
    for placeholder, value in (
        ("https://shop.example.com", facts.site),
        ("YOUR_API_KEY", facts.key),
        ("YOUR_SECRET", PLACEHOLDER_SECRET),
        ("SERVICE_ID", str(facts.example.service)),
        ("SERVICE_LINK", facts.example.link),
        ("SERVICE_QUANTITY", str(facts.example.quantity)),
    ):
        text = text.replace(placeholder, value)
    return text


@lru_cache
def _text(topic: str, language: str) -> str:
    return (_FOLDER / topic / f"{language}.txt").read_text()


def _find_example(currency: str) -> Example:
    """A plain service, one of Instagram where there is one, and a link that suits it."""
    for network in (Network.INSTAGRAM, ""):
        found = listing.search(currency=currency, network=network, limit=_LOOKED_AT)
        for service in (listed.service for listed in found.items):
            if service.type != ServiceType.DEFAULT:
                continue
            for link in _LINKS:
                if links.mismatch(links.of_service(link, service), service) is None:
                    quantity = min(max(100, service.min_quantity), service.max_quantity)
                    return Example(service.pk, link, quantity)
    return Example(1, _LINKS[0], 100)


def _key_of(user: User) -> str:
    """The prefix of the customer's newest working key, a sandbox key before others."""
    keys = ApiKey.objects.filter(user=user, revoked_at=None).order_by("-sandbox", "-pk")
    now = timezone.now()
    newest = next((key for key in keys if not key.expires_at or key.expires_at > now), None)
    return f"{newest.prefix}…" if newest else PLACEHOLDER_KEY
