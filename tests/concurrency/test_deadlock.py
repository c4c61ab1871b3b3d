"""A deadlock that somebody else's locks force: our transaction is begun again, with one effect."""

from __future__ import annotations

from decimal import Decimal
from threading import Event

import pytest
from django.db import connection, transaction

from accounts import ledger
from accounts.models import JournalEntry, Wallet
from accounts.retrying import ATTEMPTS, in_one_transaction
from tests.concurrency.together import PATIENCE, together
from tests.factories import WalletFactory
from tests.processes import eventually

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


def somebody_waits():
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)")
        return cursor.fetchone()[0]


def lock(wallet):
    Wallet.objects.select_for_update().get(pk=wallet.pk)


def test_victim_of_a_deadlock_is_begun_again_and_charges_once():
    first, second = WalletFactory(), WalletFactory()
    we_hold, they_hold = Event(), Event()
    attempts = []

    def charge_both():
        attempts.append(1)
        # The quicker to complain is the victim: let it be us.
        connection.cursor().execute("SET LOCAL deadlock_timeout = '50ms'")
        ledger.charge(first, Decimal(1), key=f"order:1:charge:{len(attempts)}", subject="order:1")
        we_hold.set()
        assert they_hold.wait(PATIENCE)
        if len(attempts) == 1:
            # Deadlocks are looked for once in a wait: ours must be the one that closes the circle.
            assert eventually(somebody_waits)
        ledger.charge(second, Decimal(1), key="order:2:charge", subject="order:2")

    @transaction.atomic
    def lock_the_other_way_round():
        connection.cursor().execute("SET LOCAL deadlock_timeout = '10s'")
        lock(second)
        assert we_hold.wait(PATIENCE)
        they_hold.set()
        lock(first)

    results = together(lambda: in_one_transaction(charge_both), lock_the_other_way_round)

    assert results == [None, None]
    assert len(attempts) == 2
    assert set(JournalEntry.objects.filter(kind="charge").values_list("key", flat=True)) == {
        "order:1:charge:2",
        "order:2:charge",
    }
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.balance, second.balance) == (99, 99)


def test_work_that_is_broken_off_every_time_ends_in_the_error():
    attempts = []

    def broken_off():
        attempts.append(1)
        connection.cursor().execute(
            "DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$"
        )

    [error] = together(lambda: in_one_transaction(broken_off))

    assert type(error).__name__ == "OperationalError"
    assert len(attempts) == ATTEMPTS


def test_work_inside_another_transaction_is_done_once():
    attempts = []

    def broken_off():
        attempts.append(1)
        connection.cursor().execute(
            "DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$"
        )

    def nested():
        with transaction.atomic():
            in_one_transaction(broken_off)

    [error] = together(nested)

    assert type(error).__name__ == "OperationalError"
    assert len(attempts) == 1
