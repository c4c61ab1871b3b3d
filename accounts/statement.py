"""Reading the ledger: a wallet's transactions, and what the house sold and owes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import TruncDate

from accounts.models import Account, Posting, Wallet
from accounts.money import ZERO


def transactions(wallet: Wallet) -> QuerySet[Posting]:
    """The wallet's postings, newest first, each with its entry loaded."""
    return Posting.objects.filter(wallet=wallet).select_related("entry").order_by("-pk")


@dataclass(frozen=True)
class DaySales:
    """What one day brought in one currency: charges, refunds of that day taken off."""

    day: date
    currency: str
    amount: Decimal


def sales_since(moment: datetime) -> list[DaySales]:
    """Sales by day (of the active time zone) and currency, oldest first; one query."""
    rows = (
        Posting.objects.filter(account=Account.SALES, entry__created_at__gte=moment)
        .annotate(day=TruncDate("entry__created_at"))
        .values("day", "currency")
        .annotate(total=Sum("amount"))
        .order_by("day", "currency")
    )
    return [DaySales(row["day"], row["currency"], row["total"]) for row in rows]


@dataclass(frozen=True)
class Holdings:
    """What all customers together have in one currency: what the house owes them."""

    currency: str
    amount: Decimal
    wallets: int  # that are not empty


def holdings() -> list[Holdings]:
    """The wallets' totals, one a currency, by its code; one query."""
    rows = (
        Wallet.objects.values("currency")
        .annotate(total=Sum("balance", default=ZERO), filled=Count("pk", filter=Q(balance__gt=0)))
        .order_by("currency")
    )
    return [Holdings(row["currency"], row["total"], row["filled"]) for row in rows]
