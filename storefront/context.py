"""What every template knows."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def shop(request: HttpRequest) -> dict[str, Any]:
    """The shop's brand, from the settings."""
    return {
        "store_name": settings.STORE_NAME,
        "store_tagline": settings.STORE_TAGLINE,
        "store_logo": settings.STORE_LOGO,
        "support_email": settings.SUPPORT_EMAIL,
    }
