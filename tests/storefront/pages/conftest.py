"""A customer who is signed in, with money and something to buy."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.test import Client

from accounts.models import User
from catalog.models import Network, Service
from tests.factories import CategoryFactory, ServiceFactory, UserFactory, WalletFactory


@pytest.fixture
def customer(db) -> User:
    return UserFactory(currency="USD", language="en")


@pytest.fixture
def wallet(customer):
    return WalletFactory(user=customer, currency="USD", funds=Decimal(10))


@pytest.fixture
def service(db) -> Service:
    """Costs 1.30 USD for 1000; 10 to 10,000."""
    category = CategoryFactory(source_name="Instagram Followers", network=Network.INSTAGRAM)
    return ServiceFactory(category=category, provider_name="Followers [Real]")


@pytest.fixture
def signed_in(client: Client, customer: User) -> Client:
    client.force_login(customer)
    return client


@pytest.fixture
def htmx() -> dict[str, str]:
    return {"HX-Request": "true"}
