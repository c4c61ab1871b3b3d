"""A customer's first sandbox keys, and refills of play money beside orders, at one moment."""

from __future__ import annotations

from decimal import Decimal
from functools import partial

import pytest

from accounts import ledger, twins
from accounts.models import Account, JournalEntry, User, Wallet
from catalog.models import Provider
from catalog.providers import play
from tests.books import breaches
from tests.concurrency.together import together
from tests.factories import UserFactory

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

MANY = 8


def test_one_twin_is_made_and_funded_once_and_refilled_by_each_what_it_lacks() -> None:
    user = UserFactory()

    made = together(*[lambda: twins.twin_of(User.objects.get(pk=user.pk))] * MANY)

    assert len(set(made)) == 1
    assert JournalEntry.objects.count() == len(twins.FUNDS)
    wallet = ledger.wallet_of(made[0], "USD")

    def spend_and_refill(number: int) -> None:
        ledger.charge(
            Wallet.objects.get(pk=wallet.pk),
            Decimal(number),
            key=f"test:{number}",
            subject="test",
            account=Account.PLAY,
        )
        twins.refill(user)

    spending = [partial(spend_and_refill, number) for number in range(1, MANY + 1)]
    assert together(*spending) == [None] * MANY
    wallet.refresh_from_db()
    assert wallet.balance == twins.FUNDS["USD"]
    assert breaches() == []


def test_one_play_provider_is_made() -> None:
    found = together(*[play.provider] * MANY)

    assert len({provider.pk for provider in found}) == Provider.objects.count() == 1
