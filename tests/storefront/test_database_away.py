"""The database away: every front says so, in its own shape, and when to come again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from accounts import api_keys
from storefront.errors import RETRY_AFTER
from tests.factories import WalletFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def key() -> str:
    return api_keys.issue(WalletFactory().user, name="test", currency="USD")[1]


@pytest.fixture
def away(key: str, client) -> Iterator[None]:
    """No new connection can be made: the server's socket, or the file's folder, is not there."""
    client.raise_request_exception = False
    place = "NAME" if connection.vendor == "sqlite" else "HOST"
    before = connection.settings_dict[place]
    connection.close()
    connection.settings_dict[place] = "/nowhere/at/all"
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict[place] = before


def assert_comes_again(response) -> None:
    assert response.status_code == 503
    assert response.headers["Retry-After"] == str(RETRY_AFTER)


def test_panel_dialect_says_so(client, key, away):
    response = client.post("/api/v2", {"key": key, "action": "balance"})

    assert_comes_again(response)
    assert response.json() == {"error": "Temporarily unavailable, try again"}


def test_rest_dialect_says_so(client, key, away):
    response = client.get("/api/v1/balance", headers={"X-API-Key": key, "Accept-Language": "en"})

    assert_comes_again(response)
    assert response.json() == {
        "error": "Service Unavailable",
        "message": "We cannot reach our records right now. Please try again in a few seconds.",
        "code": "temporarily_unavailable",
    }


def test_page_says_so(client, away):
    response = client.get("/services/")

    assert_comes_again(response)
    assert "We cannot reach our records right now" in response.content.decode()


def test_other_faults_stay_faults(client, monkeypatch):
    client.raise_request_exception = False

    def broken(*args, **kwargs):
        raise RuntimeError

    monkeypatch.setattr("catalog.listing.search", broken)
    response = client.get("/services/")

    assert response.status_code == 500
    assert "Retry-After" not in response.headers
