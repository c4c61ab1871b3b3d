"""Both dialects do what the published OpenAPI document says, whatever is sent to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.test import Client
from django.urls import URLPattern
from django.urls.resolvers import RoutePattern
from django.utils import timezone
from drf_spectacular.validation import validate_schema
from hypothesis import HealthCheck, settings
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from accounts import webhooks
from accounts.models import WebhookDelivery, WebhookEndpoint, WebhookEvent, WebhookType
from catalog.models import Service
from catalog.order_types import FIELDS
from orders.models import Order, Refill
from orders.statuses import Status
from storefront.api.openapi.document import document as published_bytes
from storefront.api.openapi.panel import ADDRESSES, ANSWERS
from storefront.api.panel.actions import ACTIONS
from storefront.api.urls import urlpatterns
from storefront.webhooks import bodies
from tests.factories import OrderFactory
from tests.storefront.api.conftest import Program

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
LINK = "https://instagram.com/username"
FUZZ = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def api(program: Program, service: Service) -> Iterator[Any]:
    """The published document, as a client of the whole WSGI application reads it."""
    program.user.api_per_minute = 1_000_000
    program.user.save()
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
    endpoint, _secret = webhooks.create(
        program.user, url="https://shop.example.com/told", events=WebhookType.values
    )
    webhooks.send_test(endpoint)
    ends = (request_started, request_finished)
    for signal in ends:  # as Django's own test client does: the test's transaction stays open
        signal.disconnect(close_old_connections)
    loaded = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", get_wsgi_application())
    # Each boundary of each of an order's many fields would take minutes; drawn ones find as much.
    loaded.config.phases.coverage.enabled = False
    yield loaded
    for signal in ends:
        signal.connect(close_old_connections)


def existing(path: str) -> str:
    """The reference of something that is there, which no generator would guess."""
    for part, model in (
        ("/refills/", Refill),
        ("/deliveries/", WebhookDelivery),
        ("/webhooks/", WebhookEndpoint),
        ("/services/", Service),
    ):
        if part in path:
            return str(getattr(model.objects.first(), "pk", 1))
    return str(Order.objects.latest("pk").uuid)


schema = schemathesis.pytest.from_fixture("api")


@schema.include(path_regex="^/api/v1/").parametrize()
@FUZZ
def test_any_request_is_answered_as_published(
    case: Any, program: Program, service: Service
) -> None:
    key = {"X-API-Key": program.text}
    case.call_and_validate(headers=key, checks=CHECKS)
    # Once more at things that exist.
    if case.path_parameters:
        case.path_parameters["reference"] = existing(case.path)
    if isinstance(case.body, dict) and case.path.startswith("/api/v1/orders"):
        order = {"service_id": service.pk, "link": LINK, "quantity": 10}
        case.body = {"orders": [order]} if case.path.endswith("/bulk") else case.body | order
    case.call_and_validate(headers=key, checks=CHECKS)

    assert program.balance >= Decimal(0)


@schema.include(path="/api/v2").parametrize()
@settings(FUZZ, max_examples=40)
def test_any_panel_request_is_answered_as_published(
    case: Any, program: Program, service: Service
) -> None:
    asked = case.body if case.method == "POST" else case.query
    (case.query or {}).pop("key", None)
    if isinstance(asked, dict):
        asked.pop("key", None)
        order = Order.objects.latest("pk").pk
        asked |= {
            name: value
            for name, value in {"service": service.pk, "link": LINK, "order": order}.items()
            if name in asked
        }
    response = case.call_and_validate(headers={"X-API-Key": program.text}, checks=CHECKS)

    assert {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"} <= set(
        response.headers
    )
    action = str(asked.get("action")) if isinstance(asked, dict) else ""
    fits(response.json(), *ANSWERS.get(action, ()), "PanelError")


def fits(answer: Any, *names: str) -> None:
    """The answer has one of these shapes."""
    any_of = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in names]}
    jsonschema.validate(answer, any_of | {"components": document()["components"]})


def document() -> Any:
    return json.loads(published_bytes())


@pytest.mark.django_db
def test_each_panel_action_answers_in_its_shape(program: Program, service: Service) -> None:
    """What no generator reaches: answers that succeed."""
    order = {"service": service.pk, "link": LINK, "quantity": 100}
    first = program.panel("add", **order)["order"]
    Order.objects.filter(pk=first).update(status=Status.COMPLETED, guarantee_days=0)
    fits(program.panel("services"), "PanelServices")
    fits(program.panel("add_bulk", orders=json.dumps([order, {"service": 0}])), "PanelBatch")
    fits(program.panel("status", order=first), "PanelStatus")
    fits(program.panel("status", orders=f"{first},0"), "PanelStatuses")
    fits(program.panel("refill", orders=f"{first},{first},0"), "PanelRefills")
    refill = Refill.objects.get().pk
    fits(program.panel("refill", order=first), "PanelRefill")
    fits(program.panel("refill_status", refill=refill), "PanelRefillStatus")
    fits(program.panel("refill_status", refills=f"{refill},0"), "PanelRefillStatuses")
    fits(program.panel("cancel", orders=f"{first},{first + 1},x"), "PanelCancels")
    fits(program.panel("balance"), "PanelBalance")


def test_document_names_every_address(db: None) -> None:
    served = {
        f"/{pattern.pattern._route}".replace("<str:", "{").replace(">", "}")
        for pattern in urlpatterns
        if isinstance(pattern, URLPattern)
        and isinstance(pattern.pattern, RoutePattern)
        and not pattern.pattern._route.endswith("/")
    }
    response = Client().get("/api/v1/openapi.json")
    published = response.json()

    assert response.headers["Content-Type"] == "application/json"
    assert published["openapi"] == "3.1.0"
    validate_schema(published)
    assert set(published["paths"]) == served - {"/api/v1/openapi.json"}
    assert set(ADDRESSES) == {"/api/v2", "/api"}
    assert set(ANSWERS) == set(ACTIONS)
    methods = {
        path: {method.lower() for method in view_class.needs}
        for path in published["paths"]
        if (view_class := view_of(path)) is not None
    }
    assert methods == {
        path: set(item) for path, item in published["paths"].items() if path.startswith("/api/v1/")
    }
    assert response.content == published_bytes()
    assert Client().get("/api/v1/openapi.json/").content == published_bytes()


def view_of(path: str) -> Any:
    route = path.removeprefix("/").replace("{", "<str:").replace("}", ">")
    (pattern,) = [one for one in urlpatterns if getattr(one.pattern, "_route", None) == route]
    return getattr(pattern.callback, "view_class", None)


def test_every_answer_tells_limits_and_failures(db: None) -> None:
    # Before a key is known nobody's limits can be told.
    told_nobody = {"panel": set(), "rest": {"401"}}
    limits = {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}
    for path, item in document()["paths"].items():
        dialect = "rest" if path.startswith("/api/v1/") else "panel"
        for operation in item.values():
            answers = operation["responses"]
            if dialect == "rest":
                assert {"400", "401", "403", "405", "429", "500", "503"} <= set(answers)
            for status, answer in answers.items():
                expected = set() if status in told_nobody[dialect] else limits
                assert limits & set(answer.get("headers", {})) == expected, (path, status)
            assert "Retry-After" in answers["429"]["headers"]


def test_document_tells_both_ways_to_send_a_key(db: None) -> None:
    published = document()

    assert published["paths"]["/api/v1/balance"]["get"]["security"] == [
        {"apiKey": []},
        {"bearer": []},
    ]
    assert published["components"]["securitySchemes"] == {
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
        "panelKey": {"type": "apiKey", "in": "query", "name": "key"},
    }


def test_document_tells_every_field_of_the_order_types(db: None) -> None:
    schemas = document()["components"]["schemas"]
    order = schemas["OrderRequest"]

    assert set(order["properties"]) == {"service_id", "client_ref", *FIELDS}
    assert order["required"] == ["service_id"]
    assert (order["properties"]["delay"]["minimum"], order["properties"]["delay"]["maximum"]) == (
        0,
        600,
    )
    assert schemas["DeviceEnum"]["enum"] == ["1", "2", "3", "4", "5"]
    assert "Types: Poll." in order["properties"]["answer_number"]["description"]
    assert set(schemas["PanelAskAdd"]["properties"]) == {
        *("key", "action", "service", "client_ref", "idempotency_key"),
        *FIELDS,
    }


def test_webhooks_are_sent_as_published(program: Program, service: Service) -> None:
    webhooks.create(program.user, url="https://shop.example.com/told", events=WebhookType.values)
    order = program.post("/orders", {"service_id": service.pk, "link": LINK, "quantity": 100})
    assert order.status_code == 201
    program.post(f"/orders/{order.json()['order']['id']}/cancel", {})
    published = document()
    sent = [
        json.loads(bodies.render(event)) for event in WebhookEvent.objects.order_by("created_at")
    ]

    assert {body["type"] for body in sent} >= {"order.created", "order.updated"}
    assert set(published["webhooks"]) == {*WebhookType.values, "test"}
    for body in sent:
        operation = published["webhooks"][body["type"]]["post"]
        shape = operation["requestBody"]["content"]["application/json"]["schema"]
        jsonschema.validate(body, shape | {"components": published["components"]})
