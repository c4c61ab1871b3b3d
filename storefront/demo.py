"""The demonstration store: people who can sign in, money to spend, and the sandbox as provider.

Passwords and API keys are derived from API_KEY_PEPPER, so that every run tells the same ones.
"""

from __future__ import annotations

import copy
import hmac
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth.hashers import check_password, make_password
from django.db import transaction

from accounts import api_keys, ledger
from accounts.models import ApiKey, ExchangeRate, User, Wallet
from accounts.money import Currency
from catalog.models import Provider, Service, SyncOutcome
from catalog.order_types import SOLD_TYPES
from catalog.sandbox.delivery import Habits
from catalog.sandbox.server import Sandbox
from catalog.sync import sync

STAFF_EMAIL = "staff@example.com"
CUSTOMER_EMAIL = "customer@example.com"
PROVIDER_NAME = "Sandbox"
FUNDS = {
    Currency.XAF: Decimal(500_000),
    Currency.TRY: Decimal(25_000),
    Currency.USD: Decimal(1_000),
}
# What one US dollar, the sandbox's currency, is worth.
RATES = {Currency.XAF: Decimal(600), Currency.TRY: Decimal(42)}
EXAMPLES = 5


class DemoError(Exception):
    """The demonstration data cannot be made. What is there already stays."""


class NotInProduction(DemoError):
    """PRODUCTION is on: nothing has changed."""


@dataclass(frozen=True)
class Login:
    """One person of the demonstration. Keys and wallets by currency; staff have none, nor a
    sandbox key, which is in US dollars."""

    user: User
    password: str
    api_keys: dict[str, str]
    wallets: dict[str, Wallet]
    sandbox_key: str = ""


@dataclass(frozen=True)
class Demo:
    """What the demonstration store holds."""

    staff: Login
    customers: Sequence[Login]
    provider: Provider
    examples: dict[str, list[int]]  # ids of orderable services, by type
    services: int


def seed(*, customers: int, services: int) -> Demo:
    """Make the demonstration data, or what of it is missing; a repeat gives no money again.

    The catalogue comes from the sandbox provider over HTTP; where none runs, from one that is
    started for this moment with that many `services`. Raises NotInProduction, or DemoError when
    the catalogue cannot be had.
    """
    if settings.PRODUCTION:
        raise NotInProduction("Demonstration data has no place in production.")
    with transaction.atomic():
        staff = _person(STAFF_EMAIL, is_staff=True)
        people = [_customer(number, actor=staff.user) for number in range(1, customers + 1)]
        for currency, rate in RATES.items():
            if not ExchangeRate.objects.filter(base="USD", quote=currency).exists():
                ExchangeRate.objects.create(base="USD", quote=currency, rate=rate)
    provider = point_at_sandbox()
    _fill_catalogue(provider, services)
    return Demo(
        staff=staff,
        customers=people,
        provider=provider,
        examples={
            kind: list(
                Service.objects.orderable()
                .filter(type=kind)
                .order_by("pk")
                .values_list("pk", flat=True)[:EXAMPLES]
            )
            for kind in sorted(SOLD_TYPES)
        },
        services=Service.objects.orderable().count(),
    )


def point_at_sandbox() -> Provider:
    """The sandbox's provider row, its address brought up to the port that the sandbox has now."""
    url = f"http://127.0.0.1:{settings.SANDBOX_PORT}/api/v2"
    provider, _made = Provider.objects.get_or_create(
        name=PROVIDER_NAME,
        defaults={"base_url": url, "api_key": settings.SANDBOX_KEY, "currency": "USD"},
    )
    if provider.base_url != url:
        provider.base_url = url
        provider.save(update_fields=["base_url"])
    return provider


def first_logins() -> tuple[Login, Login] | None:
    """The first customer's and the staff's login, as far as they are there and still work."""
    found = []
    for email in (CUSTOMER_EMAIL, STAFF_EMAIL):
        user = User.objects.filter(email=email, is_active=True).first()
        password = _password("staff" if email == STAFF_EMAIL else "customer")
        if user is None or not user.check_password(password):
            return None
        texts = {currency: _key_text(email, currency) for currency in Currency.values}
        sandbox_text = _sandbox_text(email)
        working = set(
            ApiKey.objects.filter(user=user, revoked_at=None).values_list("digest", flat=True)
        )
        keys = {c: text for c, text in texts.items() if api_keys.digest_of(text) in working}
        sandbox_key = sandbox_text if api_keys.digest_of(sandbox_text) in working else ""
        found.append(Login(user, password, keys, {}, sandbox_key))
    return found[0], found[1]


def _customer(number: int, *, actor: User) -> Login:
    email = CUSTOMER_EMAIL if number == 1 else f"customer{number}@example.com"
    login = _person(email, sandbox_key=_sandbox_text(email))
    user = login.user
    for currency, amount in FUNDS.items():
        wallet = ledger.wallet_of(user, currency)
        ledger.adjust(
            wallet, amount, key=f"demo:{user.pk}:{currency}", reason="Demonstration", actor=actor
        )
        login.wallets[currency] = wallet
        login.api_keys[currency] = text = _key_text(user.email, currency)
        _keep_key(user, text, f"Demonstration {currency}", currency)
    _keep_key(user, login.sandbox_key, "Demonstration sandbox", Currency.USD)
    return login


def _keep_key(user: User, text: str, name: str, currency: str) -> None:
    kept = ApiKey.objects.filter(digest=api_keys.digest_of(text)).first()
    if kept is None:
        api_keys.keep(user, text=text, name=name, currency=currency)
    elif kept.revoked_at:
        kept.revoked_at = None
        kept.save(update_fields=["revoked_at"])


def _person(email: str, *, is_staff: bool = False, sandbox_key: str = "") -> Login:
    password = _password("staff" if is_staff else "customer")
    user = User.objects.filter(email=email).first() or User(email=email)
    user.is_active, user.is_staff, user.is_superuser = True, is_staff, is_staff
    if not _matches(password, user.password):
        user.password = _encoded(password)
    user.save()
    EmailAddress.objects.update_or_create(
        user=user, email=email, defaults={"verified": True, "primary": True}
    )
    return Login(user, password, {}, {}, sandbox_key)


def _fill_catalogue(provider: Provider, services: int) -> None:
    if _answers(provider.base_url):
        record = sync(provider, accept_shorter=True)
    else:
        with tempfile.TemporaryDirectory() as folder:
            sandbox = Sandbox(
                Path(folder) / "sandbox.sqlite3",
                key=settings.SANDBOX_KEY,
                services=services,
                speed=0,
                habits=Habits(),
            )
            sandbox.start("127.0.0.1", 0)
            try:
                standing_in = copy.copy(provider)
                standing_in.base_url = sandbox.url
                record = sync(standing_in, accept_shorter=True)
            finally:
                sandbox.close()
    if record.outcome in (SyncOutcome.FAILED, SyncOutcome.HELD):
        raise DemoError(f"The sandbox's catalogue was not taken: {record.details}")


def _answers(url: str) -> bool:
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname or "", address.port or 80), timeout=1).close()
    except OSError:
        return False
    return True


def _password(role: str) -> str:
    return f"demo-{_derived(f'password {role}')[:10].lower()}"


# Slow on purpose: worked out once for all customers, who share a password here.
_encoded = cache(make_password)
_matches = cache(check_password)


def _key_text(email: str, currency: str) -> str:
    return api_keys.KEY + _derived(f"API key {email} {currency}")[: api_keys.RANDOM_CHARACTERS]


def _sandbox_text(email: str) -> str:
    return api_keys.SANDBOX_KEY + _derived(f"sandbox key {email}")[: api_keys.RANDOM_CHARACTERS]


def _derived(label: str) -> str:
    digest = hmac.digest(settings.API_KEY_PEPPER.encode(), f"demo {label}".encode(), "sha512")
    return "".join(api_keys.ALPHABET[byte % len(api_keys.ALPHABET)] for byte in digest)
