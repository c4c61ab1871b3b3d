"""What is one customer's is not there for another: a second customer's key at every address and
action. A new address or action fails here until it is told whose things it is asked about."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.db.models import Model
from django.urls import URLPattern, reverse
from django.utils import timezone

from accounts import api_keys, webhooks
from accounts.models import (
    Posting,
    Wallet,
    WebhookDelivery,
    WebhookEndpoint,
    every_permission,
)
from orders import refills
from orders.models import Order, Refill
from orders.moves import by_customer
from orders.statuses import Status
from storefront.api.panel.actions import ACTIONS
from storefront.api.rest.base import RestView
from storefront.api.urls import urlpatterns
from tests.factories import OrderFactory, ServiceFactory, UserFactory, WalletFactory
from tests.storefront.api.conftest import Program, program_of

MARK = "only-mine"


@dataclass
class Victim:
    """Somebody with one of each thing: an order that could be refilled, one that could be
    cancelled, a refill, a webhook, a delivery of it."""

    program: Program
    finished: Order
    running: Order
    refill: Refill
    endpoint: WebhookEndpoint
    delivery: WebhookDelivery

    @property
    def words(self) -> list[str]:
        """What tells of something of theirs."""
        return [
            MARK,
            self.program.user.email,
            str(self.endpoint.secret),
            *(str(order.uuid) for order in (self.finished, self.running, self.refill.order)),
        ]

    def things(self) -> list[Any]:
        """All that is theirs, as it stands."""
        user = self.program.user
        owned: list[tuple[type[Model], dict[str, Any]]] = [
            (Order, {"customer": user}),
            (Refill, {"order__customer": user}),
            (Wallet, {"user": user}),
            (Posting, {"wallet__user": user}),
            (WebhookEndpoint, {"user": user}),
            (WebhookDelivery, {"endpoint__user": user}),
        ]
        return [
            list(model._default_manager.filter(**mine).order_by("pk").values())
            for model, mine in owned
        ]


@pytest.fixture
def victim(program: Program) -> Victim:
    wallet = program.user.wallets.get()
    kept = {"wallet": wallet, "link": f"https://instagram.com/{MARK}", "currency": "XAF"}
    completed, refilled = (
        OrderFactory(
            service=ServiceFactory(refill=True),
            status=Status.COMPLETED,
            completed_at=timezone.now(),
            guarantee_days=30,
            external_id=str(900 + number),
            **kept,
        )
        for number in range(2)
    )
    running = OrderFactory(service=ServiceFactory(cancel=True), sent=True, **kept)
    Order.objects.filter(pk=running.pk).update(idempotency_key=MARK)
    refill = refills.request(refilled, by=by_customer(program.user, program.api_key))
    endpoint, _secret = webhooks.create(
        program.user, url=f"https://{MARK}.example/hook", events=["order.updated"]
    )
    delivery = webhooks.send_test(endpoint)
    return Victim(program, completed, running, refill, endpoint, delivery)


@pytest.fixture
def other(victim: Victim) -> Program:
    """The second customer, with money and a key that may do everything."""
    return program_of(WalletFactory(user=UserFactory(), currency="XAF", funds=500).user)


# Whose reference an address takes; "": that of something which is for all.
REFERENCES = {
    "api_service": "",
    "api_order": "finished",
    "api_cancel": "running",
    "api_refill": "finished",
    "api_refill_state": "refill",
    "api_webhook": "endpoint",
    "api_rotate_webhook": "endpoint",
    "api_test_webhook": "endpoint",
    "api_enable_webhook": "endpoint",
    "api_disable_webhook": "endpoint",
    "api_deliveries": "endpoint",
    "api_delivery": "delivery",
    "api_replay": "delivery",
}


def addresses() -> Iterator[tuple[URLPattern, str]]:
    """Every address of the REST dialect that needs a key, with each of its methods."""
    for pattern in urlpatterns:
        view = getattr(pattern.callback, "view_class", None)
        if pattern.name and view and issubclass(view, RestView) and view.authentication_classes:
            for method in view.http_method_names:
                yield pattern, method.upper()


def test_rest_shows_and_does_nothing_of_another_customers(victim, other, service):
    before = victim.things()
    body = {"service_id": service.pk, "link": "https://instagram.com/x", "quantity": 10}
    more = {"orders": [body], "url": "https://x.example/", "events": ["order.updated"]}
    seen = {}
    for pattern, method in addresses():
        takes_one = "<" in str(pattern.pattern)
        whose = REFERENCES[pattern.name] if takes_one else ""
        reference = getattr(victim, whose).pk if whose else service.pk
        response = other.client.generic(
            method,
            reverse(pattern.name, args=[reference] if takes_one else []),
            json.dumps({**body, **more}),
            content_type="application/json",
            headers={"X-API-Key": other.text, "Idempotency-Key": MARK},
        )
        seen[pattern.name, method] = response.status_code == 404 if whose else True
        assert response.status_code < 500
        assert [word for word in victim.words if word in response.content.decode()] == []

    assert [address for address, is_hidden in seen.items() if not is_hidden] == []
    assert len(seen) >= len(REFERENCES)
    assert victim.things() == before
    # The same idempotency key means an order of one's own; another one in a batch.
    assert other.user.orders.count() == 2


def test_rest_needs_a_permission_for_every_method(program):
    for pattern, method in addresses():
        needed = pattern.callback.view_class.needs[method]
        rest = [each for each in every_permission() if each != needed]
        api_keys.change(program.api_key, name="x", terms=api_keys.KeyTerms(permissions=rest))
        path = reverse(pattern.name, args=["1"] if "<" in str(pattern.pattern) else [])

        response = program.client.generic(method, path, headers={"X-API-Key": program.text})

        assert (path, response.status_code, response.json()["code"]) == (
            path,
            403,
            "permission_denied",
        )


def test_panel_shows_and_does_nothing_of_another_customers(victim, other, service):
    finished, running, refill = victim.finished.pk, victim.running.pk, str(victim.refill.pk)
    draft = {"service": service.pk, "link": "https://instagram.com/x", "quantity": 10}
    batch = json.dumps([{**draft, "idempotency_key": MARK}])
    incorrect = {"error": "Incorrect order ID"}
    rejected = {"refill": None, "status": "rejected", **incorrect}
    unknown = {"error": "Refill not found"}
    # What each action is asked about the other's things, and what it says; None: of one's own.
    asked: list[tuple[str, dict[str, Any], Any]] = [
        ("services", {}, None),
        ("balance", {}, {"balance": "500.00", "currency": "XAF"}),
        ("add", {**draft, "idempotency_key": MARK}, None),
        ("add_bulk", {"orders": batch}, None),
        ("status", {"order": running}, incorrect),
        ("status", {"order": victim.running.uuid}, incorrect),
        ("status", {"orders": running}, {str(running): incorrect}),
        ("refill", {"order": finished}, rejected),
        ("refill", {"orders": finished}, [{"order": finished, **rejected}]),
        ("refill_status", {"refill": refill}, unknown),
        ("refill_status", {"refills": refill}, [{"refill": refill, **unknown}]),
        ("cancel", {"orders": running}, [{"order": running, "cancel": incorrect}]),
    ]
    before = victim.things()

    for action, params, expected in asked:
        answer = other.panel(action, **params)
        assert (action, answer) == (action, answer if expected is None else expected)
        assert [word for word in victim.words if word in json.dumps(answer)] == []

    assert {action for action, _params, _expected in asked} == set(ACTIONS)
    assert victim.things() == before
    # The same idempotency key means an order of one's own, and its repeat.
    assert other.user.orders.count() == 1
