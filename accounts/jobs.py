"""Jobs that kill their worker: counted before they begin, parked when it happens again and again.

The queue counts a job's attempts only when it ends, so that one which takes its worker with it
(memory, a crash of the interpreter) would come back for ever. The heartbeat tells the supervisor
that workers still work (storefront/processes.py).
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from platform import node

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.alerts import alert, resolve
from accounts.clock import from_now
from accounts.models import JobAttempt

ATTEMPTS_ALLOWED = 3
# A parked job gets another chance after this: what killed it may be over, and one worker a minute
# is no harm.
PARKED_FOR = timedelta(minutes=1)

PARKED = "job_parked"


@contextmanager
def attempt(job: str) -> Iterator[bool]:
    """Whether the job may run now; it is counted before, and forgotten when the block ends, well
    or not. Only a worker that dies in between leaves the count.

    For a job that is the only one of its name on its machine at a time; each machine counts its
    own. Not for use inside a transaction.
    """
    beat()
    if not _begin(job):
        yield False
        return
    try:
        yield True
    finally:
        _end(job)
        beat()


@contextmanager
def only(job: str) -> Iterator[bool]:
    """Whether this job may run now: alone on this machine, and not parked (see `attempt`)."""
    with ExitStack() as held:
        yield held.enter_context(alone(job)) and held.enter_context(attempt(job))


@contextmanager
def alone(name: str) -> Iterator[bool]:
    """Whether no other job of this machine has this name now.

    A lock of the operating system: it ends with the process that holds it, however that ends, so
    that a killed worker keeps nobody waiting.
    """
    with (settings.DATA_DIR / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def beat() -> None:
    """Leave a sign that a worker of this machine has work done."""
    heartbeat().touch()


def heartbeat() -> Path:
    """The file whose time of change is the workers' sign of life."""
    path: Path = settings.DATA_DIR / "worker.alive"
    return path


def _begin(job: str) -> bool:
    try:
        with transaction.atomic():
            JobAttempt.objects.create(job=counted_as(job), attempts=1)
    except IntegrityError:
        # Its worker was killed the last time.
        pass
    else:
        return True
    may_run = Q(attempts__lt=ATTEMPTS_ALLOWED) | Q(last_at__lte=from_now(-PARKED_FOR))
    if JobAttempt.objects.filter(may_run, job=counted_as(job)).update(
        attempts=F("attempts") + 1, last_at=Now()
    ):
        return True
    alert(
        PARKED,
        subject=_subject(job),
        message=(
            f"The job {job} has killed its worker {ATTEMPTS_ALLOWED} times in a row. "
            f"It is tried again every {PARKED_FOR.total_seconds():.0f} seconds."
        ),
    )
    return False


def _end(job: str) -> None:
    attempts = JobAttempt.objects.filter(job=counted_as(job))
    if not attempts.filter(attempts__lt=ATTEMPTS_ALLOWED).delete()[0]:
        attempts.delete()
        resolve(PARKED, subject=_subject(job))


def counted_as(job: str) -> str:
    """The job's name with a mark of this machine: what keeps it alone are files of the same."""
    machine = sha256(f"{node()}:{settings.DATA_DIR}".encode()).hexdigest()[:8]
    return f"{job}@{machine}"


def _subject(job: str) -> str:
    return f"job:{job}"[:60]
