"""What customers asked for after buying: refills, with staff's queue of them, and cancellations."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import ValidationError
from django.db.models import Case, Q, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.formats import number_format
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import RadioFilter, RelatedDropdownFilter
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts.admin.acting import REASON_LIMIT, ActingAdmin, ReasonForm, StaffAction
from accounts.admin.reading import PlayFilter, ReadOnlyAdmin, moment, shown
from accounts.models import User
from orders import cancellations, refills
from orders.cancellations import ActionRefused, CancelProblem, CancelRefused
from orders.models import CancelRequest, CancelState, Order, Refill, RefillState
from orders.models.requests import OPEN_CANCELS, OPEN_REFILLS
from orders.moves import by_staff

_REFILL_COLOURS = {
    RefillState.WAITING: "info",
    RefillState.ASKED: "primary",
    RefillState.MANUAL: "danger",
    RefillState.COMPLETED: "success",
    RefillState.REJECTED: "warning",
}
_CANCEL_COLOURS = {
    CancelState.WAITING: "info",
    CancelState.ASKED: "primary",
    CancelState.DONE: "success",
    CancelState.REFUSED: "warning",
}


class OpenFilter(RadioFilter):
    """Open ones, unless asked otherwise; `open_states` are the model's."""

    title = _("state")
    parameter_name = "state"
    all_option = None
    open_states: tuple[str, ...] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("open", _("Open")), ("settled", _("Settled")), ("all", _("All"))]

    def value(self) -> str:
        return super().value() or "open"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "all":
                return queryset
            case "settled":
                return queryset.exclude(state__in=self.open_states)
            case _:
                return queryset.filter(state__in=self.open_states)


class PlayRequests(PlayFilter):
    is_play = Q(order__sandbox=True)


class OpenRefills(OpenFilter):
    open_states = OPEN_REFILLS


class OpenCancels(OpenFilter):
    open_states = OPEN_CANCELS


class RejectionForm(ReasonForm):
    """The one reason that is written to the customer."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=REASON_LIMIT,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=_("The customer reads this. Do not name the provider."),
    )


def _label(text: str, colour: str) -> str:
    return render_to_string("unfold/helpers/label.html", {"text": text, "type": colour})


def _facts(refill: Refill) -> list[tuple[Any, str]]:
    order = refill.order
    return [
        (_("order"), f"#{order.pk}"),
        (_("customer"), str(order.customer)),
        (_("service"), str(order.service)),
        (_("link"), order.link),
        (_("quantity"), number_format(order.quantity, force_grouping=True)),
        (_("start count"), "–" if order.start_count is None else str(order.start_count)),
        (_("provider"), f"{order.provider} · {order.external_id or '–'}"),
        (_("requested"), moment(refill.created_at)),
        (_("what went wrong"), refill.failure or "–"),
    ]


def _settled(refill: Refill, staff: User, answers: dict[str, Any], *, completed: bool) -> None:
    try:
        refills.settle(refill, completed=completed, reason=answers["reason"], actor=staff)
    except ActionRefused as refusal:
        raise ValidationError(str(refusal)) from refusal


def _complete(refill: Refill, staff: User, answers: dict[str, Any]) -> str:
    _settled(refill, staff, answers, completed=True)
    return gettext("The refill is completed.")


def _reject(refill: Refill, staff: User, answers: dict[str, Any]) -> str:
    _settled(refill, staff, answers, completed=False)
    return gettext("The refill is rejected, and the customer reads why.")


COMPLETE = StaffAction(
    title=_("Complete"),
    explanation=_("You have made sure that what dropped was delivered again."),
    do=_complete,
    facts=_facts,
)
REJECT = StaffAction(
    title=_("Reject"),
    explanation=_("The customer is told no, and why. They may ask again within the guarantee."),
    do=_reject,
    facts=_facts,
    form=RejectionForm,
)


_NO_STOP: dict[CancelProblem, Promise] = {
    CancelProblem.ENDED: _("The order has ended already."),
    CancelProblem.NOT_OFFERED: _("The provider does not take this service's orders back."),
    CancelProblem.REQUESTED: _("This has been asked for already."),
    CancelProblem.REFUSED: _("The provider has been asked, and said no."),
}


def _order_facts(order: Order) -> list[tuple[Any, str]]:
    return [
        (_("status"), order.get_status_display()),
        (_("customer"), str(order.customer)),
        (_("service"), str(order.service)),
        (_("provider"), f"{order.provider} · {order.external_id or '–'}"),
        (_("net charge"), shown(order.net_charge, order.currency)),
    ]


def _stop(order: Order, staff: User, answers: dict[str, Any]) -> str:
    try:
        cancellations.request(order, by=by_staff(staff), note=answers["reason"])
    except CancelRefused as refused:
        raise ValidationError(str(_NO_STOP[refused.problem])) from refused
    if order.is_final:
        return gettext("The order is cancelled and paid back.")
    return gettext("It is being stopped; what is not delivered is paid back when it ends.")


STOP = StaffAction(
    title=_("Stop"),
    explanation=_(
        "As if the customer asked for it: what was not sent is cancelled and paid back, a "
        "drip-feed begins no further run, and of a running order the provider is asked to "
        "cancel it."
    ),
    do=_stop,
    facts=_order_facts,
)


class OfOrderAdmin(ReadOnlyAdmin):
    """What refills and cancellations show of their orders."""

    list_per_page = 50
    search_fields = ("order__pk", "order__link", "order__customer__email")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset: QuerySet[Any] = super().get_queryset(request)
        return queryset.select_related("order__customer", "order__service", "order__provider")

    @display(description=_("order"), ordering="order")
    def order_link(self, asked: Refill | CancelRequest) -> str:
        return format_html(
            '<a class="text-link" href="{}">#{}</a>',
            reverse("admin:orders_order_change", args=[asked.order_id]),
            asked.order_id,
        )

    @display(description=_("order's status"))
    def order_status(self, asked: Refill | CancelRequest) -> str:
        return asked.order.get_status_display()

    @display(description=_("customer"))
    def customer(self, asked: Refill | CancelRequest) -> str:
        return str(asked.order.customer)

    @display(description=_("provider"))
    def provider(self, asked: Refill | CancelRequest) -> str:
        return str(asked.order.provider)

    @display(description=_("service"))
    def service_name(self, asked: Refill | CancelRequest) -> str:
        name = asked.order.service.shown_name
        return name if len(name) <= 40 else f"{name[:39]}…"

    @display(description=_("requested"), ordering="created_at")
    def requested(self, asked: Refill | CancelRequest) -> str:
        return moment(asked.created_at)


@admin.register(Refill)
class RefillAdmin(OfOrderAdmin, ActingAdmin):
    """Staff's queue: what they must do by hand first, the oldest on top."""

    list_display = (
        "number",
        "state_label",
        "order_link",
        "customer",
        "service_name",
        "provider",
        "requested",
    )
    list_filter = (OpenRefills, PlayRequests, ("order__provider", RelatedDropdownFilter))
    ordering = (
        Case(When(state=RefillState.MANUAL, then=Value(0)), default=Value(1)).asc(),
        "pk",
    )
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("order_link", "state_shown"),
                    ("customer", "service_name"),
                    "reason",
                    "failure",
                )
            },
        ),
        (
            _("At the provider"),
            {"fields": (("provider", "external_id"), ("attempts", "next_check_at"))},
        ),
        (
            _("History"),
            {"fields": (("created_at", "api_key"), ("settled_at", "settled_by"))},
        ),
    )
    actions_detail = ("complete", "reject")

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """None where it has been settled: the domain would refuse."""
        refill = self.get_object(request, unquote(str(object_id)))
        if refill is None or not refill.is_open:
            return []
        found: list[Any] = super().get_actions_detail(request, object_id)
        return found

    @action(description=COMPLETE.title, icon="check", permissions=["act"])
    def complete(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(request, object_id, COMPLETE)

    @action(description=REJECT.title, icon="close", permissions=["act"])
    def reject(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(request, object_id, REJECT)

    @display(description=_("number"), ordering="pk")
    def number(self, refill: Refill) -> str:
        return f"#{refill.pk}"

    @display(description=_("state"))
    def state_shown(self, refill: Refill) -> str:
        return _label(refill.get_state_display(), _REFILL_COLOURS[RefillState(refill.state)])

    @display(description=_("state"), ordering="state", label=_REFILL_COLOURS)
    def state_label(self, refill: Refill) -> tuple[str, str]:
        return refill.state, refill.get_state_display()


@admin.register(CancelRequest)
class CancelRequestAdmin(OfOrderAdmin):
    """To look at: the machine carries them out, and the order's own page has what staff can do."""

    list_display = (
        "order_link",
        "state_label",
        "order_status",
        "customer",
        "service_name",
        "provider",
        "requested",
    )
    list_filter = (OpenCancels, PlayRequests, ("order__provider", RelatedDropdownFilter))
    ordering = ("-pk",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("order_link", "state_shown"),
                    ("customer", "service_name"),
                    ("provider", "order_status"),
                    "failure",
                    ("attempts", "next_try_at"),
                    ("created_at", "settled_at"),
                )
            },
        ),
    )

    @display(description=_("state"))
    def state_shown(self, asked: CancelRequest) -> str:
        return _label(asked.get_state_display(), _CANCEL_COLOURS[CancelState(asked.state)])

    @display(description=_("state"), ordering="state", label=_CANCEL_COLOURS)
    def state_label(self, asked: CancelRequest) -> tuple[str, str]:
        return asked.state, asked.get_state_display()
