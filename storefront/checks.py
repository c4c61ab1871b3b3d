"""Combinations of settings that would lose money or secrets: refused at every start.

With PRODUCTION on, all of them stop every command. `manage.py check --deploy` reports the secrets
even where PRODUCTION was forgotten, which is an error of its own there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

SHORTEST_SECRET = 32


@register(Tags.security)
def check_production(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """What a public store must not run with."""
    return [*_secrets(), *_shared_limits(), *_open_doors()] if settings.PRODUCTION else []


@register(Tags.security, deploy=True)
def check_deployment(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The same, asked for by `check --deploy` before PRODUCTION is on."""
    if settings.PRODUCTION:
        return []
    return [
        _error("E001", "PRODUCTION is off.", "Set PRODUCTION=1 on a public host."),
        *_secrets(),
        *_shared_limits(),
    ]


@register(Tags.security)
def check_encryption_keys(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Provider keys cannot be stored without one, nor read with a broken one."""
    if not settings.ENCRYPTION_KEYS:
        return [_error("E002", "ENCRYPTION_KEYS is empty.", _NEW_ENCRYPTION_KEY)]
    return [
        _error("E003", f"Key {number} of ENCRYPTION_KEYS is no Fernet key.", _NEW_ENCRYPTION_KEY)
        for number, key in enumerate(settings.ENCRYPTION_KEYS, start=1)
        if not _is_fernet_key(key)
    ]


@register(Tags.security)
def check_debug(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Debug pages show settings and data to whoever causes an error."""
    if settings.DEBUG and (settings.PRODUCTION or not all(map(_is_local, settings.ALLOWED_HOSTS))):
        return [
            _error(
                "E004",
                "DEBUG is on for a public host.",
                "Set DEBUG=0, or leave only localhost in ALLOWED_HOSTS.",
            )
        ]
    return []


@register(Tags.database)
def check_queue(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """A job must neither start again while it runs nor be repeated for ever."""
    found: list[CheckMessage] = []
    timeout, retry = settings.Q_CLUSTER.get("timeout"), settings.Q_CLUSTER.get("retry", 60)
    if not timeout:
        found.append(_error("E005", "Q_CLUSTER sets no timeout.", "A job may hang for ever."))
    elif retry <= timeout:
        found.append(
            _error(
                "E006",
                f"Q_CLUSTER's retry ({retry} s) is not above its timeout ({timeout} s).",
                "A job that still runs would be started a second time.",
            )
        )
    if not settings.Q_CLUSTER.get("max_attempts") or not settings.Q_CLUSTER.get("ack_failures"):
        found.append(
            _error(
                "E007",
                "Q_CLUSTER repeats a failing job for ever.",
                "Set max_attempts and ack_failures.",
            )
        )
    if settings.Q_CLUSTER.get("orm") not in settings.DATABASES:
        found.append(
            _error(
                "E008",
                "Q_CLUSTER does not queue in the store's database.",
                "Set orm: a job must commit or roll back with the money it is about.",
            )
        )
    return found


_NEW_ENCRYPTION_KEY = (
    "Make one: python -c 'from cryptography.fernet import Fernet; "
    "print(Fernet.generate_key().decode())'"
)
_NEW_SECRET = "Make one: python -c 'import secrets; print(secrets.token_urlsafe(50))'"


def _error(number: str, message: str, hint: str) -> Error:
    return Error(message, hint=hint, id=f"storefront.{number}")


def _secrets() -> Iterator[CheckMessage]:
    for name, number in (("SECRET_KEY", "E010"), ("API_KEY_PEPPER", "E011")):
        value = getattr(settings, name)
        if value == settings.INSECURE_SECRET_KEY:
            yield _error(number, f"{name} is the built-in one.", _NEW_SECRET)
        elif len(value) < SHORTEST_SECRET:
            yield _error(
                number, f"{name} is shorter than {SHORTEST_SECRET} characters.", _NEW_SECRET
            )
    if settings.INSECURE_ENCRYPTION_KEY in settings.ENCRYPTION_KEYS:
        yield _error("E012", "ENCRYPTION_KEYS holds the built-in key.", _NEW_ENCRYPTION_KEY)
    if not settings.ALLOWED_HOSTS or "*" in settings.ALLOWED_HOSTS:
        yield _error(
            "E013", "ALLOWED_HOSTS names no host, or every host.", "Name the store's own hosts."
        )


def _shared_limits() -> Iterator[CheckMessage]:
    backend = settings.CACHES["default"]["BACKEND"]
    if backend.endswith((".LocMemCache", ".DummyCache")):
        yield _error(
            "E014",
            "The default cache is not shared between processes.",
            "Limits would hold in each process by itself: leave CACHE_URL at dbcache://….",
        )


def _open_doors() -> Iterator[CheckMessage]:
    if settings.WEBHOOK_ALLOW_PRIVATE:
        yield _error(
            "E015",
            "WEBHOOK_ALLOW_PRIVATE is on.",
            "Customers could have this machine call others of its own network: set it to 0.",
        )


def _is_fernet_key(key: str) -> bool:
    try:
        Fernet(key)
    except ValueError:
        return False
    return True


def _is_local(host: str) -> bool:
    name = host.strip("[]").lower()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
