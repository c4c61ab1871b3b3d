"""Orders and what belongs to them."""

from orders.models.batches import KeyedBatch
from orders.models.book import BookReading, Outcome
from orders.models.events import EventKind, EventSource, OrderEvent
from orders.models.mass import LineState, MassLine, MassOrder
from orders.models.order import Order, Source
from orders.models.requests import (
    CancelRequest,
    CancelState,
    PublicRefillState,
    Refill,
    RefillState,
)
from orders.models.series import DripFeed, SeriesState, Subscription
from orders.models.unknown import Evidence, EvidenceKind, Verdict

__all__ = [
    "BookReading",
    "CancelRequest",
    "CancelState",
    "DripFeed",
    "EventKind",
    "EventSource",
    "Evidence",
    "EvidenceKind",
    "KeyedBatch",
    "LineState",
    "MassLine",
    "MassOrder",
    "Order",
    "OrderEvent",
    "Outcome",
    "PublicRefillState",
    "Refill",
    "RefillState",
    "SeriesState",
    "Source",
    "Subscription",
    "Verdict",
]
