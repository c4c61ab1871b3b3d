"""A whole store to break: `manage.py run` on a database, with a provider that we hold in hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings

from tests.processes import descendants, environment, eventually, is_running
from tests.sandbox import SandboxInTest, free_port

WORKERS = 4
READY_WITHIN = 10.0


class Store:
    """Website, worker and their supervisor as processes. `log` is what they said."""

    def __init__(self, data: Path, url: str, **changes: str) -> None:
        self.port, self.log = free_port(), data / "store.log"
        self.site = f"http://127.0.0.1:{self.port}"
        self.environment = environment(
            DATABASE_URL=url,
            DATA_DIR=str(data),
            PORT=str(self.port),
            SANDBOX_PORT=str(free_port()),
            WORKERS=str(WORKERS),
            API_PER_MINUTE="1000000",  # the load is one customer's key
            API_PER_DAY="1000000",
            LOG_LEVEL="WARNING",
            **changes,
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "run"],
                cwd=settings.BASE_DIR,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        assert eventually(self.answers, within=60), self.log.read_text()

    def stop(self) -> None:
        """Stop all of it, politely."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
            self.process = None

    def manage(self, *words: str, **changes: str) -> str:
        """What a management command printed on this store."""
        return subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=settings.BASE_DIR,
            env={**self.environment, **changes},
            check=True,
            text=True,
            stdout=subprocess.PIPE,
        ).stdout

    def answers(self) -> bool:
        """Whether a page that needs the database is served."""
        try:
            with urllib.request.urlopen(f"{self.site}/services/", timeout=5) as page:
                return bool(page.status == 200)
        except OSError:
            return False

    def is_ready_again(self) -> bool:
        """Whether it answers within the time that the matrix allows."""
        return eventually(self.answers, within=READY_WITHIN)

    # --- its processes -----------------------------------------------------------------------

    def web_master(self) -> int:
        """gunicorn's first process."""
        return self._leader("gunicorn")

    def web_workers(self) -> list[int]:
        """The processes that answer requests."""
        return sorted(_children(self.web_master()))

    def cluster(self) -> int:
        """The first process of the queue."""
        return self._leader("qcluster")

    def sentinel(self) -> int:
        """The process that watches the queue's workers."""
        assert eventually(lambda: len(_children(self.cluster())) > 0)
        return min(_children(self.cluster()))

    def job_workers(self) -> list[int]:
        """The processes that do jobs; the queue starts them before its other helpers."""
        assert eventually(lambda: len(_children(self.sentinel())) >= WORKERS)
        return sorted(_children(self.sentinel()))[:WORKERS]

    def _leader(self, word: str) -> int:
        found: list[int] = []

        def look() -> bool:
            assert self.process
            found[:] = [pid for pid in sorted(_children(self.process.pid)) if word in command(pid)]
            return bool(found)

        assert eventually(look, within=30), f"no {word}"
        return found[0]


def kill(*pids: int) -> None:
    """SIGKILL; returns when they are gone."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    assert eventually(lambda: not any(map(is_running, pids)))


def kill_tree(pid: int) -> None:
    """SIGKILL to a process and everything under it, all at once."""
    kill(pid, *descendants(pid))


def _children(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found |= set(map(int, task.read_text().split()))
        except OSError:
            continue
    return {child for child in found if is_running(child)}


def command(pid: int) -> str:
    """The words that a process was started with."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@contextmanager
def again_and_again(work: Callable[[], Any], *, pause: float) -> Iterator[None]:
    """Do this every so many seconds while the block runs."""
    over = threading.Event()

    def loop() -> None:
        while not over.wait(pause):
            work()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def measured(work: Callable[[], Any]) -> float:
    """Seconds that this took."""
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def provider_in_hand(folder: Path) -> SandboxInTest:
    """A sandbox provider in this process, whose orders are finished in some real seconds."""
    sandbox = SandboxInTest(folder / "provider.sqlite3")
    sandbox.set_speed(600)
    return sandbox
