"""`manage.py run` itself: real processes, a real browser's requests, nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

from tests import production
from tests.processes import descendants, environment, eventually, is_running
from tests.running import COMMAND, Running, run
from tests.sandbox import free_port

pytestmark = pytest.mark.process

JSON = {"Content-Type": "application/json"}


def use_keys(store: Running) -> set[str]:
    """Send keys in each way, good and wrong, and have a webhook's secret made: what nobody may
    find afterwards."""
    texts = {store.key, "sk_" + "wRong123" * 5, *re.findall(r"sk_test_\w+", store.banner)}
    for text in texts:
        for path, body, headers in (
            (f"/api/v2?key={text}&action=add&link={text}&service=1&quantity=x", None, {}),
            ("/api/v2", f"key={text}&action={text}".encode(), {}),
            ("/api/v2", f'{{"key": "{text}", "action": '.encode(), JSON),
            ("/api/v2", f'{{"key": "{text}", "action": "status"}}'.encode(), JSON),
            (f"/api/v1/orders/{text}?key={text}", None, {"X-API-Key": text}),
            ("/api/v1/balance", None, {"Authorization": f"Bearer {text}"}),
            (f"/nowhere?key={text}", None, {"X-API-Key": text}),
            ("/api/v1/orders", f'{{"link": "{text}"}}'.encode(), {"X-API-Key": text, **JSON}),
        ):
            store.ask(path, body, headers)
    hook = b'{"url": "http://127.0.0.1/", "events": ["order.updated"]}'
    made = json.loads(store.ask("/api/v1/webhooks", hook, {"X-API-Key": store.key, **JSON}))
    return texts | {made["secret"], made["secret"].removeprefix("whsec_")}


def test_store_runs_stops_without_orphans_and_keeps_its_data_but_no_secret(tmp_path):
    with run(tmp_path, LOG_LEVEL="DEBUG") as store:
        assert store.answers()
        balance = store.panel(action="balance")
        secrets = use_keys(store)

        children = store.end(signal.SIGTERM)

        assert len(children) >= 6  # sandbox, website with two, worker with its own
        assert not any(map(is_running, children))
        assert store.process.returncode == 0

    # Of keys and secrets, nothing in what any process wrote, nor in any file of the store.
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert [text for text in secrets if text in store.log or text.encode() in files] == []
    assert ("Not Found: /nowhere" in store.log, store.key[:11].encode() in files) == (True, True)

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


def test_unreachable_database_is_told_in_one_line(tmp_path):
    refused = subprocess.run(
        COMMAND,
        cwd=settings.BASE_DIR,
        env=environment(
            DATA_DIR=str(tmp_path),
            DATABASE_URL=f"postgres://shop:secret@127.0.0.1:{free_port()}/shop",
            PORT=str(free_port()),
            SANDBOX_PORT=str(free_port()),
        ),
        capture_output=True,
        text=True,
        check=False,
    )

    assert refused.returncode == 1
    assert refused.stderr.startswith("CommandError: The database cannot be used: ")
    assert refused.stderr.count("\n") == 1
    assert "secret" not in refused.stderr


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
