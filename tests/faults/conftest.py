"""Processes of the store on the test's own database."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db import connection

PATIENCE = 60  # seconds until a process that hangs is called failed


def database_url() -> str:
    """The address of the database that the test uses, for another process."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


@pytest.fixture
def start(
    transactional_db: None, tmp_path: Path
) -> Callable[[str, str, int], subprocess.Popen[bytes]]:
    """`start(job, place, row)`: a process of tests/faults/worker.py; the test waits for it."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DATABASE_URL": database_url(),
        "DATA_DIR": str(tmp_path),
    }

    def start(job: str, place: str, row: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.faults.worker", job, place, str(row)]
        return subprocess.Popen(command, env=environment, cwd=settings.BASE_DIR)

    return start


@pytest.fixture
def run(start: Callable[[str, str, int], subprocess.Popen[bytes]]) -> Callable[..., int]:
    """`run(job, place, row)`: as above, to its end; returns its exit status, or minus the signal
    that killed it."""
    return lambda *args: start(*args).wait(PATIENCE)
