"""API keys: made, shown once, changed, regenerated, revoked; real ones and those of the sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import api_keys as keys
from accounts import limits, request_log, twins
from accounts.models import ApiKey, KeyState, Permission, User
from storefront.forms import ApiKeyForm, ApiKeyTermsForm, RegenerateForm
from storefront.pages.access import CustomerRequest, for_customers
from storefront.pages.purses import Purse, purses_of

# For as long as its requests are kept a revoked key can still be looked at.
ENDED_SHOWN = timedelta(days=30)
LATEST_REQUESTS = 5
# What a new key may be tried with: an action of both dialects, and what it needs.
SAMPLES = [(Permission.BALANCE_READ, "balance"), (Permission.SERVICES_READ, "services")]


@dataclass(frozen=True)
class Row:
    """A key, and what it has used of its limits."""

    key: ApiKey
    use: limits.Use


@never_cache
@for_customers
@require_safe
def api_keys(request: CustomerRequest) -> HttpResponse:
    """The customer's keys, the real ones apart from those of the sandbox."""
    shown = Q(revoked_at=None) | Q(revoked_at__gt=timezone.now() - ENDED_SHOWN)
    found = ApiKey.objects.filter(shown, user=request.user).select_related("user")
    use = limits.use_of(found)
    rows = [Row(key, use[key.pk]) for key in found]
    ended = [row for row in rows if row.key.state == KeyState.REVOKED]
    sandbox = [row for row in rows if row.key.sandbox and row not in ended]
    return render(
        request,
        "api_keys/list.html",
        {
            "live": [row for row in rows if not row.key.sandbox and row not in ended],
            "sandbox": sandbox,
            "ended": ended,
            "purses": _play_purses(request.user) if sandbox else [],
            **_addresses(request),
        },
    )


@never_cache
@for_customers
@require_http_methods(["GET", "HEAD", "POST"])
def new_api_key(request: CustomerRequest) -> HttpResponse:
    """A new key; it is shown in the answer to its own request, never again."""
    initial = {"currency": request.user.currency, "kind": request.GET.get("kind", "live")}
    form = ApiKeyForm(request.POST if request.method == "POST" else None, initial=initial)
    if form.is_valid():
        issue = keys.issue_sandbox if form.cleaned_data["kind"] == "sandbox" else keys.issue
        try:
            key, text = issue(
                request.user,
                name=form.cleaned_data["name"],
                currency=form.cleaned_data["currency"],
                terms=form.terms(),
            )
        except ValidationError as refusal:
            form.add_error(None, refusal)
        else:
            return _shown_once(request, key, text)
    return render(request, "api_keys/new.html", {"form": form})


@never_cache
@for_customers
@require_safe
def api_key(request: CustomerRequest, pk: int) -> HttpResponse:
    """One key: what holds for it, what it has used, what it asked last."""
    key = get_object_or_404(ApiKey.objects.select_related("user"), pk=pk, user=request.user)
    return render(
        request,
        "api_keys/key.html",
        {
            "key": key,
            "use": limits.use_of([key])[key.pk],
            "may_all": set(key.permissions) == set(Permission.values),
            "may": [
                Permission(each).label for each in Permission.values if each in key.permissions
            ],
            "old_until": _old_until(key),
            "requests": request_log.of_key(key)[:LATEST_REQUESTS],
        },
    )


@never_cache
@for_customers
@require_http_methods(["GET", "HEAD", "POST"])
def change_api_key(request: CustomerRequest, pk: int) -> HttpResponse:
    """Another name, other permissions, another end, other networks; the text stays."""
    key = _working_key(request.user, pk)
    form = ApiKeyTermsForm(request.POST if request.method == "POST" else None, key=key)
    if form.is_valid():
        try:
            keys.change(key, name=form.cleaned_data["name"], terms=form.terms())
        except ValidationError as refusal:
            form.add_error(None, refusal)
        else:
            messages.success(request, _("The API key is changed."))
            return redirect("api_key", key.pk)
    if form.is_bound:
        # The page's title tells what is stored, not what was refused.
        key.refresh_from_db()
    return render(request, "api_keys/change.html", {"form": form, "key": key})


@never_cache
@for_customers
@require_http_methods(["GET", "HEAD", "POST"])
def regenerate_api_key(request: CustomerRequest, pk: int) -> HttpResponse:
    """Asks how long the old text goes on working; the new one is shown in the answer alone."""
    key = _working_key(request.user, pk)
    form = RegenerateForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            text = keys.regenerate(key, grace=form.cleaned_data["grace"])
        except ValidationError as refusal:
            form.add_error(None, refusal)
        else:
            return _shown_once(request, key, text, is_new=False)
    return render(request, "api_keys/regenerate.html", {"form": form, "key": key})


@never_cache
@for_customers
@require_http_methods(["GET", "HEAD", "POST"])
def revoke_api_key(request: CustomerRequest, pk: int) -> HttpResponse:
    """Asks first; then the key is useless at once."""
    key = _working_key(request.user, pk)
    if request.method == "POST":
        keys.revoke(key)
        messages.success(request, _("The API key “%(name)s” is revoked.") % {"name": key.name})
        return redirect("api_keys")
    return render(request, "api_keys/revoke.html", {"key": key})


@for_customers
@require_POST
def play_money(request: CustomerRequest) -> HttpResponse:
    """The play wallets hold again what they held at first."""
    twins.refill(request.user)
    messages.success(request, _("Your play wallets are full again."))
    return redirect("api_keys")


def _shown_once(
    request: CustomerRequest, key: ApiKey, text: str, *, is_new: bool = True
) -> HttpResponse:
    context: dict[str, Any] = {
        "key": key,
        "secret": text,
        "is_new": is_new,
        "sample": next((name for need, name in SAMPLES if need in key.permissions), ""),
        **_addresses(request),
    }
    return render(request, "api_keys/secret.html", context)


def _working_key(user: User, pk: int) -> ApiKey:
    """The customer's own key; a revoked one stays as it is. Raises Http404."""
    return get_object_or_404(ApiKey, pk=pk, user=user, revoked_at=None)


def _old_until(key: ApiKey) -> datetime | None:
    """Until when the text before this one works, if it still does."""
    until = key.previous_until
    is_over = until is None or until <= timezone.now() or key.revoked_at is not None
    return None if is_over else until


def _play_purses(user: User) -> list[Purse]:
    twin = User.objects.filter(sandbox_of=user).first()
    return purses_of(twin) if twin else []


def _addresses(request: CustomerRequest) -> dict[str, str]:
    return {
        "panel_address": request.build_absolute_uri("/api/v2"),
        "rest_address": request.build_absolute_uri("/api/v1"),
    }
