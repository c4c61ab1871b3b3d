"""The marks below which customers want to be told that a wallet runs low (`wallet.low`)."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from django.db import transaction
from django.db.models import Q

from accounts import ledger
from accounts.models import User, Wallet
from accounts.money import ZERO, MoreThan


def marks_of(user: User) -> dict[str, Decimal]:
    """The customer's marks by currency; a wallet without one is not there."""
    marked = Wallet.objects.filter(user=user, low_at__isnull=False)
    return {wallet.currency: wallet.low_at for wallet in marked}


@transaction.atomic
def set_marks(user: User, marks: Mapping[str, Decimal | None]) -> None:
    """Set the marks of the named currencies, None for no mark; a wallet that gets one is opened.

    They hold for the play money of the customer's sandbox keys too, where there is some. Raises
    ValidationError for a mark that is not above zero or that no wallet could hold, and then nothing
    has changed.
    """
    for currency, mark in marks.items():
        if mark is not None:
            MoreThan(ZERO)(mark)
            Wallet._meta.get_field("low_at").clean(mark, None)
            ledger.wallet_of(user, currency)
    wallets = Wallet.objects.filter(Q(user=user) | Q(user__sandbox_of=user), currency__in=marks)
    for wallet in wallets.select_for_update(of=("self",), no_key=True).order_by("pk"):
        wallet.low_at = marks[wallet.currency]  # type: ignore[assignment]
        wallet.save(update_fields=["low_at"])
