"""The sandbox in the REST dialect, as any program of contracts/rest-v1.md sees it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from catalog.sandbox.delivery import REFILL_TAKES
from catalog.sandbox.menu import SHORTEST, menu
from catalog.sandbox.misbehaviour import Kind
from tests.catalog.sandbox.test_server import FIELDS, FIXED, PLAIN, REFILLED, first
from tests.sandbox import DAY, KEY, SandboxInTest

Send = Callable[..., httpx2.Response]
BODY = {"service_id": PLAIN.id, "link": FIELDS["link"], "quantity": 1000}


@pytest.fixture
def send(sandbox: SandboxInTest) -> Send:
    def request(
        method: str,
        path: str,
        body: object = None,
        *,
        key: str = KEY,
        idempotency_key: str = "",
        **query: object,
    ) -> httpx2.Response:
        return httpx2.request(
            method,
            f"{sandbox.rest_url}/{path}",
            params={name: str(value) for name, value in query.items()} or None,
            json=body,
            headers={"X-API-Key": key, "Idempotency-Key": idempotency_key},
            trust_env=False,
        )

    return request


def exactly(response: httpx2.Response) -> Any:
    """The JSON with its fractions as they were written."""
    return json.loads(response.text, parse_float=Decimal)


# --- selling -------------------------------------------------------------------------------------


def test_services_are_grouped_with_the_price_of_one(send: Send) -> None:
    groups = exactly(send("GET", "services"))

    items = menu(SHORTEST)
    assert sum(map(len, groups.values())) == SHORTEST
    assert set(groups) == {item.category for item in items}
    assert groups["Instagram Followers"][0] == {
        "id": 1001,
        "name": "Instagram Followers [Mixed | No Refill | 50K/Day]",
        "category": "Instagram Followers",
        "min_quantity": 10,
        "max_quantity": 500_000,
        "price_per_unit": Decimal("0.0006441862"),
        "currency": "USD",
        "average_time": "Données insuffisantes",
        "type": "Default",
        "description": "Start: 0-1 hour. No refill.",
        "refill": False,
        "cancel": True,
        "dripfeed": True,
    }
    package = first(type="Package")
    assert package.rate in {
        service["price_per_unit"] for services in groups.values() for service in services
    }


def test_order_is_created_as_documented(sandbox: SandboxInTest, send: Send) -> None:
    answer = send("POST", "orders", {**BODY, "client_ref": "mine"})

    (order,) = sandbox.orders
    created = exactly(answer)["order"]
    assert (answer.status_code, exactly(answer)["message"]) == (201, "Commande créée avec succès")
    assert (created["id"], created["status"], created["quantity"]) == (order.id, "pending", 1000)
    assert created["cost"] == PLAIN.rate
    assert exactly(answer)["balance"] == 10_000 - PLAIN.rate
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", created["created_at"])
    assert order.reference == "mine"


def test_money_is_a_number_with_two_decimals_at_least(sandbox: SandboxInTest, send: Send) -> None:
    sandbox.set_balance("5")

    assert '"balance": 5.00,' in send("GET", "balance").text


def test_form_and_trailing_slash_work_too(sandbox: SandboxInTest) -> None:
    answer = httpx2.post(
        f"{sandbox.rest_url}/orders/",
        data={name: str(value) for name, value in BODY.items()},
        headers={"Authorization": f"Bearer {KEY}"},
        trust_env=False,
    )

    assert answer.status_code == 201


def test_key_repeated_gives_the_first_answer_and_charges_nothing(
    sandbox: SandboxInTest, send: Send
) -> None:
    first_answer = send("POST", "orders", BODY, idempotency_key="k1")
    sandbox.advance(DAY)

    again = send("POST", "orders", BODY, idempotency_key="k1")

    assert (again.status_code, again.text) == (201, first_answer.text)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first_answer.headers
    assert len(sandbox.orders) == 1


def test_key_with_another_body_is_refused(sandbox: SandboxInTest, send: Send) -> None:
    send("POST", "orders", BODY, idempotency_key="k1")

    answer = send("POST", "orders", {**BODY, "quantity": 999}, idempotency_key="k1")

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert len(sandbox.orders) == 1


def test_refusal_is_not_kept_for_its_key(sandbox: SandboxInTest, send: Send) -> None:
    sandbox.set_balance("0")
    assert send("POST", "orders", BODY, idempotency_key="k1").status_code == 400
    sandbox.set_balance("100")

    assert send("POST", "orders", BODY, idempotency_key="k1").status_code == 201


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"service_id": 5}, 404, "service_id"),
        ({"link": " "}, 422, "link"),
        ({"quantity": 1}, 422, "quantity"),
        ({"quantity": "x"}, 422, "quantity"),
        ({"client_ref": "x" * 256}, 422, "client_ref"),
    ],
)
def test_order_that_makes_no_sense_is_refused(
    sandbox: SandboxInTest, send: Send, change: dict[str, object], status: int, field: str
) -> None:
    answer = send("POST", "orders", {**BODY, **change})

    told = answer.json()
    assert (answer.status_code, list(told["errors"])) == (status, [field])
    assert told["message"] == told["errors"][field][0]
    assert sandbox.orders == []


def test_order_beyond_the_balance_tells_both_amounts(sandbox: SandboxInTest, send: Send) -> None:
    sandbox.set_balance("0.1")

    answer = send("POST", "orders", BODY)

    told = exactly(answer)
    assert (answer.status_code, told["code"]) == (400, "insufficient_balance")
    assert (told["required"], told["current_balance"]) == (PLAIN.rate, Decimal("0.10"))


# --- telling -------------------------------------------------------------------------------------


def test_orders_are_listed_by_ids_and_pages_newest_first(send: Send) -> None:
    ids = [send("POST", "orders", BODY).json()["order"]["id"] for _ in range(5)]

    asked = ",".join(map(str, [*ids[1:], 7]))
    pages = [send("GET", "orders", ids=asked, per_page=3, page=n).json() for n in (1, 2, 3)]

    assert [[item["id"] for item in page["data"]] for page in pages] == [
        ids[:1:-1],
        ids[1:2],
        [],
    ]
    assert pages[0]["meta"] == {"current_page": 1, "total": 4, "per_page": 3}
    assert send("GET", "orders").json()["meta"]["total"] == 5


def test_orders_are_found_by_their_reference(send: Send) -> None:
    number = send("POST", "orders", {**BODY, "client_ref": "mine"}).json()["order"]["id"]
    send("POST", "orders", BODY)

    found = send("GET", "orders", client_ref="mine").json()

    assert [item["id"] for item in found["data"]] == [number]
    assert send("GET", "orders", client_ref="other").json()["meta"]["total"] == 0


def test_order_is_told_by_its_id(sandbox: SandboxInTest, send: Send) -> None:
    number = send("POST", "orders", BODY).json()["order"]["id"]
    sandbox.end_partial(number, remains=250)

    told = exactly(send("GET", f"orders/{number}"))

    assert (told["status"], told["remains"]) == ("partial", 250)
    assert told["cost"] == PLAIN.rate * 3 / 4
    assert told["service"] == {"id": PLAIN.id, "name": PLAIN.name}
    assert told["completed_at"] is None
    assert send("GET", "orders/7").status_code == 404


def test_words_put_into_a_status_are_told_here_too(sandbox: SandboxInTest, send: Send) -> None:
    number = send("POST", "orders", BODY).json()["order"]["id"]
    sandbox.say(number, status="Marinating", charge="7", remains=None)

    told = send("GET", f"orders/{number}").json()

    assert (told["status"], told["cost"], told["remains"]) == ("Marinating", "7", None)


# --- after the sale ------------------------------------------------------------------------------


def test_refill_is_begun_and_told(sandbox: SandboxInTest, send: Send) -> None:
    number = send("POST", "orders", {**BODY, "service_id": REFILLED.id}).json()["order"]["id"]
    sandbox.complete(number)

    begun = send("POST", f"orders/{number}/refill")
    sandbox.advance(REFILL_TAKES)
    told = send("GET", f"refills/{begun.json()['refill']['id']}").json()

    assert (begun.status_code, begun.json()["refill"]["status"]) == (201, "pending")
    assert (told["order_id"], told["status"], told["reason"]) == (number, "completed", None)
    assert send("GET", "refills/5").status_code == 404


def test_refill_of_an_order_that_did_not_drop_is_rejected(
    sandbox: SandboxInTest, send: Send
) -> None:
    body = {**BODY, "service_id": REFILLED.id, "link": "https://a.example/norefill"}
    number = send("POST", "orders", body).json()["order"]["id"]
    sandbox.complete(number)
    refill = send("POST", f"orders/{number}/refill").json()["refill"]["id"]
    sandbox.reject_refill(refill)

    told = send("GET", f"refills/{refill}").json()

    assert (told["status"], told["reason"]) == ("rejected", "Rien n'a baissé.")


def test_cancel_is_noted_or_refused(send: Send) -> None:
    number = send("POST", "orders", BODY).json()["order"]["id"]
    fixed = send("POST", "orders", {**BODY, "service_id": FIXED.id}).json()["order"]["id"]

    answers = [send("POST", f"orders/{n}/cancel") for n in (number, number, fixed, 7)]

    assert [answer.status_code for answer in answers] == [202, 409, 400, 404]
    assert answers[0].json()["order"]["id"] == number
    assert [answer.json()["code"] for answer in answers[1:]] == [
        "cancel_requested",
        "cancel_refused",
        "not_found",
    ]


# --- speaking ------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "wrong"])
def test_call_without_the_key_is_refused(sandbox: SandboxInTest, send: Send, key: str) -> None:
    answer = send("GET", "balance", key=key)

    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")
    assert list(sandbox.calls) == []


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "nonsense"), ("POST", "services"), ("GET", "orders/1/cancel")]
)
def test_resource_that_is_none_is_not_found(send: Send, method: str, path: str) -> None:
    assert send(method, path).status_code == 404


def test_body_that_is_no_json_object_is_refused(send: Send) -> None:
    assert send("POST", "orders", [1]).status_code == 400


def test_calls_are_kept_without_the_key(sandbox: SandboxInTest, send: Send) -> None:
    send("POST", "orders", {**BODY, "client_ref": "mine"}, idempotency_key="k1")
    send("GET", "orders", client_ref="mine")
    send("POST", "orders/7/cancel")

    assert list(sandbox.calls) == [
        {
            "action": "add",
            **{name: str(value) for name, value in BODY.items()},
            "client_ref": "mine",
            "idempotency_key": "k1",
        },
        {"action": "find", "client_ref": "mine"},
        {"action": "cancel", "id": "7"},
    ]


# --- misbehaving ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status", "begins"),
    [
        (Kind.HTML, 200, "<!DOCTYPE"),
        (Kind.EMPTY, 201, ""),
        (Kind.TRUNCATED, 201, '{"message": "Commande'),
        (Kind.NAN, 201, '{"message": "Commande créée avec succès", "order": NaN'),
        (Kind.NO_ID, 201, '{"status": "success"}'),
        (Kind.FOREIGN_ID, 201, '{"message": "Commande créée avec succès", "order": {"id": 1,'),
        (Kind.HUGE, 201, '{"padding": "xxx'),
        (Kind.ERROR_500, 500, "<!DOCTYPE"),
        (Kind.OUT_OF_FUNDS, 400, '{"error": "Solde insuffisant"'),
        (Kind.REFUSE, 422, '{"error": "Validation Error", "message": "Incorrect service ID"'),
    ],
)
def test_spoiled_answer_to_an_order(
    sandbox: SandboxInTest, send: Send, kind: Kind, status: int, begins: str
) -> None:
    sandbox.misbehave("add", kind)

    answer = send("POST", "orders", BODY)

    assert (answer.status_code, answer.text[: len(begins)]) == (status, begins)
    spared = kind in (Kind.ERROR_500, Kind.OUT_OF_FUNDS, Kind.REFUSE)
    assert len(sandbox.orders) == (0 if spared else 1)


def test_turned_away_with_a_time(sandbox: SandboxInTest, send: Send) -> None:
    sandbox.misbehave("add", Kind.TOO_MANY, seconds=30)

    answer = send("POST", "orders", BODY)

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "30")
    assert (answer.json()["retry_after"], answer.json()["code"]) == (30, "rate_limited")


def test_refused_order_is_refused_whatever_would_spoil_its_answer(
    sandbox: SandboxInTest, send: Send
) -> None:
    for kind in (Kind.FOREIGN_ID, Kind.DUPLICATE_ID, Kind.UNKNOWN_WORD, Kind.NO_ID):
        sandbox.misbehave("add", kind)

        assert send("POST", "orders", {**BODY, "service_id": 5}).status_code == 404
