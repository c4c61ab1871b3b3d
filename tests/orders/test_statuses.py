"""The table of moves, and the conditional UPDATE that decides who won."""

from __future__ import annotations

from uuid import uuid4

import pytest

from orders.models import Order
from orders.moves import MoveNotAllowed, move, move_all
from orders.statuses import (
    FINAL,
    MOVES,
    PUBLIC,
    PUBLIC_STATUSES,
    TRACKED,
    Status,
    behind,
)
from tests.factories import OrderFactory

PUBLIC_WORDS = (
    "pending",
    "processing",
    "in_progress",
    "completed",
    "partial",
    "cancelled",
    "refunded",
    "failed",
)


def test_final_states_are_left_only_by_corrections_that_pay_back():
    assert {status: MOVES[status] for status in FINAL} == {
        Status.COMPLETED: {Status.PARTIAL, Status.REFUNDED},
        Status.PARTIAL: {Status.REFUNDED},
        Status.CANCELLED: set(),
        Status.REFUNDED: set(),
        Status.FAILED: set(),
    }


def test_every_state_is_reached_and_has_its_row():
    reached = {to for moves in MOVES.values() for to in moves}

    assert set(MOVES) == set(Status)
    assert reached == set(Status)


def test_queue_is_entered_again_only_by_what_was_not_bought():
    """From "sending" when the provider did not take it, from "unconfirmed" when staff say so."""
    assert {origin for origin in Status if Status.PENDING in MOVES[origin]} == {
        Status.SENDING,
        Status.UNCONFIRMED,
    }


def test_order_that_is_being_sent_is_moved_by_its_answer_or_the_sweep_alone():
    """Paid back or cancelled meanwhile, it could be bought all the same."""
    assert MOVES[Status.SENDING] == {
        Status.PENDING,
        Status.PROCESSING,
        Status.UNCONFIRMED,
        Status.FAILED,
    }


def test_public_statuses_are_those_of_the_contract():
    assert tuple(map(str, PUBLIC_STATUSES)) == PUBLIC_WORDS
    assert {status for status in Status if PUBLIC[status] != status} == {
        Status.SENDING,
        Status.UNCONFIRMED,
    }


@pytest.mark.parametrize("public", PUBLIC_WORDS)
def test_behind_is_the_reverse_of_public(public):
    assert behind(public) == [status for status in Status if PUBLIC[status] == public]


def test_behind_an_unknown_word_is_nothing():
    assert behind("sending") == []
    assert behind("nonsense") == []


@pytest.mark.django_db
@pytest.mark.parametrize("origin", sorted(Status))
@pytest.mark.parametrize("to", sorted(Status))
def test_move_allows_what_the_table_allows(origin, to):
    order = OrderFactory(status=origin)

    if to in MOVES[origin]:
        assert move(order, to)
        assert order.status == to
    else:
        with pytest.raises(MoveNotAllowed):
            move(order, to)
    assert Order.objects.get().status == (to if to in MOVES[origin] else origin)


@pytest.mark.django_db
def test_move_sets_the_changes_and_the_time():
    order = OrderFactory()
    before = Order.objects.get().status_changed_at

    assert move(order, Status.SENDING, failure="why", send_attempts=3)

    stored = Order.objects.get()
    assert (stored.failure, stored.send_attempts) == (order.failure, order.send_attempts)
    assert (stored.failure, stored.send_attempts) == ("why", 3)
    assert stored.status_changed_at == order.status_changed_at >= before


@pytest.mark.django_db
def test_move_loses_to_whoever_moved_first():
    ours, theirs = OrderFactory(sent=True), Order.objects.get()
    assert move(theirs, Status.COMPLETED, remains=0)

    assert not move(ours, Status.CANCELLED, remains=5, failure="ours")

    stored = Order.objects.get()
    assert (stored.status, stored.remains, stored.failure) == (Status.COMPLETED, 0, "")
    assert ours.status == Status.IN_PROGRESS


@pytest.mark.django_db
def test_move_loses_to_a_newer_claim_in_the_same_state():
    order = OrderFactory(status=Status.SENDING, claim=uuid4())
    Order.objects.update(claim=uuid4())

    assert not move(order, Status.PROCESSING, external_id="7")

    assert Order.objects.get().status == Status.SENDING


@pytest.mark.django_db
def test_move_all_moves_only_those_that_still_stand_there():
    waiting, ended = OrderFactory(), OrderFactory(status=Status.COMPLETED)

    moved = move_all(Order.objects.all(), Status.PENDING, Status.SENDING, failure="x")

    assert moved == 1
    waiting.refresh_from_db()
    ended.refresh_from_db()
    assert (waiting.status, waiting.failure) == (Status.SENDING, "x")
    assert (ended.status, ended.failure) == (Status.COMPLETED, "")


def test_tracked_orders_are_those_that_a_provider_has():
    assert {Status.PROCESSING, Status.IN_PROGRESS} == TRACKED
