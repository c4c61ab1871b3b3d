"""The lists of services as bytes, made once for each version of the catalogue.

Nothing is ever told to a process: each request asks the database which version is in force (one
cheap query), so that every process of every machine shows a change to the next request after it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from django.utils import translation

from catalog import versions
from catalog.listing import Listed, catalogue
from storefront.api.conditional import Content
from storefront.api.rendering import dumps


class Edition(NamedTuple):
    """What tells one list from another: all who ask for the same one get the same bytes."""

    dialect: str
    currency: str
    language: str


class _Kept(NamedTuple):
    version: str
    content: Content


# One of each edition, of its newest version: what is kept is bounded.
_kept: dict[Edition, _Kept] = {}
_building = threading.Lock()


def services(dialect: str, currency: str, shape: Callable[[Sequence[Listed]], Any]) -> Content:
    """Every service that can be ordered in this currency now, as a dialect's `shape` tells it in
    the current language. One query; after a change six more for the first who asks, and others of
    the same process wait for that one."""
    edition = Edition(dialect, currency, translation.get_language() or "")
    kept = _kept.get(edition)
    if kept is not None and kept.version == versions.current():
        return kept.content
    with _building:
        # Asked before the catalogue is read: what changes meanwhile makes a newer version. And
        # only now: whoever we have waited for may have built what we want.
        version = versions.current()
        kept = _kept.get(edition)
        if kept is not None and kept.version == version:
            return kept.content
        content = Content(dumps(shape(catalogue(currency))))
        if kept is not None and kept.content.plain == content.plain:
            # A change that does not show here: its encodings are still right.
            content = kept.content
        _kept[edition] = _Kept(version, content)
        return content
