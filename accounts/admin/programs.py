"""API keys and what was asked with them: read by staff, ended by staff, never shown in full."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display
from unfold.paginator import InfinitePaginator

from accounts import api_keys, limits
from accounts.admin.acting import ActingAdmin, StaffAction
from accounts.admin.reading import DayRangeFilter, ReadOnlyAdmin, moment
from accounts.models import ApiKey, ApiRequest, Permission, User


def _revoke(api_key: ApiKey, staff: User, answers: dict[str, Any]) -> str:
    api_keys.revoke(api_key)
    return gettext("The key is revoked.")


REVOKE = StaffAction(
    title=_("Revoke"),
    explanation=_("Programs that use this key are refused from now on. It cannot be undone."),
    do=_revoke,
    facts=lambda api_key: [
        (_("customer"), str(api_key.user)),
        (_("name"), api_key.name),
        (_("prefix"), f"{api_key.prefix}…"),
    ],
)


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin, ActingAdmin):
    """Keys are made by their owners; staff can only end them. The digest is never shown."""

    list_display = (
        "prefix_shown",
        "name",
        "user",
        "kind",
        "wallet_currency",
        "state_shown",
        "made",
        "used",
    )
    list_filter = (("revoked_at", admin.EmptyFieldListFilter), "sandbox", "currency")
    list_select_related = ("user",)
    search_fields = ("prefix__startswith", "name", "user__email")
    search_help_text = _("Beginning of the key, its name, or its owner's e-mail address")
    fields = (
        "prefix_shown",
        "name",
        "user",
        "sandbox",
        "currency",
        "state_word",
        "used_today",
        "may",
        "networks_shown",
        "created_at",
        "expires_at",
        "previous_until",
        "last_used_at",
        "last_used_ip",
        "revoked_at",
        "requests_page",
    )
    actions_detail = ("revoke",)

    @display(description=_("prefix"), ordering="prefix")
    def prefix_shown(self, api_key: ApiKey) -> str:
        return f"{api_key.prefix}…"

    @display(description=_("kind"), label={"sandbox": "info"}, ordering="sandbox")
    def kind(self, api_key: ApiKey) -> tuple[str, Any]:
        return ("sandbox", _("Sandbox")) if api_key.sandbox else ("real", _("Real"))

    @display(description=_("currency"), ordering="currency")
    def wallet_currency(self, api_key: ApiKey) -> str:
        return api_key.currency

    @display(
        description=_("state"),
        label={"active": "success", "expired": "warning", "revoked": "danger"},
    )
    def state_shown(self, api_key: ApiKey) -> tuple[str, Any]:
        return api_key.state.value, api_key.state.label

    @display(description=_("state"))
    def state_word(self, api_key: ApiKey) -> str:
        return str(api_key.state.label)

    @display(description=_("created"), ordering="created_at")
    def made(self, api_key: ApiKey) -> str:
        return moment(api_key.created_at)

    @display(description=_("last used"), ordering="last_used_at", empty_value="–")
    def used(self, api_key: ApiKey) -> str | None:
        return moment(api_key.last_used_at) if api_key.last_used_at else None

    @display(description=_("requests today"))
    def used_today(self, api_key: ApiKey) -> str:
        use = limits.use_of([api_key])[api_key.pk]
        return f"{use.day} / {use.per_day}"

    @display(description=_("permissions"))
    def may(self, api_key: ApiKey) -> str:
        return ", ".join(str(each.label) for each in Permission if each in api_key.permissions)

    @display(description=_("allowed networks"))
    def networks_shown(self, api_key: ApiKey) -> str:
        return ", ".join(api_key.networks) or gettext("Any address")

    @display(description=_("requests"))
    def requests_page(self, api_key: ApiKey) -> str:
        address = reverse("admin:accounts_apirequest_changelist")
        link = '<a class="text-link" href="{}?api_key__id__exact={}">{}</a>'
        return format_html(link, address, api_key.pk, _("Show"))

    @action(description=REVOKE.title, icon="key_off", permissions=["act"])
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(request, object_id, REVOKE)


@admin.register(ApiRequest)
class ApiRequestAdmin(ReadOnlyAdmin):
    """The log of the last 30 days, as the keys' owners see theirs."""

    list_display = ("time", "api_key", "dialect", "action", "result", "status", "milliseconds")
    list_display_links = ("time",)
    list_filter = ("dialect", ("at", DayRangeFilter))
    list_filter_submit = True
    list_select_related = ("api_key",)
    search_fields = ("api_key__prefix__startswith", "api_key__user__email", "result__exact")
    search_help_text = _("Beginning of the key, its owner's e-mail address, or a result")
    ordering = ("-pk",)
    paginator = InfinitePaginator
    fields = (
        "time",
        "api_key",
        "owner",
        "dialect",
        "action",
        "result",
        "status",
        "milliseconds",
        "address",
        "request",
        "answer",
    )

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup == "api_key__id__exact" or super().lookup_allowed(lookup, value, request)

    @display(description=_("time"), ordering="pk")
    def time(self, entry: ApiRequest) -> str:
        return moment(entry.at)

    @display(description=_("customer"))
    def owner(self, entry: ApiRequest) -> str:
        return str(entry.api_key.user)
