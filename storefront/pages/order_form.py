"""The order form: a service, where it goes, which wallet pays, and what it costs before the
button is pressed."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.formatting import money, number
from accounts.ledger import LedgerError
from accounts.money import Currency
from catalog import listing
from catalog.listing import CatalogError, Listed
from catalog.order_types import ORDER_TYPES
from orders import checkout
from orders.checkout import IdempotencyKeyReused, InvalidOrder, OrderError, Preview
from orders.listing import orders_of
from orders.models import Source
from orders.requests import LINK_LIMIT, ORDER_FIELDS, OrderDraft, Problem, ProblemCode
from storefront.errors import describe, problem_text
from storefront.links import understand
from storefront.pages.access import CustomerRequest, for_customers
from storefront.pages.paging import asked_text
from storefront.pages.purses import chosen_currency, purses_of
from storefront.templatetags.store import language

OPTIONS_SHOWN = 30
RECENT_SHOWN = 4
_RECENT_LOOKED_AT = 30

_LABELS: dict[str, Promise] = {
    "link": gettext_lazy("Link"),
    "quantity": gettext_lazy("Quantity"),
    "comments": gettext_lazy("Comments"),
}
_HINTS: dict[str, Promise] = {
    "link": gettext_lazy("The public address of the profile, post or page."),
    "comments": gettext_lazy("One comment per line. Each line is one comment."),
}


@dataclass(frozen=True)
class Field:
    """One field of the form as it is drawn."""

    name: str
    label: str
    value: str
    hint: str
    problem: str
    minimum: int | None


@never_cache
@for_customers
@require_http_methods(["GET", "POST"])
def new_order(request: CustomerRequest) -> HttpResponse:
    """The form; posting it places the order at the price that was shown."""
    if request.method == "POST":
        return _place(request)
    state = _state(request, request.GET, tell_missing=False)
    if request.htmx:
        return render(request, "orders/_order_form.html", state)
    return render(request, "orders/new.html", state)


@never_cache
@for_customers
@require_POST
def order_price(request: CustomerRequest) -> HttpResponse:
    """The price of what has been filled in so far, and what is wrong with it."""
    state = _state(request, request.POST, tell_missing=False)
    return render(request, "orders/_price.html", {**state, "fragment": True})


@never_cache
@for_customers
@require_GET
def service_options(request: CustomerRequest) -> HttpResponse:
    """Services for the search field: what was bought lately first, then what the text finds."""
    currency = chosen_currency(request.GET.get("currency"), request.user)
    text, network = asked_text(request), request.GET.get("network", "")
    found = listing.search(currency=currency, text=text, network=network, limit=OPTIONS_SHOWN)
    recent = [] if text or network else _recent(request, currency)
    known = {item.service.pk for item in recent}
    return render(
        request,
        "orders/_options.html",
        {
            "recent": recent,
            "found": [item for item in found.items if item.service.pk not in known],
            "total": found.total,
            "text": text,
        },
    )


def _place(request: CustomerRequest) -> HttpResponse:
    data = request.POST
    agreed, currency = _amount(data.get("agreed", "")), data.get("currency", "")
    if agreed is None or currency not in Currency.values:
        # The price has not been seen yet (no JavaScript, or a button pressed too early).
        return _again(request, tell_missing=True, status=200)
    try:
        placed = checkout.place_order(
            customer=request.user,
            currency=currency,
            draft=_draft(data),
            source=Source.WEB,
            idempotency_key=data.get("idempotency_key", ""),
            at_most=agreed,
        )
    except IdempotencyKeyReused as error:
        return _again(
            request,
            refusal=_("This form was sent before, with other details. Check your orders first."),
            status=describe(error).http_status,
            new_key=True,
        )
    except InvalidOrder as error:
        return _again(request, tell_missing=True, status=describe(error).http_status)
    except (OrderError, CatalogError, LedgerError) as error:
        described = describe(error)
        return _again(request, refusal=described.message, status=described.http_status)
    order = placed.order
    if not placed.replayed:
        messages.success(
            request,
            _("Order %(id)s is placed. %(charge)s was taken from your wallet.")
            % {"id": f"#{order.pk}", "charge": money(order.charge, order.currency, language())},
        )
    return redirect("order", order.pk)


def _again(
    request: CustomerRequest,
    *,
    status: int,
    refusal: str = "",
    tell_missing: bool = False,
    new_key: bool = False,
) -> HttpResponse:
    state = _state(request, request.POST, tell_missing=tell_missing)
    state["refusal"] = refusal
    if not new_key:
        state["idempotency_key"] = request.POST.get("idempotency_key") or state["idempotency_key"]
    return render(request, "orders/new.html", state, status=status)


def _state(request: CustomerRequest, data: QueryDict, *, tell_missing: bool) -> dict[str, Any]:
    """All that the form shows. What is still empty is a problem only once it was sent."""
    currency = chosen_currency(data.get("currency"), request.user)
    draft = _draft(data)
    preview = checkout.preview(customer=request.user, currency=currency, draft=draft)
    problems = {
        problem.field: _sentence(problem)
        for problem in preview.problems
        if tell_missing or problem.code is not ProblemCode.REQUIRED
    }
    fields = _fields(preview.listed, draft.values, problems)
    drawn = {field.name for field in fields}
    return {
        "currency": currency,
        "purses": purses_of(request.user),
        "preview": preview,
        "listed": preview.listed,
        "asked_for_service": bool(data.get("service")),
        "fields": fields,
        "other_problems": [text for name, text in problems.items() if name not in drawn],
        "after": preview.quote and preview.balance - preview.quote.charge,
        "understood": _understood(preview, draft.values),
        "link_limit": LINK_LIMIT,
        "idempotency_key": str(uuid.uuid4()),
    }


def _draft(data: QueryDict) -> OrderDraft:
    values = {name: data[name] for name in ORDER_FIELDS if name in data}
    return OrderDraft(service_id=data.get("service", ""), values=values)


def _fields(
    listed: Listed | None, values: Mapping[str, object], problems: Mapping[str, str]
) -> list[Field]:
    if listed is None:
        return []
    service, fields = listed.service, []
    for name in ORDER_TYPES[service.type].fields:
        is_quantity = name == "quantity"
        fields.append(
            Field(
                name=name,
                label=str(_LABELS.get(name, name)),
                value=str(values.get(name, "")),
                hint=_limits_hint(listed) if is_quantity else str(_HINTS.get(name, "")),
                problem=problems.get(name, ""),
                minimum=service.min_quantity if is_quantity else None,
            )
        )
    return fields


def _limits_hint(listed: Listed) -> str:
    return _("From %(minimum)s to %(maximum)s.") % {
        "minimum": number(listed.service.min_quantity, language()),
        "maximum": number(listed.service.max_quantity, language()),
    }


def _sentence(problem: Problem) -> str:
    label = _LABELS.get(problem.field)
    return problem_text(problem, field=str(label)) if label else problem_text(problem)


def _understood(preview: Preview, values: Mapping[str, object]) -> dict[str, Any]:
    """What the link looks like, and whether it belongs to another network than the service."""
    seen = understand(str(values.get("link", ""))[:LINK_LIMIT])
    if seen is None or preview.listed is None:
        return {}
    network = preview.listed.service.category.network
    return {
        "words": seen.words,
        "network": seen.network.label,
        "other_network": network not in (seen.network, "website", "other"),
    }


def _recent(request: CustomerRequest, currency: str) -> list[Listed]:
    ids = list(
        dict.fromkeys(
            orders_of(request.user).values_list("service_id", flat=True)[:_RECENT_LOOKED_AT]
        )
    )
    recent: list[Listed] = []
    for service_id in ids:
        try:
            recent.append(listing.find(service_id, currency=currency))
        except CatalogError:
            continue
        if len(recent) == RECENT_SHOWN:
            break
    return recent


def _amount(text: str) -> Decimal | None:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None
