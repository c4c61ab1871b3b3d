"""`manage.py after_restore`: between restoring a backup and starting the worker."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from orders.restoring import hold_everything


class Command(BaseCommand):
    help = (
        "Run once after a backup was restored, before the worker starts: orders that were being "
        "sent when it was made become unconfirmed, and every provider is put into maintenance, so "
        "that nothing is sent until staff have compared and release it."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        providers, orders = hold_everything()
        self.stdout.write(f"Providers put into maintenance: {providers}.")
        self.stdout.write(f"Orders that were being sent, now unconfirmed: {orders}.")
        self.stdout.write(
            "Compare each provider's own list of orders since the backup with ours, settle what "
            "is missing, and end its maintenance in the admin."
        )
