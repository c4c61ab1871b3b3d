"""Readable test data: valid rows by default, money only through the ledger.

`ServiceFactory()` can be ordered and costs 1.30 USD per 1000 (rate 1, default markup 30 %).
`OrderFactory()` is paid from a wallet that was funded for it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import factory
from factory.django import DjangoModelFactory

from accounts import ledger
from accounts.models import ExchangeRate, User, Wallet
from accounts.money import Currency
from catalog.models import Category, ManualPrice, Network, Provider, SameLink, Service
from catalog.order_types import ServiceType
from orders.models import Order, Source
from orders.statuses import Status

PASSWORD = "correct horse battery staple"


class UserFactory(DjangoModelFactory[User]):
    """A customer who signs in with `PASSWORD`; `StaffFactory` makes a superuser."""

    class Meta:
        model = User

    email = factory.Sequence(lambda n: f"customer{n}@example.com")
    password = PASSWORD

    @classmethod
    def _create(cls, model_class: type[User], *args: Any, **kwargs: Any) -> User:
        return User.objects.create_user(**kwargs)


class StaffFactory(UserFactory):
    email = factory.Sequence(lambda n: f"staff{n}@example.com")
    is_staff = True
    is_superuser = True


class WalletFactory(DjangoModelFactory[Wallet]):
    """A wallet that holds `funds`, put there by a ledger adjustment."""

    class Meta:
        model = Wallet

    user = factory.SubFactory(UserFactory)
    currency = Currency.USD
    funds = Decimal(100)

    @classmethod
    def _create(cls, model_class: type[Wallet], *args: Any, **kwargs: Any) -> Wallet:
        wallet = ledger.wallet_of(kwargs["user"], kwargs["currency"])
        fund(wallet, Decimal(kwargs["funds"]) - wallet.balance)
        return wallet


_funding = iter(range(1, 10**9))


def fund(wallet: Wallet, amount: Decimal | int | str) -> None:
    """Give (or, negative, take) an amount by an adjustment; 0 does nothing."""
    if Decimal(amount):
        ledger.adjust(
            wallet, Decimal(amount), key=f"test:{next(_funding)}", reason="test", actor=None
        )


class ExchangeRateFactory(DjangoModelFactory[ExchangeRate]):
    class Meta:
        model = ExchangeRate

    base = "USD"
    quote = Currency.XAF
    rate = Decimal(600)


class ProviderFactory(DjangoModelFactory[Provider]):
    class Meta:
        model = Provider

    name = factory.Sequence(lambda n: f"Provider {n}")
    base_url = "http://127.0.0.1:9/api/v2"
    api_key = "upstream-key"
    currency = "USD"


class CategoryFactory(DjangoModelFactory[Category]):
    class Meta:
        model = Category

    source_name = factory.Sequence(lambda n: f"Instagram Followers {n}")
    network = Network.INSTAGRAM


class ServiceFactory(DjangoModelFactory[Service]):
    class Meta:
        model = Service

    provider = factory.SubFactory(ProviderFactory)
    category = factory.SubFactory(CategoryFactory)
    external_id = factory.Sequence(lambda n: str(1000 + n))
    provider_name = factory.Sequence(lambda n: f"Instagram Followers [Real] {n}")
    provider_category = factory.SelfAttribute("category.source_name")
    provider_type = factory.SelfAttribute("type")
    provider_rate = Decimal(1)
    min_quantity = 10
    max_quantity = 10_000
    type = ServiceType.DEFAULT
    # Tests of other things give many orders one link.
    same_link = SameLink.OFF


class ManualPriceFactory(DjangoModelFactory[ManualPrice]):
    class Meta:
        model = ManualPrice

    service = factory.SubFactory(ServiceFactory)
    currency = Currency.USD
    rate = Decimal(5)


class OrderFactory(DjangoModelFactory[Order]):
    """A paid order of 1000 units; `sent=True`: the provider has it and it is in progress.

    Give `wallet` to choose customer and currency. A wallet that does not hold the charge is funded.
    """

    class Meta:
        model = Order

    class Params:
        sent = factory.Trait(
            status=Status.IN_PROGRESS, external_id=factory.Sequence(lambda n: str(50_000 + n))
        )

    wallet = factory.SubFactory(WalletFactory)
    customer = factory.SelfAttribute("wallet.user")
    currency = factory.SelfAttribute("wallet.currency")
    service = factory.SubFactory(ServiceFactory)
    provider = factory.SelfAttribute("service.provider")
    type = factory.SelfAttribute("service.type")
    link = "https://instagram.com/someone"
    quantity = 1000
    source = Source.WEB
    fingerprint = "0" * 64
    charge = Decimal("1.30")
    rate = Decimal("1.30")
    provider_rate = factory.SelfAttribute("service.provider_rate")
    exchange_rate = Decimal(1)

    @classmethod
    def _create(cls, model_class: type[Order], *args: Any, **kwargs: Any) -> Order:
        order: Order = super()._create(model_class, *args, **kwargs)
        fund(order.wallet, max(order.charge - order.wallet.balance, Decimal(0)))
        ledger.charge(
            order.wallet, order.charge, key=f"{order.subject}:charge", subject=order.subject
        )
        return order
