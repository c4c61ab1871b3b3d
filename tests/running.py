"""The whole store, started as its user starts it, for tests that look at it from outside."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.processes import descendants, environment
from tests.sandbox import free_port

COMMAND = (sys.executable, "manage.py", "run")


class Running:
    """A store that `run` has started over a data folder."""

    def __init__(self, data: Path, port: int, sandbox_port: int, **changes: str) -> None:
        self.data = data
        self.site = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            COMMAND,
            cwd=settings.BASE_DIR,
            env=environment(
                DATA_DIR=str(data), PORT=str(port), SANDBOX_PORT=str(sandbox_port), **changes
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        else:
            raise AssertionError("".join(lines))
        self.banner = "".join(lines)
        self._logged: list[str] = []
        # Read on, so that a full pipe never holds the store up.
        self._reader = threading.Thread(
            target=self._logged.extend, args=[self.process.stdout], daemon=True
        )
        self._reader.start()

    def end(self, number: int) -> set[int]:
        """Send a signal, wait for the end, and return which processes ran under `run` before."""
        children = descendants(self.process.pid)
        self.process.send_signal(number)
        self.process.wait(timeout=60)
        self._reader.join(timeout=60)
        assert self.process.stdout
        self.process.stdout.close()
        return children

    @property
    def log(self) -> str:
        """What all its processes wrote since the banner; complete once it has ended."""
        return "".join(self._logged)

    @property
    def key(self) -> str:
        """The first customer's API key."""
        found = re.search(r"sk_(?!test_)\w+", self.banner)
        assert found
        return found[0]

    def panel(self, **parameters: str) -> Any:
        return json.loads(self.text(**parameters))

    def text(self, action: str, **parameters: str) -> str:
        """The body that answers an action of the first customer's key."""
        asked = {"key": self.key, "action": action, **parameters}
        body = urllib.parse.urlencode(asked).encode()
        with urllib.request.urlopen(f"{self.site}/api/v2", body) as answer:
            return answer.read().decode()

    def shell(self, program: str, **more: str) -> str:
        """What a Python program prints inside the store, beside its own processes."""
        done = subprocess.run(
            [sys.executable, "manage.py", "shell", "--verbosity", "0", "-c", program],
            check=True,
            cwd=settings.BASE_DIR,
            env=environment(DATA_DIR=str(self.data), **more),
            text=True,
            stdout=subprocess.PIPE,
        )
        return done.stdout

    def ask(self, path: str, body: bytes | None, headers: dict[str, str]) -> str:
        """The body of the answer, whatever its status."""
        request = urllib.request.Request(f"{self.site}{path}", body, headers)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.read().decode()

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.site}/") as page:
                return page.status == 200
        except OSError:
            return False


@contextmanager
def run(data: Path, **changes: str) -> Iterator[Running]:
    """A store over this data folder for as long as the block runs, on ports of its own."""
    running = Running(data, free_port(), free_port(), **changes)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end(signal.SIGTERM)


# Nobody is held up by the limits of a key.
UNLIMITED = {"API_PER_MINUTE": "100000", "API_PER_DAY": "1000000"}


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The whole store as `make run` starts it, one for all tests that look at it from outside; its
    provider delivers in a few seconds."""
    data = tmp_path_factory.mktemp("store")
    with run(data, SANDBOX_SPEED="300", **UNLIMITED) as running:
        yield running
