"""The orders of one request that holds several, for both dialects."""

from __future__ import annotations

from orders.bulk import BulkItem
from orders.checkout import InvalidOrder
from orders.requests import OrderDraft, Problem, ProblemCode
from storefront.api.parsing import Unreadable, parse_json


def read_batch(value: object, *, service: str) -> list[BulkItem]:
    """The items of `orders`: a JSON list, or its text, as forms send it.

    `service` is the dialect's name for the service of an item. What is no object is an item with
    nothing in it. Raises checkout.InvalidOrder (field `orders`) where there is no list.
    """
    if value is None or value == "":
        raise InvalidOrder((Problem("orders", ProblemCode.REQUIRED),))
    if isinstance(value, str):
        try:
            value = parse_json(value.encode())
        except Unreadable:
            value = None
    if not isinstance(value, list):
        raise InvalidOrder((Problem("orders", ProblemCode.INVALID),))
    return [_item(item if isinstance(item, dict) else {}, service) for item in value]


def _item(values: dict[str, object], service: str) -> BulkItem:
    draft = OrderDraft(
        service_id=values.get(service), values=values, client_ref=values.get("client_ref", "")
    )
    return BulkItem(draft, idempotency_key=values.get("idempotency_key"))
