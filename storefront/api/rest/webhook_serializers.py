"""The shapes of webhooks in the REST dialect."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.models import (
    DeliveryState,
    DisabledBecause,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookType,
)
from storefront.api.rest.pagination import DEFAULT_PER_PAGE
from storefront.api.rest.serializers import MetaSerializer, SecondField

MAX_GRACE_HOURS = 7 * 24
_DISABLED_BECAUSE = [one.value for one in DisabledBecause if one != DisabledBecause.REMOVED]
STATUSES = ("working", "failing", "disabled")
# What a customer subscribes to, and the test event, which is sent whenever it is asked for.
EVENT_TYPES = (*WebhookType.values, "test")


class EventsField(serializers.MultipleChoiceField):
    """Types of events, each once, in the order of the documents."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=WebhookType.values, **kwargs)

    def to_internal_value(self, data: Any) -> list[str]:  # type: ignore[override]
        given = super().to_internal_value(data)
        return [name for name in WebhookType.values if name in given]

    def to_representation(self, value: list[str]) -> list[str]:  # type: ignore[override]
        return list(value)


class WebhookSerializer(serializers.Serializer[WebhookEndpoint]):
    """An endpoint. `failing`: nothing has succeeded since `failing_since`; `disabled`: nothing is
    sent to it."""

    id = serializers.IntegerField()
    url = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    events = EventsField()
    status = serializers.SerializerMethodField()
    failing_since = SecondField(allow_null=True)
    disabled_at = SecondField(allow_null=True)
    disabled_because = serializers.SerializerMethodField()
    previous_secret_until = SecondField(source="previous_until", allow_null=True)
    created_at = SecondField()

    @extend_schema_field(serializers.ChoiceField(STATUSES))
    def get_status(self, endpoint: WebhookEndpoint) -> str:
        if endpoint.disabled_at:
            return "disabled"
        return "failing" if endpoint.failing_since else "working"

    @extend_schema_field(serializers.ChoiceField(_DISABLED_BECAUSE, allow_null=True))
    def get_disabled_because(self, endpoint: WebhookEndpoint) -> str | None:
        return endpoint.disabled_because or None


class WebhookRequestSerializer(serializers.Serializer[Any]):
    """What `POST /webhooks` takes."""

    url = serializers.CharField(max_length=500, help_text="A public https address.")
    events = EventsField(allow_empty=False)
    description = serializers.CharField(
        required=False, allow_blank=True, default="", max_length=100
    )


class RotateRequestSerializer(serializers.Serializer[Any]):
    """What `POST /webhooks/{id}/rotate` takes."""

    grace_hours = serializers.IntegerField(
        required=False,
        default=24,
        min_value=0,
        max_value=MAX_GRACE_HOURS,
        help_text="How long requests carry the old secret's signature too.",
    )


class WebhooksSerializer(serializers.Serializer[Any]):
    """All endpoints, oldest first."""

    data = WebhookSerializer(many=True)  # type: ignore[assignment]


class WebhookChangedSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()
    webhook = WebhookSerializer()


class WebhookSecretSerializer(WebhookChangedSerializer):
    """`secret` is told this once: it signs what is sent from now on."""

    secret = serializers.CharField()


class WebhookRemovedSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()


class DeliverySerializer(serializers.Serializer[WebhookDelivery]):
    """Telling one endpoint of one event. `event_id` is the header `webhook-id` of each attempt."""

    id = serializers.IntegerField()
    webhook_id = serializers.IntegerField(source="endpoint_id")
    event_id = serializers.UUIDField()
    type = serializers.ChoiceField(EVENT_TYPES, source="event.type")
    status = serializers.ChoiceField(DeliveryState.values, source="state")
    attempts = serializers.IntegerField()
    next_attempt_at = SecondField(source="next_at", allow_null=True)
    replay = serializers.BooleanField()
    created_at = SecondField()


class AttemptSerializer(serializers.Serializer[WebhookAttempt]):
    """One request. `http_status` is null and `error` says why where no answer came; `answer` is
    the first kilobyte of it."""

    at = SecondField()
    http_status = serializers.IntegerField(source="status", allow_null=True)
    milliseconds = serializers.IntegerField()
    answer = serializers.CharField(allow_blank=True)
    error = serializers.CharField(allow_blank=True)


class DeliveryDetailSerializer(DeliverySerializer):
    """With the body as it is sent (empty until the first attempt) and every attempt."""

    body = serializers.CharField(source="event.body", allow_blank=True)
    log = AttemptSerializer(source="log.all", many=True)


class DeliverySentSerializer(serializers.Serializer[Any]):
    message = serializers.CharField()
    delivery = DeliverySerializer()


class DeliveriesPageSerializer(serializers.Serializer[Any]):
    """A page of deliveries, newest first."""

    data = DeliverySerializer(many=True)  # type: ignore[assignment]
    meta = MetaSerializer()


class DeliveriesQuerySerializer(serializers.Serializer[Any]):
    """The query of `GET /webhooks/{id}/deliveries`. Empty parameters do not count."""

    status = serializers.ChoiceField(DeliveryState.values, required=False, default="")
    page = serializers.IntegerField(min_value=1, default=1)
    per_page = serializers.IntegerField(
        min_value=1, default=DEFAULT_PER_PAGE, help_text="More than 100 count as 100."
    )
