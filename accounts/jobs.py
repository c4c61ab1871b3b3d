"""Jobs that kill their worker: counted before they begin, parked when it happens again and again.

The queue counts a job's attempts only when it ends, so that one which takes its worker with it
(memory, a crash of the interpreter) would come back for ever. The heartbeat tells the supervisor
that workers still work (storefront/processes.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.alerts import alert, resolve
from accounts.clock import from_now
from accounts.models import JobAttempt

ATTEMPTS_ALLOWED = 3
# A parked job gets another chance after this: what killed it may be over.
PARKED_FOR = timedelta(minutes=10)

PARKED = "job_parked"


@contextmanager
def attempt(job: str) -> Iterator[bool]:
    """Whether the job may run now; it is counted before, and forgotten when the block ends, well
    or not. Only a worker that dies in between leaves the count.

    For a job that is the only one of its name at a time. Not for use inside a transaction.
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
            JobAttempt.objects.create(job=job, attempts=1)
    except IntegrityError:
        # Its worker was killed the last time.
        pass
    else:
        return True
    may_run = Q(attempts__lt=ATTEMPTS_ALLOWED) | Q(last_at__lte=from_now(-PARKED_FOR))
    if JobAttempt.objects.filter(may_run, job=job).update(
        attempts=F("attempts") + 1, last_at=Now()
    ):
        return True
    alert(
        PARKED,
        subject=_subject(job),
        message=(
            f"The job {job} has killed its worker {ATTEMPTS_ALLOWED} times in a row. "
            f"It is tried again every {PARKED_FOR.total_seconds() / 60:.0f} minutes."
        ),
    )
    return False


def _end(job: str) -> None:
    attempts = JobAttempt.objects.filter(job=job)
    if not attempts.filter(attempts__lt=ATTEMPTS_ALLOWED).delete()[0]:
        attempts.delete()
        resolve(PARKED, subject=_subject(job))


def _subject(job: str) -> str:
    return f"job:{job}"[:60]
