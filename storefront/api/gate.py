"""The gate of both APIs: whose key it is, whether it asks too much, what it may do; and what every
answer to it carries and leaves behind."""

from __future__ import annotations

import time
from contextlib import suppress

from allauth.account.adapter import get_adapter
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from accounts import api_keys, limits, request_log
from accounts.api_keys import AccountSuspended, InvalidApiKey
from accounts.limits import Allowance, TooManyRequests
from accounts.models import ApiDialect, ApiKey
from storefront.logs import mask

OK = "ok"
# Longer than what is kept, so that a secret at the cut is masked as a whole.
_LOOKED_AT = 4096
_PLACE = "storefront.visit"


def key_in_headers(request: HttpRequest) -> str:
    """The key of `X-API-Key`, else of `Authorization: Bearer`; "" where there is none."""
    if named := request.headers.get("X-API-Key", "").strip():
        return named
    scheme, _, text = request.headers.get("Authorization", "").strip().partition(" ")
    return text.strip() if scheme.lower() == "bearer" else ""


def client_address(request: HttpRequest) -> str:
    """The client's address: what our own proxies say (TRUSTED_PROXY_COUNT), else the other end of
    the connection; not always readable."""
    try:
        return str(get_adapter().get_client_ip(request))
    except (PermissionDenied, ImproperlyConfigured):
        # Came around the proxies, or names no address: no reason to refuse a good key.
        return str(request.META.get("REMOTE_ADDR", ""))


class Visit:
    """One request's way through the gate.

    `enter` and then the permission decide whether it is let in, `recognise` stands where no key is
    needed; `leave` is told how it was answered. A request whose key is not known leaves no trace.
    """

    def __init__(self, request: HttpRequest, dialect: ApiDialect) -> None:
        self._started = time.perf_counter()
        self._address = client_address(request)
        self._is_head = request.method == "HEAD"
        self._dialect = dialect
        self._api_key: ApiKey | None = None
        self._allowance: Allowance | None = None

    def enter(self, text: str) -> ApiKey:
        """The key with this text, and one request counted of it.

        Raises InvalidApiKey, AccountSuspended or TooManyRequests.
        """
        try:
            api_key = api_keys.authenticate(text, address=self._address)
        except AccountSuspended as suspended:
            self._count(suspended.api_key)
            raise
        self._count(api_key)
        return api_key

    def recognise(self, text: str) -> None:
        """Enter with the key if it is a good one; any other request is nobody's.

        Raises TooManyRequests.
        """
        with suppress(InvalidApiKey, AccountSuspended):
            self.enter(text)

    def leave(self, response: HttpResponseBase, *, action: str, result: str, request: str) -> None:
        """Put the limits on the answer, and a line into the key's log; take its body from HEAD's.

        `result` is OK or the code of what was refused; `request` is what was asked, without the
        key.
        """
        if self._is_head:
            _drop_body(response)
        if self._api_key is None or self._allowance is None:
            return
        response.headers["X-RateLimit-Limit"] = str(self._allowance.limit)
        response.headers["X-RateLimit-Remaining"] = str(self._allowance.remaining)
        response.headers["X-RateLimit-Reset"] = str(self._allowance.reset_at)
        request_log.write(
            self._api_key,
            dialect=self._dialect,
            action=mask(action),
            status=response.status_code,
            result=result,
            milliseconds=round((time.perf_counter() - self._started) * 1000),
            address=self._address,
            request=mask(request[:_LOOKED_AT]),
            answer=mask(_text_of(response)),
        )

    def _count(self, api_key: ApiKey) -> None:
        self._api_key = api_key
        self._allowance = limits.count(api_key)
        if self._allowance.retry_after is not None:
            raise TooManyRequests(self._allowance.retry_after)


def begin(request: HttpRequest, dialect: ApiDialect) -> Visit:
    """A visit, which `visit_of` finds again by its request."""
    visit = request.META[_PLACE] = Visit(request, dialect)
    return visit


def visit_of(request: HttpRequest) -> Visit:
    """The visit that `begin` began."""
    visit = request.META[_PLACE]
    assert isinstance(visit, Visit)
    return visit


def _text_of(response: HttpResponseBase) -> str:
    # What clients keep by its tag are long lists, the same at each request.
    if response.has_header("ETag"):
        return ""
    content: bytes = getattr(response, "content", b"")
    return content[:_LOOKED_AT].decode("utf-8", "replace")


def _drop_body(response: HttpResponseBase) -> None:
    """Leave the headers as GET has them. The server drops the body too, but warns of it."""
    assert isinstance(response, HttpResponse)
    if response.content:
        response.headers["Content-Length"] = str(len(response.content))
        response.content = b""
