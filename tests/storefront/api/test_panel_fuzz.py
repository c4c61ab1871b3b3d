"""Whatever is sent to the panel dialect: HTTP 200, JSON, and money moves for an accepted order
only."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.money import ZERO
from catalog.models import Service
from orders.models import Order
from tests.storefront.api.conftest import Program

LINK = "https://instagram.com/username"
ODD_TEXTS = st.sampled_from(
    [
        *("", " ", "\x00", "a\x00b", "\ud800", "\u202e", "None", "null", "true", "NaN", "Infinity"),
        *("0", "-1", "1e3", "1.0", "１０", "٣", "10 ", "+10", "1_0", "0x10", "9" * 30, "9" * 5000),
        *("' OR 1=1 --", "<script>", "javascript:x", "http://", "//", "x" * 5000, "1," * 200),
    ]
)
ODD_NUMBERS = st.sampled_from(
    [0, -1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**30, 10**99, 10**200]
)
TEXTS = ODD_TEXTS | st.text(max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | ODD_NUMBERS | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(
    [
        *("service", "link", "quantity", "runs", "interval", "comments", "usernames", "client_ref"),
        *("idempotency_key", "order", "orders", "min", "max", "expiry", "format"),
    ]
)
# One in ten actions is odd; the others must not stop at "Invalid action".
ACTIONS = st.tuples(
    st.sampled_from([*["add"] * 4, "add_bulk", "add_bulk", "status", "status", "services", None]),
    VALUES,
).map(lambda drawn: drawn[0] or drawn[1])
# Half of an otherwise good order is broken at a time, so that every check is reached.
GOOD = st.sampled_from([{}, {"link": LINK}, {"link": LINK, "quantity": 10}])


def send(program: Program, way: str, params: dict[str, Any]) -> Any:
    client = program.client
    if way == "json":
        # NaN and lone surrogates too: what a careless program would send.
        return client.generic("POST", "/api/v2", json.dumps(params), "application/json")
    flat = {
        name.encode("utf-8", "replace").decode(): str(value).encode("utf-8", "replace").decode()
        for name, value in params.items()
    }
    return client.get("/api", flat) if way == "query" else client.post("/api/v2/", flat)


# On PostgreSQL alone: it refuses all that SQLite does, and more.
pytestmark = pytest.mark.postgresql


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    way=st.sampled_from(["json", "form", "query"]),
    action=ACTIONS,
    good=GOOD,
    bad=st.dictionaries(NAMES | TEXTS, VALUES, max_size=5),
)
def test_any_parameters_are_answered(
    *, program: Program, service: Service, way: str, action: Any, good: Any, bad: Any
) -> None:
    before, orders = program.balance, Order.objects.count()
    item = {"service": service.pk, **good, **bad}
    if action == "add_bulk":
        orders_asked: Any = [item, {"service": service.pk, **good}]
        item = {"orders": orders_asked if way == "json" else json.dumps(orders_asked)}
    params = {"key": program.text, "action": action, **item}

    response = send(program, way, params)

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    answer = response.json()
    lines = [*answer.values(), answer] if isinstance(answer, dict) else []
    bought = {line["order"] for line in lines if isinstance(line, dict) and set(line) == {"order"}}
    assert Order.objects.count() == orders + len(bought)
    charged = sum((order.charge for order in Order.objects.filter(pk__in=bought)), ZERO)
    assert program.balance == before - charged


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    body=st.binary(max_size=200),
    kind=st.sampled_from(
        [
            "application/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "multipart/form-data",
            "text/plain",
            "",
        ]
    ),
)
def test_any_bytes_are_answered(program: Program, body: bytes, kind: str) -> None:
    response = program.client.generic(
        "POST", "/api/v2", body, kind, headers={"X-API-Key": program.text}
    )

    assert response.status_code == 200
    assert list(response.json()) == ["error"]
    assert program.balance == Decimal(500)
