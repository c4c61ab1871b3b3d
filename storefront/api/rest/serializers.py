"""The shapes of the REST dialect: what is read from queries, what is written to answers.

The declared fields are also the published schema (storefront/api/rest/schema.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils import translation
from django.utils.translation import gettext_lazy
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.models import EntryKind, Posting
from accounts.money import Currency
from catalog.facts import average_time, completion_rate
from catalog.listing import Listed
from catalog.models import Network
from catalog.order_types import FIELDS, ORDER_TYPES, FieldKind, FieldRule, ServiceType
from orders.bulk import MAX_ORDERS
from orders.checkout import IDEMPOTENCY_KEY_LIMIT
from orders.models import Order, PublicRefillState, Refill
from orders.requests import CLIENT_REF_LIMIT, LINK_LIMIT
from orders.statuses import PUBLIC_STATUSES, Status, behind
from storefront.api.rest.pagination import DEFAULT_PER_PAGE

MAX_IDS = 100
_MAX_ID = 2**63 - 1
# The others move house accounts only.
_MOVING_WALLETS = [EntryKind.CHARGE.value, EntryKind.REFUND.value, EntryKind.ADJUSTMENT.value]


@extend_schema_field({"type": "number", "minimum": 0, "examples": [Decimal("50.00")]})
class MoneyField(serializers.Field[Decimal, Any, Decimal, Any]):
    """An exact amount, printed by the renderer with at least two decimals."""

    def to_representation(self, value: Decimal) -> Decimal:
        return value


@extend_schema_field({"type": "number", "examples": [Decimal("-50.00")]})
class SignedMoneyField(MoneyField):
    """An exact amount that may be below zero."""


class SecondField(serializers.DateTimeField):
    """UTC, to the second: 2024-01-15T10:30:00Z. A date without a time is its first second."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format="%Y-%m-%dT%H:%M:%SZ", default_timezone=UTC, **kwargs)


class UntilField(SecondField):
    """The end of a period, all of the named day or second included."""

    def to_internal_value(self, value: Any) -> datetime:
        moment: datetime = super().to_internal_value(value)
        if moment.microsecond:
            return moment
        named = timedelta(days=1) if len(str(value).strip()) == 10 else timedelta(seconds=1)
        try:
            return moment + named - timedelta(microseconds=1)
        except OverflowError:
            self.fail("overflow", timezone=UTC)


class ErrorSerializer(serializers.Serializer[Any]):
    """A refusal. `code` is stable and for programs, `message` is for people."""

    error = serializers.CharField()
    message = serializers.CharField()
    code = serializers.CharField()


class RefusedOrderSerializer(ErrorSerializer):
    """A body that cannot be read, or an order refused; amounts where the balance is too low."""

    required = MoneyField(required=False)  # type: ignore[assignment]
    current_balance = MoneyField(required=False)


class ValidationErrorSerializer(ErrorSerializer):
    """Wrong fields, each with its sentences; `message` is the first of them."""

    errors = serializers.DictField(  # type: ignore[assignment]
        child=serializers.ListField(child=serializers.CharField()), required=False
    )


class ServiceSerializer(serializers.Serializer[Listed]):
    """A service that can be ordered now; `price_per_unit` is of ONE unit (or one package)."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    category = serializers.CharField()
    min_quantity = serializers.IntegerField(min_value=0)
    max_quantity = serializers.IntegerField(min_value=0)
    price_per_unit = MoneyField()
    currency = serializers.ChoiceField(Currency.choices)
    average_time = serializers.CharField()
    type = serializers.ChoiceField(ServiceType.choices)
    description = serializers.CharField(allow_blank=True)
    refill = serializers.BooleanField()
    cancel = serializers.BooleanField()
    dripfeed = serializers.BooleanField()
    network = serializers.ChoiceField(Network.choices)
    completion_rate = serializers.IntegerField(
        min_value=0,
        max_value=100,
        allow_null=True,
        help_text="Percent of the orders of 30 days delivered in full; null while there are few.",
    )

    def to_representation(self, instance: Listed) -> dict[str, Any]:
        # By hand: thousands of services go out at once, and DRF's own way takes twice as long.
        # A test holds this against the fields above.
        service, price = instance.service, instance.price
        return {
            "id": service.pk,
            "name": service.shown_name,
            "category": service.category.shown_name,
            "min_quantity": service.min_quantity,
            "max_quantity": service.max_quantity,
            "price_per_unit": price.per_unit,
            "currency": price.currency,
            "average_time": average_time(service),
            "type": service.type,
            "description": service.shown_description,
            "refill": service.offers_refill,
            "cancel": service.cancel,
            "dripfeed": service.offers_dripfeed,
            "network": service.category.network,
            "completion_rate": completion_rate(service),
        }


class CatalogueSerializer(serializers.Serializer[Any]):
    """Category name → its services."""

    def to_representation(self, instance: Sequence[Listed]) -> dict[str, list[dict[str, Any]]]:
        shape = ServiceSerializer().to_representation
        categories: dict[str, list[dict[str, Any]]] = {}
        for listed in instance:
            categories.setdefault(listed.service.category.shown_name, []).append(shape(listed))
        return categories


class OrderRequestSerializer(serializers.Serializer[Any]):
    """What `POST /orders` takes; which fields a service wants is told by its `type`."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        # Each field of the table of order types; a type takes some of them.
        return {
            "service_id": serializers.IntegerField(min_value=1),
            **{name: _order_field(name, rule) for name, rule in FIELDS.items()},
            "client_ref": serializers.CharField(
                required=False, max_length=CLIENT_REF_LIMIT, help_text="Your own reference."
            ),
        }


class BulkItemSerializer(OrderRequestSerializer):
    """One order of `POST /orders/bulk`."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        key = serializers.CharField(
            required=False,
            max_length=IDEMPOTENCY_KEY_LIMIT,
            help_text="Of this order alone; a repeat gets the first order again.",
        )
        return {**super().get_fields(), "idempotency_key": key}


class BulkRequestSerializer(serializers.Serializer[Any]):
    """1 to 100 orders."""

    orders = serializers.ListField(child=BulkItemSerializer(), min_length=1, max_length=MAX_ORDERS)


def _order_field(name: str, rule: FieldRule) -> serializers.Field[Any, Any, Any, Any]:
    told: dict[str, Any] = {"required": False, "help_text": _order_field_help(name, rule)}
    match rule.kind:
        case FieldKind.NUMBER:
            limits: dict[str, Any] = {"min_value": rule.minimum, "max_value": rule.maximum}
            return serializers.IntegerField(**told, **limits)
        case FieldKind.CHOICE:
            return serializers.ChoiceField([*(rule.choices or {})], **told)
        case FieldKind.LINK:
            return serializers.CharField(max_length=LINK_LIMIT, **told)
        case _:
            return serializers.CharField(**told)


def _order_field_help(name: str, rule: FieldRule) -> str:
    types = [order_type for order_type, row in ORDER_TYPES.items() if name in row.fields]
    types += [
        f"{order_type} (optional)"
        for order_type, row in ORDER_TYPES.items()
        if name in row.optional and not rule.needed_if
    ]
    texts = {
        FieldKind.LINES: "One entry a line, or a list of texts.",
        FieldKind.NAME: "With or without @.",
        FieldKind.DATE: "A day after today, as d/m/Y.",
        FieldKind.COUNTRY: "Two letters or a name; WW is the whole world.",
        FieldKind.URL: "The full address of a page.",
    }
    with translation.override("en"):
        choices = ", ".join(f"{value}: {word}" for value, word in (rule.choices or {}).items())
    needed = "Needed if {} is {}.".format(*rule.needed_if) if rule.needed_if else ""
    unit = "Minutes." if name in ("interval", "delay") else ""
    of_types = f"Types: {', '.join(types)}." if types else ""
    return " ".join(filter(None, (texts.get(rule.kind), choices, unit, needed, of_types)))


class CreatedOrderSerializer(serializers.Serializer[Order]):
    """An order as it was accepted: the same at every repeat, however it has gone on since."""

    id = serializers.IntegerField()
    uuid = serializers.UUIDField()
    service_id = serializers.IntegerField()
    link = serializers.CharField()
    quantity = serializers.IntegerField()
    cost = MoneyField(source="charge")
    currency = serializers.ChoiceField(Currency.choices)
    status = serializers.SerializerMethodField()
    created_at = SecondField()

    def get_status(self, order: Order) -> str:
        return Status.PENDING.value


class PlacedSerializer(serializers.Serializer[Any]):
    """The answer to an accepted order; `balance` is what the wallet holds after it."""

    message = serializers.CharField()
    order = CreatedOrderSerializer()
    balance = MoneyField()


class BulkOutcomeSerializer(serializers.Serializer[Any]):
    """What became of one order: `order`, or why not, in the shape of a refusal."""

    order = CreatedOrderSerializer(required=False)
    error = serializers.CharField(required=False)
    message = serializers.CharField(required=False)
    errors = serializers.DictField(  # type: ignore[assignment]
        child=serializers.ListField(child=serializers.CharField()), required=False
    )
    code = serializers.CharField(required=False)


class BulkMetaSerializer(serializers.Serializer[Any]):
    placed = serializers.IntegerField()
    refused = serializers.IntegerField()


class BulkSerializer(serializers.Serializer[Any]):
    """The outcomes in the order asked; `balance` is what the wallet holds after the newest."""

    data = BulkOutcomeSerializer(many=True)  # type: ignore[assignment]
    meta = BulkMetaSerializer()
    balance = MoneyField()


class ServiceNameSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    name = serializers.CharField(source="shown_name")


class ServiceOfOrderSerializer(ServiceNameSerializer):
    category = serializers.CharField(source="category.shown_name")


class OrderSerializer(serializers.Serializer[Order]):
    """An order in the list. `cost` is what was charged, `refunded` what came back of it."""

    id = serializers.IntegerField()
    uuid = serializers.UUIDField()
    service = ServiceNameSerializer()
    link = serializers.CharField()
    quantity = serializers.IntegerField()
    cost = MoneyField(source="charge")
    status = serializers.ChoiceField(
        [status.value for status in PUBLIC_STATUSES], source="public_status"
    )
    created_at = SecondField()
    completed_at = SecondField(allow_null=True)
    currency = serializers.ChoiceField(Currency.choices)
    refunded = MoneyField()
    start_count = serializers.IntegerField(allow_null=True)
    remains = serializers.IntegerField(allow_null=True)
    client_ref = serializers.CharField(allow_blank=True)


class OrderDetailSerializer(serializers.Serializer[Order]):
    """One order. `external_order_id` is its reference outside this store, null until it has one."""

    id = serializers.IntegerField()
    uuid = serializers.UUIDField()
    service = ServiceOfOrderSerializer()
    link = serializers.CharField()
    quantity = serializers.IntegerField()
    cost = MoneyField(source="charge")
    currency = serializers.ChoiceField(Currency.choices)
    status = serializers.ChoiceField(
        [status.value for status in PUBLIC_STATUSES], source="public_status"
    )
    external_order_id = serializers.CharField(source="public_reference", allow_null=True)
    created_at = SecondField()
    completed_at = SecondField(allow_null=True)
    refunded = MoneyField()
    start_count = serializers.IntegerField(allow_null=True)
    remains = serializers.IntegerField(allow_null=True)
    client_ref = serializers.CharField(allow_blank=True)


class CancelledSerializer(serializers.Serializer[Any]):
    """The answer to a cancellation; the order's `status` tells whether it has ended."""

    message = serializers.CharField()
    order = OrderDetailSerializer()


class RefillSerializer(serializers.Serializer[Refill]):
    """A refill; `reason` says why it was rejected, and is empty otherwise."""

    id = serializers.IntegerField()
    order_id = serializers.IntegerField()
    status = serializers.ChoiceField(PublicRefillState.choices, source="public_state")
    reason = serializers.CharField(source="shown_reason", allow_blank=True)
    created_at = SecondField()
    completed_at = SecondField(
        source="settled_at", allow_null=True, help_text="When it was completed or rejected."
    )


class RefillRequestedSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()
    refill = RefillSerializer()


class MetaSerializer(serializers.Serializer[Any]):
    current_page = serializers.IntegerField()
    total = serializers.IntegerField()
    per_page = serializers.IntegerField()


class OrdersPageSerializer(serializers.Serializer[Any]):
    """A page of orders, newest first."""

    data = OrderSerializer(many=True)  # type: ignore[assignment]
    meta = MetaSerializer()


class TransactionSerializer(serializers.Serializer[Posting]):
    """One movement of the wallet. `amount` is negative where it left; `order_id` is null where it
    is about no order."""

    id = serializers.IntegerField()
    kind = serializers.ChoiceField(_MOVING_WALLETS, source="entry.kind")
    amount = SignedMoneyField()
    currency = serializers.ChoiceField(Currency.choices)
    balance_after = MoneyField()
    order_id = serializers.SerializerMethodField()
    created_at = SecondField(source="entry.created_at")

    def get_order_id(self, posting: Posting) -> int | None:
        return posting.entry.order_id


class TransactionsPageSerializer(serializers.Serializer[Any]):
    """A page of the wallet's transactions, newest first."""

    data = TransactionSerializer(many=True)  # type: ignore[assignment]
    meta = MetaSerializer()


class BalanceSerializer(serializers.Serializer[Any]):
    """`earnings`: referral commissions ever earned; `withdrawable`: what can be paid out now."""

    balance = MoneyField()
    currency = serializers.ChoiceField(Currency.choices)
    earnings = MoneyField()
    withdrawable = MoneyField()


class PageQuerySerializer(serializers.Serializer[Any]):
    """What every list takes. Empty parameters do not count."""

    page = serializers.IntegerField(min_value=1, default=1)
    per_page = serializers.IntegerField(
        min_value=1, default=DEFAULT_PER_PAGE, help_text="More than 100 count as 100."
    )
    created_from = SecondField(required=False, help_text="A date, or a time (UTC by default).")
    created_to = UntilField(required=False, help_text="Included.")


class TransactionsQuerySerializer(PageQuerySerializer):
    """The query of `GET /transactions`."""

    kind = serializers.ChoiceField(_MOVING_WALLETS, required=False)


class OrdersQuerySerializer(PageQuerySerializer):
    """The query of `GET /orders`."""

    status = serializers.ChoiceField([status.value for status in PUBLIC_STATUSES], required=False)
    service_id = serializers.IntegerField(required=False, min_value=0, max_value=_MAX_ID)
    client_ref = serializers.CharField(required=False, max_length=CLIENT_REF_LIMIT)
    ids = serializers.CharField(required=False, help_text="At most 100, separated by commas.")

    def validate_status(self, value: str) -> list[Status]:
        return behind(value)

    def validate_ids(self, value: str) -> list[int]:
        texts = [text.strip() for text in value.split(",") if text.strip()]
        if len(texts) > MAX_IDS:
            raise serializers.ValidationError(gettext_lazy("At most 100 ids are allowed."))
        if not texts or not all(
            text.isascii() and text.isdigit() and len(text) < 20 for text in texts
        ):
            raise serializers.ValidationError(gettext_lazy("Ids are whole numbers."))
        # An id beyond the database's own range names no order, and would break the query.
        return [min(int(text), _MAX_ID) for text in texts]
