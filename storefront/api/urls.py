"""The APIs' addresses: each with and without a trailing slash, never through a redirect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern, path, re_path

from storefront.api.panel.views import panel
from storefront.api.rest import views


def _both(route: str, view: Callable[..., Any], name: str) -> list[URLPattern]:
    return [path(route, view, name=name), path(f"{route}/", view)]


urlpatterns = [
    *_both("api/v1/services", views.ServicesView.as_view(), "api_services"),
    *_both("api/v1/orders", views.OrdersView.as_view(), "api_orders"),
    *_both("api/v1/orders/<str:reference>", views.OrderView.as_view(), "api_order"),
    *_both("api/v1/orders/<str:reference>/cancel", views.CancelView.as_view(), "api_cancel"),
    *_both("api/v1/orders/<str:reference>/refill", views.RefillOrderView.as_view(), "api_refill"),
    *_both("api/v1/refills/<str:reference>", views.RefillView.as_view(), "api_refill_state"),
    *_both("api/v1/balance", views.BalanceView.as_view(), "api_balance"),
    *_both("api/v1/openapi.json", views.OpenApiView.as_view(), "api_schema"),
    re_path(r"^api/v1(/.*)?\Z", views.NowhereView.as_view()),
    *_both("api", panel, "api_panel"),
    *_both("api/v2", panel, "api_panel_v2"),
]
