"""The provider of sandbox keys: what every client promises, and what orders ask of it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F

from catalog import health, tasks
from catalog.models import Breaker, Dialect, PlayOrder, PlayRefill, Provider
from catalog.providers import (
    NotOffered,
    OutcomeUnknown,
    ProviderAnswerInvalid,
    ProviderRefused,
    UpstreamOrder,
    UpstreamRefillState,
    UpstreamState,
    play,
)
from catalog.providers.play import BY_QUANTITY, Magic, PlayClient, magic_of
from catalog.providers.registry import client_for

pytestmark = pytest.mark.django_db

LINK = "https://instagram.com/someone"
UNDER_WAY, DONE = UpstreamState.IN_PROGRESS, UpstreamState.COMPLETED


@pytest.fixture
def client_() -> PlayClient:
    return PlayClient()


def asked(*words: str, quantity: int = 1000, reference: str = "order-1") -> UpstreamOrder:
    fields = {"link": f"{LINK}?{'&'.join(words)}", "quantity": str(quantity)}
    return UpstreamOrder("7", fields, reference=reference, quantity=quantity)


def pass_(seconds: float) -> None:
    """Let everything be this much older."""
    earlier = timedelta(seconds=seconds)
    PlayOrder.objects.update(
        created_at=F("created_at") - earlier, cancelled_at=F("cancelled_at") - earlier
    )
    PlayRefill.objects.update(created_at=F("created_at") - earlier)


def told(client: PlayClient, order: str) -> tuple[UpstreamState | None, int | None]:
    report = client.statuses([order])[order]
    return report.state, report.remains


def test_order_advances_and_is_completed_in_about_a_minute(client_: PlayClient) -> None:
    order = client_.add(asked())
    seen = []
    for _ in range(4):
        seen.append(told(client_, order))
        pass_(20)
    (first, remains), *under_way, last = [*seen, told(client_, order)]

    assert (first, remains) == (UpstreamState.PENDING, None)
    assert [state for state, _remains in under_way] == [UNDER_WAY, UNDER_WAY, DONE]
    left = [remains for _state, remains in under_way]
    assert left == sorted(left, reverse=True)
    assert last == (DONE, 0)


@pytest.mark.parametrize(
    ("word", "end"),
    [
        (Magic.PARTIAL, (UpstreamState.PARTIAL, 400)),
        (Magic.CANCEL, (UpstreamState.CANCELLED, 1000)),
        (Magic.FAIL, (UpstreamState.FAILED, 1000)),
        (Magic.NO_REFILL, (DONE, 0)),
    ],
)
def test_order_ends_as_its_word_says(client_: PlayClient, word: Magic, end: object) -> None:
    order = client_.add(asked(word.upper()))
    pass_(play.ENDS)

    assert told(client_, order) == end


def test_slow_order_takes_thirty_times_as_long_and_ends_as_asked(client_: PlayClient) -> None:
    order = client_.add(asked("sandbox-slow", "sandbox-fail"))
    pass_(29 * play.ENDS)
    assert told(client_, order) == (UNDER_WAY, 1000)
    pass_(play.ENDS)
    assert told(client_, order) == (UpstreamState.FAILED, 1000)


def test_magic_is_in_words_or_else_in_the_quantity() -> None:
    assert {
        end: magic_of({"link": LINK, "quantity": f"10{end}"}) for end in (*BY_QUANTITY, "90", "97")
    } == {**{end: {magic} for end, magic in BY_QUANTITY.items()}, "90": set(), "97": set()}
    assert magic_of({"username": "sandbox-partial"}) == {Magic.PARTIAL}
    assert magic_of({"link": "sandbox-slow", "quantity": "92"}) == {Magic.SLOW}
    assert magic_of({"comments": "sandbox-fail"}) == set()


def test_lost_reply_is_found_again_by_its_reference(client_: PlayClient) -> None:
    with pytest.raises(OutcomeUnknown):
        client_.add(asked("sandbox-unknown"))
    with pytest.raises(ProviderAnswerInvalid):
        client_.find("order-1")
    pass_(play.LOST_FOR)

    found = client_.find("order-1")

    assert found == client_.add(asked("sandbox-unknown")) == str(PlayOrder.objects.get().pk)
    assert client_.find("order-2") is None


def test_add_is_bought_once_for_each_reference(client_: PlayClient) -> None:
    first = client_.add(asked())

    assert client_.repeats_safely
    assert client_.add(asked()) == first != client_.add(asked(reference="order-2"))


def test_cancel_is_carried_out_unless_the_order_has_ended(client_: PlayClient) -> None:
    old = client_.add(asked())
    pass_(play.ENDS)
    new = client_.add(asked(reference="order-2"))

    answers = client_.cancel([old, new, "999999", "x"])

    assert {order: answer.accepted for order, answer in answers.items()} == {old: False, new: True}
    assert client_.cancel([new])[new].accepted
    pass_(play.ENDS)
    assert told(client_, new) == (UpstreamState.CANCELLED, 1000)
    assert told(client_, old) == (DONE, 0)


def test_refill_is_done_soon_or_rejected_as_asked(client_: PlayClient) -> None:
    refill = client_.refill(client_.add(asked()))

    assert client_.refill_statuses([refill])[refill].state is UpstreamRefillState.PENDING
    pass_(play.REFILL_TAKES)
    assert client_.refill_statuses([refill, "999999"]).keys() == {refill}
    assert client_.refill_statuses([refill])[refill].state is UpstreamRefillState.COMPLETED
    with pytest.raises(ProviderRefused):
        client_.refill(client_.add(asked("sandbox-norefill", reference="order-2")))
    with pytest.raises(ProviderRefused):
        client_.refill("999999")


@pytest.mark.parametrize(
    ("word", "end", "posts"),
    [("", DONE, 5), ("sandbox-partial", UpstreamState.PARTIAL, 3), ("sandbox-fail", None, 0)],
)
def test_subscription_serves_post_after_post(
    client_: PlayClient, word: str, end: UpstreamState | None, posts: int
) -> None:
    fields = {"username": f"someone {word}", "min": "100", "max": "200", "posts": "4"}
    order = client_.add(
        UpstreamOrder("7", {**fields, "old_posts": "1"}, "order-1", 1000, Decimal(3))
    )
    seen = []
    for _ in range(6):
        report = client_.statuses([order])[order]
        seen.append((report.posts, report.charge))
        pass_(play.POST_TAKES)

    assert [number for number, _charge in seen] == sorted(number for number, _charge in seen)
    assert seen[0] == (0, 0)
    assert seen[-1] == (posts, Decimal("0.6") * posts)
    assert report.state is (end or UpstreamState.FAILED)


def test_cancelled_subscription_keeps_what_it_served(client_: PlayClient) -> None:
    order = client_.add(UpstreamOrder("7", {"posts": "5"}, "order-1", 1000, Decimal(3)))
    pass_(2 * play.POST_TAKES)
    client_.cancel([order])
    pass_(10 * play.POST_TAKES)

    report = client_.statuses([order])[order]

    assert (report.state, report.posts, report.charge) == (
        UpstreamState.CANCELLED,
        2,
        Decimal("1.2"),
    )


@pytest.mark.parametrize("call", ["statuses", "refill_statuses", "cancel"])
def test_ids_are_a_hundred_at_most_and_may_be_none(client_: PlayClient, call: str) -> None:
    assert getattr(client_, call)([]) == {}
    with pytest.raises(ValueError, match="100"):
        getattr(client_, call)([str(number) for number in range(101)])


@pytest.mark.parametrize("call", ["services", "balance"])
def test_it_has_neither_a_list_nor_a_balance(client_: PlayClient, call: str) -> None:
    with pytest.raises(NotOffered):
        getattr(client_, call)()


# --- its row -------------------------------------------------------------------------------------


def test_provider_is_made_once() -> None:
    provider = play.provider()

    assert play.provider() == provider
    assert isinstance(client_for(provider), PlayClient)
    with pytest.raises(IntegrityError), transaction.atomic():
        Provider.objects.create(name="Another", dialect=Dialect.PLAY)


def test_provider_is_never_interrupted() -> None:
    provider = play.provider()

    for _ in range(20):
        health.failed(provider, "asked for")
    health.trip(provider, "asked for")

    provider.refresh_from_db()
    assert (provider.breaker, provider.failures) == (Breaker.CLOSED, 0)


def test_provider_is_synced_by_nobody_and_no_choice_of_staff(admin_client, monkeypatch) -> None:
    queued: list[object] = []
    monkeypatch.setattr(tasks, "async_task", lambda *job, **options: queued.append(job))
    provider = play.provider()

    tasks.sync_all()
    listed = admin_client.get("/admin/catalog/provider/").content.decode()
    form = admin_client.get("/admin/catalog/provider/add/").context["adminform"].form

    assert queued == []
    assert provider.name not in listed
    assert [value for value, _label in form.fields["dialect"].choices] == ["panel", "rest"]
