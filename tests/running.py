"""The whole store, started as its user starts it, for tests that look at it from outside."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from tests.processes import descendants, environment
from tests.sandbox import free_port

COMMAND = (sys.executable, "manage.py", "run")


class Running:
    """A store that `run` has started over a data folder."""

    def __init__(self, data: Path, port: int, sandbox_port: int, **changes: str) -> None:
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
        # Read on, so that a full pipe never holds the store up.
        self._reader = threading.Thread(target=self.process.stdout.read, daemon=True)
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

    def panel(self, **parameters: str) -> dict[str, str]:
        return json.loads(self.text(**parameters))

    def text(self, action: str, **parameters: str) -> str:
        """The body that answers an action of the first customer's key."""
        found = re.search(r"sk_\w+", self.banner)
        assert found
        asked = {"key": found[0], "action": action, **parameters}
        body = urllib.parse.urlencode(asked).encode()
        with urllib.request.urlopen(f"{self.site}/api/v2", body) as answer:
            return answer.read().decode()

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
