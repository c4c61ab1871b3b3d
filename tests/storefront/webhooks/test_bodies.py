"""The bodies: the REST dialect's shapes, amounts exact, and everything as it stood."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from django.db.models.functions import Now

from accounts import ledger, webhooks
from accounts.models import Posting, Wallet, WebhookEvent, WebhookType
from accounts.webhooks import Happened
from orders import refills
from orders.models import EventKind, Order
from orders.moves import by_staff, move, update
from orders.refunds import move_and_refund
from orders.statuses import Status
from storefront.api.rest.serializers import OrderDetailSerializer, TransactionSerializer
from storefront.webhooks import bodies
from tests.factories import OrderFactory, ServiceFactory, StaffFactory, WalletFactory


@pytest.fixture
def wallet(db):
    wallet = WalletFactory()
    webhooks.create(wallet.user, url="https://shop.example/hook", events=WebhookType.values)
    return wallet


def body_of(event_type: str) -> dict[str, Any]:
    """The body of the only event of this type."""
    event = WebhookEvent.objects.get(type=event_type)
    body = json.loads(bodies.render(event), parse_float=Decimal)
    assert list(body) == ["type", "timestamp", "data"]
    assert body["type"] == event_type
    assert body["timestamp"] == f"{event.created_at:%Y-%m-%dT%H:%M:%SZ}"
    return body["data"]


def test_order_is_told_as_it_stood_and_not_as_it_stands(wallet):
    order = OrderFactory(wallet=wallet, sent=True, client_ref="mine", start_count=3)
    update(order, kind=EventKind.PROGRESS, remains=500)
    move_and_refund(order, Status.PARTIAL, Decimal("0.65"), completed_at=Now())
    shown = dict(OrderDetailSerializer(Order.objects.get(pk=order.pk)).data)
    Order.objects.update(status=Status.REFUNDED, remains=1000, refunded=Decimal(1))

    data = body_of("order.updated")

    assert list(data) == [*shown, "charge", "previous"]
    assert data == {
        **json.loads(json.dumps(shown, default=str)),
        "cost": Decimal("1.30"),
        "refunded": Decimal("0.65"),
        "charge": Decimal("0.65"),
        "status": "partial",
        "start_count": 3,
        "remains": 500,
        "external_order_id": order.public_reference,
        "previous": {
            "status": "in_progress",
            "refunded": Decimal("0.00"),
            "charge": Decimal("1.30"),
        },
    }


def test_new_order_is_told_as_pending(wallet):
    order = OrderFactory(wallet=wallet)
    webhooks.record([_created(order)])
    move(order, Status.SENDING)

    data = body_of("order.created")

    assert list(data) == list(OrderDetailSerializer(order).data)
    assert (data["id"], data["status"], data["external_order_id"]) == (order.pk, "pending", None)


def _created(order: Order) -> Happened:
    facts = {
        "order": order.pk,
        "status": "pending",
        "start_count": None,
        "remains": None,
        "refunded": "0",
        "external_id": None,
        "completed_at": None,
        "previous": {},
    }
    return Happened(order.customer_id, WebhookType.ORDER_CREATED, order.subject, facts)


def test_refill_is_told_in_the_customers_language(wallet):
    wallet.user.language = "en"
    wallet.user.save()
    order = OrderFactory(wallet=wallet, sent=True, guarantee_days=0)
    move(order, Status.COMPLETED, completed_at=Now())
    refill = refills.request(order, by=by_staff(StaffFactory()))
    refills.settle(refill, completed=False, reason=refills.DECLINED, actor=StaffFactory())

    data = body_of("refill.updated")

    assert data == {
        "id": refill.pk,
        "order_id": order.pk,
        "status": "rejected",
        "reason": refills.DECLINED,
        "created_at": data["created_at"],
        "completed_at": data["completed_at"],
        "previous": {"status": "pending"},
    }


def test_credit_is_told_as_in_the_list_of_transactions(wallet):
    ledger.refund(wallet, Decimal("0.27819"), key="r", subject="order:1")

    data = body_of("wallet.credited")

    posting = Posting.objects.get(entry="r", wallet=wallet)
    assert list(data) == list(TransactionSerializer(posting).data)
    assert (data["id"], data["amount"], data["balance_after"]) == (
        posting.pk,
        Decimal("0.27819"),
        Decimal("100.27819"),
    )


def test_low_wallet_is_told_with_its_mark(wallet):
    Wallet.objects.update(low_at=Decimal(5))
    ledger.charge(wallet, Decimal("95.5"), key="c", subject="order:1")

    assert body_of("wallet.low") == {
        "balance": Decimal("4.50"),
        "currency": "USD",
        "threshold": Decimal("5.00"),
    }


@pytest.mark.parametrize(
    ("before", "after", "shown", "previous"),
    [
        (
            ["0.0013", 10, 100],
            ["0.0014", 10, 200],
            (Decimal("0.0014"), 10, 200, True),
            {"price_per_unit": Decimal("0.0013"), "max_quantity": 100},
        ),
        (["0.0013", 10, 100], None, (Decimal("0.0013"), 10, 100, False), {"available": True}),
        (None, ["0.0013", 10, 100], (Decimal("0.0013"), 10, 100, True), {"available": False}),
    ],
)
def test_service_is_told_with_what_changed(wallet, before, after, shown, previous):
    service = ServiceFactory()
    facts = {"service": service.pk, "currency": "USD", "before": before, "after": after}
    webhooks.record([Happened(wallet.user_id, WebhookType.SERVICE_UPDATED, "service:1", facts)])

    data = body_of("service.updated")

    price, minimum, maximum, available = shown
    assert data == {
        "id": service.pk,
        "name": service.shown_name,
        "category": service.category.shown_name,
        "currency": "USD",
        "price_per_unit": price,
        "min_quantity": minimum,
        "max_quantity": maximum,
        "available": available,
        "previous": previous,
    }


def test_service_that_is_no_more_is_told_without_its_names(wallet):
    service = ServiceFactory()
    facts = {"service": service.pk, "currency": "USD", "before": ["0.0013", 10, 100], "after": None}
    webhooks.record([Happened(wallet.user_id, WebhookType.SERVICE_UPDATED, "service:1", facts)])
    service.delete()

    assert body_of("service.updated") == {
        "id": facts["service"],
        "name": "",
        "category": "",
        "currency": "USD",
        "price_per_unit": Decimal("0.0013"),
        "min_quantity": 10,
        "max_quantity": 100,
        "available": False,
        "previous": {"available": True},
    }
