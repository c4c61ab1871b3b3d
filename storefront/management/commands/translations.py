"""`manage.py translations extract | check | compile`"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from storefront import translations


class Command(BaseCommand):
    help = "Extracts, checks or compiles the translations in locale/ (no gettext programs needed)."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["extract", "check", "compile"])

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        if action == "extract":
            self.stdout.write(f"{translations.extract()} texts")
        elif action == "compile":
            self.stdout.write(f"{translations.compile_changed()} files compiled")
        elif found := translations.problems():
            raise CommandError("\n".join([*found, f"{len(found)} translation problems"]))
