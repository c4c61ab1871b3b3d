"""How an order of the sandbox goes: decided when it is taken, by rules that anyone can foresee.

Times are sandbox seconds: real seconds × speed. Words in an order's link (or username) decide
its end, whatever else holds:

- "partial"  ends Partial, 60 % delivered (rounded down); a subscription Expired, 60 % served
- "cancel"   ends Canceled, nothing delivered
- "fail"     ends Fail, nothing delivered
- "slow"     takes twenty times as long; may stand beside one of the others
- "norefill" its refills are Rejected

Any other order completes, except that every 17th taken ends Partial and every 29th Canceled (see
`Habits`); subscriptions do not end badly by chance.

A subscription is Active from the start; its old posts are served when it starts, then a new post
every `POST_TAKES` seconds, each with its maximum and charged as it is served. It is Completed
when all are served, or Expired when its last day is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

PENDING, IN_PROGRESS, ACTIVE = "Pending", "In progress", "Active"
COMPLETED, PARTIAL, CANCELED, FAILED = "Completed", "Partial", "Canceled", "Fail"
EXPIRED = "Expired"
UNDERWAY = frozenset({PENDING, IN_PROGRESS, ACTIVE})
REJECTED = "Rejected"  # a refill's

SLOWNESS = 20
# A request to cancel is carried out, and a refill done, this many sandbox seconds later.
CANCEL_TAKES = 60
REFILL_TAKES = 600
# A new post appears, and is served, this often.
POST_TAKES = 600


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
    variation = _variation(number)
    starts_after = (60 + variation) * slowness
    lasts = (600 + 10 * variation) * slowness + max(runs - 1, 0) * interval * 60
    ending = _ending(number, target, habits)
    total = quantity * max(runs, 1)
    undelivered = {COMPLETED: 0, PARTIAL: total - total * 3 // 5}.get(ending, total)
    return Plan(starts_after, starts_after + lasts, ending, undelivered)


@dataclass(frozen=True)
class Posts:
    """What a subscription is about."""

    new: int
    old: int
    each: int  # units a post

    @property
    def all(self) -> int:
        return self.new + self.old


def subscription_plan(
    *, number: int, target: str, posts: Posts, expires_after: float | None
) -> Plan:
    """The plan of a subscription; `expires_after`: sandbox seconds until its last day is over."""
    target = target.casefold()
    starts_after = float(60 + _variation(number))
    ending = _ending(number, target, NEVER_FAILS)
    served = {COMPLETED: posts.all, PARTIAL: posts.all * 3 // 5}.get(ending, 0)
    ends_after = starts_after + max(served - posts.old, 0) * POST_TAKES
    if ending == PARTIAL:
        ending = EXPIRED
    if expires_after is not None and expires_after < ends_after:
        ends_after, ending = max(expires_after, 0), EXPIRED
        served = served_by(now=ends_after, starts_at=starts_after, posts=posts)
    return Plan(
        min(starts_after, ends_after), ends_after, ending, (posts.all - served) * posts.each
    )


def served_by(*, now: float, starts_at: float, posts: Posts) -> int:
    """How many posts of a subscription have been served at that time."""
    if now < starts_at:
        return 0
    return posts.old + min(int((now - starts_at) // POST_TAKES), posts.new)


def _variation(number: int) -> int:
    return crc32(f"{number}".encode()) % 60


def _ending(number: int, target: str, habits: Habits) -> str:
    for word, ending in (("partial", PARTIAL), ("cancel", CANCELED), ("fail", FAILED)):
        if word in target:
            return ending
    if habits.partial_every and number % habits.partial_every == 0:
        return PARTIAL
    if habits.cancel_every and number % habits.cancel_every == 0:
        return CANCELED
    return COMPLETED


def refill_ending(target: str) -> str:
    """How a refill of an order for this link ends."""
    return REJECTED if "norefill" in target.casefold() else COMPLETED


def underway(
    *, now: float, starts_at: float, ends_at: float, total: int, end: int
) -> tuple[str, int]:
    """Word and remains of an order that has not ended; `end` is what will remain at its end."""
    if now < starts_at:
        return PENDING, total
    share = min((now - starts_at) / max(ends_at - starts_at, 1), 1)
    return IN_PROGRESS, total - int((total - end) * share)
