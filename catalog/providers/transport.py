"""One call to a provider: how every dialect's client talks over HTTP.

Each call is one request on a connection of its own. That costs a handshake, and buys certainty: a
connection that was kept open may die under a request, and then nobody knows whether it was sent.
No redirect is followed: it could take an order, and the key, to somebody else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from ssl import SSLContext
from typing import Any, TypeVar

import httpx2
import stamina
import structlog

from catalog.providers import (
    OutcomeUnknown,
    ProviderAnswerInvalid,
    ProviderBusy,
    ProviderUnreachable,
    UpstreamCancel,
    UpstreamRefill,
    UpstreamStatus,
)
from catalog.providers.values import Unreadable, load, seconds

log = structlog.get_logger(__name__)

MOST_IDS = 100
LARGEST_LIST = 20 * 1024 * 1024
LARGEST_ANSWER = 1024 * 1024
READ_ATTEMPTS = 3
READ_PATIENCE = 45.0  # seconds after which a read is not begun again

T = TypeVar("T")
R = TypeVar("R", UpstreamStatus, UpstreamRefill, UpstreamCancel)


class Lost(Exception):
    """The request may have been sent, and no whole answer came back."""


@dataclass(frozen=True)
class Call:
    """One request, its key included: nothing of it is ever logged but `action`."""

    action: str
    method: str
    url: str
    headers: Mapping[str, str]
    content: str | None = None
    limit: int = LARGEST_ANSWER  # bytes of the answer


@dataclass(frozen=True)
class Answer:
    """What came back, whatever its status."""

    status: int
    body: bytes
    retry_after: str | None

    def json(self) -> Any:
        """The JSON value. Raises ProviderBusy for a 429 of any form; Unreadable without JSON."""
        try:
            payload = load(self.body)
        except Unreadable:
            if self.status == 429:
                raise self.busy({}) from None
            raise
        if self.status == 429:
            raise self.busy(payload)
        return payload

    def busy(self, payload: object) -> ProviderBusy:
        """The error for an answer that turned us away unread, with the wait where it is told."""
        told = payload.get("retry_after") if isinstance(payload, dict) else None
        wait = seconds(self.retry_after)
        return ProviderBusy(
            f"HTTP {self.status}: too many requests",
            retry_after=seconds(told) if wait is None else wait,
        )


@lru_cache(maxsize=1)
def _tls() -> SSLContext:
    """Read once: loading the certificates takes longer than most calls."""
    return httpx2.create_ssl_context(trust_env=False)


class Transport:
    """Carries the calls of one provider. Time-outs in seconds; may be used by several threads."""

    def __init__(self, *, key: str, connect_timeout: float, read_timeout: float) -> None:
        self._key = key
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout

    def read(self, call: Call, reader: Callable[[Answer], T]) -> T:
        """Ask for something that may be asked twice, and read the answer.

        Asked again where there was no connection or the answer cannot be used, else what `reader`
        raises ends it. Raises ProviderUnreachable, ProviderAnswerInvalid.
        """
        for attempt in stamina.retry_context(
            on=(ProviderUnreachable, ProviderAnswerInvalid),
            attempts=READ_ATTEMPTS,
            timeout=READ_PATIENCE,
        ):
            with attempt:
                try:
                    answer = self._send(call)
                    return reader(answer)
                except Lost as error:
                    raise ProviderAnswerInvalid(str(error)) from None
                except Unreadable as error:
                    reason = f"HTTP {answer.status}: {self.without_key(str(error))}"
                    raise ProviderAnswerInvalid(reason) from None
        raise AssertionError("a retry ends by returning or raising")

    def once(self, call: Call, reader: Callable[[Answer], T]) -> T:
        """Ask for something that changes things at the provider: never asked again.

        Raises ProviderUnreachable (nothing was sent), OutcomeUnknown.
        """
        try:
            answer = self._send(call)
            return reader(answer)
        except Lost as error:
            raise OutcomeUnknown(str(error)) from None
        except Unreadable as error:
            reason = f"HTTP {answer.status}: {self.without_key(str(error))}"
            raise OutcomeUnknown(reason) from None

    def without_key(self, text: str) -> str:
        """A provider may repeat the key in what it says."""
        return text.replace(self._key, "***") if self._key else text

    def reports_without_key(self, reports: Mapping[str, R]) -> dict[str, R]:
        """The same reports (dataclasses), the key masked in all their texts."""
        return {one: self._masked(report) for one, report in reports.items()}

    def _masked(self, report: R) -> R:
        texts = {f.name: getattr(report, f.name) for f in fields(report)}
        changes: dict[str, Any] = {
            name: self.without_key(text)
            for name, text in texts.items()
            if type(text) is str  # a state is text too, and none of theirs
        }
        return replace(report, **changes)

    def _send(self, call: Call) -> Answer:
        """One request, never repeated, no redirect followed, the body read up to its limit.

        Raises ProviderUnreachable when no connection was made, and Lost for everything that
        went wrong later. The library's exceptions hold the request, and with it the key: they are
        not chained.
        """
        begun = time.monotonic()
        status: int | None = None
        request = _request(call)
        try:
            with self._open() as client:
                response = client.send(request, stream=True)
                try:
                    status = response.status_code
                    body = _body(response, limit=call.limit, until=begun + self._longest)
                    return Answer(status, body, response.headers.get("Retry-After"))
                finally:
                    response.close()
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol) as error:
            raise ProviderUnreachable(f"no connection ({type(error).__name__})") from None
        except Lost:
            raise
        except Exception as error:
            # What is not known to have happened before the sending counts as after it.
            raise Lost(f"no whole answer ({type(error).__name__})") from None
        finally:
            log.info(
                "provider_call",
                host=request.url.host,
                action=call.action,
                status=status,
                milliseconds=round((time.monotonic() - begun) * 1000),
            )

    @property
    def _longest(self) -> float:
        """Seconds in which an answer must be there; a drip of bytes does not prolong it."""
        return self._connect_timeout + self._read_timeout

    def _open(self) -> httpx2.Client:
        timeout = httpx2.Timeout(self._read_timeout, connect=self._connect_timeout)
        # trust_env off: no proxy and no .netrc of the machine stands between us and a provider.
        return httpx2.Client(timeout=timeout, verify=_tls(), trust_env=False)


def _request(call: Call) -> httpx2.Request:
    try:
        return httpx2.Request(
            call.method,
            call.url,
            content=call.content,
            headers={
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "Connection": "close",
                "User-Agent": "storefront/1",
                **call.headers,
            },
        )
    except httpx2.InvalidURL:
        raise ProviderUnreachable("the API address is not a usable URL") from None


def _body(response: httpx2.Response, *, limit: int, until: float) -> bytes:
    chunks, size = [], 0
    for chunk in response.iter_bytes():
        size += len(chunk)
        if size > limit:
            raise Lost(f"HTTP {response.status_code}: the answer is larger than {limit} bytes")
        if time.monotonic() > until:
            raise Lost(f"HTTP {response.status_code}: the answer took too long")
        chunks.append(chunk)
    return b"".join(chunks)
