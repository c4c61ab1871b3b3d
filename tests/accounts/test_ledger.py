"""Money moves only in balanced entries, once per key."""

from decimal import Decimal

import pytest

from accounts import ledger
from accounts.models import User

pytestmark = pytest.mark.django_db


def test_charge_takes_exactly_the_amount():
    wallet = ledger.wallet_of(User.objects.create_user("a@example.com"), "XAF")
    ledger.adjust(wallet, Decimal("10"), key="adjustment:1", reason="test", actor=None)

    ledger.charge(wallet, Decimal("0.000001"), key="order:1:charge", subject="order:1")

    wallet.refresh_from_db()
    assert wallet.balance == Decimal("9.999999")
