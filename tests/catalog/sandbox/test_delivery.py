"""How orders of the sandbox go."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.sandbox import delivery
from catalog.sandbox.delivery import CANCELED, COMPLETED, FAILED, NEVER_FAILS, PARTIAL, Habits


def planned(number: int = 1, **changes: Any) -> delivery.Plan:
    order: dict[str, Any] = {
        "target": "https://a.example/x",
        "quantity": 1000,
        "runs": 1,
        "interval": 0,
        "habits": NEVER_FAILS,
    }
    return delivery.plan(number=number, **{**order, **changes})


@pytest.mark.parametrize(
    ("target", "ending", "undelivered"),
    [
        ("https://a.example/x", COMPLETED, 0),
        ("https://a.example/PARTIAL", PARTIAL, 400),
        ("https://a.example/cancel", CANCELED, 1000),
        ("https://a.example/fail", FAILED, 1000),
        ("https://a.example/slow-partial", PARTIAL, 400),
    ],
)
def test_words_in_the_link_decide_the_end(target: str, ending: str, undelivered: int) -> None:
    plan = planned(target=target, habits=Habits())

    assert (plan.ending, plan.undelivered) == (ending, undelivered)


def test_slow_order_takes_twenty_times_as_long() -> None:
    quick, slow = planned(), planned(target="slow")

    assert (slow.starts_after, slow.ends_after) == (quick.starts_after * 20, quick.ends_after * 20)


def test_other_orders_end_badly_in_a_fixed_share() -> None:
    endings = {n: planned(n, habits=Habits()).ending for n in range(1, 60)}

    assert {n for n, ending in endings.items() if ending == PARTIAL} == {17, 34, 51}
    assert {n for n, ending in endings.items() if ending == CANCELED} == {29, 58}


def test_drip_feed_lasts_for_its_intervals() -> None:
    once, dripped = planned(), planned(runs=3, interval=10)

    assert dripped.ends_after == once.ends_after + 2 * 10 * 60


def test_order_is_pending_then_delivered_bit_by_bit() -> None:
    at = {"starts_at": 60, "ends_at": 160, "total": 1000, "end": 400}

    told = [delivery.underway(now=now, **at) for now in (0, 59, 60, 110, 159.9)]  # type: ignore[arg-type]

    assert told == [
        ("Pending", 1000),
        ("Pending", 1000),
        ("In progress", 1000),
        ("In progress", 700),
        ("In progress", 401),
    ]
