"""Webhooks: where a customer's programs are told what happens, and how telling them went."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, TypeVar

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.forms import Form
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import low_marks, twins
from accounts import webhooks as domain
from accounts.models import DeliveryState, User, WebhookDelivery, WebhookEndpoint
from accounts.money import Currency
from accounts.webhooks import WebhookNotFound, WebhookRefused
from storefront.errors import describe
from storefront.forms import LowMarksForm, NewWebhookForm, NewWebhookSecretForm, WebhookForm
from storefront.pages.access import CustomerRequest, View, for_customers
from storefront.pages.paging import page_of

PER_PAGE = 25
# How long the page of a new delivery asks by itself what became of it.
_ASKED_AGAIN_FOR = timedelta(minutes=1)

_Found = TypeVar("_Found", WebhookEndpoint, WebhookDelivery)


def _found(view: View) -> View:
    """What is removed while the view is at work was never found."""

    @wraps(view)
    def answer(request: CustomerRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except WebhookNotFound as missing:
            raise Http404 from missing

    return answer


def _page(view: View) -> View:
    return never_cache(for_customers(require_http_methods(["GET", "HEAD", "POST"])(_found(view))))


def _shown(view: View) -> View:
    return never_cache(for_customers(require_safe(view)))


def _done(view: View) -> View:
    return never_cache(for_customers(require_POST(_found(view))))


@_shown
def webhooks(request: CustomerRequest) -> HttpResponse:
    """All endpoints, those for sandbox orders too, and the marks of low wallets."""
    context = {"form": LowMarksForm(initial=low_marks.marks_of(request.user))}
    return _listed(request, context)


@_done
def low_wallets(request: CustomerRequest) -> HttpResponse:
    """Set the marks below which a wallet is called low."""
    form = LowMarksForm(request.POST)
    if form.is_valid():
        try:
            low_marks.set_marks(request.user, form.cleaned_data)
        except ValidationError as refusal:
            form.add_error(None, refusal)
        else:
            messages.success(request, _("Your marks are saved."))
            return redirect("webhooks")
    return _listed(request, {"form": form})


@_page
def new_webhook(request: CustomerRequest) -> HttpResponse:
    """A new endpoint; its secret is shown in the answer to its own request, never again."""
    form = NewWebhookForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        values = dict(form.cleaned_data)
        owner = twins.twin_of(request.user) if values.pop("sandbox") else request.user
        try:
            endpoint, secret = domain.create(owner, **values)
        except WebhookRefused as refusal:
            _tell(form, refusal)
        else:
            return _secret_shown(request, endpoint, secret)
    return render(request, "webhooks/new.html", {"form": form})


@_shown
def webhook(request: CustomerRequest, pk: int) -> HttpResponse:
    """One endpoint: how it stands, what can be done, and its log, newest first."""
    endpoint = _own(request, pk, domain.find)
    state = request.GET.get("state", "")
    if state and state not in DeliveryState.values:
        raise Http404
    deliveries = domain.deliveries_of(endpoint, state=state)
    context = {
        "endpoint": endpoint,
        "state": state,
        "states": DeliveryState,
        "page": page_of(deliveries, request, per_page=PER_PAGE),
    }
    return render(request, "webhooks/webhook.html", context)


@_page
def edit_webhook(request: CustomerRequest, pk: int) -> HttpResponse:
    """Its address, its events, its note."""
    endpoint = _own(request, pk, domain.find)
    kept = {name: getattr(endpoint, name) for name in ("url", "events", "description")}
    form = WebhookForm(request.POST if request.method == "POST" else None, initial=kept)
    if form.is_valid():
        try:
            domain.change(endpoint, **form.cleaned_data)
        except WebhookRefused as refusal:
            _tell(form, refusal)
        else:
            messages.success(request, _("The webhook is changed."))
            return redirect("webhook", pk=pk)
    return render(request, "webhooks/edit.html", {"form": form, "endpoint": endpoint})


@_page
def rotate_webhook(request: CustomerRequest, pk: int) -> HttpResponse:
    """A new secret, shown once; the old one signs beside it for a time of the customer's choice."""
    endpoint = _own(request, pk, domain.find)
    form = NewWebhookSecretForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        secret = domain.rotate(endpoint, **form.cleaned_data)
        return _secret_shown(request, endpoint, secret)
    return render(request, "webhooks/rotate.html", {"form": form, "endpoint": endpoint})


@_done
def switch_webhook(request: CustomerRequest, pk: int) -> HttpResponse:
    """Off, or on again."""
    endpoint = _own(request, pk, domain.find)
    if request.POST.get("on"):
        domain.enable(endpoint)
        messages.success(request, _("The webhook is switched on."))
    else:
        domain.disable(endpoint)
        messages.success(request, _("The webhook is switched off."))
    return redirect("webhook", pk=pk)


@_page
def remove_webhook(request: CustomerRequest, pk: int) -> HttpResponse:
    """Asks first; then the endpoint is gone, its log with it."""
    endpoint = _own(request, pk, domain.find)
    if request.method == "POST":
        domain.remove(endpoint)
        messages.success(request, _("The webhook is removed."))
        return redirect("webhooks")
    return render(request, "webhooks/remove.html", {"endpoint": endpoint})


@_done
def test_webhook(request: CustomerRequest, pk: int) -> HttpResponse:
    """Send a test event, and show what becomes of it."""
    delivery = domain.send_test(_own(request, pk, domain.find))
    return redirect("webhook_delivery", pk=delivery.pk)


@_shown
def webhook_delivery(request: CustomerRequest, pk: int) -> HttpResponse:
    """One delivery: what is sent, and every attempt. A fragment where the page asks again."""
    delivery = _own(request, pk, domain.find_delivery)
    template = "webhooks/_delivery.html" if request.htmx else "webhooks/delivery.html"
    attempts = list(delivery.log.all())
    is_waiting = delivery.state == DeliveryState.PENDING
    is_young = delivery.created_at > timezone.now() - _ASKED_AGAIN_FOR
    context = {
        "delivery": delivery,
        "endpoint": delivery.endpoint,
        "attempts": attempts,
        "is_waiting": is_waiting,
        "asks_again": is_waiting and is_young and not attempts,
        "can_replay": not is_waiting and not delivery.endpoint.disabled_at,
    }
    return render(request, template, context)


@_done
def replay_webhook(request: CustomerRequest, pk: int) -> HttpResponse:
    """Send the same event once more, as a delivery of its own."""
    try:
        again = domain.replay(_own(request, pk, domain.find_delivery))
    except WebhookRefused as refusal:
        messages.error(request, describe(refusal).message)
        return redirect("webhook_delivery", pk=pk)
    return redirect("webhook_delivery", pk=again.pk)


def _listed(request: CustomerRequest, context: dict[str, Any]) -> HttpResponse:
    endpoints = [
        endpoint for owner in _accounts(request.user) for endpoint in domain.endpoints_of(owner)
    ]
    names = {"endpoints": endpoints, "currencies": Currency.values, **context}
    return render(request, "webhooks/list.html", names)


def _accounts(user: User) -> list[User]:
    """The customer's own account, and the twin of their sandbox keys where there is one."""
    return [user, *User.objects.filter(sandbox_of=user)]


def _own(request: CustomerRequest, pk: int, find: Callable[[User, str], _Found]) -> _Found:
    for owner in _accounts(request.user):
        try:
            return find(owner, str(pk))
        except WebhookNotFound:
            continue
    raise Http404


def _tell(form: Form, refusal: WebhookRefused) -> None:
    for field, texts in refusal.problems.items():
        form.add_error(field, texts)


def _secret_shown(request: CustomerRequest, endpoint: WebhookEndpoint, secret: str) -> HttpResponse:
    return render(request, "webhooks/secret.html", {"endpoint": endpoint, "secret": secret})
