"""The admin's navigation: what this member of staff may see, and what waits for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.models import Alert
from orders.models import Order, Refill, RefillState
from orders.statuses import Status


@dataclass(frozen=True)
class Entry:
    """A line that leads to a model's list; `waiting` counts what its badge shows."""

    title: str | Promise
    icon: str
    model: str
    waiting: Callable[[], int] | None = None
    query: str = ""


def unconfirmed_orders() -> int:
    """Orders of which nobody knows whether they were bought."""
    return Order.objects.filter(status=Status.UNCONFIRMED).count()


def manual_refills() -> int:
    """Refills that staff must do by hand."""
    return Refill.objects.filter(state=RefillState.MANUAL).count()


def open_alerts() -> int:
    """Alerts that nobody has resolved."""
    return Alert.objects.filter(resolved_at=None).count()


GROUPS: list[tuple[str | Promise, list[Entry]]] = [
    (
        _("Sales"),
        [
            Entry(_("Orders"), "shopping_cart", "orders.Order", unconfirmed_orders),
            Entry(_("Refills"), "autorenew", "orders.Refill", manual_refills),
            Entry(_("Cancellations"), "cancel", "orders.CancelRequest"),
            Entry(_("Alerts"), "notifications", "accounts.Alert", open_alerts),
        ],
    ),
    (
        _("Catalogue"),
        [
            Entry(_("Services"), "sell", "catalog.Service"),
            Entry(_("Categories"), "category", "catalog.Category"),
            Entry(_("Providers"), "hub", "catalog.Provider"),
            Entry(_("Syncs"), "sync", "catalog.SyncRecord"),
            Entry(_("Balances there"), "balance", "orders.BookReading"),
        ],
    ),
    (
        _("Money"),
        [
            Entry(_("Wallets"), "account_balance_wallet", "accounts.Wallet"),
            Entry(_("Journal"), "receipt_long", "accounts.JournalEntry"),
            Entry(_("Postings"), "list_alt", "accounts.Posting"),
            Entry(_("Exchange rates"), "currency_exchange", "accounts.ExchangeRate"),
        ],
    ),
    (
        _("People"),
        [
            Entry(_("Customers and staff"), "group", "accounts.User"),
            Entry(_("API keys"), "key", "accounts.ApiKey"),
            Entry(_("API requests"), "api", "accounts.ApiRequest"),
            Entry(_("Webhooks"), "webhook", "accounts.WebhookEndpoint"),
            Entry(_("Webhook deliveries"), "outbox", "accounts.WebhookDelivery"),
            Entry(_("E-mail addresses"), "alternate_email", "account.EmailAddress"),
            Entry(_("Second factors"), "phonelink_lock", "mfa.Authenticator"),
            Entry(_("Groups"), "admin_panel_settings", "auth.Group"),
            Entry(_("Permissions"), "rule", "auth.Permission"),
            Entry(_("Log of staff"), "history", "admin.LogEntry"),
        ],
    ),
    (
        _("Jobs"),
        [
            Entry(_("Failed jobs"), "error", "django_q.Failure"),
            Entry(_("Finished jobs"), "task_alt", "django_q.Success"),
            Entry(_("Queue"), "pending_actions", "django_q.OrmQ"),
            Entry(_("Schedules"), "schedule", "django_q.Schedule"),
        ],
    ),
]


def may_view(request: HttpRequest, label: str) -> bool:
    """Whether this member of staff may see the model's pages."""
    model_admin = admin.site.get_model_admin(apps.get_model(label))
    return bool(model_admin.has_view_or_change_permission(request))


def list_page(label: str) -> str:
    """The address of the model's list."""
    return reverse(f"admin:{label.lower().replace('.', '_')}_changelist")


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The groups that hold something for this member of staff; counts only what they may see."""
    overview = {"title": _("Overview"), "icon": "dashboard", "link": reverse("admin:index")}
    groups: list[dict[str, Any]] = [{"items": [overview]}]
    for title, entries in GROUPS:
        items = [_item(entry) for entry in entries if may_view(request, entry.model)]
        if items:
            groups.append({"title": title, "items": items})
    return groups


def _item(entry: Entry) -> dict[str, Any]:
    item: dict[str, Any] = {
        "title": entry.title,
        "icon": entry.icon,
        "link": list_page(entry.model),
    }
    if entry.waiting and (number := entry.waiting()):
        item["badge"] = number
    return item
