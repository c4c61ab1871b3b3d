"""`add_bulk` of the panel dialect, text for text."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from catalog.models import Service
from orders.models import Order
from tests.factories import ServiceFactory, WalletFactory
from tests.storefront.api.conftest import program_of

LINK = "https://instagram.com/username"


def item(service: Service, quantity: object = 100, **changes: object) -> dict[str, object]:
    return {"service": service.pk, "link": LINK, "quantity": quantity, **changes}


def sent(program, orders, **params):
    """What the very bytes of the answer to a JSON body say."""
    body = {"key": program.text, "action": "add_bulk", "orders": orders, **params}
    response = program.client.post("/api/v2", json.dumps(body), content_type="application/json")
    assert response.status_code == 200
    return response.content.decode()


def test_add_bulk_answers_exactly_as_the_contract(program, service):
    gone = ServiceFactory(disabled_by_staff=True, category=service.category)

    answer = sent(
        program,
        [
            item(service, "100", runs="", idempotency_key=""),
            {**item(service), "service": "999999"},
            item(service, 9),
            item(service, 10_001),
            item(service, "many"),
            item(service, link=""),
            item(service, link="javascript:alert(1)"),
            item(gone),
            {},
            "nonsense",
            None,
            item(service, idempotency_key="x" * 256),
            item(service, 200),
        ],
    )

    first, last = Order.objects.order_by("pk")
    assert answer == (
        f'{{"0":{{"order":{first.pk}}},'
        '"1":{"error":"Order 2: Service not found"},'
        '"2":{"error":"Order 3: Quantity must be at least 10"},'
        '"3":{"error":"Order 4: Quantity must be at most 10000"},'
        '"4":{"error":"Order 5: Invalid quantity"},'
        '"5":{"error":"Order 6: Link is required"},'
        '"6":{"error":"Order 7: Invalid link"},'
        '"7":{"error":"Order 8: Service is not available"},'
        '"8":{"error":"Order 9: Service not found"},'
        '"9":{"error":"Order 10: Service not found"},'
        '"10":{"error":"Order 11: Service not found"},'
        '"11":{"error":"Order 12: Invalid idempotency key"},'
        f'"12":{{"order":{last.pk}}}}}'
    )
    assert program.balance == Decimal(485)
    assert {(order.source, order.api_key) for order in (first, last)} == {
        ("panel", program.api_key)
    }


def test_every_way_of_sending_the_list_is_read(program, service):
    orders = [item(service), {"service": str(service.pk), "link": LINK, "quantity": "10"}]
    text = json.dumps(orders)
    params = {"key": program.text, "action": "add_bulk", "orders": text}
    client = program.client

    answers = [
        client.get("/api/v2", params),
        client.post("/api", params),
        client.generic(
            "POST",
            f"/api/?key={program.text}&action=add_bulk",
            f"orders={text}",
            "application/x-www-form-urlencoded",
        ),
        client.post("/api/v2/", json.dumps(params), content_type="application/json"),
        client.post(
            "/api/v2", json.dumps({**params, "orders": orders}), content_type="application/json"
        ),
    ]

    made = Order.objects.order_by("pk").values_list("pk", flat=True)
    pairs = zip(made[::2], made[1::2], strict=True)
    assert [answer.json() for answer in answers] == [
        {"0": {"order": first}, "1": {"order": second}} for first, second in pairs
    ]
    assert len(made) == 10


@pytest.mark.parametrize(
    ("orders", "text"),
    [
        (None, "Orders is required"),
        ("", "Orders is required"),
        ([], "Orders is required"),
        ("[]", "Orders is required"),
        ("[", "Invalid orders"),
        ("{}", "Invalid orders"),
        ("1,2", "Invalid orders"),
        ('[{"service": NaN}]', "Invalid orders"),
        ({}, "Invalid orders"),
        (5, "Invalid orders"),
        (True, "Invalid orders"),
    ],
)
def test_what_is_no_list_of_orders_is_refused(program, orders, text):
    assert sent(program, orders) == f'{{"error":"{text}"}}'


def test_more_than_a_hundred_orders_do_nothing(program, service):
    assert sent(program, [item(service, 10)] * 101) == '{"error":"Maximum 100 orders allowed"}'
    assert Order.objects.count() == 0

    assert len(json.loads(sent(program, [item(service, 10)] * 100))) == 100
    assert program.balance == Decimal(450)


def test_batch_beyond_the_balance_is_refused_as_a_whole(program, service):
    poor = program_of(WalletFactory(currency="XAF", funds=10).user)

    answer = sent(poor, [item(service, 155), item(service, 155), item(service, 5)])

    assert answer == ('{"error":"Insufficient balance. Required: 15.500000, Available: 10.000000"}')
    assert (Order.objects.count(), poor.balance) == (0, Decimal(10))


def test_repeated_items_answer_the_first_orders(program, service):
    single = program.panel("add", **item(service, idempotency_key="a"))["order"]
    orders = [item(service, idempotency_key="a"), item(service, 200, idempotency_key=5)]
    first = json.loads(sent(program, orders))

    again = json.loads(sent(program, [*orders, item(service, 101, idempotency_key="a")]))

    assert first["0"] == {"order": single}
    assert again == {
        **first,
        "2": {"error": "Order 3: Idempotency key already used for another order"},
    }
    assert (Order.objects.count(), program.balance) == (2, Decimal(485))


def test_repeated_batch_answers_the_first_orders(program, service):
    orders = [item(service), item(service, 9), item(service)]
    first = sent(program, orders, idempotency_key="batch")

    assert sent(program, orders, idempotency_key="batch") == first
    assert sent(program, orders[:1], idempotency_key="batch") == (
        '{"error":"Idempotency key already used for another order"}'
    )
    assert sent(program, orders, idempotency_key="x" * 256) == (
        '{"error":"Invalid idempotency key"}'
    )
    assert (Order.objects.count(), program.balance) == (2, Decimal(490))
    sent(program, orders[:1], idempotency_key="")
    assert Order.objects.count() == 3


def test_add_bulk_without_a_good_key_buys_nothing(program, service):
    assert sent(program, [item(service)], key="wrong") == '{"error":"Unauthorized"}'
    assert Order.objects.count() == 0
