"""Reading the ledger: a wallet's transactions, and what the house sold and owes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import Count, Q, QuerySet, Sum

from accounts.models import Account, Posting, Wallet
from accounts.money import ZERO


def transactions(
    wallet: Wallet,
    *,
    kind: str = "",
    created_from: datetime | None = None,
    created_to: datetime | None = None,
) -> QuerySet[Posting]:
    """The wallet's postings, newest first, each with its entry loaded. Empty filters do not
    filter; both ends of the time are included."""
    postings = Posting.objects.filter(wallet=wallet).select_related("entry").order_by("-pk")
    if kind:
        postings = postings.filter(entry__kind=kind)
    if created_from is not None:
        postings = postings.filter(entry__created_at__gte=created_from)
    if created_to is not None:
        postings = postings.filter(entry__created_at__lte=created_to)
    return postings


@dataclass(frozen=True)
class Sales:
    """What was sold in one currency since each moment asked for, refunds taken off."""

    currency: str
    amounts: tuple[Decimal, ...]


def sales_since(*moments: datetime) -> list[Sales]:
    """Sales by currency, one amount a moment; currencies that sold nothing are absent. One query.

    Sums between two moments rather than by day: SQLite would call Python for each row's day.
    """
    sums = {
        f"since_{number}": Sum("amount", filter=Q(entry__created_at__gte=moment), default=ZERO)
        for number, moment in enumerate(moments)
    }
    rows = (
        Posting.objects.filter(account=Account.SALES, entry__created_at__gte=min(moments))
        .values("currency")
        .annotate(**sums)
        .order_by("currency")
        .values_list("currency", *sums)
    )
    return [Sales(currency, tuple(amounts)) for currency, *amounts in rows]


@dataclass(frozen=True)
class Holdings:
    """What all customers together have in one currency: what the house owes them. Play money is
    owed to nobody."""

    currency: str
    amount: Decimal
    wallets: int  # that are not empty


def holdings() -> list[Holdings]:
    """The wallets' totals, one a currency, by its code; one query."""
    rows = (
        Wallet.objects.filter(user__sandbox_of=None)
        .values("currency")
        .annotate(total=Sum("balance", default=ZERO), filled=Count("pk", filter=Q(balance__gt=0)))
        .order_by("currency")
    )
    return [Holdings(row["currency"], row["total"], row["filled"]) for row in rows]
