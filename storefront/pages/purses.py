"""A customer's balances, one for each currency of the shop."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.contrib.auth.models import AnonymousUser
from django.utils.translation import get_language

from accounts.models import User, Wallet
from accounts.money import ZERO, Currency

# What a visitor most likely pays with, before an account says so.
_LIKELY: dict[str, Currency] = {"fr": Currency.XAF, "tr": Currency.TRY, "en": Currency.USD}


@dataclass(frozen=True)
class Purse:
    """What a customer has in one currency; a wallet that was never opened holds nothing."""

    currency: str
    name: str
    balance: Decimal


def purses_of(user: User) -> list[Purse]:
    """All balances of the customer, in the shop's order; one query."""
    held = dict(Wallet.objects.filter(user=user).values_list("currency", "balance"))
    return [Purse(code, str(label), held.get(code, ZERO)) for code, label in Currency.choices]


def likely_currency() -> Currency:
    """What somebody who reads this page's language most likely pays with."""
    return _LIKELY.get((get_language() or "en")[:2], Currency.USD)


def chosen_currency(asked: str | None, user: User | AnonymousUser) -> str:
    """The currency asked for, if it is one of ours; else the customer's, else the likely one."""
    if asked in Currency.values:
        return asked
    return user.currency if isinstance(user, User) else likely_currency()
