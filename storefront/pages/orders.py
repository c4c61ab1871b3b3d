"""A customer's orders: the list, one order, and how delivery goes on."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_safe

from orders import listing, queueing
from orders.listing import OrderNotFound
from orders.models import DripFeed, Order, SeriesState, Subscription
from orders.statuses import PUBLIC_STATUSES, Status, behind
from storefront.pages import order_history, order_story
from storefront.pages.access import CustomerRequest, for_customers
from storefront.pages.paging import asked_text, page_of

PER_PAGE = 20
# A drip-feed may have thousands of runs.
RUNS_SHOWN = 50
# Seconds between looks at running orders; the longer nothing moves, the rarer.
POLL_DELAYS = (4, 6, 10, 15, 20, 30, 60)


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
    rows = order_story.rows(list(page))
    return render(
        request,
        "orders/_results.html" if request.htmx else "orders/list.html",
        {
            "page": page,
            "rows": rows,
            "can_refill": any(row.can_refill for row in rows),
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
            "rows": order_story.rows(list(found.values())),
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
    waits_for = queueing.waits_for(found)
    waiting = order_story.waiting_words(found, waits_for)
    return render(
        request,
        "orders/_order.html" if request.htmx else "orders/order.html",
        {
            "order": found,
            "moved": moved,
            "waiting": waiting,
            "next": order_story.what_next(found, waiting),
            "to_come": order_story.to_come(found),
            "asked": order_story.asked(found),
            "history": order_history.told(found, listing.history_of(found)),
            "refills": list(found.refills.all()),
            "refill": order_story.refill_offer(found),
            "guarantee": order_story.guarantee(found),
            "cancel": order_story.cancel_offer(found),
            **_of_series(found),
            "again": order_story.order_again(found),
            "step": step,
            "delay": _delay(step),
        },
    )


def _of_series(order: Order) -> dict[str, Any]:
    """What the page shows of a drip-feed or a subscription."""
    feed: DripFeed | None = getattr(order, "dripfeed", None)
    terms: Subscription | None = getattr(order, "subscription", None)
    runs_on = feed is not None and not order.is_final and feed.runs_made < feed.runs
    return {
        "is_series": order_story.is_series(order),
        "runs": order_story.runs(order, newest=RUNS_SHOWN) if feed else [],
        "can_pause": runs_on and feed is not None and feed.state == SeriesState.ACTIVE,
        "can_resume": runs_on and feed is not None and feed.state == SeriesState.PAUSED,
        "still_reserved": order.net_charge - terms.served if terms else None,
    }


def _watched(request: CustomerRequest) -> list[str]:
    return [entry for entry in request.GET.getlist("watch")[:PER_PAGE] if ":" in entry]


def _step(request: CustomerRequest) -> int:
    """How many looks in a row have seen nothing move; the page carries the count."""
    text = request.GET.get("step", "0")
    is_number = text.isascii() and text.isdigit() and len(text) < 4
    return min(int(text), len(POLL_DELAYS)) if is_number else 0


def _delay(step: int) -> int:
    return POLL_DELAYS[min(step, len(POLL_DELAYS) - 1)]
