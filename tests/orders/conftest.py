"""Orders at the sandbox provider, for the tests of sending and following them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.db.models import Q
from django_q.models import OrmQ

from accounts.clock import from_now
from accounts.models import Alert, User, Wallet
from catalog.models import Provider, Service
from catalog.order_types import ServiceType
from catalog.providers import ProviderClient, UpstreamOrder
from catalog.providers.registry import client_for
from catalog.sandbox.menu import SHORTEST, menu
from orders import dispatch
from orders.models import Order
from orders.statuses import TRACKED, Status
from tests.books import breaches
from tests.factories import OrderFactory, ServiceFactory, WalletFactory
from tests.sandbox import SandboxInTest

LINK = "https://instagram.com/someone"
# Of an order of 1.30 from a wallet of 100.
SPENT, WHOLE = Decimal("98.70"), Decimal(100)
MENU = {item.type: item for item in reversed(menu(SHORTEST))}


@pytest.fixture(autouse=True)
def _own_data_folder(settings: Any, tmp_path: Path) -> None:
    """Jobs that want to be alone are told by files there; other tests run at the same time."""
    settings.DATA_DIR = tmp_path


@pytest.fixture
def books() -> Iterator[None]:
    """The books add up when the test is over."""
    yield
    assert breaches() == []


@pytest.fixture
def wallet(db: None) -> Wallet:
    """Holds 10 USD."""
    return WalletFactory(funds=10)


@pytest.fixture
def customer(wallet: Wallet) -> User:
    return wallet.user


@pytest.fixture
def service(db: None) -> Service:
    """1.30 USD per 1000."""
    return ServiceFactory()


@pytest.fixture
def provider(db: None, sandbox: SandboxInTest) -> Provider:
    """The sandbox, as a provider of the store."""
    return sandbox.provider()


@pytest.fixture
def order(provider: Provider) -> Order:
    """A paid order of the sandbox that waits to be sent; 1.30 of its wallet's 100 are spent."""
    return waiting(provider)


def waiting(provider: Provider, *, order_type: str = ServiceType.DEFAULT, **columns: Any) -> Order:
    """A paid order that waits to be sent to the sandbox."""
    item = MENU[order_type]
    service = provider.services.filter(external_id=str(item.id)).first() or ServiceFactory(
        provider=provider, external_id=str(item.id), type=order_type
    )
    return OrderFactory(service=service, **columns)


def sent(provider: Provider, sandbox: SandboxInTest, **columns: Any) -> Order:
    """An order that the sandbox has taken and whose next check has come."""
    order = waiting(provider, **columns)
    dispatch.dispatch(provider)
    make_due()
    order.refresh_from_db()
    assert order.status == Status.PROCESSING
    return order


def make_due() -> None:
    """Let every pause, and every interval between checks, be over; what is never sent, or asked
    about no more, stays so."""
    past = from_now(timedelta(minutes=-1))
    Order.objects.exclude(send_after=None).update(send_after=past)
    Order.objects.filter(
        Q(status__in=TRACKED, external_id__isnull=False) | Q(next_check_at__isnull=False)
    ).update(next_check_at=past)
    Provider.objects.exclude(funds_wait_until=None).update(funds_wait_until=past)
    Provider.objects.exclude(breaker_until=None).update(breaker_until=past)


def let_leases_run_out() -> None:
    """Let the jobs that are sending orders be long overdue."""
    Order.objects.filter(status=Status.SENDING).update(lease_until=from_now(timedelta(seconds=-1)))


def open_alerts() -> set[tuple[str, str]]:
    """Code and subject of what staff are being told."""
    return set(Alert.objects.filter(resolved_at=None).values_list("code", "subject"))


class Meanwhile:
    """The provider's own client, with something that happens between its answer and its record.

    `happening` runs in the dispatcher's thread, with a database connection of its own.
    """

    def __init__(self, client: ProviderClient, happening: Callable[[], object]) -> None:
        self.client, self.happening = client, happening

    def add(self, order: UpstreamOrder) -> str:
        try:
            return self.client.add(order)
        finally:
            try:
                self.happening()
            finally:
                connections.close_all()


@pytest.fixture
def meanwhile(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[], object]], None]:
    """`meanwhile(f)`: `f` happens after the provider has answered and before that is recorded."""
    return lambda happening: monkeypatch.setattr(
        dispatch, "client_for", lambda provider: Meanwhile(client_for(provider), happening)
    )


def balance(order: Order) -> Decimal:
    """What the order's wallet holds now."""
    order.wallet.refresh_from_db()
    return order.wallet.balance


def adds(sandbox: SandboxInTest) -> list[Mapping[str, str]]:
    """The calls with which the sandbox was asked to sell."""
    return [call for call in sandbox.calls if call["action"] == "add"]


def queued() -> list[tuple[Any, ...]]:
    """The jobs that wait, in order; they are taken off the queue."""
    jobs = [
        (job.task["func"].removeprefix("orders.tasks."), *job.task["args"])
        for job in OrmQ.objects.order_by("pk")
    ]
    OrmQ.objects.all().delete()
    return jobs
