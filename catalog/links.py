"""Links as people paste them: what they lead to, and one form for all the ways of writing them.

Nothing is claimed unless it is sure: a false refusal loses a sale. How each network writes its
addresses stands in `catalog/addresses.py`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

from django.utils.translation import gettext as _

from catalog.addresses import Found, read_address
from catalog.models import LinkTarget, Network, Service
from catalog.order_types import ServiceType
from catalog.search import normalise

KEY_LIMIT = 255
_NAME = re.compile(r"[\w.\-]{1,64}")
# Networks that have profiles of their own; the others' links are any address.
_SOCIAL = frozenset(Network) - {Network.WEBSITE, Network.OTHER}
# One name is a person here and a group there.
_NAMES_GROUPS_TOO = frozenset({Network.TELEGRAM, Network.DISCORD, Network.WHATSAPP})


@dataclass(frozen=True)
class Link:
    """What a link leads to. `network` and `kind` are None where nothing sure can be said.

    `name` is somebody's, without @, as it was written. `key` is the same for all forms of one
    link, at most `KEY_LIMIT` characters.
    """

    network: Network | None
    kind: LinkTarget | None
    name: str
    key: str


@dataclass(frozen=True)
class LinkMismatch:
    """A link that clearly contradicts its service: either the networks differ, or the targets."""

    expected: Network | LinkTarget
    found: Network | LinkTarget


def read(text: str, *, home: Network | None = None) -> Link:
    """Understand a link. A bare name is somebody's profile, at `home` where that is given.

    Never raises; of what is no link at all, only the key is told.
    """
    text = text.strip()
    if home not in _SOCIAL:
        home = None
    if (found := _bare_name(text, home)) is None:
        found = read_address(text)
    place = found.network or ("name" if found.name else "web")
    return Link(found.network, found.kind, found.name, _bounded(f"{place}:{found.key}"))


def of_service(text: str, service: Service) -> Link:
    """The link as an order for this service means it."""
    return read(text, home=Network(service.category.network))


def expected(service: Service) -> tuple[Network | None, LinkTarget | None]:
    """What the service's links must lead to; None where anything may be right.

    As staff say, else as the names of the service and its category tell.
    """
    if service.link_target == LinkTarget.ANY or service.type == ServiceType.SUBSCRIPTIONS:
        return None, None
    names = f"{service.name} {service.provider_name} {service.category.shown_name}"
    home: Network | None = Network(service.category.network)
    if home not in _SOCIAL or _brands(names) - {home}:
        # Of several networks the names do not say which one the link is of.
        home = None
    if service.link_target:
        return home, LinkTarget(service.link_target)
    return home, _guessed_target(
        f"{service.shown_name} {service.category.shown_name}", service.type, home
    )


def mismatch(link: Link, service: Service) -> LinkMismatch | None:
    """How the link contradicts the service; None while it may be right."""
    network, target = expected(service)
    if network and link.network and link.network != network:
        return LinkMismatch(expected=network, found=link.network)
    if target and link.kind and not _fits(link, target):
        return LinkMismatch(expected=target, found=link.kind)
    return None


def words(link: Link) -> str:
    """ "Instagram, profile @name", in the active language; "" where nothing is known."""
    if link.network is None:
        return _("Profile @%(name)s") % {"name": link.name} if link.name else ""
    shown = {"network": link.network.label, "name": f"@{link.name}"}
    match link.kind:
        case LinkTarget.PROFILE if link.name:
            return _("%(network)s, profile %(name)s") % shown
        case LinkTarget.PROFILE:
            return _("%(network)s, a profile, page or channel") % shown
        case LinkTarget.POST:
            return _("%(network)s, a single post or video") % shown
        case LinkTarget.GROUP:
            return _("%(network)s, a group or invitation") % shown
        case _:
            return str(link.network.label)


def _bare_name(text: str, home: Network | None) -> Found | None:
    """ "@name" is a name everywhere, "name" too; "na.me" only where no site is meant."""
    name = text.removeprefix("@")
    if not _NAME.fullmatch(name) or not any(c.isalnum() for c in name):
        return None
    if name == text and "." in name and home is None:
        return None
    kind = None if name == text and _may_be_a_post(name, home) else LinkTarget.PROFILE
    return Found(home, kind, name, f"@{name.lower()}")


def _may_be_a_post(name: str, home: Network | None) -> bool:
    """Whether a bare word may be the id of a post or video instead of a name."""
    if name.isdigit():
        return True
    return home in (Network.YOUTUBE, Network.INSTAGRAM) and len(name) == 11 and name != name.lower()


def _fits(link: Link, target: LinkTarget) -> bool:
    if link.kind == target:
        return True
    neither_is_a_post = LinkTarget.POST not in (link.kind, target)
    return neither_is_a_post and (link.network is None or link.network in _NAMES_GROUPS_TOO)


def _bounded(key: str) -> str:
    # Halves of surrogate pairs can be stored nowhere, and hashed only this way.
    key = key.encode("utf-8", "backslashreplace").decode().replace("\x00", "")
    if len(key) <= KEY_LIMIT:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f"{key[: KEY_LIMIT - len(digest) - 1]}:{digest}"


# --- what the names of services tell --------------------------------------------------------------

# Only names that are nothing else: "reels", "tweets" and "x" stand in other networks' services.
_BRANDS = re.compile("|".join(network for network in Network if network in _SOCIAL))
# The shop's languages, and what sellers of English lists write; after `normalise`.
_OF_POSTS = re.compile(
    r"\b(?:likes?|views?|comments?|reposts?|retweets?|tweets?|shares?|saves?|votes?|reactions?"
    r"|impressions?|reach|upvotes?|repl(?:y|ies)|begeni(?:si|ler)?|izlenmes?i?|goruntulenmes?i?"
    r"|yorum(?:u|lar)?|paylasim|kaydetme|oy|tepki|j aimes?|vues?|commentaires?|partages?|avis)\b"
)
_OF_PROFILES = re.compile(
    r"\b(?:followers?|subscribers?|subs|takipci(?:si|ler)?|aboneler|abone|abonnes?|abonnees?)\b"
)
_OF_GROUPS = re.compile(r"\b(?:members?|membres?|uyeler|uye|invites?)\b")
# With these beside them, "likes" and "views" may well be of an account.
_UNSURE_OF_POSTS = re.compile(
    r"\b(?:profiles?|profil|pages?|sayfa|channels?|chaines?|kanal|account|compte|hesap|stor(?:y|ies)"
    r"|hikaye|highlights?|live|lives|livestream|streams?|canli|direct|auto\w*|otomatik|last|latest"
    r"|recent|future|next|new|all|son|gelecek|derniers?|dernieres?|prochain\w*|futurs?|every|each"
    r"|daily|monthly|packages?|package|paket\w*|pack|artists?|sanatci|playlists?|podcasts?|shows?"
    r"|groups?|groupes?|grup|servers?|serveurs?|sunucu|community|bots?|dm|messages?|reviews?"
    r"|website|random|any)\b"
)
_TYPES_OF_POSTS = frozenset(
    {ServiceType.COMMENT_LIKES, ServiceType.COMMENT_REPLIES, ServiceType.POLL}
)
# Their names tell who is mentioned ("User Followers"), not where.
_TYPES_OF_ANYTHING = frozenset(
    {
        ServiceType.MENTIONS,
        ServiceType.MENTIONS_WITH_HASHTAGS,
        ServiceType.MENTIONS_CUSTOM_LIST,
        ServiceType.MENTIONS_HASHTAG,
        ServiceType.MENTIONS_USER_FOLLOWERS,
        ServiceType.MENTIONS_MEDIA_LIKERS,
        ServiceType.WEB_TRAFFIC,
    }
)


@lru_cache(maxsize=1024)
def _brands(names: str) -> frozenset[Network]:
    text = normalise(names)
    return frozenset(Network(word) for word in _BRANDS.findall(text))


@lru_cache(maxsize=1024)
def _guessed_target(names: str, order_type: str, home: Network | None) -> LinkTarget | None:
    if order_type in _TYPES_OF_ANYTHING:
        return None
    text = normalise(names)
    posts = bool(_OF_POSTS.search(text)) or order_type in _TYPES_OF_POSTS
    # A page's likes are its followers.
    if posts and not _OF_POSTS.search(re.sub(r"\bpage likes?\b", " ", text)):
        posts = order_type in _TYPES_OF_POSTS
    profiles, groups = bool(_OF_PROFILES.search(text)), bool(_OF_GROUPS.search(text))
    if [posts, profiles, groups].count(True) != 1:
        return None
    if groups:
        return LinkTarget.GROUP
    if profiles:
        # Playlists and shows are followed too.
        return None if home == Network.SPOTIFY else LinkTarget.PROFILE
    return None if _UNSURE_OF_POSTS.search(text) else LinkTarget.POST
