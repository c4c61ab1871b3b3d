"""What the sandbox remembers, in a SQLite file of its own: its clock, our balance, orders, refills.

Safe under concurrent requests: one connection behind one lock, one transaction a call. Money is
exact: decimals are kept as text and worked out in Python.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from threading import Condition, RLock
from typing import Any

from catalog.sandbox import delivery
from catalog.sandbox.delivery import Plan
from catalog.sandbox.menu import Item

FIRST_ORDER = 500_001
FIRST_REFILL = 7_001
OPENING_BALANCE = Decimal("10000")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    service INTEGER NOT NULL, target TEXT NOT NULL, fields TEXT NOT NULL,
    total INTEGER NOT NULL, cost TEXT NOT NULL, start_count INTEGER NOT NULL,
    taken_at REAL NOT NULL, starts_at REAL NOT NULL, ends_at REAL NOT NULL,
    ending TEXT NOT NULL, undelivered INTEGER NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0, paid_back TEXT NOT NULL DEFAULT '0',
    cancel_asked INTEGER NOT NULL DEFAULT 0, said TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX IF NOT EXISTS orders_open ON orders (ends_at) WHERE ended = 0;
CREATE TABLE IF NOT EXISTS refills (
    id INTEGER PRIMARY KEY AUTOINCREMENT, order_id INTEGER NOT NULL, done_at REAL NOT NULL
);
"""


class OutOfFunds(Exception):
    """The balance does not cover the order. Nothing has changed."""


@dataclass(frozen=True)
class Taken:
    """One order that the sandbox has accepted, as it stands now. Money in USD."""

    id: int
    service: int
    target: str  # the link, or the user name where the type has no link
    fields: Mapping[str, str]  # every parameter of the call but key and action
    total: int  # units ordered, all drip-feed runs together
    cost: Decimal  # what was taken from the balance
    paid_back: Decimal
    start_count: int
    status: str
    remains: int
    cancel_asked: bool
    said: Mapping[str, Any]  # what a test made it say, over the truth

    @property
    def link(self) -> str:
        """The link that was sent; tests tell their orders apart by it."""
        return self.fields.get("link", "")

    @property
    def ended(self) -> bool:
        return self.status not in (delivery.PENDING, delivery.IN_PROGRESS)


class State:
    """The sandbox's memory. Opening a file that exists goes on where it stopped."""

    def __init__(self, path: Path, *, speed: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = RLock()
        self._taken = Condition(self._lock)
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.executescript(_SCHEMA)
        with self._transaction() as run:
            if self._fact("balance") is None:
                for table, first in (("orders", FIRST_ORDER), ("refills", FIRST_REFILL)):
                    run("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, first - 1))
                self._set_fact("balance", OPENING_BALANCE)
                self._set_fact("offset", 0.0)
                self._set_fact("anchor", time.time())
                self._set_fact("speed", speed)
        self.set_speed(speed)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # --- the clock ---------------------------------------------------------------------------

    def now(self) -> float:
        """Sandbox seconds since the file was made. It never runs backwards, whatever the speed."""
        with self._lock:
            passed = max(time.time() - float(self._fact("anchor") or 0), 0)
            return float(self._fact("offset") or 0) + passed * float(self._fact("speed") or 0)

    def set_speed(self, speed: float) -> None:
        """Sandbox seconds per real second from now on; 0 stops the clock."""
        self._set_clock(self.now(), speed)

    def advance(self, seconds: float) -> None:
        """Let this many sandbox seconds pass at once."""
        with self._lock:
            self._set_clock(self.now() + seconds, float(self._fact("speed") or 0))

    def _set_clock(self, now: float, speed: float) -> None:
        with self._transaction():
            self._set_fact("offset", now)
            self._set_fact("anchor", time.time())
            self._set_fact("speed", speed)

    # --- money -------------------------------------------------------------------------------

    def balance(self) -> Decimal:
        """What the customer of the sandbox (our store) has left, in USD."""
        with self._transaction():
            self._end_due_orders()
            return Decimal(self._fact("balance") or 0)

    def set_balance(self, amount: Decimal) -> None:
        """Make the balance this amount of USD."""
        with self._transaction():
            self._set_fact("balance", amount)

    # --- orders ------------------------------------------------------------------------------

    def take(
        self,
        *,
        item: Item,
        target: str,
        fields: Mapping[str, str],
        total: int,
        cost: Decimal,
        start_count: int,
        plan_of: Callable[[int], Plan],
    ) -> int:
        """Charge the balance and record the order; returns its id. Raises OutOfFunds.

        `plan_of` is given the order's number in the row of all orders, counted from 1.
        """
        with self._transaction() as run:
            self._end_due_orders()
            balance = Decimal(self._fact("balance") or 0)
            if cost > balance:
                raise OutOfFunds
            self._set_fact("balance", balance - cost)
            now = self.now()
            (last,) = run("SELECT seq FROM sqlite_sequence WHERE name = 'orders'").fetchone()
            plan = plan_of(last - FIRST_ORDER + 2)
            cursor = run(
                "INSERT INTO orders (service, target, fields, total, cost, start_count, taken_at,"
                " starts_at, ends_at, ending, undelivered) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
                (
                    *(item.id, target, json.dumps(dict(fields)), total, str(cost), start_count),
                    *(now, now + plan.starts_after, now + plan.ends_after),
                    *(plan.ending, plan.undelivered),
                ),
            )
            self._taken.notify_all()
            return int(cursor.lastrowid)

    def find(self, order_ids: Sequence[int]) -> dict[int, Taken]:
        """The orders of these ids (at most some hundred), by id; unknown ones are absent."""
        with self._transaction() as run:
            self._end_due_orders()
            marks = ",".join("?" * len(order_ids))
            rows = run(f"SELECT * FROM orders WHERE id IN ({marks})", tuple(order_ids))  # noqa: S608
            now = self.now()
            return {row["id"]: _taken(row, now) for row in rows}

    def orders(self) -> list[Taken]:
        """Every order ever taken, oldest first."""
        with self._transaction() as run:
            self._end_due_orders()
            now = self.now()
            return [_taken(row, now) for row in run("SELECT * FROM orders ORDER BY id")]

    def wait_for_orders(self, count: int, *, timeout: float) -> bool:
        """Wait until that many orders have been taken; False when the seconds ran out."""

        def enough() -> bool:
            (taken,) = self._connection.execute("SELECT count(*) FROM orders").fetchone()
            return bool(taken >= count)

        with self._taken:
            return self._taken.wait_for(enough, timeout)

    def end(self, order_id: int, *, ending: str, undelivered: int) -> None:
        """End an open order now: what was not delivered is paid back, all of it when canceled."""
        with self._transaction() as run:
            run(
                "UPDATE orders SET starts_at = min(starts_at, ?1), ends_at = ?1, ending = ?2,"
                " undelivered = ?3 WHERE id = ?4 AND ended = 0",
                (self.now(), ending, undelivered, order_id),
            )
            self._end_due_orders()

    def say(self, order_id: int, answer: Mapping[str, Any]) -> None:
        """From now on the order's status answer holds these values, whatever the truth is."""
        with self._transaction() as run:
            run("UPDATE orders SET said = ? WHERE id = ?", (json.dumps(dict(answer)), order_id))

    def ask_cancel(self, order_id: int) -> None:
        """Note a request to cancel an open order; it is carried out a little later.

        An order that has not begun by then ends Canceled, one that has ends Partial.
        """
        with self._transaction() as run:
            row = run("SELECT * FROM orders WHERE id = ? AND ended = 0", (order_id,)).fetchone()
            at = self.now() + delivery.CANCEL_TAKES
            if row is None or at >= row["ends_at"]:
                return
            word, remains = _underway(row, at)
            ending = delivery.PARTIAL if word == delivery.IN_PROGRESS else delivery.CANCELED
            run(
                "UPDATE orders SET cancel_asked = 1, ending = ?, undelivered = ?, ends_at = ?"
                " WHERE id = ?",
                (ending, remains, at, order_id),
            )

    def _end_due_orders(self) -> None:
        """Pay back what the orders that have reached their end did not deliver, once each."""
        run = self._connection.execute
        due = run("SELECT * FROM orders WHERE ended = 0 AND ends_at <= ?", (self.now(),)).fetchall()
        for row in due:
            cost = Decimal(row["cost"])
            paid_back = (
                cost
                if row["ending"] in (delivery.CANCELED, delivery.FAILED)
                else cost * row["undelivered"] / row["total"]
                if row["ending"] == delivery.PARTIAL
                else Decimal(0)
            )
            run(
                "UPDATE orders SET ended = 1, paid_back = ? WHERE id = ?",
                (str(paid_back), row["id"]),
            )
            self._set_fact("balance", Decimal(self._fact("balance") or 0) + paid_back)

    # --- refills -----------------------------------------------------------------------------

    def refill(self, order_id: int) -> int | None:
        """Begin a refill of the order; None while one is open."""
        with self._transaction() as run:
            now = self.now()
            if run(
                "SELECT 1 FROM refills WHERE order_id = ? AND done_at > ?", (order_id, now)
            ).fetchone():
                return None
            cursor = run(
                "INSERT INTO refills (order_id, done_at) VALUES (?, ?)",
                (order_id, now + delivery.REFILL_TAKES),
            )
            return int(cursor.lastrowid)

    def refill_is_done(self, refill_id: int) -> bool | None:
        """Whether the refill is done; None: there is no such refill."""
        with self._lock:
            row = self._connection.execute(
                "SELECT done_at FROM refills WHERE id = ?", (refill_id,)
            ).fetchone()
            return None if row is None else bool(row["done_at"] <= self.now())

    # --- SQLite ------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        with self._lock:
            nested = self._connection.in_transaction
            if not nested:
                self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
            except BaseException:
                if not nested:
                    self._connection.execute("ROLLBACK")
                raise
            if not nested:
                self._connection.execute("COMMIT")

    def _fact(self, name: str) -> str | None:
        row = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row["value"])

    def _set_fact(self, name: str, value: object) -> None:
        self._connection.execute(
            "INSERT INTO facts VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
            (name, str(value)),
        )


def _underway(row: sqlite3.Row, now: float) -> tuple[str, int]:
    return delivery.underway(
        now=now,
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        total=row["total"],
        end=row["undelivered"],
    )


def _taken(row: sqlite3.Row, now: float) -> Taken:
    if row["ended"]:
        status, remains = row["ending"], row["undelivered"]
    else:
        status, remains = _underway(row, now)
    return Taken(
        id=row["id"],
        service=row["service"],
        target=row["target"],
        fields=json.loads(row["fields"]),
        total=row["total"],
        cost=Decimal(row["cost"]),
        paid_back=Decimal(row["paid_back"]),
        start_count=row["start_count"],
        status=status,
        remains=remains,
        cancel_asked=bool(row["cancel_asked"]),
        said=json.loads(row["said"]),
    )
