"""Our own APIs, asked by our own clients over real sockets: another store that resells from us."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from catalog.models import Service
from catalog.providers import (
    NotOffered,
    ProviderClient,
    ProviderOutOfFunds,
    ProviderRefused,
    UpstreamOrder,
    UpstreamState,
)
from catalog.providers.panel import PanelClient
from catalog.providers.rest import RestClient
from orders.models import Order
from orders.statuses import Status
from tests.storefront.api.conftest import Program

LINK = "https://www.instagram.com/somebody"


@pytest.fixture(params=["panel", "rest"])
def client(
    request: pytest.FixtureRequest, live_server: Any, program: Program, unrepeated_reads: None
) -> ProviderClient:
    """Another store's client of ours; the customer has 500 XAF."""
    times = {"key": program.text, "connect_timeout": 5, "read_timeout": 20}
    if request.param == "rest":
        return RestClient(url=f"{live_server.url}/api/v1", **times)
    return PanelClient(url=f"{live_server.url}/api/v2", **times)


def order_of(service: Service, quantity: int = 1000, reference: str = "") -> UpstreamOrder:
    fields = {"link": LINK, "quantity": str(quantity)}
    return UpstreamOrder(str(service.pk), fields, reference=reference)


def test_store_is_bought_from_in_its_own_dialects(client: ProviderClient, service: Service) -> None:
    (offer,) = client.services().offers
    external_id = client.add(order_of(service))

    report = client.statuses([external_id, "999999"])

    assert (offer.external_id, offer.type, offer.rate) == (str(service.pk), "Default", Decimal(50))
    assert (offer.min_quantity, offer.max_quantity) == (10, 10_000)
    assert {key: (one.state, one.charge) for key, one in report.items()} == {
        external_id: (UpstreamState.PENDING, Decimal(50))
    }
    assert client.balance() == (Decimal(450), "XAF")
    assert client.cancel([external_id])[external_id].accepted
    assert client.statuses([external_id])[external_id].state is UpstreamState.CANCELLED
    assert client.balance() == (Decimal(500), "XAF")


def test_store_refuses_clearly(client: ProviderClient, service: Service, program: Program) -> None:
    client.add(order_of(service, quantity=9000))

    with pytest.raises(ProviderOutOfFunds):
        client.add(order_of(service, quantity=2000))
    for order in (order_of(service, quantity=5), UpstreamOrder("999999", {"link": LINK})):
        with pytest.raises(ProviderRefused) as caught:
            client.add(order)
        assert not isinstance(caught.value, ProviderOutOfFunds)

    assert Order.objects.count() == 1


def test_store_gives_a_refill_and_tells_of_it(client: ProviderClient, service: Service) -> None:
    external_id = client.add(order_of(service))
    with pytest.raises(ProviderRefused):
        client.refill(external_id)
    Order.objects.update(status=Status.COMPLETED, guarantee_days=0)

    refill = client.refill(external_id)

    assert client.refill_statuses([refill])[refill].state == "pending"
    with pytest.raises(ProviderRefused):
        client.refill(external_id)


def test_store_gives_the_first_order_again_where_the_dialect_has_keys(
    client: ProviderClient, service: Service
) -> None:
    first = client.add(order_of(service, reference="ours-1"))

    again = client.add(order_of(service, reference="ours-1"))

    assert (first == again) is client.repeats_safely
    if client.repeats_safely:
        assert (client.find("ours-1"), client.find("ours-2")) == (first, None)
    else:
        with pytest.raises(NotOffered):
            client.find("ours-1")
