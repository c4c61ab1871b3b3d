"""What every request passes: no null bytes, a content security policy, the reader's language and
time zone."""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse
from django.middleware.locale import LocaleMiddleware
from django.utils import timezone, translation

from storefront.pages.failures import bad_request

Handler = Callable[[HttpRequest], HttpResponse]

# Everything from ourselves, nothing inline, nothing framed.
STRICT_CSP = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
# The admin's theme evaluates Alpine expressions and writes style attributes.
ADMIN_CSP = STRICT_CSP.replace(
    "script-src 'self'", "script-src 'self' 'unsafe-eval' 'unsafe-inline'"
).replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")


class RejectNullBytes:
    """No honest path, query or cookie holds a null byte, and PostgreSQL refuses to store one."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # The APIs refuse them too, each in its dialect's own shape.
        if not request.path.startswith("/api") and (
            "\x00" in request.path
            or "%00" in request.META.get("QUERY_STRING", "")
            or any("\x00" in value for value in request.COOKIES.values())
        ):
            return bad_request(request)
        return self.get_response(request)


class ContentSecurityPolicy:
    """Sets the policy by path: strict for customers, looser where the admin's theme needs it."""

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        is_admin = request.path.startswith("/admin/")
        response.headers.setdefault(
            "Content-Security-Policy", ADMIN_CSP if is_admin else STRICT_CSP
        )
        response.headers.setdefault(
            "Permissions-Policy", "camera=(), microphone=(), geolocation=()"
        )
        return response


class CustomerLocale(LocaleMiddleware):
    """A signed-in user's own language and time zone before the cookie's and the browser's."""

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        user = request.user
        if not user.is_authenticated:
            timezone.deactivate()
            return
        timezone.activate(ZoneInfo(user.time_zone))
        if user.language:
            translation.activate(user.language)
            request.LANGUAGE_CODE = user.language
