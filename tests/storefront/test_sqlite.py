"""The queue of SQLite's writers: in turn, across connections and processes, and never stuck."""

from __future__ import annotations

import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import OperationalError, connection, connections, transaction

from accounts.models import Alert
from storefront.sqlite.base import Turn
from tests.concurrency.together import together
from tests.processes import eventually

pytestmark = pytest.mark.sqlite


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "store.turn")


def waiting_for(path: str) -> int:
    """How many stand in the kernel's queue for this lock."""
    inode = f":{os.stat(path).st_ino} "
    lines = Path("/proc/locks").read_text().splitlines()
    return sum("->" in line and inode in line for line in lines)


def test_turns_are_taken_in_the_order_of_asking(path):
    first = Turn(path, 30)
    first.take()
    served = []

    def write(number: int) -> None:
        turn = Turn(path, 30)
        turn.take()
        served.append(number)
        turn.give_up()

    with ThreadPoolExecutor(8) as pool:
        for number in range(8):
            pool.submit(write, number)
            assert eventually(lambda: waiting_for(path) == number + 1)  # noqa: B023
        first.give_up()

    assert served == list(range(8))


def test_turn_that_does_not_come_is_an_error_and_is_passed_on_later(path):
    holder, late = Turn(path, 30), Turn(path, 0.01)
    holder.take()

    with pytest.raises(OperationalError, match="locked"):
        late.take()

    assert not late.is_held
    holder.give_up()
    # The one that gave up stood in the queue still, and must not keep what it is then granted.
    holder.take()
    assert holder.is_held


def test_turn_of_a_connection_that_is_gone_is_free(path):
    lost = Turn(path, 30)
    lost.take()

    del lost

    Turn(path, 0).take()


class TestStore:
    pytestmark = pytest.mark.django_db(transaction=True)

    def test_sixteen_writers_and_a_backup_are_all_served(self, tmp_path):
        def write(number: int) -> int:
            for line in range(20):
                with transaction.atomic():
                    Alert.objects.create(code="test", subject=f"{number}:{line}", message="")
                    Alert.objects.filter(subject=f"{number}:{line}").update(times=2)
            return number

        def back_up() -> None:
            with (
                sqlite3.connect(connection.settings_dict["NAME"]) as source,
                sqlite3.connect(tmp_path / "copy.sqlite3") as copy,
            ):
                source.backup(copy, pages=5)
            source.close()
            copy.close()

        done = together(*(lambda n=n: write(n) for n in range(16)), back_up)

        assert done == [*range(16), None]
        assert Alert.objects.filter(times=2).count() == 16 * 20

    def test_statement_outside_of_a_transaction_waits_for_its_turn_too(self):
        turn = Turn(f"{connection.settings_dict['NAME']}.turn", 30)
        turn.take()
        connection.ensure_connection()
        connections["default"]._turn._timeout = 0.01

        try:
            with pytest.raises(OperationalError, match="our turn"):
                Alert.objects.filter(code="none").update(times=2)
            assert Alert.objects.count() == 0  # readers wait for nobody
        finally:
            turn.give_up()
            connections.close_all()

    def test_turn_ends_with_the_transaction_however_it_ends(self):
        @transaction.atomic
        def fail() -> None:
            Alert.objects.create(code="test", subject="lost", message="")
            raise RuntimeError

        with pytest.raises(RuntimeError):
            fail()

        assert not connections["default"]._turn.is_held
        with transaction.atomic():
            Alert.objects.create(code="test", subject="kept", message="")
            assert connections["default"]._turn.is_held
        assert not connections["default"]._turn.is_held
