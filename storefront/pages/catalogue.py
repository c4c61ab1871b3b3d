"""The catalogue: everybody may look; filters live in the address."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.money import Currency
from catalog import listing
from catalog.listing import CatalogError
from catalog.models import Network
from storefront.errors import describe
from storefront.pages.paging import asked_page, asked_text, page_found
from storefront.pages.purses import chosen_currency

PER_PAGE = 50


@require_safe
def catalogue(request: HttpRequest) -> HttpResponse:
    """Services by text, network and category. A filter that does not exist filters nothing."""
    currency = chosen_currency(request.GET.get("currency"), request.user)
    network = request.GET.get("network", "")
    network = network if network in Network.values else ""
    categories = listing.categories(network)
    asked = request.GET.get("category", "")
    category = next((c for c in categories if str(c.pk) == asked), None)
    text = asked_text(request)
    found = listing.search(
        currency=currency,
        text=text,
        network=network,
        category_id=category.pk if category else None,
        limit=PER_PAGE,
        offset=(asked_page(request) - 1) * PER_PAGE,
    )
    state = {
        "page": page_found(found.items, found.total, request, per_page=PER_PAGE),
        "networks": listing.networks(),
        "categories": categories,
        "network": network,
        "category": category,
        "text": text,
        "currency": currency,
        "currencies": Currency.choices,
        "is_filtered": bool(text or network or category),
    }
    fragment = getattr(request, "htmx", False)
    return render(request, "catalogue/_results.html" if fragment else "catalogue/list.html", state)


@require_safe
def service(request: HttpRequest, pk: int) -> HttpResponse:
    """One service, with everything that a buyer should know."""
    currency = chosen_currency(request.GET.get("currency"), request.user)
    try:
        listed = listing.find(pk, currency=currency)
    except CatalogError as error:
        # For a reader, "not sold now" is as good as "not here"; the words tell which.
        return render(request, "catalogue/missing.html", {"told": describe(error)}, status=404)
    return render(
        request,
        "catalogue/service.html",
        {"listed": listed, "currency": currency, "currencies": Currency.choices},
    )
