"""The sandbox as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from tests.sandbox import SandboxInTest, free_port

KEY = "key-of-the-process"
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running = []

    def run(port: int, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "sandbox_provider", "--port", str(port), *arguments],
            cwd=settings.BASE_DIR,
            env={
                **os.environ,
                "DATA_DIR": str(tmp_path),
                "SANDBOX_KEY": KEY,
                "DJANGO_SETTINGS_MODULE": "storefront.settings",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == f"Sandbox provider on http://127.0.0.1:{port}/api/v2\n"
        return process

    yield run
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def call(port: int, **parameters: object) -> Any:
    data = {"key": KEY, **parameters}
    return httpx2.post(f"http://127.0.0.1:{port}/api/v2", data=data, trust_env=False).json()


def test_process_stops_cleanly_and_goes_on_where_it_was(start: Start, tmp_path: Path) -> None:
    port = free_port()
    process = start(port, "--services", "20", "--speed", "0")
    assert len(call(port, action="services")) == 20
    order = call(port, action="add", service=1001, link="https://a.example", quantity=10)["order"]
    stop(process, signal.SIGTERM)
    assert (tmp_path / "sandbox.sqlite3").exists()

    process = start(port, "--speed", "1000000")

    assert call(port, action="status", order=order)["status"] == "Completed"
    stop(process, signal.SIGINT)


def stop(process: subprocess.Popen[str], how: signal.Signals) -> None:
    process.send_signal(how)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert KEY not in output


def test_port_that_is_taken_is_told(sandbox: SandboxInTest, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=f"Port {sandbox.port}"):
        call_command("sandbox_provider", port=sandbox.port, data=tmp_path / "other.sqlite3")


@pytest.mark.parametrize("wrong", [{"speed": -1}, {"services": 0}])
def test_options_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(CommandError):
        call_command("sandbox_provider", **wrong)
