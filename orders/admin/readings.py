"""Readings of the providers' balances against our book of them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesCheckboxFilter, RelatedDropdownFilter
from unfold.decorators import action, display

from accounts.admin.acting import ActingAdmin, StaffAction
from accounts.admin.reading import ReadOnlyAdmin, moment
from accounts.models import User
from orders import book
from orders.cancellations import ActionRefused
from orders.models import BookReading, Outcome

_COLOURS = {
    Outcome.OPENED: "info",
    Outcome.AGREED: "success",
    Outcome.UNKNOWN: "warning",
    Outcome.WAITING: "info",
    Outcome.TOPPED_UP: "primary",
    Outcome.DIFFERS: "danger",
    Outcome.ACCEPTED: "primary",
}


def _amount(reading: BookReading, amount: Any) -> str:
    return f"{amount.normalize():f} {reading.provider.currency}"


def _facts(reading: BookReading) -> list[tuple[Any, str]]:
    return [
        (_("provider"), reading.provider.name),
        (_("time"), moment(reading.at)),
        (_("balance there"), _amount(reading, reading.balance)),
        (_("balance by our book"), _amount(reading, reading.book)),
        (_("difference"), _amount(reading, reading.difference)),
    ]


def _accept(reading: BookReading, staff: User, answers: dict[str, Any]) -> str:
    try:
        accepted = book.accept(reading, actor=staff)
    except ActionRefused as refusal:
        raise ValidationError(str(refusal)) from refusal
    return gettext("The book says what the provider says; the difference was %(amount)s.") % {
        "amount": _amount(reading, accepted)
    }


ACCEPT = StaffAction(
    title=_("Accept the provider's balance"),
    explanation=_(
        "You know why the two differ, or have given up looking. From now on our book begins with "
        "what the provider says."
    ),
    do=_accept,
    facts=_facts,
)


@admin.register(BookReading)
class BookReadingAdmin(ReadOnlyAdmin, ActingAdmin):
    """Read only; the newest difference of a provider can be accepted."""

    list_display = ("time", "provider", "balance_shown", "book_shown", "difference_shown", "told")
    list_filter = (
        ("provider", RelatedDropdownFilter),
        ("outcome", ChoicesCheckboxFilter),
    )
    list_filter_submit = True
    list_per_page = 50
    search_fields = ("provider__name",)
    fields = (
        ("provider", "at"),
        ("balance_shown", "book_shown"),
        ("difference_shown", "noted_shown"),
        ("outcome", "actor"),
    )

    actions_detail = ("accept",)

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """Only where there is something to accept."""
        reading = self.get_object(request, unquote(str(object_id)))
        if reading is None or not book.is_acceptable(reading):
            return []
        offered: list[Any] = super().get_actions_detail(request, object_id)
        return offered

    @action(description=ACCEPT.title, icon="balance", permissions=["act"])
    def accept(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(request, object_id, ACCEPT)

    def get_queryset(self, request: HttpRequest) -> QuerySet[BookReading]:
        queryset: QuerySet[BookReading] = super().get_queryset(request)
        return queryset.select_related("provider", "actor")

    @display(description=_("time"), ordering="at")
    def time(self, reading: BookReading) -> str:
        return moment(reading.at)

    @display(description=_("balance there"))
    def balance_shown(self, reading: BookReading) -> str:
        return _amount(reading, reading.balance)

    @display(description=_("balance by our book"))
    def book_shown(self, reading: BookReading) -> str:
        return _amount(reading, reading.book)

    @display(description=_("difference"))
    def difference_shown(self, reading: BookReading) -> str:
        return _amount(reading, reading.difference)

    @display(description=_("taken into the book"))
    def noted_shown(self, reading: BookReading) -> str:
        return "–" if reading.noted is None else _amount(reading, reading.noted)

    @display(description=_("outcome"), label=_COLOURS)
    def told(self, reading: BookReading) -> tuple[str, str]:
        return reading.outcome, reading.get_outcome_display()
