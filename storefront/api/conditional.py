"""Answers that clients keep, and ask for again and again: strong ETag, 304, compression."""

from __future__ import annotations

import gzip
import hashlib
import re
import threading
from collections.abc import Callable

import brotli
import zstandard
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags

# Below this, an encoding's own header eats the gain.
WORTH_COMPRESSING = 500
IDENTITY = "identity"
# In our order of preference: all shrink a list of services to about a seventh, the first quickest.
# The same content must give the same bytes in each process, so that gzip tells no time.
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda content: zstandard.ZstdCompressor(level=6).compress(content),
    "br": lambda content: bytes(brotli.compress(content, quality=5)),
    "gzip": lambda content: gzip.compress(content, compresslevel=5, mtime=0),
}
_WEIGHT = re.compile(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")


class Content:
    """Bytes that are sent again and again: their tags, and each encoding, made once when the first
    client wants it. For any number of threads."""

    def __init__(self, plain: bytes) -> None:
        self.plain = plain
        self._digest = hashlib.sha256(plain).hexdigest()[:32]
        self._encoded: dict[str, bytes] = {IDENTITY: plain}
        self._encoding = threading.Lock()

    def coding_for(self, accept_encoding: str) -> str:
        """The coding in which a client gets it that sends this Accept-Encoding header."""
        return preferred_coding(accept_encoding) if self._is_worth_it else IDENTITY

    def encoded(self, coding: str) -> bytes:
        """The bytes in this coding, one of ENCODERS or IDENTITY."""
        if (ready := self._encoded.get(coding)) is not None:
            return ready
        with self._encoding:
            if coding not in self._encoded:
                self._encoded[coding] = ENCODERS[coding](self.plain)
            return self._encoded[coding]

    def etag(self, coding: str) -> str:
        """The strong tag of the bytes in this coding: each has its own."""
        return f'"{self._digest}"' if coding == IDENTITY else f'"{self._digest}-{coding}"'

    @property
    def etags(self) -> list[str]:
        """The tags of all codings: who has any of them has the current content."""
        return [self.etag(coding) for coding in (IDENTITY, *ENCODERS)]

    @property
    def _is_worth_it(self) -> bool:
        return len(self.plain) >= WORTH_COMPRESSING


def conditional(request: HttpRequest, content: Content) -> HttpResponse:
    """The content as JSON in the best coding that the client takes, or 304 where it has it already
    (in whichever coding: the 304 names the tag that the client sent)."""
    coding = content.coding_for(request.headers.get("Accept-Encoding", ""))
    tag = content.etag(coding)
    held = [
        text.removeprefix("W/") for text in parse_etags(request.headers.get("If-None-Match", ""))
    ]
    current = [text for text in (tag, *content.etags) if text in held]
    response: HttpResponse
    if current or "*" in held:
        response = HttpResponseNotModified()
        tag = current[0] if current else tag
    else:
        body = content.encoded(coding)
        response = HttpResponse(body, content_type="application/json")
        response.headers["Content-Length"] = str(len(body))
        if coding != IDENTITY:
            response.headers["Content-Encoding"] = coding
    response.headers["ETag"] = tag
    # Prices are the key owner's own, and may change at any moment.
    response.headers["Cache-Control"] = "private, no-cache"
    patch_vary_headers(response, ["Accept-Encoding"])
    return response


def preferred_coding(accept_encoding: str) -> str:
    """The coding with the highest weight in an Accept-Encoding header, of equal ones ours first.

    `*` stands for what is not named; weight 0, or one that cannot be read, forbids. Plain bytes
    need not be named, and are the last resort where everything is forbidden.
    """
    weights = dict(map(_weighed, accept_encoding.lower().split(",")))
    best, highest = IDENTITY, weights.get(IDENTITY, 0.0)
    for coding in reversed(ENCODERS):
        weight = weights.get(coding, weights.get("*", 0.0))
        if weight and weight >= highest:
            best, highest = coding, weight
    return best


def _weighed(part: str) -> tuple[str, float]:
    coding, _, parameter = part.partition(";")
    if not (parameter := "".join(parameter.split())):
        return coding.strip(), 1.0
    weight = _WEIGHT.fullmatch(parameter)
    return coding.strip(), float(weight[1]) if weight else 0.0
