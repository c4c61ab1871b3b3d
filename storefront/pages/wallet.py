"""The wallet: balances, and every movement of money."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts import statement
from accounts.models import Posting, Wallet
from storefront.pages.access import CustomerRequest, for_customers
from storefront.pages.paging import page_of
from storefront.pages.purses import chosen_currency, purses_of

PER_PAGE = 25


@never_cache
@for_customers
@require_safe
def wallet(request: CustomerRequest) -> HttpResponse:
    """The balances of all currencies, and one wallet's transactions."""
    currency = chosen_currency(request.GET.get("currency"), request.user)
    held = Wallet.objects.filter(user=request.user, currency=currency).first()
    moved = statement.transactions(held) if held else Posting.objects.none()
    purses = purses_of(request.user)
    return render(
        request,
        "wallet.html",
        {
            "purses": purses,
            "purse": next(purse for purse in purses if purse.currency == currency),
            "page": page_of(moved, request, per_page=PER_PAGE),
        },
    )
