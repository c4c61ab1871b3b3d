"""Pages for what went wrong, in the shop's look and the reader's language."""

from __future__ import annotations

import sys

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from storefront.context import brand
from storefront.errors import DATABASE_AWAY, RETRY_AFTER


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """The request itself may be what is broken: nothing of it is used."""
    return HttpResponse(render_to_string("400.html", brand()), status=400)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "403.html", status=403)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """The form came without its token: an old page, or another site's."""
    return render(request, "403_csrf.html", status=403)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return render(request, "404.html", status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Uses nothing that may be broken: no session, no database."""
    # Django calls this while it handles the exception.
    if isinstance(sys.exc_info()[1], DATABASE_AWAY):
        page = render_to_string("503.html", brand())
        return HttpResponse(page, status=503, headers={"Retry-After": str(RETRY_AFTER)})
    return HttpResponse(render_to_string("500.html", brand()), status=500)
