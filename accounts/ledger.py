"""Double-entry ledger: the only way in which money moves.

Every movement is one journal entry whose postings sum to zero per currency, written once under a
readable key. Wallets cache their balance; house accounts are summed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.db import IntegrityError, transaction

from accounts import webhooks
from accounts.models import (
    Account,
    EntryKind,
    JournalEntry,
    Posting,
    User,
    Wallet,
    WebhookType,
)
from accounts.money import ZERO, Currency
from accounts.webhooks import Happened


class LedgerError(Exception):
    """Base of what the ledger refuses. Nothing has changed."""


class InsufficientFunds(LedgerError):
    """The wallet holds less than the movement needs; amounts in the wallet's currency."""

    def __init__(self, *, required: Decimal, available: Decimal, currency: str) -> None:
        super().__init__(f"{required} {currency} required, {available} available")
        self.required, self.available, self.currency = required, available, currency


class UnbalancedEntry(LedgerError):
    """The legs do not sum to zero in each currency, move nothing, or move the wrong way."""


class EntryKeyReused(LedgerError):
    """The key names an entry with other legs: the caller's key is not unique."""


@dataclass(frozen=True)
class Leg:
    """One side of a movement: `amount` more (or, negative, less) in an account.

    `wallet` is given for wallet legs, and then decides the account and the currency.
    """

    amount: Decimal
    currency: str
    account: str = Account.WALLET
    wallet: Wallet | None = None


def wallet_of(user: User, currency: str) -> Wallet:
    """The customer's wallet in this currency, opened (empty) when it is first asked for.

    Raises ValueError for a currency that no wallet can hold.
    """
    return Wallet.objects.get_or_create(user=user, currency=Currency(currency))[0]


def held_wallet_of(user: User, currency: str) -> Wallet:
    """As `wallet_of`, and locked until the caller's transaction ends: nobody else moves it."""
    held = Wallet.objects.select_for_update(no_key=True)
    return held.get_or_create(user=user, currency=Currency(currency))[0]


def post(
    *,
    key: str,
    kind: EntryKind,
    legs: Sequence[Leg],
    subject: str = "",
    reason: str = "",
    actor: User | None = None,
) -> JournalEntry:
    """Write one balanced entry and move the wallets, once per key.

    A repeat with the same legs returns the entry that is there. Raises InsufficientFunds,
    UnbalancedEntry or EntryKeyReused, ValueError for an amount finer than a millionth, and then
    nothing has changed. Wallet objects passed in legs get the balance that now holds.
    """
    _refuse_unbalanced(legs)
    entry = JournalEntry(key=key, kind=kind, subject=subject, reason=reason, actor=actor)
    try:
        return _write(entry, legs)
    except IntegrityError:
        # Two at once under one key that share no wallet, so that no lock made one wait.
        if (existing := JournalEntry.objects.filter(key=key).first()) is None:
            raise
        _refuse_other_legs(existing, legs)
        return existing


@transaction.atomic
def _write(entry: JournalEntry, legs: Sequence[Leg]) -> JournalEntry:
    # Wallet rows are locked in primary-key order, so that two movements over the same wallets
    # queue instead of deadlocking; a repeat that raced us has committed once we hold the lock.
    # NO KEY: orders that merely refer to a wallet need not wait for it.
    ids = {leg.wallet.pk for leg in legs if leg.wallet}
    locking = Wallet.objects.select_for_update(no_key=True).filter(pk__in=ids).order_by("pk")
    locked = {wallet.pk: wallet for wallet in locking}
    if existing := JournalEntry.objects.filter(key=entry.key).first():
        _refuse_other_legs(existing, legs)
        entry = existing
    else:
        postings = [_apply(leg, entry, locked) for leg in legs]
        Wallet.objects.bulk_update(locked.values(), ["balance"])
        # The entry last: its insertion seals the postings (triggers.py).
        Posting.objects.bulk_create(postings)
        entry.save(force_insert=True)
        webhooks.record([told for posting in postings if (told := _happened(posting))])
    for leg in legs:
        if leg.wallet:
            leg.wallet.balance = locked[leg.wallet.pk].balance
    return entry


def _apply(leg: Leg, entry: JournalEntry, locked: dict[int, Wallet]) -> Posting:
    posting = Posting(
        entry_id=entry.key, account=leg.account, currency=leg.currency, amount=leg.amount
    )
    if leg.wallet:
        wallet = locked[leg.wallet.pk]
        if wallet.balance + leg.amount < 0:
            raise InsufficientFunds(
                required=-leg.amount, available=wallet.balance, currency=wallet.currency
            )
        wallet.balance += leg.amount
        posting.wallet, posting.balance_after = wallet, wallet.balance
    return posting


def _happened(posting: Posting) -> Happened | None:
    """What the wallet's owner is told of a posting: money that came, a mark that was passed."""
    wallet = posting.wallet
    if wallet is None or posting.balance_after is None:
        return None
    subject = f"wallet:{wallet.pk}"
    if posting.amount > ZERO:
        return Happened(
            wallet.user_id, WebhookType.WALLET_CREDITED, subject, {"posting": posting.pk}
        )
    mark = wallet.low_at
    if mark is None or not posting.balance_after < mark <= posting.balance_after - posting.amount:
        return None
    facts = {
        "currency": wallet.currency,
        "balance": f"{posting.balance_after:f}",
        "threshold": f"{mark:f}",
    }
    return Happened(wallet.user_id, WebhookType.WALLET_LOW, subject, facts)


def charge(
    wallet: Wallet,
    amount: Decimal,
    *,
    key: str,
    subject: str,
    account: Account = Account.SALES,
) -> JournalEntry:
    """Take `amount` (more than zero, wallet's currency) for a sale, or into a reserve.

    Once per key. Raises InsufficientFunds or UnbalancedEntry, and then nothing has changed.
    """
    _refuse_negative(amount)
    return post(
        key=key,
        kind=EntryKind.CHARGE,
        subject=subject,
        legs=[
            Leg(-amount, wallet.currency, wallet=wallet),
            Leg(amount, wallet.currency, account),
        ],
    )


def refund(
    wallet: Wallet,
    amount: Decimal,
    *,
    key: str,
    subject: str,
    reason: str = "",
    actor: User | None = None,
    account: Account = Account.SALES,
) -> JournalEntry:
    """Give `amount` (more than zero, wallet's currency) of a sale, or of a reserve, back.

    Once per key. Raises UnbalancedEntry, and then nothing has changed.
    """
    _refuse_negative(amount)
    return post(
        key=key,
        kind=EntryKind.REFUND,
        subject=subject,
        reason=reason,
        actor=actor,
        legs=[
            Leg(amount, wallet.currency, wallet=wallet),
            Leg(-amount, wallet.currency, account),
        ],
    )


def serve(amount: Decimal, *, currency: str, key: str, subject: str) -> JournalEntry:
    """Earn `amount` of what is reserved (negative: put it back into the reserve).

    Once per key. Raises UnbalancedEntry, and then nothing has changed.
    """
    return post(
        key=key,
        kind=EntryKind.SERVED,
        subject=subject,
        legs=[
            Leg(-amount, currency, Account.RESERVED),
            Leg(amount, currency, Account.SALES),
        ],
    )


def write_off(
    amount: Decimal, *, currency: str, key: str, subject: str, reason: str
) -> JournalEntry:
    """Book `amount` (more than zero) that was paid back for something delivered after all: a sale
    that was made, and a loss. No wallet moves. Once per key. Raises UnbalancedEntry.
    """
    _refuse_negative(amount)
    return post(
        key=key,
        kind=EntryKind.LOSS,
        subject=subject,
        reason=reason,
        legs=[Leg(amount, currency, Account.SALES), Leg(-amount, currency, Account.LOSSES)],
    )


def adjust(
    wallet: Wallet, amount: Decimal, *, key: str, reason: str, actor: User | None
) -> JournalEntry:
    """Correct a wallet by hand: positive gives, negative takes (wallet's currency); of a sandbox
    twin, play money.

    Once per key. Raises InsufficientFunds or UnbalancedEntry, and then nothing has changed.
    """
    account = Account.PLAY if wallet.user.is_twin else Account.ADJUSTMENTS
    return post(
        key=key,
        kind=EntryKind.ADJUSTMENT,
        reason=reason,
        actor=actor,
        legs=[
            Leg(amount, wallet.currency, wallet=wallet),
            Leg(-amount, wallet.currency, account),
        ],
    )


def play(wallet: Wallet, amount: Decimal) -> JournalEntry:
    """Give play money to a sandbox twin's wallet (negative: take it), in a transaction of the
    caller's that holds the wallet's lock. Raises InsufficientFunds or UnbalancedEntry.
    """
    subject = f"play:{wallet.pk}"
    earlier = JournalEntry.objects.filter(subject=subject).count()
    return post(
        key=f"{subject}:{earlier + 1}",
        kind=EntryKind.ADJUSTMENT,
        subject=subject,
        legs=[
            Leg(amount, wallet.currency, wallet=wallet),
            Leg(-amount, wallet.currency, Account.PLAY),
        ],
    )


def _refuse_negative(amount: Decimal) -> None:
    if not (amount.is_finite() and amount > ZERO):
        raise UnbalancedEntry("A charge or refund of nothing, or backwards.")


def _refuse_unbalanced(legs: Sequence[Leg]) -> None:
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for leg in legs:
        if not leg.amount.is_finite():
            raise UnbalancedEntry("A leg moves no number.")
        totals[leg.currency] += leg.amount
        if leg.amount == ZERO or (leg.wallet is None) == (leg.account == Account.WALLET):
            raise UnbalancedEntry("A leg moves nothing, or names no account.")
        if leg.wallet and leg.wallet.currency != leg.currency:
            raise UnbalancedEntry("A leg is in another currency than its wallet.")
    if not legs or any(totals.values()):
        raise UnbalancedEntry(f"The legs sum to {dict(totals)}.")


def _refuse_other_legs(entry: JournalEntry, legs: Sequence[Leg]) -> None:
    there = sorted(
        (p.account, p.wallet_id or 0, p.currency, p.amount) for p in entry.postings.all()
    )
    asked = sorted(
        (leg.account, leg.wallet.pk if leg.wallet else 0, leg.currency, leg.amount) for leg in legs
    )
    if there != asked:
        raise EntryKeyReused(entry.key)
