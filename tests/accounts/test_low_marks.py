"""Marks below which a wallet is low."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError

from accounts.low_marks import marks_of, set_marks
from accounts.models import Wallet
from tests.factories import UserFactory, WalletFactory

pytestmark = pytest.mark.django_db


def test_marks_are_read_as_they_were_set():
    wallet = WalletFactory(currency="USD", funds=3)

    set_marks(wallet.user, {"USD": Decimal("1.5"), "XAF": Decimal(7), "TRY": None})

    assert marks_of(wallet.user) == {"USD": Decimal("1.5"), "XAF": Decimal(7)}
    # Only a wallet that gets a mark is opened.
    assert {w.currency: w.balance for w in wallet.user.wallets.all()} == {
        "USD": Decimal(3),
        "XAF": Decimal(0),
    }
    set_marks(wallet.user, {"USD": None})
    assert marks_of(wallet.user) == {"XAF": Decimal(7)}


@pytest.mark.parametrize("wrong", ["0", "-1", "0.0000001", "99999999999999"])
def test_mark_that_cannot_be_changes_nothing(wrong):
    user = UserFactory()

    with pytest.raises(ValidationError):
        set_marks(user, {"USD": Decimal(2), "XAF": Decimal(wrong)})

    assert not Wallet.objects.exists()
