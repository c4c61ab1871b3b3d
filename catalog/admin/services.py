"""Services: ours to edit, the provider's to see, and what they cost and bring."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context
from typing import Any

from django.contrib import admin, messages
from django.db import models
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.text import format_lazy
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display
from unfold.views import ChangeList

from accounts.exchange import RateBook
from accounts.money import MAX_BIGINT, Currency
from catalog.admin.widgets import DECIMAL_WIDGET, plain
from catalog.listing import MAX_WORDS
from catalog.models import ManualPrice, SameLink, Service, Substitute
from catalog.order_types import SOLD_TYPES, ServiceType
from catalog.pricing import Price, PriceBook
from catalog.search import normalise


class State(models.TextChoices):
    """Why a service is, or is not, on sale; the first reason that applies."""

    ON_SALE = "on_sale", _("On sale")
    VANISHED = "vanished", _("Vanished")
    DISABLED = "disabled", _("Disabled by us")
    NOT_SOLD = "not_sold", _("Type is not sold")
    INCOMPLETE = "incomplete", _("No rate or limits")
    PARENT_DISABLED = "parent_disabled", _("Provider or category disabled")


_COLOURS = {
    State.ON_SALE: "success",
    State.VANISHED: "danger",
    State.DISABLED: "warning",
    State.NOT_SOLD: "info",
    State.INCOMPLETE: "danger",
    State.PARENT_DISABLED: "warning",
}


def _state(service: Service) -> State:
    if service.is_orderable:
        return State.ON_SALE
    if service.vanished_at is not None:
        return State.VANISHED
    if service.disabled_by_staff:
        return State.DISABLED
    if service.type not in SOLD_TYPES:
        return State.NOT_SOLD
    if not (service.provider.enabled and service.category.enabled):
        return State.PARENT_DISABLED
    return State.INCOMPLETE


class OnSaleFilter(admin.SimpleListFilter):
    """What staff look for: what is sold, what waits for them, what has gone."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("on_sale", _("On sale")),
            ("off_sale", _("Not on sale")),
            ("unknown", _("Type to be mapped")),
            ("disabled", _("Disabled by us")),
            ("vanished", _("Vanished")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Service]) -> QuerySet[Service]:
        match self.value():
            case "on_sale":
                return queryset.filter(pk__in=Service.objects.orderable())
            case "off_sale":
                return queryset.exclude(pk__in=Service.objects.orderable())
            case "unknown":
                return queryset.filter(type=ServiceType.UNKNOWN)
            case "disabled":
                return queryset.filter(disabled_by_staff=True)
            case "vanished":
                return queryset.exclude(vanished_at=None)
        return queryset


class ManualPriceInline(TabularInline):
    model = ManualPrice
    formfield_overrides = DECIMAL_WIDGET
    extra = 0
    max_num = len(Currency)


class SubstituteInline(TabularInline):
    """Who delivers when this service's provider refuses or is interrupted, in this order."""

    model = Substitute
    fk_name = "service"
    fields = ("position", "substitute")
    autocomplete_fields = ("substitute",)
    extra = 0

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        formset = super().get_formset(request, obj, **kwargs)
        if obj is not None and (field := formset.form.base_fields.get("substitute")):
            # Read by ServiceAdmin.get_search_results: only what could take its place is offered.
            select = getattr(field.widget, "widget", field.widget)
            offered = f"{select.get_url()}?{SUBSTITUTE_FOR}={obj.pk}"
            select.get_url = lambda: offered
        return formset


SUBSTITUTE_FOR = "substitute_for"

# A list's costs: four digits tell enough, the service's page has all of them.
_SHORT = Context(prec=4)


class PricedChangeList(ChangeList):
    """Works out the prices of a page's services together: a fixed number of queries."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list: list[Service] = list(self.result_list)
        _attach_prices(self.result_list)


def _attach_prices(services: Sequence[Service]) -> None:
    exchange = RateBook()
    books = [PriceBook(currency, services, exchange=exchange) for currency in Currency]
    for service in services:
        service.prices = {  # type: ignore[attr-defined]
            book.currency: book.price_or_none(service) for book in books
        }


def _price_cell(currency: Currency) -> Any:
    @display(description=currency.value, header=True)
    def cell(service: Service) -> tuple[str, str]:
        price: Price | None = service.prices[currency]  # type: ignore[attr-defined]
        if price is None:
            return "–", ""
        return plain(price.rate), _margin(price, cost=plain(_SHORT.plus(price.cost)))

    cell.__name__ = f"price_{currency.lower()}"
    return cell


def _margin(price: Price, *, cost: str) -> str:
    """ "cost 600 · +30 %": the margin is on top of the cost, as markups are."""
    margin = (price.rate / price.cost - 1) * 100
    return gettext("cost %(cost)s · %(margin)s %%") % {"cost": cost, "margin": f"{margin:+.1f}"}


def _guarantee(days: int | None) -> Any:
    """An action that gives the selected services this guarantee."""
    title = _("Guarantee: without end")
    if days is not None:
        title = format_lazy(_("Guarantee: {days} days"), days=days)

    @action(description=title, permissions=["change"])
    def set_guarantee(
        admin_page: ServiceAdmin, request: HttpRequest, queryset: QuerySet[Service]
    ) -> None:
        _tell_changed(request, queryset.update(refill_days=days))

    set_guarantee.__name__ = f"guarantee_{days or 'endless'}"
    return set_guarantee


def _same_link(rule: SameLink) -> Any:
    """An action that sets what becomes of the selected services' orders of one link."""

    @action(description=format_lazy("{}: {}", _("same link"), rule.label), permissions=["change"])
    def set_same_link(
        admin_page: ServiceAdmin, request: HttpRequest, queryset: QuerySet[Service]
    ) -> None:
        _tell_changed(request, queryset.update(same_link=rule))

    set_same_link.__name__ = f"same_link_{rule}"
    return set_same_link


def _tell_changed(request: HttpRequest, count: int) -> None:
    text = ngettext("%(count)s service was changed.", "%(count)s services were changed.", count)
    messages.success(request, text % {"count": count})


# Rewritten by every sync: shown, never edited.
_FROM_PROVIDER = (
    "provider",
    "external_id",
    "provider_name",
    "provider_category",
    "provider_type",
    "rate",
    "limits",
    "refill",
    "cancel",
    "dripfeed",
    "provider_description",
    "vanished_at",
)


@admin.register(Service)
class ServiceAdmin(ModelAdmin):
    """The provider's columns are shown, ours are edited. Services come and go only by sync."""

    fieldsets = (
        (
            _("In the shop"),
            {
                "fields": (
                    "state_now",
                    "disabled_by_staff",
                    "name",
                    "category",
                    "type",
                    "position",
                    "description",
                    "average_time",
                )
            },
        ),
        (_("Price"), {"fields": ("price_table", "markup_percent", "allow_below_cost")}),
        (
            _("Orders"),
            {"fields": ("link_target", "same_link", "dripfeed_by", "refill_by", "refill_days")},
        ),
        (
            _("As the provider says"),
            {"fields": _FROM_PROVIDER},
        ),
    )
    readonly_fields = ("state_now", "price_table", *_FROM_PROVIDER)
    list_display = (
        "id",
        "names",
        "category",
        "state",
        "supplier",
        *(_price_cell(currency) for currency in Currency),
    )
    list_display_links = ("id", "names")
    list_filter = (
        OnSaleFilter,
        "provider",
        ("category", AutocompleteSelectFilter),
        "category__network",
        "type",
    )
    list_filter_submit = True
    list_per_page = 50
    list_select_related = ("provider", "category")
    search_fields = ("search_text",)
    search_help_text = _("Words of either name, our id, or the provider's id")
    autocomplete_fields = ("category",)
    formfield_overrides = DECIMAL_WIDGET
    inlines = (ManualPriceInline, SubstituteInline)
    actions = (
        "enable",
        "disable",
        *(_guarantee(days) for days in (30, 60, 90, 365, None)),
        *(_same_link(rule) for rule in SameLink),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Service | None = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return PricedChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Service], search_term: str
    ) -> tuple[QuerySet[Service], bool]:
        for word in search_term.split()[:MAX_WORDS]:
            found = Q(provider_name__icontains=word) | Q(external_id=word)
            if normal := normalise(word):
                found |= Q(search_text__contains=normal)
            if word.isdecimal() and int(word) <= MAX_BIGINT:
                found |= Q(pk=int(word))
            queryset = queryset.filter(found)
        if (of := request.GET.get(SUBSTITUTE_FOR, "")).isdecimal() and int(of) <= MAX_BIGINT:
            service = Service.objects.filter(pk=int(of)).first()
            if service is not None:
                queryset = queryset.filter(type=service.type).exclude(provider=service.provider_id)
        return queryset, False

    def save_model(self, request: HttpRequest, obj: Service, form: Any, change: bool) -> None:
        # Only what staff changed: a sync may have written its columns since the form was read.
        obj.save(update_fields=form.changed_data)

    @display(description=_("name"), ordering="name", header=True)
    def names(self, service: Service) -> tuple[str, str]:
        other = service.provider_name if service.name else ""
        return service.shown_name, other

    @display(description=_("state"), label=_COLOURS)
    def state(self, service: Service) -> tuple[str, Any]:
        state = _state(service)
        return state, state.label

    @display(description=_("state"))
    def state_now(self, service: Service) -> str:
        return str(_state(service).label)

    @display(description=_("provider"), ordering="provider__name", header=True)
    def supplier(self, service: Service) -> tuple[str, str]:
        return f"{service.provider.name} · {service.external_id}", self.rate(service)

    @display(description=_("provider's rate"))
    def rate(self, service: Service) -> str:
        if service.provider_rate is None:
            return "–"
        return f"{plain(service.provider_rate)} {service.provider.currency}"

    @display(description=_("limits"))
    def limits(self, service: Service) -> str:
        return f"{service.min_quantity} – {service.max_quantity}"

    @display(description=_("prices"))
    def price_table(self, service: Service) -> SafeString:
        _attach_prices([service])
        prices: dict[str, Price | None] = service.prices  # type: ignore[attr-defined]
        return format_html_join(
            "",
            "<p>{} {} ({})</p>",
            (
                (plain(price.rate), currency, _margin(price, cost=plain(price.cost)))
                for currency, price in prices.items()
                if price
            ),
        )

    @action(
        description=_("Put on sale (unless something else prevents it)"), permissions=["change"]
    )
    def enable(self, request: HttpRequest, queryset: QuerySet[Service]) -> None:
        self._set_disabled(request, queryset, value=False)

    @action(description=_("Take off sale"), permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Service]) -> None:
        self._set_disabled(request, queryset, value=True)

    def _set_disabled(
        self, request: HttpRequest, queryset: QuerySet[Service], *, value: bool
    ) -> None:
        _tell_changed(request, queryset.update(disabled_by_staff=value))
