"""What the REST dialect has beyond the original document: one service, batches, transactions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import ledger
from accounts.models import Posting
from catalog.models import Service
from orders.models import Order
from tests.factories import ServiceFactory, WalletFactory, fund
from tests.storefront.api.conftest import program_of

LINK = "https://instagram.com/username"


def draft(service: Service, **changes: object) -> dict[str, object]:
    return {"service_id": service.pk, "link": LINK, "quantity": 100, **changes}


def second(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_every_address_answers_the_same_with_a_slash(program, service):
    order = program.post("/orders", draft(service)).json()["order"]
    paths = ["/services", f"/services/{service.pk}", "/orders", f"/orders/{order['id']}"]
    paths += ["/balance", "/transactions", "/openapi.json", "/orders/0", "/refills/0"]

    plain = [program.get(path) for path in paths]
    slashed = [program.get(f"{path}/") for path in paths]

    assert [(a.status_code, a.content) for a in slashed] == [
        (a.status_code, a.content) for a in plain
    ]
    assert [a.status_code for a in plain] == [200] * 7 + [404] * 2


def test_language_changes_the_human_texts_and_nothing_else(program, service):
    bodies = [
        program.post("/orders", draft(service, quantity=10_000, runs=None, link=""), **language)
        for language in ({}, {"Accept_Language": "en"}, {"Accept_Language": "tr"})
    ]
    poor = program_of(WalletFactory(currency="XAF", funds=1).user)
    told = [
        poor.post("/orders", draft(service), Accept_Language=language).json()
        for language in ("fr", "en", "tr")
    ]

    assert len({body.content for body in bodies}) == 3
    invalid = [body.json() for body in bodies]
    assert {(body["error"], body["code"], *body["errors"]) for body in invalid} == {
        ("Validation Error", "validation_error", "link")
    }
    assert [body["error"] for body in told[:2]] == ["Solde insuffisant", "Insufficient balance"]
    assert len({body["message"] for body in told}) == len({body["error"] for body in told}) == 3
    assert {(body["code"], body["required"], body["current_balance"]) for body in told} == {
        ("insufficient_balance", 5, 1)
    }


# --- GET /services/{id} ---------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_one_service_is_shown_as_in_the_list(program, service, slash):
    response = program.get(f"/services/{service.pk}{slash}")

    assert response.status_code == 200
    assert response.content.decode() == (
        f'{{"id":{service.pk},"name":"Instagram Followers [Real]","category":"Instagram",'
        '"min_quantity":10,"max_quantity":10000,"price_per_unit":0.05,"currency":"XAF",'
        '"average_time":"1-3 hours","type":"Default","description":"","refill":false,'
        '"cancel":false,"dripfeed":false,"network":"instagram","completion_rate":null}'
    )
    assert [response.json()] == program.get("/services").json()["Instagram"]


@pytest.mark.parametrize("reference", ["0", "-1", "999999999", "9" * 40, "abc", "1.5", "%00"])
def test_unknown_service_is_not_found(program, service, reference):
    response = program.client.get(
        f"/api/v1/services/{reference}", headers={"X-API-Key": program.text}
    )

    assert (response.status_code, response.json()) == (
        404,
        {"error": "Not Found", "message": "Ce service n'existe pas.", "code": "service_not_found"},
    )


def test_service_that_cannot_be_ordered_is_unavailable(program, service):
    Service.objects.update(disabled_by_staff=True)

    response = program.get(f"/services/{service.pk}")

    assert (response.status_code, response.json()["code"]) == (400, "service_unavailable")


# --- POST /orders/bulk ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/orders/bulk", "/orders/bulk/"])
def test_bulk_answers_each_order_in_the_dialects_shapes(program, service, path):
    response = program.post(
        path, {"orders": [draft(service, client_ref="A-1"), draft(service, quantity="5"), {}]}
    )

    order = Order.objects.get()
    wrong, missing = "La quantité doit être entre 10 et 10000.", "Le champ service_id est requis."
    assert response.status_code == 200
    assert response.content.decode() == (
        f'{{"data":[{{"order":{{"id":{order.pk},"uuid":"{order.uuid}","service_id":{service.pk},'
        f'"link":"{LINK}","quantity":100,"cost":5.00,"currency":"XAF","status":"pending",'
        f'"created_at":"{second(order.created_at)}"}}}},'
        f'{{"error":"Validation Error","message":"{wrong}","errors":{{"quantity":["{wrong}"]}},'
        '"code":"validation_error"},'
        f'{{"error":"Validation Error","message":"{missing}",'
        f'"errors":{{"service_id":["{missing}"]}},"code":"validation_error"}}],'
        '"meta":{"placed":1,"refused":2},"balance":495.00}'
    )
    assert (order.source, order.api_key, order.client_ref) == ("rest", program.api_key, "A-1")


def test_bulk_takes_a_form_with_the_list_as_text(program, service):
    key, body = {"X-API-Key": program.text}, {"orders": json.dumps([draft(service)])}

    response = program.client.post("/api/v1/orders/bulk", body, headers=key)

    assert response.json()["meta"] == {"placed": 1, "refused": 0}


def test_bulk_beyond_the_balance_changes_nothing(program, service):
    response = program.post(
        "/orders/bulk", {"orders": [draft(service, quantity=6000)] * 2 + [draft(service)]}
    )

    assert (response.status_code, response.json()) == (
        400,
        {
            "error": "Solde insuffisant",
            "message": "Votre solde (500.00 XAF) est insuffisant pour cette commande (605.00 XAF).",
            "required": 605,
            "current_balance": 500,
            "code": "insufficient_balance",
        },
    )
    assert (Order.objects.count(), program.balance) == (0, Decimal(500))


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        ({}, "The orders field is required.", "validation_error"),
        ({"orders": []}, "The orders field is required.", "validation_error"),
        ({"orders": {}}, "The orders field is not valid.", "validation_error"),
        ({"orders": "1,2"}, "The orders field is not valid.", "validation_error"),
        ({"orders": [{}] * 101}, "At most 100 orders are allowed at once.", "too_many_orders"),
    ],
)
def test_bulk_without_a_list_of_orders_is_invalid(program, body, message, code):
    response = program.post("/orders/bulk", body, Accept_Language="en")

    assert (response.status_code, response.json()) == (
        422,
        {
            "error": "Validation Error",
            "message": message,
            "errors": {"orders": [message]},
            "code": code,
        },
    )


def test_bulk_body_that_is_no_object_is_a_bad_request(program):
    response = program.post("/orders/bulk", [{}])

    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


def test_repeated_batch_gets_the_same_bytes_and_charges_nothing(program, service):
    body = {"orders": [draft(service), draft(service, quantity=5), draft(service)]}
    first = program.post("/orders/bulk", body, Idempotency_Key="k")
    program.post("/orders", draft(service))

    again = program.post("/orders/bulk", body, Idempotency_Key="k")
    other = program.post("/orders/bulk", {"orders": [draft(service)]}, Idempotency_Key="k")
    odd = program.post("/orders/bulk", body, Idempotency_Key="x" * 256)

    assert (again.status_code, again.content) == (200, first.content)
    assert [a.headers.get("Idempotent-Replayed") for a in (first, again)] == [None, "true"]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert (odd.status_code, odd.json()["code"]) == (422, "invalid_idempotency_key")
    assert (Order.objects.count(), program.balance) == (3, Decimal(485))


def test_repeated_items_of_a_batch_get_their_first_orders(program, service):
    single = program.post("/orders", draft(service), Idempotency_Key="a").json()["order"]

    own = [draft(service, idempotency_key=key) for key in ("a", None, "x" * 256)]
    response = program.post("/orders/bulk", {"orders": own}, Accept_Language="en")

    assert response.json()["data"][0] == {"order": single}
    odd = "The idempotency key must have 1 to 255 printable characters."
    assert response.json()["data"][2] == {
        "error": "Validation Error",
        "message": odd,
        "errors": {"idempotency_key": [odd]},
        "code": "invalid_idempotency_key",
    }
    assert "Idempotent-Replayed" not in response.headers
    assert (Order.objects.count(), program.balance) == (2, Decimal(490))


def test_bulk_takes_no_other_method(program):
    response = program.get("/orders/bulk")

    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


# --- GET /transactions ----------------------------------------------------------------------------


def test_transactions_are_shown_exactly(program, service):
    program.post("/orders", draft(service, quantity=11))
    order = Order.objects.get()
    wallet = ledger.wallet_of(program.user, "XAF")
    ledger.refund(
        wallet, Decimal("0.000001"), key=f"{order.subject}:refund:1", subject=order.subject
    )
    WalletFactory(user=program.user, currency="USD", funds=7)

    response = program.get("/transactions/")

    refund, charge, given = Posting.objects.filter(wallet=wallet).order_by("-pk")
    at = [second(posting.entry.created_at) for posting in (refund, charge, given)]
    assert response.status_code == 200
    assert response.content.decode() == (
        f'{{"data":[{{"id":{refund.pk},"kind":"refund","amount":0.000001,"currency":"XAF",'
        f'"balance_after":499.450001,"order_id":{order.pk},"created_at":"{at[0]}"}},'
        f'{{"id":{charge.pk},"kind":"charge","amount":-0.55,"currency":"XAF",'
        f'"balance_after":499.45,"order_id":{order.pk},"created_at":"{at[1]}"}},'
        f'{{"id":{given.pk},"kind":"adjustment","amount":500.00,"currency":"XAF",'
        f'"balance_after":500.00,"order_id":null,"created_at":"{at[2]}"}}],'
        '"meta":{"current_page":1,"total":3,"per_page":20}}'
    )


def test_transactions_are_filtered_and_paged(program, service):
    for quantity in (100, 200):
        program.post("/orders", draft(service, quantity=quantity))
    now = timezone.now()

    def found(**query: object) -> list[object]:
        body = program.get("/transactions", query).json()
        return [(item["kind"], item["amount"]) for item in body["data"]]

    both = [("charge", -10), ("charge", -5)]
    assert found(kind="", page="") == [*both, ("adjustment", 500)]
    assert found(kind="charge") == both
    assert found(kind="refund") == []
    assert found(kind="charge", per_page=1, page=2) == both[1:]
    assert found(created_to=second(now - timedelta(days=1))) == []
    assert found(created_from=second(now - timedelta(days=1)), kind="charge") == both
    assert found(created_from=second(now + timedelta(days=1))) == []


def test_transactions_of_another_customer_or_currency_are_not_shown(program):
    assert program_of(WalletFactory(funds=5).user).get("/transactions").json()["data"] == []
    assert program_of(program.user, "TRY").get("/transactions").json()["meta"]["total"] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("kind", "served"), ("kind", "x"), ("page", "0"), ("per_page", "x"), ("created_to", "soon")],
)
def test_transactions_refuse_a_bad_parameter(program, name, value):
    response = program.get("/transactions", {name: value})

    assert (response.status_code, response.json()["code"]) == (422, "validation_error")
    assert list(response.json()["errors"]) == [name]


def test_further_endpoints_cost_the_same_for_one_and_three_rows(program, service):
    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as counted:
            program.get(path)
        return len(counted)

    program.get("/balance")  # notes the key's use
    paths = [f"/services/{service.pk}", "/transactions"]
    with_one = [queries(path) for path in paths]
    for _ in range(2):
        ServiceFactory(category=service.category)
        fund(program.user.wallets.get(), 1)

    assert [queries(path) for path in paths] == with_one
