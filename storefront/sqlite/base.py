"""Django's SQLite backend, with writers that queue in the kernel instead of polling.

SQLite lets one writer in and has the others sleep and try again, whoever is luckiest first: with a
dozen writers some wait for seconds while others come at once. Here each write transaction first
takes a lock of the operating system on a file beside the database, which is granted in the order
of asking. SQLite's own lock still protects the data; this one only says whose turn it is, so that
a program without it (a backup, the command line) does no harm.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections.abc import Callable
from typing import Any

from django.db.backends.sqlite3 import base
from django.db.utils import OperationalError

_WRITES = re.compile(r"\s*(?:INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)


class Turn:
    """A place in the queue of a database's writers. One connection's, so for one thread."""

    def __init__(self, path: str, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._file: int | None = None

    @property
    def is_held(self) -> bool:
        return self._file is not None

    def take(self) -> None:
        """Wait for our turn. Raises OperationalError when it has not come in time."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._wait(file)
        self._file = file

    def _wait(self, file: int) -> None:
        """The kernel's queue has no time-out: a thread stands in it for us."""
        granted = threading.Event()
        given_up = threading.Event()
        handing_over = threading.Lock()

        def stand() -> None:
            fcntl.flock(file, fcntl.LOCK_EX)
            with handing_over:
                granted.set()
                if given_up.is_set():
                    os.close(file)

        threading.Thread(target=stand, daemon=True).start()
        if granted.wait(self._timeout):
            return
        with handing_over:
            if granted.is_set():
                return
            given_up.set()
        raise OperationalError("database is locked: our turn to write did not come")

    def __del__(self) -> None:
        # A thread that ended without closing its connection.
        self.give_up()

    def give_up(self) -> None:
        """Let the next one write; nothing happens when the turn is not ours."""
        if self._file is not None:
            # Closing the file is what unlocks it.
            os.close(self._file)
            self._file = None


class Cursor(base.SQLiteCursorWrapper):
    """A cursor whose single statements outside of transactions wait for their turn too."""

    turn: Turn

    def execute(self, query: Any, params: Any = None) -> Any:
        return self._in_turn(query, lambda: super(Cursor, self).execute(query, params))

    def executemany(self, query: Any, param_list: Any) -> Any:
        return self._in_turn(query, lambda: super(Cursor, self).executemany(query, param_list))

    def _in_turn(self, query: Any, run: Callable[[], Any]) -> Any:
        if self.turn.is_held or self.connection.in_transaction or not _WRITES.match(str(query)):
            return run()
        self.turn.take()
        try:
            return run()
        finally:
            self.turn.give_up()


class DatabaseWrapper(base.DatabaseWrapper):
    """`django.db.backends.sqlite3` with the queue."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._turn: Turn | None = None

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if not self.is_in_memory_db():
            self._turn = Turn(f"{conn_params['database']}.turn", conn_params.get("timeout", 5.0))
        return super().get_new_connection(conn_params)

    def create_cursor(self, name: Any = None) -> Any:
        if self._turn is None:
            return super().create_cursor(name)
        cursor = self.connection.cursor(factory=Cursor)
        cursor.turn = self._turn
        return cursor

    def _start_transaction_under_autocommit(self) -> None:
        if self._turn is not None and not self._turn.is_held:
            self._turn.take()
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        except BaseException:
            self._end_turn()
            raise

    def _commit(self) -> None:
        try:
            super()._commit()  # type: ignore[misc]
        finally:
            self._end_turn()

    def _rollback(self) -> None:
        try:
            super()._rollback()  # type: ignore[misc]
        finally:
            self._end_turn()

    def _close(self) -> None:
        try:
            super()._close()  # type: ignore[misc]
        finally:
            if self._turn is not None:
                self._turn.give_up()

    def _end_turn(self) -> None:
        # A commit that failed leaves the transaction, and with it our turn, to the rollback.
        if self._turn is not None and not (self.connection and self.connection.in_transaction):
            self._turn.give_up()
