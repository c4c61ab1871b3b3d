"""Jobs that kill their worker are counted before they begin."""

from __future__ import annotations

import pytest

from accounts import jobs
from accounts.clock import from_now
from accounts.jobs import ATTEMPTS_ALLOWED, PARKED_FOR, attempt
from accounts.models import Alert, JobAttempt

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _own_data_folder(settings, tmp_path):
    settings.DATA_DIR = tmp_path


def begin():
    """Begin a job whose worker is killed: nothing after this is run."""
    running = attempt("job:1")
    return running.__enter__(), running


def parked():
    return Alert.objects.filter(code="job_parked", resolved_at=None).count()


def test_count_stands_while_the_job_runs_and_is_gone_when_it_ends():
    with attempt("job:1") as may_run:
        assert may_run
        assert JobAttempt.objects.get().attempts == 1

    assert not JobAttempt.objects.exists()


def test_job_that_fails_has_ended_too():
    with pytest.raises(RuntimeError), attempt("job:1"):
        raise RuntimeError

    assert not JobAttempt.objects.exists()


def test_job_is_parked_after_its_attempts_and_tried_again_later():
    held = [begin() for _ in range(ATTEMPTS_ALLOWED + 1)]

    assert [may_run for may_run, _ in held] == [True] * ATTEMPTS_ALLOWED + [False]
    assert parked() == 1
    with attempt("job:2") as may_run:
        assert may_run

    JobAttempt.objects.update(last_at=from_now(-PARKED_FOR))
    held.append(begin())
    assert held[-1][0]
    assert not begin()[0]

    JobAttempt.objects.update(last_at=from_now(-PARKED_FOR))
    with attempt("job:1") as may_run:
        assert may_run
    assert (parked(), JobAttempt.objects.count()) == (0, 0)


def test_each_job_is_a_sign_of_life(tmp_path):
    with attempt("job:1"):
        assert jobs.heartbeat() == tmp_path / "worker.alive"
        assert jobs.heartbeat().exists()


def test_machines_count_their_own(settings, tmp_path):
    """What keeps a job alone are locks of its machine: two machines at work are no failures."""
    held = []
    for machine in range(ATTEMPTS_ALLOWED + 1):
        settings.DATA_DIR = tmp_path / str(machine)
        settings.DATA_DIR.mkdir()
        held.append(begin())

    assert [may_run for may_run, _ in held] == [True] * (ATTEMPTS_ALLOWED + 1)
    assert parked() == 0
