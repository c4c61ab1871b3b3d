"""What the worker does by the clock. The jobs themselves are in each app's tasks.py."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django_q.models import Schedule

OURS = ("accounts.", "catalog.", "orders.", "storefront.")


@dataclass(frozen=True)
class Job:
    """A function of a tasks module, and how many minutes lie between two runs."""

    function: str
    minutes: int


JOBS = (
    Job("orders.tasks.tick", 1),  # sweep, send, follow; orders wake it earlier
    Job("orders.tasks.read_balances", 5),
    Job("orders.tasks.measure_facts", 60),
    Job("catalog.tasks.sync_all", 60),
    Job("storefront.tasks.deliver_webhooks", 1),  # what is tried again; events wake it earlier
    Job("storefront.tasks.announce_services", 1),
    Job("accounts.tasks.prune", 60),
    Job("catalog.tasks.prune_changes", 60),
)


@transaction.atomic
def install() -> None:
    """Make the schedules in the database those of JOBS; when each runs next is kept."""
    for job in JOBS:
        Schedule.objects.update_or_create(
            name=job.function,
            defaults={
                "func": job.function,
                "schedule_type": Schedule.MINUTES,
                "minutes": job.minutes,
                "repeats": -1,
            },
        )
    wanted = [job.function for job in JOBS]
    for schedule in Schedule.objects.exclude(name__in=wanted):
        if schedule.func.startswith(OURS):  # a job that is gone, or was renamed
            schedule.delete()
