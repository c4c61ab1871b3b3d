"""Refills and cancels in the panel dialect, text for text."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from orders.models import CancelRequest, EventSource, OrderEvent, Refill, RefillState
from orders.statuses import Status
from tests.factories import OrderFactory, ServiceFactory

NO = {"refill": None, "status": "rejected"}
# Statements for one order: what it takes, and the savepoints around it.
PER_REFILL, PER_CANCEL = 8, 10


def ordered(program, **columns):
    """An order of the program's customer, which cost 50 XAF."""
    wallet = program.user.wallets.get()
    return OrderFactory(wallet=wallet, charge=Decimal(50), rate=Decimal(50), **columns)


def finished(program, **columns):
    values = {
        "status": Status.COMPLETED,
        "completed_at": timezone.now(),
        "guarantee_days": 30,
        "external_id": str(900 + OrderEvent.objects.count() + Refill.objects.count()),
        "service": columns.pop("service", None) or ServiceFactory(refill=True),
    }
    return ordered(program, **{**values, **columns})


def running(program, *, cancel=True, **columns):
    return ordered(program, sent=True, service=ServiceFactory(cancel=cancel), **columns)


def raw(program, action, **params):
    """The very bytes of an answer."""
    response = program.client.post("/api/v2", {"key": program.text, "action": action, **params})
    assert response.status_code == 200
    return response.content.decode()


def ids(rows):
    return ",".join(str(row.pk) for row in rows)


def queries(program, action, **params):
    """How many an action takes; the key's use is noted once a minute, and not counted."""
    program.panel("balance")
    with CaptureQueriesContext(connection) as counted:
        program.panel(action, **params)
    return len(counted)


# --- refill --------------------------------------------------------------------------------------


def test_refill_answers_exactly_as_the_contract(program):
    order = finished(program)

    answer = raw(program, "refill", order=order.pk)

    refill = Refill.objects.get()
    assert answer == f'{{"refill":"{refill.pk}","status":"completed"}}'
    assert (refill.order, refill.api_key) == (order, program.api_key)
    event = OrderEvent.objects.get()
    assert (event.source, event.api_key) == (EventSource.API, program.api_key)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"guarantee_days": None}, "Order cannot be refilled"),
        ({"status": Status.IN_PROGRESS}, "Order cannot be refilled"),
        ({"status": Status.CANCELLED}, "Order cannot be refilled"),
        (
            {"completed_at": timezone.now() - timedelta(days=31)},
            "Refill period has ended",
        ),
    ],
)
def test_refill_that_is_refused_is_rejected_with_the_reason(program, columns, reason):
    order = finished(program, **columns)

    assert program.panel("refill", order=order.pk) == {**NO, "error": reason}
    assert Refill.objects.count() == 0


def test_second_refill_is_rejected_while_one_is_open(program):
    order = finished(program)
    program.panel("refill", order=order.pk)

    assert program.panel("refill", order=order.pk) == {**NO, "error": "Refill already requested"}


@pytest.mark.parametrize("reference", ["x", "0", "-1", "99999999999999999999", ""])
def test_refill_of_no_order_is_rejected(program, reference):
    assert program.panel("refill", order=reference) == {**NO, "error": "Incorrect order ID"}


def test_refill_of_somebody_elses_order_is_rejected(program):
    other = OrderFactory(status=Status.COMPLETED, completed_at=timezone.now(), guarantee_days=30)

    assert program.panel("refill", order=other.pk) == {**NO, "error": "Incorrect order ID"}
    assert Refill.objects.count() == 0


@pytest.mark.parametrize("params", [{}, {"order": "1"}, {"orders": "1,2"}])
def test_refill_without_a_good_key_keeps_its_shape(db, params):
    answer = Client().post("/api/v2", {"key": "wrong", "action": "refill", **params})

    assert (answer.status_code, answer.json()) == (200, {**NO, "error": "Unauthorized"})


def test_refill_of_a_suspended_customer_keeps_its_shape(program):
    User.objects.update(is_active=False)

    assert program.panel("refill", order="1") == {**NO, "error": "Unauthorized"}


def test_several_refills_are_answered_in_the_order_asked(program):
    first, second = finished(program), finished(program, guarantee_days=None)

    answer = program.panel("refill", orders=f"{second.pk}, {first.pk},nothing,{first.pk}")

    assert answer == [
        {"order": second.pk, **NO, "error": "Order cannot be refilled"},
        {"order": first.pk, "refill": str(Refill.objects.get().pk), "status": "completed"},
        {"order": "nothing", **NO, "error": "Incorrect order ID"},
        {"order": first.pk, **NO, "error": "Refill already requested"},
    ]


def test_several_refills_may_be_asked_as_json(program):
    orders = [finished(program), finished(program)]
    body = {"key": program.text, "action": "refill", "orders": [order.pk for order in orders]}

    answer = program.client.post("/api/v2", json.dumps(body), content_type="application/json")

    assert [entry["order"] for entry in answer.json()] == [order.pk for order in orders]
    assert Refill.objects.count() == 2


@pytest.mark.parametrize(
    ("action", "name"), [("refill", "orders"), ("refill_status", "refills"), ("cancel", "orders")]
)
def test_more_than_a_hundred_ids_do_nothing(program, action, name):
    order = finished(program)
    ids = ",".join([str(order.pk)] * 101)

    assert program.panel(action, **{name: ids}) == {"error": "Maximum 100 orders allowed"}
    assert Refill.objects.count() == CancelRequest.objects.count() == 0


def test_queries_of_several_refills_grow_by_a_fixed_number(program):
    service = ServiceFactory(refill=True)
    orders = [finished(program, service=service, external_id=str(n)) for n in range(4)]

    one = queries(program, "refill", orders=ids(orders[:1]))
    three = queries(program, "refill", orders=ids(orders[1:]))

    assert three - one == 2 * PER_REFILL


# --- refill_status -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (RefillState.WAITING, "pending"),
        (RefillState.ASKED, "pending"),
        (RefillState.MANUAL, "pending"),
        (RefillState.COMPLETED, "completed"),
    ],
)
def test_refill_status_has_three_words(program, state, word):
    refill = Refill.objects.create(order=finished(program), state=state)

    assert raw(program, "refill_status", refill=refill.pk) == (
        f'{{"refill":"{refill.pk}","status":"{word}"}}'
    )


def test_refill_status_says_why_one_was_rejected(program):
    refill = Refill.objects.create(
        order=finished(program),
        state=RefillState.REJECTED,
        reason="Nothing has dropped.",
        failure="SMMKing: no",
    )

    assert program.panel("refill_status", refill=refill.pk) == {
        "refill": str(refill.pk),
        "status": "rejected",
        "reason": "Nothing has dropped.",
    }


def test_several_refill_statuses_are_answered_in_the_order_asked(program):
    mine = [Refill.objects.create(order=finished(program)) for _ in range(2)]
    other = Refill.objects.create(order=OrderFactory(status=Status.COMPLETED))

    answer = program.panel(
        "refill_status", refill="7", refills=f"{mine[1].pk},x,{other.pk},{mine[0].pk}"
    )

    assert answer == [
        {"refill": str(mine[1].pk), "status": "pending"},
        {"refill": "x", "error": "Invalid refill ID"},
        {"refill": str(other.pk), "error": "Refill not found"},
        {"refill": str(mine[0].pk), "status": "pending"},
    ]


@pytest.mark.parametrize("refill", ["", "x", "-1", "1.5", None])
def test_refill_status_of_what_is_no_id(program, refill):
    params = {} if refill is None else {"refill": refill}

    assert program.panel("refill_status", **params) == {"error": "Invalid refill ID"}


def test_refill_status_of_no_refill_of_ones_own(program):
    other = Refill.objects.create(order=OrderFactory(status=Status.COMPLETED))

    # The last two are larger than any that a database can hold.
    for unknown in (other.pk, other.pk + 1, 2**63, 10**30):
        missing = {"error": "Refill not found"}
        assert program.panel("refill_status", refill=unknown) == missing
        assert program.panel("refill_status", refills=unknown) == [
            {"refill": str(unknown), **missing}
        ]


def test_refill_status_without_a_good_key(db):
    answer = Client().post("/api/v2", {"key": "wrong", "action": "refill_status", "refill": "1"})

    assert answer.json() == {"error": "Unauthorized"}


def test_queries_of_several_refill_statuses_are_constant(program):
    made = [Refill.objects.create(order=finished(program)) for _ in range(3)]

    one = queries(program, "refill_status", refills=ids(made[:1]))

    assert queries(program, "refill_status", refills=ids(made)) == one


# --- cancel --------------------------------------------------------------------------------------


def test_cancel_answers_exactly_as_the_contract(program):
    waiting, sent, late = ordered(program), running(program), running(program, cancel=False)
    asked = running(program)
    CancelRequest.objects.create(order=asked)
    ended = ordered(program, status=Status.COMPLETED)
    ids = [waiting.pk, 9, sent.pk, late.pk, asked.pk, ended.pk]

    answer = raw(program, "cancel", orders=",".join(map(str, ids)))

    assert json.loads(answer) == [
        {"order": waiting.pk, "cancel": 1},
        {"order": 9, "cancel": {"error": "Incorrect order ID"}},
        {"order": sent.pk, "cancel": 1},
        {"order": late.pk, "cancel": {"error": "Order cannot be canceled"}},
        {"order": asked.pk, "cancel": {"error": "Cancel already requested"}},
        {"order": ended.pk, "cancel": {"error": "Order cannot be canceled"}},
    ]
    assert answer.startswith(f'[{{"order":{waiting.pk},"cancel":1}},')
    for order in (waiting, sent):
        order.refresh_from_db()
    assert (waiting.status, waiting.refunded) == (Status.CANCELLED, Decimal(50))
    assert (sent.status, sent.refunded) == (Status.IN_PROGRESS, Decimal(0))
    assert CancelRequest.objects.count() == 2


def test_cancel_of_somebody_elses_order(program):
    other = OrderFactory()

    assert program.panel("cancel", orders=other.pk) == [
        {"order": other.pk, "cancel": {"error": "Incorrect order ID"}}
    ]
    other.refresh_from_db()
    assert other.status == Status.PENDING


@pytest.mark.parametrize("params", [{}, {"orders": ""}])
def test_cancel_of_nothing(program, params):
    assert program.panel("cancel", **params) == {"error": "Incorrect order ID"}


def in_json(program, action, **params):
    """The very bytes of an answer to a JSON body."""
    body = json.dumps({"key": program.text, "action": action, **params})
    return program.client.post("/api/v2", body, content_type="application/json").content.decode()


@pytest.mark.parametrize("empty", [",", " , ", []])
def test_list_without_an_id_has_an_answer_without_a_row(program, empty):
    assert in_json(program, "cancel", orders=empty) == "[]"
    assert in_json(program, "refill", orders=empty) == "[]"
    assert in_json(program, "refill_status", refills=empty) == "[]"
    assert in_json(program, "status", orders=empty) == "{}"


def test_json_that_is_no_id_is_repeated_as_json(program):
    order = ordered(program)
    odd = [True, None, {"a": [1]}, str(order.pk)]

    cancelled = json.loads(in_json(program, "cancel", orders=odd))
    refilled = json.loads(in_json(program, "refill", orders=odd))
    status = json.loads(in_json(program, "status", orders=odd))

    assert [(row["order"], row["cancel"]) for row in cancelled] == [
        *((each, {"error": "Incorrect order ID"}) for each in odd[:3]),
        (order.pk, 1),
    ]
    assert [row["order"] for row in refilled] == [*odd[:3], order.pk]
    assert list(status) == ["true", "null", '{"a":[1]}', str(order.pk)]
    assert in_json(program, "cancel", orders=True) == (
        '[{"order":true,"cancel":{"error":"Incorrect order ID"}}]'
    )


def test_cancel_without_a_good_key(db):
    answer = Client().post("/api/v2", {"key": "wrong", "action": "cancel", "orders": "1"})

    assert answer.json() == {"error": "Unauthorized"}


def test_queries_of_several_cancels_grow_by_a_fixed_number(program):
    service = ServiceFactory(cancel=True)
    orders = [ordered(program, sent=True, service=service) for _ in range(4)]

    one = queries(program, "cancel", orders=ids(orders[:1]))
    three = queries(program, "cancel", orders=ids(orders[1:]))

    assert three - one == 2 * PER_CANCEL
