"""`manage.py seed_demo [--json] [--customers N] [--services N]`"""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from storefront import demo


class Command(BaseCommand):
    help = "Fills the store with demonstration data, and tells logins and API keys."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="tell as JSON, for scripts")
        parser.add_argument("--customers", type=int, default=1, help="how many customers")
        parser.add_argument(
            "--services",
            type=int,
            default=settings.SANDBOX_SERVICES,
            help="size of the catalogue where no sandbox provider runs",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["customers"] < 1 or options["services"] < 1:
            raise CommandError("--customers and --services start at 1.")
        try:
            made = demo.seed(customers=options["customers"], services=options["services"])
        except demo.DemoError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(made), indent=2))
            return
        for login in (made.staff, *made.customers):
            self.stdout.write(f"{login.user.email}  {login.password}")
            for currency, text in login.api_keys.items():
                self.stdout.write(f"  API key {currency}  {text}")
            if login.sandbox_key:
                self.stdout.write(f"  Sandbox key USD  {login.sandbox_key}")
        self.stdout.write(f"{made.services} services can be ordered")


def _as_json(made: demo.Demo) -> dict[str, Any]:
    return {
        "url": f"http://localhost:{settings.PORT}",
        "staff": _person(made.staff),
        "customers": [
            {
                **_person(login),
                "api_keys": login.api_keys,
                "sandbox_key": login.sandbox_key,
                "wallets": {
                    currency: {"id": wallet.pk, "balance": str(wallet.balance)}
                    for currency, wallet in login.wallets.items()
                },
            }
            for login in made.customers
        ],
        "provider": {
            "id": made.provider.pk,
            "name": made.provider.name,
            "base_url": made.provider.base_url,
        },
        "services": {"orderable": made.services, "examples": made.examples},
    }


def _person(login: demo.Login) -> dict[str, Any]:
    return {"id": login.user.pk, "email": login.user.email, "password": login.password}
