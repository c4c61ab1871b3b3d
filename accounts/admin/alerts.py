"""What staff must look at."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.contrib.filters.admin import RadioFilter
from unfold.decorators import action, display

from accounts.admin.reading import ReadOnlyAdmin, moment
from accounts.alerts import close
from accounts.models import Alert


class OpenFilter(RadioFilter):
    """Open ones, unless asked otherwise."""

    title = _("state")
    parameter_name = "state"
    all_option = None

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("open", _("Open")), ("resolved", _("Resolved")), ("all", _("All"))]

    def value(self) -> str:
        return super().value() or "open"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Alert]) -> QuerySet[Alert]:
        if self.value() == "all":
            return queryset
        return queryset.filter(resolved_at__isnull=self.value() != "resolved")


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    """Raised by the shop, resolved by it or by staff."""

    list_display = ("code", "subject_link", "message_start", "times", "since", "last", "state")
    list_filter = (OpenFilter, "code")
    search_fields = ("code", "subject", "message")
    fields = (
        "code",
        "subject_link",
        "message",
        "times",
        "created_at",
        "last_at",
        "resolved_at",
    )
    actions = ("resolve_selected",)

    @display(description=_("state"), label={"open": "danger", "resolved": "success"})
    def state(self, alert: Alert) -> tuple[str, Any]:
        return ("resolved", _("Resolved")) if alert.resolved_at else ("open", _("Open"))

    @display(description=_("message"))
    def message_start(self, alert: Alert) -> str:
        return Truncator(alert.message).chars(120)

    @display(description=_("since"), ordering="created_at")
    def since(self, alert: Alert) -> str:
        return moment(alert.created_at)

    @display(description=_("last time"), ordering="last_at")
    def last(self, alert: Alert) -> str:
        return moment(alert.last_at)

    @display(description=_("subject"), ordering="subject")
    def subject_link(self, alert: Alert) -> str:
        """“order:42” leads to order 42, whichever app registered orders."""
        name, _colon, key = alert.subject.partition(":")
        for model in self.admin_site._registry:
            if model._meta.model_name == name and key.isdecimal():
                page = f"admin:{model._meta.app_label}_{name}_change"
                return format_html(
                    '<a class="text-link" href="{}">{}</a>',
                    reverse(page, args=[key]),
                    alert.subject,
                )
        return alert.subject

    @action(description=_("Mark as resolved"), permissions=["act"])
    def resolve_selected(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        for alert in queryset.filter(resolved_at=None):
            self.log_change(request, alert, "Resolved")
        number = close(queryset)
        told = ngettext("%(number)s alert resolved.", "%(number)s alerts resolved.", number)
        messages.success(request, told % {"number": number})
