"""How each network writes the addresses of its profiles, posts and groups.

A reader gets an address apart (`Address`) and says what it leads to, or that it cannot tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from catalog.models import LinkTarget, Network

PROFILE, POST, GROUP = LinkTarget.PROFILE, LinkTarget.POST, LinkTarget.GROUP


@dataclass(frozen=True)
class Found:
    """What an address leads to; `key` is the same for all forms of it within its network."""

    network: Network | None
    kind: LinkTarget | None
    name: str
    key: str


@dataclass(frozen=True)
class Address:
    """An address taken apart: `parts` of the path without empty ones, the query's first values."""

    host: str
    parts: tuple[str, ...]
    query: dict[str, str]

    def part(self, index: int) -> str:
        """One part of the path, lower case; "" beyond its end."""
        return self.parts[index].lower() if index < len(self.parts) else ""

    def raw(self, index: int) -> str:
        """One part of the path as it was written; "" beyond its end."""
        return self.parts[index] if index < len(self.parts) else ""


# (kind, name, key); None: no address that the network's reader knows.
_Answer = tuple[LinkTarget | None, str, str] | None
_Reader = Callable[[Address], _Answer]

# Parameters that tell where a visitor came from, and change nothing about where the link leads:
# anywhere, and (words that mean something elsewhere) at the networks.
_TRACKING = re.compile(
    r"(?:utm_.*|igshid?|igsh|fbclid|gclid|gbraid|wbraid|msclkid|twclid|ttclid|yclid|dclid|mc_[ce]id"
    r"|_ga|_gl|mibextid)",
    re.IGNORECASE,
)
_TRACKING_AT_NETWORKS = re.compile(
    r"(?:img_index|si|feature|pp|ab_channel|ref|refsrc|ref_src|ref_url|rdid|share_url|sfnsn|paipv"
    r"|eav|is_from_webapp|sender_device|web_id|is_copy_url|_r|_t|sender_web_id|lang|hl|share_app_id"
    r"|share_link_id|share_item_id|tt_from|social_share_type|xmt|trk|trackingid|originalsubdomain"
    r"|midtoken|rcm|sc_ua|sc_referrer|share_id|sid|nd|dl_branch|context|s|t|source|tracking"
    r"|__tn__|__cft__.*|__xts__.*|locale|_rdr|comment)",
    re.IGNORECASE,
)
_PLAIN_NAME = re.compile(r"@?[\w.\-]{1,100}")
# What stands before a network's own name, and leads to the same.
_SUBDOMAINS = re.compile(r"^(?:www\d?|m|mobile|mbasic|touch|web)\.(?=.*\.)")


def read_address(text: str) -> Found:
    """What the text, taken for an address, leads to. Never raises."""
    address = _taken_apart(text)
    if address is None:
        return Found(None, None, "", text.strip())
    for known, network, reader in _HOSTS:
        if address.host == known or address.host.endswith(f".{known}"):
            if _is_redirect(address):
                break
            plain = (None, "", _plain_key(address, _TRACKING_AT_NETWORKS))
            kind, name, key = reader(address) or plain
            return Found(network, kind, name, key)
    return Found(None, None, "", f"{address.host}{_plain_key(address)}")


def _taken_apart(text: str) -> Address | None:
    text = text.strip()
    if not re.match(r"[a-zA-Z][a-zA-Z0-9+.\-]*://", text):
        text = f"https://{text.lstrip('/')}"
    try:
        split = urlsplit(text)
        host = (split.hostname or "").rstrip(".")
        port = split.port
        query = dict(reversed(parse_qsl(split.query, max_num_fields=100)))
    except ValueError:
        return None
    if not host:
        return None
    host = _SUBDOMAINS.sub("", host)
    if port not in (None, 80, 443):
        host = f"{host}:{port}"
    parts = tuple(part for raw in split.path.split("/") if (part := unquote(raw).strip()))
    return Address(host, parts, query)


def _plain_key(address: Address, *more: re.Pattern[str]) -> str:
    dropped = (_TRACKING, *more)
    told = sorted(
        (name, value)
        for name, value in address.query.items()
        if not any(pattern.fullmatch(name) for pattern in dropped)
    )
    path = "/".join(address.parts)
    return f"/{path}?{urlencode(told)}" if told else f"/{path}"


def _is_redirect(address: Address) -> bool:
    """Whether the network only passes the visitor on to somewhere else."""
    return address.host.startswith(("l.", "lm.", "l-")) or address.part(0) in ("l.php", "redirect")


def _profile(name: str) -> _Answer:
    name = name.removeprefix("@")
    return (PROFILE, name, f"@{name.lower()}") if _PLAIN_NAME.fullmatch(name) else None


def _post(identity: str) -> _Answer:
    return (POST, "", f"post:{identity}") if identity else None


def _group(identity: str) -> _Answer:
    return (GROUP, "", f"group:{identity}") if identity else None


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_INSTAGRAM_PAGES = _words("share s explore accounts direct stories about legal web")
_INSTAGRAM_TABS = _words("reels tagged followers following channel feed saved") | {""}


def _instagram(a: Address) -> _Answer:
    first = a.part(0)
    if first in _INSTAGRAM_PAGES:
        # A share link has an id of its own, which does not tell the post's.
        is_post = first == "share" and a.part(1) in ("p", "reel", "reels") and a.raw(2)
        return _post(f"share:{a.raw(2)}") if is_post else None
    if first == "_u" or a.host == "ig.me":
        return _profile(a.raw(1))
    posts = ("p", "reel", "reels", "tv")
    if first in posts:
        return None if a.part(1) == "audio" else _post(a.raw(1))
    if a.part(1) in posts and a.raw(2):
        return _post(a.raw(2))
    if a.part(1) in _INSTAGRAM_TABS:
        return _profile(a.raw(0))
    return None


_TIKTOK_PAGES = _words(
    "foryou following explore discover music tag live upload login search about messages channel"
)


def _tiktok(a: Address) -> _Answer:
    if a.host.startswith(("vm.", "vt.")) or a.part(0) == "t":
        code = a.raw(1) if a.part(0) == "t" else a.raw(0)
        # A short link: to a profile, a video, a live stream.
        return (None, "", f"short:{code}") if code else None
    if a.part(1) in ("video", "photo") and a.raw(2):
        return _post(_digits(a.raw(2)))
    if a.part(0) in ("v", "embed", "share", "player"):
        last = a.parts[-1]
        return _post(_digits(last)) if last[0].isdigit() and a.part(1) != "user" else None
    if len(a.parts) == 1 and a.part(0) not in _TIKTOK_PAGES:
        return _profile(a.raw(0))
    return None


_YOUTUBE_TABS = _words(
    "videos shorts streams live playlists community posts about featured channels releases "
    "podcasts store search join"
) | {""}
_YOUTUBE_PAGES = _words(
    "feed results playlist hashtag gaming premium account about t trending music source "
    "attribution_link oembed redirect signin"
)


def _youtube(a: Address) -> _Answer:
    if a.host == "youtu.be":
        return _post(a.raw(0))
    first = a.part(0)
    if first == "watch":
        return _post(a.query.get("v", "") or a.raw(1))
    if first in ("shorts", "live", "embed", "v", "e", "clip", "post"):
        return _post(a.raw(1))
    if first == "channel" and a.raw(1) and a.part(2) in _YOUTUBE_TABS:
        # These ids are told apart by case.
        return PROFILE, "", f"channel:{a.raw(1)}"
    if first in ("c", "user") and a.raw(1) and a.part(2) in _YOUTUBE_TABS:
        return _profile(a.raw(1))
    is_name = first.startswith("@") or len(a.parts) == 1
    if is_name and first not in _YOUTUBE_PAGES and a.part(1) in _YOUTUBE_TABS:
        return _profile(a.raw(0))
    return None


_FACEBOOK_TABS = _words("about photos videos reels followers friends community posts") | {""}
_FACEBOOK_PAGES = _words(
    "events marketplace hashtag stories story.php media login home.php gaming live search help "
    "sharer sharer.php plugins dialog ads permalink.php photo.php photo photos business "
    "bookmarks messages watch share"
)


def _facebook(a: Address) -> _Answer:
    first, last = a.part(0), a.parts[-1] if a.parts else ""
    if a.host == "fb.me" or not a.parts:
        return None
    if first == "share":
        # A share link has an id of its own, which does not tell the post's.
        shared = {"p": _post, "v": _post, "r": _post, "g": _group}.get(a.part(1))
        return shared(f"share:{a.raw(2)}") if shared and a.raw(2) else None
    if post := _facebook_post(a, first, last):
        return post
    if first == "profile.php":
        return (PROFILE, "", f"id:{a.query['id']}") if a.query.get("id") else None
    if first == "groups":
        return _group(a.part(1)) if a.part(2) in ("", "about", "members", "media", "user") else None
    if first == "pg":
        return _profile(a.raw(1))
    if first in ("people", "pages", "p"):
        numbers = re.findall(r"\d{6,}", last)
        return (PROFILE, "", f"id:{numbers[-1]}") if numbers else None
    if len(a.parts) <= 2 and a.part(1) in _FACEBOOK_TABS and first not in _FACEBOOK_PAGES:
        return _profile(a.raw(0))
    return None


def _facebook_post(a: Address, first: str, last: str) -> _Answer:
    if a.host == "fb.watch":
        return _post(f"watch:{a.raw(0)}")
    for name in ("story_fbid", "fbid", "multi_permalinks"):
        if a.query.get(name):
            return _post(a.query[name])
    if first in ("watch", "reel", "reels", "videos", "video.php"):
        return _post(a.query.get("v", "") or ("" if first == "watch" else a.raw(1)))
    if first == "groups":
        return _post(a.raw(3)) if a.part(2) in ("posts", "permalink") else None
    if a.part(1) in ("posts", "videos", "photos", "permalink") and len(a.parts) > 2:
        return _post(last)
    return None


_TWITTER_TABS = _words("followers following with_replies media likes highlights photo") | {""}
_TWITTER_PAGES = _words(
    "home explore search hashtag notifications messages settings login share compose tos "
    "privacy jobs"
)


def _twitter(a: Address) -> _Answer:
    first = a.part(0)
    if first == "i":
        if a.part(1) == "communities" and a.raw(2):
            return _group(a.raw(2))
        if a.part(1) == "user":
            return None
        after = a.raw(3) if a.part(1) == "web" else a.raw(2)
        return _post(_digits(after)) if "status" in (a.part(1), a.part(2)) else None
    if first == "intent":
        return _profile(a.query.get("screen_name", ""))
    if a.part(1) in ("status", "statuses", "article") and a.raw(2):
        return _post(_digits(a.raw(2)))
    if a.part(1) in _TWITTER_TABS and first not in _TWITTER_PAGES:
        return _profile(a.raw(0)) if a.parts else None
    return None


_TELEGRAM_PAGES = _words(
    "share addlist addstickers addemoji proxy socks boost setlanguage login invoice addtheme "
    "confirmphone bg m"
)


def _telegram(a: Address) -> _Answer:
    parts = a.parts
    if a.host.endswith(".t.me"):
        parts = (a.host.removesuffix(".t.me"), *parts)
    elif a.part(0) == "s":
        parts = parts[1:]
    first, *rest = parts or ("",)
    if first.startswith("+") or first.lower() == "joinchat":
        invitation = first[1:] if first.startswith("+") else "".join(rest[:1])
        # "+" and digits only is a telephone number: a person.
        return None if invitation.isdigit() else _group(invitation)
    if first.lower() in _TELEGRAM_PAGES:
        return None
    if first == "c":
        return _post(f"c/{rest[0]}/{rest[-1]}") if len(rest) > 1 else None
    if rest:
        # Of a topic's post the topic stands between.
        return _post(f"{first.lower()}/{rest[-1]}") if rest[-1].isdigit() else None
    return _profile(first)


def _spotify(a: Address) -> _Answer:
    parts = a.parts[1:] if a.part(0).startswith("intl-") or a.part(0) == "embed" else a.parts
    if a.host in ("spotify.link", "spotify.app.link") or len(parts) < 2:
        return None
    kind, identity = parts[0].lower(), parts[1]
    if kind == "user" and len(parts) > 3 and parts[2].lower() == "playlist":
        kind, identity = "playlist", parts[3]
    targets = {"track": POST, "episode": POST, "album": POST, "artist": PROFILE, "user": PROFILE}
    # A playlist is played and followed: neither a profile nor a single track.
    if kind in targets or kind in ("playlist", "show"):
        return targets.get(kind), "", f"{kind}:{identity}"
    return None


def _discord(a: Address) -> _Answer:
    if a.host == "discord.gg":
        return _group(a.raw(0) if a.part(0) != "invite" else a.raw(1))
    match a.part(0):
        case "invite":
            return _group(a.raw(1))
        case "users" if a.raw(1):
            return PROFILE, "", f"id:{a.raw(1)}"
        case "channels" if a.raw(3):
            return _post(a.raw(3))
        case "channels" if a.part(1) not in ("", "@me"):
            return _group(f"id:{a.raw(1)}")
    return None


_TWITCH_TABS = _words("about videos clips schedule home followers") | {""}
_TWITCH_PAGES = _words("directory p settings subscriptions search downloads jobs turbo")


def _twitch(a: Address) -> _Answer:
    if a.host.startswith("clips."):
        return _post(a.raw(0))
    if a.host.startswith("player."):
        return _profile(a.query.get("channel", ""))
    if a.part(0) in ("videos", "v", "clip"):
        return _post(a.raw(1))
    if a.part(1) in ("clip", "v", "video", "c") and a.raw(2):
        return _post(a.raw(2))
    if a.part(0) not in _TWITCH_PAGES and a.part(1) in _TWITCH_TABS and a.parts:
        return _profile(a.raw(0))
    return None


def _linkedin(a: Address) -> _Answer:
    first = a.part(0)
    # "…-activity-7123456789-AbCd" and "urn:li:activity:7123456789" are one post.
    if first in ("posts", "feed", "embed"):
        numbers = re.findall(r"(?:activity|ugcpost|share)[-:](\d+)", "/".join(a.parts), re.I)
        return _post(numbers[-1]) if numbers else None
    if first in ("pulse", "video"):
        return _post(a.raw(len(a.parts) - 1)) if len(a.parts) > 1 else None
    if first == "groups":
        return _group(a.part(1))
    if first in ("in", "company", "school", "showcase", "pub") and a.raw(1):
        where = "" if first in ("in", "pub") else f"{first}/"
        name = a.raw(1)
        return PROFILE, name, f"@{where}{name.lower()}"
    return None


def _snapchat(a: Address) -> _Answer:
    if a.host.startswith(("t.", "story.", "map.")):
        return None
    if "spotlight" in (a.part(0), a.part(1)):
        identity = a.raw(1) if a.part(0) == "spotlight" else a.raw(2)
        return _post(identity)
    if a.part(0) == "add":
        return _profile(a.raw(1))
    if a.part(0) == "p" and a.raw(1):
        return PROFILE, "", f"id:{a.raw(1)}"
    return _profile(a.raw(0)) if a.raw(0).startswith("@") and len(a.parts) == 1 else None


def _threads(a: Address) -> _Answer:
    if a.part(0) == "t":
        return _post(a.raw(1))
    if a.part(1) == "post" and a.raw(2):
        return _post(a.raw(2))
    tabs = ("", "replies", "media", "reposts")
    if a.part(1) in tabs and a.part(0) not in ("search", "login", "activity", "saved", "liked"):
        return _profile(a.raw(0)) if a.parts else None
    return None


def _whatsapp(a: Address) -> _Answer:
    if a.host == "chat.whatsapp.com":
        return _group(a.raw(0) if a.part(0) != "invite" else a.raw(1))
    if a.part(0) == "channel" and a.raw(1):
        if a.raw(2):
            return _post(f"{a.raw(1)}/{a.raw(2)}")
        return PROFILE, "", f"channel:{a.raw(1)}"
    number = a.query.get("phone", "") if a.part(0) == "send" else a.raw(0)
    digits = number.lstrip("+ ").replace(" ", "")
    if digits.isdigit() and (a.host == "wa.me" or a.part(0) == "send"):
        return PROFILE, "", f"phone:{digits}"
    return None


def _digits(text: str) -> str:
    """The number that a text begins with: "123.html" is 123."""
    found = re.match(r"\d+", text)
    return found[0] if found else text


_HOSTS: tuple[tuple[str, Network, _Reader], ...] = (
    ("instagram.com", Network.INSTAGRAM, _instagram),
    ("instagr.am", Network.INSTAGRAM, _instagram),
    ("ig.me", Network.INSTAGRAM, _instagram),
    ("tiktok.com", Network.TIKTOK, _tiktok),
    ("youtube.com", Network.YOUTUBE, _youtube),
    ("youtube-nocookie.com", Network.YOUTUBE, _youtube),
    ("youtu.be", Network.YOUTUBE, _youtube),
    ("facebook.com", Network.FACEBOOK, _facebook),
    ("fb.com", Network.FACEBOOK, _facebook),
    ("fb.watch", Network.FACEBOOK, _facebook),
    ("fb.me", Network.FACEBOOK, _facebook),
    ("twitter.com", Network.TWITTER, _twitter),
    ("x.com", Network.TWITTER, _twitter),
    ("t.me", Network.TELEGRAM, _telegram),
    ("telegram.me", Network.TELEGRAM, _telegram),
    ("telegram.dog", Network.TELEGRAM, _telegram),
    ("spotify.com", Network.SPOTIFY, _spotify),
    ("spotify.link", Network.SPOTIFY, _spotify),
    ("discord.gg", Network.DISCORD, _discord),
    ("discord.com", Network.DISCORD, _discord),
    ("discordapp.com", Network.DISCORD, _discord),
    ("twitch.tv", Network.TWITCH, _twitch),
    ("linkedin.com", Network.LINKEDIN, _linkedin),
    ("snapchat.com", Network.SNAPCHAT, _snapchat),
    ("threads.net", Network.THREADS, _threads),
    ("threads.com", Network.THREADS, _threads),
    ("whatsapp.com", Network.WHATSAPP, _whatsapp),
    ("wa.me", Network.WHATSAPP, _whatsapp),
)
