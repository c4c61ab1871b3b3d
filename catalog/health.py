"""Whether a provider may be called now: the circuit breaker, its rate limit, our funds there.

All of it stands on the provider's row and goes by the database's clock, so that every process of
every machine sees the same. A healthy provider without a rate limit costs one read a call and no
write.

The breaker opens after FAILURES_ALLOWED failures in a row (no connection, 5xx, time-outs, answers
that cannot be read) or when `trip` says so, for PAUSE, and twice as long each time that the trial
call fails, up to LONGEST_PAUSE. Then exactly one caller is let through to try. A plain refusal is
the answer of a healthy provider.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import TypeVar

from django.core.cache import cache
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from accounts.alerts import alert, resolve
from accounts.clock import from_now
from accounts.encryption import SecretUnreadable
from catalog.models import Breaker, Provider
from catalog.providers import (
    NotOffered,
    OutcomeUnknown,
    ProviderAnswerInvalid,
    ProviderBusy,
    ProviderClient,
    ProviderRefused,
    ProviderUnreachable,
    ServiceList,
    UpstreamCancel,
    UpstreamOrder,
    UpstreamRefill,
    UpstreamStatus,
)
from catalog.providers.registry import CLIENTS, client_for

T = TypeVar("T")

FAILURES_ALLOWED = 5
PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(minutes=30)
# Reads are repeated within 45 s (ProviderClient), and the answer has to be written down.
PROBE_SPARE = timedelta(seconds=75)
RATE_WINDOW = timedelta(minutes=1)
REASON_LIMIT = 300
# A call that takes longer occupies a worker for long; remembered for a while (orders/tasks.py).
SLOW_CALL_SECONDS = 5.0
SLOW_FOR_SECONDS = 600

KEY_UNREADABLE = "The stored API key can no longer be read: enter it again."
INTERRUPTED, OUT_OF_FUNDS = "provider_interrupted", "provider_out_of_funds"

_STATE = (
    "breaker",
    "breaker_until",
    "breaker_reason",
    "failures",
    "requests_per_minute",
    "funds_wait_until",
)


def guarded(provider: Provider) -> ProviderClient:
    """The provider's client, asked only while it may be, and its failures counted.

    Instead of a call that must not be made now it raises ProviderUnreachable (interrupted, or its
    key cannot be read) or ProviderBusy (rate limit). For one thread: it uses the caller's database
    connection. Not for use inside a transaction.
    """
    return _Guarded(provider)


def admit(provider: Provider, *, calls: int) -> int:
    """How many of `calls` may be made now; they are taken off the rate limit at once.

    Brings the machine's columns of `provider` up to date: where `provider.breaker` is PROBING
    afterwards, the caller has won the one trial call, and tells by `succeeded` or `failed` how it
    ended (one that never tells is replaced after `probe_lease`).

    Raises ProviderUnreachable while the provider is interrupted, ProviderBusy when this minute's
    calls are used up.
    """
    provider.refresh_from_db(fields=list(_STATE))
    if provider.breaker != Breaker.CLOSED:
        _win_probe(provider)
        calls = 1
    granted = _within_rate(provider, calls)
    if not granted:
        not_called(provider)
        raise ProviderBusy(
            "our own limit of requests per minute is used up",
            retry_after=RATE_WINDOW.total_seconds(),
        )
    return granted


def succeeded(provider: Provider) -> None:
    """A call that `admit` let through was answered: no failure is left in the count."""
    if provider.breaker == Breaker.PROBING:
        if _row(provider).filter(breaker=Breaker.PROBING).update(**_CLOSED):
            resolve(INTERRUPTED, subject=subject(provider))
        provider.breaker, provider.failures = Breaker.CLOSED, 0
    elif provider.failures:
        _row(provider).filter(breaker=Breaker.CLOSED).update(failures=0)
        provider.failures = 0


def failed(provider: Provider, why: str) -> None:
    """A call that `admit` let through failed: one more in a row, which may be one too many. The
    play provider fails where it was asked to, and is never interrupted for it."""
    if provider.is_play:
        return
    was_probe = provider.breaker == Breaker.PROBING
    with transaction.atomic():
        now = _locked(provider)
        failures = now.failures + 1
        if now.breaker == Breaker.CLOSED and failures < FAILURES_ALLOWED:
            _row(provider).update(failures=failures)
        elif now.breaker == Breaker.CLOSED or (was_probe and now.breaker == Breaker.PROBING):
            _open(provider, failures, why, pause_after(failures))
        # Else it has been opened meanwhile: this was a call from before.
    provider.refresh_from_db(fields=list(_STATE))


def not_called(provider: Provider) -> None:
    """A call that `admit` let through was not made: a trial call is somebody else's again."""
    if provider.breaker == Breaker.PROBING:
        _row(provider).filter(breaker=Breaker.PROBING).update(
            breaker=Breaker.OPEN, breaker_until=Now()
        )
        provider.breaker = Breaker.OPEN


def trip(provider: Provider, reason: str, *, pause: timedelta = PAUSE) -> None:
    """Interrupt the provider for at least `pause`, whatever the count of its failures says; the
    play provider never."""
    if provider.is_play:
        return
    with transaction.atomic():
        now = _locked(provider)
        _open(provider, max(now.failures, FAILURES_ALLOWED), reason, max(pause, PAUSE))
    provider.refresh_from_db(fields=list(_STATE))


def close(provider: Provider) -> bool:
    """Let calls through again at once; returns whether the provider was interrupted."""
    closed = _row(provider).exclude(breaker=Breaker.CLOSED).update(**_CLOSED)
    resolve(INTERRUPTED, subject=subject(provider))
    provider.refresh_from_db(fields=list(_STATE))
    return bool(closed)


def pause_after(failures: int) -> timedelta:
    """How long the breaker stays open after so many failures in a row."""
    doublings = min(max(failures - FAILURES_ALLOWED, 0), 10)
    return min(PAUSE * (1 << doublings), LONGEST_PAUSE)


def probe_lease(provider: Provider) -> timedelta:
    """How long a trial call may take until somebody else may try."""
    longest: float = provider.connect_timeout + 2 * provider.read_timeout
    return timedelta(seconds=longest) + PROBE_SPARE


def may_be_sent_to(prefix: str = "") -> Q:
    """The providers to which an order could be sent now (a trial one too); `prefix` as in
    "provider__". `admit` has the last word."""
    return (
        _q(prefix, enabled=True, maintenance=False)
        & (_q(prefix, breaker=Breaker.CLOSED) | _q(prefix, breaker_until__lte=Now()))
        & (_q(prefix, funds_wait_until=None) | _q(prefix, funds_wait_until__lte=Now()))
        & (
            _q(prefix, requests_per_minute=None)
            | _q(prefix, window_started_at=None)
            | _q(prefix, window_started_at__lte=from_now(-RATE_WINDOW))
            | Q(**{f"{prefix}window_calls__lt": F(f"{prefix}requests_per_minute")})
        )
    )


def may_substitute(prefix: str = "") -> Q:
    """The providers that may take another's orders: nothing at all stands in their way."""
    return _q(
        prefix, enabled=True, maintenance=False, breaker=Breaker.CLOSED, funds_wait_until=None
    )


# --- our funds there ------------------------------------------------------------------------------


def funds_are_used_up(provider: Provider, *, pause: timedelta) -> None:
    """All its orders, new ones too, wait for `pause`; staff are told."""
    _row(provider).update(funds_wait_until=from_now(pause))
    alert(
        OUT_OF_FUNDS,
        subject=subject(provider),
        message=f"Top up our account at {provider}: orders are waiting.",
    )


def funds_are_back(provider: Provider) -> None:
    """Its orders need not wait for our funds (any longer)."""
    _row(provider).exclude(funds_wait_until=None).update(funds_wait_until=None)
    resolve(OUT_OF_FUNDS, subject=subject(provider))


def funds_are_tried(provider: Provider, *, until: timedelta) -> None:
    """One order is being sent to see whether our funds are back: the others wait for it."""
    _row(provider).exclude(funds_wait_until=None).update(funds_wait_until=from_now(until))


# --- slow ones ------------------------------------------------------------------------------------


def took(provider: Provider, seconds: float) -> None:
    """A call to the provider took so long."""
    if seconds >= SLOW_CALL_SECONDS:
        cache.set(_slow_key(provider.pk), True, SLOW_FOR_SECONDS)


def is_slow(provider_id: int) -> bool:
    """Whether a call to this provider took long lately."""
    return bool(cache.get(_slow_key(provider_id)))


def subject(provider: Provider) -> str:
    """How alerts name the provider."""
    return f"provider:{provider.pk}"


_CLOSED = {
    "breaker": Breaker.CLOSED,
    "breaker_until": None,
    "breaker_reason": "",
    "failures": 0,
}


def _q(prefix: str, **conditions: object) -> Q:
    return Q(**{f"{prefix}{name}": value for name, value in conditions.items()})


def _slow_key(provider_id: int) -> str:
    return f"provider-is-slow:{provider_id}"


def _row(provider: Provider) -> QuerySet[Provider]:
    return Provider.objects.filter(pk=provider.pk)


def _locked(provider: Provider) -> Provider:
    return Provider.objects.select_for_update(no_key=True).only(*_STATE).get(pk=provider.pk)


def _win_probe(provider: Provider) -> None:
    """Exactly one wins: the condition no longer holds for whoever comes second."""
    won = (
        _row(provider)
        .filter(breaker__in=(Breaker.OPEN, Breaker.PROBING), breaker_until__lte=Now())
        .update(breaker=Breaker.PROBING, breaker_until=from_now(probe_lease(provider)))
    )
    if not won:
        raise ProviderUnreachable(f"interrupted: {provider.breaker_reason}")
    provider.breaker = Breaker.PROBING


def _open(provider: Provider, failures: int, why: str, pause: timedelta) -> None:
    reason = why.encode("utf-8", "replace").decode().replace("\x00", "�")[:REASON_LIMIT]
    _row(provider).update(
        breaker=Breaker.OPEN,
        breaker_until=from_now(pause),
        breaker_reason=reason,
        failures=failures,
    )
    alert(
        INTERRUPTED,
        subject=subject(provider),
        message=f"{provider}: {reason} It is tried again in {pause.total_seconds() / 60:.0f} min.",
    )


def _within_rate(provider: Provider, calls: int) -> int:
    """Take up to `calls` off this minute's; each step is one conditional UPDATE, so that all
    processes together never exceed the limit. The window begins with its first call."""
    limit = provider.requests_per_minute
    if limit is None:
        return calls
    fresh = Q(window_started_at=None) | Q(window_started_at__lte=from_now(-RATE_WINDOW))
    first = min(calls, limit)
    if _row(provider).filter(fresh).update(window_started_at=Now(), window_calls=first):
        return first
    for wanted in range(first, 0, -1):
        within = Q(window_calls__lte=F("requests_per_minute") - wanted)
        if _row(provider).filter(within).update(window_calls=F("window_calls") + wanted):
            return wanted
    return 0


class _Guarded:
    """A client of `guarded`."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._client: ProviderClient | None = None
        # A matter of the dialect, known without the key.
        dialect = CLIENTS[provider.dialect]
        self.repeats_safely: bool = getattr(dialect, "repeats_safely", False)

    def services(self) -> ServiceList:
        return self._call(lambda client: client.services())

    def add(self, order: UpstreamOrder) -> str:
        return self._call(lambda client: client.add(order))

    def statuses(self, external_ids: Sequence[str]) -> dict[str, UpstreamStatus]:
        return self._call(lambda client: client.statuses(external_ids))

    def balance(self) -> tuple[Decimal, str]:
        return self._call(lambda client: client.balance())

    def find(self, reference: str) -> str | None:
        return self._call(lambda client: client.find(reference))

    def refill(self, external_id: str) -> str:
        return self._call(lambda client: client.refill(external_id))

    def refill_statuses(self, refill_ids: Sequence[str]) -> dict[str, UpstreamRefill]:
        return self._call(lambda client: client.refill_statuses(refill_ids))

    def cancel(self, external_ids: Sequence[str]) -> dict[str, UpstreamCancel]:
        return self._call(lambda client: client.cancel(external_ids))

    def _its_client(self) -> ProviderClient:
        if self._client is None:
            try:
                self._client = client_for(self._provider)
            except SecretUnreadable as error:
                trip(self._provider, KEY_UNREADABLE)
                raise ProviderUnreachable(KEY_UNREADABLE) from error
        return self._client

    def _call(self, ask: Callable[[ProviderClient], T]) -> T:
        admit(self._provider, calls=1)
        client = self._its_client()
        started = time.monotonic()
        try:
            answer = ask(client)
        except (ProviderUnreachable, OutcomeUnknown, ProviderAnswerInvalid) as error:
            failed(self._provider, str(error))
            raise
        except NotOffered:
            not_called(self._provider)
            raise
        except (ProviderRefused, ProviderBusy):
            # It is there, and says so.
            succeeded(self._provider)
            raise
        finally:
            took(self._provider, time.monotonic() - started)
        succeeded(self._provider)
        return answer
