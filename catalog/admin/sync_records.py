"""Sync records: what each sync did, to be read only."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display

from catalog.models import SyncOutcome, SyncRecord

_HEADINGS = {
    "added": _("added"),
    "changed": _("changed"),
    "disabled": _("disabled"),
    "enabled": _("enabled again"),
    "refused": _("refused"),
    "reason": _("reason"),
}


@admin.register(SyncRecord)
class SyncRecordAdmin(ModelAdmin):
    """What syncs did; nothing here can be changed."""

    list_display = (
        "created_at",
        "provider",
        "outcome_label",
        "listed",
        "added",
        "changed",
        "disabled",
        "enabled",
        "refused",
    )
    list_filter = ("outcome", "provider")
    list_select_related = ("provider",)
    fields = (
        "created_at",
        "provider",
        "outcome",
        "listed",
        "added",
        "changed",
        "disabled",
        "enabled",
        "refused",
        "told",
    )
    readonly_fields = ("told",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: SyncRecord | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SyncRecord | None = None) -> bool:
        return False

    @display(
        description=_("outcome"),
        ordering="outcome",
        label={
            SyncOutcome.CHANGED: "success",
            SyncOutcome.UNCHANGED: "info",
            SyncOutcome.HELD: "warning",
            SyncOutcome.FAILED: "danger",
        },
    )
    def outcome_label(self, record: SyncRecord) -> tuple[str, str]:
        return record.outcome, record.get_outcome_display()

    @display(description=_("details"))
    def told(self, record: SyncRecord) -> SafeString:
        return format_html_join(
            "",
            "<p><strong>{}</strong></p><ul>{}</ul>",
            (
                (
                    _HEADINGS[kind],
                    format_html_join("", "<li>{}</li>", ((line,) for line in lines)),
                )
                for kind, lines in record.details.items()
            ),
        )
