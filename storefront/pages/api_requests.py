"""What a key's programs have asked, and what we answered."""

from __future__ import annotations

from django.db.models import Q, QuerySet
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts import request_log
from accounts.models import ApiKey, ApiRequest
from storefront.pages.access import CustomerRequest, for_customers
from storefront.pages.paging import asked_text

PER_PAGE = 25


@never_cache
@for_customers
@require_safe
def api_key_requests(request: CustomerRequest, pk: int) -> HttpResponse:
    """The requests of one key, newest first, by result and text.

    The log grows while it is read, and may be long: a page begins where the one before it ended
    (`?before=`), and nothing is counted.
    """
    key = get_object_or_404(ApiKey, pk=pk, user=request.user)
    text, result, before = asked_text(request), request.GET.get("result", ""), _before(request)
    found = _chosen(request_log.of_key(key), text, result)
    if before:
        found = found.filter(pk__lt=before)
    entries = list(found[: PER_PAGE + 1])
    page = entries[:PER_PAGE]
    return render(
        request,
        "api_keys/_requests.html" if request.htmx else "api_keys/requests.html",
        {
            "key": key,
            "requests": page,
            "older": page[-1].pk if len(entries) > PER_PAGE else None,
            "before": before,
            "text": text,
            "result": result,
        },
    )


@never_cache
@for_customers
@require_safe
def api_key_request(request: CustomerRequest, pk: int, request_pk: int) -> HttpResponse:
    """One request with its parameters and its answer."""
    key = get_object_or_404(ApiKey, pk=pk, user=request.user)
    entry = get_object_or_404(request_log.of_key(key), pk=request_pk)
    return render(request, "api_keys/request.html", {"key": key, "entry": entry})


def _chosen(found: QuerySet[ApiRequest], text: str, result: str) -> QuerySet[ApiRequest]:
    if text:
        found = found.filter(Q(action__icontains=text) | Q(result__icontains=text))
    if result == "ok":
        return found.filter(result="ok")
    return found.exclude(result="ok") if result == "refused" else found


def _before(request: CustomerRequest) -> int | None:
    """The number in `?before=`. Raises Http404."""
    text = request.GET.get("before", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Http404
    return int(text)
