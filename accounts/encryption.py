"""Secrets at rest: encrypted text columns, with rotation by a list of keys."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models

if TYPE_CHECKING:
    _TextField = models.TextField[str, str]
else:
    _TextField = models.TextField


@lru_cache(maxsize=4)
def _cipher(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def cipher() -> MultiFernet:
    """The cipher of `settings.ENCRYPTION_KEYS`: the first key encrypts, every key decrypts."""
    return _cipher(tuple(settings.ENCRYPTION_KEYS))


class SecretUnreadable(Exception):
    """A stored secret was written with a key that is no longer in ENCRYPTION_KEYS."""


class EncryptedTextField(_TextField):
    """Text that is stored encrypted. It cannot be searched, and never appears in a dump."""

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> str | None:
        if not value:
            return value
        try:
            return cipher().decrypt(value.encode()).decode()
        except InvalidToken:
            raise SecretUnreadable(f"{self.model._meta.label}.{self.name}") from None

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return cipher().encrypt(value.encode()).decode() if value else value
