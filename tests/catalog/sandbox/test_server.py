"""The sandbox over HTTP, as any panel client sees it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog

from catalog.order_types import ORDER_TYPES, ChargedOn
from catalog.sandbox.menu import SHORTEST, Item, menu
from catalog.sandbox.misbehaviour import Kind
from catalog.sandbox.spoiling import HTML
from tests.sandbox import DAY, KEY, SandboxInTest

Call = Callable[..., Any]
MENU = menu(SHORTEST)


def first(**wanted: object) -> Item:
    return next(item for item in MENU if all(getattr(item, n) == v for n, v in wanted.items()))


PLAIN = first(type="Default", refill=False, cancel=True)
REFILLED = first(type="Default", refill=True, cancel=True)
FIXED = first(type="Default", cancel=False)
DRIPPED = first(dripfeed=True)
# What an order of each type is bought with, and how many units that is.
FIELDS: dict[str, str] = {
    "link": "https://a.example/x",
    "quantity": "1000",
    "keywords": "one\ntwo",
    "comments": "\n".join(f"comment {n}" for n in range(20)),
    "usernames": "\n".join(f"user{n}" for n in range(20)),
    "hashtags": "#a\n#b",
    "hashtag": "#a",
    "username": "somebody",
    "media": "https://a.example/media",
    "answer_number": "2",
    "groups": "https://a.example/group",
    "min": "100",
    "max": "1000",
    "posts": "3",
    "delay": "0",
    "country": "TR",
    "device": "1",
    "type_of_traffic": "1",
    "google_keyword": "shoes",
}
UNITS = {
    ChargedOn.QUANTITY: 1000,
    ChargedOn.COMMENTS: 20,
    ChargedOn.USERNAMES: 20,
    ChargedOn.POSTS: 0,  # charged as they are served
}


@pytest.fixture
def call(sandbox: SandboxInTest) -> Call:
    def post(action: str, **parameters: object) -> Any:
        data = {"key": KEY, "action": action, **parameters}
        return httpx2.post(sandbox.url, data=data, timeout=5, trust_env=False).json()

    return post


@pytest.fixture
def buy(call: Call) -> Call:
    def post(item: Item = PLAIN, **changes: object) -> Any:
        values = {"service": item.id, "link": FIELDS["link"], "quantity": 1000, **changes}
        return call("add", **values)

    return post


# --- selling -------------------------------------------------------------------------------------


def test_services_are_told_as_panels_tell_them(call: Call) -> None:
    services = call("services")

    assert len(services) == SHORTEST
    assert services[0] == {
        "service": 1001,
        "name": "Instagram Followers [Mixed | No Refill | 50K/Day]",
        "type": "Default",
        "category": "Instagram Followers",
        "rate": "0.6441862",
        "min": "10",
        "max": "500000",
        "refill": False,
        "cancel": True,
        "dripfeed": True,
        "desc": "Start: 0-1 hour. No refill.",
    }


@pytest.mark.parametrize("kind", sorted(ORDER_TYPES))
def test_every_type_is_sold_at_its_rate(sandbox: SandboxInTest, call: Call, kind: str) -> None:
    item, row = first(type=kind), ORDER_TYPES[kind]
    fields = {name: FIELDS[name] for name in (*row.fields, *row.optional) if name in FIELDS}

    answer = call("add", service=item.id, **fields)

    (order,) = sandbox.orders
    packaged = row.charged_on is ChargedOn.PACKAGE
    cost = item.rate if packaged else item.rate * UNITS[row.charged_on] / 1000
    assert answer == {"order": order.id}
    assert order.cost == cost
    assert sandbox.balance == 10_000 - cost


def test_drip_feed_is_charged_for_all_runs(sandbox: SandboxInTest, buy: Call) -> None:
    buy(DRIPPED, runs=3, interval=10)

    (order,) = sandbox.orders
    assert (order.total, order.cost) == (3000, DRIPPED.rate * 3)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"service": 5}, "Incorrect service ID"),
        ({"service": "x"}, "Incorrect service ID"),
        ({"link": " "}, "Bad link"),
        ({"quantity": ""}, "Incorrect quantity"),
        ({"quantity": "-5"}, "Incorrect quantity"),
        ({"quantity": "9" * 30}, "Incorrect quantity"),
        ({"quantity": PLAIN.min - 1}, f"Quantity less than minimal {PLAIN.min}"),
        ({"quantity": PLAIN.max + 1}, f"Quantity more than maximum {PLAIN.max}"),
        ({"runs": 0}, "Incorrect runs or interval"),
        ({"service": FIXED.id, "runs": 2}, "Drip-feed is not available for this service"),
    ],
)
def test_order_that_makes_no_sense_is_refused(
    sandbox: SandboxInTest, buy: Call, changes: dict[str, object], text: str
) -> None:
    assert buy(**changes) == {"error": text}
    assert (sandbox.orders, sandbox.balance) == ([], 10_000)


def test_order_beyond_the_balance_is_refused(sandbox: SandboxInTest, buy: Call) -> None:
    sandbox.set_balance(PLAIN.rate - Decimal("0.0000001"))

    assert buy() == {"error": "Not enough funds on balance"}
    assert sandbox.orders == []


def test_many_orders_at_once_are_charged_exactly(sandbox: SandboxInTest, buy: Call) -> None:
    sandbox.set_balance(PLAIN.rate * 10)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: buy(), range(32)))

    bought = [answer["order"] for answer in answers if "order" in answer]
    assert sorted(bought) == [order.id for order in sandbox.orders]
    assert (len(bought), sandbox.balance) == (10, 0)


# --- telling -------------------------------------------------------------------------------------


def test_order_is_delivered_over_time(sandbox: SandboxInTest, call: Call, buy: Call) -> None:
    order = buy()["order"]

    told = []
    for _ in range(4):
        told.append(call("status", order=order)["status"])
        sandbox.advance(400)

    assert told == ["Pending", "In progress", "In progress", "Completed"]


def test_clock_runs_with_its_speed(sandbox: SandboxInTest, call: Call, buy: Call) -> None:
    order = buy()["order"]

    sandbox.set_speed(10**9)

    assert call("status", order=order)["status"] == "Completed"


@pytest.mark.parametrize(
    ("word", "end", "kept"),
    [
        ("x", ("Completed", "0"), Decimal(1)),
        ("partial", ("Partial", "400"), Decimal("0.6")),
        ("cancel", ("Canceled", "1000"), Decimal(0)),
        ("fail", ("Fail", "1000"), Decimal(0)),
    ],
)
def test_what_was_not_delivered_is_paid_back_once(
    sandbox: SandboxInTest, call: Call, word: str, end: tuple[str, str], kept: Decimal
) -> None:
    link = f"https://a.example/{word}"
    order = call("add", service=PLAIN.id, link=link, quantity=1000)["order"]
    sandbox.advance(DAY)

    told = [call("status", order=order) for _ in range(2)][1]

    assert (told["status"], told["remains"]) == end
    assert Decimal(told["charge"]) == PLAIN.rate * kept
    assert Decimal(call("balance")["balance"]) == 10_000 - PLAIN.rate * kept


def test_multi_status_tells_each_order_by_its_id(call: Call, buy: Call) -> None:
    order = buy()["order"]

    told = call("status", orders=f"{order}, 7,x")

    assert list(told) == [str(order), "7", "x"]
    assert told[str(order)]["status"] == "Pending"
    assert told["7"] == told["x"] == {"error": "Incorrect order ID"}


def test_more_than_a_hundred_ids_are_refused(call: Call) -> None:
    ids = ",".join(map(str, range(1, 102)))

    assert call("status", orders=ids) == {"error": "Maximum 100 orders allowed"}


@pytest.mark.parametrize("order", ["7", "x", "", "9" * 40])
def test_unknown_order_is_refused(call: Call, order: str) -> None:
    assert call("status", order=order) == {"error": "Incorrect order ID"}


# --- after the sale ------------------------------------------------------------------------------


def test_refill_is_done_after_a_while(sandbox: SandboxInTest, call: Call, buy: Call) -> None:
    order = buy(REFILLED)["order"]
    sandbox.complete(order)

    refill = call("refill", order=order)["refill"]

    assert call("refill", order=order) == {"error": "Refill is already in progress"}
    assert call("refill_status", refill=refill) == {"status": "In progress"}
    sandbox.advance(DAY)
    assert call("refill_status", refills=f"{refill},5") == [
        {"refill": int(refill), "status": "Completed"},
        {"refill": 5, "status": {"error": "Refill not found"}},
    ]


def test_refill_is_for_delivered_orders_of_services_that_have_it(
    sandbox: SandboxInTest, call: Call, buy: Call
) -> None:
    open_order, plain, done = buy(REFILLED)["order"], buy()["order"], buy(REFILLED)["order"]
    sandbox.complete(plain)
    sandbox.complete(done)

    answer = call("refill", orders=f"{open_order},{plain},7,{done}")

    assert answer == [
        {"order": open_order, "refill": {"error": "Order is not eligible for refill"}},
        {"order": plain, "refill": {"error": "Refill is not available for this service"}},
        {"order": 7, "refill": {"error": "Incorrect order ID"}},
        {"order": done, "refill": 7001},
    ]


def test_cancel_of_an_order_that_has_not_begun_pays_all_back(
    sandbox: SandboxInTest, call: Call, buy: Call
) -> None:
    order = buy(link="https://a.example/slow")["order"]

    assert call("cancel", orders=f"{order},7") == [
        {"order": order, "cancel": 1},
        {"order": 7, "cancel": {"error": "Incorrect order ID"}},
    ]
    assert call("cancel", orders=order) == [
        {"order": order, "cancel": {"error": "Cancel already requested"}}
    ]
    sandbox.advance(61)
    assert call("status", order=order)["status"] == "Canceled"
    assert sandbox.balance == 10_000


def test_cancel_of_an_order_under_way_ends_it_partial(
    sandbox: SandboxInTest, call: Call, buy: Call
) -> None:
    order = buy()["order"]
    sandbox.advance(400)

    call("cancel", orders=order)
    sandbox.advance(61)

    told = call("status", order=order)
    assert told["status"] == "Partial"
    assert 0 < int(told["remains"]) < 1000
    assert Decimal(told["charge"]) == PLAIN.rate * (1000 - int(told["remains"])) / 1000


@pytest.mark.parametrize("item", [FIXED, PLAIN])
def test_cancel_that_is_not_possible_is_refused(
    sandbox: SandboxInTest, call: Call, buy: Call, item: Item
) -> None:
    order = buy(item)["order"]
    if item is PLAIN:
        sandbox.complete(order)

    assert call("cancel", orders=order) == [
        {"order": order, "cancel": {"error": "Order cannot be canceled"}}
    ]


# --- speaking ------------------------------------------------------------------------------------


def test_call_by_query_form_and_json_is_the_same(sandbox: SandboxInTest) -> None:
    asked: dict[str, Any] = {"key": KEY, "action": "status", "order": 7}
    base = sandbox.url

    with httpx2.Client(trust_env=False) as client:
        answers = [
            client.get(base, params=asked).json(),
            client.post(base, data=asked).json(),
            client.post(base, json=asked).json(),
            client.post(f"{base}/", data=asked).json(),
        ]

    assert answers == [{"error": "Incorrect order ID"}] * 4


@pytest.mark.parametrize("key", ["", "wrong", "ключ"])
def test_call_without_the_key_is_refused(sandbox: SandboxInTest, key: str) -> None:
    answer = httpx2.post(sandbox.url, data={"key": key, "action": "balance"}, trust_env=False)

    assert answer.json() == {"error": "Invalid API key"}
    assert list(sandbox.calls) == []


@pytest.mark.parametrize("action", ["", "nonsense"])
def test_unknown_action_is_refused(call: Call, action: str) -> None:
    assert call(action) == {"error": "Incorrect request"}


@pytest.mark.parametrize("body", [b"[1]", b"{", b"\xff"])
def test_body_that_is_no_json_object_is_refused(sandbox: SandboxInTest, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}

    answer = httpx2.post(sandbox.url, content=body, headers=headers, trust_env=False)

    assert answer.json() == {"error": "Incorrect request"}


def test_body_without_end_is_refused(sandbox: SandboxInTest) -> None:
    with socket.create_connection(("127.0.0.1", sandbox.port)) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n")

        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_log_holds_calls_and_no_key(sandbox: SandboxInTest, call: Call) -> None:
    with structlog.testing.capture_logs() as logs:
        call("balance")

    assert [entry["action"] for entry in logs if entry["event"] == "sandbox_call"] == ["balance"]
    assert KEY not in str(logs)


# --- remembering ---------------------------------------------------------------------------------


def test_state_survives_a_restart(tmp_path: Path, unrepeated_reads: None) -> None:
    before = SandboxInTest(tmp_path / "deep" / "state.sqlite3")
    data = {
        "key": KEY,
        "action": "add",
        "service": 1001,
        "link": "https://a.example",
        "quantity": 10,
    }
    httpx2.post(before.url, data=data, trust_env=False)
    before.advance(100)
    known = (before.orders, before.balance)
    before.close()

    after = SandboxInTest(tmp_path / "deep" / "state.sqlite3")

    assert (after.orders, after.balance) == known
    after.close()


# --- misbehaving ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.LOSE_REPLY, Kind.RESET])
def test_reset_connection_is_a_reset(sandbox: SandboxInTest, buy: Call, kind: Kind) -> None:
    sandbox.misbehave("add", kind)

    with pytest.raises(httpx2.ReadError, match="reset"):
        buy()

    assert len(sandbox.orders) == (1 if kind is Kind.LOSE_REPLY else 0)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Kind.HTML, HTML),
        (Kind.EMPTY, ""),
        (Kind.TRUNCATED, '{"order"'),
        (Kind.NAN, '{"order": NaN}'),
        (Kind.LIST, '[{"order": 500002}]'),
        (Kind.STRING, "\"{'order': 500002}\""),
        (Kind.NO_ID, '{"status": "success"}'),
        (Kind.FOREIGN_ID, '{"order": 1}'),
        (Kind.DUPLICATE_ID, '{"order": 500001}'),
    ],
)
def test_spoiled_answer_to_an_order_that_was_taken(
    sandbox: SandboxInTest, buy: Call, kind: Kind, body: str
) -> None:
    buy()
    sandbox.misbehave("add", kind)
    data = {"key": KEY, "action": "add", "service": 1001, "link": "x", "quantity": 1000}

    answer = httpx2.post(sandbox.url, data=data, trust_env=False)

    assert (answer.status_code, answer.text) == (200, body)
    assert [order.id for order in sandbox.orders] == [500_001, 500_002]


def test_misbehaviour_lasts_for_its_number_of_calls_of_its_action(
    sandbox: SandboxInTest, call: Call, buy: Call
) -> None:
    sandbox.misbehave("add", Kind.REFUSE, text="Bad mood", times=2)

    answers = [buy(), call("balance"), buy(), buy()]

    assert answers == [
        {"error": "Bad mood"},
        {"balance": "10000", "currency": "USD"},
        {"error": "Bad mood"},
        {"order": 500_001},
    ]


def test_effect_of_a_misbehaviour_can_be_chosen(sandbox: SandboxInTest, buy: Call) -> None:
    sandbox.misbehave("add", Kind.HTML, takes_effect=False)
    sandbox.misbehave("add", Kind.ERROR_500, takes_effect=True)

    for _ in range(2):
        with pytest.raises(ValueError, match="Expecting value"):
            buy()

    assert len(sandbox.orders) == 1


def test_hanging_call_is_let_go_when_told_to_behave(sandbox: SandboxInTest, buy: Call) -> None:
    sandbox.misbehave("add", Kind.HANG)

    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(buy)
        assert sandbox.wait_for_orders(1)
        sandbox.behave()
        with pytest.raises(httpx2.RemoteProtocolError):
            hanging.result(5)


def test_words_can_be_put_into_a_status(sandbox: SandboxInTest, call: Call, buy: Call) -> None:
    order = buy()["order"]

    sandbox.say(order, status="Marinating", remains=None)

    told = call("status", order=order)
    assert (told["status"], told["remains"]) == ("Marinating", None)
    assert told["start_count"] == str(sandbox.orders[0].start_count)
    assert call("status", orders=order)[str(order)] == told
    sandbox.say(order)
    assert call("status", order=order)["status"] == "Pending"


@pytest.mark.parametrize(
    ("end", "status", "kept"),
    [
        (lambda s, o: s.complete(o), "Completed", Decimal(1)),
        (lambda s, o: s.end_partial(o, remains=250), "Partial", Decimal("0.75")),
        (lambda s, o: s.cancel(o), "Canceled", Decimal(0)),
        (lambda s, o: s.fail(o), "Fail", Decimal(0)),
    ],
)
def test_order_can_be_ended_at_once(
    sandbox: SandboxInTest, buy: Call, end: Call, status: str, kept: Decimal
) -> None:
    order = buy()["order"]

    end(sandbox, order)
    end(sandbox, order)

    assert (sandbox.orders[0].status, sandbox.balance) == (status, 10_000 - PLAIN.rate * kept)


# --- remote control ------------------------------------------------------------------------------


@pytest.fixture
def control(sandbox: SandboxInTest) -> Call:
    def send(command: object = None, *, key: str = KEY, path: str = "") -> httpx2.Response:
        url = sandbox.url.replace("/api/v2", f"/_control{path}")
        headers = {"X-API-Key": key}
        if command is None:
            return httpx2.get(url, headers=headers, trust_env=False)
        return httpx2.post(url, json=command, headers=headers, trust_env=False)

    return send


def test_control_tells_the_orders(control: Call, buy: Call) -> None:
    order = buy()["order"]

    (told,) = control(path="/orders").json()

    assert (told["order"], told["link"], told["quantity"]) == (order, FIELDS["link"], 1000)


def test_control_makes_it_misbehave_and_behave(control: Call, buy: Call) -> None:
    misbehave = {"action": "add", "kind": "refuse", "text": "No", "times": 5}

    assert control({"misbehave": misbehave}).json() == {"ok": True}
    assert buy() == {"error": "No"}
    assert control({"behave": True}).json() == {"ok": True}
    assert "order" in buy()


def test_control_moves_clock_and_balance(sandbox: SandboxInTest, control: Call, buy: Call) -> None:
    buy()

    control({"advance": DAY, "balance": "5.5"})

    assert (sandbox.orders[0].status, sandbox.balance) == ("Completed", Decimal("5.5"))
    control({"speed": 10**6})
    buy()
    assert sandbox.orders[1].status == "Completed"


@pytest.mark.parametrize(
    "command",
    [
        {"misbehave": {"action": "add", "kind": "nonsense"}},
        {"misbehave": {"kind": "html"}},
        {"misbehave": "add"},
        {"misbehave": {"action": "add", "kind": "html", "nonsense": 1}},
        {"advance": "soon"},
        {"balance": "much"},
        {"action": "add", "kind": "html"},
        {},
    ],
)
def test_control_refuses_what_it_does_not_understand(control: Call, command: object) -> None:
    assert control(command).status_code == 400


def test_control_needs_the_key(sandbox: SandboxInTest, control: Call) -> None:
    assert control({"balance": "0"}, key="wrong").status_code == 403
    assert control(path="/orders", key="").status_code == 403
    assert control(path="/nonsense").status_code == 404
    assert sandbox.balance == 10_000
