"""Orders in the REST dialect: placed once, listed to their owner only, errors in the contract's
words."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.test import Client

from accounts.models import JournalEntry
from catalog.models import Service
from catalog.order_types import ServiceType
from orders.models import Order
from orders.statuses import Status
from tests.factories import OrderFactory, ServiceFactory, UserFactory, WalletFactory
from tests.storefront.api.conftest import GATE, program_of

LINK = "https://instagram.com/username"


def draft(service: Service, **changes: object) -> dict[str, object]:
    return {"service_id": service.pk, "link": LINK, "quantity": 1000, **changes}


def test_post_order_answers_exactly_as_the_contract(program, service):
    response = program.post("/orders", draft(service))

    order = Order.objects.get()
    created = order.created_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert response.status_code == 201
    assert response.headers["Content-Type"] == "application/json"
    assert response.content.decode() == (
        '{"message":"Commande créée avec succès","order":{'
        f'"id":{order.pk},"uuid":"{order.uuid}","service_id":{service.pk},"link":"{LINK}",'
        f'"quantity":1000,"cost":50.00,"currency":"XAF","status":"pending","created_at":"{created}"'
        '},"balance":450.00}'
    )
    assert program.balance == Decimal(450)
    assert (order.source, order.api_key, order.customer) == ("rest", program.api_key, program.user)


@pytest.mark.parametrize("path", ["/orders", "/orders/"])
def test_post_order_works_as_json_and_as_a_form_with_and_without_slash(program, service, path):
    key = {"X-API-Key": program.text}
    as_json = program.post(path, draft(service, quantity="1000"))
    as_form = program.client.generic(
        "POST",
        f"/api/v1{path}",
        f"service_id={service.pk}&link={LINK}&quantity=1000&runs=&interval=&comments=&client_ref=",
        content_type="application/x-www-form-urlencoded; charset=punycode",
        headers=key,
    )
    as_multipart = program.client.post(f"/api/v1{path}", draft(service), headers=key)

    assert [r.status_code for r in (as_json, as_form, as_multipart)] == [201, 201, 201]
    assert program.balance == Decimal(350)


def test_post_order_needs_no_csrf_token(program, service):
    program.client = Client(enforce_csrf_checks=True)

    assert program.post("/orders", draft(service)).status_code == 201


def test_post_order_takes_the_key_as_bearer(program, service):
    response = program.client.post(
        "/api/v1/orders",
        json.dumps(draft(service)),
        content_type="application/json",
        headers={"Authorization": f"bearer {program.text}"},
    )

    assert response.status_code == 201


def test_post_order_sells_comments_by_their_number(program):
    service = ServiceFactory(type=ServiceType.CUSTOM_COMMENTS, min_quantity=2)
    other = program_of(WalletFactory(currency="USD", funds=1).user, "USD")

    response = other.post(
        "/orders",
        {
            "service_id": service.pk,
            "link": LINK,
            "comments": "one\r\ntwo\n\nthree",
            "client_ref": "A-1",
        },
    )

    assert response.status_code == 201
    assert response.json()["order"]["quantity"] == 3
    assert b'"cost":0.0039,' in response.content
    assert Order.objects.get().client_ref == "A-1"


# --- idempotency -------------------------------------------------------------------------------


def test_repeated_order_gets_the_same_bytes_and_charges_nothing(program, service):
    first = program.post("/orders", draft(service), Idempotency_Key="key 1")
    program.post("/orders", draft(service))
    Order.objects.filter(idempotency_key="key 1").update(status=Status.COMPLETED)

    again = program.post("/orders", draft(service, quantity="1000"), Idempotency_Key="key 1")

    assert (again.status_code, again.content) == (201, first.content)
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (
        None,
        "true",
    )
    assert program.balance == Decimal(400)
    assert Order.objects.count() == 2


def test_reused_idempotency_key_is_refused(program, service):
    program.post("/orders", draft(service), Idempotency_Key="key 1")

    response = program.post("/orders", draft(service, quantity=999), Idempotency_Key="key 1")

    assert (response.status_code, response.json()) == (
        422,
        {
            "error": "Idempotency Error",
            "message": "Cette clé d'idempotence a déjà été utilisée avec une autre requête.",
            "code": "idempotency_key_reused",
        },
    )
    assert program.balance == Decimal(450)


def test_idempotency_keys_of_two_customers_do_not_meet(program, service):
    other = program_of(WalletFactory(currency="XAF", funds=500).user)
    program.post("/orders", draft(service), Idempotency_Key="key 1")

    response = other.post("/orders", draft(service, quantity=20), Idempotency_Key="key 1")

    assert response.status_code == 201
    assert other.balance == Decimal(499)


def test_empty_idempotency_key_is_none(program, service):
    for path, body in (("/orders", draft(service)), ("/orders/bulk", {"orders": [draft(service)]})):
        for _ in range(2):
            assert program.post(path, body, Idempotency_Key="").status_code in (200, 201)

    assert Order.objects.filter(idempotency_key=None).count() == 4


@pytest.mark.parametrize("key", [" ", "x" * 256, "tab\there", "\x01"])
def test_odd_idempotency_key_is_refused(program, service, key):
    response = program.post("/orders", draft(service), Idempotency_Key=key)

    text = "La clé d'idempotence doit contenir de 1 à 255 caractères imprimables."
    assert (response.status_code, response.json()) == (
        422,
        {
            "error": "Validation Error",
            "message": text,
            "errors": {"Idempotency-Key": [text]},
            "code": "invalid_idempotency_key",
        },
    )
    assert Order.objects.count() == 0


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"service_id": None}, "service_id", "Le champ service_id est requis."),
        ({"service_id": ""}, "service_id", "Le champ service_id est requis."),
        ({"service_id": "abc"}, "service_id", "Le champ service_id n'est pas valide."),
        ({"service_id": [1]}, "service_id", "Le champ service_id n'est pas valide."),
        ({"service_id": True}, "service_id", "Le champ service_id n'est pas valide."),
        ({"link": ""}, "link", "Le champ link est requis."),
        ({"link": "javascript:alert(1)"}, "link", "Le champ link n'est pas valide."),
        ({"link": {"a": 1}}, "link", "Le champ link n'est pas valide."),
        ({"link": "x" * 2049}, "link", "Le champ link ne doit pas dépasser 2048 caractères."),
        ({"quantity": None}, "quantity", "Le champ quantity est requis."),
        ({"quantity": "many"}, "quantity", "Le champ quantity n'est pas valide."),
        ({"quantity": 10.5}, "quantity", "Le champ quantity n'est pas valide."),
        ({"quantity": 9}, "quantity", "La quantité doit être entre 10 et 10000."),
        ({"quantity": 10_001}, "quantity", "La quantité doit être entre 10 et 10000."),
        ({"quantity": 0}, "quantity", "La quantité doit être entre 10 et 10000."),
        ({"quantity": -1000}, "quantity", "La quantité doit être entre 10 et 10000."),
        ({"quantity": 10**99}, "quantity", "La quantité doit être entre 10 et 10000."),
        ({"runs": 5}, "runs", "Le champ runs n'est pas disponible pour ce service."),
        (
            {"client_ref": "x" * 256},
            "client_ref",
            "Le champ client_ref ne doit pas dépasser 255 caractères.",
        ),
    ],
)
def test_invalid_order_is_refused_in_french(program, service, changes, field, message):
    response = program.post("/orders", draft(service, **changes))

    assert (response.status_code, response.json()) == (
        422,
        {
            "error": "Validation Error",
            "message": message,
            "errors": {field: [message]},
            "code": "validation_error",
        },
    )
    assert (Order.objects.count(), program.balance) == (0, Decimal(500))


def test_invalid_order_names_every_wrong_field_and_the_first_is_the_message(program, service):
    body = program.post("/orders", {"service_id": service.pk, "quantity": 5}).json()

    assert body["errors"] == {
        "link": ["Le champ link est requis."],
        "quantity": ["La quantité doit être entre 10 et 10000."],
    }
    assert body["message"] == "Le champ link est requis."


@pytest.mark.parametrize(
    ("accepted", "language", "message"),
    [
        ("", "fr", "La quantité doit être entre 10 et 10000."),
        ("de", "fr", "La quantité doit être entre 10 et 10000."),
        ("en;q=0, *", "fr", "La quantité doit être entre 10 et 10000."),
        ("de, en-GB;q=0.8, fr;q=0.5", "en", "The quantity must be between 10 and 10000."),
        ("tr-TR", "tr", "Miktar 10 ile 10000 arasında olmalıdır."),
    ],
)
def test_messages_follow_accept_language(program, service, accepted, language, message):
    response = program.post("/orders", draft(service, quantity=1), Accept_Language=accepted)

    assert response.json()["message"] == message
    assert response.headers["Content-Language"] == language
    assert "Accept-Language" in response.headers["Vary"]


def test_insufficient_balance_is_told_with_both_amounts(program, service):
    poor = program_of(WalletFactory(currency="XAF", funds=10).user)

    response = poor.post("/orders", draft(service))

    assert response.status_code == 400
    assert response.content.decode() == (
        '{"error":"Solde insuffisant","message":"Votre solde (10.00 XAF) est insuffisant pour '
        'cette commande (50.00 XAF).","required":50.00,"current_balance":10.00,'
        '"code":"insufficient_balance"}'
    )
    assert (Order.objects.count(), poor.balance) == (0, Decimal(10))


@pytest.mark.parametrize("service_id", [999_999_999, -1, 0, 10**30, "10" * 30])
def test_unknown_service_is_not_found(program, service, service_id):
    response = program.post("/orders", draft(service, service_id=service_id))

    assert (response.status_code, response.json()) == (
        404,
        {
            "error": "Not Found",
            "message": "Ce service n'existe pas.",
            "code": "service_not_found",
        },
    )


def test_inactive_service_is_unavailable(program, service):
    Service.objects.filter(pk=service.pk).update(disabled_by_staff=True)

    response = program.post("/orders", draft(service))

    assert (response.status_code, response.json()) == (
        400,
        {
            "error": "Service non disponible",
            "message": "Ce service est actuellement indisponible.",
            "code": "service_unavailable",
        },
    )
    assert Order.objects.count() == 0


def test_charge_beyond_every_wallet_is_a_refusal(program, service):
    Service.objects.filter(pk=service.pk).update(max_quantity=2**63 - 1)

    response = program.post("/orders", draft(service, quantity=2**63 - 1))

    assert (response.status_code, response.json()["code"]) == (400, "insufficient_balance")
    assert program.balance == Decimal(500)


# --- reading -----------------------------------------------------------------------------------


def test_list_shows_an_order_exactly(program, service):
    order = OrderFactory(
        wallet=program.user.wallets.get(),
        service=service,
        charge=Decimal("0.27819"),
        refunded=Decimal("0.1"),
        status=Status.PARTIAL,
        external_id="987",
        start_count=5,
        remains=7,
        client_ref="A-1",
        completed_at=datetime(2024, 1, 15, 10, 30, 0, 999_999, tzinfo=UTC),
    )
    Order.objects.update(created_at=datetime(2024, 1, 15, 9, tzinfo=UTC))

    response = program.get("/orders")

    assert response.status_code == 200
    assert response.content.decode() == (
        f'{{"data":[{{"id":{order.pk},"uuid":"{order.uuid}","service":{{"id":{service.pk},'
        '"name":"Instagram Followers [Real]"},"link":"https://instagram.com/someone",'
        '"quantity":1000,"cost":0.27819,"status":"partial","created_at":"2024-01-15T09:00:00Z",'
        '"completed_at":"2024-01-15T10:30:00Z","currency":"XAF","refunded":0.10,"start_count":5,'
        '"remains":7,"client_ref":"A-1"}],"meta":{"current_page":1,"total":1,"per_page":20}}'
    )


def test_order_is_found_by_id_and_by_uuid(program, service):
    order = OrderFactory(wallet=program.user.wallets.get(), service=service, sent=True)

    by_id = program.get(f"/orders/{order.pk}")
    by_uuid = program.get(f"/orders/{order.uuid}/")

    assert by_id.json() == by_uuid.json()
    body = by_id.json()
    assert list(body) == [
        *("id", "uuid", "service", "link", "quantity", "cost", "currency", "status"),
        *("external_order_id", "created_at", "completed_at"),
        *("refunded", "start_count", "remains", "client_ref"),
    ]
    assert body["service"] == {
        "id": service.pk,
        "name": "Instagram Followers [Real]",
        "category": "Instagram",
    }
    assert body["external_order_id"] == f"EXT{order.pk:08d}"
    assert body["completed_at"] is None
    assert order.external_id not in by_id.content.decode().replace(str(order.uuid), "")


def test_order_without_provider_has_no_external_reference(program, service):
    order = OrderFactory(wallet=program.user.wallets.get(), service=service)

    assert program.get(f"/orders/{order.pk}").json()["external_order_id"] is None


def test_every_state_is_shown_and_found_by_its_public_name(program, service):
    behind = {
        "pending": {Status.PENDING},
        "processing": {Status.SENDING, Status.UNCONFIRMED, Status.PROCESSING},
        "in_progress": {Status.IN_PROGRESS},
        "completed": {Status.COMPLETED},
        "partial": {Status.PARTIAL},
        "cancelled": {Status.CANCELLED},
        "refunded": {Status.REFUNDED},
        "failed": {Status.FAILED},
    }
    wallet = program.user.wallets.get()
    made = {OrderFactory(wallet=wallet, service=service, status=s).pk: s for s in Status}

    found = {name: program.get("/orders", {"status": name}).json()["data"] for name in behind}

    assert {name: {made[item["id"]] for item in items} for name, items in found.items()} == behind
    assert {name: {item["status"] for item in items} for name, items in found.items()} == {
        name: {name} for name in behind
    }
    unconfirmed = next(pk for pk, status in made.items() if status == Status.UNCONFIRMED)
    assert program.get(f"/orders/{unconfirmed}").json()["status"] == "processing"


def test_other_customers_orders_do_not_exist(program, service):
    foreign = OrderFactory(service=service)

    answers = [program.get(f"/orders/{r}") for r in (foreign.pk, foreign.uuid, 10**9)]

    assert [(a.status_code, a.json()) for a in answers] == [
        (
            404,
            {
                "error": "Not Found",
                "message": "Cette commande n'existe pas.",
                "code": "order_not_found",
            },
        )
    ] * 3
    assert program.get("/orders").json() == {
        "data": [],
        "meta": {"current_page": 1, "total": 0, "per_page": 20},
    }
    assert program.get("/orders", {"ids": foreign.pk}).json()["data"] == []


@pytest.mark.parametrize("reference", ["abc", "0", "-1", "1.5", "%00", "９", "9" * 40])
def test_nonsense_references_are_not_found(program, reference):
    response = program.client.get(
        f"/api/v1/orders/{reference}", headers={"X-API-Key": program.text}
    )

    assert (response.status_code, response.json()["code"]) == (404, "order_not_found")


def test_list_filters(program, service):
    wallet = program.user.wallets.get()
    old, middle, new = (OrderFactory(wallet=wallet, service=service) for _ in range(3))
    other = OrderFactory(wallet=wallet, status=Status.COMPLETED, client_ref="A-1")
    day = datetime(2024, 1, 15, tzinfo=UTC)
    for order, moment in (
        (old, day - timedelta(microseconds=1)),
        (middle, day),
        (new, day + timedelta(days=1) - timedelta(microseconds=1)),
        (other, day + timedelta(days=1)),
    ):
        Order.objects.filter(pk=order.pk).update(created_at=moment)

    def found(**query: object) -> list[int]:
        return [item["id"] for item in program.get("/orders", query).json()["data"]]

    assert found() == [other.pk, new.pk, middle.pk, old.pk]
    assert found(status="", page="", per_page="", ids="") == [other.pk, new.pk, middle.pk, old.pk]
    assert found(status="completed") == [other.pk]
    assert found(service_id=service.pk) == [new.pk, middle.pk, old.pk]
    assert found(service_id=2**63 - 1) == []
    assert found(client_ref="A-1") == [other.pk]
    assert found(ids=f"{old.pk}, {new.pk},9999999999999999999") == [new.pk, old.pk]
    assert found(created_from="2024-01-15", created_to="2024-01-15") == [new.pk, middle.pk]
    assert found(created_from="2024-01-15T00:00:00Z", created_to="2024-01-15T23:59:59Z") == [
        new.pk,
        middle.pk,
    ]
    assert found(created_to="2024-01-15T00:00:00+01:00") == []
    assert found(created_from="2024-01-15", created_to="2024-01-15T23:59:59.999998Z") == [middle.pk]


def test_list_pages(program, service):
    wallet = program.user.wallets.get()
    newest_first = [OrderFactory(wallet=wallet, service=service).pk for _ in range(3)][::-1]

    def page(**query: object) -> tuple[list[int], dict[str, int]]:
        body = program.get("/orders", query).json()
        return [item["id"] for item in body["data"]], body["meta"]

    assert page(page=2, per_page=2) == (
        newest_first[2:],
        {"current_page": 2, "total": 3, "per_page": 2},
    )
    assert page(per_page=1000) == (newest_first, {"current_page": 1, "total": 3, "per_page": 100})
    past = {"current_page": 10**40, "total": 3, "per_page": 20}
    assert page(page=10**40) == ([], past)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "unknown"),
        ("status", "sending"),
        ("status", "unconfirmed"),
        ("page", "0"),
        ("page", "-1"),
        ("page", "abc"),
        ("page", "1.5"),
        pytest.param("page", "9" * 5000, id="page-endless"),
        ("per_page", "0"),
        ("per_page", "-5"),
        ("service_id", "abc"),
        ("service_id", "9" * 30),
        ("created_from", "yesterday"),
        ("created_from", "0001-01-01T00:00:00+14:00"),
        ("created_to", "9999-12-31"),
        ("created_to", "2024-13-45"),
        pytest.param("client_ref", "x" * 256, id="client_ref-long"),
        ("client_ref", "\x00"),
        ("ids", ","),
        ("ids", "1,abc"),
        ("ids", "-1"),
        pytest.param("ids", ",".join(["1"] * 101), id="ids-many"),
    ],
)
def test_list_refuses_a_bad_parameter(program, name, value):
    response = program.get("/orders", {name: value})

    body = response.json()
    assert response.status_code == 422
    assert list(body) == ["error", "message", "errors", "code"]
    assert (body["error"], body["code"]) == ("Validation Error", "validation_error")
    assert list(body["errors"]) == [name]
    assert body["message"] == body["errors"][name][0]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("fr", "Un nombre entier valide est requis."),
        ("en", "A valid integer is required."),
        ("tr", "Geçerli bir tam sayı girin."),
    ],
)
def test_bad_parameters_are_explained_in_the_clients_language(program, language, text):
    response = program.get("/orders", {"page": "abc"}, Accept_Language=language)

    assert response.json()["errors"] == {"page": [text]}


@pytest.mark.parametrize("rows", [1, 3])
def test_list_costs_the_same_for_one_and_three_rows(
    program, service, rows, django_assert_num_queries
):
    program.get("/balance")  # notes the key's use
    wallet = program.user.wallets.get()
    for _ in range(rows):
        OrderFactory(wallet=wallet, service=ServiceFactory())

    with django_assert_num_queries(GATE + 2):  # count, rows
        response = program.get("/orders")

    assert len(response.json()["data"]) == rows


def test_single_order_costs_one_query_beside_the_gates(program, service, django_assert_num_queries):
    order = OrderFactory(wallet=program.user.wallets.get(), service=service)
    program.get("/balance")

    with django_assert_num_queries(GATE + 1):
        program.get(f"/orders/{order.pk}")


def test_order_is_charged_once_in_the_ledger(program, service):
    program.post("/orders", draft(service), Idempotency_Key="k")
    program.post("/orders", draft(service), Idempotency_Key="k")

    order = Order.objects.get()
    assert JournalEntry.objects.filter(subject=order.subject).count() == 1


def test_browser_session_buys_nothing(program, service):
    browser = Client()
    browser.force_login(program.user)

    response = browser.post(
        "/api/v1/orders", json.dumps(draft(service)), content_type="application/json"
    )

    assert response.status_code == 401
    assert Order.objects.count() == 0


def test_orders_of_a_customer_are_seen_with_each_of_the_customers_keys(program, service):
    order = OrderFactory(wallet=program.user.wallets.get(), service=service)
    second = program_of(program.user, "USD")
    stranger = program_of(UserFactory())

    assert second.get(f"/orders/{order.pk}").json()["currency"] == "XAF"
    assert stranger.get(f"/orders/{order.pk}").status_code == 404
