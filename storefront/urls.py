"""Where everything is found."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("account/", include("allauth.urls")),
    path("", include("storefront.api.urls")),
    path("", include("storefront.pages.urls")),
]
handler400 = "storefront.pages.failures.bad_request"
handler403 = "storefront.pages.failures.forbidden"
handler404 = "storefront.pages.failures.not_found"
handler500 = "storefront.pages.failures.server_error"
