"""Endpoints and their events: who is told what, in the transaction of the change."""

from __future__ import annotations

import base64
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import transaction
from django_q.models import OrmQ

from accounts import ledger, webhooks
from accounts.clock import from_now
from accounts.models import (
    DeliveryState,
    DisabledBecause,
    User,
    Wallet,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
    WebhookType,
)
from accounts.webhooks import Happened, WebhookNotFound, WebhookRefused
from tests.factories import UserFactory, WalletFactory, fund

URL = "https://shop.example/hook"
CREATED, UPDATED = WebhookType.ORDER_CREATED, WebhookType.ORDER_UPDATED


@pytest.fixture
def user(db) -> User:
    return UserFactory()


@pytest.fixture
def endpoint(user) -> WebhookEndpoint:
    return listening(user)


def listening(user: User, *events: str) -> WebhookEndpoint:
    return webhooks.create(user, url=URL, events=events or WebhookType.values)[0]


def told() -> list[tuple[str, str]]:
    return list(WebhookEvent.objects.order_by("created_at", "pk").values_list("type", "subject"))


# --- recording -----------------------------------------------------------------------------------


def test_event_is_for_each_endpoint_that_listens_to_it(user):
    first, second = listening(user, CREATED, UPDATED), listening(user, CREATED)
    listening(user, UPDATED)
    webhooks.disable(listening(user))
    listening(UserFactory())

    webhooks.record([Happened(user.pk, CREATED, "order:1", {"order": 1})])

    event = WebhookEvent.objects.get()
    deliveries = WebhookDelivery.objects.order_by("pk")
    assert (event.user_id, event.type, event.facts) == (user.pk, CREATED, {"order": 1})
    assert [(d.endpoint_id, d.event_id, d.subject, d.state) for d in deliveries] == [
        (pk, event.pk, "order:1", DeliveryState.PENDING) for pk in (first.pk, second.pk)
    ]
    assert [job.task["func"] for job in OrmQ.objects.all()] == ["storefront.tasks.deliver_webhooks"]


@pytest.mark.parametrize("is_twin", [False, True])
def test_suspended_customers_are_told_nothing(user, is_twin):
    account = UserFactory(sandbox_of=user) if is_twin else user
    listening(account)
    User.objects.filter(pk=user.pk).update(is_active=False)

    webhooks.record([Happened(account.pk, CREATED, "order:1", {})])

    assert told() == []


@pytest.mark.parametrize("happened", [1, 3])
def test_recording_costs_the_same_however_much_happened(user, happened, django_assert_num_queries):
    many = [Happened(user.pk, CREATED, f"order:{n}", {}) for n in range(happened)]

    with django_assert_num_queries(1):
        webhooks.record(many)
    listening(user)
    with django_assert_num_queries(4):
        webhooks.record(many)

    assert len(told()) == happened


def test_nothing_is_told_of_what_was_rolled_back(user, endpoint):
    wallet = WalletFactory(user=user, funds=0)

    with transaction.atomic():
        fund(wallet, 5)
        assert told() == [("wallet.credited", f"wallet:{wallet.pk}")]
        transaction.set_rollback(True)

    assert (told(), OrmQ.objects.count()) == ([], 0)


def test_money_that_comes_is_told_and_money_that_goes_is_not(user, endpoint):
    wallet = WalletFactory(user=user, funds=0)

    fund(wallet, 5)
    ledger.charge(wallet, Decimal(1), key="c", subject="order:1")
    ledger.refund(wallet, Decimal("0.5"), key="r", subject="order:1")
    ledger.refund(wallet, Decimal("0.5"), key="r", subject="order:1")  # a repeat moves nothing

    credited = ("wallet.credited", f"wallet:{wallet.pk}")
    assert told() == [credited, credited]


def test_wallet_is_low_when_it_passes_its_mark_and_not_again_below(user, endpoint):
    wallet = WalletFactory(user=user, funds=10)
    WebhookEvent.objects.all().delete()
    Wallet.objects.filter(pk=wallet.pk).update(low_at=Decimal(5))

    for number, amount in enumerate((5, 1, 1)):
        ledger.charge(wallet, Decimal(amount), key=f"c{number}", subject="order:1")

    assert told() == [("wallet.low", f"wallet:{wallet.pk}")]
    assert WebhookEvent.objects.get().facts == {
        "currency": "USD",
        "balance": "4.000000",
        "threshold": "5.000000",
    }


# --- managing endpoints --------------------------------------------------------------------------


def test_secret_is_shown_once_and_stored_encrypted(user):
    endpoint, secret = webhooks.create(user, url=f" {URL} ", events=[CREATED], description=" a ")

    (stored,) = WebhookEndpoint.objects.extra(select={"raw": "secret"}).values_list("raw")[0]
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert secret not in stored
    assert (endpoint.secret, endpoint.url, endpoint.events, endpoint.description) == (
        secret,
        URL,
        [CREATED],
        "a",
    )


def test_wrong_values_are_refused_each_by_its_field(user, endpoint):
    wrong = {"url": "ftp://x/", "events": ["order.eaten"], "description": "x" * 101}

    for act in (
        lambda: webhooks.create(user, **wrong),
        lambda: webhooks.change(endpoint, **wrong),
    ):
        with pytest.raises(WebhookRefused) as refused:
            act()
        assert sorted(refused.value.problems) == ["description", "events", "url"]
    with pytest.raises(WebhookRefused) as refused:
        webhooks.create(user, url=f"{URL}/{'x' * 500}", events=[])
    assert sorted(refused.value.problems) == ["events", "url"]
    assert [one.url for one in webhooks.endpoints_of(user)] == [URL]


def test_customer_has_ten_endpoints_at_most(user):
    made = [listening(user) for _ in range(webhooks.MOST_ENDPOINTS)]

    with pytest.raises(WebhookRefused) as refused:
        listening(user)
    webhooks.remove(made[0])

    assert list(refused.value.problems) == ["url"]
    assert listening(user).pk


def test_change_sets_address_events_and_description(endpoint):
    webhooks.change(endpoint, url=f"{URL}2", events=[UPDATED, CREATED], description="b")

    endpoint.refresh_from_db()
    assert (endpoint.url, endpoint.events, endpoint.description) == (
        f"{URL}2",
        [CREATED, UPDATED],
        "b",
    )


def test_old_secret_stays_for_the_grace_time_alone(endpoint):
    old = endpoint.secret

    new = webhooks.rotate(endpoint, grace=timedelta(days=1))
    assert (endpoint.secret, endpoint.previous_secret) == (new, old)
    assert WebhookEndpoint.objects.filter(previous_until__gt=from_now(timedelta(hours=23))).exists()

    newest = webhooks.rotate(endpoint, grace=timedelta())
    assert (endpoint.secret, endpoint.previous_secret) == (newest, "")
    assert endpoint.previous_until is None
    with pytest.raises(WebhookRefused):
        webhooks.rotate(endpoint, grace=timedelta(days=8))


def test_switching_off_gives_up_what_waits_and_on_begins_anew(user, endpoint):
    webhooks.record([Happened(user.pk, CREATED, "order:1", {})])

    webhooks.disable(endpoint)
    given_up = WebhookDelivery.objects.get()
    assert (given_up.state, given_up.next_at) == (DeliveryState.FAILED, None)
    with pytest.raises(WebhookRefused):
        webhooks.replay(webhooks.find_delivery(user, given_up.pk))

    webhooks.enable(endpoint)
    again = webhooks.replay(webhooks.find_delivery(user, str(given_up.pk)))
    assert (again.event_id, again.state, again.replay) == (
        given_up.event_id,
        DeliveryState.PENDING,
        True,
    )
    with pytest.raises(WebhookRefused):
        webhooks.replay(webhooks.find_delivery(user, again.pk))


def test_test_event_goes_to_that_endpoint_even_while_it_is_off(user, endpoint):
    listening(user)
    webhooks.disable(endpoint)

    delivery = webhooks.send_test(endpoint)

    assert list(WebhookDelivery.objects.all()) == [delivery]
    assert (delivery.endpoint, delivery.event.type, delivery.state) == (
        endpoint,
        "test",
        DeliveryState.PENDING,
    )


def test_others_endpoints_and_deliveries_are_not_found(user, endpoint):
    delivery = webhooks.send_test(endpoint)
    other = UserFactory()

    assert webhooks.find(user, str(endpoint.pk)) == endpoint
    assert webhooks.find_delivery(user, delivery.pk) == delivery
    for owner, pk in ((other, endpoint.pk), (user, 0), (user, "x"), (user, "9" * 30), (user, "²")):
        with pytest.raises(WebhookNotFound):
            webhooks.find(owner, pk)
    for owner, pk in ((other, delivery.pk), (user, "x")):
        with pytest.raises(WebhookNotFound):
            webhooks.find_delivery(owner, pk)


def test_removed_endpoint_is_gone_at_once_and_its_rows_a_day_later(user, endpoint):
    """A sale that is being committed may still write a delivery for it."""
    delivery = webhooks.send_test(endpoint)

    webhooks.remove(endpoint)
    assert list(webhooks.endpoints_of(user)) == []
    with pytest.raises(WebhookNotFound):
        webhooks.find_delivery(user, delivery.pk)
    webhooks.prune_removed()
    assert WebhookEndpoint.objects.get().secret == ""

    WebhookEndpoint.objects.update(disabled_at=from_now(-timedelta(days=1, minutes=1)))
    webhooks.prune_removed()
    assert not WebhookEndpoint.objects.exists()
    assert not WebhookDelivery.objects.exists()


def test_what_was_removed_meanwhile_does_not_come_back(user, endpoint):
    delivery = webhooks.send_test(endpoint)
    WebhookDelivery.objects.update(state=DeliveryState.DELIVERED, next_at=None)
    delivery = webhooks.find_delivery(user, delivery.pk)
    off, on = webhooks.find(user, endpoint.pk), webhooks.find(user, endpoint.pk)
    off.disabled_at = endpoint.created_at
    webhooks.remove(endpoint)
    row = WebhookEndpoint.objects.values().get()

    for act in (
        lambda: webhooks.change(on, url=f"{URL}2", events=[CREATED], description=""),
        lambda: webhooks.rotate(on, grace=timedelta(days=1)),
        lambda: webhooks.enable(off),
        lambda: webhooks.disable(on),
        lambda: webhooks.remove(on),
        lambda: webhooks.stop(on, DisabledBecause.STAFF),
        lambda: webhooks.send_test(on),
        lambda: webhooks.replay(delivery),
    ):
        with pytest.raises(WebhookNotFound):
            act()

    assert WebhookEndpoint.objects.values().get() == row
    assert WebhookDelivery.objects.count() == 1


def test_events_are_forgotten_after_thirty_days(user, endpoint):
    for subject in ("order:1", "order:2"):
        webhooks.record([Happened(user.pk, CREATED, subject, {})])
    WebhookEvent.objects.filter(subject="order:1").update(
        created_at=from_now(-timedelta(days=30, minutes=1))
    )

    for delivery in webhooks.deliveries_of(endpoint):
        WebhookAttempt.objects.create(delivery=delivery, milliseconds=1)

    webhooks.prune_events()

    assert WebhookAttempt.objects.get().delivery.subject == "order:2"
    assert told() == [("order.created", "order:2")]
    assert [delivery.subject for delivery in webhooks.deliveries_of(endpoint)] == ["order:2"]


@pytest.mark.parametrize("rows", [1, 3])
def test_log_is_one_query_newest_first_and_kept_by_state(endpoint, rows, django_assert_num_queries):
    made = [webhooks.send_test(endpoint).pk for _ in range(rows)]

    with django_assert_num_queries(1):
        shown = [(one.pk, one.event.type) for one in webhooks.deliveries_of(endpoint)]

    assert shown == [(pk, "test") for pk in reversed(made)]
    assert webhooks.deliveries_of(endpoint, state="pending").count() == rows
    assert webhooks.deliveries_of(endpoint, state="failed").count() == 0
