"""Whether a provider may be called: the breaker, the one trial call, the rate limit."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.clock import from_now
from accounts.models import Alert
from catalog import health
from catalog.health import FAILURES_ALLOWED, LONGEST_PAUSE, PAUSE, guarded
from catalog.models import Breaker, Provider
from catalog.providers import (
    NotOffered,
    ProviderAnswerInvalid,
    ProviderBusy,
    ProviderRefused,
    ProviderUnreachable,
)
from catalog.sandbox.misbehaviour import Kind

pytestmark = pytest.mark.django_db


@pytest.fixture
def provider(db, sandbox):
    return sandbox.provider()


def state(provider):
    provider.refresh_from_db()
    return provider.breaker, provider.failures


def fail(provider, times):
    for _ in range(times):
        with pytest.raises(ProviderAnswerInvalid):
            guarded(provider).balance()


def let_pause_be_over():
    Provider.objects.update(breaker_until=from_now(timedelta(seconds=-1)))


def alerts():
    return set(Alert.objects.filter(resolved_at=None).values_list("code", "subject"))


def soon(moment, expected):
    return abs(moment - timezone.now() - expected) < timedelta(seconds=5)


# --- the breaker ---------------------------------------------------------------------------------


def test_healthy_provider_costs_one_read_and_no_write(sandbox, provider):
    with CaptureQueriesContext(connection) as captured:
        guarded(provider).balance()

    assert [query["sql"].split()[0] for query in captured] == ["SELECT"]


def test_breaker_opens_after_failures_in_a_row(sandbox, provider):
    sandbox.misbehave("*", Kind.HTML, times=100)

    fail(provider, FAILURES_ALLOWED - 1)
    assert (state(provider), alerts()) == ((Breaker.CLOSED, FAILURES_ALLOWED - 1), set())
    fail(provider, 1)

    assert state(provider) == (Breaker.OPEN, FAILURES_ALLOWED)
    assert soon(provider.breaker_until, PAUSE)
    assert provider.breaker_reason != ""
    assert alerts() == {("provider_interrupted", f"provider:{provider.pk}")}
    calls = len(sandbox.calls)
    with pytest.raises(ProviderUnreachable, match="interrupted"):
        guarded(provider).statuses(["1"])
    assert len(sandbox.calls) == calls


def test_success_in_between_starts_the_count_again(sandbox, provider):
    sandbox.misbehave("balance", Kind.ERROR_500, times=FAILURES_ALLOWED - 1)
    fail(provider, FAILURES_ALLOWED - 1)

    guarded(provider).balance()

    assert state(provider) == (Breaker.CLOSED, 0)


def test_no_connection_is_a_failure(sandbox, provider):
    sandbox.stop()

    for _ in range(FAILURES_ALLOWED):
        with pytest.raises(ProviderUnreachable):
            guarded(provider).balance()

    assert state(provider) == (Breaker.OPEN, FAILURES_ALLOWED)


@pytest.mark.parametrize(
    ("kind", "error"), [(Kind.REFUSE, ProviderRefused), (Kind.TOO_MANY, ProviderBusy)]
)
def test_refusal_is_the_answer_of_a_healthy_provider(sandbox, provider, kind, error):
    sandbox.misbehave("balance", kind, times=FAILURES_ALLOWED)

    for _ in range(FAILURES_ALLOWED):
        with pytest.raises(error):
            guarded(provider).balance()

    assert state(provider) == (Breaker.CLOSED, 0)


def test_trial_call_that_succeeds_closes_the_breaker(sandbox, provider):
    health.trip(provider, "for a test")
    let_pause_be_over()

    guarded(provider).balance()

    assert state(provider) == (Breaker.CLOSED, 0)
    assert (provider.breaker_until, provider.breaker_reason, alerts()) == (None, "", set())


def test_each_trial_call_that_fails_doubles_the_pause(sandbox, provider):
    sandbox.misbehave("*", Kind.HTML, times=100)
    health.trip(provider, "for a test")

    pauses = []
    for _ in range(6):
        let_pause_be_over()
        fail(provider, 1)
        assert state(provider)[0] == Breaker.OPEN
        pauses.append(provider.breaker_until - timezone.now())

    minutes = [round(pause.total_seconds() / 60) for pause in pauses]
    assert minutes == [2, 4, 8, 16, 30, 30]
    assert timedelta(minutes=30) == LONGEST_PAUSE


def test_only_one_caller_makes_the_trial_call(provider):
    health.trip(provider, "for a test")
    let_pause_be_over()
    other = Provider.objects.get()

    assert health.admit(provider, calls=4) == 1
    with pytest.raises(ProviderUnreachable):
        health.admit(other, calls=1)

    assert (provider.breaker, other.breaker) == (Breaker.PROBING, Breaker.PROBING)


def test_trial_call_that_nobody_answers_for_is_made_again(provider):
    health.trip(provider, "for a test")
    let_pause_be_over()
    health.admit(provider, calls=1)
    provider.refresh_from_db()
    assert soon(provider.breaker_until, health.probe_lease(provider))
    longest_call = timedelta(seconds=provider.connect_timeout + 2 * provider.read_timeout + 45)
    assert health.probe_lease(provider) > longest_call

    let_pause_be_over()

    assert health.admit(Provider.objects.get(), calls=1) == 1


def test_late_success_of_an_earlier_call_does_not_close_the_breaker(provider):
    Provider.objects.update(failures=1)
    health.admit(provider, calls=1)
    health.trip(Provider.objects.get(), "meanwhile")

    health.succeeded(provider)

    assert state(provider) == (Breaker.OPEN, FAILURES_ALLOWED)


def test_late_failure_of_an_earlier_call_does_not_prolong_the_pause(provider):
    health.admit(provider, calls=1)
    health.trip(Provider.objects.get(), "meanwhile")
    until = Provider.objects.get().breaker_until

    health.failed(provider, "late")

    assert (state(provider)[0], provider.breaker_until) == (Breaker.OPEN, until)


def test_trial_call_that_was_not_made_is_somebody_elses(provider, monkeypatch):
    health.trip(provider, "for a test")
    let_pause_be_over()

    class Client:
        def find(self, _reference):
            raise NotOffered("not in this dialect")

    monkeypatch.setattr(health, "client_for", lambda _provider: Client())
    with pytest.raises(NotOffered):
        guarded(provider).find("x")

    assert state(provider)[0] == Breaker.OPEN
    assert health.admit(provider, calls=1) == 1


def test_staff_close_the_breaker(provider):
    health.trip(provider, "for a test")

    assert health.close(provider)
    assert not health.close(provider)

    assert (state(provider), alerts()) == ((Breaker.CLOSED, 0), set())


@pytest.mark.parametrize("reason", ["x" * 5000, "bad \x00 \ud83d"], ids=ascii)
def test_any_reason_can_be_kept(provider, reason):
    health.trip(provider, reason)

    assert state(provider)[0] == Breaker.OPEN


def test_key_that_cannot_be_read_interrupts_the_provider(provider):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE catalog_provider SET api_key = 'not encrypted by us'")
    provider = Provider.objects.get()

    with pytest.raises(ProviderUnreachable, match="key"):
        guarded(provider).balance()

    assert Provider.objects.values_list("breaker", flat=True).get() == Breaker.OPEN


# --- the rate limit -------------------------------------------------------------------------------


def test_calls_over_the_limit_are_not_made(sandbox, provider):
    Provider.objects.update(requests_per_minute=2)
    client = guarded(provider)
    client.balance()
    client.balance()

    with pytest.raises(ProviderBusy) as refused:
        client.balance()

    assert (len(sandbox.calls), refused.value.retry_after) == (2, 60)
    Provider.objects.update(window_started_at=from_now(-health.RATE_WINDOW))
    client.balance()


@pytest.mark.parametrize(
    ("limit", "asked", "granted"),
    [(None, [4, 4], [4, 4]), (10, [4, 4, 4], [4, 4, 2]), (3, [4], [3]), (4, [4, 1], [4, 0])],
)
def test_batch_takes_what_is_left_of_the_limit(provider, limit, asked, granted):
    Provider.objects.update(requests_per_minute=limit)

    def admitted(calls):
        try:
            return health.admit(provider, calls=calls)
        except ProviderBusy:
            return 0

    assert [admitted(calls) for calls in asked] == granted


def test_rate_limit_gives_the_trial_call_back(provider):
    Provider.objects.update(requests_per_minute=1)
    health.admit(provider, calls=1)
    health.trip(provider, "for a test")
    let_pause_be_over()

    with pytest.raises(ProviderBusy):
        health.admit(provider, calls=1)

    assert state(provider)[0] == Breaker.OPEN
    Provider.objects.update(window_started_at=from_now(-health.RATE_WINDOW))
    assert health.admit(provider, calls=1) == 1


# --- funds and slowness ---------------------------------------------------------------------------


def test_funds_hold_is_lifted_and_its_alert_closed(provider):
    health.funds_are_used_up(provider, pause=timedelta(minutes=5))
    assert alerts() == {("provider_out_of_funds", f"provider:{provider.pk}")}
    assert not Provider.objects.filter(health.may_be_sent_to()).exists()

    health.funds_are_back(provider)

    assert (alerts(), Provider.objects.get().funds_wait_until) == (set(), None)
    assert Provider.objects.filter(health.may_be_sent_to()).exists()


def test_provider_is_slow_for_a_while_after_a_slow_call(sandbox, provider, monkeypatch):
    guarded(provider).balance()
    assert not health.is_slow(provider.pk)
    monkeypatch.setattr(health, "SLOW_CALL_SECONDS", 0)

    guarded(provider).balance()

    assert health.is_slow(provider.pk)
    assert not health.is_slow(provider.pk + 1)
