"""WSGI entry point for gunicorn."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from gunicorn.http.errors import ParseException

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "storefront.settings")
_django = get_wsgi_application()


class _Unreadable(io.RawIOBase):
    """A body that broke off, or is too long: no part of it may be taken for the whole."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        raise OSError("The body could not be read.")


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Django, which takes a body without a length for none: one that comes in chunks is read here,
    up to the size that a body may have at all."""
    is_chunked = environ.get("HTTP_TRANSFER_ENCODING", "").strip().lower() == "chunked"
    if is_chunked and environ.get("wsgi.input_terminated"):
        environ = {**environ, **_measured(environ["wsgi.input"])}
    return _django(environ, start_response)


def _measured(chunks: Any) -> dict[str, Any]:
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    try:
        body = chunks.read(limit + 1)
    except (OSError, ParseException):
        body = None
    if body is None or len(body) > limit:
        return {"wsgi.input": _Unreadable(), "CONTENT_LENGTH": str(limit + 1)}
    return {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
