"""Providers: their settings, how they are doing, and buttons that sync, test and interrupt them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminURLInputWidget

from accounts.admin.acting import ActingAdmin, StaffAction
from accounts.admin.reading import moment
from accounts.encryption import SecretUnreadable
from accounts.models import User
from catalog import health
from catalog.admin.widgets import DECIMAL_WIDGET, plain
from catalog.models import Breaker, Dialect, Provider, SyncOutcome
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
            "maintenance",
            "requests_per_minute",
            "low_balance",
            "reconcile_by_ids",
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["new_api_key"].required = self.instance.pk is None
        dialect = self.fields["dialect"]
        assert isinstance(dialect, forms.ChoiceField)
        dialect.choices = [choice for choice in Dialect.choices if choice[0] != Dialect.PLAY]
        if self.instance.low_balance is not None:
            self.initial["low_balance"] = plain(self.instance.low_balance)

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


def _amount(amount: Decimal | None, currency: str) -> str:
    return "–" if amount is None else f"{plain(amount)} {currency}"


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


def _interrupt(provider: Provider, actor: User, given: dict[str, Any]) -> str:
    health.trip(provider, f"{actor}: {given['reason']}")
    return gettext("%(name)s is interrupted.") % {"name": provider.name}


def _close_breaker(provider: Provider, actor: User, given: dict[str, Any]) -> str:
    if not health.close(provider):
        raise ValidationError(gettext("The provider is not interrupted."))
    return gettext("%(name)s is called again.") % {"name": provider.name}


def _facts(provider: Provider) -> list[tuple[str | Promise, str]]:
    facts: list[tuple[str | Promise, str]] = [
        (_("provider"), provider.name),
        (_("health"), str(_condition(provider).label)),
        (_("orders waiting"), str(_waiting(provider).count())),
    ]
    if provider.breaker_reason:
        facts.append((_("interrupted because"), provider.breaker_reason))
    return facts


INTERRUPT = StaffAction(
    title=_("Interrupt"),
    explanation=_(
        "Nothing is asked of the provider for a minute; then one call tries whether it is back. "
        "Orders wait, or go to substitutes. To hold orders for longer, use maintenance."
    ),
    do=_interrupt,
    facts=_facts,
)
CLOSE_BREAKER = StaffAction(
    title=_("Close the circuit breaker"),
    explanation=_("The provider is called again at once, and waiting orders are sent."),
    do=_close_breaker,
    facts=_facts,
)


class Condition(models.TextChoices):
    """How a provider is doing; the first that applies."""

    DISABLED = "disabled", _("Disabled")
    INTERRUPTED = "interrupted", _("Interrupted")
    MAINTENANCE = "maintenance", _("Maintenance")
    OUT_OF_FUNDS = "out_of_funds", _("Waiting for funds")
    LOW_BALANCE = "low_balance", _("Low balance")
    WORKING = "working", _("Working")


_COLOURS = {
    Condition.DISABLED: "info",
    Condition.INTERRUPTED: "danger",
    Condition.MAINTENANCE: "warning",
    Condition.OUT_OF_FUNDS: "danger",
    Condition.LOW_BALANCE: "warning",
    Condition.WORKING: "success",
}


def _condition(provider: Provider) -> Condition:
    if not provider.enabled:
        return Condition.DISABLED
    if provider.breaker != Breaker.CLOSED:
        return Condition.INTERRUPTED
    if provider.maintenance:
        return Condition.MAINTENANCE
    if provider.funds_wait_until is not None:
        return Condition.OUT_OF_FUNDS
    if None not in (low := provider.low_balance, has := provider.balance) and has < low:
        return Condition.LOW_BALANCE
    return Condition.WORKING


def _waiting(provider: Provider) -> QuerySet[Any]:
    """Its orders that have not been sent. The catalogue does not know orders: by their names."""
    waiting: QuerySet[Any] = provider.orders.filter(status="pending", send_after__isnull=False)
    return waiting


# What the machine keeps of a provider: shown, and never edited.
_HEALTH = (
    "condition_now",
    "interrupted",
    "failures",
    "waiting_for_funds",
    "balance_there",
    "balance_by_book",
    "orders_waiting",
)


@admin.register(Provider)
class ProviderAdmin(ActingAdmin):
    """Detail buttons and list actions call the same functions and tell how they ended."""

    form = ProviderForm
    formfield_overrides = DECIMAL_WIDGET
    fieldsets = (
        (None, {"fields": ("name", "enabled", "maintenance", "currency", "markup_percent")}),
        (
            _("Connection"),
            {"fields": ("dialect", "base_url", "new_api_key", "connect_timeout", "read_timeout")},
        ),
        (_("Limits"), {"fields": ("requests_per_minute", "low_balance", "reconcile_by_ids")}),
        (
            _("How it is doing"),
            {"fields": _HEALTH},
        ),
    )
    readonly_fields = _HEALTH
    list_display = (
        "name",
        "condition",
        "dialect",
        "currency",
        "balance_shown",
        "markup_percent",
        "listed_services",
    )
    list_filter = ("enabled", "maintenance", "breaker", "dialect")
    search_fields = ("name", "base_url")
    actions = ("sync_selected", "accept_shorter_selected", "test_selected")
    actions_detail = (
        "sync_now",
        "accept_shorter_list",
        "test_connection",
        "interrupt",
        "close_breaker",
    )

    def get_fieldsets(self, request: HttpRequest, obj: Provider | None = None) -> Any:
        # One that is being added has done nothing yet.
        return self.fieldsets if obj else self.fieldsets[:-1]

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """Of the two that move the circuit breaker, the one that it can do."""
        actions: list[Any] = super().get_actions_detail(request, object_id)
        provider = self.get_object(request, unquote(str(object_id)))
        is_closed = provider is None or provider.breaker == Breaker.CLOSED
        hidden = "close_breaker" if is_closed else "interrupt"
        return [action for action in actions if action.method.original_function_name != hidden]

    def save_model(self, request: HttpRequest, obj: Provider, form: Any, change: bool) -> None:
        if not change:
            obj.save()
            return
        # Only what staff changed, and the key, which is written again by the newest encryption
        # key: the machine's columns may have moved since the form was read.
        obj.save(update_fields={"api_key", *form.changed_data} - {"new_api_key"})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        # Nothing of the one of sandbox keys is staff's to change.
        queryset: QuerySet[Provider] = super().get_queryset(request).exclude(dialect=Dialect.PLAY)
        return queryset.annotate(
            known=Count("services"),
            listed=Count("services", filter=Q(services__vanished_at=None)),
        )

    @display(description=_("services listed"), ordering="listed")
    def listed_services(self, provider: Provider) -> str:
        return f"{provider.listed} / {provider.known}"  # type: ignore[attr-defined]

    @display(description=_("health"), label=_COLOURS)
    def condition(self, provider: Provider) -> tuple[str, Any]:
        condition = _condition(provider)
        return condition, condition.label

    @display(description=_("balance"), ordering="balance")
    def balance_shown(self, provider: Provider) -> str:
        return _amount(provider.balance, provider.currency)

    @display(description=_("health"))
    def condition_now(self, provider: Provider) -> str:
        condition = _condition(provider)
        label = {"text": condition.label, "type": _COLOURS[condition]}
        return render_to_string("unfold/helpers/label.html", label)

    @display(description=_("interrupted"))
    def interrupted(self, provider: Provider) -> str:
        if provider.breaker == Breaker.CLOSED or provider.breaker_until is None:
            return "–"
        return format_html(
            "{} · {}: {}",
            provider.breaker_reason,
            gettext("is tried again"),
            moment(provider.breaker_until),
        )

    @display(description=_("waiting for funds"))
    def waiting_for_funds(self, provider: Provider) -> str:
        until = provider.funds_wait_until
        if until is None:
            return "–"
        return format_html("{}: {}", gettext("is tried again"), moment(until))

    @display(description=_("balance there"))
    def balance_there(self, provider: Provider) -> str:
        text = _amount(provider.balance, provider.currency)
        if provider.balance_at is None:
            return text
        return format_html("{} ({})", text, moment(provider.balance_at))

    @display(description=_("balance by our book"))
    def balance_by_book(self, provider: Provider) -> str:
        return _amount(provider.book_balance, provider.currency)

    @display(description=_("orders waiting"))
    def orders_waiting(self, provider: Provider) -> str:
        page = reverse("admin:orders_order_changelist")
        query = urlencode({"provider__id__exact": provider.pk, "status__exact": "pending"})
        return format_html(
            '<a class="text-link" href="{}?{}">{}</a>', page, query, _waiting(provider).count()
        )

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

    @action(description=INTERRUPT.title, permissions=["change"], icon="pause_circle")
    def interrupt(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(request, object_id, INTERRUPT)

    @action(description=CLOSE_BREAKER.title, permissions=["change"], icon="play_circle")
    def close_breaker(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(request, object_id, CLOSE_BREAKER)

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
