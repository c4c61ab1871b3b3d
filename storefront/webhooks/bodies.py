"""The body of an event: `{"type", "timestamp", "data"}`, `data` in the shapes of the REST dialect.

It is made once, before the first attempt, and tells how things stood when they happened. What
changes later is among the event's facts; what never changes is read where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils import translation

from accounts.models import Posting, WebhookEvent, WebhookType
from accounts.webhooks import TEST
from catalog.models import Service
from orders.models import Order, Refill
from storefront.api.rendering import dumps
from storefront.api.rest.serializers import (
    OrderDetailSerializer,
    RefillSerializer,
    SecondField,
    ServiceOfOrderSerializer,
    TransactionSerializer,
)

# Where the customer has chosen none: the dialect's own.
_LANGUAGE = "fr"

Facts = Mapping[str, Any]


def render(event: WebhookEvent) -> str:
    """The event's body, in its customer's language, amounts exact. Raises LookupError or a
    DoesNotExist for facts about something that is gone."""
    user = event.user.sandbox_of or event.user
    with translation.override(user.language or _LANGUAGE):
        body = {
            "type": event.type,
            "timestamp": SecondField().to_representation(event.created_at),
            "data": _DATA[event.type](event.facts),
        }
        return dumps(body).decode()


def _order_created(facts: Facts) -> dict[str, Any]:
    return dict(OrderDetailSerializer(_order(facts)).data)


def _order_updated(facts: Facts) -> dict[str, Any]:
    """As `GET /orders/{id}`, with `charge`: what the customer has paid, refunds taken off.
    `previous` has what stood there before, of what changed."""
    order, previous = _order(facts), dict(facts["previous"])
    if "refunded" in previous:
        previous["refunded"] = Decimal(previous["refunded"])
        previous["charge"] = order.charge - previous["refunded"]
    return {
        **OrderDetailSerializer(order).data,
        "charge": order.net_charge,
        "previous": previous,
    }


def _order(facts: Facts) -> Order:
    """The order as it stood."""
    order = Order.objects.select_related("service__category").get(pk=facts["order"])
    for name in ("status", "start_count", "remains", "external_id"):
        setattr(order, name, facts[name])
    order.refunded = Decimal(facts["refunded"])
    ended = facts["completed_at"]
    order.completed_at = datetime.fromisoformat(ended) if ended else None
    return order


def _refill_updated(facts: Facts) -> dict[str, Any]:
    refill = Refill.objects.get(pk=facts["refill"])
    return {**RefillSerializer(refill).data, "previous": facts["previous"]}


def _wallet_credited(facts: Facts) -> dict[str, Any]:
    """As an item of `GET /transactions`."""
    posting = Posting.objects.select_related("entry").get(pk=facts["posting"])
    return dict(TransactionSerializer(posting).data)


def _wallet_low(facts: Facts) -> dict[str, Any]:
    """As `GET /balance` tells a balance; `threshold` is the mark that it fell below."""
    return {
        "balance": Decimal(facts["balance"]),
        "currency": facts["currency"],
        "threshold": Decimal(facts["threshold"]),
    }


def _service_updated(facts: Facts) -> dict[str, Any]:
    """Facts: `service`, `currency`, and how it was listed `before` and `after`: [price of one unit
    as text, minimum, maximum], null where it could not be ordered.

    As `GET /services` names a service; while it cannot be ordered, as it was listed last, and
    without names where it is no more. `previous` has what stood there before, of what changed.
    """
    before, after = _listed(facts["before"]), _listed(facts["after"])
    service = Service.objects.select_related("category").filter(pk=facts["service"]).first()
    named = (
        ServiceOfOrderSerializer(service).data
        if service
        else {"id": facts["service"], "name": "", "category": ""}
    )
    shown = {**(after or before), "available": bool(after)}
    was = {**(before or after), "available": bool(before)}
    return {
        **named,
        "currency": facts["currency"],
        **shown,
        "previous": {name: value for name, value in was.items() if value != shown[name]},
    }


def _listed(listed: list[Any] | None) -> dict[str, Any]:
    if listed is None:
        return {}
    price, minimum, maximum = listed
    return {"price_per_unit": Decimal(price), "min_quantity": minimum, "max_quantity": maximum}


def _test(facts: Facts) -> dict[str, Any]:
    return {"webhook_id": facts["endpoint"]}


_DATA: dict[str, Callable[[Facts], dict[str, Any]]] = {
    WebhookType.ORDER_CREATED: _order_created,
    WebhookType.ORDER_UPDATED: _order_updated,
    WebhookType.REFILL_UPDATED: _refill_updated,
    WebhookType.WALLET_CREDITED: _wallet_credited,
    WebhookType.WALLET_LOW: _wallet_low,
    WebhookType.SERVICE_UPDATED: _service_updated,
    TEST: _test,
}
