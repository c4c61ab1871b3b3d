"""Every failure of the REST dialect has the contract's shape, whoever caused it."""

from __future__ import annotations

import logging

import pytest
from django.test import Client

from accounts import api_keys
from accounts.models import ApiKey, User
from orders.models import Order

UNAUTHORIZED = {
    "error": "Unauthorized",
    "message": "La clé API est absente ou invalide.",
    "code": "invalid_api_key",
}
ADDRESSES = ["/services", "/orders", "/orders/1", "/balance"]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "sk_" + "a" * 40},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer sk_wrong"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
        {"X-API-Key": "\xff\xfe"},
    ],
)
def test_without_a_valid_key_nothing_is_told(db, address, headers):
    response = Client().get(f"/api/v1{address}", headers=headers)

    assert (response.status_code, response.json()) == (401, UNAUTHORIZED)
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="api"'


def test_revoked_key_is_unauthorized(program):
    api_keys.revoke(program.api_key)

    response = program.get("/balance")

    assert (response.status_code, response.json()) == (401, UNAUTHORIZED)


def test_key_in_the_query_is_not_looked_at(program):
    response = Client().get("/api/v1/balance", {"key": program.text})

    assert response.status_code == 401


@pytest.mark.parametrize("scheme", ["Basic", "Token", "Bearer:", ""])
def test_key_under_another_scheme_is_not_looked_at(program, scheme):
    headers = {"Authorization": f"{scheme} {program.text}"}

    assert Client().get("/api/v1/balance", headers=headers).status_code == 401


def test_suspended_customer_is_forbidden(program):
    User.objects.update(is_active=False)

    response = program.get("/balance")

    assert (response.status_code, response.json()) == (
        403,
        {"error": "Forbidden", "message": "Ce compte est suspendu.", "code": "account_suspended"},
    )


def test_use_of_a_key_is_noted_with_its_address_once(program):
    program.client.get(
        "/api/v1/balance", headers={"X-API-Key": program.text}, REMOTE_ADDR="192.0.2.7"
    )
    first = ApiKey.objects.get(pk=program.api_key.pk)
    program.get("/balance")

    again = ApiKey.objects.get(pk=program.api_key.pk)
    assert first.last_used_ip == "192.0.2.7"
    assert (again.last_used_at, again.last_used_ip) == (first.last_used_at, "192.0.2.7")


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("/services", "GET, HEAD"),
        ("/orders", "GET, POST, HEAD"),
        ("/orders/1", "GET, HEAD"),
        ("/balance", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
    ],
)
@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "PATCH", "DELETE", "TRACE"])
def test_other_methods_are_refused(program, address, allowed, method):
    response = program.client.generic(
        method, f"/api/v1{address}", headers={"X-API-Key": program.text}
    )

    assert response.status_code == 405
    assert response.headers["Allow"] == allowed
    assert response.json() == {
        "error": "Method Not Allowed",
        "message": "Cette méthode n'est pas disponible à cette adresse.",
        "code": "method_not_allowed",
    }


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS"])
@pytest.mark.parametrize("address", ["", "//services", "/orders/1/2", "/services/%00/x", "/x%0Ay"])
def test_unknown_addresses_are_not_found_without_a_redirect(db, method, address):
    response = Client().generic(method, f"/api/v1{address}")

    assert (response.status_code, response.json()) == (
        404,
        {
            "error": "Not Found",
            "message": "Il n'y a rien à cette adresse.",
            "code": "not_found",
        },
    )


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty-is-fine-but-lacks-everything"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"[]", id="list"),
        pytest.param(b'"text"', id="text"),
        pytest.param(b"null", id="null"),
        pytest.param(b"12", id="number"),
        pytest.param(b'{"service_id": NaN}', id="nan"),
        pytest.param(b'{"service_id": 1, "service_id": 2}', id="twice"),
        pytest.param(b'{"link": "\\u0000"}', id="null-byte"),
        pytest.param(b'{"link": "\xff"}', id="not-utf-8"),
        pytest.param(b'{"a":' * 100_000, id="deep"),
        pytest.param(b'{"link": "' + b"x" * 2_700_000 + b'"}', id="huge"),
    ],
)
def test_unreadable_bodies_are_bad_requests(program, body):
    response = program.post("/orders", body)

    if body == b"":
        assert (response.status_code, response.json()["code"]) == (422, "validation_error")
    else:
        assert (response.status_code, response.json()) == (
            400,
            {
                "error": "Bad Request",
                "message": "La requête n'a pas pu être lue.",
                "code": "bad_request",
            },
        )
    assert Order.objects.count() == 0


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"link=%00"),
        pytest.param("application/x-www-form-urlencoded", b"a=1&" * 2_000, id="many-fields"),
        pytest.param("application/x-www-form-urlencoded", b"x" * 2_700_000, id="huge"),
        ("multipart/form-data", b"x"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="link"\r\n\r\n\x00\r\n--b--\r\n',
        ),
    ],
)
def test_unreadable_forms_are_bad_requests(program, kind, body):
    response = program.client.post(
        "/api/v1/orders", body, content_type=kind, headers={"X-API-Key": program.text}
    )

    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


def test_uploaded_file_is_dropped(program, service, tmp_path):
    upload = tmp_path / "link"
    upload.write_text("https://instagram.com/username")
    with upload.open("rb") as link:
        response = program.client.post(
            "/api/v1/orders",
            {"service_id": service.pk, "quantity": 10, "link": link},
            headers={"X-API-Key": program.text},
        )

    assert response.json()["errors"] == {"link": ["Le champ link est requis."]}


def test_endless_query_is_a_bad_request(program):
    response = program.get(f"/orders?{'a=1&' * 2_000}")

    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "nonsense", "application/jsonx"])
def test_other_content_types_are_refused(program, kind):
    response = program.client.post(
        "/api/v1/orders", b"<a/>", content_type=kind, headers={"X-API-Key": program.text}
    )

    assert (response.status_code, response.json()) == (
        415,
        {
            "error": "Unsupported Media Type",
            "message": "Envoyez du JSON ou un formulaire.",
            "code": "unsupported_media_type",
        },
    )


@pytest.mark.parametrize("accept", ["text/html", "application/xml;q=0.1", "nonsense", ""])
def test_every_accept_header_gets_json(program, accept):
    response = program.get("/balance", Accept=accept)

    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")


@pytest.mark.parametrize("language", ["fr", "en"])
def test_our_own_failure_tells_nothing_and_is_logged(program, monkeypatch, caplog, language):
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("the secret of provider Example")

    monkeypatch.setattr("storefront.api.rest.views.ledger.wallet_of", fail)

    with caplog.at_level(logging.ERROR):
        response = program.get("/balance", Accept_Language=language)

    text = {
        "fr": "Une erreur est survenue de notre côté. Veuillez réessayer plus tard.",
        "en": "Something went wrong on our side. Please try again later.",
    }[language]
    assert (response.status_code, response.json()) == (
        500,
        {"error": "Internal Server Error", "message": text, "code": "server_error"},
    )
    assert "the secret of provider Example" in caplog.text
