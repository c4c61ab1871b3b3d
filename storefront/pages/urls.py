"""The website's addresses."""

from django.urls import path

from storefront.pages import (
    api_keys,
    catalogue,
    home,
    order_form,
    orders,
    profile,
    theme,
    wallet,
)

urlpatterns = [
    path("", home.home, name="home"),
    path("theme.css", theme.theme, name="theme"),
    path("language/", profile.language, name="set_language"),
    path("services/", catalogue.catalogue, name="catalogue"),
    path("services/<int:pk>/", catalogue.service, name="service"),
    path("order/", order_form.new_order, name="new_order"),
    path("order/price/", order_form.order_price, name="order_price"),
    path("order/services/", order_form.service_options, name="service_options"),
    path("orders/", orders.orders, name="orders"),
    path("orders/progress/", orders.progress, name="orders_progress"),
    path("orders/<int:pk>/", orders.order, name="order"),
    path("wallet/", wallet.wallet, name="wallet"),
    path("settings/", profile.profile, name="profile"),
    path("settings/api-keys/", api_keys.api_keys, name="api_keys"),
    path("settings/api-keys/<int:pk>/revoke/", api_keys.revoke_api_key, name="revoke_api_key"),
]
