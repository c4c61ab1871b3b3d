"""Play money: each customer with a sandbox key has a twin, an account of its own that the key acts
for. Its wallets are filled out of the account `play`, so that no figure of the real books moves.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from decimal import Decimal

from django.db import transaction

from accounts import ledger, low_marks
from accounts.models import User, Wallet
from accounts.money import Currency

FUNDS: Mapping[str, Decimal] = {
    Currency.USD: Decimal(1_000),
    Currency.XAF: Decimal(600_000),
    Currency.TRY: Decimal(40_000),
}


@transaction.atomic
def twin_of(user: User) -> User:
    """The account with play money that the customer's sandbox keys act for, made and funded when
    it is first asked for. Raises ValueError for a twin, and then nothing has changed."""
    if user.is_twin:
        raise ValueError("A twin has no twin.")
    twin, is_new = User.objects.get_or_create(
        sandbox_of=user,
        defaults={
            # Nobody can sign in as it, or have its password reset.
            "email": f"{secrets.token_hex(16)}@sandbox.invalid",
            "password": "!" + secrets.token_hex(20),
            "language": user.language,
            "currency": user.currency,
            "time_zone": user.time_zone,
        },
    )
    if is_new:
        _fill(twin)
        for currency, mark in low_marks.marks_of(user).items():
            Wallet.objects.filter(user=twin, currency=currency).update(low_at=mark)
    user.sandbox_twin = twin
    return twin


@transaction.atomic
def refill(user: User) -> User:
    """Set the balances of the customer's twin back to `FUNDS`, up or down; returns the twin."""
    twin = twin_of(user)
    _fill(twin)
    return twin


def _fill(twin: User) -> None:
    """The caller's transaction holds the wallets until it ends: nothing is bought between what is
    read here and what is posted."""
    for currency in FUNDS:
        ledger.wallet_of(twin, currency)
    wallets = Wallet.objects.select_for_update(no_key=True).filter(user=twin).order_by("pk")
    for wallet in wallets:
        if lacking := FUNDS[wallet.currency] - wallet.balance:
            ledger.play(wallet, lacking)
