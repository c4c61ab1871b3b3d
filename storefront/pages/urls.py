"""The website's addresses."""

from django.urls import path

from storefront.pages import (
    api_keys,
    catalogue,
    home,
    mass_order,
    order_actions,
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
    path("orders/refill/", order_actions.refill_many, name="orders_refill"),
    path("orders/many/", mass_order.mass_order, name="mass_order"),
    path("orders/many/<uuid:key>/", mass_order.mass_progress, name="mass_progress"),
    path("orders/<int:pk>/", orders.order, name="order"),
    path("orders/<int:pk>/refill/", order_actions.refill, name="order_refill"),
    path("orders/<int:pk>/cancel/", order_actions.cancel, name="order_cancel"),
    path("orders/<int:pk>/pause/", order_actions.pause, name="order_pause"),
    path("orders/<int:pk>/resume/", order_actions.resume, name="order_resume"),
    path("wallet/", wallet.wallet, name="wallet"),
    path("settings/", profile.profile, name="profile"),
    path("settings/api-keys/", api_keys.api_keys, name="api_keys"),
    path("settings/api-keys/<int:pk>/revoke/", api_keys.revoke_api_key, name="revoke_api_key"),
]
