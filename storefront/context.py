"""What every template knows."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts.models import User
from storefront.pages.purses import Purse, purses_of


def brand() -> dict[str, Any]:
    """The shop's brand, from the settings."""
    return {
        "store_name": settings.STORE_NAME,
        "store_tagline": settings.STORE_TAGLINE,
        "store_logo": settings.STORE_LOGO,
        "store_accent": settings.STORE_ACCENT,
        "support_email": settings.SUPPORT_EMAIL,
        # Each by its own name: Django would translate them into the reader's language.
        "languages": settings.LANGUAGES,
    }


def shop(request: HttpRequest) -> dict[str, Any]:
    """The brand, and the customer's own purse for the header (read only where it is shown)."""
    return {**brand(), "own_purse": SimpleLazyObject(lambda: _own_purse(request))}


def _own_purse(request: HttpRequest) -> Purse | None:
    user = getattr(request, "user", None)
    if not isinstance(user, User):
        return None
    return next(purse for purse in purses_of(user) if purse.currency == user.currency)
