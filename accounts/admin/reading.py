"""Lists and pages that staff read and never edit, and how they show money and days."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, ClassVar

from django.contrib.auth import get_permission_codename
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import RadioFilter, RangeDateFilter
from unfold.utils import parse_date_str

from accounts.formatting import money
from accounts.models import Posting


def shown(amount: Decimal, currency: str) -> str:
    """The exact amount in the reader's language."""
    return money(amount, currency, get_language() or "en")


def moment(value: datetime) -> SafeString:
    """The time in the reader's language and time zone, short and on one line."""
    text = date_format(timezone.localtime(value), "SHORT_DATETIME_FORMAT")
    return format_html('<span class="whitespace-nowrap">{}</span>', text)


class OnlyRead:
    """Rows that nobody adds, changes or deletes by hand: of a list, or of an inline."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(OnlyRead, ModelAdmin):
    """Nobody adds, edits or deletes here, superusers included; actions may still be offered.

    What actions do is up to staff who have the model's "change" permission (`permissions=["act"]`).
    """

    show_full_result_count = False

    def has_act_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        codename = get_permission_codename("change", self.opts)
        return request.user.has_perm(f"{self.opts.app_label}.{codename}")


class DayRangeFilter(RangeDateFilter):
    """From one day to another, both included, as the reader's time zone counts days.

    It narrows an indexed column to a range; a date hierarchy would read the whole table.
    """

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if first := self._day("from"):
            start = timezone.make_aware(datetime.combine(first, time.min))
            queryset = queryset.filter(**{f"{self.parameter_name}__gte": start})
        if last := self._day("to"):
            end = timezone.make_aware(datetime.combine(last, time.max))
            queryset = queryset.filter(**{f"{self.parameter_name}__lte": end})
        return queryset

    def _day(self, end: str) -> date | None:
        day: date | None = parse_date_str(self.used_parameters.get(f"{self.parameter_name}_{end}"))
        # Years that no order is of, and that no database converts between time zones.
        return day if day and 2000 <= day.year < 3000 else None


class PlayFilter(RadioFilter):
    """Real rows, unless those of sandbox keys are asked for; `is_play` finds these."""

    title = _("money")
    parameter_name = "money"
    all_option = None
    is_play: ClassVar[Q]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("real", _("Real money")), ("play", _("Play money")), ("all", _("All"))]

    def value(self) -> str:
        return super().value() or "real"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "all":
                return queryset
            case "play":
                return queryset.filter(self.is_play)
            case _:
                return queryset.exclude(self.is_play)


def ledger_context(
    request: HttpRequest, postings: QuerySet[Posting], *, title: str | Promise
) -> dict[str, Any]:
    """The postings as a table for `admin/ledger_table.html`, with one query.

    Empty for staff who may not see postings.
    """
    if not request.user.has_perm("accounts.view_posting"):
        return {}
    headers = [_("time"), _("entry"), _("account"), _("amount"), _("balance after"), _("reason")]
    rows = [
        [
            moment(posting.entry.created_at),
            format_html('<span class="break-anywhere">{}</span>', posting.entry_id),
            posting.get_account_display(),
            shown(posting.amount, posting.currency),
            "–"
            if posting.balance_after is None
            else shown(posting.balance_after, posting.currency),
            posting.entry.reason or "–",
        ]
        for posting in postings.select_related("entry")
    ]
    return {"ledger_title": title, "ledger_table": {"headers": headers, "rows": rows}}
