"""The guards that every test stands on do guard."""

from __future__ import annotations

import socket

import pytest


@pytest.mark.parametrize("method", ["connect", "connect_ex"])
@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("2001:db8::1", 80), ("example.com", 80)])
def test_other_addresses_than_loopback_are_not_dialled(method, address):
    with socket.socket() as client, pytest.raises(AssertionError, match="a test tried to reach"):
        getattr(client, method)(address)


def test_other_names_than_loopback_are_not_looked_up():
    with pytest.raises(AssertionError, match=r"a test tried to reach example\.com"):
        socket.create_connection(("example.com", 80))


def test_loopback_is_dialled():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
