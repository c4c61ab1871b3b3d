"""What the customers' webhooks are told of orders and refills, and when."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import transaction
from django.db.models.functions import Now

from accounts import webhooks
from accounts.models import WebhookEvent, WebhookType
from orders import checkout, refills
from orders.models import EventKind, Order, RefillState, Source
from orders.moves import by_staff, move, move_all, record, update
from orders.refunds import move_and_refund
from orders.requests import OrderDraft
from orders.statuses import Status
from tests.factories import OrderFactory, ServiceFactory, StaffFactory, WalletFactory

ORDERS = [WebhookType.ORDER_CREATED, WebhookType.ORDER_UPDATED, WebhookType.REFILL_UPDATED]


@pytest.fixture
def wallet(db):
    wallet = WalletFactory()
    webhooks.create(wallet.user, url="https://shop.example/hook", events=ORDERS)
    return wallet


def told() -> list[tuple[str, str, dict[str, object]]]:
    events = WebhookEvent.objects.order_by("created_at", "pk")
    return [(event.type, event.subject, event.facts) for event in events]


def test_order_is_told_in_the_transaction_that_places_it(wallet):
    service = ServiceFactory()
    draft = OrderDraft(service.pk, {"link": "https://instagram.com/a", "quantity": 100})
    order = checkout.place_order(
        customer=wallet.user, currency="USD", draft=draft, source=Source.REST
    ).order

    assert told() == [
        (
            "order.created",
            f"order:{order.pk}",
            {
                "order": order.pk,
                "status": "pending",
                "start_count": None,
                "remains": None,
                "refunded": "0",
                "external_id": None,
                "completed_at": None,
                "previous": {},
            },
        )
    ]


def test_each_public_change_is_told_as_it_stood_with_what_was_before(wallet):
    order = Order.objects.get(pk=OrderFactory(wallet=wallet).pk)

    for status, changes in (
        (Status.SENDING, {}),
        (Status.UNCONFIRMED, {}),
        (Status.PROCESSING, {"external_id": "77"}),
        (Status.IN_PROGRESS, {"start_count": 5, "remains": 900}),
    ):
        assert move(order, status, **changes)
    assert update(order, kind=EventKind.PROGRESS, remains=400)
    assert move_and_refund(order, Status.PARTIAL, Decimal("0.5"), completed_at=Now())

    order.refresh_from_db()
    assert order.completed_at is not None
    facts = [(kind, one["status"], one["previous"]) for kind, _subject, one in told()]
    assert facts == [
        ("order.updated", "sending", {"status": "pending"}),
        (
            "order.updated",
            "in_progress",
            {"status": "processing", "start_count": None, "remains": None},
        ),
        (
            "order.updated",
            "partial",
            {"status": "in_progress", "refunded": "0.000000"},
        ),
    ]
    assert told()[-1][2] == {
        "order": order.pk,
        "status": "partial",
        "start_count": 5,
        "remains": 400,
        "refunded": "0.500000",
        "external_id": "77",
        "completed_at": order.completed_at.isoformat(),
        "previous": {"status": "in_progress", "refunded": "0.000000"},
    }


def test_nothing_is_told_of_a_move_that_was_rolled_back_or_lost(wallet):
    order = OrderFactory(wallet=wallet)

    with transaction.atomic():
        assert move(order, Status.SENDING)
        assert len(told()) == 1
        transaction.set_rollback(True)
    assert told() == []

    Order.objects.update(status=Status.CANCELLED)
    order.status = Status.PENDING
    assert not move(order, Status.SENDING)
    assert told() == []


def test_runs_are_our_own_affair(wallet):
    run = OrderFactory(wallet=wallet, parent=OrderFactory(wallet=wallet), run=1)

    record(run, EventKind.CREATED)
    move(run, Status.SENDING)
    move_all(Order.objects.filter(pk=run.pk), Status.SENDING, Status.PENDING)

    assert told() == []


@pytest.mark.parametrize("orders", [1, 3])
def test_all_that_move_together_are_told_with_one_query(wallet, orders, django_assert_num_queries):
    moved = [OrderFactory(wallet=wallet) for _ in range(orders)]
    silent = OrderFactory()
    own = Order.objects.filter(pk__in=[order.pk for order in moved])

    # The savepoint, the rows, their change and history; who listens, and that nobody does.
    with django_assert_num_queries(6):
        move_all(Order.objects.filter(pk=silent.pk), Status.PENDING, Status.SENDING)
    with django_assert_num_queries(9):  # the events, their deliveries, the job
        move_all(own, Status.PENDING, Status.SENDING)
    with django_assert_num_queries(5):  # nothing that the outside sees
        move_all(own, Status.SENDING, Status.PROCESSING)

    assert sorted(subject for _type, subject, _facts in told()) == sorted(
        order.subject for order in moved
    )
    assert {(f["status"], f["previous"]["status"]) for *_, f in told()} == {("sending", "pending")}


def test_refill_is_told_when_it_ends(wallet):
    order = OrderFactory(wallet=wallet, sent=True, guarantee_days=0)
    move(order, Status.COMPLETED, completed_at=Now())
    WebhookEvent.objects.all().delete()

    refill = refills.request(order, by=by_staff(StaffFactory()))
    refills._hand_over(refill, "The provider does not answer.")
    assert told() == []  # to the outside it is still pending
    refills.settle(refill, completed=False, reason="Nothing dropped.", actor=StaffFactory())

    assert refill.state == RefillState.REJECTED
    assert told() == [
        (
            "refill.updated",
            f"refill:{refill.pk}",
            {"refill": refill.pk, "previous": {"status": "pending"}},
        )
    ]
