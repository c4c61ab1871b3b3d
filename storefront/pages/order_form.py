"""The order form: a service, where it goes, which wallet pays, and what it costs before the
button is pressed."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.formatting import money, number
from accounts.ledger import LedgerError
from accounts.money import Currency
from catalog import links, listing
from catalog.countries import countries
from catalog.listing import CatalogError, Listed
from catalog.models import SameLink
from catalog.order_types import (
    DEFAULT_POSTS,
    FIELDS,
    ORDER_TYPES,
    FieldKind,
    FieldRule,
    ServiceType,
    lines_of,
)
from orders import checkout
from orders.checkout import (
    IdempotencyKeyReused,
    InvalidOrder,
    OrderError,
    Preview,
    TwinOrder,
)
from orders.listing import orders_of
from orders.models import Order, Source
from orders.requests import LINK_LIMIT, ORDER_FIELDS, OrderDraft, ProblemCode
from storefront.errors import describe, label_of, problem_text
from storefront.pages.access import CustomerRequest, for_customers
from storefront.pages.paging import asked_text
from storefront.pages.purses import chosen_currency, purses_of
from storefront.templatetags.store import language

OPTIONS_SHOWN = 30
RECENT_SHOWN = 4
_RECENT_LOOKED_AT = 30

# Two minutes is how long people doubt whether a button worked.
TWINS_WITHIN = timedelta(minutes=2)

_HINTS: dict[str, Promise] = {
    "link": gettext_lazy("Paste the public address as it is, or a @name."),
    "comments": gettext_lazy("One comment per line. Each line is one comment."),
    "usernames": gettext_lazy("One user name per line."),
    "hashtags": gettext_lazy("One hashtag per line."),
    "keywords": gettext_lazy("One search word or phrase per line."),
    "groups": gettext_lazy("The address of one group per line."),
    "hashtag": gettext_lazy("People who use it are mentioned."),
    "media": gettext_lazy("The post whose likers are mentioned."),
    "answer_number": gettext_lazy("Which answer gets the votes: 1 is the first."),
    "max": gettext_lazy("Each post gets between the minimum and this many."),
    "posts": gettext_lazy("How many posts to come are served. Empty: %(default)s."),
    "old_posts": gettext_lazy("How many of the newest posts that are there already are served."),
    "delay": gettext_lazy("From a new post to its delivery. 0 begins at once."),
    "expiry": gettext_lazy("Posts after this day are not served. Empty: until all are served."),
    "country": gettext_lazy("Where the visitors come from."),
    "google_keyword": gettext_lazy("What visitors search for on Google before they come."),
    "referring_url": gettext_lazy("The full address of the page that visitors come from."),
    "runs": gettext_lazy("How many times the quantity is delivered."),
    "interval": gettext_lazy("From one run to the next: 60 is an hour, 1440 a day."),
}
# Whose name it is differs from type to type.
_WHOSE: dict[str, Promise] = {
    ServiceType.SUBSCRIPTIONS: gettext_lazy("Whose new posts are served, with or without @."),
    ServiceType.COMMENT_LIKES: gettext_lazy("Who wrote the comment, with or without @."),
    ServiceType.COMMENT_REPLIES: gettext_lazy("Who wrote the comment, with or without @."),
    ServiceType.MENTIONS_USER_FOLLOWERS: gettext_lazy(
        "Whose followers are mentioned, with or without @."
    ),
}
# Fields whose numbers the service limits.
_LIMITED = ("quantity", "min", "max")
# Drawn together, as one choice: to have the order delivered in runs.
SPREAD = ("runs", "interval")
_DATE = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})", re.ASCII)


@dataclass(frozen=True)
class Field:
    """One field of the form as it is drawn."""

    name: str
    kind: FieldKind
    label: str
    value: str
    hint: str
    problem: str
    optional: bool
    placeholder: str = ""
    # Value and words of what may be chosen.
    choices: tuple[tuple[str, str], ...] = ()
    # "type_of_traffic=1": shown while that is chosen.
    needs: str = ""
    # How many entries a list has by now, in words.
    counted: str = ""


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
            refuse_twins_within=None if data.get("again") else TWINS_WITHIN,
        )
    except IdempotencyKeyReused as error:
        return _again(
            request,
            refusal=_("This form was sent before, with other details. Check your orders first."),
            status=describe(error).http_status,
            new_key=True,
        )
    except TwinOrder as error:
        return _again(request, twin=error.order, status=describe(error).http_status)
    except InvalidOrder as error:
        return _again(request, tell_missing=True, status=describe(error).http_status)
    except (OrderError, CatalogError, LedgerError) as error:
        described = describe(error)
        return _again(request, refusal=described.message, status=described.http_status)
    order = placed.order
    if not placed.replayed:
        messages.success(request, _thanks(order))
    return redirect("order", order.pk)


def _thanks(order: Order) -> str:
    said = {"id": f"#{order.pk}", "charge": money(order.charge, order.currency, language())}
    if order.type == ServiceType.SUBSCRIPTIONS:
        return _("Order %(id)s is placed. %(charge)s of your wallet is reserved for it.") % said
    return _("Order %(id)s is placed. %(charge)s was taken from your wallet.") % said


def _again(
    request: CustomerRequest,
    *,
    status: int,
    refusal: str = "",
    tell_missing: bool = False,
    new_key: bool = False,
    twin: Order | None = None,
) -> HttpResponse:
    state = _state(request, request.POST, tell_missing=tell_missing)
    state["refusal"], state["twin"] = refusal, twin
    # Where to look first, for those who do not see the page as a whole.
    state["wrong"] = [field for field in state["all_fields"] if field.problem]
    if not new_key:
        state["idempotency_key"] = request.POST.get("idempotency_key") or state["idempotency_key"]
    return render(request, "orders/new.html", state, status=status)


def _state(request: CustomerRequest, data: QueryDict, *, tell_missing: bool) -> dict[str, Any]:
    """All that the form shows. What is still empty is a problem only once it was sent."""
    currency = chosen_currency(data.get("currency"), request.user)
    draft = _draft(data)
    preview = checkout.preview(customer=request.user, currency=currency, draft=draft)
    problems = {
        problem.field: problem_text(problem)
        for problem in preview.problems
        if tell_missing or problem.code is not ProblemCode.REQUIRED
    }
    fields = _fields(preview.listed, draft.values, problems)
    spread = [field for field in fields if field.name in SPREAD]
    drawn = {field.name for field in fields}
    service = preview.listed and preview.listed.service
    return {
        "currency": currency,
        "purses": purses_of(request.user),
        "preview": preview,
        "listed": preview.listed,
        "asked_for_service": bool(data.get("service")),
        "all_fields": fields,
        "fields": [field for field in fields if field not in spread],
        "spread": spread,
        "spread_open": any(field.value or field.problem for field in spread),
        "other_problems": [text for name, text in problems.items() if name not in drawn],
        "after": preview.quote and preview.balance - preview.quote.charge,
        "understood": _understood(preview, draft.values),
        "counted_on": service and ORDER_TYPES[service.type].charged_on,
        "per_run": _per_run(preview),
        "terms": preview.request and preview.request.terms,
        "is_subscription": bool(service and service.type == ServiceType.SUBSCRIPTIONS),
        "link_refused": bool(
            preview.link_taken and service and service.same_link == SameLink.REFUSE
        ),
        "link_limit": LINK_LIMIT,
        "tomorrow": timezone.localdate() + timedelta(days=1),
        "idempotency_key": str(uuid.uuid4()),
    }


def _per_run(preview: Preview) -> int | None:
    """The quantity of each run, where there are several."""
    asked = preview.request
    return asked.quantity // asked.runs if asked and asked.runs else None


def _draft(data: QueryDict) -> OrderDraft:
    values = {name: data[name] for name in ORDER_FIELDS if name in data}
    return OrderDraft(service_id=data.get("service", ""), values=values)


def _fields(
    listed: Listed | None, values: Mapping[str, object], problems: Mapping[str, str]
) -> list[Field]:
    """The fields of the service's type, from the table of order types."""
    if listed is None:
        return []
    row = ORDER_TYPES[listed.service.type]
    names = [*row.fields, *(name for name in row.optional if name not in SPREAD)]
    if listed.service.offers_dripfeed:
        names += SPREAD
    return [
        _field(name, listed, str(values.get(name, "")), problems.get(name, "")) for name in names
    ]


def _field(name: str, listed: Listed, value: str, problem: str) -> Field:
    service, rule = listed.service, FIELDS[name]
    is_date = rule.kind is FieldKind.DATE
    return Field(
        name=name,
        kind=rule.kind,
        label=label_of(name),
        value=_for_date_input(value) if is_date else value,
        hint=_hint(name, listed),
        problem=problem,
        optional=name not in ORDER_TYPES[service.type].fields and not rule.needed_if,
        placeholder=number(service.min_quantity, language()) if name in _LIMITED else "",
        choices=_choices(rule),
        needs="=".join(rule.needed_if or ()),
        counted=_counted(name, value) if rule.kind is FieldKind.LINES else "",
    )


def _choices(rule: FieldRule) -> tuple[tuple[str, str], ...]:
    if rule.kind is FieldKind.COUNTRY:
        return tuple(countries(language()).items())
    return tuple((value, str(words)) for value, words in (rule.choices or {}).items())


def _hint(name: str, listed: Listed) -> str:
    if name == "username":
        return str(_WHOSE.get(listed.service.type, ""))
    hint = str(_HINTS.get(name, "")) % {"default": DEFAULT_POSTS}
    return f"{_limits_hint(listed)} {hint}".strip() if name in _LIMITED else hint


def _limits_hint(listed: Listed) -> str:
    return _("From %(minimum)s to %(maximum)s.") % {
        "minimum": number(listed.service.min_quantity, language()),
        "maximum": number(listed.service.max_quantity, language()),
    }


def _counted(name: str, value: str) -> str:
    lines = len(lines_of(value))
    if not lines:
        return ""
    counted = {"count": number(lines, language())}
    if name == "comments":
        return ngettext("%(count)s comment", "%(count)s comments", lines) % counted
    return ngettext("%(count)s line", "%(count)s lines", lines) % counted


def _understood(preview: Preview, values: Mapping[str, object]) -> str:
    """What the link looks like, in words; "" where nothing sure can be said."""
    link = str(values.get("link", ""))
    if preview.listed is None or not link.strip() or len(link) > LINK_LIMIT:
        return ""
    return links.words(links.of_service(link, preview.listed.service))


def _for_date_input(value: str) -> str:
    """Year first, as a browser's field for dates wants it."""
    found = _DATE.fullmatch(value.strip())
    return f"{found[3]}-{found[2]:>02}-{found[1]:>02}" if found else value


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
