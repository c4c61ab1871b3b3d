"""Understanding what people paste into the link field, to say it back to them.

Nothing is decided here: checkout accepts or refuses a link. This only names what it looks like.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from catalog.models import Network

_HOSTS: dict[str, Network] = {
    "instagram.com": Network.INSTAGRAM,
    "instagr.am": Network.INSTAGRAM,
    "tiktok.com": Network.TIKTOK,
    "youtube.com": Network.YOUTUBE,
    "youtu.be": Network.YOUTUBE,
    "facebook.com": Network.FACEBOOK,
    "fb.com": Network.FACEBOOK,
    "fb.watch": Network.FACEBOOK,
    "twitter.com": Network.TWITTER,
    "x.com": Network.TWITTER,
    "t.me": Network.TELEGRAM,
    "telegram.me": Network.TELEGRAM,
    "spotify.com": Network.SPOTIFY,
    "discord.gg": Network.DISCORD,
    "discord.com": Network.DISCORD,
    "twitch.tv": Network.TWITCH,
    "linkedin.com": Network.LINKEDIN,
    "snapchat.com": Network.SNAPCHAT,
    "threads.net": Network.THREADS,
    "threads.com": Network.THREADS,
    "whatsapp.com": Network.WHATSAPP,
    "wa.me": Network.WHATSAPP,
}
# First parts of a path that lead to one thing instead of somebody's page.
_THINGS = re.compile(
    r"^/(?:[^/]+/)?(?:p|reel|reels|tv|video|videos|watch|shorts|status|posts|post|track|album"
    r"|playlist|episode|stories|story|permalink|photo)(?:[/.]|$)"
)
_NAME = re.compile(r"[\w.\-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class Understood:
    """What a link looks like; `name` is set for somebody's page, with an @."""

    network: Network
    name: str = ""

    @property
    def words(self) -> str:
        """ "Instagram, profile @name", in the active language."""
        if self.name:
            return _("%(network)s, profile %(name)s") % {
                "network": self.network.label,
                "name": self.name,
            }
        return _("%(network)s, a single post or page") % {"network": self.network.label}


def understand(link: str) -> Understood | None:
    """What the link looks like; None where nothing sure can be said."""
    try:
        parts = urlsplit(link.strip() if "://" in link else f"https://{link.strip()}")
        host = (parts.hostname or "").lower()
    except ValueError:
        return None
    network = next((n for known, n in _HOSTS.items() if _is_within(host, known)), None)
    if network is None:
        return None
    first, _slash, rest = parts.path.strip("/").partition("/")
    is_short = host in ("youtu.be", "fb.watch", "discord.gg")
    name = first.removeprefix("@")
    if rest or is_short or _THINGS.match(parts.path) or not _NAME.fullmatch(name):
        return Understood(network)
    return Understood(network, f"@{name}")


def _is_within(host: str, known: str) -> bool:
    return host == known or host.endswith(f".{known}")
