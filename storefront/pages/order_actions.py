"""What customers do with an order after buying: refill, cancel, pause, resume.

Each asks first, on a page of its own that says what will happen; what cannot be done is said in
words, with the order's page behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.formatting import money
from orders import cancellations, dripfeed, listing, refills
from orders.cancellations import CancelRefused
from orders.dripfeed import SeriesRefused
from orders.listing import OrderNotFound
from orders.models import Order, Refill
from orders.moves import by_customer
from orders.refills import RefillRefused
from orders.statuses import Status
from storefront.errors import describe
from storefront.pages import order_story
from storefront.pages.access import CustomerRequest, View, for_customers
from storefront.templatetags.store import language

MANY = 100


@dataclass(frozen=True)
class Question:
    """What is asked before something is done: a title, what will happen, and the button's words.

    `problem` says why it cannot be done; then there is no button.
    """

    title: str
    sentences: list[str]
    button: str
    problem: str = ""
    is_dangerous: bool = False


def _page(view: View) -> View:
    return never_cache(for_customers(require_http_methods(["GET", "HEAD", "POST"])(view)))


@_page
def refill(request: CustomerRequest, pk: int) -> HttpResponse:
    """Ask for a refill of one order."""
    order = _own(request, pk)
    refused = refills.refusal(order)
    question = Question(
        title=_("Ask for a refill of order %(id)s?") % {"id": order.pk},
        sentences=[
            _(
                "A refill delivers again, free of charge, what has dropped off since the order"
                " was completed."
            ),
            _("It is checked first whether something is missing; then it can take some days."),
        ],
        button=_("Ask for the refill"),
        problem=describe(refused).message if refused else "",
    )
    return _asked(request, order, question, _refill)


@_page
def cancel(request: CustomerRequest, pk: int) -> HttpResponse:
    """Cancel an order, or stop a drip-feed or subscription."""
    order = _own(request, pk)
    refused = cancellations.refusal(order)
    stops = order_story.is_series(order)
    ask = _("Stop order %(id)s?") if stops else _("Cancel order %(id)s?")
    question = Question(
        title=ask % {"id": order.pk},
        sentences=[] if refused else order_story.comes_back(order),
        button=_("Stop the order") if stops else _("Cancel the order"),
        problem=describe(refused).message if refused else "",
        is_dangerous=True,
    )
    return _asked(request, order, question, _cancel)


@_page
def pause(request: CustomerRequest, pk: int) -> HttpResponse:
    """Begin no further run of a drip-feed for now."""
    question = Question(
        title=_("Pause order %(id)s?") % {"id": pk},
        sentences=[
            _("No further run begins until you resume it. A run that has begun goes on."),
            _("Nothing is paid back for a pause."),
        ],
        button=_("Pause"),
    )
    return _asked(request, _own_dripfeed(request, pk), question, _pause)


@_page
def resume(request: CustomerRequest, pk: int) -> HttpResponse:
    """Go on with a drip-feed that was paused."""
    question = Question(
        title=_("Resume order %(id)s?") % {"id": pk},
        sentences=[_("The next run begins at its time, or at once where that has passed.")],
        button=_("Resume"),
    )
    return _asked(request, _own_dripfeed(request, pk), question, _resume)


@_page
def refill_many(request: CustomerRequest) -> HttpResponse:
    """Refills of many orders of the list: first what can be asked for and what cannot, then what
    was asked for and what was refused."""
    data = request.POST if request.method == "POST" else request.GET
    chosen = list(dict.fromkeys(data.getlist("order")))[:MANY]
    found = listing.find_many(request.user, chosen)
    orders = list({order.pk: order for order in found.values()}.values())
    if request.method == "POST":
        made = refills.request_each(orders, by=by_customer(request.user))
        refused = {pk: one for pk, one in made.items() if isinstance(one, RefillRefused)}
    else:
        refused = refills.refusals(orders)
    return render(
        request,
        "orders/refill_many.html",
        {
            "possible": [order for order in orders if order.pk not in refused],
            "refused": [
                (order, describe(refused[order.pk]).message)
                for order in orders
                if order.pk in refused
            ],
            "is_done": request.method == "POST",
        },
    )


# --- what the buttons do -------------------------------------------------------------------------


def _refill(request: CustomerRequest, order: Order) -> str:
    made: Refill = refills.request(order, by=by_customer(request.user))
    return _("Refill %(refill)s of order %(id)s is asked for. It is listed here.") % {
        "refill": made.pk,
        "id": order.pk,
    }


def _cancel(request: CustomerRequest, order: Order) -> str:
    before = order.refunded
    kept = cancellations.request(order, by=by_customer(request.user))
    back = money(order.refunded - before, order.currency, language())
    words = {"id": order.pk, "amount": back}
    if kept is not None:
        return (
            _("We have asked for order %(id)s to be stopped. You see here what comes of it.")
            % words
        )
    if order.status == Status.CANCELLED:
        return _("Order %(id)s is cancelled. %(amount)s went back to your wallet.") % words
    return _("Order %(id)s is stopped. %(amount)s went back to your wallet.") % words


def _pause(request: CustomerRequest, order: Order) -> str:
    dripfeed.pause(order, by=by_customer(request.user))
    return _("Order %(id)s is paused.") % {"id": order.pk}


def _resume(request: CustomerRequest, order: Order) -> str:
    dripfeed.resume(order, by=by_customer(request.user))
    return _("Order %(id)s goes on.") % {"id": order.pk}


def _asked(
    request: CustomerRequest,
    order: Order,
    question: Question,
    do: Callable[[CustomerRequest, Order], str],
) -> HttpResponse:
    """The question; posting it does what it asks, or says why not."""
    if request.method != "POST":
        return render(request, "orders/ask.html", {"order": order, "question": question})
    try:
        messages.success(request, do(request, order))
    except (RefillRefused, CancelRefused, SeriesRefused) as refused:
        messages.error(request, describe(refused).message)
    return redirect("order", order.pk)


def _own(request: CustomerRequest, pk: int) -> Order:
    try:
        return listing.find(request.user, str(pk))
    except OrderNotFound as error:
        raise Http404 from error


def _own_dripfeed(request: CustomerRequest, pk: int) -> Order:
    order = _own(request, pk)
    if getattr(order, "dripfeed", None) is None:
        raise Http404
    return order
