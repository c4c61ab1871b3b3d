"""The provider of sandbox keys: inside the store, in our own database, selling for nothing.

How an order goes is settled when it is taken, and how it stands follows from its age. It is
completed after about a minute, unless a word in its link (or user name) or else the last two
digits of its quantity say otherwise:

| word                | quantity | what happens                                                    |
|---------------------|----------|-----------------------------------------------------------------|
| `sandbox-partial`   | …91      | Partial: 60 % are delivered                                     |
| `sandbox-cancel`    | …92      | Canceled: nothing is delivered                                  |
| `sandbox-fail`      | …93      | Failed: nothing is delivered                                    |
| `sandbox-unknown`   | …94      | the reply to the order is lost, and found again about a minute  |
|                     |          | later                                                           |
| `sandbox-norefill`  | …95      | its refills are rejected                                        |
| `sandbox-slow`      | …96      | everything takes thirty times as long                           |

Words may stand together. A subscription sees a new post every `POST_TAKES` seconds, each served
with its maximum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import uuid4

from django.db.models import QuerySet
from django.db.models.functions import Now

from catalog.models import Dialect, PlayOrder, PlayOutcome, PlayRefill, Provider
from catalog.providers import (
    NotOffered,
    OutcomeUnknown,
    ProviderAnswerInvalid,
    ProviderRefused,
    ServiceList,
    UpstreamCancel,
    UpstreamOrder,
    UpstreamRefill,
    UpstreamRefillState,
    UpstreamState,
    UpstreamStatus,
)

# Seconds since the order was taken.
BEGINS, ENDS = 10, 60
# A lost order is found after this, at the next look.
LOST_FOR = 45
SLOWNESS = 30
REFILL_TAKES = 20
POST_TAKES = 20
# However many posts there are.
SUBSCRIPTION_ENDS = 600
START_COUNT = 1000
MOST_IDS = 100


class Magic(StrEnum):
    """What an order can ask for by a word in its link or user name."""

    PARTIAL = "sandbox-partial"
    CANCEL = "sandbox-cancel"
    FAIL = "sandbox-fail"
    UNKNOWN = "sandbox-unknown"
    NO_REFILL = "sandbox-norefill"
    SLOW = "sandbox-slow"


# The last two digits of a quantity that ask for the same.
BY_QUANTITY: Mapping[str, Magic] = {
    "91": Magic.PARTIAL,
    "92": Magic.CANCEL,
    "93": Magic.FAIL,
    "94": Magic.UNKNOWN,
    "95": Magic.NO_REFILL,
    "96": Magic.SLOW,
}
_OUTCOMES = {
    Magic.PARTIAL: PlayOutcome.PARTIAL,
    Magic.CANCEL: PlayOutcome.CANCELLED,
    Magic.FAIL: PlayOutcome.FAILED,
}
_ENDED = {
    PlayOutcome.COMPLETED: (UpstreamState.COMPLETED, "Completed"),
    PlayOutcome.PARTIAL: (UpstreamState.PARTIAL, "Partial"),
    PlayOutcome.CANCELLED: (UpstreamState.CANCELLED, "Canceled"),
    PlayOutcome.FAILED: (UpstreamState.FAILED, "Failed"),
}


def provider() -> Provider:
    """The row of this provider, made when it is first needed."""
    return Provider.objects.get_or_create(
        dialect=Dialect.PLAY,
        defaults={
            "name": "Sandbox keys (play money)",
            "base_url": "https://play.invalid/",
            "api_key": "",
        },
    )[0]


class PlayClient:
    """A ProviderClient; to be called by the thread whose database connection it uses."""

    repeats_safely = True

    def __init__(self, **_connection: object) -> None:
        """There is nothing to connect to."""

    def services(self) -> ServiceList:
        raise NotOffered("The services of sandbox keys are the shop's own.")

    def balance(self) -> tuple[Decimal, str]:
        raise NotOffered("Play money is not kept by a provider.")

    def add(self, order: UpstreamOrder) -> str:
        magic = magic_of(order.fields)
        taken, is_new = PlayOrder.objects.get_or_create(
            reference=order.reference or uuid4().hex,
            defaults={
                "quantity": order.quantity,
                "posts": _number(order.fields, "posts") + _number(order.fields, "old_posts"),
                "rate": order.rate,
                "outcome": next(
                    (_OUTCOMES[each] for each in Magic if each in magic and each in _OUTCOMES),
                    PlayOutcome.COMPLETED,
                ),
                "refills_rejected": Magic.NO_REFILL in magic,
                "slow": Magic.SLOW in magic,
            },
        )
        if is_new and Magic.UNKNOWN in magic:
            raise OutcomeUnknown("The reply was lost, as the order asked for.")
        return str(taken.pk)

    def statuses(self, external_ids: Sequence[str]) -> dict[str, UpstreamStatus]:
        _refuse_too_many(external_ids)
        return {str(order.pk): _report(order, now) for order, now in _known(external_ids)}

    def find(self, reference: str) -> str | None:
        order = PlayOrder.objects.annotate(now=Now()).filter(reference=reference).first()
        if order is None:
            return None
        if _seconds(order.created_at, order.now) < LOST_FOR:
            raise ProviderAnswerInvalid("The order is not listed yet.")
        return str(order.pk)

    def refill(self, external_id: str) -> str:
        for order, _now in _known([external_id]):
            if order.refills_rejected:
                raise ProviderRefused("Refill rejected, as the order asked for.")
            return str(PlayRefill.objects.create(order=order).pk)
        raise ProviderRefused("Incorrect order ID")

    def refill_statuses(self, refill_ids: Sequence[str]) -> dict[str, UpstreamRefill]:
        _refuse_too_many(refill_ids)
        found = PlayRefill.objects.annotate(now=Now()).filter(pk__in=_keys(refill_ids))
        return {
            str(refill.pk): UpstreamRefill(UpstreamRefillState.COMPLETED, "Completed")
            if _seconds(refill.created_at, refill.now) >= REFILL_TAKES
            else UpstreamRefill(UpstreamRefillState.PENDING, "Pending")
            for refill in found
        }

    def cancel(self, external_ids: Sequence[str]) -> dict[str, UpstreamCancel]:
        _refuse_too_many(external_ids)
        answers = {}
        for order, now in _known(external_ids):
            if _has_ended(order, now):
                answers[str(order.pk)] = UpstreamCancel(False, "It has ended.")
                continue
            _rows([order.pk]).filter(cancelled_at=None).update(cancelled_at=Now())
            answers[str(order.pk)] = UpstreamCancel(True)
        return answers


def magic_of(fields: Mapping[str, str]) -> frozenset[Magic]:
    """What the order asks for: by words, else by the last digits of its quantity."""
    target = f"{fields.get('link', '')} {fields.get('username', '')}".casefold()
    if words := frozenset(magic for magic in Magic if magic in target):
        return words
    asked = BY_QUANTITY.get(fields.get("quantity", "")[-2:])
    return frozenset({asked}) if asked else frozenset()


def _report(order: PlayOrder, now: datetime) -> UpstreamStatus:
    age = _age(order, now)
    if order.posts:
        return _report_of_posts(order, age)
    if order.cancelled_at is not None:
        return UpstreamStatus(UpstreamState.CANCELLED, "Canceled", START_COUNT, order.quantity)
    if age < BEGINS:
        return UpstreamStatus(UpstreamState.PENDING, "Pending")
    share = min(Decimal(age - BEGINS) / (ENDS - BEGINS), Decimal(1))
    remains = order.quantity - int(_delivered(order, order.quantity) * share)
    if age < ENDS:
        word = "In progress"
        return UpstreamStatus(UpstreamState.IN_PROGRESS, word, START_COUNT, remains)
    return UpstreamStatus(*_ENDED[PlayOutcome(order.outcome)], START_COUNT, remains)


def _report_of_posts(order: PlayOrder, age: float) -> UpstreamStatus:
    """Each post that was served, and what it cost."""
    ends = _ends(order)
    posts = int(_delivered(order, order.posts) * min(Decimal(age) / ends, Decimal(1)))
    state, word = UpstreamState.IN_PROGRESS, "Active"
    if order.cancelled_at is not None:
        state, word = UpstreamState.CANCELLED, "Canceled"
    elif age >= ends:
        state, word = _ENDED[PlayOutcome(order.outcome)]
    charge = order.rate * order.quantity * posts / order.posts / 1000
    return UpstreamStatus(state, word, charge=charge, posts=posts)


def _delivered(order: PlayOrder, whole: int) -> int:
    """How much of the whole is delivered in the end."""
    match order.outcome:
        case PlayOutcome.COMPLETED:
            return whole
        case PlayOutcome.PARTIAL:
            return whole * 6 // 10
    return 0


def _ends(order: PlayOrder) -> int:
    return min(POST_TAKES * order.posts, SUBSCRIPTION_ENDS) if order.posts else ENDS


def _has_ended(order: PlayOrder, now: datetime) -> bool:
    return order.cancelled_at is None and _age(order, now) >= _ends(order)


def _age(order: PlayOrder, now: datetime) -> float:
    """Seconds of its own time until now, or until it was cancelled."""
    age = _seconds(order.created_at, order.cancelled_at or now)
    return age / SLOWNESS if order.slow else age


def _seconds(since: datetime, now: datetime) -> float:
    return (now - since).total_seconds()


def _known(external_ids: Sequence[str]) -> list[tuple[PlayOrder, datetime]]:
    """The orders that there are, each with the database's time."""
    return [(order, order.now) for order in _rows(_keys(external_ids)).annotate(now=Now())]


def _rows(keys: Sequence[int]) -> QuerySet[PlayOrder]:
    return PlayOrder.objects.filter(pk__in=keys).order_by("pk")


def _refuse_too_many(ids: Sequence[str]) -> None:
    if len(ids) > MOST_IDS:
        raise ValueError(f"at most {MOST_IDS} ids a call")


def _keys(texts: Sequence[str]) -> list[int]:
    return [int(text) for text in texts if text.isascii() and text.isdigit() and len(text) < 19]


def _number(fields: Mapping[str, str], name: str) -> int:
    text = fields.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else 0
