"""The panel dialect, text for text."""

from __future__ import annotations

import gzip
import json
import logging
from decimal import Decimal

import pytest
from django.test import Client

from accounts.models import ApiKey, User
from catalog.models import Service, ServiceFacts
from catalog.order_types import ServiceType
from orders.models import Order
from orders.statuses import Status
from tests.factories import ManualPriceFactory, OrderFactory, ServiceFactory, WalletFactory
from tests.storefront.api.conftest import GATE, program_of

LINK = "https://instagram.com/username"
ADDRESSES = ["/api/v2", "/api/v2/", "/api", "/api/"]


# --- the way in --------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_address_and_form_of_request_is_answered_without_a_redirect(program, address):
    params = {"key": program.text, "action": "balance"}
    expected = (200, b'{"balance":"500.00","currency":"XAF"}')
    client = program.client
    encoded = f"key={program.text}&action=balance"

    answers = [
        client.get(address, params),
        client.post(address, params),
        client.generic("POST", address, encoded, content_type="application/x-www-form-urlencoded"),
        client.generic(
            "POST", address, encoded, "application/x-www-form-urlencoded; charset=utf-7"
        ),
        client.post(address, json.dumps(params), content_type="application/json"),
        client.post(address, json.dumps(params), content_type="application/json; charset=UTF-8"),
        client.post(f"{address}?{encoded}"),
        client.get(address, {"action": "balance"}, headers={"X-API-Key": program.text}),
        client.post(
            address, {"action": "balance"}, headers={"Authorization": f"Bearer {program.text}"}
        ),
    ]

    assert [(a.status_code, a.content) for a in answers] == [expected] * len(answers)
    assert {a.headers["Content-Type"] for a in answers} == {"application/json"}
    assert {a.headers["X-Content-Type-Options"] for a in answers} == {"nosniff"}


def test_no_csrf_token_is_needed(program):
    program.client = Client(enforce_csrf_checks=True)

    assert program.panel("balance")["balance"] == "500.00"


def test_body_wins_over_query(program):
    response = program.client.post(
        f"/api/v2?key={program.text}&action=services", {"action": "balance"}
    )

    assert response.json()["balance"] == "500.00"


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"action": "balance"},
        {"key": ""},
        {"key": "wrong", "action": "balance"},
        {"key": "wrong", "action": "nothing"},
        {"key": ["a"], "action": "balance"},
        {"key": 5, "action": "balance"},
        {"key": True, "action": "balance"},
        {"key": {"a": 1}, "action": "balance"},
        {"key": "\ud800", "action": "balance"},
    ],
)
def test_without_a_valid_key_the_answer_is_unauthorized(db, params):
    response = Client().post("/api/v2", json.dumps(params), content_type="application/json")

    assert response.status_code == 200
    assert response.json() == {"error": "Unauthorized"}


def test_suspended_customer_is_unauthorized(program):
    User.objects.update(is_active=False)

    assert program.panel("balance") == {"error": "Unauthorized"}


@pytest.mark.parametrize("action", ["", "nothing", "Balance", "Refill", "ADD", "cancels"])
def test_unknown_action_is_refused(program, action):
    assert program.panel(action) == {"error": "Invalid action"}


@pytest.mark.parametrize("action", [None, 5, ["balance"], {"balance": 1}, True])
def test_odd_or_missing_action_is_refused(program, action):
    params = {"key": program.text} | ({} if action is None else {"action": action})
    response = program.client.post("/api/v2", json.dumps(params), content_type="application/json")

    assert response.json() == {"error": "Invalid action"}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{"),
        ("application/json", b"[]"),
        ("application/json", b'{"key": NaN}'),
        ("application/json", b'{"key": 1, "key": 2}'),
        ("application/json", b'{"key": "\\u0000"}'),
        pytest.param("application/json", b'{"a":' * 100_000, id="deep"),
        pytest.param("application/json", b'"' + b"x" * 2_700_000 + b'"', id="huge"),
        pytest.param("application/x-www-form-urlencoded", b"x" * 2_700_000, id="huge-form"),
        pytest.param("application/x-www-form-urlencoded", b"a=1&" * 2_000, id="many-fields"),
        ("application/x-www-form-urlencoded", b"key=%00"),
        ("multipart/form-data", b"x"),
    ],
)
def test_unreadable_request_is_refused_in_the_dialects_shape(program, kind, body):
    response = program.client.generic(
        "POST", "/api/v2", body, kind, headers={"X-API-Key": program.text}
    )

    assert (response.status_code, response.json()) == (200, {"error": "Invalid request"})


@pytest.mark.parametrize(
    "query", ["key=%00", "key=a&link=%00", pytest.param("a=1&" * 2_000, id="many-fields")]
)
def test_unreadable_query_is_refused_in_the_dialects_shape(program, query):
    response = Client().get(f"/api/v2?{query}", headers={"X-API-Key": program.text})

    assert (response.status_code, response.json()) == (200, {"error": "Invalid request"})


def test_query_beside_a_json_body_is_checked_too(program):
    response = program.client.post(
        f"/api/v2?link=%00&key={program.text}",
        '{"action": "balance"}',
        content_type="application/json",
    )

    assert response.json() == {"error": "Invalid request"}


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "PATCH", "DELETE", "TRACE"])
def test_other_methods_are_refused(program, address, method):
    response = program.client.generic(method, address, headers={"X-API-Key": program.text})

    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD, POST")
    assert response.json() == {"error": "Method not allowed"}


def test_our_own_failure_is_no_clear_no_and_tells_nothing(program, monkeypatch, caplog):
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("the secret of provider Example")

    monkeypatch.setattr("storefront.api.panel.actions.place_order", fail)

    with caplog.at_level(logging.ERROR):
        response = program.client.post("/api/v2", {"key": program.text, "action": "add"})

    assert (response.status_code, response.json()) == (500, {"error": "Internal server error"})
    assert "the secret of provider Example" in caplog.text


def test_texts_stay_english_whatever_the_client_prefers(program, service):
    Service.objects.update(average_time="")

    response = program.client.get(
        "/api/v2",
        {"key": program.text, "action": "services"},
        headers={"Accept-Language": "fr"},
    )

    assert response.json()[0]["average_time"] == "Not enough data"
    assert response.headers["Content-Language"] == "en"


def test_average_time_is_measured_from_our_own_orders(program, service):
    ServiceFacts.objects.create(service=service, completion_median=60, completion_p90=7200)

    assert program.panel("services")[0]["average_time"] == "1 minute - 2 hours"


def test_use_of_the_key_is_noted(program):
    program.panel("balance")

    assert ApiKey.objects.get(pk=program.api_key.pk).last_used_ip == "127.0.0.1"


# --- services ----------------------------------------------------------------------------------


def test_services_answers_exactly_as_the_contract(program, service):
    response = program.client.post("/api/v2", {"key": program.text, "action": "services"})

    assert response.content.decode() == (
        f'[{{"service":{service.pk},"name":"Instagram Followers [Real]","type":"Default",'
        '"category":"Instagram","rate":"50.00","min":10,"max":10000,"refill":false,'
        '"cancel":false,"dripfeed":false,"description":"","average_time":"1-3 hours"}]'
    )


def test_rate_is_exact_and_in_the_keys_currency(program, service):
    assert [s["rate"] for s in program_of(program.user, "USD").panel("services")] == ["0.065"]


@pytest.mark.parametrize("method", ["get", "post"])
def test_services_are_conditional_and_compressed(program, service, method):
    for _ in range(5):
        ServiceFactory(category=service.category, provider=service.provider)
    call = getattr(program.client, method)
    params = {"key": program.text, "action": "services"}
    plain = call("/api/v2", params)

    packed = call("/api/v2", params, headers={"Accept-Encoding": "gzip"})
    again = call("/api/v2", params, headers={"If-None-Match": plain.headers["ETag"]})

    assert len(plain.json()) == 6
    assert gzip.decompress(packed.content) == plain.content
    assert packed.headers["ETag"] != plain.headers["ETag"]
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("rows", [1, 3])
def test_services_cost_the_same_for_one_and_three_rows(
    program, service, rows, django_assert_num_queries
):
    for _ in range(rows - 1):
        other = ManualPriceFactory(service=ServiceFactory(), currency="XAF", rate=1000).service
        ServiceFacts.objects.create(service=other, completion_median=3600, completion_p90=7200)
    program.panel("balance")  # notes the key's use

    with django_assert_num_queries(GATE + 7):  # the version twice, five of its list
        assert len(program.panel("services")) == rows


# --- add ---------------------------------------------------------------------------------------


def test_add_places_an_order(program, service):
    answer = program.panel("add", service=service.pk, link=LINK, quantity="1000", runs="")

    order = Order.objects.get()
    assert answer == {"order": order.pk}
    assert (order.source, order.api_key, order.charge) == ("panel", program.api_key, Decimal(50))
    assert program.balance == Decimal(450)


def test_add_takes_json_numbers_and_comments(program, service):
    comments = ServiceFactory(type=ServiceType.CUSTOM_COMMENTS, min_quantity=1)
    dollars = program_of(WalletFactory(currency="USD").user, "USD")
    body = {
        "key": dollars.text,
        "action": "add",
        "service": comments.pk,
        "link": LINK,
        "comments": "one\r\n\r\ntwo",
    }

    response = dollars.client.post("/api/v2", json.dumps(body), content_type="application/json")

    order = Order.objects.get()
    assert response.content.decode() == f'{{"order":{order.pk}}}'
    assert (order.quantity, order.charge) == (2, Decimal("0.0026"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"service": ""}, "Service not found"),
        ({"service": "abc"}, "Service not found"),
        ({"service": "999999999"}, "Service not found"),
        ({"service": "-1"}, "Service not found"),
        ({"service": "9" * 60}, "Service not found"),
        ({"link": ""}, "Link is required"),
        ({"link": "javascript:alert(1)"}, "Invalid link"),
        ({"link": "x" * 3000}, "Invalid link"),
        ({"quantity": ""}, "Invalid quantity"),
        ({"quantity": "many"}, "Invalid quantity"),
        ({"quantity": "10.5"}, "Invalid quantity"),
        ({"quantity": "١٠٠"}, "Invalid quantity"),
        ({"quantity": "9"}, "Quantity must be at least 10"),
        ({"quantity": "-5"}, "Quantity must be at least 10"),
        ({"quantity": "10001"}, "Quantity must be at most 10000"),
        ({"quantity": "9" * 60}, "Quantity must be at most 10000"),
        ({"runs": "2"}, "Runs is not available for this service"),
        (
            {"quantity": "10000", "link": LINK, "idempotency_key": "x" * 256},
            "Invalid idempotency key",
        ),
        ({"client_ref": "x" * 256}, "Invalid client ref"),
    ],
)
def test_add_refuses(program, service, changes, text):
    params = {"service": service.pk, "link": LINK, "quantity": "100", **changes}

    assert program.panel("add", **params) == {"error": text}
    assert (Order.objects.count(), program.balance) == (0, Decimal(500))


def test_add_refuses_a_number_of_comments_out_of_range(program):
    service = ServiceFactory(type=ServiceType.CUSTOM_COMMENTS, min_quantity=2, max_quantity=3)
    dollars = program_of(program.user, "USD")

    def add(comments: str) -> object:
        return dollars.panel("add", service=service.pk, link=LINK, comments=comments)

    assert add("one") == {"error": "Quantity must be at least 2"}
    assert add("1\n2\n3\n4") == {"error": "Quantity must be at most 3"}
    assert add("\n") == {"error": "Comments is required"}


def test_add_refuses_an_unavailable_service(program, service):
    Service.objects.update(disabled_by_staff=True)

    assert program.panel("add", service=service.pk, link=LINK, quantity="100") == {
        "error": "Service is not available"
    }


def test_add_refuses_beyond_the_balance(program, service):
    poor = program_of(WalletFactory(currency="XAF", funds=10).user)

    assert poor.panel("add", service=service.pk, link=LINK, quantity="310") == {
        "error": "Insufficient balance. Required: 15.500000, Available: 10.000000"
    }
    assert poor.balance == Decimal(10)


@pytest.mark.parametrize("key", ["abc", 123])
def test_repeated_add_answers_the_first_order(program, service, key):
    params = {"service": service.pk, "link": LINK, "quantity": 100, "idempotency_key": key}

    first, again = program.panel("add", **params), program.panel("add", **params)
    other = program.panel("add", **{**params, "quantity": 101})

    assert first == again
    assert other == {"error": "Idempotency key already used for another order"}
    assert (Order.objects.count(), program.balance) == (1, Decimal(495))


def test_blank_idempotency_key_is_none(program, service):
    params = {"service": service.pk, "link": LINK, "quantity": 100, "idempotency_key": ""}

    first, second = program.panel("add", **params), program.panel("add", **params)

    assert first != second
    assert set(Order.objects.values_list("idempotency_key", flat=True)) == {None}


@pytest.mark.parametrize("key", [True, 1.5, ["a"], {"a": 1}])
def test_odd_idempotency_key_is_refused(program, service, key):
    body = {
        "key": program.text,
        "action": "add",
        "service": service.pk,
        "link": LINK,
        "quantity": 100,
        "idempotency_key": key,
    }

    response = program.client.post("/api/v2", json.dumps(body), content_type="application/json")

    assert response.json() == {"error": "Invalid idempotency key"}
    assert Order.objects.count() == 0


# --- status ------------------------------------------------------------------------------------


def test_status_answers_exactly_as_the_contract(program, service):
    order = OrderFactory(
        wallet=program.user.wallets.get(),
        service=service,
        charge=Decimal("0.3"),
        refunded=Decimal("0.02181"),
        status=Status.PARTIAL,
        start_count=3572,
        remains=157,
    )

    response = program.client.post(
        "/api/v2", {"key": program.text, "action": "status", "order": order.pk}
    )

    assert response.content == (
        b'{"charge":"0.27819","start_count":"3572","status":"Partial","remains":"157",'
        b'"currency":"XAF"}'
    )


def test_status_of_a_new_order_has_zeros(program, service):
    order = OrderFactory(wallet=program.user.wallets.get(), service=service, charge=Decimal(5))

    assert program.panel("status", order=order.pk) == {
        "charge": "5.00",
        "start_count": "0",
        "status": "Pending",
        "remains": "0",
        "currency": "XAF",
    }


def test_every_state_is_shown_with_its_word(program, service):
    words = {
        Status.PENDING: "Pending",
        Status.SENDING: "Processing",
        Status.UNCONFIRMED: "Processing",
        Status.PROCESSING: "Processing",
        Status.IN_PROGRESS: "In progress",
        Status.COMPLETED: "Completed",
        Status.PARTIAL: "Partial",
        Status.CANCELLED: "Canceled",
        Status.REFUNDED: "Refunded",
        Status.FAILED: "Failed",
    }
    wallet = program.user.wallets.get()
    made = {OrderFactory(wallet=wallet, service=service, status=s).pk: s for s in Status}

    answer = program.panel("status", orders=",".join(map(str, made)))

    assert {int(pk): shown["status"] for pk, shown in answer.items()} == {
        pk: words[status] for pk, status in made.items()
    }
    assert {type(value) for shown in answer.values() for value in shown.values()} == {str}


def test_status_of_several_orders_is_keyed_by_the_id_asked_for(program, service):
    wallet = program.user.wallets.get()
    mine = [OrderFactory(wallet=wallet, service=service) for _ in range(2)]
    foreign = OrderFactory(service=service)

    answer = program.panel(
        "status", orders=f"{mine[0].pk}, {foreign.pk},,abc, 0{mine[1].pk}", order="ignored"
    )

    missing = {"error": "Incorrect order ID"}
    shown = program.panel("status", order=mine[0].pk)
    assert answer == {
        f"{mine[0].pk}": shown,
        f"{foreign.pk}": missing,
        "abc": missing,
        f"0{mine[1].pk}": shown,
    }


def test_status_takes_a_json_list(program, service):
    order = OrderFactory(wallet=program.user.wallets.get(), service=service)
    body = {"key": program.text, "action": "status", "orders": [order.pk, str(order.pk), None]}

    response = program.client.post("/api/v2", json.dumps(body), content_type="application/json")

    assert set(response.json()) == {str(order.pk), "null"}
    assert response.json()[str(order.pk)]["status"] == "Pending"


def test_status_of_more_than_a_hundred_orders_is_refused(program):
    hundred = ",".join(map(str, range(1, 101)))

    assert len(program.panel("status", orders=hundred)) == 100
    assert program.panel("status", orders=f"{hundred},101") == {
        "error": "Maximum 100 orders allowed"
    }


@pytest.mark.parametrize(
    "params", [{}, {"order": ""}, {"order": "abc"}, {"order": "0"}, {"orders": ""}]
)
def test_status_of_a_bad_id_is_refused(program, params):
    assert program.panel("status", **params) == {"error": "Incorrect order ID"}


@pytest.mark.parametrize("order", [True, None, [1], {"1": 1}, 1.0, -1, 10**50])
def test_status_of_an_odd_json_id_is_refused(program, service, order):
    OrderFactory(pk=1, wallet=program.user.wallets.get(), service=service)
    body = {"key": program.text, "action": "status", "order": order}

    response = program.client.post("/api/v2", json.dumps(body), content_type="application/json")

    assert response.json() == {"error": "Incorrect order ID"}


def test_other_customers_orders_do_not_exist(program, service):
    foreign = OrderFactory(service=service)

    assert program.panel("status", order=foreign.pk) == {"error": "Incorrect order ID"}
    assert program.panel("status", order=str(foreign.uuid)) == {"error": "Incorrect order ID"}


@pytest.mark.parametrize("rows", [1, 3])
def test_status_costs_the_same_for_one_and_three_orders(
    program, service, rows, django_assert_num_queries
):
    wallet = program.user.wallets.get()
    ids = [OrderFactory(wallet=wallet, service=service).pk for _ in range(rows)]
    program.panel("balance")

    with django_assert_num_queries(GATE + 1):
        answer = program.panel("status", orders=",".join(map(str, ids)))

    assert list(answer) == [str(pk) for pk in ids]


# --- balance -----------------------------------------------------------------------------------


def test_balance_answers_exactly_as_the_contract(program):
    wallet = WalletFactory(user=program.user, currency="USD", funds="100.84")

    assert program_of(wallet.user, "USD").panel("balance") == {
        "balance": "100.84",
        "currency": "USD",
    }
