"""The APIs' addresses: each with and without a trailing slash, never through a redirect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern, path, re_path

from storefront.api.panel.views import nowhere, panel
from storefront.api.rest import views, webhooks


def _both(route: str, view: Callable[..., Any], name: str) -> list[URLPattern]:
    return [path(route, view, name=name), path(f"{route}/", view)]


urlpatterns = [
    *_both("api/v1/services", views.ServicesView.as_view(), "api_services"),
    *_both("api/v1/services/<str:reference>", views.ServiceView.as_view(), "api_service"),
    *_both("api/v1/orders", views.OrdersView.as_view(), "api_orders"),
    *_both("api/v1/orders/bulk", views.BulkView.as_view(), "api_bulk"),
    *_both("api/v1/orders/<str:reference>", views.OrderView.as_view(), "api_order"),
    *_both("api/v1/orders/<str:reference>/cancel", views.CancelView.as_view(), "api_cancel"),
    *_both("api/v1/orders/<str:reference>/refill", views.RefillOrderView.as_view(), "api_refill"),
    *_both("api/v1/refills/<str:reference>", views.RefillView.as_view(), "api_refill_state"),
    *_both("api/v1/balance", views.BalanceView.as_view(), "api_balance"),
    *_both("api/v1/webhooks", webhooks.WebhooksView.as_view(), "api_webhooks"),
    *_both("api/v1/webhooks/<str:reference>", webhooks.WebhookView.as_view(), "api_webhook"),
    *_both(
        "api/v1/webhooks/<str:reference>/rotate",
        webhooks.RotateWebhookView.as_view(),
        "api_rotate_webhook",
    ),
    *_both(
        "api/v1/webhooks/<str:reference>/test",
        webhooks.TestWebhookView.as_view(),
        "api_test_webhook",
    ),
    *_both(
        "api/v1/webhooks/<str:reference>/enable",
        webhooks.EnableWebhookView.as_view(),
        "api_enable_webhook",
    ),
    *_both(
        "api/v1/webhooks/<str:reference>/disable",
        webhooks.DisableWebhookView.as_view(),
        "api_disable_webhook",
    ),
    *_both(
        "api/v1/webhooks/<str:reference>/deliveries",
        webhooks.DeliveriesView.as_view(),
        "api_deliveries",
    ),
    *_both(
        "api/v1/webhooks/deliveries/<str:reference>",
        webhooks.DeliveryView.as_view(),
        "api_delivery",
    ),
    *_both(
        "api/v1/webhooks/deliveries/<str:reference>/replay",
        webhooks.ReplayView.as_view(),
        "api_replay",
    ),
    *_both("api/v1/transactions", views.TransactionsView.as_view(), "api_transactions"),
    *_both("api/v1/openapi.json", views.OpenApiView.as_view(), "api_schema"),
    # Whatever else stands below /api, with line breaks or not, is answered in a dialect's shape.
    re_path(r"^api/v1(?:/|\Z)", views.NowhereView.as_view()),
    *_both("api", panel, "api_panel"),
    *_both("api/v2", panel, "api_panel_v2"),
    re_path(r"^api/", nowhere),
]
