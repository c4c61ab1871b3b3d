"""Pages for signed-in customers."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

from accounts.models import User


class CustomerRequest(HttpRequest):
    """A request of somebody who has signed in."""

    user: User
    htmx: HtmxDetails


View = Callable[..., HttpResponse]


def for_customers(view: View) -> View:
    """Sends others to sign in; a fragment's request takes the whole page there."""
    page = login_required(view)

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        details = cast(CustomerRequest, request).htmx
        if details and not request.user.is_authenticated:
            login = redirect_to_login(details.current_url_abs_path or "/")
            return HttpResponseClientRedirect(login.url)
        return page(request, *args, **kwargs)

    return guarded
