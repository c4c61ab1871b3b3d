"""The sandbox's catalogue: made by code, the same at every start, worded as the trade words it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import count, islice
from zlib import crc32

from catalog.order_types import ServiceType

FIRST_ID = 1001


@dataclass(frozen=True)
class Item:
    """One service on sale. `rate` is USD per 1000, of one package where the type is a package."""

    id: int
    name: str
    category: str
    type: str
    rate: Decimal
    min: int
    max: int
    refill: bool
    cancel: bool
    dripfeed: bool
    description: str


@dataclass(frozen=True)
class _Line:
    """A product that is offered in several qualities."""

    category: str
    product: str
    rate: str  # USD per 1000 of the plainest quality
    minimum: int = 50
    maximum: int = 100_000
    type: str = ServiceType.DEFAULT


@dataclass(frozen=True)
class _Quality:
    tags: str
    factor: str
    refill: bool
    cancel: bool
    dripfeed: bool
    description: str


_T = ServiceType
_PACKAGES = frozenset({_T.PACKAGE, _T.CUSTOM_COMMENTS_PACKAGE})

_LINES = (
    _Line("Instagram Followers", "Instagram Followers", "0.62", 10, 500_000),
    _Line("Instagram Followers", "Instagram Takipçi 🇹🇷", "1.34", 50, 50_000),
    _Line("Instagram Likes", "Instagram Likes", "0.11", 10, 300_000),
    _Line("Instagram Likes", "Instagram Beğeni 🇹🇷", "0.27", 20, 40_000),
    _Line("Instagram Reels & Views", "Instagram Reels Views", "0.004", 100, 50_000_000),
    _Line("Instagram Reels & Views", "Instagram Story Views", "0.051", 20, 80_000),
    _Line(
        "Instagram Comments 💬", "Instagram Custom Comments", "4.8", 5, 5_000, _T.CUSTOM_COMMENTS
    ),
    _Line("Instagram Comments 💬", "Instagram Comment Likes", "0.9", 20, 10_000, _T.COMMENT_LIKES),
    _Line("Instagram Mentions", "Instagram Mentions", "2.1", 100, 50_000, _T.MENTIONS),
    _Line(
        "Instagram Mentions",
        "Instagram Mentions with Hashtags",
        "2.4",
        100,
        50_000,
        _T.MENTIONS_WITH_HASHTAGS,
    ),
    _Line(
        "Instagram Mentions",
        "Instagram Mentions Custom List",
        "3.2",
        10,
        20_000,
        _T.MENTIONS_CUSTOM_LIST,
    ),
    _Line(
        "Instagram Mentions", "Instagram Mentions Hashtag", "2.2", 100, 50_000, _T.MENTIONS_HASHTAG
    ),
    _Line(
        "Instagram Mentions",
        "Instagram Mentions User Followers",
        "2.6",
        100,
        50_000,
        _T.MENTIONS_USER_FOLLOWERS,
    ),
    _Line(
        "Instagram Mentions",
        "Instagram Mentions Media Likers",
        "2.5",
        100,
        50_000,
        _T.MENTIONS_MEDIA_LIKERS,
    ),
    _Line("Instagram Auto Likes", "Instagram Auto Likes", "0.35", 50, 20_000, _T.SUBSCRIPTIONS),
    _Line("Instagram Packages 🎁", "Instagram 1000 Followers + 500 Likes", "2.9", 1, 1, _T.PACKAGE),
    _Line("TikTok Followers", "TikTok Followers", "0.95", 10, 200_000),
    _Line("TikTok Likes", "TikTok Likes", "0.19", 10, 200_000),
    _Line("TikTok Views", "TikTok Views", "0.0021", 100, 100_000_000),
    _Line("TikTok Views", "TikTok İzlenme 🇹🇷", "0.0087", 100, 10_000_000),
    _Line("TikTok Live & Shares", "TikTok Live Views [15 min]", "1.9", 50, 5_000),
    _Line("TikTok Live & Shares", "TikTok Shares", "0.14", 100, 50_000),
    _Line("TikTok Comments", "TikTok Custom Comments", "5.6", 10, 2_000, _T.CUSTOM_COMMENTS),
    _Line("YouTube Subscribers", "YouTube Subscribers", "9.4", 50, 30_000),
    _Line("YouTube Views", "YouTube Views", "1.05", 500, 10_000_000),
    _Line("YouTube Likes", "YouTube Likes", "0.66", 10, 100_000),
    _Line("YouTube Watch Time", "YouTube Watch Time [60 min+]", "12.5", 100, 4_000),
    _Line("YouTube Comments", "YouTube Custom Comments", "7.2", 5, 3_000, _T.CUSTOM_COMMENTS),
    _Line("YouTube Comments", "YouTube Comment Replies", "8.1", 5, 3_000, _T.COMMENT_REPLIES),
    _Line("YouTube SEO", "YouTube Search Views by Keyword", "2.3", 500, 500_000, _T.SEO),
    _Line("Facebook Page Likes", "Facebook Page Likes + Followers", "1.15", 100, 100_000),
    _Line("Facebook Post Reactions", "Facebook Post Likes 👍", "0.48", 50, 50_000),
    _Line("Facebook Post Reactions", "Facebook Love Reactions ❤️", "0.52", 50, 50_000),
    _Line("Facebook Video Views", "Facebook Video Views", "0.083", 500, 5_000_000),
    _Line("Facebook Groups", "Facebook Group Members", "1.6", 100, 50_000),
    _Line("X (Twitter) Followers", "X (Twitter) Followers", "2.75", 50, 100_000),
    _Line("X (Twitter) Likes & Reposts", "X (Twitter) Likes", "1.22", 20, 50_000),
    _Line("X (Twitter) Likes & Reposts", "X (Twitter) Reposts", "1.48", 20, 50_000),
    _Line("X (Twitter) Views", "X (Twitter) Tweet Views", "0.006", 100, 10_000_000),
    _Line("X (Twitter) Polls", "X (Twitter) Poll Votes", "1.1", 50, 100_000, _T.POLL),
    _Line("Telegram Members", "Telegram Channel Members", "0.72", 100, 200_000),
    _Line("Telegram Post Views", "Telegram Post Views", "0.009", 50, 1_000_000),
    _Line("Telegram Reactions", "Telegram Positive Reactions 👍🔥❤️", "0.06", 20, 100_000),
    _Line(
        "Telegram Groups",
        "Telegram Invites from Groups",
        "5.9",
        100,
        20_000,
        _T.INVITES_FROM_GROUPS,
    ),
    _Line("Spotify Plays", "Spotify Plays", "0.31", 500, 10_000_000),
    _Line("Spotify Followers", "Spotify Artist Followers", "0.44", 20, 200_000),
    _Line("Spotify Saves", "Spotify Saves", "0.39", 20, 100_000),
    _Line("Discord Members", "Discord Offline Members", "1.85", 50, 20_000),
    _Line("Discord Members", "Discord Online Members", "4.65", 50, 5_000),
    _Line("Discord Packages", "Discord Server Boost x14 [1 Month]", "18.9", 1, 1, _T.PACKAGE),
    _Line("Twitch Followers", "Twitch Followers", "0.58", 10, 100_000),
    _Line("Twitch Live Viewers", "Twitch Live Viewers [30 min]", "2.45", 10, 5_000),
    _Line("LinkedIn Followers", "LinkedIn Followers", "6.8", 50, 20_000),
    _Line("LinkedIn Likes", "LinkedIn Post Likes", "7.4", 10, 5_000),
    _Line(
        "LinkedIn Packages",
        "LinkedIn 20 Custom Comments",
        "6.25",
        1,
        1,
        _T.CUSTOM_COMMENTS_PACKAGE,
    ),
    _Line("Snapchat Followers", "Snapchat Followers", "5.3", 50, 10_000),
    _Line("Snapchat Views", "Snapchat Spotlight Views", "1.4", 100, 200_000),
    _Line("Threads Followers", "Threads Followers", "2.2", 10, 50_000),
    _Line("Threads Likes", "Threads Likes", "1.7", 10, 30_000),
    _Line("WhatsApp Channel", "WhatsApp Channel Members", "3.1", 10, 20_000),
    _Line("WhatsApp Channel", "WhatsApp Channel Reactions", "1.9", 10, 20_000),
    _Line("Website Traffic", "Website Traffic from Google", "0.29", 500, 1_000_000, _T.WEB_TRAFFIC),
    _Line("Website Traffic", "Website Traffic from Social", "0.26", 500, 1_000_000, _T.WEB_TRAFFIC),
    _Line("Website SEO", "Website Backlinks by Keyword", "3.6", 100, 50_000, _T.SEO),
)

# "&amp;" and friends are on purpose: panels send names as their web pages hold them.
_QUALITIES = (
    _Quality(
        "[Mixed | No Refill | 50K/Day]", "1", False, True, True, "Start: 0-1 hour. No refill."
    ),
    _Quality(
        "[Real | 30 Days Refill | 10K/Day]",
        "1.6173",
        True,
        True,
        True,
        "Real looking accounts.\nStart: 0-30 minutes\nRefill: 30 days\nDrop: 0-5 %",
    ),
    _Quality(
        "[HQ &amp; Fast | 60 Days ♻️ | Instant]",
        "2.0419",
        True,
        False,
        False,
        "High quality &amp; fast.<br>Link: public profile or post.",
    ),
    _Quality(
        "[Old Accounts | 365 Days ♻️ | 5K/Day] ⭐",
        "3.1357",
        True,
        True,
        False,
        "⭐ Best of the list. &quot;Old&quot; accounts with posts.",
    ),
    _Quality(
        "[Gerçek | Telafili &#39;Ömür Boyu&#39; | 2K/Gün]",
        "4.2081",
        True,
        False,
        True,
        "Gerçek Türk hesaplar, düşüş olursa telafi edilir.",
    ),
)


def menu(services: int) -> tuple[Item, ...]:
    """The first `services` items of an endless list; an item is the same in every length.

    The first `SHORTEST` hold every type and every network.
    """
    return tuple(islice(_items(), services))


SHORTEST = len(_LINES) * len(_QUALITIES)


def _items() -> Iterator[Item]:
    number = FIRST_ID
    for server in count(1):
        for quality in _QUALITIES:
            for line in _LINES:
                yield _item(number, line, quality, server)
                # Real lists have gaps, where services were taken off.
                number += 2 if number % 7 == 0 else 1


def _item(number: int, line: _Line, quality: _Quality, server: int) -> Item:
    name = f"{line.product} {quality.tags}"
    if server > 1:
        name += f" [Server {server}]"
    uneven = Decimal(crc32(f"{number}:{name}".encode()) % 9973 + 1) / 10**5  # 0.00001 … 0.09973
    rate = Decimal(line.rate) * Decimal(quality.factor) * (1 + uneven)
    counted = line.type not in _PACKAGES
    return Item(
        id=number,
        name=name,
        category=line.category.replace("&", "&amp;"),
        type=line.type,
        rate=rate.quantize(Decimal("0.0000001")),
        min=line.minimum,
        max=line.maximum,
        refill=quality.refill and counted,
        cancel=quality.cancel,
        dripfeed=quality.dripfeed and line.type in (_T.DEFAULT, _T.WEB_TRAFFIC),
        description=quality.description,
    )
