"""Many movements of money at the same time, on real row locks.

`test_without_its_lock_…` takes `select_for_update` away and lets two charges read the wallet before
either writes: 10 USD then pay for two orders of 10. It proves that the race is real. The tests
after it run the same collision with the lock in place, where the second charge has to wait; they
fail when the lock is removed from `ledger._write`, and the transfer test fails (a wallet is locked
out of order, or a deadlock) when its `order_by("pk")` is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from threading import Barrier, Event
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import QuerySet

from accounts import ledger
from accounts.alerts import alert
from accounts.audit import RULES
from accounts.ledger import EntryKeyReused, InsufficientFunds, Leg
from accounts.models import Account, Alert, EntryKind, JournalEntry, Posting, Wallet
from tests.factories import UserFactory, WalletFactory

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]

TEN = Decimal(10)
PATIENCE = 20  # seconds until a test that hangs is called failed


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def in_thread(pool: ThreadPoolExecutor, work: Callable[[], Any]) -> Future[Any]:
    """Runs in a thread of the pool on a database connection of its own."""

    def run() -> Any:
        try:
            return work()
        finally:
            connection.close()

    return pool.submit(run)


def together(pool: ThreadPoolExecutor, works: list[Callable[[], Any]]) -> list[Any]:
    """Starts all at the same moment; returns their results, or the exceptions that they raised."""
    start = Barrier(len(works), timeout=PATIENCE)

    def waiting(work: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            start.wait()
            try:
                return work()
            except Exception as error:
                return error

        return run

    futures = [in_thread(pool, waiting(work)) for work in works]
    return [future.result(PATIENCE) for future in futures]


def until_blocked(number: int) -> None:
    """Returns when this many connections wait for a lock."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            # Inside a transaction the view would repeat what it showed at first.
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT COUNT(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone()[0] == number:
                return
    raise AssertionError("nobody waited")


def charge(wallet_id: int, number: int) -> Callable[[], JournalEntry]:
    def work() -> JournalEntry:
        wallet = Wallet.objects.get(pk=wallet_id)
        return ledger.charge(wallet, TEN, key=f"order:{number}:charge", subject=f"order:{number}")

    return work


def transfer(key: str, giver: Wallet, taker: Wallet) -> Callable[[], JournalEntry]:
    return lambda: ledger.post(
        key=key,
        kind=EntryKind.ADJUSTMENT,
        legs=[Leg(-TEN, "USD", wallet=giver), Leg(TEN, "USD", wallet=taker)],
    )


def broken_rules() -> list[str]:
    return [finding.rule for rule in RULES for finding in rule()]


def test_without_its_lock_a_wallet_pays_twice_with_the_same_money(pool, monkeypatch):
    wallet = WalletFactory(funds=TEN)
    both_have_read = Barrier(2, timeout=PATIENCE)
    real_from_db = Wallet.from_db.__func__

    def from_db(cls: type[Wallet], *args: Any) -> Wallet:
        both_have_read.wait()  # neither goes on before the other has read the same row
        return real_from_db(cls, *args)

    monkeypatch.setattr(Wallet, "from_db", classmethod(from_db))
    monkeypatch.setattr(QuerySet, "select_for_update", lambda rows, **kwargs: rows.all())

    results = together(pool, [charge(wallet.pk, 1), charge(wallet.pk, 2)])

    monkeypatch.undo()
    assert [type(result) for result in results] == [JournalEntry, JournalEntry]
    wallet.refresh_from_db()
    assert wallet.balance == 0
    assert broken_rules() == ["balance_after_wrong", "wallet_balance_wrong"]


def test_second_charge_waits_for_the_first_and_finds_the_money_gone(pool):
    wallet = WalletFactory(funds=TEN)
    with transaction.atomic():
        charge(wallet.pk, 1)()
        second = in_thread(pool, charge(wallet.pk, 2))
        until_blocked(1)

    with pytest.raises(InsufficientFunds) as refusal:
        second.result(PATIENCE)

    assert refusal.value.available == 0
    assert broken_rules() == []


def test_many_charges_spend_exactly_what_is_there(pool):
    wallet = WalletFactory(funds=3 * TEN)

    results = together(pool, [charge(wallet.pk, number) for number in range(16)])

    assert sorted(type(result).__name__ for result in results) == (
        ["InsufficientFunds"] * 13 + ["JournalEntry"] * 3
    )
    wallet.refresh_from_db()
    assert wallet.balance == 0
    assert broken_rules() == []


def test_same_key_many_times_at_once_is_one_entry(pool):
    wallet = WalletFactory(funds=3 * TEN)

    results = together(pool, [charge(wallet.pk, 1)] * 16)

    assert {result.pk for result in results} == {"order:1:charge"}
    assert Posting.objects.filter(entry="order:1:charge").count() == 2
    wallet.refresh_from_db()
    assert wallet.balance == 2 * TEN
    assert broken_rules() == []


def test_same_key_for_two_wallets_at_once_moves_one_of_them(pool):
    """They share no wallet, so no lock makes one wait: the key's own uniqueness decides."""
    wallets = [WalletFactory(funds=TEN) for _ in range(2)]
    with transaction.atomic():
        charge(wallets[0].pk, 1)()
        second = in_thread(pool, charge(wallets[1].pk, 1))
        until_blocked(1)

    with pytest.raises(EntryKeyReused):
        second.result(PATIENCE)

    assert sorted(Wallet.objects.values_list("balance", flat=True)) == [0, TEN]
    assert broken_rules() == []


def test_transfers_in_opposite_directions_lock_in_the_same_order(pool):
    first, second = WalletFactory(funds=TEN), WalletFactory(funds=TEN)
    assert first.pk < second.pk
    with transaction.atomic():
        Wallet.objects.select_for_update().get(pk=first.pk)
        moves = [
            in_thread(pool, transfer("there", first, second)),
            in_thread(pool, transfer("back", second, first)),
        ]
        until_blocked(2)
        # Both wait for the first wallet and hold nothing: the second one is free.
        free = Wallet.objects.select_for_update(nowait=True).get(pk=second.pk)

    assert free == second
    assert {move.result(PATIENCE).pk for move in moves} == {"there", "back"}
    assert list(Wallet.objects.values_list("balance", flat=True)) == [TEN, TEN]
    assert broken_rules() == []


def test_transfers_locked_the_other_way_round_would_deadlock(pool):
    """The collision that the order of locks prevents, made by hand."""
    first, second = WalletFactory(funds=TEN), WalletFactory(funds=TEN)
    one_each = Barrier(2, timeout=PATIENCE)

    def lock(*ids: int) -> Callable[[], None]:
        @transaction.atomic
        def work() -> None:
            Wallet.objects.select_for_update(no_key=True).get(pk=ids[0])
            one_each.wait()
            Wallet.objects.select_for_update(no_key=True).get(pk=ids[1])

        return work

    results = together(pool, [lock(first.pk, second.pk), lock(second.pk, first.pk)])

    (failure,) = [result for result in results if result is not None]
    assert isinstance(failure, DatabaseError)
    assert "deadlock" in str(failure)


def test_posting_that_slips_in_beside_the_sealing_of_its_entry_is_refused_at_commit(pool):
    """Neither transaction sees the other's rows before it commits, so that the insert itself
    passes: the deferred trigger on postings has the last word."""
    intruder_has_inserted, entry_is_sealed = Event(), Event()

    @transaction.atomic
    def intrude() -> None:
        Posting.objects.create(entry_id="raw", account="sales", currency="USD", amount=TEN)
        intruder_has_inserted.set()
        assert entry_is_sealed.wait(PATIENCE)

    intruder = in_thread(pool, intrude)
    assert intruder_has_inserted.wait(PATIENCE)
    ledger.post(
        key="raw",
        kind=EntryKind.ADJUSTMENT,
        legs=[Leg(TEN, "USD", Account.SALES), Leg(-TEN, "USD", Account.ADJUSTMENTS)],
    )
    entry_is_sealed.set()

    with pytest.raises(IntegrityError, match="does not balance"):
        intruder.result(PATIENCE)

    assert broken_rules() == []


def test_writers_that_only_refer_to_a_wallet_do_not_wait_for_it(pool):
    """An order's foreign key must not queue behind another order's charge."""
    wallet = WalletFactory(funds=TEN)

    @transaction.atomic
    def refer() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '5s'")
            cursor.execute("SELECT 1 FROM accounts_wallet WHERE id = %s FOR KEY SHARE", [wallet.pk])

    with transaction.atomic():
        charge(wallet.pk, 1)()
        in_thread(pool, refer).result(PATIENCE)


def test_wallet_is_opened_once_by_many_at_once(pool):
    customer = UserFactory()

    opened = together(pool, [lambda: ledger.wallet_of(customer, "XAF")] * 8)

    assert {wallet.pk for wallet in opened} == {Wallet.objects.get().pk}


def test_alert_raised_by_many_at_once_is_one_and_counts_them_all(pool):
    raised = together(
        pool, [lambda: alert("sync_failed", subject="provider:1", message="time-out")] * 8
    )

    assert raised == [None] * 8
    assert list(Alert.objects.values_list("code", "times")) == [("sync_failed", 8)]
