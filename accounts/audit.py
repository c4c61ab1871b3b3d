"""The proof that the ledger is whole: each rule is one statement that finds what breaks it.

The database aggregates and returns only what is wrong, so that a million postings are read but
not carried. Each rule sees one moment of the database: the shop may go on selling meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.db import connection
from django.db.models import Count, Exists, F, OuterRef, Q, Subquery, Sum, Value, Window
from django.db.models.functions import Coalesce, Lag

from accounts import triggers
from accounts.models import Account, JournalEntry, Posting, Wallet
from accounts.money import ZERO, AmountField

_NOTHING = Value(ZERO, AmountField())


@dataclass(frozen=True)
class Finding:
    """One breach: the rule's name, what breaks it, and how, for people."""

    rule: str
    subject: str
    detail: str


Rule = Callable[[], Iterator[Finding]]


def triggers_in_force() -> Iterator[Finding]:
    """I4: the database itself refuses to change the ledger."""
    for name in triggers.missing(connection):
        yield Finding("trigger_missing", name, "the database does not guard the ledger with it")


def entries_balance() -> Iterator[Finding]:
    """I1: an entry's postings sum to zero in each currency."""
    unbalanced = (
        Posting.objects.values("entry_id", "currency")
        .annotate(total=Sum("amount"))
        .exclude(total=ZERO)
        .order_by("entry_id", "currency")
    )
    for row in unbalanced.iterator():
        detail = f"the postings sum to {row['total']} {row['currency']}"
        yield Finding("entry_unbalanced", row["entry_id"], detail)


def entries_have_postings() -> Iterator[Finding]:
    """I1: an entry moves something."""
    postings = Posting.objects.filter(entry=OuterRef("pk"))
    for entry in JournalEntry.objects.filter(~Exists(postings)).order_by("pk").iterator():
        yield Finding("entry_empty", entry.pk, "the entry has no postings")


def postings_have_entries() -> Iterator[Finding]:
    """I1: a posting belongs to an entry that tells what it was for."""
    entries = JournalEntry.objects.filter(pk=OuterRef("entry_id"))
    for posting in Posting.objects.filter(~Exists(entries)).order_by("pk").iterator():
        yield Finding("posting_without_entry", posting.entry_id, _leg(posting))


def postings_in_the_wallets_currency() -> Iterator[Finding]:
    """I1: a wallet holds one currency."""
    strange = Posting.objects.exclude(wallet=None).exclude(wallet__currency=F("currency"))
    for posting in strange.order_by("pk").iterator():
        yield Finding("posting_currency", f"wallet:{posting.wallet_id}", _leg(posting))


def balances_follow_each_other() -> Iterator[Finding]:
    """I2: each balance-after is the one before it plus the amount."""
    before = Window(Lag("balance_after"), partition_by=F("wallet"), order_by=F("pk").asc())
    broken = (
        Posting.objects.exclude(wallet=None)
        .annotate(before=Coalesce(before, _NOTHING))
        .exclude(balance_after=F("before") + F("amount"))
        .order_by("pk")
    )
    for posting in broken.iterator():
        detail = f"{_leg(posting)}: {posting.before} before, {posting.balance_after} after"
        yield Finding("balance_after_wrong", f"wallet:{posting.wallet_id}", detail)


def wallets_match_their_postings() -> Iterator[Finding]:
    """I2: the cached balance is the sum of the wallet's postings, and its last balance-after."""
    newest = Posting.objects.filter(wallet=OuterRef("pk")).order_by("-pk").values("balance_after")
    wrong = (
        Wallet.objects.annotate(
            posted=Sum("postings__amount", default=ZERO),
            last=Coalesce(Subquery(newest[:1]), _NOTHING),
        )
        .filter(~Q(balance=F("posted")) | ~Q(balance=F("last")))
        .order_by("pk")
    )
    for wallet in wrong.iterator():
        detail = f"{wallet.balance} held, {wallet.posted} posted, {wallet.last} after the last one"
        yield Finding("wallet_balance_wrong", f"wallet:{wallet.pk}", detail)


def play_money_stays_apart() -> Iterator[Finding]:
    """I1: an entry moves play money or real money, never both."""
    is_play = Q(account=Account.PLAY) | Q(wallet__user__sandbox_of__isnull=False)
    mixed = (
        Posting.objects.values("entry_id")
        .annotate(legs=Count("pk"), play=Count("pk", filter=is_play))
        .exclude(play=0)
        .exclude(play=F("legs"))
        .order_by("entry_id")
    )
    for row in mixed.iterator():
        detail = f"{row['play']} of its {row['legs']} legs are play money"
        yield Finding("play_money_mixed", row["entry_id"], detail)


def nothing_is_negative() -> Iterator[Finding]:
    """I3: no wallet is overdrawn."""
    for wallet in Wallet.objects.filter(balance__lt=ZERO).order_by("pk").iterator():
        yield Finding("wallet_negative", f"wallet:{wallet.pk}", f"{wallet.balance} held")
    for posting in Posting.objects.filter(balance_after__lt=ZERO).order_by("pk").iterator():
        detail = f"{_leg(posting)}: {posting.balance_after} after"
        yield Finding("wallet_was_negative", f"wallet:{posting.wallet_id}", detail)


RULES: tuple[Rule, ...] = (
    triggers_in_force,
    entries_balance,
    entries_have_postings,
    postings_have_entries,
    postings_in_the_wallets_currency,
    balances_follow_each_other,
    wallets_match_their_postings,
    play_money_stays_apart,
    nothing_is_negative,
)


def _leg(posting: Posting) -> str:
    return f"posting {posting.pk} of {posting.entry_id}, {posting.amount} {posting.currency}"
