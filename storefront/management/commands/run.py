"""`manage.py run`: the whole store under one command (`make run`)."""

from __future__ import annotations

import http.client
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connections

from accounts import jobs
from catalog.models import Service
from storefront import demo
from storefront.preparing import prepare
from storefront.processes import KeepsDying, Supervisor

READY_WITHIN = 60.0
MANAGE = (sys.executable, "manage.py")
WEB = (
    sys.executable, "-m", "gunicorn", "-c", "python:storefront.serving", "storefront.wsgi",
)  # fmt: skip


class Command(BaseCommand):
    help = (
        "Prepares the store and runs website, worker and (not in production) the sandbox provider "
        "until it is told to stop."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        self._refuse_taken_ports()
        # Whoever stops us, by Ctrl-C, a signal or a closed terminal: one way out.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        os.chdir(settings.BASE_DIR)
        supervisor = Supervisor(self._tell)
        try:
            self._run(supervisor)
        except KeyboardInterrupt:
            self._tell("Stopping.")
        except (KeepsDying, demo.DemoError) as error:
            raise CommandError(f"{error} The reason stands above.") from error
        except OperationalError as error:
            reason = str(error).partition("\n")[0]
            raise CommandError(f"The database cannot be used: {reason}") from error
        finally:
            supervisor.stop()

    def _run(self, supervisor: Supervisor) -> None:
        has_sandbox = not settings.PRODUCTION
        quiet: dict[str, str] = {}
        if not settings.PRODUCTION and "LOG_LEVEL" not in os.environ:
            # The terminal is for the banner and for what goes wrong.
            quiet = {"LOG_LEVEL": "WARNING"}
            logging.getLogger().setLevel(logging.WARNING)
        if has_sandbox:
            supervisor.start("sandbox provider", (*MANAGE, "sandbox_provider"), environment=quiet)
        self._tell("Preparing database and files.")
        prepare()
        if has_sandbox and not Service.objects.exists():
            self._wait(supervisor, "sandbox provider", _sandbox_listens)
            self._tell("Filling the store with demonstration data.")
            demo.seed(customers=1, services=settings.SANDBOX_SERVICES)
        supervisor.start("website", WEB, environment=quiet)
        supervisor.start(
            "worker", (*MANAGE, "qcluster"), environment=quiet, heartbeat=jobs.heartbeat()
        )
        if has_sandbox:
            demo.point_at_sandbox()
            self._wait(supervisor, "sandbox provider", _sandbox_listens)
        banner = self._banner()
        connections.close_all()
        self._wait(supervisor, "website", _site_answers)
        self._tell(banner)
        while True:
            supervisor.look()
            time.sleep(0.5)

    def _tell(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def _refuse_taken_ports(self) -> None:
        ports = {"PORT": settings.PORT}
        if not settings.PRODUCTION:
            ports["SANDBOX_PORT"] = settings.SANDBOX_PORT
        if len(set(ports.values())) < len(ports):
            raise CommandError("PORT and SANDBOX_PORT must differ.")
        for name, port in ports.items():
            host = settings.HOST if name == "PORT" else "127.0.0.1"
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except OSError as error:
                    raise CommandError(
                        f"Port {port} cannot be used ({error.strerror}). "
                        f"Choose another: {name}={port + 10} make run"
                    ) from error

    def _wait(self, supervisor: Supervisor, what: str, is_ready: Callable[[], bool]) -> None:
        until = time.monotonic() + READY_WITHIN
        while not is_ready():
            supervisor.look()
            if time.monotonic() > until:
                raise CommandError(f"The {what} does not answer. The reason stands above.")
            time.sleep(0.1)

    def _banner(self) -> str:
        if settings.PRODUCTION:
            hosts = ", ".join(settings.ALLOWED_HOSTS)
            return f"{settings.STORE_NAME} answers on {settings.HOST}:{settings.PORT} for {hosts}."
        site = f"http://localhost:{settings.PORT}"
        lines = ["", f"  {settings.STORE_NAME} is open: {site}   staff: {site}/admin/"]
        if logins := demo.first_logins():
            customer, staff = logins
            lines += [
                "",
                f"  customer  {customer.user.email}  {customer.password}",
                f"  staff     {staff.user.email}     {staff.password}",
            ]
            if key := customer.api_keys.get("USD"):
                lines.append(f"  API key   {key}")
                if customer.sandbox_key:
                    lines.append(f"  sandbox   {customer.sandbox_key}")
                lines += [
                    "",
                    f"  curl -H 'X-API-Key: {key}' {site}/api/v1/services",
                    f"  curl -d 'key={key}&action=balance' {site}/api/v2",
                ]
        return "\n".join([*lines, "", "  Ctrl-C stops everything.", ""])


def _sandbox_listens() -> bool:
    try:
        socket.create_connection(("127.0.0.1", settings.SANDBOX_PORT), timeout=1).close()
    except OSError:
        return False
    return True


def _site_answers() -> bool:
    """Whether the front page is served, asked for as its own proxy would."""
    host = settings.ALLOWED_HOSTS[0].removeprefix(".") if settings.PRODUCTION else "localhost"
    address = "127.0.0.1" if settings.HOST in ("", "0.0.0.0") else settings.HOST  # noqa: S104
    connection = http.client.HTTPConnection(address, settings.PORT, timeout=10)
    try:
        connection.request("GET", "/", headers={"Host": host, "X-Forwarded-Proto": "https"})
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
