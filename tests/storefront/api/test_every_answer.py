"""Requests that reach no view: whose key is known is counted, told the limits, and has a line in
its log, whatever else is wrong; whose is not learns nothing and leaves nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client, RequestFactory

from accounts import api_keys, request_log
from accounts.api_keys import KeyTerms
from accounts.models import ApiUsage, Permission, User, WrongKeys
from catalog.models import Service
from orders.models import Order
from storefront.api.panel.views import panel

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
UNAUTHORIZED = b'{"error":"Unauthorized"}'
INVALID = b'{"error":"Invalid request"}'
REJECTED = b'{"refill":null,"status":"rejected","error":"Invalid request"}'
NOT_ALLOWED = b'{"error":"Method not allowed"}'
NOT_FOUND = b'{"error":"Not found"}'


def ask(method: str, path: str, body: bytes = b"", kind: str = FORM, **headers: str) -> Any:
    # Django's client names the content type of an empty body only when told so.
    return Client().generic(method, path, body, kind, headers=headers, CONTENT_TYPE=kind)


def counted() -> int:
    return sum(ApiUsage.objects.values_list("minute_count", flat=True))


def is_of_the_key(answer: Any, program: Any) -> bool:
    """Whether it is the one request that was counted of the key, told it, and stands in its log."""
    (row,) = request_log.of_key(program.api_key)
    used, row_status = counted(), row.status
    told = int(answer.headers["X-RateLimit-Limit"]) - int(answer.headers["X-RateLimit-Remaining"])
    return (used, told, row_status) == (1, 1, answer.status_code)


# --- a panel request that cannot be read ---------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        pytest.param("/api/v2?key={key}", b"{", JSON, id="json"),
        pytest.param("/api/v2?key={key}", b'{"a":1,"a":2}', JSON, id="twice"),
        pytest.param("/api/v2?key={key}&link=%00", b"", FORM, id="null-in-query"),
        pytest.param(f"/api/v2?{'a=1&' * 2_000}", b"key={key}", FORM, id="many-fields"),
        pytest.param("/api/v2", b"key={key}&link=%00", FORM, id="null-in-form"),
        pytest.param("/api/v2", b'{"key":"{key}","link":"\\u0000"}', JSON, id="null-in-json"),
        pytest.param("/api/v2?key={key}", b"a" * 3_000, FORM, id="huge"),
        pytest.param("/api/v2?key={key}", b"x", "multipart/form-data", id="multipart"),
    ],
)
def test_unreadable_request_is_its_keys(program, settings, path, body, kind):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2_000

    def sent(key: str) -> Any:
        return ask("POST", path.replace("{key}", key), body.replace(b"{key}", key.encode()), kind)

    answer = sent(program.text)
    assert (answer.status_code, answer.content) == (200, INVALID)
    assert is_of_the_key(answer, program)
    assert request_log.of_key(program.api_key).get().result == "invalid_request"

    wrong, none = sent("sk_wrong"), sent("")
    assert (wrong.content, none.content) == (UNAUTHORIZED, UNAUTHORIZED)
    assert (WrongKeys.objects.get().count, counted()) == (1, 1)


def test_unreadable_refill_keeps_its_shape(program):
    asked = f"/api/v2?key={program.text}&action=refill"

    answers = [
        ask("POST", asked, b"{", JSON),
        ask("GET", f"{asked}&order=%00"),
        ask("POST", f"/api?key={program.text}", b"action=refill&order=%00"),
    ]

    assert [answer.content for answer in answers] == [REJECTED] * 3


def test_key_of_an_unreadable_request_is_taken_from_headers_then_query(program):
    broken = b"key=sk_wrong&a=%00"

    by_header = ask("POST", "/api/v2?key=sk_wrong", broken, X_API_Key=program.text)
    by_query = ask("POST", f"/api/v2?key={program.text}", broken)

    assert (by_header.content, by_query.content) == (INVALID, INVALID)


def test_json_without_a_body_has_no_parameters(program):
    answer = ask("POST", f"/api/v2?key={program.text}&action=balance", b"", JSON)

    assert answer.json() == {"balance": "500.00", "currency": "XAF"}


@pytest.mark.parametrize(
    ("body", "kind"), [(b"key=", FORM), (b"key=+", FORM), (b'{"key":"","action":null}', JSON)]
)
def test_empty_field_of_the_body_hides_none_of_the_query(program, body, kind):
    answer = ask("POST", f"/api/v2?key={program.text}&action=balance", body, kind)

    assert answer.json() == {"balance": "500.00", "currency": "XAF"}


# --- other methods, other addresses --------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "expected"),
    [
        ("OPTIONS", "/api/v2", 405, NOT_ALLOWED),
        ("DELETE", "/api/", 405, NOT_ALLOWED),
        ("GET", "/api/v2/anything", 404, NOT_FOUND),
        ("POST", "/api/v2//", 404, NOT_FOUND),
        ("PUT", "/api/v3", 404, NOT_FOUND),
        ("GET", "/api/v2/x%0Ay", 404, NOT_FOUND),
        ("GET", "/api/v1", 404, None),
        ("POST", "/api/v1//services", 404, None),
        ("GET", "/api/v1/x%0A%00y", 404, None),
        ("GET", "/api/v1/openapi.json", 200, None),
    ],
)
def test_answer_that_needs_no_key_is_told_to_a_known_one(program, method, path, status, expected):
    nobodys = [ask(method, path), ask(method, path, X_API_Key="sk_wrong")]
    assert (counted(), WrongKeys.objects.get().count) == (0, 1)

    answer = ask(method, path, X_API_Key=program.text)

    assert {one.status_code for one in [*nobodys, answer]} == {status}
    assert {one.content for one in [*nobodys, answer]} == {expected or answer.content}
    assert answer.headers["Content-Type"] == "application/json"
    assert is_of_the_key(answer, program)

    User.objects.update(api_per_minute=1)
    assert ask(method, path, X_API_Key=program.text).status_code == 429


def test_other_method_is_its_keys_by_the_query_too(program):
    assert is_of_the_key(ask("PUT", f"/api/v2?key={program.text}"), program)


def test_log_tells_which_address_is_none(program):
    ask("GET", "/api/v1/no/where?x=1", X_API_Key=program.text)

    row = request_log.of_key(program.api_key).get()
    assert (row.action, row.result) == ("GET /no/where", "not_found")


# --- HEAD ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/api/v1/services", "/api/v1/orders", "/api/v1/webhooks", "/api/v2?action=balance"]
)
def test_head_is_get_without_the_body(program, service: Service, path):
    got = ask("GET", path, X_API_Key=program.text)
    head = ask("HEAD", path, X_API_Key=program.text)

    assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
    left = "X-RateLimit-Remaining"
    heads, gots = (dict(answer.headers) for answer in (head, got))
    assert int(heads.pop(left)) == int(gots.pop(left)) - 1
    assert heads == gots
    assert heads["Content-Length"] == str(len(got.content))


def test_head_leaves_no_body_to_the_server(db):
    # gunicorn, as the client of the tests, drops one, but warns of each.
    answer = panel(RequestFactory().head("/api/v2"))

    assert (answer.content, answer.headers["Content-Length"]) == (b"", str(len(UNAUTHORIZED)))


def test_head_needs_the_permission_of_get(program):
    terms = KeyTerms(permissions=[Permission.ORDERS_READ])
    api_keys.change(program.api_key, name="x", terms=terms)

    assert ask("HEAD", "/api/v1/balance", X_API_Key=program.text).status_code == 403
    assert ask("HEAD", "/api/v1/balance").status_code == 401
    assert ask("HEAD", "/api/v1/orders/bulk", X_API_Key=program.text).status_code == 405


def test_head_never_writes(program, service: Service):
    asked = f"/api/v2?action=add&service={service.pk}&link=https://instagram.com/x&quantity=100"

    assert ask("HEAD", asked, X_API_Key=program.text).status_code == 405
    assert Order.objects.count() == 0
    assert "order" in ask("GET", asked, X_API_Key=program.text).json()
