"""Whose address is noted at a key: the client's, and nothing that a client invents."""

from __future__ import annotations

import pytest
from django.test import RequestFactory

from storefront.api.gate import client_address


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "", "198.51.100.7"),
        (0, "203.0.113.9", "198.51.100.7"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "192.0.2.1, 203.0.113.9", "203.0.113.9"),
        (2, "192.0.2.1, 203.0.113.9, 203.0.113.10", "203.0.113.9"),
        (1, "", "198.51.100.7"),
        (2, "203.0.113.9", "198.51.100.7"),
        (1, "nonsense", "198.51.100.7"),
    ],
)
def test_client_address_is_what_our_own_proxies_saw(settings, proxies, forwarded, address):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = proxies
    request = RequestFactory().get(
        "/api/v2", REMOTE_ADDR="198.51.100.7", headers={"X-Forwarded-For": forwarded}
    )

    assert client_address(request) == address
