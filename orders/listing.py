"""Finding a customer's orders; nobody else's are ever seen here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import Q, QuerySet

from accounts.models import User
from catalog.search import normalise
from orders.models import Order, OrderEvent
from orders.requests import LINK_LIMIT
from orders.statuses import Status

# Nobody types more, and each word is one more condition of the query.
MAX_WORDS = 12
_MAX_ID = 2**63 - 1


class OrderNotFound(Exception):
    """The customer has no such order."""


def orders_of(
    customer: User,
    *,
    statuses: Sequence[Status] = (),
    service_id: int | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    client_ref: str = "",
    ids: Sequence[int] = (),
    text: str = "",
) -> QuerySet[Order]:
    """The customer's orders, newest first, with what stands beside each (see `_owned`).

    Empty filters do not filter; `text` looks in ids, links and service names. The runs of a
    drip-feed are ours alone: only the order that they belong to is listed.
    """
    orders = _owned(customer).order_by("-pk")
    if statuses:
        orders = orders.filter(status__in=statuses)
    if service_id is not None:
        orders = orders.filter(service=service_id)
    if created_from is not None:
        orders = orders.filter(created_at__gte=created_from)
    if created_to is not None:
        orders = orders.filter(created_at__lte=created_to)
    if client_ref:
        orders = orders.filter(client_ref=client_ref)
    if ids:
        orders = orders.filter(pk__in=ids)
    if text := text.strip()[:LINK_LIMIT]:
        found = Q(link__icontains=text)
        # A number means an order: half of all service names have one in them.
        if (number := _order_id(text.lstrip("#"))) is not None:
            found |= Q(pk=number)
        elif words := normalise(text).split()[:MAX_WORDS]:
            found |= Q(*(Q(service__search_text__contains=word) for word in words))
        orders = orders.filter(found)
    return orders


def find(customer: User, reference: str) -> Order:
    """The customer's order with this id or uuid. Raises OrderNotFound."""
    found = find_many(customer, [reference])
    if reference not in found:
        raise OrderNotFound(reference)
    return found[reference]


def find_many(customer: User, references: Sequence[str]) -> dict[str, Order]:
    """The customer's orders by id or uuid, keyed by the text asked for; unknown ones are absent."""
    ids = {text: number for text in references if (number := _order_id(text)) is not None}
    uuids = {text: uuid for text in references if (uuid := _order_uuid(text)) is not None}
    orders = _owned(customer).filter(Q(pk__in=ids.values()) | Q(uuid__in=uuids.values()))
    by_id, by_uuid = {}, {}
    for order in orders:
        by_id[order.pk], by_uuid[order.uuid] = order, order
    found = {text: by_id[number] for text, number in ids.items() if number in by_id}
    return found | {text: by_uuid[uuid] for text, uuid in uuids.items() if uuid in by_uuid}


def runs_of(order: Order, *, newest: int) -> list[Order]:
    """The newest runs of a drip-feed, latest first; of other orders none. One query."""
    return list(order.run_orders.order_by("-run")[:newest])


def history_of(order: Order) -> list[OrderEvent]:
    """Everything that happened to an order, first to last; one query, API keys included."""
    return list(order.events.select_related("api_key").order_by("pk"))


def _owned(customer: User) -> QuerySet[Order]:
    """With service, category and measured facts, the schedule of a drip-feed, the terms of a
    subscription, and the request to cancel; all in one query."""
    return Order.objects.filter(customer=customer, parent=None).select_related(
        "service__category", "service__facts", "dripfeed", "subscription", "cancel_request"
    )


def _order_id(text: str) -> int | None:
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 20:
        number = int(text)
        return number if 0 < number <= _MAX_ID else None
    return None


def _order_uuid(text: str) -> UUID | None:
    try:
        return UUID(text.strip()) if len(text.strip()) == 36 else None
    except ValueError:
        return None
