"""Buying from providers: one small protocol, one client a dialect, one registry line each.

A client turns a provider's habits into the types below and into exactly three outcomes of
placing an order: an id (accepted), `ProviderRefused` (a clear no: nothing was bought), or
`OutcomeUnknown` (it may have been bought). Two kinds of "nothing was bought" may be tried again
by machine: `ProviderUnreachable` (the connection failed before anything was sent) and
`ProviderBusy` (429: the provider did not look at the request). No type of the HTTP library leaves
this package, and no message holds a key.

`catalog.providers.registry.client_for` gives the client of a provider row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Protocol


class ProviderError(Exception):
    """Base of everything that can go wrong with a provider; the text is for staff only."""


class ProviderUnreachable(ProviderError):
    """No connection was made: nothing was sent, so nothing was bought."""


class ProviderBusy(ProviderError):
    """Too many requests (429): it was turned away unread, so nothing was bought. Try later."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds to wait, where the provider says


class ProviderRefused(ProviderError):
    """A clear answer that says no. Nothing was bought."""


class ProviderOutOfFunds(ProviderRefused):
    """Our balance at the provider does not cover the order: our problem, not the buyer's."""


class OutcomeUnknown(ProviderError):
    """Time-out, reset, 5xx, HTML, or an unreadable answer: an order may have been bought."""


class ProviderAnswerInvalid(ProviderError):
    """A read (services, statuses, balance) was answered with something unusable."""


class NotOffered(ProviderError):
    """The dialect has no such call; nothing was sent."""


@dataclass(frozen=True)
class Offer:
    """One service of a provider's list. `None`: the provider's value could not be read."""

    external_id: str
    name: str
    category: str
    type: str  # the provider's word
    rate: Decimal | None  # per 1000 (a package: of one), provider's currency
    min_quantity: int | None
    max_quantity: int | None
    refill: bool = False
    cancel: bool = False
    dripfeed: bool = False
    description: str = ""


@dataclass(frozen=True)
class ServiceList:
    """A provider's list, and the entries that could not be read, with the reason for staff."""

    offers: Sequence[Offer]
    unreadable: Sequence[str] = field(default_factory=tuple)


class UpstreamState(StrEnum):
    """A provider's status word, understood."""

    PENDING = "pending"
    PROCESSING = "processing"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    PARTIAL = "partial"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"
    FAILED = "failed"


@dataclass(frozen=True)
class UpstreamStatus:
    """A provider's report on one order. `None`: missing or unreadable, so not known."""

    state: UpstreamState | None  # None: the word is unknown to us
    word: str  # the provider's word as sent
    start_count: int | None = None
    remains: int | None = None  # as sent; the caller clamps it
    charge: Decimal | None = None  # what the provider took, in its currency
    posts: int | None = None  # subscriptions: how many posts have been served


@dataclass(frozen=True)
class UpstreamOrder:
    """What is sent to buy: the provider's service id and the panel dialect's parameters.

    `reference` is ours, the same at every attempt of one order: dialects that take an idempotency
    key or a reference of the customer's are given it. `quantity` is what all of it comes to, and
    `rate` what 1000 of that cost (provider's currency): they are ours too, and never sent.
    """

    service: str
    fields: Mapping[str, str]
    reference: str = ""
    quantity: int = 1
    rate: Decimal = Decimal(0)


class UpstreamRefillState(StrEnum):
    """A provider's word about a refill, understood."""

    PENDING = "pending"
    COMPLETED = "completed"
    REJECTED = "rejected"


@dataclass(frozen=True)
class UpstreamRefill:
    """A provider's report on one refill; `reason` is for staff.

    `state` None: a word unknown to us, or an error (in `reason`) in the refill's place.
    """

    state: UpstreamRefillState | None
    word: str
    reason: str = ""


@dataclass(frozen=True)
class UpstreamCancel:
    """A provider's answer to the wish to cancel one order; `reason` is for staff.

    Accepted says that it will try, or was asked before: the order's status tells whether it did.
    """

    accepted: bool
    reason: str = ""


class ProviderClient(Protocol):
    """What every dialect can do. Every call may raise ProviderUnreachable and ProviderBusy.

    A client may be used by several threads at once.

    A call takes at most the provider's connect time-out plus twice its read time-out; reads may
    be repeated within 45 s, `add`, `refill` and `cancel` never are. Where a dialect knows no batch
    (REST: `cancel`, `refill_statuses`) a batch is a call each, none begun after 45 s.
    """

    # Whether `add` with the reference of an earlier `add` gives the first order again and buys
    # nothing (the REST dialect's idempotency key, for 24 h).
    repeats_safely: bool

    def services(self) -> ServiceList:
        """The provider's whole list. Raises ProviderAnswerInvalid, ProviderRefused."""

    def add(self, order: UpstreamOrder) -> str:
        """Buy once, never repeated by the client; returns the provider's order id.

        Raises ProviderRefused (ProviderOutOfFunds), ProviderUnreachable, ProviderBusy or
        OutcomeUnknown; only after the last may an order exist.
        """

    def statuses(self, external_ids: Sequence[str]) -> dict[str, UpstreamStatus]:
        """Reports on at most 100 orders, keyed by the id asked for.

        Ids that the provider does not answer, or answers with an error, are absent.
        Raises ProviderAnswerInvalid, ProviderRefused.
        """

    def balance(self) -> tuple[Decimal, str]:
        """What we have at the provider, and its currency ("" when not told).

        Raises ProviderAnswerInvalid, ProviderRefused.
        """

    def find(self, reference: str) -> str | None:
        """The id of the order that was bought with this reference; None: there is certainly none.

        Raises NotOffered, ProviderAnswerInvalid, ProviderRefused.
        """

    def refill(self, external_id: str) -> str:
        """Ask for a refill; the provider's refill id, "" where it says yes without one.

        Raises ProviderRefused (with its reason), OutcomeUnknown.
        """

    def refill_statuses(self, refill_ids: Sequence[str]) -> dict[str, UpstreamRefill]:
        """Reports on at most 100 refills, keyed by the id asked for; unanswered ones are absent.

        Raises ProviderAnswerInvalid, ProviderRefused.
        """

    def cancel(self, external_ids: Sequence[str]) -> dict[str, UpstreamCancel]:
        """Ask to cancel at most 100 orders, keyed by the id asked for; unanswered ones are absent.

        Raises ProviderRefused, OutcomeUnknown.
        """
