"""Children are restarted when they die, and none outlives its supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from django.conf import settings

from storefront import processes
from storefront.processes import KeepsDying, Supervisor
from tests.processes import descendants, environment, eventually, is_running

pytestmark = pytest.mark.process

# Says that it started, starts a child of its own, and waits to be ended.
PARENT = (
    "import os, subprocess, sys\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
    "open(sys.argv[1], 'a').write(f'{os.getpid()} {child.pid}\\n')\n"
    "child.wait()\n"
)


def started(path: Path) -> list[list[int]]:
    """Process ids of each start of PARENT so far, its child's after its own."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [[int(pid) for pid in line.split()] for line in lines]


@pytest.fixture
def told():
    return []


@pytest.fixture
def supervisor(told):
    """A supervisor whose children, and whose signal handlers, are gone after the test."""
    handlers = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    made = Supervisor(told.append)
    yield made
    made.stop()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_dead_child_is_started_again_without_what_it_left_behind(supervisor, told, tmp_path):
    log = tmp_path / "starts"
    supervisor.start("parent", [sys.executable, "-c", PARENT, str(log)])
    assert eventually(lambda: len(started(log)) == 1)
    [[leader, grandchild]] = started(log)

    os.kill(leader, signal.SIGKILL)
    assert eventually(lambda: supervisor.look() or len(started(log)) == 2)

    assert eventually(lambda: not is_running(grandchild))
    assert told == ["The parent stopped (exit status -9); it starts again in 0.5 s."]


def test_child_that_keeps_dying_is_given_up(supervisor, told, monkeypatch):
    monkeypatch.setattr(processes, "LONGEST_PAUSE", 0.0)
    supervisor.start("broken one", [sys.executable, "-c", "raise SystemExit(3)"])

    with pytest.raises(KeepsDying, match="The broken one stopped 5 times in a row"):
        eventually(supervisor.look)

    assert len(told) == 4


def test_child_that_ran_well_for_long_is_forgiven_its_deaths(supervisor, told, monkeypatch):
    monkeypatch.setattr(processes, "LONGEST_PAUSE", 0.0)
    monkeypatch.setattr(processes, "WELL_AFTER", 0.0)
    supervisor.start("unlucky one", [sys.executable, "-c", ""])

    assert eventually(lambda: supervisor.look() or len(told) == 7)


def test_stop_ends_every_child_and_grandchild(supervisor, tmp_path):
    log = tmp_path / "starts"
    for number in range(2):
        supervisor.start(f"parent {number}", [sys.executable, "-c", PARENT, str(log)])
    assert eventually(lambda: len(started(log)) == 2)

    supervisor.stop()

    assert eventually(lambda: not any(is_running(pid) for pids in started(log) for pid in pids))


def test_stop_kills_what_does_not_listen(supervisor, told, monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "PATIENCE", 0.2)
    log = tmp_path / "starts"
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + PARENT
    supervisor.start("deaf one", [sys.executable, "-c", deaf, str(log)])
    assert eventually(lambda: len(started(log)) == 1)

    supervisor.stop()

    assert told == ["The deaf one did not stop in 0 s and was killed."]
    assert eventually(lambda: not any(is_running(pid) for pids in started(log) for pid in pids))


def test_second_signal_ends_the_wait(supervisor, told, tmp_path):
    log = tmp_path / "starts"
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + PARENT
    supervisor.start("deaf one", [sys.executable, "-c", deaf, str(log)])
    assert eventually(lambda: len(started(log)) == 1)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()

    supervisor.stop()

    assert told == []
    assert eventually(lambda: not any(is_running(pid) for pids in started(log) for pid in pids))


def test_children_do_not_outlive_a_killed_supervisor(tmp_path):
    log = tmp_path / "starts"
    script = (
        "import signal, sys\n"
        "from storefront.processes import Supervisor\n"
        f"Supervisor(print).start('parent', [sys.executable, '-c', {PARENT!r}, {str(log)!r}])\n"
        "signal.pause()\n"
    )
    supervising = subprocess.Popen([sys.executable, "-c", script], cwd=settings.BASE_DIR)
    assert eventually(lambda: len(started(log)) == 1)
    [[leader, grandchild]] = started(log)

    supervising.kill()
    supervising.wait()

    # It is told to end as by its supervisor; what it started itself is its own to end.
    assert eventually(lambda: not is_running(leader))
    os.kill(grandchild, signal.SIGKILL)


def test_child_that_falls_silent_is_started_again_with_all_its_processes(
    supervisor, told, monkeypatch, tmp_path
):
    monkeypatch.setattr(processes, "SILENCE_ALLOWED", 0.5)
    monkeypatch.setattr(processes, "PATIENCE", 0.2)
    log, sign = tmp_path / "starts", tmp_path / "alive"
    # Its leader lives and does not listen, as a queue does whose lock a killed worker has kept.
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + PARENT
    supervisor.start("worker", [sys.executable, "-c", deaf, str(log)], heartbeat=sign)
    assert eventually(lambda: len(started(log)) == 1)
    [first] = started(log)

    assert eventually(lambda: supervisor.look() or len(started(log)) == 2)

    assert not any(map(is_running, first))
    assert told == [
        "The worker gives no sign of life; it is started again.",
        "The worker stopped (exit status -9); it starts again in 0.5 s.",
    ]


def test_child_that_gives_signs_of_life_is_left_alone(supervisor, told, monkeypatch, tmp_path):
    log, sign = tmp_path / "starts", tmp_path / "alive"
    supervisor.start("worker", [sys.executable, "-c", PARENT, str(log)], heartbeat=sign)
    assert eventually(lambda: len(started(log)) == 1)
    now = time.monotonic()
    monkeypatch.setattr(processes.time, "monotonic", lambda: now)

    for beat in range(10):
        now += processes.SILENCE_ALLOWED - 1
        # Whatever the time of day is set to: that it changes is the sign.
        os.utime(sign, (0, 10**9 - beat)) if sign.exists() else sign.touch()
        supervisor.look()

    assert (told, len(started(log))) == ([], 1)
    monkeypatch.undo()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_postgresql_does_not_outlive_the_command_it_was_started_for(number, tmp_path):
    told = tmp_path / "url"
    script = (
        "import os, signal, sys\n"
        "open(sys.argv[1], 'w').write(os.environ['DATABASE_URL'] + '\\n')\n"
        "signal.pause()\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-m", "tests.postgres", sys.executable, "-c", script, str(told)],
        cwd=settings.BASE_DIR,
        env=environment(),
    )
    assert eventually(lambda: told.exists() and told.read_text().endswith("\n"))
    folder = Path(told.read_text().strip().partition("host=")[2])
    server = int((folder / "postmaster.pid").read_text().split()[0])
    command = descendants(running.pid)

    running.send_signal(number)
    running.wait()

    assert eventually(lambda: not is_running(server) and not folder.exists())
    for pid in command:  # of a killed runner the command itself is left, without a database
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)
