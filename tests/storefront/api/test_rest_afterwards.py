"""Cancellations and refills in the REST dialect."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orders.models import CancelRequest, EventSource, OrderEvent, Refill, RefillState
from orders.statuses import Status
from tests.factories import OrderFactory, ServiceFactory
from tests.storefront.api.conftest import GATE

ERROR_KEYS = ["error", "message", "code"]


def ordered(program, **columns):
    """An order of the program's customer, which cost 50 XAF."""
    wallet = program.user.wallets.get()
    return OrderFactory(wallet=wallet, charge=Decimal(50), rate=Decimal(50), **columns)


def finished(program, **columns):
    values = {
        "status": Status.COMPLETED,
        "completed_at": timezone.now(),
        "guarantee_days": 30,
        "external_id": "77",
    }
    service = ServiceFactory(refill=True)
    return ordered(program, service=service, **{**values, **columns})


def second(moment):
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --- cancel --------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("named_by", ["pk", "uuid"])
def test_order_that_waits_is_cancelled_at_once(program, slash, named_by):
    order = ordered(program)

    response = program.post(
        f"/orders/{getattr(order, named_by)}/cancel{slash}", "", Accept_Language="en"
    )

    assert response.status_code == 200
    body = response.json()
    assert list(body) == ["message", "order"]
    assert body["message"] == "The order is cancelled and paid back."
    assert (body["order"]["id"], body["order"]["status"], body["order"]["refunded"]) == (
        order.pk,
        "cancelled",
        50,
    )
    assert body["order"] == program.get(f"/orders/{order.pk}").json()
    assert program.balance == Decimal(500)
    event = OrderEvent.objects.get()
    assert (event.source, event.api_key) == (EventSource.API, program.api_key)


def test_running_order_is_asked_back(program):
    order = ordered(program, sent=True, service=ServiceFactory(cancel=True))

    response = program.post(f"/orders/{order.pk}/cancel", {}, Accept_Language="en")

    assert response.status_code == 202
    assert response.json()["order"]["status"] == "in_progress"
    assert response.json()["message"] == "The cancellation has been asked for."
    assert CancelRequest.objects.get().order == order


@pytest.mark.parametrize(
    ("columns", "status", "code"),
    [
        ({"status": Status.COMPLETED}, 400, "not_cancellable"),
        ({"sent": True}, 400, "not_cancellable"),
    ],
)
def test_cancel_that_is_refused_says_why(program, columns, status, code):
    order = ordered(program, **columns)

    response = program.post(f"/orders/{order.pk}/cancel", {}, Accept_Language="en")

    assert response.status_code == status
    assert list(response.json()) == ERROR_KEYS
    assert (response.json()["code"], response.json()["error"]) == (
        code,
        "Cancellation not possible",
    )
    order.refresh_from_db()
    assert (order.refunded, CancelRequest.objects.count()) == (0, 0)


def test_second_cancel_is_a_conflict(program):
    order = ordered(program, sent=True, service=ServiceFactory(cancel=True))
    program.post(f"/orders/{order.pk}/cancel", {})

    response = program.post(f"/orders/{order.pk}/cancel", {})

    assert (response.status_code, response.json()["code"]) == (409, "cancel_requested")


@pytest.mark.parametrize("action", ["cancel", "refill"])
def test_somebody_elses_order_does_not_exist(program, action):
    other = OrderFactory(status=Status.COMPLETED, completed_at=timezone.now(), guarantee_days=30)

    for reference in (other.pk, other.uuid, "0", "x"):
        response = program.post(f"/orders/{reference}/{action}", {})
        assert (response.status_code, response.json()["code"]) == (404, "order_not_found")


@pytest.mark.parametrize("action", ["cancel", "refill"])
def test_only_post_is_taken(program, action):
    order = ordered(program)

    response = program.get(f"/orders/{order.pk}/{action}")

    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    order.refresh_from_db()
    assert order.status == Status.PENDING


@pytest.mark.parametrize("action", ["cancel", "refill"])
def test_key_is_needed(program, action):
    order = ordered(program)

    response = program.post(f"/orders/{order.pk}/{action}", {}, X_API_Key="wrong")

    assert (response.status_code, response.json()["code"]) == (401, "invalid_api_key")


# --- refill --------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_refill_is_asked_for(program, slash):
    order = finished(program)

    response = program.post(f"/orders/{order.uuid}/refill{slash}", {}, Accept_Language="en")

    refill = Refill.objects.get()
    assert response.status_code == 201
    assert response.content.decode() == (
        '{"message":"The refill has been asked for.","refill":{'
        f'"id":{refill.pk},"order_id":{order.pk},"status":"pending","reason":"",'
        f'"created_at":"{second(refill.created_at)}","completed_at":null}}}}'
    )
    assert (refill.order, refill.api_key) == (order, program.api_key)


@pytest.mark.parametrize(
    ("columns", "code", "message"),
    [
        (
            {"guarantee_days": None},
            "not_refillable",
            "This order comes without a refill guarantee.",
        ),
        (
            {"status": Status.IN_PROGRESS, "completed_at": None},
            "not_refillable",
            "A refill can be asked for once the order is finished.",
        ),
        (
            {"status": Status.REFUNDED},
            "not_refillable",
            "Nothing was delivered that could be refilled.",
        ),
        (
            {"completed_at": datetime(2026, 4, 17, 12, tzinfo=UTC)},
            "refill_window_over",
            "The refill guarantee ended on May 17, 2026.",
        ),
    ],
)
def test_refill_that_is_refused_says_why(program, columns, code, message):
    order = finished(program, **columns)

    response = program.post(f"/orders/{order.pk}/refill", {}, Accept_Language="en")

    assert response.status_code == 400
    assert response.json() == {"error": "Refill not possible", "message": message, "code": code}
    assert Refill.objects.count() == 0


def test_second_refill_is_a_conflict(program):
    order = finished(program)
    program.post(f"/orders/{order.pk}/refill", {})

    response = program.post(f"/orders/{order.pk}/refill", {})

    assert (response.status_code, response.json()["code"]) == (409, "refill_open")


@pytest.mark.parametrize("slash", ["", "/"])
def test_refill_tells_how_it_stands(program, slash):
    settled = timezone.now() + timedelta(hours=1)
    refill = Refill.objects.create(
        order=finished(program),
        state=RefillState.REJECTED,
        reason="Nothing has dropped.",
        failure="SMMKing: no",
        settled_at=settled,
    )
    refill.refresh_from_db()

    response = program.get(f"/refills/{refill.pk}{slash}")

    assert response.status_code == 200
    assert response.json() == {
        "id": refill.pk,
        "order_id": refill.order_id,
        "status": "rejected",
        "reason": "Nothing has dropped.",
        "created_at": second(refill.created_at),
        "completed_at": second(settled),
    }


def test_only_ones_own_refills_exist(program):
    other = Refill.objects.create(order=OrderFactory(status=Status.COMPLETED))

    for reference in (other.pk, other.pk + 1, "0", "x", "9" * 25):
        response = program.get(f"/refills/{reference}")
        assert (response.status_code, response.json()["code"]) == (404, "refill_not_found")


@pytest.mark.parametrize("rows", [1, 3])
def test_refill_costs_the_same_however_many_there_are(program, rows):
    orders = [finished(program, external_id=str(n)) for n in range(rows)]
    made = [Refill.objects.create(order=order) for order in orders]
    program.get("/balance")

    with CaptureQueriesContext(connection) as counted:
        program.get(f"/refills/{made[0].pk}")

    assert len(counted) == GATE + 1  # the refill
