"""What a start needs before the first request. Each step does nothing where nothing changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command

from storefront import schedules, translations


def prepare() -> None:
    """Bring database, translations, static files and schedules up to this version's.

    Safe to run twice, on a store that holds data, and beside a running one.
    """
    call_command("migrate", interactive=False, verbosity=0)
    call_command("createcachetable", verbosity=0)
    translations.compile_changed()
    collect_changed()
    schedules.install()


def collect_changed() -> bool:
    """Collect the static files if any has changed since the last time; returns whether."""
    stamp = settings.DATA_DIR / "static.stamp"
    now = _fingerprint()
    if stamp.exists() and stamp.read_text() == now and settings.STATIC_ROOT.exists():
        return False
    call_command("collectstatic", interactive=False, verbosity=0)
    stamp.write_text(now)
    return True


def _fingerprint() -> str:
    found = hashlib.sha256(settings.STORAGES["staticfiles"]["BACKEND"].encode())
    for finder in get_finders():
        for name, storage in finder.list([]):
            facts = Path(storage.path(name)).stat()
            found.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode())
    return found.hexdigest()
