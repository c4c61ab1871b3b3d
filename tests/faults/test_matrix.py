"""A row of the fault matrix, small: real processes on a PostgreSQL of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.conf import settings

from tests.processes import OURS

ROWS = ("database_killed",)

pytestmark = pytest.mark.process


def test_quick_rows_hold():
    command = [sys.executable, "-m", "tests.faults.matrix", "--orders", "24", "--untimed", *ROWS]
    clean = {name: text for name, text in os.environ.items() if name not in OURS}

    done = subprocess.run(
        command,
        check=False,
        cwd=settings.BASE_DIR,
        env=clean,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )

    assert done.stdout.count(" holds ") == len(ROWS), done.stdout
    assert done.returncode == 0
