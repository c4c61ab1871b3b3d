"""Providers: their settings, and buttons that sync them and test the connection."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminURLInputWidget

from accounts.encryption import SecretUnreadable
from catalog.admin.widgets import DECIMAL_WIDGET, plain
from catalog.models import Provider, SyncOutcome
from catalog.providers import ProviderError
from catalog.providers.registry import client_for
from catalog.sync import sync


class ProviderForm(forms.ModelForm):  # type: ignore[type-arg]
    """The key can be written, and is never shown."""

    base_url = forms.URLField(
        label=_("API address"),
        max_length=300,
        assume_scheme="https",
        widget=UnfoldAdminURLInputWidget,
    )
    new_api_key = forms.CharField(
        label=_("API key"),
        required=False,
        max_length=500,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text=_("It is stored encrypted and never shown. Empty: the key stays as it is."),
    )

    class Meta:
        model = Provider
        fields = (
            "name",
            "dialect",
            "base_url",
            "currency",
            "markup_percent",
            "connect_timeout",
            "read_timeout",
            "enabled",
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["new_api_key"].required = self.instance.pk is None

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if key := self.cleaned_data.get("new_api_key"):
            self.instance.api_key = key
        try:
            # Saving writes it again, by the newest encryption key.
            _read = self.instance.api_key
        except SecretUnreadable:
            text = _("The stored key can no longer be read: enter it again.")
            self.add_error("new_api_key", text)


def _tell_sync(request: HttpRequest, provider: Provider, *, accept_shorter: bool = False) -> None:
    record = sync(provider, accept_shorter=accept_shorter)
    counts = gettext(
        "%(listed)s listed, %(added)s added, %(changed)s changed, %(disabled)s disabled, "
        "%(enabled)s enabled again, %(refused)s refused"
    ) % {
        "listed": record.listed,
        "added": record.added,
        "changed": record.changed,
        "disabled": record.disabled,
        "enabled": record.enabled,
        "refused": record.refused,
    }
    name = provider.name
    if record.outcome == SyncOutcome.FAILED:
        text = gettext("%(name)s: nothing was changed. %(reason)s") % {
            "name": name,
            "reason": record.details["reason"][0],
        }
        messages.error(request, text)
    elif record.outcome == SyncOutcome.HELD:
        text = gettext(
            "%(name)s: held, because %(disabled)s services are missing from the list; nothing was "
            "changed. If that is right, sync again and accept the shorter list."
        ) % {"name": name, "disabled": record.disabled}
        messages.warning(request, text)
    else:
        outcome = SyncOutcome(record.outcome).label
        level = messages.WARNING if record.refused else messages.SUCCESS
        messages.add_message(request, level, f"{name}: {outcome}. {counts}.")


def _tell_connection(request: HttpRequest, provider: Provider) -> None:
    try:
        amount, currency = client_for(provider).balance()
    except (ProviderError, SecretUnreadable) as error:
        messages.error(request, f"{provider.name}: {type(error).__name__}: {error}")
        return
    told = {"name": provider.name, "amount": plain(amount), "currency": currency}
    if currency and currency != provider.currency:
        text = gettext(
            "%(name)s: connected, but the account there is in %(currency)s, not %(ours)s "
            "(balance %(amount)s %(currency)s)."
        ) % {**told, "ours": provider.currency}
        messages.warning(request, text)
    else:
        text = gettext("%(name)s: connected. Balance: %(amount)s %(currency)s.") % told
        messages.success(request, text)


def _confirm(title: Any, description: Any, submit: Any) -> Any:
    """A dialog before an action of a detail page: these would otherwise run by GET."""
    return {"title": title, "description": description, "form_submit_text": submit}


@admin.register(Provider)
class ProviderAdmin(ModelAdmin):
    """Detail buttons and list actions call the same functions and tell how they ended."""

    form = ProviderForm
    formfield_overrides = DECIMAL_WIDGET
    fieldsets = (
        (None, {"fields": ("name", "enabled", "currency", "markup_percent")}),
        (
            _("Connection"),
            {"fields": ("dialect", "base_url", "new_api_key", "connect_timeout", "read_timeout")},
        ),
    )
    list_display = ("name", "dialect", "currency", "markup_percent", "listed_services", "enabled")
    list_filter = ("enabled", "dialect")
    search_fields = ("name", "base_url")
    actions = ("sync_selected", "accept_shorter_selected", "test_selected")
    actions_detail = ("sync_now", "accept_shorter_list", "test_connection")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        queryset: QuerySet[Provider] = super().get_queryset(request)
        return queryset.annotate(
            known=Count("services"),
            listed=Count("services", filter=Q(services__vanished_at=None)),
        )

    @display(description=_("services listed"), ordering="listed")
    def listed_services(self, provider: Provider) -> str:
        return f"{provider.listed} / {provider.known}"  # type: ignore[attr-defined]

    @action(description=_("Sync now"), permissions=["change"])
    def sync_selected(self, request: HttpRequest, queryset: QuerySet[Provider]) -> None:
        for provider in queryset:
            _tell_sync(request, provider)

    @action(description=_("Sync and accept a shorter list"), permissions=["change"])
    def accept_shorter_selected(self, request: HttpRequest, queryset: QuerySet[Provider]) -> None:
        for provider in queryset:
            _tell_sync(request, provider, accept_shorter=True)

    @action(description=_("Test the connection"), permissions=["change"])
    def test_selected(self, request: HttpRequest, queryset: QuerySet[Provider]) -> None:
        for provider in queryset:
            _tell_connection(request, provider)

    @action(
        description=_("Sync now"),
        permissions=["change"],
        icon="sync",
        dialog=_confirm(
            _("Sync now"), _("Fetches the provider's list and stores what differs."), _("Sync")
        ),
    )
    def sync_now(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        return self._run(request, object_id, _tell_sync)

    @action(
        description=_("Accept a shorter list"),
        permissions=["change"],
        icon="playlist_remove",
        dialog=_confirm(
            _("Sync and accept a shorter list"),
            _("Services that the provider's list lacks are disabled, however many they are."),
            _("Sync and accept"),
        ),
    )
    def accept_shorter_list(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        return self._run(request, object_id, _tell_sync, accept_shorter=True)

    @action(
        description=_("Test the connection"),
        permissions=["change"],
        icon="network_check",
        dialog=_confirm(
            _("Test the connection"), _("Asks the provider for our balance there."), _("Test")
        ),
    )
    def test_connection(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        return self._run(request, object_id, _tell_connection)

    def _run(self, request: HttpRequest, object_id: str, tell: Any, **options: Any) -> HttpResponse:
        provider = self.get_object(request, object_id)
        if provider is None:
            return HttpResponseRedirect(reverse("admin:catalog_provider_changelist"))
        tell(request, provider, **options)
        page = reverse("admin:catalog_provider_change", args=[provider.pk])
        if "HX-Request" in request.headers:
            # The dialog is sent by htmx, which would put a redirect's page into the dialog.
            return HttpResponse(headers={"HX-Redirect": page})
        return HttpResponseRedirect(page)
