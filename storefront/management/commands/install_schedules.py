"""`manage.py install_schedules`"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from storefront import schedules


class Command(BaseCommand):
    help = "Writes the worker's schedules (storefront/schedules.py) into the database."

    def handle(self, *args: Any, **options: Any) -> None:
        schedules.install()
        self.stdout.write(f"{len(schedules.JOBS)} schedules installed")
