"""One request to an address that a customer named: guarded, and over within seconds.

The name is resolved once, every address that it has is checked, and the connection is made to a
checked address: a name that leads elsewhere at the second look leads nowhere. The host of the URL
stays what the TLS certificate is checked against. There is no proxy and no redirect, no kept
connection, no decoding of the answer; and a deadline over all of it, so that an answer that drips
holds a thread no longer than another.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ssl import SSLContext
from typing import Any

import httpcore2
import httpx2
import structlog
from django.utils import translation
from django.utils.translation import gettext_noop

from accounts.webhook_urls import IPAddress, Url, UrlRefused, read_url, refuse_private

log = structlog.get_logger(__name__)

TIME_LIMIT = 15.0  # seconds, from the connection to the end of the answer
CONNECT_LIMIT = 5.0
LARGEST_ANSWER = 64 * 1024  # read at most
KEPT_ANSWER = 1024  # kept of it
MOST_ADDRESSES = 3  # of a name that has many

# What the log tells where there was no answer.
NO_ADDRESS = gettext_noop("The name of the host could not be resolved.")
NO_CONNECTION = gettext_noop("There was no connection, or its certificate is not valid.")
TOO_LATE = gettext_noop("There was no whole answer in time.")
BROKEN = gettext_noop("The answer was not HTTP.")

# (host, port) → the addresses that it has. Raises OSError.
Resolver = Callable[[str, int], list[str]]


@dataclass(frozen=True)
class Reply:
    """What came of a request: a status, or the reason why there is none."""

    status: int | None
    answer: str
    error: str
    milliseconds: int

    @property
    def was_taken(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, as the machine's resolver has them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_rest, sockaddr in found))


class Caller:
    """Makes the requests. May be used by several threads."""

    def __init__(
        self,
        *,
        resolver: Resolver = resolve,
        backend: httpcore2.NetworkBackend | None = None,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        self._resolver = resolver
        self._backend = backend or httpcore2.SyncBackend()
        self._time_limit = time_limit

    def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send the body once. Raises nothing: whatever went wrong is in the reply."""
        begun = time.monotonic()
        status, answer, error = None, b"", ""
        try:
            # The log is kept in English, and translated where it is shown.
            with translation.override("en"):
                target = read_url(url)
                addresses = self._addresses(target)
            backend = _Pinned(self._backend, addresses, until=begun + self._time_limit)
            status, answer = _send(backend, target, headers, body)
        except UrlRefused as refused:
            error = str(refused)
        except httpcore2.TimeoutException:
            error = TOO_LATE
        except httpcore2.ConnectError:
            error = NO_CONNECTION
        except OSError:
            error = NO_ADDRESS
        except Exception:
            log.info("webhook_answer_broken", exc_info=True)
            error = BROKEN
        return Reply(
            status=status,
            answer=_readable(answer),
            error=error,
            milliseconds=round((time.monotonic() - begun) * 1000),
        )

    def _addresses(self, target: Url) -> list[IPAddress]:
        """Raises UrlRefused where one of the addresses is not public; OSError."""
        found = [
            ipaddress.ip_address(address) for address in self._resolver(target.host, target.port)
        ]
        if not found:
            raise OSError("no address")
        for address in found:
            refuse_private(address)
        return found[:MOST_ADDRESSES]


class _Pinned(httpcore2.NetworkBackend):
    """Connects to the checked addresses and to nothing else, and keeps the deadline."""

    def __init__(
        self, backend: httpcore2.NetworkBackend, addresses: list[IPAddress], *, until: float
    ) -> None:
        self._backend, self._addresses, self._until = backend, addresses, until

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        for address in self._addresses:
            try:
                stream = self._backend.connect_tcp(
                    str(address), port, timeout=min(CONNECT_LIMIT, _left(self._until))
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
            return _Stream(stream, until=self._until)
        raise httpcore2.ConnectError("none of the addresses took the connection")


class _Stream(httpcore2.NetworkStream):
    """A connection of which every step ends at the deadline."""

    def __init__(self, stream: httpcore2.NetworkStream, *, until: float) -> None:
        self._stream, self._until = stream, until

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, timeout=_left(self._until))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout=_left(self._until))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        secured = self._stream.start_tls(
            ssl_context, server_hostname=server_hostname, timeout=_left(self._until)
        )
        return _Stream(secured, until=self._until)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise httpcore2.ReadTimeout("the deadline has passed")
    return left


def _send(
    backend: _Pinned, target: Url, headers: Mapping[str, str], body: bytes
) -> tuple[int, bytes]:
    """The status, and the beginning of the answer."""
    url = httpcore2.URL(
        scheme=target.scheme, host=target.host, port=target.port, target=target.path
    )
    sent = {
        "Host": target.netloc,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "User-Agent": "storefront-webhooks/1",
        "Accept-Encoding": "identity",
        "Connection": "close",
        **headers,
    }
    with (
        httpcore2.ConnectionPool(ssl_context=_tls(), network_backend=backend) as pool,
        pool.stream("POST", url, headers=list(sent.items()), content=body) as response,
    ):
        kept, size = b"", 0
        for chunk in response.iter_stream():
            kept = (kept + chunk)[:KEPT_ANSWER]
            size += len(chunk)
            if size >= LARGEST_ANSWER:
                break
        return response.status, kept


@lru_cache(maxsize=1)
def _tls() -> SSLContext:
    """Read once: loading the certificates takes longer than most calls."""
    return httpx2.create_ssl_context(trust_env=False)


def _readable(answer: bytes) -> str:
    return answer.decode("utf-8", "replace").replace("\x00", "\ufffd")
