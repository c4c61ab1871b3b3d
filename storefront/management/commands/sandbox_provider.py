"""`manage.py sandbox_provider`: an upstream provider to play with, over HTTP."""

from __future__ import annotations

import signal
from pathlib import Path
from threading import Event
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from catalog.sandbox.delivery import Habits
from catalog.sandbox.server import Sandbox


class Command(BaseCommand):
    help = "Runs the sandbox provider until it is stopped (SIGTERM, SIGINT)."
    # It has nothing to do with the store's database and checks.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=settings.SANDBOX_PORT)
        parser.add_argument("--key", default=settings.SANDBOX_KEY, help="the API key it accepts")
        parser.add_argument(
            "--data",
            type=Path,
            default=settings.DATA_DIR / "sandbox.sqlite3",
            help="its state, a SQLite file",
        )
        parser.add_argument(
            "--speed",
            type=float,
            default=settings.SANDBOX_SPEED,
            help="sandbox seconds per real second: an order takes 11 to 22 sandbox minutes",
        )
        parser.add_argument(
            "--services", type=int, default=settings.SANDBOX_SERVICES, help="size of its catalogue"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["speed"] < 0 or options["services"] < 1:
            raise CommandError("--speed starts at 0, --services at 1.")
        stop = Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: stop.set())
        sandbox = Sandbox(
            options["data"],
            key=options["key"],
            services=options["services"],
            speed=options["speed"],
            habits=Habits(),
        )
        try:
            sandbox.start(options["host"], options["port"])
        except OSError as error:
            sandbox.close()
            raise CommandError(f"Port {options['port']}: {error.strerror}") from error
        self.stdout.write(f"Sandbox provider on {sandbox.url}")
        self.stdout.flush()
        stop.wait()
        sandbox.close()
