"""API keys: made, recognised, changed, revoked. Only a keyed digest of a key is ever stored."""

from __future__ import annotations

import hmac
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts import limits
from accounts.client_addresses import client_of, is_within, network, parse
from accounts.clock import from_now
from accounts.models import ApiKey, User, every_permission
from accounts.twins import twin_of

ALPHABET = string.digits + string.ascii_letters
RANDOM_CHARACTERS = 40  # 238 bits
KEY = "sk_"
SANDBOX_KEY = "sk_test_"
# Enough to recognise, useless to guess from.
SHOWN_CHARACTERS = 8
# A write on every request would make the busiest reads of the API writes.
LAST_USE_EVERY = timedelta(minutes=1)
LONGEST_GRACE = timedelta(days=7)
MOST_NETWORKS = 50


class ApiKeyError(Exception):
    """Base of what keeps a key from being used."""


class InvalidApiKey(ApiKeyError):
    """No key, an unknown, revoked or expired one, or not from here: which of them is not told."""


class AccountSuspended(ApiKeyError):
    """The key is good, but its customer is suspended."""

    def __init__(self, api_key: ApiKey) -> None:
        super().__init__(f"API key {api_key.pk}")
        self.api_key = api_key


class NotPermitted(ApiKeyError):
    """The key is good, but was not given this permission."""

    def __init__(self, permission: str) -> None:
        super().__init__(permission)
        self.permission = permission


@dataclass(frozen=True)
class KeyTerms:
    """What a key may do, until when (None: for ever), and from which networks (none: any)."""

    permissions: Sequence[str] = tuple(every_permission())
    expires_at: datetime | None = None
    networks: Sequence[str] = ()


EVERYTHING = KeyTerms()


def issue(
    user: User, *, name: str, currency: str, terms: KeyTerms = EVERYTHING
) -> tuple[ApiKey, str]:
    """Make a key for one wallet currency; the text is returned this once and cannot be read again.

    Raises ValidationError, by field, when the name is empty or too long, the currency is none of
    ours or the terms cannot be kept (`change`), and then nothing has changed.
    """
    text = _new_text(KEY)
    return keep(user, text=text, name=name, currency=currency, terms=terms), text


def issue_sandbox(
    user: User, *, name: str, currency: str, terms: KeyTerms = EVERYTHING
) -> tuple[ApiKey, str]:
    """As `issue`, a key that acts for the customer's twin with its play money (accounts/twins.py),
    which is made with the first one."""
    text = _new_text(SANDBOX_KEY)
    return keep(user, text=text, name=name, currency=currency, terms=terms), text


@transaction.atomic
def keep(
    user: User, *, text: str, name: str, currency: str, terms: KeyTerms = EVERYTHING
) -> ApiKey:
    """Store a key whose text the caller has made (`issue`, demonstration data); the text says
    whether it is a sandbox key.

    Raises ValidationError as `issue` does, and IntegrityError when the text is taken.
    """
    api_key = ApiKey(
        user=user,
        currency=currency,
        prefix=_prefix_of(text),
        digest=digest_of(text),
        sandbox=text.startswith(SANDBOX_KEY),
    )
    _put(api_key, name, terms)
    if api_key.sandbox:
        twin_of(user)
    api_key.save()
    return api_key


@transaction.atomic
def change(api_key: ApiKey, *, name: str, terms: KeyTerms) -> None:
    """Rename the key and put new terms in force at once.

    Raises ValidationError, by field, for no or an unknown permission, an expiry in the past (the
    one that it has may stay), an unreadable network or more than 50 of them, and then nothing has
    changed.
    """
    _put(api_key, name, terms)
    api_key.save(update_fields=["name", "permissions", "expires_at", "networks"])


@transaction.atomic
def regenerate(api_key: ApiKey, *, grace: timedelta) -> str:
    """Give the key another text, returned this once; the one that it has works on for `grace`.

    One that was replaced before stops working now. Raises ValidationError for a grace that is not
    0 to 7 days, or for a revoked key, and then nothing has changed.
    """
    if not timedelta() <= grace <= LONGEST_GRACE:
        raise ValidationError({"grace": _("The old key can work on for 7 days at most.")})
    # Locked, so that of two at once the second replaces what the first has made.
    current = ApiKey.objects.select_for_update().get(pk=api_key.pk)
    if current.revoked_at is not None:
        raise ValidationError(_("This key is revoked."))
    text = _new_text(SANDBOX_KEY if current.sandbox else KEY)
    ApiKey.objects.filter(pk=api_key.pk).update(
        prefix=_prefix_of(text),
        digest=digest_of(text),
        previous_digest=current.digest if grace else None,
        previous_until=from_now(grace) if grace else None,
    )
    api_key.refresh_from_db(fields=["prefix", "digest", "previous_digest", "previous_until"])
    return text


def authenticate(text: str, *, address: str) -> ApiKey:
    """The key with this text, its customer loaded, in one query; notes its use once a minute at
    most.

    `address` is the client's. Wrong texts are counted against it; past the limit every wrong key
    is refused, and every key that was not last used from there: whoever guesses never learns that
    a guess was right, and whoever works from there with a good key goes on.

    Raises InvalidApiKey, AccountSuspended or limits.TooManyRequests; then nothing has changed but
    that count.
    """
    if not text:
        raise InvalidApiKey
    digest = digest_of(text)
    api_key = (
        ApiKey.objects.select_related("user", "user__sandbox_twin")
        .annotate(now=Now())
        .filter(Q(digest=digest) | Q(previous_digest=digest))
        .first()
    )
    if api_key is None or not _has_digest(api_key, digest):
        limits.count_wrong_key(address)
        raise InvalidApiKey
    if not _was_used_from(api_key, address):
        limits.refuse_guesser(address)
    if not _is_valid(api_key, digest, address, api_key.now):
        raise InvalidApiKey
    if not (api_key.user.is_active and api_key.customer.is_active):
        raise AccountSuspended(api_key)
    _note_use(api_key, address)
    return api_key


def require(api_key: ApiKey, permission: str) -> None:
    """Raises NotPermitted when the key was not given this permission."""
    if permission not in api_key.permissions:
        raise NotPermitted(permission)


def revoke(api_key: ApiKey) -> None:
    """Make the key useless at once, and the one that it replaced; revoking it again keeps the
    first time."""
    now = timezone.now()
    if ApiKey.objects.filter(pk=api_key.pk, revoked_at=None).update(revoked_at=now):
        api_key.revoked_at = now


def digest_of(text: str) -> str:
    """What is stored of a key: a digest that only API_KEY_PEPPER can make."""
    # JSON can carry lone surrogates; a key made of them is wrong, not an error of ours.
    message = text.encode("utf-8", "surrogatepass")
    return hmac.new(settings.API_KEY_PEPPER.encode(), message, "sha256").hexdigest()


def _new_text(beginning: str) -> str:
    return beginning + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_CHARACTERS))


def _prefix_of(text: str) -> str:
    beginning = SANDBOX_KEY if text.startswith(SANDBOX_KEY) else KEY
    return text[: len(beginning) + SHOWN_CHARACTERS]


def _put(api_key: ApiKey, name: str, terms: KeyTerms) -> None:
    """Write name and terms into the row, not yet stored. Raises ValidationError by field."""
    problems: dict[str, list[str]] = {}
    if terms.expires_at != api_key.expires_at and (
        terms.expires_at is not None and terms.expires_at <= timezone.now()
    ):
        problems["expires_at"] = [str(_("This moment is over."))]
    known = every_permission()
    if not terms.permissions or not set(terms.permissions) <= set(known):
        problems["permissions"] = [str(_("Choose at least one permission."))]
    networks: list[str] = []
    for text in terms.networks:
        try:
            networks.append(network(text))
        except ValueError:
            problems["networks"] = [
                str(_("“%(network)s” is no network: write 203.0.113.0/24.") % {"network": text})
            ]
    if len(networks) > MOST_NETWORKS:
        problems["networks"] = [str(_("These are too many networks: 50 at most."))]
    api_key.name = name.strip()
    api_key.permissions = [each for each in known if each in terms.permissions]
    api_key.expires_at = terms.expires_at
    api_key.networks = list(dict.fromkeys(networks))
    try:
        api_key.clean_fields(exclude=["permissions", *problems])
    except ValidationError as error:
        raise ValidationError({**error.update_error_dict({}), **problems}) from None
    if problems:
        raise ValidationError(problems)


def _has_digest(api_key: ApiKey, digest: str) -> bool:
    # The database's comparison takes a time of its own; this one tells nothing by its time.
    return hmac.compare_digest(api_key.digest, digest) or hmac.compare_digest(
        api_key.previous_digest or "", digest
    )


def _is_valid(api_key: ApiKey, digest: str, address: str, now: datetime) -> bool:
    if api_key.revoked_at is not None:
        return False
    if api_key.expires_at is not None and api_key.expires_at <= now:
        return False
    if not hmac.compare_digest(api_key.digest, digest) and (
        api_key.previous_until is None or api_key.previous_until <= now
    ):
        return False
    return not api_key.networks or is_within(address, api_key.networks)


def _was_used_from(api_key: ApiKey, address: str) -> bool:
    return api_key.last_used_at is not None and client_of(api_key.last_used_ip or "") == client_of(
        address
    )


def _note_use(api_key: ApiKey, address: str) -> None:
    now = timezone.now()
    due = now - LAST_USE_EVERY
    if api_key.last_used_at is not None and api_key.last_used_at > due:
        return
    known = parse(address)
    stored = str(known) if known else None
    # Conditional, so that of many requests at once one writes.
    noted = ApiKey.objects.filter(
        Q(last_used_at=None) | Q(last_used_at__lte=due), pk=api_key.pk
    ).update(last_used_at=now, last_used_ip=stored)
    if noted:
        api_key.last_used_at, api_key.last_used_ip = now, stored
