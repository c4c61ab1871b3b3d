"""How an order of the sandbox goes: decided when it is taken, by rules that anyone can foresee.

Times are sandbox seconds: real seconds × speed. Words in an order's link (or username) decide
its end, whatever else holds:

- "partial"  ends Partial, 60 % delivered (rounded down)
- "cancel"   ends Canceled, nothing delivered
- "fail"     ends Fail, nothing delivered
- "slow"     takes twenty times as long; may stand beside one of the others

Any other order completes, except that every 17th taken ends Partial and every 29th Canceled (see
`Habits`).
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

PENDING, IN_PROGRESS = "Pending", "In progress"
COMPLETED, PARTIAL, CANCELED, FAILED = "Completed", "Partial", "Canceled", "Fail"

SLOWNESS = 20
# A request to cancel is carried out, and a refill done, this many sandbox seconds later.
CANCEL_TAKES = 60
REFILL_TAKES = 600


@dataclass(frozen=True)
class Habits:
    """Of orders without a magic word, each so-manieth ends badly; 0: none does."""

    partial_every: int = 17
    cancel_every: int = 29


NEVER_FAILS = Habits(partial_every=0, cancel_every=0)


@dataclass(frozen=True)
class Plan:
    """How an order will go. Times in sandbox seconds from the moment it is taken."""

    starts_after: float
    ends_after: float
    ending: str
    undelivered: int  # units that are never delivered


def plan(
    *, number: int, target: str, quantity: int, runs: int, interval: int, habits: Habits
) -> Plan:
    """The plan of the `number`th order taken; `interval` minutes between drip-feed runs."""
    target = target.casefold()
    slowness = SLOWNESS if "slow" in target else 1
    variation = crc32(f"{number}".encode()) % 60
    starts_after = (60 + variation) * slowness
    lasts = (600 + 10 * variation) * slowness + max(runs - 1, 0) * interval * 60
    ending = _ending(number, target, habits)
    total = quantity * max(runs, 1)
    undelivered = {COMPLETED: 0, PARTIAL: total - total * 3 // 5}.get(ending, total)
    return Plan(starts_after, starts_after + lasts, ending, undelivered)


def _ending(number: int, target: str, habits: Habits) -> str:
    for word, ending in (("partial", PARTIAL), ("cancel", CANCELED), ("fail", FAILED)):
        if word in target:
            return ending
    if habits.partial_every and number % habits.partial_every == 0:
        return PARTIAL
    if habits.cancel_every and number % habits.cancel_every == 0:
        return CANCELED
    return COMPLETED


def underway(
    *, now: float, starts_at: float, ends_at: float, total: int, end: int
) -> tuple[str, int]:
    """Word and remains of an order that has not ended; `end` is what will remain at its end."""
    if now < starts_at:
        return PENDING, total
    share = min((now - starts_at) / max(ends_at - starts_at, 1), 1)
    return IN_PROGRESS, total - int((total - end) * share)
