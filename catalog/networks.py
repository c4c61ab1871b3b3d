"""Which social network a heading of the trade is about."""

from __future__ import annotations

import re

from catalog.models import Network
from catalog.search import normalise

# Long names count inside a word too ("TikTokViews"), short ones only as a word of their own.
_WORDS = {
    Network.INSTAGRAM: r"instagram|\big\b|\binsta\b|\breels?\b",
    Network.TIKTOK: r"tik ?tok|\btt\b",
    Network.YOUTUBE: r"you ?tube|\byt\b",
    Network.FACEBOOK: r"facebook|\bfb\b",
    Network.TWITTER: r"twitter|\bx\b|\btweets?\b",
    Network.TELEGRAM: r"telegram|\btg\b",
    Network.SPOTIFY: r"spotify",
    Network.DISCORD: r"discord",
    Network.TWITCH: r"twitch",
    Network.LINKEDIN: r"linked ?in",
    Network.SNAPCHAT: r"snap ?chat",
    Network.THREADS: r"\bthreads\b",
    Network.WHATSAPP: r"whats ?app",
    Network.WEBSITE: r"\bweb ?sites?\b|\btraffic\b|\btrafik\b|\btrafic\b|\bseo\b",
}
_PATTERN = re.compile("|".join(f"(?P<{network}>{words})" for network, words in _WORDS.items()))


def guess_network(name: str) -> Network:
    """The network that a category's name mentions first; `Network.OTHER` for none."""
    found = _PATTERN.search(normalise(name))
    return Network(found.lastgroup) if found and found.lastgroup else Network.OTHER
