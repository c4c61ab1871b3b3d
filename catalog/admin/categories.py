"""Categories: their names, networks, order and visibility."""

from __future__ import annotations

from collections.abc import Sequence

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display

from catalog.admin.widgets import DECIMAL_WIDGET
from catalog.models import Category, Service


@admin.register(Category)
class CategoryAdmin(ModelAdmin):
    """Order and visibility are edited in the list."""

    fields = ("source_name", "name", "network", "position", "markup_percent", "enabled")
    list_display = ("shown_name", "source_name", "network", "services_count", "position", "enabled")
    list_editable = ("position", "enabled")
    formfield_overrides = DECIMAL_WIDGET
    list_filter = ("network", "enabled")
    search_fields = ("source_name", "name")
    list_per_page = 50

    def get_readonly_fields(
        self, request: HttpRequest, obj: Category | None = None
    ) -> Sequence[str]:
        return ("source_name",) if obj else ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Category]:
        queryset: QuerySet[Category] = super().get_queryset(request)
        return queryset.annotate(
            orderable=Count("services", filter=Q(services__in=Service.objects.orderable()))
        )

    @display(description=_("our name"), ordering="name")
    def shown_name(self, category: Category) -> str:
        return category.shown_name

    @display(description=_("can be ordered"), ordering="orderable")
    def services_count(self, category: Category) -> int:
        return category.orderable  # type: ignore[attr-defined,no-any-return]
