"""Orders as staff see them: everything to read, and the few things to do, each with a reason."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.formats import number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesCheckboxFilter, RelatedDropdownFilter
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextInputWidget

from accounts.admin.acting import ActingAdmin, ReasonForm, StaffAction
from accounts.admin.reading import (
    DayRangeFilter,
    PlayFilter,
    ReadOnlyAdmin,
    ledger_context,
    moment,
    shown,
)
from accounts.models import Posting, User
from accounts.money import MAX_BIGINT
from orders import cancellations, unconfirmed
from orders.admin import telling
from orders.admin.refills import STOP
from orders.cancellations import ActionRefused
from orders.models import Order
from orders.statuses import MOVES, Status

LONGEST_QUEUE = 200

_COLOURS = {
    Status.PENDING: "info",
    Status.SENDING: "info",
    Status.UNCONFIRMED: "danger",
    Status.PROCESSING: "primary",
    Status.IN_PROGRESS: "primary",
    Status.COMPLETED: "success",
    Status.PARTIAL: "warning",
    Status.CANCELLED: "warning",
    Status.REFUNDED: "warning",
    Status.FAILED: "danger",
}


class SentAsForm(ReasonForm):
    """The id under which the provider has the order."""

    external_id = forms.CharField(
        label=_("Provider's order id"), max_length=64, widget=UnfoldAdminTextInputWidget
    )
    field_order = ["external_id", "reason"]


def _facts(order: Order) -> list[tuple[Any, str]]:
    left = order.net_charge
    return [
        (_("status"), order.get_status_display()),
        (_("customer"), str(order.customer)),
        (_("service"), str(order.service)),
        (_("link"), order.link),
        (_("quantity"), number_format(order.quantity, force_grouping=True)),
        (_("charged and not paid back"), shown(left, order.currency)),
        (_("provider"), str(order.provider)),
    ]


def _cancel(order: Order, staff: User, answers: dict[str, Any]) -> str:
    left = order.net_charge
    try:
        cancellations.cancel_and_refund(order, actor=staff, reason=answers["reason"])
    except ActionRefused as refusal:
        raise ValidationError(str(refusal)) from refusal
    return gettext("The order is cancelled; %(amount)s went back to the customer.") % {
        "amount": shown(left, order.currency)
    }


def _mark_sent(order: Order, staff: User, answers: dict[str, Any]) -> str:
    external_id, reason = answers["external_id"], answers["reason"]
    try:
        unconfirmed.mark_sent_as(order, external_id, actor=staff, reason=reason)
    except ActionRefused as refusal:
        raise ValidationError(str(refusal)) from refusal
    return gettext("The order is linked and followed from now on.")


def _send_again(order: Order, staff: User, answers: dict[str, Any]) -> str:
    try:
        unconfirmed.send_again(order, actor=staff, reason=answers["reason"])
    except ActionRefused as refusal:
        raise ValidationError(str(refusal)) from refusal
    return gettext("The order is in the queue again.")


CANCEL = StaffAction(
    title=_("Cancel and refund"),
    explanation=_(
        "Ends the order and pays back all that is left of its charge. The provider is not told: "
        "what was bought there stays bought."
    ),
    do=_cancel,
    facts=_facts,
)
MARK_SENT = StaffAction(
    title=_("Mark as sent"),
    explanation=_(
        "You have found this order at the provider. It is linked with the id there and followed "
        "from now on; nothing is bought."
    ),
    do=_mark_sent,
    facts=_facts,
    form=SentAsForm,
)
SEND_AGAIN = StaffAction(
    title=_("Send again"),
    explanation=_(
        "You have made sure that the provider does not have this order. It goes back into the "
        "queue and is bought. If the provider has it after all, it is bought twice."
    ),
    do=_send_again,
    facts=_facts,
)


class PlayOrders(PlayFilter):
    is_play = Q(sandbox=True)


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin, ActingAdmin):
    """Nothing of an order is edited: its state and money move together, through the domain."""

    list_display = (
        "number",
        "status_label",
        "customer",
        "service_name",
        "progress",
        "charge_shown",
        "created",
    )
    list_filter = (
        PlayOrders,
        ("status", ChoicesCheckboxFilter),
        ("provider", RelatedDropdownFilter),
        ("source", ChoicesCheckboxFilter),
        ("currency", ChoicesCheckboxFilter),
        ("created_at", DayRangeFilter),
    )
    list_filter_submit = True
    list_per_page = 50
    search_fields = ("pk",)  # get_search_results decides
    search_help_text = _(
        "Number, EXT reference, uuid, provider's id, customer's reference, e-mail address, or a "
        "part of the link"
    )
    fieldsets = (
        (None, {"fields": (("number", "status_shown"), "status_changed_at", "failure_shown")}),
        (
            _("Asked for"),
            {
                "fields": (
                    ("customer", "service"),
                    ("type", "quantity"),
                    ("runs", "interval"),
                    "link_shown",
                    "further_fields",
                    ("source", "api_key"),
                    ("client_ref", "created_at"),
                    "uuid",
                )
            },
        ),
        (
            _("Money"),
            {
                "fields": (
                    ("charge_shown", "rate_shown"),
                    ("refunded_shown", "provider_rate_shown"),
                    ("net_shown", "exchange_rate_shown"),
                    ("wallet", "upstream_charge_shown"),
                )
            },
        ),
        (
            _("Delivery"),
            {
                "fields": (
                    ("provider", "external_id"),
                    ("sent_service", "drip_feed"),
                    ("reference", "send_attempts"),
                    ("progress", "remains"),
                    ("start_count", "last_checked_at"),
                    ("sent_at", "started_at"),
                    ("progress_at", "completed_at"),
                )
            },
        ),
    )
    change_form_outer_before_template = "admin/order_notice.html"
    change_form_outer_after_template = "admin/order_tables.html"
    actions_list = ("unconfirmed_queue",)
    actions_detail = ("mark_sent", "send_again", "stop", "cancel")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Order]:
        queryset: QuerySet[Order] = super().get_queryset(request)
        return queryset.select_related(
            "customer", "service", "provider", "wallet__user", "api_key", "parent"
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Order], search_term: str
    ) -> tuple[QuerySet[Order], bool]:
        term = search_term.strip()
        return (queryset.filter(_matching(term)) if term else queryset), False

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """Only what the order's state allows: the domain would refuse the rest."""
        actions: list[Any] = super().get_actions_detail(request, object_id)
        order = self.get_object(request, unquote(str(object_id)))
        if order is None:
            return []
        possible = {
            "mark_sent": order.status == Status.UNCONFIRMED,
            "send_again": order.status == Status.UNCONFIRMED,
            "stop": cancellations.refusal(order) is None,
            "cancel": Status.CANCELLED in MOVES[Status(order.status)],
        }
        return [action for action in actions if possible[action.method.original_function_name]]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], obj: Any = None, **kwargs: Any
    ) -> HttpResponse:
        # A run is paid for by its drip-feed.
        paid = obj if obj.parent is None else obj.parent
        postings = Posting.objects.filter(entry__subject=paid.subject).order_by("pk")
        title = _("In the ledger") if paid is obj else _("In the ledger, of the drip-feed")
        context |= ledger_context(request, postings, title=title)
        context["is_unconfirmed"] = obj.status == Status.UNCONFIRMED
        if context["is_unconfirmed"]:
            known = unconfirmed.known_of([obj])[obj.pk]
            context["evidence_table"] = telling.evidence_table(obj, list(known.values()))
        tables = (
            (_("Drip-feed or subscription"), telling.series_table(obj)),
            (pgettext_lazy("drip-feed", "Runs"), telling.runs_table(obj)),
            (_("Requests"), telling.requests_table(obj)),
            (_("History"), telling.history_table(obj)),
        )
        context["order_tables"] = [
            {"title": title, "table": table} for title, table in tables if table
        ]
        page: HttpResponse = super().render_change_form(request, context, obj=obj, **kwargs)
        return page

    @action(
        description=_("Unconfirmed orders"),
        url_path="unconfirmed",
        icon="help",
        permissions=["view"],
    )
    def unconfirmed_queue(self, request: HttpRequest) -> HttpResponse:
        """The queue of orders of unknown outcome, oldest first, with what is known of each."""
        orders = unconfirmed.queue().select_related("service", "provider")
        waiting = list(orders[:LONGEST_QUEUE])
        known = unconfirmed.known_of(waiting)
        counted = unconfirmed.ages()
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Unconfirmed orders"),
            "buckets": [
                {"title": _("Under 15 minutes"), "number": counted.young},
                {"title": _("Under an hour"), "number": counted.middle, "urgent": True},
                {"title": _("Older"), "number": counted.old, "urgent": True},
            ],
            "lines": [
                {
                    "order": order,
                    "page": reverse("admin:orders_order_change", args=[order.pk]),
                    "charge": shown(order.charge, order.currency),
                    "evidence": [
                        telling.in_words(order, each) for each in known[order.pk].values()
                    ],
                }
                for order in waiting
            ],
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/unconfirmed.html", context)

    @action(description=STOP.title, icon="stop_circle", permissions=["act"])
    def stop(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(request, object_id, STOP)

    @action(description=CANCEL.title, icon="undo", permissions=["act"])
    def cancel(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(request, object_id, CANCEL)

    @action(description=MARK_SENT.title, icon="link", permissions=["act"])
    def mark_sent(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(request, object_id, MARK_SENT)

    @action(description=SEND_AGAIN.title, icon="send", permissions=["act"])
    def send_again(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self.act(request, object_id, SEND_AGAIN)

    @display(description=_("number"), ordering="pk")
    def number(self, order: Order) -> str:
        return f"#{order.pk}" if order.parent_id is None else f"#{order.pk} ← #{order.parent_id}"

    @display(description=_("status"), ordering="status", label=_COLOURS)
    def status_label(self, order: Order) -> tuple[str, str]:
        return order.status, order.get_status_display()

    @display(description=_("status"))
    def status_shown(self, order: Order) -> str:
        label = {"text": order.get_status_display(), "type": _COLOURS[Status(order.status)]}
        return render_to_string("unfold/helpers/label.html", label)

    @display(description=_("service"))
    def service_name(self, order: Order) -> str:
        name = order.service.shown_name
        return name if len(name) <= 40 else f"{name[:39]}…"

    @display(description=_("delivered"))
    def progress(self, order: Order) -> str:
        quantity = number_format(order.quantity, force_grouping=True)
        if order.delivered is None:
            return f"– / {quantity}"
        return f"{number_format(order.delivered, force_grouping=True)} / {quantity}"

    @display(description=_("created"), ordering="created_at")
    def created(self, order: Order) -> str:
        return moment(order.created_at)

    @display(description=_("charge"), ordering="charge")
    def charge_shown(self, order: Order) -> str:
        return shown(order.charge, order.currency)

    @display(description=_("refunded"))
    def refunded_shown(self, order: Order) -> str:
        return shown(order.refunded, order.currency)

    @display(description=_("net charge"))
    def net_shown(self, order: Order) -> str:
        return shown(order.net_charge, order.currency)

    @display(description=_("price"))
    def rate_shown(self, order: Order) -> str:
        return shown(order.rate, order.currency)

    @display(description=_("provider's rate"))
    def provider_rate_shown(self, order: Order) -> str:
        return shown(order.provider_rate, order.provider.currency)

    @display(description=_("provider's charge"))
    def upstream_charge_shown(self, order: Order) -> str:
        if order.upstream_charge is None:
            return "–"
        return shown(order.upstream_charge, order.provider.currency)

    @display(description=_("drip-feed"))
    def drip_feed(self, order: Order) -> str:
        if order.parent is None:
            return "–"
        run = gettext("run %(number)s of") % {"number": order.run}
        return format_html("{} {}", run, telling.order_link(order.parent))

    @display(description=_("exchange rate"))
    def exchange_rate_shown(self, order: Order) -> str:
        return f"1 {order.provider.currency} = {shown(order.exchange_rate, order.currency)}"

    @display(description=_("reference outside"), empty_value="–")
    def reference(self, order: Order) -> str | None:
        return order.public_reference

    @display(description=_("what went wrong"), empty_value="–")
    def failure_shown(self, order: Order) -> str:
        return order.failure or "–"

    @display(description=_("link"))
    def link_shown(self, order: Order) -> str:
        """To click on, unless it is something that a browser would run."""
        if not order.link.startswith(("https://", "http://")):
            return order.link
        return format_html(
            '<a class="break-anywhere text-link" href="{0}" target="_blank"'
            ' rel="noopener noreferrer">{0}</a>',
            order.link,
        )

    @display(description=_("further fields"))
    def further_fields(self, order: Order) -> str | SafeString:
        return (
            format_html_join(
                "",
                '<div class="mb-2"><b>{}</b><div class="verbatim">{}</div></div>',
                ((name, value) for name, value in order.fields.items() if name != "link"),
            )
            or "–"
        )


def _matching(term: str) -> Q:
    """What staff may have in hand decides where to look, so that an index can be used."""
    if reference := re.fullmatch(r"(?:#|EXT)?0*([0-9]{1,19})", term, re.IGNORECASE):
        number = int(reference[1])
        found = Q(external_id=term) | Q(client_ref=term)
        return found | Q(pk=number) if number <= MAX_BIGINT else found
    try:
        return Q(uuid=UUID(term)) | Q(client_ref=term) | Q(external_id=term)
    except ValueError:
        pass
    if "@" in term[1:] and "/" not in term:
        return Q(customer__email__startswith=term.lower())
    return Q(link__icontains=term) | Q(client_ref=term) | Q(external_id=term)
