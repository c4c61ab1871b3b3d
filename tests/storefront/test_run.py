"""`manage.py run` itself: real processes, a real browser's requests, nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings

from tests import production
from tests.processes import descendants, environment, eventually, is_running
from tests.sandbox import free_port

pytestmark = pytest.mark.process

COMMAND = (sys.executable, "manage.py", "run")


class Running:
    """A store that `run` has started over a data folder."""

    def __init__(self, data: Path, port: int, sandbox_port: int) -> None:
        self.site = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            COMMAND,
            cwd=settings.BASE_DIR,
            env=environment(DATA_DIR=str(data), PORT=str(port), SANDBOX_PORT=str(sandbox_port)),
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
        found = re.search(r"sk_\w+", self.banner)
        assert found
        body = urllib.parse.urlencode({"key": found[0], **parameters}).encode()
        with urllib.request.urlopen(f"{self.site}/api/v2", body) as answer:
            return json.load(answer)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.site}/") as page:
                return page.status == 200
        except OSError:
            return False


@contextmanager
def run(data: Path) -> Iterator[Running]:
    running = Running(data, free_port(), free_port())
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.end(signal.SIGTERM)


def test_store_runs_stops_without_orphans_and_keeps_its_data(tmp_path):
    with run(tmp_path) as store:
        assert store.answers()
        balance = store.panel(action="balance")

        children = store.end(signal.SIGTERM)

        assert len(children) >= 6  # sandbox, website with two, worker with its own
        assert not any(map(is_running, children))
        assert store.process.returncode == 0

    with run(tmp_path) as again:
        assert again.panel(action="balance") == balance
        assert "Filling the store" in store.banner
        assert "Filling the store" not in again.banner

        # Killed itself, it cannot tell its children: the kernel does.
        children = again.end(signal.SIGKILL)

        assert eventually(lambda: not any(map(is_running, children)))


def test_dead_website_and_worker_come_back(tmp_path):
    with run(tmp_path) as store:
        before = descendants(store.process.pid)
        for pid in before:
            if b"gunicorn" in (words := Path(f"/proc/{pid}/cmdline").read_bytes()) or (
                b"qcluster" in words
            ):
                os.kill(pid, signal.SIGKILL)

        assert eventually(store.answers)
        assert eventually(lambda: len(descendants(store.process.pid)) == len(before))


@pytest.mark.parametrize("taken", ["PORT", "SANDBOX_PORT"])
def test_taken_port_is_told_in_one_line(taken, tmp_path):
    ports = {"PORT": free_port(), "SANDBOX_PORT": free_port()}
    with socket.create_server(("127.0.0.1", ports[taken])):
        refused = subprocess.run(
            COMMAND,
            cwd=settings.BASE_DIR,
            env=environment(DATA_DIR=str(tmp_path), **{n: str(p) for n, p in ports.items()}),
            capture_output=True,
            text=True,
            check=False,
        )

    assert refused.returncode == 1
    assert refused.stderr == (
        f"CommandError: Port {ports[taken]} cannot be used (Address already in use). "
        f"Choose another: {taken}={ports[taken] + 10} make run\n"
    )
    assert refused.stdout == ""


def test_production_has_neither_sandbox_nor_demonstration(tmp_path):
    data, port = str(tmp_path), free_port()
    process = subprocess.Popen(
        COMMAND,
        cwd=settings.BASE_DIR,
        env=production.environment(DATA_DIR=data, PORT=str(port)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    lines = [next(process.stdout), next(process.stdout)]
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in descendants(process.pid)]
    process.terminate()
    _out, errors = process.communicate(timeout=60)

    assert lines == [
        "Preparing database and files.\n",
        f"Pulse answers on 127.0.0.1:{port} for shop.example.com.\n",
    ]
    assert not any(b"sandbox" in words for words in commands)
    assert errors == ""
