"""Customers' webhooks and how telling them went: read by staff, switched off by staff."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.decorators import action, display
from unfold.paginator import InfinitePaginator

from accounts import webhooks
from accounts.admin.acting import ActingAdmin, StaffAction
from accounts.admin.reading import DayRangeFilter, OnlyRead, ReadOnlyAdmin, moment
from accounts.models import (
    DeliveryState,
    DisabledBecause,
    User,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
)
from accounts.webhooks import WebhookNotFound


def _switch_off(endpoint: WebhookEndpoint, staff: User, answers: dict[str, Any]) -> str:
    try:
        webhooks.stop(endpoint, DisabledBecause.STAFF)
    except WebhookNotFound:
        raise ValidationError(gettext("Removed by the customer")) from None
    return gettext("The webhook is switched off.")


SWITCH_OFF = StaffAction(
    title=_("Switch off"),
    explanation=_("Nothing more is sent to this address. Its owner can switch it on again."),
    do=_switch_off,
    facts=lambda endpoint: [
        (_("customer"), str(endpoint.user.sandbox_of or endpoint.user)),
        (_("address"), endpoint.url),
    ],
)


# What the customer reads as "by you".
_WORDS_FOR_STAFF = {
    DisabledBecause.CUSTOMER.value: _("Switched off by the customer"),
    DisabledBecause.REMOVED.value: _("Removed by the customer"),
}


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnlyAdmin, ActingAdmin):
    """Where customers want to be told. The secret is never shown."""

    list_display = ("url", "owner", "state", "since")
    list_filter = (
        ("disabled_at", admin.EmptyFieldListFilter),
        ("failing_since", admin.EmptyFieldListFilter),
    )
    list_select_related = ("user__sandbox_of",)
    search_fields = ("url", "user__email")
    ordering = ("-pk",)
    fields = (
        "url",
        "owner",
        "description",
        "events_shown",
        "state_words",
        "created_at",
        "failing_since",
        "disabled_at",
        "previous_until",
        "deliveries_page",
    )
    actions_detail = ("switch_off",)

    @display(
        description=_("state"),
        label={"working": "success", "failing": "warning", "off": "danger"},
    )
    def state(self, endpoint: WebhookEndpoint) -> tuple[str, Any]:
        words = self.state_words(endpoint)
        if endpoint.disabled_at:
            return "off", words
        return ("failing" if endpoint.failing_since else "working"), words

    @display(description=_("state"))
    def state_words(self, endpoint: WebhookEndpoint) -> Any:
        if endpoint.disabled_at:
            because = endpoint.get_disabled_because_display()
            return _WORDS_FOR_STAFF.get(endpoint.disabled_because, because)
        return _("Failing") if endpoint.failing_since else _("Working")

    @display(description=_("since"), empty_value="–")
    def since(self, endpoint: WebhookEndpoint) -> str | None:
        began = endpoint.disabled_at or endpoint.failing_since
        return moment(began) if began else None

    @display(description=_("customer"))
    def owner(self, endpoint: WebhookEndpoint) -> str:
        owner = endpoint.user.sandbox_of
        return f"{owner} ({gettext('Sandbox')})" if owner else str(endpoint.user)

    @display(description=_("events"))
    def events_shown(self, endpoint: WebhookEndpoint) -> str:
        return ", ".join(endpoint.events)

    @display(description=_("webhook deliveries"))
    def deliveries_page(self, endpoint: WebhookEndpoint) -> str:
        address = reverse("admin:accounts_webhookdelivery_changelist")
        link = '<a class="text-link" href="{}?endpoint__id__exact={}">{}</a>'
        return format_html(link, address, endpoint.pk, _("Show"))

    @action(description=SWITCH_OFF.title, icon="notifications_off", permissions=["act"])
    def switch_off(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(request, object_id, SWITCH_OFF)


class AttemptInline(OnlyRead, TabularInline):
    """Each request, and what was answered."""

    model = WebhookAttempt
    fields = ("at", "status", "milliseconds", "answer", "error")
    readonly_fields = fields
    extra = 0
    hide_title = True


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    """The log of the last 30 days, as the webhooks' owners see theirs."""

    list_display = ("time", "type", "subject", "endpoint", "state_shown", "attempts", "next_at")
    list_display_links = ("time",)
    list_filter = ("state", ("created_at", DayRangeFilter))
    list_filter_submit = True
    list_select_related = ("endpoint", "event")
    search_fields = ("subject__exact", "endpoint__url", "endpoint__user__email")
    ordering = ("-pk",)
    paginator = InfinitePaginator
    fields = (
        "time",
        "type",
        "subject",
        "event_id",
        "endpoint",
        "state",
        "attempts",
        "next_at",
        "replay",
        "body",
    )
    inlines = (AttemptInline,)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup == "endpoint__id__exact" or super().lookup_allowed(lookup, value, request)

    @display(description=_("time"), ordering="pk")
    def time(self, delivery: WebhookDelivery) -> str:
        return moment(delivery.created_at)

    @display(description=_("event"))
    def type(self, delivery: WebhookDelivery) -> str:
        return delivery.event.type

    @display(
        description=_("state"),
        label={
            DeliveryState.PENDING.value: "info",
            DeliveryState.DELIVERED.value: "success",
            DeliveryState.FAILED.value: "danger",
        },
    )
    def state_shown(self, delivery: WebhookDelivery) -> tuple[str, Any]:
        return delivery.state, delivery.get_state_display()

    @display(description=_("body"))
    def body(self, delivery: WebhookDelivery) -> str:
        return delivery.event.body
