"""Answers that clients keep: strong ETag, 304, compression. For the lists of services."""

from __future__ import annotations

import gzip
import hashlib
import re

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags

# Below this, gzip's own header eats the gain.
WORTH_COMPRESSING = 500
_GZIP = "-gzip"
_QUALITY_ZERO = re.compile(r"q=0(\.0*)?")


def conditional(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """The complete answer, or 304 where the client has it already.

    The ETag is strong, so each encoding of the same bytes has its own; a client that asks with
    either of them has the current content.
    """
    content = response.content
    digest = hashlib.sha256(content).hexdigest()[:32]
    compress = len(content) >= WORTH_COMPRESSING and accepts_gzip(
        request.headers.get("Accept-Encoding", "")
    )
    response.headers["ETag"] = f'"{digest}{_GZIP if compress else ""}"'
    # Prices are the key owner's own, and may change at any moment.
    response.headers["Cache-Control"] = "private, no-cache"
    patch_vary_headers(response, ["Accept-Encoding"])
    if _has(request.headers.get("If-None-Match", ""), digest):
        return _not_modified(response)
    if compress:
        # mtime 0: the same content must give the same bytes.
        response.content = gzip.compress(content, compresslevel=5, mtime=0)
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Content-Length"] = str(len(response.content))
    return response


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header allows gzip; `q=0` forbids, `*` stands for all."""
    allowed: dict[str, bool] = {}
    for part in accept_encoding.lower().split(","):
        coding, _, quality = part.partition(";")
        allowed[coding.strip()] = not _QUALITY_ZERO.fullmatch(quality.strip().replace(" ", ""))
    return allowed.get("gzip", allowed.get("*", False))


def _has(if_none_match: str, digest: str) -> bool:
    current = ("*", f'"{digest}"', f'"{digest}{_GZIP}"')
    return any(tag.removeprefix("W/") in current for tag in parse_etags(if_none_match))


def _not_modified(response: HttpResponse) -> HttpResponse:
    answer = HttpResponseNotModified()
    for name, value in response.items():
        if name not in ("Content-Type", "Content-Length"):
            answer.headers[name] = value
    return answer
