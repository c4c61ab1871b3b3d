"""The front door: what the shop does, and real prices."""

from __future__ import annotations

from typing import Any

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from catalog import listing
from storefront.pages.purses import chosen_currency

NETWORKS_SHOWN = 6
KEPT_SECONDS = 60


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """For visitors and customers alike."""
    currency = chosen_currency(request.GET.get("currency"), request.user)
    # The busiest page, and the same for everybody: worked out once a minute for each currency.
    shown = cache.get_or_set(f"home:{currency}", lambda: _shown(currency), KEPT_SECONDS)
    return render(request, "home.html", {**(shown or {}), "currency": currency})


def _shown(currency: str) -> dict[str, Any]:
    """The networks, and the first service of each of the first few, with its price."""
    networks = listing.networks()
    offers = [
        item
        for network in networks[:NETWORKS_SHOWN]
        for item in listing.search(currency=currency, network=network.network, limit=1).items
    ]
    return {
        "networks": networks,
        "offers": offers,
        "total": sum(network.services for network in networks),
    }
