"""Template tags: icons, exact money, numbers, ages, networks."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from babel.dates import format_timedelta
from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language
from lucide.templatetags.lucide import lucide

from accounts import formatting
from accounts.models import JournalEntry
from catalog import facts
from catalog.models import Network, Service
from orders.statuses import Status

register = template.Library()

# lucide draws no brands: a shape that says what people do there.
_NETWORK_ICONS: dict[str, str] = {
    Network.INSTAGRAM: "camera",
    Network.TIKTOK: "music-2",
    Network.YOUTUBE: "square-play",
    Network.FACEBOOK: "thumbs-up",
    Network.TWITTER: "at-sign",
    Network.TELEGRAM: "send",
    Network.SPOTIFY: "headphones",
    Network.DISCORD: "gamepad-2",
    Network.TWITCH: "tv",
    Network.LINKEDIN: "briefcase",
    Network.SNAPCHAT: "ghost",
    Network.THREADS: "hash",
    Network.WHATSAPP: "message-circle",
    Network.WEBSITE: "globe",
}
_STATUS_ICONS: dict[str, str] = {
    Status.PENDING: "clock",
    Status.PROCESSING: "hourglass",
    Status.IN_PROGRESS: "activity",
    Status.COMPLETED: "circle-check",
    Status.PARTIAL: "contrast",
    Status.CANCELLED: "circle-x",
    Status.REFUNDED: "undo-2",
    Status.FAILED: "triangle-alert",
}


def language() -> str:
    """The language of this page."""
    return get_language() or "en"


@register.simple_tag
def icon(name: str, size: int = 20) -> SafeString:
    """An icon for the eye only: the words beside it say the same."""
    return _drawn(str(name), size)


@lru_cache(maxsize=512)
def _drawn(name: str, size: int) -> SafeString:
    return mark_safe(lucide(name, size=size, **{"aria-hidden": "true", "focusable": "false"}))  # noqa: S308


@register.filter
def network_icon(network: str) -> str:
    """The icon's name for a network of the catalogue."""
    return _NETWORK_ICONS.get(network, "shapes")


@register.filter
def status_icon(status: str) -> str:
    """The icon's name for a public status."""
    return _STATUS_ICONS[status]


@register.simple_tag
def money(amount: Decimal, currency: str) -> SafeString:
    """An exact amount in figures of one width, never broken over lines."""
    return format_html(
        '<span class="money">{}</span>', formatting.money(amount, currency, language())
    )


@register.simple_tag
def money_text(amount: Decimal, currency: str) -> str:
    """The same as plain text, for attributes and titles."""
    return formatting.money(amount, currency, language())


@register.filter
def count(value: int | None) -> str:
    """A whole number with the language's separators; a dash for None."""
    return "–" if value is None else formatting.number(value, language())


@register.filter
def percent(value: int) -> str:
    """A whole number of percent as the language writes it."""
    return formatting.percent(value, language())


@register.filter
def average_time(service: Service) -> str:
    """How long an order of about 1000 units takes; never empty."""
    return facts.average_time(service)


@register.filter
def start_time(service: Service) -> str:
    """How long it takes until delivery begins, as measured; "" while it is not."""
    return facts.start_time(service)


@register.filter
def completion_rate(service: Service) -> int | None:
    """Percent of the orders that are delivered in full; None while there are few."""
    return facts.completion_rate(service)


@register.simple_tag
def age(moment: datetime) -> SafeString:
    """How long ago, as a <time> that static/js/page.js keeps true."""
    passed = max(int((timezone.now() - moment).total_seconds()), 1)
    words = format_timedelta(
        timedelta(seconds=-passed),
        threshold=1,
        add_direction=True,
        locale=language().replace("-", "_"),
    )
    return format_html('<time datetime="{}" data-age>{}</time>', moment.isoformat(), words)


@register.filter
def order_id(entry: JournalEntry) -> int | None:
    """The order that a movement of money is about, or None."""
    return entry.order_id
