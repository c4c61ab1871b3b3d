"""Customers' programs: they order over HTTP, and repeat with the same key until they are told."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.parse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

AT_ONCE = 16
PATIENCE = 90.0  # seconds in which every order must be acknowledged


@dataclass(frozen=True)
class Answer:
    """What came back: the status (0: no answer at all), the JSON, and how long it took."""

    status: int
    body: Any
    headers: dict[str, str]
    seconds: float


def panel(port: int, key: str, **parameters: object) -> Answer:
    """One call of the panel dialect, on a connection of its own."""
    body = urllib.parse.urlencode({"key": key, **parameters})
    begun = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(
            "POST", "/api/v2", body, {"Content-Type": "application/x-www-form-urlencoded"}
        )
        response = connection.getresponse()
        text = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, json.loads(text), headers, time.monotonic() - begun)
    except (OSError, http.client.HTTPException, ValueError):
        return Answer(0, None, {}, time.monotonic() - begun)
    finally:
        connection.close()


@dataclass
class Load:
    """Orders asked for, by their number, and what each was answered in the end."""

    name: str
    port: int
    key: str
    service: int
    orders: dict[int, int] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    failures: int = 0  # calls that had to be repeated
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def link(self, number: int) -> str:
        """Every order has a link of its own, which tells it apart at the provider."""
        return f"https://instagram.com/{self.name}{number}"

    def is_its(self, link: str) -> bool:
        """Whether this load has asked for an order with this link."""
        return link.startswith(f"https://instagram.com/{self.name}")

    def place(self, count: int, *, after: Callable[[int], None] = lambda done: None) -> None:
        """Place that many orders, 16 at a time, each until it is acknowledged; `after` is told how
        many are done. Raises AssertionError when one is not acknowledged in time."""
        first = len(self.orders) + len(self.refused)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for done, _ in enumerate(pool.map(self._place, range(first, first + count)), 1):
                after(done)

    def _place(self, number: int) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            answer = self.call(number)
            if answer.status == 200 and "order" in answer.body:
                with self._lock:
                    self.orders[number] = answer.body["order"]
                return
            if answer.status == 200:
                with self._lock:
                    self.refused[number] = answer.body["error"]
                return
            with self._lock:
                self.failures += 1
            time.sleep(0.1)
        raise AssertionError(f"order {number} was never acknowledged")

    def call(self, number: int) -> Answer:
        """Ask once for the order of this number, under its key."""
        return panel(
            self.port,
            self.key,
            action="add",
            service=self.service,
            link=self.link(number),
            quantity=1000,
            idempotency_key=f"{self.name}-{number}",
        )
