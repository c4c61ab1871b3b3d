"""Clients of the sandbox in both dialects, and a wire for answers that no HTTP server gives."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

import pytest

from catalog.providers import ProviderClient, UpstreamOrder
from catalog.providers.panel import PanelClient
from catalog.providers.rest import RestClient
from tests.sandbox import KEY, SandboxInTest, free_port

ORDER = UpstreamOrder("1001", {"link": "https://www.instagram.com/somebody", "quantity": "100"})


def client_of(url: str, **changes: Any) -> PanelClient:
    return PanelClient(
        **{"url": url, "key": KEY, "connect_timeout": 5, "read_timeout": 10, **changes}
    )


def impatient(sandbox: SandboxInTest) -> PanelClient:
    """For answers that never come."""
    return client_of(sandbox.url, read_timeout=0.3)


def rest_client_of(url: str, **changes: Any) -> RestClient:
    return RestClient(
        **{"url": url, "key": KEY, "connect_timeout": 5, "read_timeout": 10, **changes}
    )


@dataclass(frozen=True)
class Speaker:
    """One dialect, and the sandbox that speaks it."""

    dialect: str
    sandbox: SandboxInTest

    def client(self, **changes: Any) -> ProviderClient:
        if self.dialect == "rest":
            return rest_client_of(self.sandbox.rest_url, **changes)
        return client_of(self.sandbox.url, **changes)


@pytest.fixture(params=["panel", "rest"])
def speaker(request: pytest.FixtureRequest, sandbox: SandboxInTest) -> Speaker:
    """Each dialect in turn: what holds for a provider's client holds for both."""
    return Speaker(request.param, sandbox)


@pytest.fixture
def either(speaker: Speaker) -> ProviderClient:
    return speaker.client()


@pytest.fixture
def rest(sandbox: SandboxInTest) -> RestClient:
    return rest_client_of(sandbox.rest_url)


@pytest.fixture
def client(sandbox: SandboxInTest) -> PanelClient:
    return client_of(sandbox.url)


def http(
    body: str, *, status: str = "200 OK", headers: str = "", length: int | None = None
) -> bytes:
    """An HTTP answer as bytes; `length` other than the body's: an answer that is cut off."""
    size = len(body.encode()) if length is None else length
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n"
        f"{headers}\r\n{body}"
    ).encode()


class Wire:
    """Answers each connection with the bytes it is given, in the pieces they are given in."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.stopped = Event()
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self._pieces: list[bytes] = []
        self._pause = 0.0
        self._thread = Thread(target=self._serve)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/api/v2"

    def says(self, *pieces: bytes, pause: float = 0) -> None:
        """Send these from now on, `pause` seconds before each but the first, then hang up."""
        self._pieces, self._pause = list(pieces), pause

    def close(self) -> None:
        self.stopped.set()
        # Wakes the thread up where closing the listener would not.
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            connection, _address = self._listener.accept()
            with connection:
                if self.stopped.is_set():
                    return
                self.requests.append(_request(connection))
                try:
                    self._send(connection)
                except OSError:
                    continue  # the client has had enough

    def _send(self, connection: socket.socket) -> None:
        for number, piece in enumerate(self._pieces):
            if number and self._pause:
                self.stopped.wait(self._pause)
            connection.sendall(piece)


def _request(connection: socket.socket) -> bytes:
    """One whole request: its body may come in a packet of its own."""
    received = b""
    while (chunk := connection.recv(65536)) and _lacks(received := received + chunk):
        continue
    return received


def _lacks(request: bytes) -> bool:
    head, end, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return not end or (length is not None and len(body) < int(length[1]))


@pytest.fixture
def wire(unrepeated_reads: None) -> Iterator[Wire]:
    running = Wire()
    yield running
    running.close()
