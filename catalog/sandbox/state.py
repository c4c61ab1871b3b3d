"""What the sandbox remembers, in a SQLite file of its own: its clock, our balance, orders, refills,
idempotency keys.

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
from catalog.sandbox.delivery import Plan, Posts

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
CREATE TABLE IF NOT EXISTS idempotency (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, answer TEXT NOT NULL
);
"""
# What a file of an earlier version lacks.
_ADDED = (
    ("orders", "reference", "TEXT NOT NULL DEFAULT ''"),
    ("orders", "new_posts", "INTEGER"),
    ("orders", "old_posts", "INTEGER NOT NULL DEFAULT 0"),
    ("orders", "post_units", "INTEGER NOT NULL DEFAULT 0"),
    ("orders", "post_cost", "TEXT NOT NULL DEFAULT '0'"),
    ("orders", "served", "INTEGER NOT NULL DEFAULT 0"),
    ("refills", "ending", f"TEXT NOT NULL DEFAULT '{delivery.COMPLETED}'"),
)


class OutOfFunds(Exception):
    """The balance does not cover the order. Nothing has changed."""


class KeyReused(Exception):
    """The idempotency key came before, with another request. Nothing has changed."""


@dataclass(frozen=True)
class Sale:
    """What is bought. `cost` is the whole price, of a subscription that of one post; USD."""

    service: int
    target: str
    fields: Mapping[str, str]
    total: int
    cost: Decimal
    start_count: int
    posts: Posts | None = None
    reference: str = ""


@dataclass(frozen=True)
class Taken:
    """One order that the sandbox has accepted, as it stands now. Money in USD."""

    id: int
    service: int
    target: str  # the link, or the user name where the type has no link
    fields: Mapping[str, str]  # every parameter of the call but key and action
    total: int  # units ordered, all drip-feed runs together
    cost: Decimal  # what was taken from the balance; of a subscription for the posts served
    paid_back: Decimal
    start_count: int
    status: str
    remains: int
    cancel_asked: bool
    said: Mapping[str, Any]  # what a test made it say, over the truth
    taken_at: float  # Unix seconds of the sandbox's calendar
    ends_at: float
    reference: str = ""  # the buyer's own, in the REST dialect
    posts: int | None = None  # of a subscription: all of its posts, and those served
    served: int | None = None

    @property
    def link(self) -> str:
        """The link that was sent; tests tell their orders apart by it."""
        return self.fields.get("link", "")

    @property
    def ended(self) -> bool:
        return self.status not in delivery.UNDERWAY


@dataclass(frozen=True)
class Refilling:
    """One refill that the sandbox has begun, as it stands now."""

    id: int
    order: int
    status: str  # In progress, Completed, Rejected
    done_at: float  # Unix seconds of the sandbox's calendar


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
        self._add_columns()
        with self._transaction() as run:
            if self._fact("balance") is None:
                for table, first in (("orders", FIRST_ORDER), ("refills", FIRST_REFILL)):
                    run("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, first - 1))
                self._set_fact("balance", OPENING_BALANCE)
                self._set_fact("offset", 0.0)
                self._set_fact("anchor", time.time())
                self._set_fact("speed", speed)
            if self._fact("born") is None:
                self._set_fact("born", time.time() - self.now())
        self.set_speed(speed)

    def _add_columns(self) -> None:
        for table, name, definition in _ADDED:
            columns = self._connection.execute(f"PRAGMA table_info({table})")
            if name not in {column["name"] for column in columns}:
                self._connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {definition}")

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # --- the clock ---------------------------------------------------------------------------

    def now(self) -> float:
        """Sandbox seconds since the file was made. It never runs backwards, whatever the speed."""
        with self._lock:
            passed = max(time.time() - float(self._fact("anchor") or 0), 0)
            return float(self._fact("offset") or 0) + passed * float(self._fact("speed") or 0)

    def calendar(self) -> float:
        """The Unix time that the sandbox's calendar shows: of today, and then by its own clock."""
        with self._lock:
            return float(self._fact("born") or 0) + self.now()

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
            self._settle()
            return Decimal(self._fact("balance") or 0)

    def set_balance(self, amount: Decimal) -> None:
        """Make the balance this amount of USD."""
        with self._transaction():
            self._set_fact("balance", amount)

    # --- orders ------------------------------------------------------------------------------

    def take(self, sale: Sale, *, plan_of: Callable[[int], Plan]) -> int:
        """Charge the balance and record the order; returns its id. Raises OutOfFunds.

        `plan_of` is given the order's number in the row of all orders, counted from 1. A
        subscription is not charged yet: the balance must cover its first post.
        """
        with self._transaction() as run:
            self._settle()
            balance = Decimal(self._fact("balance") or 0)
            if sale.cost > balance:
                raise OutOfFunds
            cost = sale.cost if sale.posts is None else Decimal(0)
            self._set_fact("balance", balance - cost)
            now = self.now()
            (last,) = run("SELECT seq FROM sqlite_sequence WHERE name = 'orders'").fetchone()
            plan = plan_of(last - FIRST_ORDER + 2)
            values: dict[str, object] = {
                "service": sale.service,
                "target": sale.target,
                "fields": json.dumps(dict(sale.fields)),
                "total": sale.total,
                "cost": str(cost),
                "start_count": sale.start_count,
                "taken_at": now,
                "starts_at": now + plan.starts_after,
                "ends_at": now + plan.ends_after,
                "ending": plan.ending,
                "undelivered": plan.undelivered,
                "reference": sale.reference,
            }
            if sale.posts is not None:
                values |= {
                    "new_posts": sale.posts.new,
                    "old_posts": sale.posts.old,
                    "post_units": sale.posts.each,
                    "post_cost": str(sale.cost),
                }
            names, marks = ",".join(values), ",".join("?" * len(values))
            cursor = run(
                f"INSERT INTO orders ({names}) VALUES ({marks})",  # noqa: S608
                tuple(values.values()),
            )
            self._taken.notify_all()
            return int(cursor.lastrowid)

    def once(self, key: str, request: str, make: Callable[[], str]) -> tuple[str, bool]:
        """The answer that `make` gives the first time this idempotency key comes, kept for good,
        and whether it was made before. What `make` raises is not kept.

        Raises KeyReused when the key came with another request.
        """
        with self._transaction() as run:
            row = run("SELECT * FROM idempotency WHERE key = ?", (key,)).fetchone()
            if row is not None:
                if row["request"] != request:
                    raise KeyReused
                return str(row["answer"]), True
            answer = make()
            run("INSERT INTO idempotency VALUES (?, ?, ?)", (key, request, answer))
            return answer, False

    def find(self, order_ids: Sequence[int]) -> dict[int, Taken]:
        """The orders of these ids (at most some hundred), by id; unknown ones are absent."""
        marks = ",".join("?" * len(order_ids))
        return {order.id: order for order in self._select(f"WHERE id IN ({marks})", order_ids)}

    def with_reference(self, reference: str) -> list[Taken]:
        """The orders that were bought with this reference of the buyer's, oldest first."""
        return self._select("WHERE reference = ? ORDER BY id", [reference])

    def orders(self) -> list[Taken]:
        """Every order ever taken, oldest first."""
        return self._select("ORDER BY id", [])

    def _select(self, clause: str, values: Sequence[object]) -> list[Taken]:
        with self._transaction() as run:
            self._settle()
            now, born = self.now(), float(self._fact("born") or 0)
            rows = run(f"SELECT * FROM orders {clause}", tuple(values))  # noqa: S608
            return [_taken(row, now, born=born) for row in rows]

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
            self._settle()

    def say(self, order_id: int, answer: Mapping[str, Any]) -> None:
        """From now on the order's status answer holds these values, whatever the truth is."""
        with self._transaction() as run:
            run("UPDATE orders SET said = ? WHERE id = ?", (json.dumps(dict(answer)), order_id))

    def ask_cancel(self, order_id: int) -> None:
        """Note a request to cancel an open order; it is carried out a little later.

        An order that has not begun by then ends Canceled, one that has ends Partial. A
        subscription ends Canceled, and what it served until then stays paid.
        """
        with self._transaction() as run:
            row = run("SELECT * FROM orders WHERE id = ? AND ended = 0", (order_id,)).fetchone()
            at = self.now() + delivery.CANCEL_TAKES
            if row is None or at >= row["ends_at"]:
                return
            if (posts := _posts(row)) is not None:
                served = delivery.served_by(now=at, starts_at=row["starts_at"], posts=posts)
                ending, remains = delivery.CANCELED, (posts.all - served) * posts.each
            else:
                word, remains = _underway(row, at)
                begun = word == delivery.IN_PROGRESS
                ending = delivery.PARTIAL if begun else delivery.CANCELED
            run(
                "UPDATE orders SET cancel_asked = 1, ending = ?, undelivered = ?, ends_at = ?"
                " WHERE id = ?",
                (ending, remains, at, order_id),
            )

    def _settle(self) -> None:
        """Bring the money up to now: what ended orders did not deliver is paid back, once each;
        what subscriptions have served is taken."""
        run, now = self._connection.execute, self.now()
        open_ones = "SELECT * FROM orders WHERE ended = 0 AND"
        for row in run(f"{open_ones} new_posts IS NULL AND ends_at <= ?", (now,)).fetchall():
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
        for row in run(f"{open_ones} new_posts IS NOT NULL").fetchall():
            self._serve(row, now)

    def _serve(self, row: sqlite3.Row, now: float) -> None:
        posts = _posts(row)
        assert posts is not None
        ended = row["ends_at"] <= now
        served = (
            (row["total"] - row["undelivered"]) // posts.each
            if ended
            else delivery.served_by(now=now, starts_at=row["starts_at"], posts=posts)
        )
        served = max(served, row["served"])  # what has been served is not taken back
        if served == row["served"] and not ended:
            return
        price = Decimal(row["post_cost"])
        self._connection.execute(
            "UPDATE orders SET ended = ?, served = ?, cost = ?, undelivered = ? WHERE id = ?",
            (
                *(ended, served, str(price * served)),
                (posts.all - served) * posts.each if ended else row["undelivered"],
                row["id"],
            ),
        )
        due = price * (served - row["served"])
        self._set_fact("balance", Decimal(self._fact("balance") or 0) - due)

    # --- refills -----------------------------------------------------------------------------

    def refill(self, order_id: int) -> int | None:
        """Begin a refill of the order; None while one is open."""
        with self._transaction() as run:
            now = self.now()
            if run(
                "SELECT 1 FROM refills WHERE order_id = ? AND done_at > ?", (order_id, now)
            ).fetchone():
                return None
            (target,) = run("SELECT target FROM orders WHERE id = ?", (order_id,)).fetchone()
            cursor = run(
                "INSERT INTO refills (order_id, done_at, ending) VALUES (?, ?, ?)",
                (order_id, now + delivery.REFILL_TAKES, delivery.refill_ending(target)),
            )
            return int(cursor.lastrowid)

    def find_refill(self, refill_id: int) -> Refilling | None:
        """The refill with this id; None: there is none."""
        with self._lock:
            row = self._connection.execute(
                "SELECT * FROM refills WHERE id = ?", (refill_id,)
            ).fetchone()
            if row is None:
                return None
            ended = row["done_at"] <= self.now()
            return Refilling(
                id=row["id"],
                order=row["order_id"],
                status=row["ending"] if ended else delivery.IN_PROGRESS,
                done_at=float(self._fact("born") or 0) + row["done_at"],
            )

    def end_refill(self, refill_id: int, *, ending: str) -> None:
        """End an open refill now, with this word."""
        with self._transaction() as run:
            run(
                "UPDATE refills SET ending = ?1, done_at = ?2 WHERE id = ?3 AND done_at > ?2",
                (ending, self.now(), refill_id),
            )

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


def _posts(row: sqlite3.Row) -> Posts | None:
    if row["new_posts"] is None:
        return None
    return Posts(new=row["new_posts"], old=row["old_posts"], each=row["post_units"])


def _taken(row: sqlite3.Row, now: float, *, born: float) -> Taken:
    posts = _posts(row)
    if row["ended"]:
        status, remains = row["ending"], row["undelivered"]
    elif posts is not None:
        status, remains = delivery.ACTIVE, row["total"] - row["served"] * posts.each
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
        taken_at=born + row["taken_at"],
        ends_at=born + row["ends_at"],
        reference=row["reference"],
        posts=posts.all if posts else None,
        served=row["served"] if posts else None,
    )
