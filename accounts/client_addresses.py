"""Clients' network addresses: read, compared with allowed networks, told apart."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

# Whoever has an IPv6 address has all of this network.
ONE_CLIENT = 64

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse(text: str) -> Address | None:
    """The address, an IPv4 one in IPv6's clothes as IPv4; None for a local socket or anything
    else that cannot be read."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def client_of(text: str) -> str:
    """What one client cannot change at will: its IPv4 address, or its IPv6 network."""
    address = parse(text)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, ONE_CLIENT), strict=False))
    return str(address or "")


def network(text: str) -> str:
    """A network as it is stored: 203.0.113.0/24, 2001:db8::/32; one address is a network of one,
    and one of IPv4 addresses in IPv6's clothes is theirs, as `parse` reads them.

    Raises ValueError.
    """
    given = ipaddress.ip_interface(text.strip())
    if isinstance(given, ipaddress.IPv6Interface) and (mapped := given.ip.ipv4_mapped):
        # A shorter prefix is no network of IPv4 addresses: it raises.
        return str(ipaddress.ip_network((mapped, given.network.prefixlen - 96), strict=False))
    return str(given.network)


def is_within(text: str, networks: Iterable[str]) -> bool:
    """Whether the address is in one of the networks; one that cannot be read is in none."""
    address = parse(text)
    return address is not None and any(
        address in ipaddress.ip_network(network) for network in networks
    )
