"""A customer's orders: the list, one order, and how delivery goes on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_safe

from orders import listing
from orders.listing import OrderNotFound
from orders.models import Order
from orders.statuses import PUBLIC_STATUSES, Status, behind
from storefront.pages.access import CustomerRequest, for_customers
from storefront.pages.paging import asked_text, page_of

PER_PAGE = 20
# Seconds between looks at running orders; the longer nothing moves, the rarer.
POLL_DELAYS = (4, 6, 10, 15, 20, 30, 60)

_NEXT: dict[str, Promise] = {
    Status.PENDING: _("It is passed on for delivery within a minute. You need not do anything."),
    Status.PROCESSING: _("Delivery has been asked for and starts soon. You need not do anything."),
    Status.IN_PROGRESS: _("Delivery is under way. Leave the link public until it is finished."),
    Status.COMPLETED: _("Everything you ordered has been delivered."),
    Status.PARTIAL: _("Delivery ended early. What was not delivered went back to your wallet."),
    Status.CANCELLED: _("The order was cancelled, and the money went back to your wallet."),
    Status.REFUNDED: _("The order was paid back to your wallet."),
    Status.FAILED: _("The order could not be delivered. Support can tell you more."),
}


@dataclass(frozen=True)
class Step:
    """One step of an order's way; `state` is done, now or later."""

    title: Promise
    state: str
    moment: datetime | None = None


@never_cache
@for_customers
@require_safe
def orders(request: CustomerRequest) -> HttpResponse:
    """The orders, newest first, by status and text."""
    asked = request.GET.get("status", "")
    status = Status(asked) if asked in PUBLIC_STATUSES else None
    text = asked_text(request)
    found = listing.orders_of(request.user, statuses=behind(status) if status else (), text=text)
    page = page_of(found, request, per_page=PER_PAGE)
    return render(
        request,
        "orders/_results.html" if request.htmx else "orders/list.html",
        {
            "page": page,
            "statuses": PUBLIC_STATUSES,
            "status": status,
            "text": text,
            "is_filtered": bool(status or text),
            "running": [order for order in page if not order.is_final],
            "delay": POLL_DELAYS[0],
            "step": 0,
        },
    )


@never_cache
@for_customers
@require_GET
def progress(request: CustomerRequest) -> HttpResponse:
    """The rows of running orders again; `watch` holds `id:status` as the page shows them."""
    shown = dict(entry.split(":", 1) for entry in _watched(request))
    found = listing.find_many(request.user, list(shown))
    changed = [order for key, order in found.items() if order.public_status != shown[key]]
    step = 0 if changed else _step(request) + 1
    return render(
        request,
        "orders/_progress.html",
        {
            "rows": list(found.values()),
            "changed": changed,
            "running": [order for order in found.values() if not order.is_final],
            "step": step,
            "delay": _delay(step),
        },
    )


@never_cache
@for_customers
@require_safe
def order(request: CustomerRequest, pk: int) -> HttpResponse:
    """One order: how far it is, what happens next, what it cost."""
    try:
        found = listing.find(request.user, str(pk))
    except OrderNotFound as error:
        raise Http404 from error
    moved = request.GET.get("seen", found.public_status) != found.public_status
    step = 0 if moved or not request.htmx else _step(request) + 1
    return render(
        request,
        "orders/_order.html" if request.htmx else "orders/order.html",
        {
            "order": found,
            "moved": moved,
            "next": _NEXT[found.public_status],
            "steps": _steps(found),
            "step": step,
            "delay": _delay(step),
        },
    )


def _steps(order: Order) -> list[Step]:
    """What has happened, what happens now, and what is still to come."""
    status = order.public_status
    reached = {Status.PENDING: 1, Status.PROCESSING: 2, Status.IN_PROGRESS: 2}.get(status, 4)
    ending = status.label if order.is_final else _("Finished")
    titles: list[tuple[Promise, datetime | None]] = [
        (_("Ordered and paid"), order.created_at),
        (_("Passed on for delivery"), order.sent_at),
        (_("Delivery"), None),
        (ending, order.completed_at or (order.status_changed_at if order.is_final else None)),
    ]
    if order.is_final and not order.delivered:
        # It ended before anything was delivered: those steps never happened.
        titles = [title for title in titles[:2] if title[1]] + titles[3:]
    return [
        Step(title, "done" if place < reached else "now" if place == reached else "later", moment)
        for place, (title, moment) in enumerate(titles)
    ]


def _watched(request: CustomerRequest) -> list[str]:
    return [entry for entry in request.GET.getlist("watch")[:PER_PAGE] if ":" in entry]


def _step(request: CustomerRequest) -> int:
    """How many looks in a row have seen nothing move; the page carries the count."""
    text = request.GET.get("step", "0")
    is_number = text.isascii() and text.isdigit() and len(text) < 4
    return min(int(text), len(POLL_DELAYS)) if is_number else 0


def _delay(step: int) -> int:
    return POLL_DELAYS[min(step, len(POLL_DELAYS) - 1)]
