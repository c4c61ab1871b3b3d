"""API keys: made, recognised, revoked. Only a keyed digest of a key is ever stored."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import string
from datetime import timedelta

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from accounts.models import ApiKey, User

ALPHABET = string.digits + string.ascii_letters
RANDOM_CHARACTERS = 40  # 238 bits
PREFIX_CHARACTERS = 11  # "sk_" and eight more: enough to recognise, useless to guess from
# A write on every request would make the busiest reads of the API writes.
LAST_USE_EVERY = timedelta(minutes=1)


class ApiKeyError(Exception):
    """Base of what keeps a key from being used."""


class InvalidApiKey(ApiKeyError):
    """No key, an unknown one, or one that was revoked: which of them is not told."""


class AccountSuspended(ApiKeyError):
    """The key is good, but its customer is suspended."""

    def __init__(self, api_key: ApiKey) -> None:
        super().__init__(f"API key {api_key.pk}")
        self.api_key = api_key


def issue(user: User, *, name: str, currency: str) -> tuple[ApiKey, str]:
    """Make a key for one wallet currency; the text is returned this once and cannot be read again.

    Raises ValidationError when the name is empty or too long or the currency is none of ours, and
    then nothing has changed.
    """
    text = "sk_" + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_CHARACTERS))
    return keep(user, text=text, name=name, currency=currency), text


def keep(user: User, *, text: str, name: str, currency: str) -> ApiKey:
    """Store a key whose text the caller has made (`issue`, demonstration data).

    Raises ValidationError as `issue` does, and IntegrityError when the text is taken.
    """
    api_key = ApiKey(
        user=user,
        name=name.strip(),
        currency=currency,
        prefix=text[:PREFIX_CHARACTERS],
        digest=digest_of(text),
    )
    api_key.clean_fields()
    api_key.save()
    return api_key


def authenticate(text: str, *, address: str) -> ApiKey:
    """The key with this text, its user loaded, in one query; notes its use once a minute at most.

    `address` is the client's, as told by the connection. Raises InvalidApiKey or AccountSuspended,
    and then nothing has changed.
    """
    if not text:
        raise InvalidApiKey
    api_key = (
        ApiKey.objects.select_related("user")
        .filter(digest=digest_of(text), revoked_at=None)
        .first()
    )
    if api_key is None:
        raise InvalidApiKey
    if not api_key.user.is_active:
        raise AccountSuspended(api_key)
    _note_use(api_key, address)
    return api_key


def revoke(api_key: ApiKey) -> None:
    """Make the key useless at once; revoking it again keeps the first time."""
    now = timezone.now()
    if ApiKey.objects.filter(pk=api_key.pk, revoked_at=None).update(revoked_at=now):
        api_key.revoked_at = now


def digest_of(text: str) -> str:
    """What is stored of a key: a digest that only API_KEY_PEPPER can make."""
    # JSON can carry lone surrogates; a key made of them is wrong, not an error of ours.
    message = text.encode("utf-8", "surrogatepass")
    return hmac.new(settings.API_KEY_PEPPER.encode(), message, "sha256").hexdigest()


def _note_use(api_key: ApiKey, address: str) -> None:
    now = timezone.now()
    due = now - LAST_USE_EVERY
    if api_key.last_used_at is not None and api_key.last_used_at > due:
        return
    # Conditional, so that of many requests at once one writes.
    noted = ApiKey.objects.filter(
        Q(last_used_at=None) | Q(last_used_at__lte=due), pk=api_key.pk
    ).update(last_used_at=now, last_used_ip=_stored_address(address))
    if noted:
        api_key.last_used_at, api_key.last_used_ip = now, _stored_address(address)


def _stored_address(address: str) -> str | None:
    """The address as the database takes it; None for a local socket or anything unreadable."""
    try:
        return str(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return None
