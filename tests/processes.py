"""Real processes of the store in tests: started as outside of the tests, and watched."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

# Set by pytest and by tests/settings.py for this process only.
OURS = {"DJANGO_SETTINGS_MODULE", "CACHE_URL", "EMAIL_URL", "DATA_DIR"}


def environment(**changes: str) -> dict[str, str]:
    """The environment that the product is started with, with these changes."""
    return {name: value for name, value in os.environ.items() if name not in OURS} | changes


def eventually(holds: Callable[[], bool], *, within: float = 20.0, every: float = 0.05) -> bool:
    """Whether this comes true in time, looked at again and again (seconds)."""
    until = time.monotonic() + within
    while not (true := holds()) and time.monotonic() < until:
        time.sleep(every)
    return true


def is_running(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not asked after yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid: int) -> set[int]:
    """The process ids of all children, their children, and so on."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child} | descendants(child)
    return found
