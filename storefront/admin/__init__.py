"""The admin's front page, navigation and colours, its way in, and the pages about jobs."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin

from storefront.admin import jobs
from storefront.admin.colours import colours, favicon, stylesheet
from storefront.admin.overview import dashboard
from storefront.admin.sidebar import navigation

__all__ = ["colours", "dashboard", "favicon", "jobs", "navigation", "stylesheet"]

# Staff sign in where everybody does: one door, with its rate limits and second factor.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]
