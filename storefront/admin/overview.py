"""The admin's front page: today at a glance, and what waits for a person.

The number of queries does not depend on the number of rows, each uses an index, and each is asked
only for staff who may see the answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db.models import Count, F, Min, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django_q.models import Failure, OrmQ

from accounts.admin.reading import shown
from accounts.models import Alert
from accounts.statement import holdings, sales_since
from catalog.models import Breaker, Provider
from orders.models import Order, Refill, RefillState
from orders.statuses import Status
from orders.unconfirmed import Ages, ages, queue
from storefront.admin.sidebar import list_page, may_view

Table = dict[str, Any]  # headers and rows, as the theme's table takes them

DAYS = 7
LATEST = 5


@dataclass(frozen=True)
class Line:
    """One thing that waits for a person."""

    page: str
    title: str
    text: str
    since: datetime | None


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Adds to the front page's context what this member of staff may see."""
    context["title"] = _("Overview")
    days = [timezone.localdate() - timedelta(days=back) for back in reversed(range(DAYS))]
    if may_view(request, "orders.Order"):
        context |= _orders(days)
        context |= _refills()
    if may_view(request, "catalog.Provider"):
        context["providers"] = _providers()
    if may_view(request, "accounts.Posting"):
        context["turnover"] = _turnover(days)
    if may_view(request, "accounts.Wallet"):
        context |= _holdings()
    if may_view(request, "accounts.Alert"):
        context |= _alerts()
    if may_view(request, "django_q.Failure"):
        failed = Failure.objects.filter(stopped__gte=_midnight(days[0]))
        context["failures_page"] = list_page("django_q.Failure")
        context["failures"] = failed.count()
    if may_view(request, "django_q.OrmQ"):
        context["queue_page"] = list_page("django_q.OrmQ")
        context["queue"] = OrmQ.objects.count()
    return context


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


def _end(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.max))


def _orders(days: list[date]) -> dict[str, Any]:
    counts = {
        str(day): Count("pk", filter=Q(created_at__gte=_midnight(day), created_at__lte=_end(day)))
        for day in days
    }
    real = Order.objects.filter(sandbox=False)
    counted = real.filter(created_at__gte=_midnight(days[0])).aggregate(**counts)
    numbers = [counted[str(day)] for day in days]
    page = list_page("orders.Order")
    lost = ages()
    return {
        "orders_page": page,
        "orders_today": numbers[-1],
        "orders_week": sum(numbers),
        "orders_chart": _bars(days, numbers),
        "waiting": [
            {
                "title": _("Waiting to be sent"),
                "page": f"{page}?status__exact={Status.PENDING}",
                **_queue(Status.PENDING),
            },
            {
                "title": _("Unconfirmed"),
                "page": reverse("admin:orders_order_unconfirmed_queue"),
                "urgent": True,
                "number": lost.number,
                "oldest": lost.oldest,
                "ages": _ages(lost),
            },
        ],
        "unconfirmed": _unconfirmed(),
    }


def _ages(lost: Ages) -> str:
    return gettext("%(young)s under 15 min, %(middle)s under 1 h, %(old)s older") % {
        "young": lost.young,
        "middle": lost.middle,
        "old": lost.old,
    }


def _refills() -> dict[str, Any]:
    """Refills that staff do by hand."""
    manual = Refill.objects.filter(state=RefillState.MANUAL, order__sandbox=False)
    return {
        "refills_page": list_page("orders.Refill"),
        "refills": manual.aggregate(number=Count("pk"), oldest=Min("created_at")),
    }


def _providers() -> list[Line]:
    """The providers with which something is the matter."""
    troubled = Provider.objects.filter(
        ~Q(breaker=Breaker.CLOSED)
        | Q(maintenance=True)
        | Q(funds_wait_until__isnull=False)
        | Q(balance__lt=F("low_balance")),
        enabled=True,
    )
    return [
        Line(
            page=_change_page("catalog.Provider", provider.pk),
            title=provider.name,
            text=" · ".join(_troubles(provider)),
            since=None,
        )
        for provider in troubled.order_by("name")
    ]


def _troubles(provider: Provider) -> list[str]:
    troubles: list[str] = []
    if provider.maintenance:
        troubles.append(gettext("Maintenance: orders wait"))
    if provider.breaker != Breaker.CLOSED:
        troubles.append(
            gettext("Interrupted: %(reason)s") % {"reason": provider.breaker_reason or "–"}
        )
    if provider.funds_wait_until is not None:
        troubles.append(gettext("Our funds there are used up: orders wait"))
    low, balance = provider.low_balance, provider.balance
    if low is not None and balance is not None and balance < low:
        told = {"balance": f"{balance.normalize():f}", "currency": provider.currency}
        troubles.append(gettext("Low balance: %(balance)s %(currency)s") % told)
    return troubles


def _queue(status: Status) -> dict[str, Any]:
    """How many stand there, and since when the oldest of them."""
    return Order.objects.filter(status=status, sandbox=False).aggregate(
        number=Count("pk"), oldest=Min("status_changed_at")
    )


def _unconfirmed() -> list[Line]:
    """The orders that staff should look at first."""
    orders = queue().select_related("service", "provider")
    return [
        Line(
            page=_change_page("orders.Order", order.pk),
            title=f"{order} · {order.service.shown_name}",
            text=order.provider.name,
            since=order.status_changed_at,
        )
        for order in orders[:LATEST]
    ]


def _turnover(days: list[date]) -> Table:
    """Today's and the week's sales, one row a currency that sold anything."""
    sold = sales_since(_midnight(days[-1]), _midnight(days[0]))
    return {
        "headers": [_("today"), _("seven days")],
        "rows": [
            [_figures(shown(amount, sales.currency)) for amount in sales.amounts] for sales in sold
        ],
    }


def _holdings() -> dict[str, Any]:
    rows = [
        [_figures(shown(each.amount, each.currency)), number_format(each.wallets)]
        for each in holdings()
    ]
    return {
        "wallets_page": list_page("accounts.Wallet"),
        "holdings": {"headers": [_("held"), _("wallets in use")], "rows": rows},
    }


def _alerts() -> dict[str, Any]:
    alerts = Alert.objects.filter(resolved_at=None)
    counted = alerts.aggregate(
        number=Count("pk"), stalled=Count("pk", filter=Q(code="order_stalled"))
    )
    page = list_page("accounts.Alert")
    return {
        "alerts_page": page,
        "alerts_open": counted["number"],
        "stalled": counted["stalled"],
        "stalled_page": f"{page}?q=order_stalled",
        "alerts": [
            Line(
                page=_change_page("accounts.Alert", alert.pk),
                title=str(alert),
                text=Truncator(alert.message).chars(120),
                since=alert.last_at,
            )
            for alert in alerts.order_by("-last_at", "-pk")[:LATEST]
        ],
    }


def _change_page(label: str, pk: int) -> str:
    return reverse(f"admin:{label.lower().replace('.', '_')}_change", args=[pk])


def _figures(text: str) -> SafeString:
    return format_html('<span class="figures">{}</span>', text)


def _bars(days: list[date], numbers: list[int]) -> dict[str, Any]:
    """A bar chart for the theme, and the same in words for who cannot see it."""
    labels = [date_format(day, "D j") for day in days]
    counted = list(zip(labels, map(str, numbers), strict=True))
    bars = {
        "label": str(_("Orders")),
        "data": numbers,
        "backgroundColor": "var(--color-primary-600)",
        "borderRadius": 4,
        "maxBarThickness": 32,
    }
    return {
        "data": json.dumps({"labels": counted, "datasets": [bars]}),
        "words": ", ".join(f"{label}: {number}" for label, number in counted),
    }
