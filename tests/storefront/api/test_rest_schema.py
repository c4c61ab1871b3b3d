"""The REST dialect does what its published OpenAPI document says, whatever is sent to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, settings
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from catalog.models import Service
from catalog.order_types import FIELDS
from orders.models import Order, Refill
from orders.statuses import Status
from tests.factories import OrderFactory
from tests.storefront.api.conftest import Program

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture
def api(program: Program, service: Service) -> Iterator[Any]:
    """The published document, as a client of the whole WSGI application reads it."""
    wallet = program.user.wallets.get()
    refilled = OrderFactory(
        wallet=wallet,
        service=service,
        status=Status.COMPLETED,
        completed_at=timezone.now(),
        guarantee_days=30,
    )
    Refill.objects.create(order=refilled)
    OrderFactory(wallet=wallet, service=service)
    ends = (request_started, request_finished)
    for signal in ends:  # as Django's own test client does: the test's transaction stays open
        signal.disconnect(close_old_connections)
    yield schemathesis.openapi.from_wsgi("/api/v1/openapi.json", get_wsgi_application())
    for signal in ends:
        signal.connect(close_old_connections)


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_any_request_is_answered_as_published(
    case: Any, program: Program, service: Service
) -> None:
    key = {"X-API-Key": program.text}
    case.call_and_validate(headers=key, checks=CHECKS)
    # Once more at things that exist, which no generator would guess.
    if case.path_parameters:
        is_refill = "/refills/" in case.path
        existing = Refill.objects.get().pk if is_refill else Order.objects.latest("pk").uuid
        case.path_parameters["reference"] = str(existing)
    if isinstance(case.body, dict):
        case.body |= {"service_id": service.pk, "link": "https://t.me/x", "quantity": 10}
    case.call_and_validate(headers=key, checks=CHECKS)

    assert program.balance >= Decimal(0)


def test_document_is_openapi_3_1_and_names_every_address_once(db: None) -> None:
    response = Client().get("/api/v1/openapi.json")
    document = json.loads(response.content)

    assert response.headers["Content-Type"] == "application/json"
    assert document["openapi"] == "3.1.0"
    assert {path: sorted(item) for path, item in document["paths"].items()} == {
        "/api/v1/services": ["get"],
        "/api/v1/orders": ["get", "post"],
        "/api/v1/orders/{reference}": ["get"],
        "/api/v1/orders/{reference}/cancel": ["post"],
        "/api/v1/orders/{reference}/refill": ["post"],
        "/api/v1/refills/{reference}": ["get"],
        "/api/v1/balance": ["get"],
    }
    for operation in (item for path in document["paths"].values() for item in path.values()):
        assert {"400", "401", "403", "405", "500"} <= set(operation["responses"])
    assert Client().get("/api/v1/openapi.json/").content == response.content


def test_document_tells_both_ways_to_send_a_key(db: None) -> None:
    document = Client().get("/api/v1/openapi.json").json()

    assert document["paths"]["/api/v1/balance"]["get"]["security"] == [
        {"apiKey": []},
        {"bearer": []},
    ]
    assert document["components"]["securitySchemes"] == {
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }


def test_document_tells_every_field_of_the_order_types(db: None) -> None:
    document = Client().get("/api/v1/openapi.json").json()

    order = document["components"]["schemas"]["OrderRequest"]

    assert set(order["properties"]) == {"service_id", "client_ref", *FIELDS}
    assert order["required"] == ["service_id"]
    assert (order["properties"]["delay"]["minimum"], order["properties"]["delay"]["maximum"]) == (
        0,
        600,
    )
    devices = document["components"]["schemas"]["DeviceEnum"]
    assert devices["enum"] == ["1", "2", "3", "4", "5"]
    assert "Types: Poll." in order["properties"]["answer_number"]["description"]
