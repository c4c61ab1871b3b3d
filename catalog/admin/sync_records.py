"""Sync records: what each sync did, to be read only."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display

from catalog.models import SyncOutcome, SyncRecord


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
    fields = (*list_display, "told")
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: SyncRecord | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SyncRecord | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[SyncRecord]:
        queryset: QuerySet[SyncRecord] = super().get_queryset(request)
        return queryset.select_related("provider").defer("provider__api_key")

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
                (kind, format_html_join("", "<li>{}</li>", ((line,) for line in lines)))
                for kind, lines in record.details.items()
            ),
        )
