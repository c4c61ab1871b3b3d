"""Many orders at once: pasted or uploaded, looked at with their prices, confirmed, followed."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.core import signing
from django.core.files.uploadedfile import UploadedFile
from django.core.signing import BadSignature
from django.db.models import Count, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts.ledger import InsufficientFunds
from catalog.order_types import ORDER_TYPES, ServiceType
from orders import mass
from orders.checkout import InvalidOrder
from orders.mass import Agreed, Fault, Plan, TableRefused
from orders.models import LineState, MassLine, MassOrder
from storefront.errors import describe, problem_text
from storefront.pages.access import CustomerRequest, for_customers
from storefront.pages.paging import page_of
from storefront.pages.purses import chosen_currency, purses_of

LINES_SHOWN = 50
RECENT_SHOWN = 5
# How long prices that were shown can be confirmed.
PREVIEW_SECONDS = 3600
POLL_SECONDS = 2


@dataclass(frozen=True)
class Row:
    """One line of a mass order as it is drawn; `sentences` say why it was refused."""

    line: MassLine
    sentences: Sequence[str]

    @property
    def text(self) -> str:
        """The line much as it was written."""
        cells = " | ".join([self.line.service_id_given, *self.line.values.values()])
        return cells.replace("\n", f" {mass.LIST_MARK} ")


@never_cache
@for_customers
@require_http_methods(["GET", "POST"])
def mass_order(request: CustomerRequest) -> HttpResponse:
    """The lines; posting them shows what they would cost, and posting that again orders them."""
    if request.method == "POST" and "confirm" in request.POST:
        return _confirm(request)
    if request.method == "POST" and "check" in request.POST:
        try:
            text = _text(request)
            return _preview(request, text)
        except TableRefused as error:
            described = describe(error)
            return _form(request, refusal=described.message, status=described.http_status)
    return _form(request)


@never_cache
@for_customers
@require_safe
def mass_progress(request: CustomerRequest, key: uuid.UUID) -> HttpResponse:
    """How far a mass order is, and what became of each line."""
    found = get_object_or_404(mass.of(request.user), uuid=key)
    asked = request.GET.get("state", "")
    state = LineState(asked) if asked in LineState.values else None
    lines = found.lines.select_related("order__service")
    page = page_of(lines.filter(state=state) if state else lines, request, per_page=LINES_SHOWN)
    progress = mass.progress(found)
    return render(
        request,
        "mass/_progress.html" if request.htmx else "mass/progress.html",
        {
            "mass": found,
            "progress": progress,
            "page": page,
            "rows": [Row(line, _refusal(line)) for line in page],
            "state": state,
            "states": [
                (LineState.PLACED, progress.placed),
                (LineState.REFUSED, progress.refused),
                (LineState.WAITING, progress.waiting),
            ],
            "delay": POLL_SECONDS,
        },
    )


def _form(request: CustomerRequest, *, refusal: str = "", status: int = 200) -> HttpResponse:
    data = request.POST if request.method == "POST" else request.GET
    return render(
        request,
        "mass/new.html",
        {
            "text": request.POST.get("text", ""),
            "refusal": refusal,
            "currency": chosen_currency(data.get("currency"), request.user),
            "purses": purses_of(request.user),
            "limit": mass.MAX_LINES,
            "mark": mass.LIST_MARK,
            "types": [
                (kind, mass.columns_of(kind), ORDER_TYPES[kind].optional)
                for kind in ServiceType
                if kind in ORDER_TYPES
            ],
            "recent": _recent(request),
        },
        status=status,
    )


def _preview(
    request: CustomerRequest, text: str, *, refusal: str = "", status: int = 200
) -> HttpResponse:
    """Raises TableRefused."""
    currency = chosen_currency(request.POST.get("currency"), request.user)
    plan = mass.plan(customer=request.user, currency=currency, text=text)
    return render(
        request,
        "mass/preview.html",
        {
            "plan": plan,
            "good": plan.good,
            "bad": [(line, _sentences(line.problem)) for line in plan.bad if line.problem],
            "text": text,
            "currency": currency,
            "after": plan.balance - plan.total,
            "agreed": _sign(request, plan),
            "refusal": refusal,
        },
        status=status,
    )


def _confirm(request: CustomerRequest) -> HttpResponse:
    try:
        key, currency, lines = _unsign(request)
    except BadSignature:
        refusal = _("These prices are no longer current. Please look at them again.")
        return _preview_again(request, refusal, status=409)
    try:
        placed = mass.confirm(customer=request.user, currency=currency, uuid=key, lines=lines)
    except (InsufficientFunds, TableRefused) as error:
        described = describe(error)
        return _preview_again(request, described.message, status=described.http_status)
    return redirect("mass_progress", placed.uuid)


def _preview_again(request: CustomerRequest, refusal: str, *, status: int) -> HttpResponse:
    try:
        return _preview(request, request.POST.get("text", ""), refusal=refusal, status=status)
    except TableRefused:
        return _form(request, refusal=refusal, status=status)


def _text(request: CustomerRequest) -> str:
    """The file's text, or what was typed. Raises TableRefused."""
    file = request.FILES.get("file")
    if not isinstance(file, UploadedFile):
        return request.POST.get("text", "")
    if (file.size or 0) > mass.MAX_BYTES:
        raise TableRefused(Fault.TOO_LONG, limit=mass.MAX_BYTES // 1000)
    return mass.decode(file.read())


def _sign(request: CustomerRequest, plan: Plan) -> str:
    """What is confirmed, so that nothing of it can be changed on the way."""
    lines = [
        (line.given.number, line.given.service, line.values, str(line.charge)) for line in plan.good
    ]
    facts = (uuid.uuid4().hex, plan.currency, lines)
    return signing.dumps(facts, salt=_salt(request), compress=True)


def _unsign(request: CustomerRequest) -> tuple[uuid.UUID, str, list[Agreed]]:
    """Raises BadSignature."""
    key, currency, lines = signing.loads(
        request.POST["confirm"], salt=_salt(request), max_age=PREVIEW_SECONDS
    )
    agreed = [
        Agreed(number, service, values, Decimal(charge))
        for number, service, values, charge in lines
    ]
    return uuid.UUID(key), currency, agreed


def _salt(request: CustomerRequest) -> str:
    return f"mass-order:{request.user.pk}"


def _recent(request: CustomerRequest) -> QuerySet[MassOrder]:
    return mass.of(request.user).annotate(size=Count("lines"))[:RECENT_SHOWN]


def _refusal(line: MassLine) -> list[str]:
    return _sentences(mass.refusal(line)) if line.state == LineState.REFUSED else []


def _sentences(problem: Exception) -> list[str]:
    """In the reader's language; one for each field that is wrong."""
    if isinstance(problem, InvalidOrder):
        return [problem_text(each) for each in problem.problems]
    return [describe(problem).message]
