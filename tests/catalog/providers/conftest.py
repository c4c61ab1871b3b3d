"""A client of the sandbox, and a wire for answers that no HTTP server would give."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from threading import Event, Thread
from typing import Any

import pytest

from catalog.providers import UpstreamOrder
from catalog.providers.panel import PanelClient
from tests.sandbox import KEY, SandboxInTest, free_port

ORDER = UpstreamOrder("1001", {"link": "https://www.instagram.com/somebody", "quantity": "100"})


def client_of(url: str, **changes: Any) -> PanelClient:
    return PanelClient(
        **{"url": url, "key": KEY, "connect_timeout": 5, "read_timeout": 10, **changes}
    )


def impatient(sandbox: SandboxInTest) -> PanelClient:
    """For answers that never come."""
    return client_of(sandbox.url, read_timeout=0.3)


@pytest.fixture
def client(sandbox: SandboxInTest) -> PanelClient:
    return client_of(sandbox.url)


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
                self.requests.append(connection.recv(65536))
                try:
                    self._send(connection)
                except OSError:
                    continue  # the client has had enough

    def _send(self, connection: socket.socket) -> None:
        for number, piece in enumerate(self._pieces):
            if number and self._pause:
                self.stopped.wait(self._pause)
            connection.sendall(piece)


@pytest.fixture
def wire(unrepeated_reads: None) -> Iterator[Wire]:
    running = Wire()
    yield running
    running.close()
