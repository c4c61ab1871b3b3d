"""The settings start with nothing set, and every variable is written down."""

from __future__ import annotations

import re
import subprocess
import sys

from django.conf import settings

from tests.processes import environment


def test_env_example_lists_every_variable_that_is_read():
    source = (settings.BASE_DIR / "storefront" / "settings.py").read_text()
    example = (settings.BASE_DIR / ".env.example").read_text()

    read = re.findall(r'env\.\w+\(\s*"(\w+)"', source)

    assert sorted(re.findall(r"^#(\w+)=", example, re.MULTILINE)) == sorted(read)


def test_store_starts_with_nothing_set(tmp_path):
    checked = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=settings.BASE_DIR,
        env={"PATH": environment()["PATH"], "DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (checked.returncode, checked.stderr) == (0, "")
