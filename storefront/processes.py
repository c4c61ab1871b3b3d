"""Child processes under one roof: restarted when they die or fall silent, stopped together.

Each child leads a process group of its own, and on Linux the kernel ends it when this process is
killed: whatever happens here, nothing is left running.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

# A child that lived this long had started well: its next death is the first again.
WELL_AFTER = 60.0
DEATHS_ALLOWED = 5
LONGEST_PAUSE = 8.0
PATIENCE = 20.0

# The queue runs a job every minute, up to half a minute late: two of them missed. No call that a
# worker may be in takes as long.
SILENCE_ALLOWED = 180.0

_PR_SET_PDEATHSIG = 1


class KeepsDying(Exception):
    """A child died again and again soon after its start."""

    def __init__(self, name: str, status: int) -> None:
        super().__init__(
            f"The {name} stopped {DEATHS_ALLOWED} times in a row (exit status {status})."
        )


@dataclass
class _Child:
    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    deaths: int = field(default=0)
    heartbeat: Path | None = None
    last_beat: float | None = None  # as the file says
    heard_at: float = 0.0
    kill_at: float | None = None  # it has been told to end


class Supervisor:
    """Watches children; `tell` is called with a sentence when something happens to one.

    Make, start and stop it in the main thread: the kernel ties a child's life to that thread.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._children: list[_Child] = []

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        heartbeat: Path | None = None,
    ) -> None:
        """Start a child; `environment` is added to this process's own.

        A child with a `heartbeat` touches that file while it works. When it has not for
        SILENCE_ALLOWED, it and all its processes are ended and it is started again.
        """
        child = _Child(name, command, {**os.environ, **(environment or {})}, heartbeat=heartbeat)
        self._children.append(child)
        _launch(child)

    def look(self) -> None:
        """Restart what died, after a pause that grows with each death, and end what fell silent.
        Raises KeepsDying."""
        for child in self._children:
            if child.process is None:
                if time.monotonic() >= child.restart_at:
                    _launch(child)
            elif (status := child.process.poll()) is not None:
                self._bury(child, status)
            elif child.kill_at is not None:
                if time.monotonic() >= child.kill_at:
                    _kill_group(child.process)
            elif _is_silent(child):
                self._tell(f"The {child.name} gives no sign of life; it is started again.")
                child.kill_at = time.monotonic() + PATIENCE
                child.process.terminate()

    def stop(self) -> None:
        """End all children, the youngest first, each with PATIENCE to finish what it does.

        A second signal ends them at once.
        """
        patience = PATIENCE

        def hurry(number: int, frame: object) -> None:
            nonlocal patience
            patience = 0.0
            for child in self._children:
                _kill_group(child.process)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, hurry)
        for child in reversed(self._children):
            if child.process is None:
                continue
            with suppress(ProcessLookupError):
                child.process.terminate()
            try:
                child.process.wait(patience)
            except subprocess.TimeoutExpired:
                if patience:
                    self._tell(f"The {child.name} did not stop in {patience:.0f} s and was killed.")
            _kill_group(child.process)
            child.process.wait()

    def _bury(self, child: _Child, status: int) -> None:
        # Workers of a dead leader would go on beside those of the new one.
        _kill_group(child.process)
        child.process = None
        now = time.monotonic()
        child.deaths = 1 if now - child.started_at >= WELL_AFTER else child.deaths + 1
        if child.deaths >= DEATHS_ALLOWED:
            raise KeepsDying(child.name, status)
        pause = min(2.0 ** (child.deaths - 1) / 2, LONGEST_PAUSE)
        child.restart_at = now + pause
        self._tell(
            f"The {child.name} stopped (exit status {status}); it starts again in {pause:g} s."
        )


def _launch(child: _Child) -> None:
    parent = os.getpid()

    def die_with_parent() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)

    child.started_at = child.heard_at = time.monotonic()
    child.kill_at = None
    child.process = subprocess.Popen(  # noqa: S603 (our own commands)
        child.command,
        env=child.environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 (no threads here, nothing but one call)
    )


def _is_silent(child: _Child) -> bool:
    """Whether its file has kept one time for too long. Compared with itself only: the time of day
    may be set forth and back, and the last one may be of another process's."""
    if child.heartbeat is None:
        return False
    try:
        beat = child.heartbeat.stat().st_mtime
    except FileNotFoundError:
        beat = None
    if beat != child.last_beat:
        child.last_beat, child.heard_at = beat, time.monotonic()
    return time.monotonic() - child.heard_at > SILENCE_ALLOWED


def _kill_group(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


# Loaded before any fork. Elsewhere than on Linux, only a kill -9 of this process leaves children.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
