"""API keys: made, shown once, revoked."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts import api_keys as keys
from accounts.models import ApiKey
from storefront.forms import ApiKeyForm
from storefront.pages.access import CustomerRequest, for_customers


@never_cache
@for_customers
@require_http_methods(["GET", "HEAD", "POST"])
def api_keys(request: CustomerRequest) -> HttpResponse:
    """The customer's keys. A new one is shown in the answer to its own request, never again."""
    secret, made = "", None
    data = request.POST if request.method == "POST" else None
    form = ApiKeyForm(data, initial={"currency": request.user.currency})
    if form.is_valid():
        made, secret = keys.issue(request.user, **form.cleaned_data)
        form = ApiKeyForm(initial={"currency": request.user.currency})
    return render(
        request,
        "api_keys/list.html",
        {
            "form": form,
            "made": made,
            "secret": secret,
            "keys": ApiKey.objects.filter(user=request.user, revoked_at=None),
            "panel_address": request.build_absolute_uri("/api/v2"),
            "rest_address": request.build_absolute_uri("/api/v1"),
        },
    )


@never_cache
@for_customers
@require_http_methods(["GET", "HEAD", "POST"])
def revoke_api_key(request: CustomerRequest, pk: int) -> HttpResponse:
    """Asks first; then the key is useless at once."""
    key = get_object_or_404(ApiKey, pk=pk, user=request.user, revoked_at=None)
    if request.method == "POST":
        keys.revoke(key)
        messages.success(request, _("The API key “%(name)s” is revoked.") % {"name": key.name})
        return redirect("api_keys")
    return render(request, "api_keys/revoke.html", {"key": key})
