"""Subscriptions, refills and recurring misbehaviour of the sandbox."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from catalog.order_types import ORDER_TYPES
from catalog.sandbox.delivery import POST_TAKES, REFILL_TAKES
from catalog.sandbox.misbehaviour import ANY_ACTION, Kind
from tests.catalog.sandbox.test_server import FIELDS, PLAIN, REFILLED, first
from tests.sandbox import DAY, KEY, SandboxInTest

Call = Callable[..., Any]
ITEM = first(type="Subscriptions", cancel=True)
EACH = ITEM.rate * 100 / 1000  # of one post with 100 units


@pytest.fixture
def call(sandbox: SandboxInTest) -> Call:
    def post(action: str, **parameters: object) -> Any:
        data = {"key": KEY, "action": action, **parameters}
        return httpx2.post(sandbox.url, data=data, timeout=5, trust_env=False).json()

    return post


@pytest.fixture
def subscribe(call: Call) -> Call:
    def post(**changes: object) -> Any:
        fields = {"username": "somebody", "min": 50, "max": 100, "posts": 3, "delay": 0}
        return call("add", service=ITEM.id, **{**fields, **changes})

    return post


@pytest.fixture
def told(call: Call) -> Call:
    def read(order: object) -> tuple[str, int, Decimal]:
        answer = call("status", order=order)
        return answer["status"], int(answer["posts"]), Decimal(answer["charge"])

    return read


# --- subscriptions -------------------------------------------------------------------------------


def test_subscription_serves_its_posts_one_by_one(
    sandbox: SandboxInTest, subscribe: Call, told: Call
) -> None:
    order = subscribe(old_posts=2)["order"]
    seen = [told(order)]
    for seconds in (120, POST_TAKES, POST_TAKES, POST_TAKES, DAY):
        sandbox.advance(seconds)
        seen.append(told(order))

    assert seen == [
        ("Active", 0, 0),
        ("Active", 2, EACH * 2),
        ("Active", 3, EACH * 3),
        ("Active", 4, EACH * 4),
        ("Completed", 5, EACH * 5),
        ("Completed", 5, EACH * 5),
    ]
    assert sandbox.balance == 10_000 - EACH * 5


def test_subscription_status_is_told_as_panels_tell_it(call: Call, subscribe: Call) -> None:
    order = subscribe()["order"]

    assert call("status", order=order) == {
        "status": "Active",
        "charge": "0",
        "posts": "0",
        "expiry": None,
        "currency": "USD",
    }


def test_subscription_expires_when_its_last_day_is_over(
    sandbox: SandboxInTest, subscribe: Call, told: Call
) -> None:
    today = datetime.now(UTC)
    order = subscribe(posts=500, expiry=today.strftime("%d/%m/%Y"))["order"]

    sandbox.advance(DAY)

    word, posts, charge = told(order)
    midnight = today.replace(hour=0, minute=0, second=0) + timedelta(days=1)
    most = (midnight - today).total_seconds() / POST_TAKES
    assert word == "Expired"
    assert posts <= most + 1
    assert charge == EACH * posts
    sandbox.advance(DAY)
    assert told(order) == (word, posts, charge)


def test_cancelled_subscription_keeps_what_was_served(
    sandbox: SandboxInTest, call: Call, subscribe: Call, told: Call
) -> None:
    order = subscribe()["order"]
    sandbox.advance(120 + POST_TAKES)

    assert call("cancel", orders=order) == [{"order": order, "cancel": 1}]
    assert told(order) == ("Active", 1, EACH)
    sandbox.advance(DAY)

    assert told(order) == ("Canceled", 1, EACH)
    assert sandbox.orders[0].remains == 200


@pytest.mark.parametrize(
    ("end", "status", "posts"),
    [
        (lambda s, o: s.complete(o), "Completed", 3),
        (lambda s, o: s.cancel(o), "Canceled", 1),
        (lambda s, o: s.fail(o), "Fail", 1),
    ],
)
def test_subscription_can_be_ended_at_once(
    sandbox: SandboxInTest, subscribe: Call, told: Call, end: Call, status: str, posts: int
) -> None:
    order = subscribe()["order"]
    sandbox.advance(120 + POST_TAKES)
    told(order)

    end(sandbox, order)

    assert told(order) == (status, posts, EACH * posts)


@pytest.mark.parametrize(
    ("word", "end"),
    [("partial", ("Expired", 1)), ("cancel", ("Canceled", 0)), ("fail", ("Fail", 0))],
)
def test_words_in_the_user_name_decide_the_end(
    sandbox: SandboxInTest, subscribe: Call, told: Call, word: str, end: tuple[str, int]
) -> None:
    order = subscribe(username=f"some_{word}")["order"]
    sandbox.advance(DAY)

    assert told(order)[:2] == end


@pytest.mark.parametrize(
    "changes",
    [
        *({"min": 49}, {"min": 200}, {"max": 10**6}, {"max": "x"}, {"delay": "x"}, {"posts": "-1"}),
        *({"expiry": "2030-01-01"}, {"expiry": "01/01/2020"}, {"expiry": "31/02/2030"}),
        {"username": " "},
    ],
)
def test_subscription_that_makes_no_sense_is_refused(
    sandbox: SandboxInTest, subscribe: Call, changes: dict[str, object]
) -> None:
    assert subscribe(**changes)["error"].startswith("Incorrect")
    assert sandbox.orders == []


def test_subscription_needs_funds_for_its_first_post(
    sandbox: SandboxInTest, subscribe: Call
) -> None:
    sandbox.set_balance(EACH / 2)

    assert subscribe() == {"error": "Not enough funds on balance"}


def test_subscription_without_a_number_of_posts_goes_on(
    sandbox: SandboxInTest, subscribe: Call, told: Call
) -> None:
    order = subscribe(posts=0)["order"]
    sandbox.advance(DAY)

    assert told(order)[0] == "Active"
    assert told(order)[1] > 100


# --- the table of order types --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "field"),
    [(kind, field) for kind, row in ORDER_TYPES.items() for field in row.fields],
)
def test_field_that_a_type_needs_is_missed(
    sandbox: SandboxInTest, call: Call, kind: str, field: str
) -> None:
    row = ORDER_TYPES[kind]
    fields = {name: FIELDS[name] for name in row.fields if name != field}

    answer = call("add", service=first(type=kind).id, **fields)

    assert answer == {"error": "Bad link" if field == "link" else f"Incorrect {field}"}
    assert sandbox.orders == []


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("Web Traffic", {"device": "6"}),
        ("Web Traffic", {"type_of_traffic": "4"}),
        ("Web Traffic", {"google_keyword": ""}),
        ("Web Traffic", {"type_of_traffic": "2"}),
        ("Web Traffic", {"type_of_traffic": "2", "referring_url": "nowhere"}),
        ("Poll", {"answer_number": "first"}),
    ],
)
def test_field_that_does_not_hold_what_it_should_is_refused(
    sandbox: SandboxInTest, call: Call, kind: str, changes: dict[str, str]
) -> None:
    row = ORDER_TYPES[kind]
    names = (*row.fields, *row.optional)
    fields = {name: FIELDS[name] for name in names if name in FIELDS} | changes

    answer = call("add", service=first(type=kind).id, **fields)

    assert answer["error"].startswith("Incorrect ")
    assert sandbox.orders == []


# --- refills -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("link", "word"), [("x", "Completed"), ("norefill", "Rejected")])
def test_refill_ends_as_the_link_says(
    sandbox: SandboxInTest, call: Call, link: str, word: str
) -> None:
    url = f"https://a.example/{link}"
    order = call("add", service=REFILLED.id, link=url, quantity=100)["order"]
    sandbox.complete(order)
    refill = call("refill", order=order)["refill"]
    assert call("refill_status", refill=refill) == {"status": "In progress"}

    sandbox.advance(REFILL_TAKES)

    assert call("refill_status", refill=refill) == {"status": word}


def test_refill_can_be_ended_at_once(sandbox: SandboxInTest, call: Call) -> None:
    for end, word in ((sandbox.complete_refill, "Completed"), (sandbox.reject_refill, "Rejected")):
        order = call("add", service=REFILLED.id, link="https://a.example/y", quantity=100)["order"]
        sandbox.complete(order)
        refill = call("refill", order=order)["refill"]

        end(refill)

        assert call("refill_status", refill=refill) == {"status": word}


# --- recurring misbehaviour ----------------------------------------------------------------------


def test_every_third_call_goes_wrong_until_it_behaves(sandbox: SandboxInTest, call: Call) -> None:
    sandbox.misbehave("balance", Kind.REFUSE, text="No", every=3)

    def ask() -> list[bool]:
        return ["error" in call("balance") for _ in range(7)]

    assert ask() == [False, False, True, False, False, True, False]
    assert "error" not in call("status", order=call(**ADD)["order"])
    sandbox.behave()
    assert ask() == [False] * 7


ADD = {"action": "add", "service": PLAIN.id, "link": "https://a.example", "quantity": 100}


def test_every_second_call_goes_wrong_so_many_times(sandbox: SandboxInTest, call: Call) -> None:
    sandbox.misbehave(ANY_ACTION, Kind.REFUSE, text="No", every=2, times=2)

    assert ["error" in call("balance") for _ in range(8)] == [
        *(False, True, False, True),
        *(False, False, False, False),
    ]


def test_what_waits_comes_before_what_recurs(sandbox: SandboxInTest, call: Call) -> None:
    sandbox.misbehave("balance", Kind.REFUSE, text="Rule", every=2)
    sandbox.misbehave("balance", Kind.REFUSE, text="Waiting", times=2)

    assert [call("balance").get("error") for _ in range(4)] == ["Waiting", "Waiting", None, "Rule"]


def test_lost_replies_of_every_tenth_order_still_take_it(
    sandbox: SandboxInTest, call: Call
) -> None:
    sandbox.misbehave("add", Kind.LOSE_REPLY, every=10)

    lost = 0
    for _ in range(20):
        try:
            call(**ADD)
        except httpx2.ReadError:
            lost += 1

    assert (lost, len(sandbox.orders)) == (2, 20)


def test_recurring_misbehaviour_is_commanded_from_afar(sandbox: SandboxInTest, call: Call) -> None:
    url = sandbox.url.replace("/api/v2", "/_control")

    def control(**misbehave: object) -> int:
        command = {"misbehave": {"action": "balance", "kind": "refuse", **misbehave}}
        headers = {"X-API-Key": KEY}
        return httpx2.post(url, json=command, headers=headers, trust_env=False).status_code

    assert (control(every=0), control(every="x"), control(every=2, text="No")) == (400, 400, 200)
    assert ["error" in call("balance") for _ in range(4)] == [False, True, False, True]


# --- files of earlier versions -------------------------------------------------------------------


def test_file_of_an_earlier_version_goes_on(tmp_path: Path, unrepeated_reads: None) -> None:
    path = tmp_path / "state.sqlite3"
    before = SandboxInTest(path)
    httpx2.post(before.url, data={"key": KEY, **ADD}, trust_env=False)
    before.close()
    with sqlite3.connect(path) as connection:
        for name in ("reference", "new_posts", "old_posts", "post_units", "post_cost", "served"):
            connection.execute(f"ALTER TABLE orders DROP COLUMN {name}")
        connection.execute("ALTER TABLE refills DROP COLUMN ending")
        connection.execute("DROP TABLE idempotency")
        connection.execute("DELETE FROM facts WHERE name = 'born'")
    connection.close()

    after = SandboxInTest(path)

    (order,) = after.orders
    assert (order.status, order.reference, order.posts) == ("Pending", "", None)
    after.close()
