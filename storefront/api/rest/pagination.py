"""One page of a list, and the `meta` that stands beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db.models import Model, QuerySet

DEFAULT_PER_PAGE = 20
MAX_PER_PAGE = 100

_Row = TypeVar("_Row", bound=Model)


@dataclass(frozen=True)
class Page(Generic[_Row]):
    """Rows of one page; none past the end. `total` counts all pages."""

    rows: list[_Row]
    number: int
    total: int
    per_page: int

    def shape(self, data: list[Any]) -> dict[str, Any]:
        """The answer's body around the rows' own shapes."""
        meta = {"current_page": self.number, "total": self.total, "per_page": self.per_page}
        return {"data": data, "meta": meta}


def page_of(queryset: QuerySet[_Row], *, number: int, per_page: int) -> Page[_Row]:
    """Page `number` (from 1) of the queryset; more than 100 a page are cut to 100.

    A page past the end costs no second query, however large its number is.
    """
    per_page = min(per_page, MAX_PER_PAGE)
    total = queryset.count()
    start = (number - 1) * per_page
    rows = list(queryset[start : start + per_page]) if start < total else []
    return Page(rows=rows, number=number, total=total, per_page=per_page)
