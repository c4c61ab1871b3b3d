"""The gate of both dialects: who is let in, how often, what each answer carries, what is logged."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from accounts import api_keys, limits, request_log
from accounts.api_keys import KeyTerms
from accounts.clock import from_now
from accounts.limits import Allowance
from accounts.models import ApiKey, ApiRequest, ApiUsage, Permission, User, every_permission
from accounts.tasks import prune
from storefront.api.panel.actions import ACTIONS
from tests.factories import PASSWORD, OrderFactory
from tests.storefront.api.conftest import GATE

LIMIT = {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}
ENGLISH = {"Accept_Language": "en"}


def limits_on(response) -> set[str]:
    return LIMIT & {*response.headers}


def panel(program, body: Any, **headers: str):
    """A JSON request of the panel dialect, with the key in a header."""
    return program.client.post(
        "/api/v2",
        body if isinstance(body, str) else json.dumps(body),
        content_type="application/json",
        headers={"X-API-Key": program.text, **headers},
    )


def allow(program, *permissions: str) -> None:
    api_keys.change(program.api_key, name="program", terms=KeyTerms(permissions=permissions))


def limit_to(program, minute: int) -> None:
    User.objects.filter(pk=program.user.pk).update(api_per_minute=minute)


# --- headers -------------------------------------------------------------------------------------


def test_every_answer_of_rest_tells_the_limits(program, service, settings):
    settings.API_PER_MINUTE, settings.API_PER_DAY = 60, 10_000
    known = program.get("/services").headers["ETag"]
    answers = [
        program.get("/services", If_None_Match=known),
        program.post("/orders", {"service_id": service.pk, "link": "@someone", "quantity": 10}),
        program.post("/orders", {"service_id": service.pk}),
        program.post("/orders", "{"),
        program.client.post(
            "/api/v1/orders", "x", content_type="text/x", headers={"X-API-Key": program.text}
        ),
        program.get("/orders/999"),
        program.client.delete("/api/v1/balance", headers={"X-API-Key": program.text}),
    ]
    allow(program, Permission.ORDERS_READ)
    answers.append(program.get("/balance"))

    assert [answer.status_code for answer in answers] == [304, 201, 422, 400, 415, 404, 405, 403]
    usage = ApiUsage.objects.get()
    assert [[int(answer.headers[name]) for name in sorted(LIMIT)] for answer in answers] == [
        [60, left, usage.minute_from + 60] for left in range(58, 50, -1)
    ]


def test_every_answer_of_the_panel_dialect_tells_the_limits(program, service, settings):
    settings.API_PER_MINUTE, settings.API_PER_DAY = 60, 10_000
    known = panel(program, {"action": "services"}).headers["ETag"]
    answers = [
        panel(program, {"action": "services"}, **{"If-None-Match": known}),
        panel(program, {"action": "status", "order": 999}),
        panel(program, {"action": "dance"}),
        panel(program, "{"),
    ]
    allow(program, Permission.ORDERS_READ)
    answers += [panel(program, {"action": "balance"}), panel(program, {"action": "refill"})]

    assert [(answer.status_code, answer.content) for answer in answers] == [
        (304, b""),
        (200, b'{"error":"Incorrect order ID"}'),
        (200, b'{"error":"Invalid action"}'),
        (200, b'{"error":"Invalid request"}'),
        (200, b'{"error":"Permission denied"}'),
        (200, b'{"refill":null,"status":"rejected","error":"Permission denied"}'),
    ]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == [
        str(left) for left in range(58, 52, -1)
    ]


def test_failure_of_ours_tells_the_limits_and_is_logged(program, monkeypatch):
    def broken(*args: Any) -> None:
        raise RuntimeError("internals")

    monkeypatch.setattr("accounts.ledger.wallet_of", broken)
    answers = [program.get("/balance"), panel(program, {"action": "balance"})]

    assert [answer.status_code for answer in answers] == [500, 500]
    assert [limits_on(answer) for answer in answers] == [LIMIT, LIMIT]
    assert [*ApiRequest.objects.values_list("status", "result")] == [(500, "server_error")] * 2


def test_who_is_not_known_is_told_no_limits(program):
    answers = [
        Client().get("/api/v1/balance"),
        Client().get("/api/v1/balance", headers={"X-API-Key": "sk_wrong"}),
        Client().get("/api/v2", {"key": "sk_wrong", "action": "balance"}),
        Client().get("/api/v1/openapi.json"),
    ]

    assert [limits_on(answer) for answer in answers] == [set()] * 4
    assert (ApiUsage.objects.count(), ApiRequest.objects.count()) == (0, 0)


# --- limits --------------------------------------------------------------------------------------


def test_rest_past_the_limit_is_told_when_to_come_again(program, monkeypatch):
    limit_to(program, 1)
    assert program.get("/balance").status_code == 200
    monkeypatch.setattr(limits, "count", lambda key: Allowance(1, 0, 1_700_000_000, 30))

    refused = program.get("/balance", **ENGLISH)

    assert refused.status_code == 429
    assert refused.json() == {
        "error": "Too Many Requests",
        "message": "You have exceeded the request limit. Try again in 30 seconds.",
        "retry_after": 30,
        "code": "rate_limited",
    }
    assert {name: refused.headers[name] for name in (*LIMIT, "Retry-After")} == {
        "X-RateLimit-Limit": "1",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": "1700000000",
        "Retry-After": "30",
    }


@pytest.mark.parametrize("action", ["balance", "refill", "dance"])
def test_panel_past_the_limit_is_told_when_to_come_again(program, action):
    limit_to(program, 1)
    panel(program, {"action": "balance"})

    refused = panel(program, {"action": action})

    seconds = refused.json()["retry_after"]
    assert refused.status_code == 429
    assert refused.json() == {"error": "Too Many Requests", "retry_after": seconds}
    assert (seconds in (59, 60), refused.headers["Retry-After"]) == (True, str(seconds))
    assert limits_on(refused) == LIMIT


def test_refused_request_does_nothing(program, service):
    limit_to(program, 1)
    program.get("/balance")

    draft = {"link": "https://instagram.com/someone", "quantity": 100}
    assert program.post("/orders", {"service_id": service.pk, **draft}).status_code == 429
    answer = panel(program, {"action": "add", "service": service.pk, **draft})
    assert answer.status_code == 429

    assert (program.user.orders.count(), program.balance) == (0, 500)


def test_wrong_keys_are_throttled_in_both_dialects(db):
    wrong = {"key": "sk_" + "x" * 40, "action": "balance"}
    for _ in range(15):
        assert Client().get("/api/v2", wrong).json() == {"error": "Unauthorized"}
        rest = Client().get("/api/v1/balance", headers={"X-API-Key": wrong["key"]})
        assert rest.status_code == 401

    throttled = [
        Client().get("/api/v2", wrong),
        Client().get("/api/v1/balance", headers={"X-API-Key": wrong["key"]}),
        Client().get("/api/v2", {**wrong, "action": "refill"}),
    ]

    assert [answer.status_code for answer in throttled] == [429, 429, 429]
    assert [answer.headers["Retry-After"] in ("59", "60") for answer in throttled] == [True] * 3


# --- permissions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_needs_its_permission(program, action):
    allow(program, *(set(every_permission()) - {ACTIONS[action].permission}))

    answer = program.panel(action, orders="1", refills="1")

    assert answer["error"] == "Permission denied"


def test_permission_denied_says_which(program):
    allow(program, Permission.ORDERS_READ)

    assert program.get("/balance", **ENGLISH).json() == {
        "error": "Forbidden",
        "message": "This API key does not have the permission balance:read.",
        "code": "permission_denied",
    }


# --- suspended, revoked --------------------------------------------------------------------------


def test_suspended_customer_stops_at_once_on_every_front(program, client):
    sandbox_key, sandbox = api_keys.issue_sandbox(program.user, name="trial", currency="USD")
    program.user.set_password(PASSWORD)
    program.user.save()
    client.login(username=program.user.email, password=PASSWORD)
    pages = ["/orders/", "/wallet/", "/settings/api-keys/"]
    assert [client.get(page).status_code for page in pages] == [200, 200, 200]

    User.objects.filter(pk=program.user.pk).update(is_active=False)

    assert [client.get(page).status_code for page in pages] == [302, 302, 302]
    assert not client.login(username=program.user.email, password=PASSWORD)
    for text in (program.text, sandbox):
        rest = Client().get("/api/v1/balance", headers={"X-API-Key": text})
        assert (rest.status_code, rest.json()["code"]) == (403, "account_suspended")
        told = Client().post("/api/v2", {"key": text, "action": "balance"})
        assert told.json() == {"error": "Unauthorized"}
        assert (limits_on(rest), limits_on(told)) == (LIMIT, LIMIT)
    assert [*request_log.of_key(sandbox_key).values_list("result", flat=True)] == [
        "account_suspended"
    ] * 2


@pytest.mark.parametrize(
    "end",
    [
        api_keys.revoke,
        lambda key: api_keys.regenerate(key, grace=timedelta()),
        lambda key: ApiKey.objects.filter(pk=key.pk).update(expires_at=from_now(timedelta())),
        lambda key: api_keys.change(key, name="x", terms=KeyTerms(networks=["10.1.0.0/16"])),
    ],
    ids=["revoked", "replaced", "expired", "from elsewhere"],
)
def test_key_that_has_ended_stops_at_once_in_both_dialects(program, end):
    assert program.get("/balance").status_code == 200
    end(program.api_key)

    rest = program.get("/balance")

    assert (rest.status_code, rest.json()["code"]) == (401, "invalid_api_key")
    assert program.panel("balance") == {"error": "Unauthorized"}


# --- the log -------------------------------------------------------------------------------------


def test_log_tells_what_was_asked_and_answered(program, service):
    order = OrderFactory(wallet=program.user.wallets.get(), service=service)
    program.post("/orders?x=1", {"service_id": service.pk, "link": "@someone", "quantity": 10})
    program.get(f"/orders/{order.pk}/")
    program.get("/orders/999", **ENGLISH)
    program.panel("status", order=order.pk)
    program.panel("dance")
    program.panel("services")

    rows = [*reversed(request_log.of_key(program.api_key))]
    assert [(row.dialect, row.action, row.status, row.result) for row in rows] == [
        ("rest", "POST /orders", 201, "ok"),
        ("rest", "GET /orders/{id}", 200, "ok"),
        ("rest", "GET /orders/{id}", 404, "order_not_found"),
        ("panel", "status", 200, "ok"),
        ("panel", "dance", 200, "invalid_action"),
        ("panel", "services", 200, "ok"),
    ]
    assert rows[0].request == (
        f'/api/v1/orders?x=1\n{{"service_id":{service.pk},"link":"@someone","quantity":10}}'
    )
    assert rows[2].answer == (
        '{"error":"Not Found","message":"This order does not exist.","code":"order_not_found"}'
    )
    assert rows[3].request == f'{{"action":"status","order":"{order.pk}"}}'
    assert json.loads(rows[3].answer)["status"] == "Pending"
    assert rows[5].answer == ""
    assert {row.address for row in rows} == {"127.0.0.1"}
    assert all(0 <= row.milliseconds < 60_000 for row in rows)


def test_log_holds_no_secret_and_no_more_than_a_little(program, service):
    secrets = {"password": "hunter2", "link": f"https://x/?key={program.text}"}
    panel(program, {"key": program.text, "action": program.text, "token": "hunter2", **secrets})
    program.post(f"/orders?key={program.text}", {**secrets, "service_id": service.pk})
    program.panel("status", orders=program.text)  # answered under the "id" that was asked for
    program.panel("status", orders=",".join(map(str, range(100))), comments="é" * 5000)

    kept = json.dumps([*ApiRequest.objects.values("action", "request", "answer")])

    assert (program.text in kept, program.text[:20] in kept, "hunter2" in kept) == (False,) * 3
    longest = ApiRequest.objects.latest("pk")
    assert (len(longest.request), len(longest.answer)) == (2048, 1024)


def test_flood_past_the_limit_is_one_line(program):
    limit_to(program, 1)
    for _ in range(4):
        program.get("/balance")

    assert [*request_log.of_key(program.api_key).values_list("status", flat=True)] == [429, 200]


def test_log_that_cannot_be_written_fails_no_request(program, monkeypatch):
    def full(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr(ApiRequest.objects, "create", full)

    assert program.get("/balance").status_code == 200
    assert program.panel("balance")["currency"] == "XAF"


def test_log_is_kept_for_thirty_days(program):
    for _ in range(3):
        program.get("/balance")
    old, kept, _new = ApiRequest.objects.order_by("pk")
    ApiRequest.objects.filter(pk=old.pk).update(at=from_now(-timedelta(days=30, seconds=1)))
    ApiRequest.objects.filter(pk=kept.pk).update(at=from_now(-timedelta(days=29)))
    assert request_log.of_key(program.api_key).count() == 2

    prune()

    assert ApiRequest.objects.filter(pk=old.pk).count() == 0
    assert ApiRequest.objects.count() == 2


def test_job_forgets_old_wrong_keys(db):
    Client().get("/api/v2", {"key": "sk_wrong", "action": "balance"}, REMOTE_ADDR="10.0.0.1")
    Client().get("/api/v2", {"key": "sk_wrong", "action": "balance"}, REMOTE_ADDR="10.0.0.2")
    limits.WrongKeys.objects.filter(address="10.0.0.1").update(window_from=0)

    prune()

    assert [*limits.WrongKeys.objects.values_list("address", flat=True)] == ["10.0.0.2"]


def test_gate_costs_three_statements_and_one_more_on_sqlite(program, django_assert_num_queries):
    program.get("/balance")

    with django_assert_num_queries(GATE):
        program.panel("dance")
    with django_assert_num_queries(0):
        Client().get("/api/v1/nowhere")
