"""The one table of order types: which fields an order takes and what it is charged on.

Read by the provider clients, pricing, checkout, the website's form and both API dialects.
Source: the market's panel dialect; `type` of a service selects the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from django.db import models
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class ServiceType(models.TextChoices):
    """Names are the market's own and appear in the APIs: they are not translated."""

    DEFAULT = "Default", "Default"
    PACKAGE = "Package", "Package"
    SEO = "SEO", "SEO"
    CUSTOM_COMMENTS = "Custom Comments", "Custom Comments"
    CUSTOM_COMMENTS_PACKAGE = "Custom Comments Package", "Custom Comments Package"
    MENTIONS = "Mentions", "Mentions"
    MENTIONS_WITH_HASHTAGS = "Mentions with Hashtags", "Mentions with Hashtags"
    MENTIONS_CUSTOM_LIST = "Mentions Custom List", "Mentions Custom List"
    MENTIONS_HASHTAG = "Mentions Hashtag", "Mentions Hashtag"
    MENTIONS_USER_FOLLOWERS = "Mentions User Followers", "Mentions User Followers"
    MENTIONS_MEDIA_LIKERS = "Mentions Media Likers", "Mentions Media Likers"
    COMMENT_LIKES = "Comment Likes", "Comment Likes"
    COMMENT_REPLIES = "Comment Replies", "Comment Replies"
    POLL = "Poll", "Poll"
    INVITES_FROM_GROUPS = "Invites from Groups", "Invites from Groups"
    SUBSCRIPTIONS = "Subscriptions", "Subscriptions"
    WEB_TRAFFIC = "Web Traffic", "Web Traffic"
    # Imported, listed for staff, never sold until staff map it to a type of the table.
    UNKNOWN = "Unknown", "Unknown"


class ChargedOn(StrEnum):
    """What the rate is multiplied with."""

    QUANTITY = "quantity"  # rate per 1000 × the quantity asked for
    PACKAGE = "package"  # rate is the price of one package
    COMMENTS = "comments"  # rate per 1000 × number of lines in `comments`
    USERNAMES = "usernames"  # rate per 1000 × number of lines in `usernames`
    POSTS = "posts"  # each post as it is served; the maximum is reserved


@dataclass(frozen=True)
class OrderType:
    """One row of the table. Field names are the panel dialect's parameter names."""

    fields: tuple[str, ...]
    charged_on: ChargedOn
    optional: tuple[str, ...] = ()


_QUANTITY, _PACKAGE = ChargedOn.QUANTITY, ChargedOn.PACKAGE

ORDER_TYPES: dict[str, OrderType] = {
    ServiceType.DEFAULT: OrderType(("link", "quantity"), _QUANTITY, ("runs", "interval")),
    ServiceType.PACKAGE: OrderType(("link",), _PACKAGE),
    ServiceType.SEO: OrderType(("link", "quantity", "keywords"), _QUANTITY),
    ServiceType.CUSTOM_COMMENTS: OrderType(("link", "comments"), ChargedOn.COMMENTS),
    ServiceType.CUSTOM_COMMENTS_PACKAGE: OrderType(("link", "comments"), _PACKAGE),
    ServiceType.MENTIONS: OrderType(("link", "quantity", "usernames"), _QUANTITY),
    ServiceType.MENTIONS_WITH_HASHTAGS: OrderType(
        ("link", "quantity", "usernames", "hashtags"), _QUANTITY
    ),
    ServiceType.MENTIONS_CUSTOM_LIST: OrderType(("link", "usernames"), ChargedOn.USERNAMES),
    ServiceType.MENTIONS_HASHTAG: OrderType(("link", "quantity", "hashtag"), _QUANTITY),
    ServiceType.MENTIONS_USER_FOLLOWERS: OrderType(("link", "quantity", "username"), _QUANTITY),
    ServiceType.MENTIONS_MEDIA_LIKERS: OrderType(("link", "quantity", "media"), _QUANTITY),
    ServiceType.COMMENT_LIKES: OrderType(("link", "quantity", "username"), _QUANTITY),
    ServiceType.COMMENT_REPLIES: OrderType(("link", "username", "comments"), ChargedOn.COMMENTS),
    ServiceType.POLL: OrderType(("link", "quantity", "answer_number"), _QUANTITY),
    ServiceType.INVITES_FROM_GROUPS: OrderType(("link", "quantity", "groups"), _QUANTITY),
    ServiceType.SUBSCRIPTIONS: OrderType(
        ("username", "min", "max", "delay"), ChargedOn.POSTS, ("posts", "old_posts", "expiry")
    ),
    ServiceType.WEB_TRAFFIC: OrderType(
        ("link", "quantity", "country", "device", "type_of_traffic"),
        _QUANTITY,
        ("runs", "interval", "google_keyword", "referring_url"),
    ),
}

# The types that checkout accepts: all that the table knows.
SOLD_TYPES = frozenset(ORDER_TYPES)


class FieldKind(StrEnum):
    """What a field holds, and so how it is read, drawn and published."""

    LINK = "link"  # as people paste it (catalog/links.py)
    URL = "url"  # the full address of a page, http or https
    NAME = "name"  # a user's name, with or without @
    TEXT = "text"  # one line
    LINES = "lines"  # a list: one entry a line
    NUMBER = "number"  # a whole number
    CHOICE = "choice"  # one of `choices`
    COUNTRY = "country"  # two letters or a name (catalog/countries.py)
    DATE = "date"  # d/m/Y, after today


@dataclass(frozen=True)
class FieldRule:
    """What may stand in a field, in every type that has it.

    `quantity`, `min` and `max` are limited by their service, which `minimum` does not replace.
    """

    kind: FieldKind
    minimum: int | None = None
    maximum: int | None = None
    choices: Mapping[str, str | Promise] | None = None  # value → what it means
    needed_if: tuple[str, str] | None = None  # (field, value): required then, unused otherwise


DEVICES: dict[str, str | Promise] = {
    "1": _("Computers"),
    "2": _("Phones (Android)"),
    "3": _("Phones (iOS)"),
    "4": _("All phones"),
    "5": _("Computers and phones"),
}
GOOGLE, REFERRER, DIRECT = "1", "2", "3"
TRAFFIC: dict[str, str | Promise] = {
    GOOGLE: _("From a Google search"),
    REFERRER: _("From another page"),
    DIRECT: _("Direct, from nowhere"),
}
# Beyond these a drip-feed or a subscription is a mistake in typing, not a wish.
_MONTH = 30 * 24 * 60

FIELDS: dict[str, FieldRule] = {
    "link": FieldRule(FieldKind.LINK),
    "quantity": FieldRule(FieldKind.NUMBER, minimum=1),
    "runs": FieldRule(FieldKind.NUMBER, minimum=1, maximum=1000),
    "interval": FieldRule(FieldKind.NUMBER, minimum=1, maximum=_MONTH),  # minutes
    "comments": FieldRule(FieldKind.LINES),
    "usernames": FieldRule(FieldKind.LINES),
    "hashtags": FieldRule(FieldKind.LINES),
    "keywords": FieldRule(FieldKind.LINES),
    "groups": FieldRule(FieldKind.LINES),
    "hashtag": FieldRule(FieldKind.TEXT),
    "username": FieldRule(FieldKind.NAME),
    "media": FieldRule(FieldKind.LINK),
    "answer_number": FieldRule(FieldKind.NUMBER, minimum=1, maximum=1000),
    "min": FieldRule(FieldKind.NUMBER, minimum=1),
    "max": FieldRule(FieldKind.NUMBER, minimum=1),
    "posts": FieldRule(FieldKind.NUMBER, minimum=0, maximum=10_000),
    "old_posts": FieldRule(FieldKind.NUMBER, minimum=0, maximum=10_000),
    "delay": FieldRule(FieldKind.NUMBER, minimum=0, maximum=600),  # minutes
    "expiry": FieldRule(FieldKind.DATE),
    "country": FieldRule(FieldKind.COUNTRY),
    "device": FieldRule(FieldKind.CHOICE, choices=DEVICES),
    "type_of_traffic": FieldRule(FieldKind.CHOICE, choices=TRAFFIC),
    "google_keyword": FieldRule(FieldKind.TEXT, needed_if=("type_of_traffic", GOOGLE)),
    "referring_url": FieldRule(FieldKind.URL, needed_if=("type_of_traffic", REFERRER)),
}

LIST_FIELDS = frozenset(name for name, rule in FIELDS.items() if rule.kind is FieldKind.LINES)

# New posts that a subscription asks for where the customer names no number.
DEFAULT_POSTS = 30


def lines_of(text: str) -> list[str]:
    """The entries of a list field: separated by line ends, empty lines do not count."""
    return [line.strip() for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
