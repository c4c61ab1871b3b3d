"""Reports on one subscription by several trackers at once, and staff beside them."""

from __future__ import annotations

from decimal import Decimal
from functools import partial

import pytest
from django.db.models import QuerySet

from orders import subscriptions, tracking
from orders.cancellations import cancel_and_refund
from orders.statuses import Status
from tests.books import breaches
from tests.concurrency.together import together
from tests.factories import StaffFactory
from tests.orders.test_subscriptions import (
    FUNDS,
    RESERVE,
    accounts,
    entries,
    reload,
    report,
    subscribed,
)

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def order(transactional_db):
    return subscribed()


def test_report_that_several_trackers_hold_is_served_once(order):
    held = [reload(order) for _ in range(4)]

    together(*(partial(tracking.apply, each, report(charge="0.5", posts=3)) for each in held))

    assert (entries(), accounts()) == (1, (Decimal("1.95"), Decimal("0.65")))
    assert breaches() == []


def test_without_its_lock_two_trackers_want_the_same_entry(order, monkeypatch):
    held = [reload(order) for _ in range(4)]
    monkeypatch.setattr(QuerySet, "select_for_update", lambda self, **options: self)
    reports = [report(charge=f"0.{n}", posts=n) for n in (1, 2, 3, 4)]

    answers = together(
        *(partial(tracking.apply, *pair) for pair in zip(held, reports, strict=True))
    )

    assert any(isinstance(answer, Exception) for answer in answers)


def test_reports_of_different_ages_end_with_the_largest(order):
    reports = [report(charge=f"0.{n}", posts=n) for n in (1, 2, 3, 4)]

    together(*(partial(tracking.apply, reload(order), each) for each in reports))

    assert accounts() == (RESERVE - Decimal("0.52"), Decimal("0.52"))
    assert reload(order).subscription.posts_served == 4
    assert breaches() == []


def test_staff_cancelling_beside_a_report_release_no_millionth_twice(order):
    shown, tracked = reload(order), reload(order)

    together(
        partial(tracking.apply, tracked, report(charge="0.5", posts=3)),
        partial(cancel_and_refund, shown, actor=StaffFactory(), reason="asked"),
    )

    ended = reload(order)
    assert (ended.status, accounts()[0]) == (Status.CANCELLED, 0)
    assert ended.wallet.balance == FUNDS - accounts()[1]
    assert ended.subscription.served == accounts()[1]
    assert breaches() == []


def test_two_jobs_expire_a_subscription_once(transactional_db):
    order = subscribed(expires_on="2020-01-01")

    assert sorted(together(subscriptions.expire_due, subscriptions.expire_due)) == [0, 1]
    assert reload(order).status == Status.IN_PROGRESS
