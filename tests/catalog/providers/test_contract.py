"""What every provider's client promises (`catalog.providers.ProviderClient`), for both dialects, by
the sandbox over real sockets: the same shop, so the same answers."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
import stamina
import structlog

from catalog.order_types import ORDER_TYPES
from catalog.providers import (
    NotOffered,
    OutcomeUnknown,
    ProviderAnswerInvalid,
    ProviderBusy,
    ProviderClient,
    ProviderError,
    ProviderOutOfFunds,
    ProviderRefused,
    ProviderUnreachable,
    UpstreamCancel,
    UpstreamOrder,
    UpstreamRefill,
    UpstreamRefillState,
    UpstreamState,
)
from catalog.sandbox.delivery import CANCEL_TAKES, POST_TAKES, REFILL_TAKES
from catalog.sandbox.menu import SHORTEST, menu
from catalog.sandbox.misbehaviour import ANY_ACTION, Kind
from tests.catalog.providers.conftest import Speaker
from tests.catalog.sandbox.test_server import FIELDS, FIXED, PLAIN, REFILLED, first
from tests.sandbox import DAY, KEY, SandboxInTest

LINK = "https://www.instagram.com/somebody"
ORDER = UpstreamOrder(str(PLAIN.id), {"link": LINK, "quantity": "100"}, reference="order-1")
MENU = menu(SHORTEST)


def order_of(item: Any, *, link: str = LINK, reference: str = "") -> UpstreamOrder:
    return UpstreamOrder(str(item.id), {"link": link, "quantity": "1000"}, reference=reference)


def done(sandbox: SandboxInTest, client: ProviderClient, *, link: str = LINK) -> str:
    """A completed order of a service with refill."""
    order = client.add(order_of(REFILLED, link=link))
    sandbox.complete(order)
    return order


# Every call of the protocol, by its action.
CALLS: dict[str, Callable[[ProviderClient], object]] = {
    "services": lambda client: client.services(),
    "balance": lambda client: client.balance(),
    "status": lambda client: client.statuses(["500001", "500002"]),
    "refill_status": lambda client: client.refill_statuses(["7001"]),
    "add": lambda client: client.add(ORDER),
    "refill": lambda client: client.refill("500001"),
    "cancel": lambda client: client.cancel(["500001"]),
}
READS = ("services", "balance", "status", "refill_status")
WISHES = ("add", "refill", "cancel")


# --- services and balance ------------------------------------------------------------------------


def test_services_are_read_exactly(either: ProviderClient) -> None:
    found = either.services()

    assert found.unreadable == ()
    assert {
        offer.external_id: (
            *(offer.type, offer.rate, offer.min_quantity, offer.max_quantity),
            *(offer.refill, offer.cancel, offer.dripfeed),
        )
        for offer in found.offers
    } == {
        str(item.id): (
            *(item.type, item.rate, item.min, item.max),
            *(item.refill, item.cancel, item.dripfeed),
        )
        for item in MENU
    }


def test_services_have_their_names_categories_and_descriptions(either: ProviderClient) -> None:
    fast = next(offer for offer in either.services().offers if "HQ" in offer.name)

    assert fast.name == "Instagram Followers [HQ & Fast | 60 Days ♻️ | Instant]"
    assert fast.category == "Instagram Followers"
    assert fast.description == "High quality & fast.\nLink: public profile or post."


@pytest.mark.parametrize(
    ("kind", "offers", "unreadable"),
    [(Kind.CATALOGUE_EMPTY, 0, 0), (Kind.CATALOGUE_DOUBLED_IDS, 320, 320)],
)
def test_odd_list_is_read_as_it_is(
    speaker: Speaker, either: ProviderClient, kind: Kind, offers: int, unreadable: int
) -> None:
    right = either.services().offers
    speaker.sandbox.misbehave("services", kind)

    found = either.services()

    assert (len(found.offers), len(found.unreadable)) == (offers, unreadable)
    assert found.offers in ((), right)


def test_halved_list_is_a_part_of_the_whole(speaker: Speaker, either: ProviderClient) -> None:
    right = either.services().offers
    speaker.sandbox.misbehave("services", Kind.CATALOGUE_HALVED)

    found = either.services().offers

    assert 0 < len(found) < len(right) * 0.7
    assert set(found) < set(right)


@pytest.mark.parametrize(
    ("kind", "rate"),
    [
        (Kind.CATALOGUE_PRICED_ZERO, Decimal(0)),
        (Kind.CATALOGUE_BROKEN_RATES, None),
        (Kind.NAN, None),
    ],
)
def test_rates_are_read_as_they_are_or_unknown(
    speaker: Speaker, either: ProviderClient, kind: Kind, rate: Decimal | None
) -> None:
    speaker.sandbox.misbehave("services", kind)

    assert {offer.rate for offer in either.services().offers} == {rate}


def test_balance_is_read(speaker: Speaker, either: ProviderClient) -> None:
    speaker.sandbox.set_balance("1234.567891")

    assert either.balance() == (Decimal("1234.567891"), "USD")


# --- add -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(ORDER_TYPES))
def test_every_type_is_bought_with_its_fields(
    speaker: Speaker, either: ProviderClient, kind: str
) -> None:
    item, row = first(type=kind), ORDER_TYPES[kind]
    names = [
        *row.fields,
        *(n for n in row.optional if n in FIELDS and n not in ("runs", "interval")),
    ]
    fields = {name: FIELDS[name] for name in names}

    external_id = either.add(UpstreamOrder(str(item.id), fields))

    (order,) = speaker.sandbox.orders
    assert external_id == str(order.id)
    assert {name: order.fields[name] for name in fields} == fields


def test_drip_feed_is_passed_on(speaker: Speaker, either: ProviderClient) -> None:
    item = first(dripfeed=True)

    either.add(
        UpstreamOrder(
            str(item.id), {"link": LINK, "quantity": "100", "runs": "3", "interval": "10"}
        )
    )

    assert speaker.sandbox.orders[0].total == 300


def test_add_that_makes_no_sense_is_refused(speaker: Speaker, either: ProviderClient) -> None:
    for order in (
        UpstreamOrder("5", ORDER.fields),
        UpstreamOrder(ORDER.service, {"link": LINK, "quantity": "1"}),
        UpstreamOrder(ORDER.service, {"quantity": "100"}),
    ):
        with pytest.raises(ProviderRefused) as caught:
            either.add(order)
        assert not isinstance(caught.value, ProviderOutOfFunds)

    assert speaker.sandbox.orders == []


@pytest.mark.parametrize("status", [None, 400, 404, 422])
def test_add_is_refused_in_the_provider_s_words(
    speaker: Speaker, either: ProviderClient, status: int | None
) -> None:
    speaker.sandbox.misbehave("add", Kind.REFUSE, text="Private profile", status=status)

    with pytest.raises(ProviderRefused, match="Private profile"):
        either.add(ORDER)


def test_add_with_a_wrong_key_is_refused(speaker: Speaker) -> None:
    with pytest.raises(ProviderRefused, match=r"(?i)key"):
        speaker.client(key="wrong").add(ORDER)


def test_add_without_our_funds_is_told_apart(speaker: Speaker, either: ProviderClient) -> None:
    speaker.sandbox.set_balance("0.0001")
    with pytest.raises(ProviderOutOfFunds):
        either.add(ORDER)
    speaker.sandbox.set_balance("100")
    speaker.sandbox.misbehave("add", Kind.OUT_OF_FUNDS)
    with pytest.raises(ProviderOutOfFunds):
        either.add(ORDER)

    assert speaker.sandbox.orders == []


@pytest.mark.parametrize(
    "kind",
    [
        *(Kind.LOSE_REPLY, Kind.HTML, Kind.EMPTY, Kind.TRUNCATED, Kind.NAN, Kind.LIST),
        *(Kind.STRING, Kind.HUGE, Kind.NO_ID),
    ],
)
def test_add_that_took_effect_and_was_not_answered_is_unknown(
    speaker: Speaker, either: ProviderClient, kind: Kind
) -> None:
    speaker.sandbox.misbehave("add", kind)

    with pytest.raises(OutcomeUnknown):
        either.add(ORDER)

    assert (len(speaker.sandbox.calls), len(speaker.sandbox.orders)) == (1, 1)


@pytest.mark.parametrize("kind", [Kind.RESET, Kind.ERROR_500, Kind.REDIRECT])
def test_add_that_failed_in_a_way_that_proves_nothing_is_unknown(
    speaker: Speaker, either: ProviderClient, kind: Kind
) -> None:
    speaker.sandbox.misbehave("add", kind)

    with pytest.raises(OutcomeUnknown):
        either.add(ORDER)

    assert len(speaker.sandbox.calls) == 1


def test_foreign_id_is_an_id_like_any_other(speaker: Speaker, either: ProviderClient) -> None:
    speaker.sandbox.misbehave("add", Kind.FOREIGN_ID)
    speaker.sandbox.misbehave("add", Kind.DUPLICATE_ID)

    assert [either.add(ORDER_WITHOUT_REFERENCE) for _ in range(2)] == ["1", "500001"]


ORDER_WITHOUT_REFERENCE = UpstreamOrder(ORDER.service, ORDER.fields)


# --- any call ------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", WISHES)
def test_wish_that_is_never_answered_is_unknown(speaker: Speaker, action: str) -> None:
    speaker.client().add(ORDER_WITHOUT_REFERENCE)
    speaker.sandbox.misbehave(action, Kind.HANG)

    with pytest.raises(OutcomeUnknown, match="ReadTimeout"):
        CALLS[action](speaker.client(read_timeout=0.3))


@pytest.mark.parametrize("action", READS)
def test_read_that_is_never_answered_is_invalid(speaker: Speaker, action: str) -> None:
    speaker.sandbox.misbehave(action, Kind.HANG)

    with pytest.raises(ProviderAnswerInvalid, match="ReadTimeout"):
        CALLS[action](speaker.client(read_timeout=0.3))


@pytest.mark.parametrize("action", sorted(CALLS))
def test_call_without_a_connection_was_not_sent(speaker: Speaker, action: str) -> None:
    client = speaker.client()
    speaker.sandbox.stop()

    with pytest.raises(ProviderUnreachable):
        CALLS[action](client)


@pytest.mark.parametrize("action", sorted(CALLS))
@pytest.mark.parametrize(("seconds", "retry_after"), [(30, 30.0), (0, None)])
def test_call_turned_away_for_haste_may_be_made_later(
    speaker: Speaker,
    either: ProviderClient,
    action: str,
    seconds: int,
    retry_after: float | None,
) -> None:
    speaker.sandbox.misbehave(action, Kind.TOO_MANY, seconds=seconds)

    with pytest.raises(ProviderBusy) as caught:
        CALLS[action](either)

    assert caught.value.retry_after == retry_after
    assert (len(speaker.sandbox.calls), speaker.sandbox.orders) == (1, [])


@pytest.mark.parametrize("action", READS)
@pytest.mark.parametrize(
    "kind",
    [
        *(Kind.LOSE_REPLY, Kind.HTML, Kind.EMPTY, Kind.TRUNCATED, Kind.STRING),
        *(Kind.ERROR_500, Kind.REDIRECT),
    ],
)
def test_read_with_an_unusable_answer_is_invalid(
    speaker: Speaker, either: ProviderClient, action: str, kind: Kind
) -> None:
    order = done(speaker.sandbox, either)
    either.refill(order)
    either.add(ORDER_WITHOUT_REFERENCE)
    speaker.sandbox.misbehave(action, kind)

    with pytest.raises(ProviderAnswerInvalid):
        CALLS[action](either)


@pytest.mark.parametrize("action", ["refill", "cancel"])
@pytest.mark.parametrize(
    "kind",
    [
        *(Kind.LOSE_REPLY, Kind.HTML, Kind.EMPTY, Kind.TRUNCATED, Kind.STRING),
        *(Kind.ERROR_500, Kind.REDIRECT, Kind.RESET),
    ],
)
def test_wish_with_an_unusable_answer_is_unknown(
    speaker: Speaker, either: ProviderClient, action: str, kind: Kind
) -> None:
    either.add(order_of(REFILLED))
    if action == "refill":
        speaker.sandbox.complete(500001)
    speaker.sandbox.misbehave(action, kind)

    with pytest.raises(OutcomeUnknown):
        CALLS[action](either)


@pytest.mark.parametrize("action", sorted(CALLS))
def test_call_with_a_wrong_key_is_refused(speaker: Speaker, action: str) -> None:
    with pytest.raises(ProviderRefused):
        CALLS[action](speaker.client(key="wrong"))

    assert list(speaker.sandbox.calls) == []


@pytest.mark.parametrize("action", READS)
def test_read_is_repeated_until_it_works(
    speaker: Speaker, either: ProviderClient, action: str
) -> None:
    either.refill(done(speaker.sandbox, either))
    speaker.sandbox.misbehave(action, Kind.RESET)
    speaker.sandbox.misbehave(action, Kind.HTML)
    before = len(speaker.sandbox.calls)

    with stamina.set_testing(True, attempts=9, cap=True):
        CALLS[action](either)

    assert len(speaker.sandbox.calls) == before + 3


@pytest.mark.parametrize("action", WISHES)
@pytest.mark.parametrize("kind", [Kind.LOSE_REPLY, Kind.RESET, Kind.TOO_MANY, Kind.HTML])
def test_wish_is_never_repeated(
    speaker: Speaker, either: ProviderClient, action: str, kind: Kind
) -> None:
    either.add(order_of(REFILLED))
    before = len(speaker.sandbox.calls)
    speaker.sandbox.misbehave(action, kind, times=9)

    with stamina.set_testing(True, attempts=9, cap=True), pytest.raises(ProviderError):
        CALLS[action](either)

    assert len(speaker.sandbox.calls) == before + 1


@pytest.mark.parametrize("action", sorted(CALLS))
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": f"Key {KEY} is not active", "message": f"{KEY}!"}, 400),
        ({"error": f"Key {KEY} is not active"}, 403),
        ({"refill": {"error": f"Key {KEY}"}, "status": f"{KEY}"}, 200),
        ([{"order": "500001", "cancel": {"error": f"Bad {KEY}"}}], 200),
        ({"order": "500001", "status": f"{KEY}", "reason": f"{KEY}", "remains": 5}, 200),
        (f"<html>{KEY}</html>", 200),
        ({"error": f"Server error {KEY}"}, 500),
    ],
)
def test_key_appears_in_no_error_and_no_log(
    speaker: Speaker,
    either: ProviderClient,
    caplog: Any,
    body: object,
    status: int,
    action: str,
) -> None:
    speaker.sandbox.answer(ANY_ACTION, body, status=status, times=9)

    with structlog.testing.capture_logs() as logs:
        try:
            told = repr(CALLS[action](either))
        except ProviderError as error:
            told = "".join(traceback.format_exception(error))

    assert KEY not in told
    assert KEY not in f"{logs} {caplog.text} {either!r}"
    assert any(entry["event"] == "provider_call" for entry in logs)


# --- statuses ------------------------------------------------------------------------------------


def test_statuses_are_read(speaker: Speaker, either: ProviderClient) -> None:
    sandbox, order = speaker.sandbox, ORDER_WITHOUT_REFERENCE
    one, two, three, four, five = (either.add(order) for _ in range(5))
    sandbox.end_partial(one, remains=40)
    sandbox.cancel(two)
    sandbox.fail(three)
    sandbox.complete(four)

    found = either.statuses([one, two, three, four, five, "7"])

    cost = PLAIN.rate / 10
    assert {
        key: (report.state, report.remains, report.charge) for key, report in found.items()
    } == {
        one: (UpstreamState.PARTIAL, 40, cost * 60 / 100),
        two: (UpstreamState.CANCELLED, 100, 0),
        three: (UpstreamState.FAILED, 100, 0),
        four: (UpstreamState.COMPLETED, 0, cost),
        five: (UpstreamState.PENDING, 100, cost),
    }
    assert {report.start_count for report in found.values()} == {sandbox.orders[0].start_count}


def test_statuses_of_a_hundred_orders_are_one_call(
    speaker: Speaker, either: ProviderClient
) -> None:
    orders = [either.add(ORDER_WITHOUT_REFERENCE) for _ in range(100)]
    before = len(speaker.sandbox.calls)

    assert set(either.statuses(orders)) == set(orders)
    assert len(speaker.sandbox.calls) == before + 1


def test_statuses_of_nothing_ask_nothing(speaker: Speaker, either: ProviderClient) -> None:
    assert (either.statuses([]), either.refill_statuses([]), either.cancel([])) == ({}, {}, {})
    assert list(speaker.sandbox.calls) == []


@pytest.mark.parametrize("call", ["statuses", "refill_statuses", "cancel"])
def test_more_than_a_hundred_are_a_mistake(either: ProviderClient, call: str) -> None:
    with pytest.raises(ValueError, match="100"):
        getattr(either, call)([str(number) for number in range(1, 102)])


def test_status_of_an_unknown_order_is_absent(either: ProviderClient) -> None:
    assert either.statuses(["7"]) == {}


@pytest.mark.parametrize(
    ("kind", "state", "remains"),
    [
        (Kind.UNKNOWN_WORD, None, 1000),
        (Kind.NEGATIVE_REMAINS, UpstreamState.PENDING, -12),
        (Kind.NAN, UpstreamState.PENDING, None),
    ],
)
def test_odd_report_is_told_as_it_is(
    speaker: Speaker,
    either: ProviderClient,
    kind: Kind,
    state: UpstreamState | None,
    remains: int | None,
) -> None:
    order = either.add(order_of(PLAIN))
    speaker.sandbox.misbehave("status", kind)

    report = either.statuses([order])[order]

    assert (report.state, report.remains) == (state, remains)


def test_foreign_order_among_the_reports_is_passed_over(
    speaker: Speaker, either: ProviderClient
) -> None:
    orders = [either.add(ORDER_WITHOUT_REFERENCE) for _ in range(2)]
    speaker.sandbox.misbehave("status", Kind.FOREIGN_ID)

    assert set(either.statuses(orders)) == set(orders)


def test_subscription_tells_posts_and_charge_as_they_are_served(
    speaker: Speaker, either: ProviderClient
) -> None:
    item = first(type="Subscriptions", cancel=True)
    fields = {"username": "x", "min": "50", "max": "100", "posts": "3", "delay": "0"}
    order = either.add(UpstreamOrder(str(item.id), fields))
    each = item.rate * 100 / 1000
    told = []
    for seconds in (0, 120 + POST_TAKES, POST_TAKES, DAY):
        speaker.sandbox.advance(seconds)
        report = either.statuses([order])[order]
        told.append((report.state, report.posts, report.charge))

    running = UpstreamState.IN_PROGRESS
    assert told == [
        (running, 0, 0),
        (running, 1, each),
        (running, 2, each * 2),
        (UpstreamState.COMPLETED, 3, each * 3),
    ]
    assert either.balance()[0] == 10_000 - each * 3


# --- refills -------------------------------------------------------------------------------------


def test_refill_is_begun_and_followed(speaker: Speaker, either: ProviderClient) -> None:
    kept = either.refill(done(speaker.sandbox, either))
    rejected = either.refill(done(speaker.sandbox, either, link="https://a.example/norefill"))

    before = either.refill_statuses([kept, rejected])
    speaker.sandbox.advance(REFILL_TAKES)
    after = either.refill_statuses([kept, rejected])

    assert [report.state for report in before.values()] == [UpstreamRefillState.PENDING] * 2
    assert {key: report.state for key, report in after.items()} == {
        kept: UpstreamRefillState.COMPLETED,
        rejected: UpstreamRefillState.REJECTED,
    }


def test_refill_that_is_not_due_is_refused(speaker: Speaker, either: ProviderClient) -> None:
    plain, running = either.add(order_of(PLAIN)), either.add(order_of(REFILLED))
    order = done(speaker.sandbox, either)
    either.refill(order)
    speaker.sandbox.complete(plain)

    for asked, reason in (
        (plain, "not available"),
        (running, "not eligible"),
        (order, "already in progress"),
        ("7", "Incorrect order ID"),
    ):
        with pytest.raises(ProviderRefused, match=reason):
            either.refill(asked)


def test_status_of_an_unknown_refill_has_the_reason(either: ProviderClient) -> None:
    report = either.refill_statuses(["5"])["5"]

    assert report.state is None
    assert "Refill not found" in report.reason


def test_one_unknown_refill_does_not_spoil_the_others(
    speaker: Speaker, either: ProviderClient
) -> None:
    refill = either.refill(done(speaker.sandbox, either))
    speaker.sandbox.complete_refill(refill)

    found = either.refill_statuses(["5", refill, refill])

    assert {key: report.state for key, report in found.items()} == {
        "5": None,
        refill: UpstreamRefillState.COMPLETED,
    }


# --- cancels -------------------------------------------------------------------------------------


def test_cancel_is_asked_and_seen_in_the_status(speaker: Speaker, either: ProviderClient) -> None:
    order = either.add(order_of(PLAIN, link="https://a.example/slow"))

    assert either.cancel([order]) == {order: UpstreamCancel(accepted=True)}
    speaker.sandbox.advance(CANCEL_TAKES)
    assert either.statuses([order])[order].state is UpstreamState.CANCELLED


def test_cancels_are_answered_one_by_one(speaker: Speaker, either: ProviderClient) -> None:
    asked, fixed, ended = (either.add(order_of(item)) for item in (PLAIN, FIXED, PLAIN))
    speaker.sandbox.complete(ended)

    found = either.cancel([asked, fixed, ended, "7"])

    assert {key: answer.accepted for key, answer in found.items()} == {
        asked: True,
        fixed: False,
        ended: False,
        "7": False,
    }
    assert "cannot be canceled" in found[fixed].reason
    assert "Incorrect order ID" in found["7"].reason


def test_cancel_that_was_asked_before_still_holds(either: ProviderClient) -> None:
    order = either.add(order_of(PLAIN))
    either.cancel([order])

    answer = either.cancel([order])[order]

    assert answer.accepted
    assert "already" in answer.reason


def test_cancel_of_one_that_cannot_be_is_an_answer(either: ProviderClient) -> None:
    order = either.add(order_of(FIXED))

    assert not either.cancel([order])[order].accepted
    assert not either.cancel(["7"])["7"].accepted


def test_cancelled_subscription_keeps_what_it_served(
    speaker: Speaker, either: ProviderClient
) -> None:
    item = first(type="Subscriptions", cancel=True)
    fields = {"username": "x", "min": "50", "max": "100", "old_posts": "2", "delay": "0"}
    order = either.add(UpstreamOrder(str(item.id), fields))
    speaker.sandbox.advance(120)

    either.cancel([order])
    speaker.sandbox.advance(DAY)

    report = either.statuses([order])[order]
    assert (report.state, report.posts) == (UpstreamState.CANCELLED, 2)
    assert report.charge == item.rate * 200 / 1000


# --- finding, and asking again -------------------------------------------------------------------


def test_order_is_found_by_its_reference_where_the_dialect_can(
    speaker: Speaker, either: ProviderClient
) -> None:
    either.add(order_of(PLAIN, reference="other"))
    order = either.add(ORDER)
    if speaker.dialect == "panel":
        before = len(speaker.sandbox.calls)
        with pytest.raises(NotOffered):
            either.find("order-1")
        assert len(speaker.sandbox.calls) == before
        return

    assert (either.find("order-1"), either.find("order-2")) == (order, None)


def test_add_that_is_said_to_repeat_safely_does(speaker: Speaker, either: ProviderClient) -> None:
    assert either.repeats_safely is (speaker.dialect == "rest")
    speaker.sandbox.misbehave("add", Kind.LOSE_REPLY)
    with pytest.raises(OutcomeUnknown):
        either.add(ORDER)

    again = either.add(ORDER)

    bought = [str(order.id) for order in speaker.sandbox.orders]
    assert bought == ([again] if either.repeats_safely else ["500001", again])


# --- threads -------------------------------------------------------------------------------------


def test_one_client_serves_many_threads(speaker: Speaker, either: ProviderClient) -> None:
    orders = [
        UpstreamOrder(ORDER.service, ORDER.fields, reference=f"thread-{n}") for n in range(24)
    ]

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(either.add, orders))
        reports = list(pool.map(lambda one: either.statuses([one])[one].state, ids))

    assert sorted(ids) == [str(order.id) for order in speaker.sandbox.orders]
    assert len(set(ids)) == 24
    assert set(reports) == {UpstreamState.PENDING}


def test_unknown_word_of_a_refill_is_none(speaker: Speaker, either: ProviderClient) -> None:
    speaker.sandbox.answer("refill_status", {"status": "Marinating"})

    assert either.refill_statuses(["7001"]) == {
        "7001": UpstreamRefill(state=None, word="Marinating")
    }
