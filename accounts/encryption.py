"""Secrets at rest: encrypted text columns, with rotation by a list of keys."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models
from django.db.models.query_utils import DeferredAttribute

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
    """A stored secret was written with a key that is no longer in ENCRYPTION_KEYS.

    The text names the field, never a part of the secret.
    """


class _Encrypted(str):
    """A column's value as it was read: not opened yet."""


class _OpenedWhenRead(DeferredAttribute):
    """Decrypts when the attribute is used: lists that join this model do not pay for a secret
    that they never look at, nor fail when it is unreadable."""

    field: EncryptedTextField

    def __get__(self, instance: Any, cls: Any = None) -> Any:
        value = super().__get__(instance, cls)
        if not isinstance(value, _Encrypted):
            return value
        try:
            opened = cipher().decrypt(value.encode()).decode()
        except InvalidToken:
            raise SecretUnreadable(f"{instance._meta.label}.{self.field.name}") from None
        instance.__dict__[self.field.attname] = opened
        return opened

    # Python asks __get__ before the instance's own dictionary only where there is a __set__.
    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.field.attname] = value


class EncryptedTextField(_TextField):
    """Text that is stored encrypted, by the newest key each time it is saved. It cannot be
    searched, and never appears in a dump. Reading it may raise SecretUnreadable."""

    descriptor_class = _OpenedWhenRead

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> str | None:
        return _Encrypted(value) if value else value

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return cipher().encrypt(value.encode()).decode() if value else value
