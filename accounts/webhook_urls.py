"""Which addresses may be called for a customer: rules about the URL, and about the IP address.

The name is resolved, and the connection made, in `storefront/webhooks/targets.py`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import httpx2
from django.conf import settings
from django.utils.translation import gettext as _

# Below 1024 live the services of a machine: mail, names, remote shells.
_WEB_PORTS = frozenset({80, 443})
_OTHER_PORTS = range(1024, 65536)

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# What Python calls global and is not a host of the public internet: relays and tunnels, in which
# another address is wrapped, and examples of documents.
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        ("192.88.99.0/24", "192.0.0.0/24", "2001::/23", "2002::/16", "3fff::/20"),
    )
)
# The only part of IPv6 that is handed out to hosts. Mapped and translated IPv4 (::ffff:0:0/96,
# 64:ff9b::/96, 64:ff9b:1::/48), local and multicast addresses are all outside.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")


class UrlRefused(Exception):
    """Not an address that we call; the text says why, in the active language."""


@dataclass(frozen=True)
class Url:
    """An address that passed the rules, taken apart once, by the parser of the HTTP library.

    `host` as it is looked up: a name in ASCII, or an IP address without brackets. `netloc` and
    `path` as a request names them.
    """

    text: str
    scheme: str
    host: str
    port: int
    netloc: str
    path: str


def read_url(text: str) -> Url:
    """The address, taken apart. Raises UrlRefused."""
    if not text or not text.isprintable() or any(sign in text for sign in " \\"):
        raise UrlRefused(_("This is not a web address."))
    try:
        url = httpx2.URL(text)
        host = url.raw_host.decode("ascii").strip("[]")
    except (httpx2.InvalidURL, UnicodeError):
        raise UrlRefused(_("This is not a web address.")) from None
    if url.scheme not in ("http", "https") or not host or "%" in host:
        raise UrlRefused(_("This is not a web address."))
    if url.scheme == "http" and not settings.WEBHOOK_ALLOW_PRIVATE:
        raise UrlRefused(_("The address must begin with https://."))
    if url.userinfo:
        raise UrlRefused(_("The address may not hold a user name or password."))
    port = url.port or (443 if url.scheme == "https" else 80)
    if port not in _WEB_PORTS and port not in _OTHER_PORTS:
        raise UrlRefused(_("This port is not allowed."))
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        refuse_private(address)
    return Url(
        text=str(url),
        scheme=url.scheme,
        host=host,
        port=port,
        netloc=url.netloc.decode("ascii"),
        path=url.raw_path.decode("ascii"),
    )


def refuse_private(address: IPAddress) -> None:
    """Raises UrlRefused for an IP address that is no host of the public internet, unless private
    networks are allowed (development)."""
    if not settings.WEBHOOK_ALLOW_PRIVATE and not is_public(address):
        raise UrlRefused(_("The address must be reachable on the public internet."))


def is_public(address: IPAddress) -> bool:
    """Whether the IP address is a single host of the public internet."""
    if address.version == 6 and address not in _GLOBAL_UNICAST:
        return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in _NOT_PUBLIC)
    )
