"""How much may be asked: of each key by its requests, of each address by its wrong keys.

Windows begin with their first request, by the database's clock, and are counted in one statement
each: right whatever number of processes and machines. What is refused is not counted, and writes
nothing: a flood costs no more than reading. On SQLite even an INSERT that changes nothing waits
for its turn among the writers, so there it is asked first whether it would.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from accounts import pruning
from accounts.client_addresses import client_of
from accounts.models import ApiKey, ApiUsage, WrongKeys

MINUTE = 60
DAY = 86_400
WRONG_KEYS_PER_MINUTE = 30

_NOW = {
    "postgresql": "CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS bigint)",
    "sqlite": "CAST(strftime('%%s', 'now') AS bigint)",
}

# The new row's own times are the time of the statement: `excluded.…_from` is now.
_COUNT_REQUEST = """
INSERT INTO accounts_apiusage AS used
    (api_key_id, minute_from, minute_count, day_from, day_count)
VALUES (%(api_key)s, {now}, 1, {now}, 1)
ON CONFLICT (api_key_id) DO UPDATE SET
    minute_from = CASE WHEN used.minute_from <= excluded.minute_from - 60
        THEN excluded.minute_from ELSE used.minute_from END,
    minute_count = CASE WHEN used.minute_from <= excluded.minute_from - 60
        THEN 1 ELSE used.minute_count + 1 END,
    day_from = CASE WHEN used.day_from <= excluded.day_from - 86400
        THEN excluded.day_from ELSE used.day_from END,
    day_count = CASE WHEN used.day_from <= excluded.day_from - 86400
        THEN 1 ELSE used.day_count + 1 END
WHERE (used.minute_from <= excluded.minute_from - 60 OR used.minute_count < %(per_minute)s)
    AND (used.day_from <= excluded.day_from - 86400 OR used.day_count < %(per_day)s)
RETURNING minute_from, minute_count, day_from, day_count, {now}
"""
_READ_USAGE = """
SELECT minute_from, minute_count, day_from, day_count, {now}
FROM accounts_apiusage WHERE api_key_id = %(api_key)s
"""
_READ_REFUSED = (
    _READ_USAGE
    + """AND (
    (minute_from > {now} - 60 AND minute_count >= %(per_minute)s)
    OR (day_from > {now} - 86400 AND day_count >= %(per_day)s)
)
"""
)
_COUNT_WRONG_KEY = """
INSERT INTO accounts_wrongkeys AS wrong (address, window_from, count)
VALUES (%(client)s, {now}, 1)
ON CONFLICT (address) DO UPDATE SET
    window_from = CASE WHEN wrong.window_from <= excluded.window_from - 60
        THEN excluded.window_from ELSE wrong.window_from END,
    count = CASE WHEN wrong.window_from <= excluded.window_from - 60
        THEN 1 ELSE wrong.count + 1 END
WHERE wrong.window_from <= excluded.window_from - 60 OR wrong.count < %(allowed)s
RETURNING count
"""
_READ_WRONG_KEYS = """
SELECT window_from + 60 - {now} FROM accounts_wrongkeys
WHERE address = %(client)s AND count >= %(allowed)s AND window_from > {now} - 60
"""


class TooManyRequests(Exception):
    """Past a limit; `retry_after` are the seconds until it is worth asking again."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"retry after {retry_after} s")
        self.retry_after = retry_after


@dataclass(frozen=True)
class Allowance:
    """How a key stands in the tighter of its two windows; `reset_at` in seconds since 1970.

    `retry_after` is None for a request that was let through, else the seconds to wait.
    """

    limit: int
    remaining: int
    reset_at: int
    retry_after: int | None


def limits_of(api_key: ApiKey) -> tuple[int, int]:
    """How many requests the key has a minute and a day: its customer's own, or the shop's."""
    user = api_key.user
    return (
        user.api_per_minute or settings.API_PER_MINUTE,
        user.api_per_day or settings.API_PER_DAY,
    )


def count(api_key: ApiKey) -> Allowance:
    """Count one request of the key, or refuse it; one statement decides and counts (on SQLite the
    refused are read out before it)."""
    per_minute, per_day = limits_of(api_key)
    given = {"api_key": api_key.pk, "per_minute": per_minute, "per_day": per_day}
    if connection.vendor == "sqlite" and (used := _row(_READ_REFUSED, given)):
        return _allowance(used, per_minute, per_day, refused=True)
    if used := _row(_COUNT_REQUEST, given):
        return _allowance(used, per_minute, per_day, refused=False)
    used = _row(_READ_USAGE, given)
    assert used is not None  # the row that has refused us is never taken away
    return _allowance(used, per_minute, per_day, refused=True)


@dataclass(frozen=True)
class Use:
    """How many requests a key has made in the minute and the day that run, and how many it may."""

    minute: int
    day: int
    per_minute: int
    per_day: int


def use_of(api_keys: Iterable[ApiKey]) -> dict[int, Use]:
    """What these keys have used, by their ids; one query, if their users are loaded."""
    limits = {api_key.pk: limits_of(api_key) for api_key in api_keys}
    rows = ApiUsage.objects.filter(pk__in=limits).annotate(now=Now())
    used = {row.pk: _running(row, int(row.now.timestamp())) for row in rows}
    return {pk: Use(*used.get(pk, (0, 0)), *limits[pk]) for pk in limits}


def _running(row: ApiUsage, now: int) -> tuple[int, int]:
    return (
        row.minute_count if row.minute_from > now - MINUTE else 0,
        row.day_count if row.day_from > now - DAY else 0,
    )


def _allowance(used: tuple[int, ...], per_minute: int, per_day: int, *, refused: bool) -> Allowance:
    minute_from, minute_count, day_from, day_count, now = used
    windows = [(per_minute, minute_count, minute_from + MINUTE)]
    windows.append((per_day, day_count, day_from + DAY))
    # The one with less left; of two that are used up the one that lasts longer. A window that
    # has run out has everything left.
    remaining, neg_reset, limit = min(
        (max(0, limit - counted) if reset > now else limit, -reset, limit)
        for limit, counted, reset in windows
    )
    reset = -neg_reset
    # Refused by a window that has ended since: at once, but not in no time.
    retry_after = max(1, reset - now) if refused else None
    return Allowance(limit, remaining, reset, retry_after)


def refuse_guesser(address: str) -> None:
    """Raises TooManyRequests while too many wrong keys came from this client's address."""
    given = {"client": client_of(address), "allowed": WRONG_KEYS_PER_MINUTE}
    if waiting := _row(_READ_WRONG_KEYS, given):
        raise TooManyRequests(max(1, waiting[0]))


def count_wrong_key(address: str) -> None:
    """Count a wrong key of this client's address. Raises TooManyRequests past the limit, and then
    nothing has changed."""
    refuse_guesser(address)
    given = {"client": client_of(address), "allowed": WRONG_KEYS_PER_MINUTE}
    if _row(_COUNT_WRONG_KEY, given) is None:
        # Others were quicker in between.
        raise TooManyRequests(MINUTE)


def forget_wrong_keys() -> int:
    """Delete what was counted before yesterday; returns how many addresses."""
    now = _row("SELECT {now}", {})
    assert now is not None
    old = WrongKeys.objects.filter(window_from__lt=now[0] - DAY)
    return pruning.delete(old, until=pruning.deadline())


def _row(statement: str, given: dict[str, Any]) -> tuple[int, ...] | None:
    with connection.cursor() as cursor:
        cursor.execute(statement.format(now=_NOW[connection.vendor]), given)
        # All of them: on SQLite a statement ends, and lets others write, with its last row.
        rows = cursor.fetchall()
    return rows[0] if rows else None
