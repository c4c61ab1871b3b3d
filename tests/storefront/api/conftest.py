"""A customer with a funded XAF wallet and a key, and a service that costs 0.05 XAF a unit."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client

from accounts import api_keys, ledger
from accounts.models import ApiKey, User, Wallet
from catalog.models import Service
from tests.factories import (
    CategoryFactory,
    ExchangeRateFactory,
    ManualPriceFactory,
    ServiceFactory,
    UserFactory,
    WalletFactory,
)

# Statements of the gate: key and customer, limits (on SQLite asked before they are written), log.
GATE = 4 if connection.vendor == "sqlite" else 3


@dataclass
class Program:
    """A reseller's program: one customer's key, and the calls it makes."""

    user: User
    api_key: ApiKey
    text: str
    client: Client = field(default_factory=Client)

    @property
    def balance(self) -> Decimal:
        return ledger.wallet_of(self.user, self.api_key.currency).balance

    def get(self, path: str, query: Any = None, **headers: str) -> HttpResponse:
        return self.client.get(
            f"/api/v1{path}", query, headers={"X-API-Key": self.text, **_named(headers)}
        )

    def post(self, path: str, body: Any, **headers: str) -> HttpResponse:
        """A JSON body; text and bytes are sent as they stand."""
        return self.client.post(
            f"/api/v1{path}",
            body if isinstance(body, str | bytes) else json.dumps(body),
            content_type="application/json",
            headers={"X-API-Key": self.text, **_named(headers)},
        )

    def panel(self, action: str, **params: Any) -> Any:
        """What the panel dialect answers to a form."""
        response = self.client.post("/api/v2", {"key": self.text, "action": action, **params})
        assert response.status_code == 200
        return response.json()


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def program_of(user: User, currency: str = "XAF") -> Program:
    return Program(user, *api_keys.issue(user, name="program", currency=currency))


@pytest.fixture
def program(db: None) -> Program:
    """A program of a customer who has 500 XAF."""
    wallet: Wallet = WalletFactory(user=UserFactory(), currency="XAF", funds=500)
    return program_of(wallet.user)


@pytest.fixture
def service(db: None) -> Service:
    """10 to 10000 units at 0.05 XAF each."""
    ExchangeRateFactory()
    service: Service = ServiceFactory(
        provider_rate=Decimal("0.05"),
        provider_name="Instagram Followers [Real]",
        average_time="1-3 hours",
        category=CategoryFactory(source_name="Instagram"),
    )
    ManualPriceFactory(service=service, currency="XAF", rate=Decimal(50))
    return service
