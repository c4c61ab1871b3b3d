"""Pages of long lists: `?page=2`. A page that cannot be is a 404, never a guess."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.paginator import InvalidPage, Page, Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest

# Longer texts find nothing that shorter ones do not.
_LONGEST_TEXT = 200
# Further than anybody reads, and no database is asked for an offset that it cannot count to.
_FURTHEST = 100_000


def asked_text(request: HttpRequest) -> str:
    """What `?q=` searches for."""
    return request.GET.get("q", "").strip()[:_LONGEST_TEXT]


def asked_page(request: HttpRequest) -> int:
    """The number in `?page=`, 1 without one. Raises Http404."""
    text = request.GET.get("page", "1")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= _FURTHEST):
        raise Http404
    return int(text)


def page_of(rows: QuerySet[Any], request: HttpRequest, *, per_page: int) -> Page[Any]:
    """The asked page of the rows; two queries. Raises Http404."""
    try:
        return Paginator(rows, per_page).page(asked_page(request))
    except InvalidPage as error:
        raise Http404 from error


def page_found(
    items: Sequence[Any], total: int, request: HttpRequest, *, per_page: int
) -> Page[Any]:
    """A page whose items have been found already, out of `total`. Raises Http404."""
    number = asked_page(request)
    paginator: Paginator[Any] = Paginator(range(total), per_page)
    if number > paginator.num_pages:
        raise Http404
    return Page(list(items), number, paginator)
