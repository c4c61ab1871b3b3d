"""Twenty identical requests at the same moment: one order, one charge, the same answer for all.

Those of batches fail without the lock of their keys, those of single orders without the unique
constraint; and a first one that takes long is not waited for.
"""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_q.models import OrmQ

from accounts import api_keys, retrying
from accounts.models import EntryKind, JournalEntry
from orders.bulk import BulkItem, place_many
from orders.checkout import hold_keys, place_order
from orders.models import Order, Source
from orders.requests import OrderDraft
from tests.books import breaches
from tests.concurrency.together import together
from tests.factories import ExchangeRateFactory, ServiceFactory, WalletFactory

pytestmark = pytest.mark.django_db(transaction=True)

AT_ONCE = 20
CHARGE = Decimal("1.30")


@pytest.fixture
def wallet() -> Any:
    """Holds 100 USD; its program's key stands in `wallet.text`."""
    wallet = WalletFactory(funds=100)
    _key, wallet.text = api_keys.issue(wallet.user, name="program", currency="USD")
    return wallet


def post(path: str, text: str, body: object, **headers: str) -> HttpResponse:
    return Client().post(
        path,
        json.dumps(body),
        content_type="application/json",
        headers={"X-API-Key": text, **{n.replace("_", "-"): v for n, v in headers.items()}},
    )


def item(service: Any, name: str = "service", **values: object) -> dict[str, object]:
    return {
        name: service.pk,
        "link": "https://instagram.com/someone",
        "quantity": 1000,
        **values,
    }


def charges() -> int:
    return JournalEntry.objects.filter(kind=EntryKind.CHARGE).count()


def answers(send: partial[HttpResponse]) -> list[HttpResponse]:
    outcomes = together(*[send] * AT_ONCE)
    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    return outcomes


def test_identical_orders_at_once_are_one_in_the_rest_dialect(wallet):
    body = item(ServiceFactory(), "service_id")

    given = answers(partial(post, "/api/v1/orders", wallet.text, body, Idempotency_Key="k"))

    order = Order.objects.get()
    assert {(answer.status_code, answer.content) for answer in given} == {(201, given[0].content)}
    assert given[0].json()["order"]["id"] == order.pk
    assert Counter(answer.headers.get("Idempotent-Replayed") for answer in given) == {
        None: 1,
        "true": AT_ONCE - 1,
    }
    assert (charges(), OrmQ.objects.count(), breaches()) == (1, 1, [])


def test_identical_orders_at_once_are_one_in_the_panel_dialect(wallet):
    body = {"action": "add", **item(ServiceFactory(), idempotency_key="k")}

    given = answers(partial(post, "/api/v2", wallet.text, body))

    expected = f'{{"order":{Order.objects.get().pk}}}'.encode()
    assert {(answer.status_code, answer.content) for answer in given} == {(200, expected)}
    assert (charges(), OrmQ.objects.count(), breaches()) == (1, 1, [])


@pytest.mark.parametrize("dialect", ["panel", "rest"])
def test_identical_batches_at_once_are_one(wallet, dialect):
    """The wallet holds two batches and a half: whoever comes third must not be refused."""
    service = ServiceFactory(provider_rate=10)
    if dialect == "panel":
        orders = [item(service, idempotency_key=key) for key in ("a", "b", "c")]
        send = partial(post, "/api/v2", wallet.text, {"action": "add_bulk", "orders": orders})
    else:
        body = {"orders": [item(service, "service_id")] * 3}
        send = partial(post, "/api/v1/orders/bulk", wallet.text, body, Idempotency_Key="k")

    given = answers(send)

    assert {(answer.status_code, answer.content) for answer in given} == {(200, given[0].content)}
    assert (Order.objects.count(), charges(), OrmQ.objects.count()) == (3, 3, 1)
    wallet.refresh_from_db()
    assert wallet.balance == 100 - 30 * CHARGE
    assert breaches() == []


def test_batches_at_once_never_spend_more_than_there_is(wallet):
    """Each has a total that the wallet could pay, all of them together do not."""
    service = ServiceFactory(provider_rate=10)
    orders = [item(service)] * 2

    given = together(
        *[partial(post, "/api/v2", wallet.text, {"action": "add_bulk", "orders": orders})] * 6
    )

    bodies = [answer.json() for answer in given]
    assert sum("0" in body for body in bodies) == 3
    refused = {
        "error": "Insufficient balance. Required: 26.000000, Available: 22.000000",
    }
    assert [body for body in bodies if "0" not in body] == [refused] * 3
    assert (Order.objects.count(), breaches()) == (6, [])


def test_batch_and_single_orders_with_one_key_at_once_are_one_order(wallet):
    service = ServiceFactory()
    single = {"action": "add", **item(service, idempotency_key="a")}
    batch = {"action": "add_bulk", "orders": [item(service), item(service, idempotency_key="a")]}

    given = together(
        *[partial(post, "/api/v2", wallet.text, single)] * 4,
        *[partial(post, "/api/v2", wallet.text, batch)] * 4,
    )

    one = Order.objects.get(idempotency_key="a").pk
    assert [answer.json() for answer in given[:4]] == [{"order": one}] * 4
    assert [answer.json()["1"] for answer in given[4:]] == [{"order": one}] * 4
    assert (Order.objects.count(), charges(), breaches()) == (5, 5, [])


@pytest.mark.postgresql
def test_repeat_while_the_first_still_runs_is_told_so(wallet):
    service = ServiceFactory()
    draft = OrderDraft(service.pk, item(service))
    sell = partial(partial, customer=wallet.user, currency="USD", source=Source.REST)
    rest = partial(post, text=wallet.text, Idempotency_Key="k")
    repeats = [
        partial(rest, "/api/v1/orders", body=item(service, "service_id")),
        partial(rest, "/api/v1/orders/bulk", body={"orders": [item(service, "service_id")]}),
        partial(
            post, "/api/v2", wallet.text, {"action": "add", **item(service, idempotency_key="k")}
        ),
        partial(
            post,
            "/api/v2",
            wallet.text,
            {"action": "add_bulk", "orders": [item(service, idempotency_key="k")]},
        ),
    ]

    def impatient() -> list[HttpResponse]:
        connection.cursor().execute("SET lock_timeout = '100ms'")
        return [send() for send in repeats]

    with transaction.atomic():
        alone = sell(place_order)(draft=draft, idempotency_key="k").order.pk
        batch = sell(place_many)(items=[BulkItem(draft)], idempotency_key="k").placed[0].order.pk
        [refused] = together(impatient)
    answered = [send().json() for send in repeats]

    assert [(r.status_code, r.json()["code"]) for r in refused[:2]] == [
        (409, "idempotency_key_in_use")
    ] * 2
    assert [r.json() for r in refused[2:]] == [
        {"error": "Idempotency key is in use, try again"}
    ] * 2
    assert [answered[0]["order"]["id"], answered[1]["data"][0]["order"]["id"]] == [alone, batch]
    assert answered[2:] == [{"order": alone}, {"0": {"order": alone}}]
    assert (Order.objects.count(), charges(), breaches()) == (2, 2, [])


def test_batches_with_the_same_keys_from_two_wallets_never_wait_in_a_circle(wallet, monkeypatch):
    """A circle would be broken by the database, and begun again: here it would be an error."""
    monkeypatch.setattr(retrying, "ATTEMPTS", 1)
    ExchangeRateFactory(base="USD", quote="TRY", rate=40)
    WalletFactory(user=wallet.user, currency="TRY", funds=5000)
    service, keys = ServiceFactory(), "abcdef"

    def sell(currency: str, keys: str) -> Any:
        return place_many(
            customer=wallet.user,
            currency=currency,
            items=[BulkItem(OrderDraft(service.pk, item(service)), key) for key in keys],
            source=Source.PANEL,
        )

    outcomes = together(*[partial(sell, "USD", keys), partial(sell, "TRY", keys[::-1])] * 4)

    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    assert sorted(len(outcome.placed) for outcome in outcomes) == [0] * 4 + [6] * 4
    assert (Order.objects.count(), charges(), breaches()) == (6, 6, [])


@pytest.mark.postgresql
def test_keys_are_held_in_one_order_whoever_names_them(wallet):
    with transaction.atomic(), CaptureQueriesContext(connection) as held:
        hold_keys(wallet.user, "abcd")
        hold_keys(wallet.user, "dcba")

    assert len({query["sql"] for query in held}) == 1
