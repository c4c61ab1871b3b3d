"""Sending: at least once, in order, each endpoint by itself, and for no longer than three days.

The double is whoever makes the requests; how they are made: test_targets.py.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import connection, connections
from django.db.models import F
from django_q.models import OrmQ

from accounts import webhooks
from accounts.clock import from_now
from accounts.models import (
    DeliveryState,
    DisabledBecause,
    Turn,
    User,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
    WebhookType,
)
from accounts.webhooks import Happened
from storefront import tasks
from storefront.webhooks import bodies, sending
from storefront.webhooks.targets import Reply
from tests.factories import UserFactory

URL = "https://shop.example/hook"
PENDING, DELIVERED, FAILED = DeliveryState.PENDING, DeliveryState.DELIVERED, DeliveryState.FAILED


@dataclass
class Receiver:
    """Answers what it is told to answer, and remembers what it was sent."""

    status: int | None = 200
    of_url: dict[str, int] = field(default_factory=dict)
    got: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)
    before: Callable[[], None] = lambda: None

    def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Reply:
        self.before()
        self.got.append((url, headers, body))
        status = self.of_url.get(url, self.status)
        return Reply(status, "thank you", "" if status else "No answer.", 12)

    def subjects(self) -> list[str]:
        return [json.loads(body)["data"]["subject"] for *_, body in self.got]


@pytest.fixture(autouse=True)
def _plain_bodies(monkeypatch):
    """Bodies are test_bodies.py's affair: here each tells which event it is of."""
    data = dict.fromkeys(bodies._DATA, dict)
    monkeypatch.setattr(bodies, "_DATA", data)


@pytest.fixture
def user(db) -> User:
    return UserFactory()


@pytest.fixture
def endpoint(user) -> WebhookEndpoint:
    return webhooks.create(user, url=URL, events=WebhookType.values)[0]


def happen(user: User, *subjects: str) -> None:
    for subject in subjects:
        facts = {"subject": subject}
        webhooks.record([Happened(user.pk, WebhookType.ORDER_UPDATED, subject, facts)])


def states() -> list[tuple[str, str, int]]:
    deliveries = WebhookDelivery.objects.order_by("pk")
    return [(one.subject, one.state, one.attempts) for one in deliveries]


def wait() -> None:
    """The time of the next attempt comes."""
    WebhookDelivery.objects.filter(next_at__isnull=False).update(next_at=from_now(timedelta()))


def age(passed: timedelta) -> None:
    """So much time passes, in which nothing is sent."""
    WebhookDelivery.objects.update(created_at=F("created_at") - passed)
    WebhookDelivery.objects.filter(next_at__isnull=False).update(next_at=F("next_at") - passed)
    WebhookAttempt.objects.update(at=F("at") - passed)
    WebhookEndpoint.objects.update(failing_since=F("failing_since") - passed)


# --- a request -----------------------------------------------------------------------------------


def test_event_is_sent_signed_by_both_secrets_and_logged(user, endpoint):
    old = endpoint.secret
    new = webhooks.rotate(endpoint, grace=timedelta(hours=1))
    happen(user, "order:1")
    receiver = Receiver()

    assert sending.deliver(receiver) == 1

    ((url, headers, body),) = receiver.got
    event, attempt = WebhookEvent.objects.get(), WebhookAttempt.objects.get()
    signed = f"{event.pk}.{headers['webhook-timestamp']}.".encode() + body
    assert (url, headers["webhook-id"], body) == (URL, str(event.pk), event.body.encode())
    assert headers["webhook-signature"] == " ".join(
        "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        for key in (base64.b64decode(secret.removeprefix("whsec_")) for secret in (new, old))
    )
    assert json.loads(body)["type"] == "order.updated"
    assert (attempt.status, attempt.answer, attempt.error, attempt.milliseconds) == (
        200,
        "thank you",
        "",
        12,
    )
    assert states() == [("order:1", DELIVERED, 1)]
    assert sending.deliver(receiver) == 0


def test_old_secret_signs_no_longer_than_its_grace(user, endpoint):
    webhooks.rotate(endpoint, grace=timedelta(hours=1))
    WebhookEndpoint.objects.update(previous_until=from_now(timedelta()))
    happen(user, "order:1")
    receiver = Receiver()

    sending.deliver(receiver)

    assert " " not in receiver.got[0][1]["webhook-signature"]


def test_no_transaction_is_open_while_a_request_is_made(user, endpoint):
    happen(user, "order:1")
    main = connections["default"]
    before = list(main.savepoint_ids)
    seen: list[Any] = []

    sending.deliver(Receiver(before=lambda: seen.append(list(main.savepoint_ids))))

    assert seen == [before]


# --- repeats -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [None, 302, 400, 500])
def test_what_was_not_taken_is_sent_again_the_same_bytes(user, endpoint, status):
    happen(user, "order:1")
    receiver = Receiver(status=status)

    sending.deliver(receiver)
    assert states() == [("order:1", PENDING, 1)]
    assert sending.deliver(receiver) == 0  # not yet
    assert WebhookEndpoint.objects.get().failing_since is not None
    wait()
    receiver.status = 204
    sending.deliver(receiver)

    (_, first, body), (_, second, again) = receiver.got
    assert (first["webhook-id"], body) == (second["webhook-id"], again)
    assert states() == [("order:1", DELIVERED, 2)]
    assert WebhookEndpoint.objects.get().failing_since is None
    assert [attempt.status for attempt in WebhookAttempt.objects.all()] == [status, 204]


def test_pauses_grow_threefold_with_a_part_of_chance_up_to_six_hours():
    for attempts, seconds in ((1, 30), (2, 90), (5, 2430), (8, 21600), (500, 21600)):
        pauses = {sending.pause_after(attempts).total_seconds() for _ in range(20)}
        assert len(pauses) > 10
        assert all(seconds * 0.75 <= pause <= seconds * 1.25 for pause in pauses)


def test_event_has_three_days_from_its_first_attempt_however_late_that_is(user, endpoint):
    happen(user, "order:1")
    age(sending.PATIENCE)

    sending.deliver(Receiver(status=500))

    assert states() == [("order:1", PENDING, 1)]
    assert WebhookEndpoint.objects.get().disabled_because == ""


def test_event_that_cannot_be_prepared_is_given_up_after_three_days(user, endpoint, monkeypatch):
    monkeypatch.setattr(bodies, "_DATA", {})
    happen(user, "order:1", "order:2")
    old = WebhookDelivery.objects.filter(subject="order:1")
    old.update(created_at=from_now(-sending.PATIENCE))

    assert sending.deliver(Receiver()) == 0

    assert states() == [("order:1", FAILED, 1), ("order:2", PENDING, 1)]
    assert old.get().next_at is None
    assert WebhookEndpoint.objects.get().disabled_because == ""


def test_what_a_killed_sender_had_in_hand_comes_again_after_its_lease(user, endpoint):
    happen(user, "order:1")
    assert len(sending._claim([])) == 1  # and nothing more is heard of it
    receiver = Receiver()

    assert sending.deliver(receiver) == 0
    leased = WebhookDelivery.objects.filter(next_at__lte=from_now(sending.LEASE))
    assert leased.update(next_at=from_now(timedelta())) == 1
    assert sending.deliver(receiver) == 1
    assert states() == [("order:1", DELIVERED, 2)]


def test_late_answer_of_a_failure_leaves_the_newer_attempt_alone(user, endpoint):
    happen(user, "order:1")
    (late,) = sending._claim([])
    wait()
    (newer,) = sending._claim([])

    lease = WebhookDelivery.objects.get().next_at
    sending._write(late.delivery, Reply(500, "", "", 1))
    assert WebhookDelivery.objects.get().next_at == lease
    sending._write(newer.delivery, Reply(200, "", "", 1))
    sending._write(late.delivery, Reply(500, "", "", 1))

    assert states() == [("order:1", DELIVERED, 2)]


def test_fault_of_ours_holds_up_neither_the_others_nor_the_endpoint(user, endpoint, monkeypatch):
    happen(user, "order:1", "order:2")

    def render(event):
        if event.subject == "order:1":
            raise LookupError
        return '{"data": {"subject": "order:2"}}'

    monkeypatch.setattr(bodies, "render", render)
    receiver = Receiver()
    sending.deliver(receiver)

    assert receiver.subjects() == ["order:2"]
    assert states() == [("order:1", PENDING, 1), ("order:2", DELIVERED, 1)]
    assert WebhookEndpoint.objects.get().failing_since is None


# --- order, and shares ---------------------------------------------------------------------------


def test_events_of_one_order_are_sent_in_order(user, endpoint):
    happen(user, "order:1", "order:1", "order:2")
    receiver = Receiver(status=500)

    sending.deliver(receiver)
    assert states() == [("order:1", PENDING, 1), ("order:1", PENDING, 0), ("order:2", PENDING, 1)]

    for _ in range(sending.HOLDS_BACK - 1):
        wait()
        sending.deliver(receiver)
    # Held back no longer by what may never be taken.
    assert states()[:2] == [("order:1", PENDING, 5), ("order:1", PENDING, 1)]

    wait()
    receiver.status = 200
    sending.deliver(receiver)
    assert {state for _, state, _ in states()} == {DELIVERED}


def test_what_waits_for_a_failure_comes_no_sooner_than_its_repeat(user, endpoint):
    happen(user, "order:1", "order:1")
    receiver = Receiver(status=500)

    sending.deliver(receiver)
    first, second = WebhookDelivery.objects.order_by("pk")
    assert second.next_at == first.next_at
    wait()
    receiver.status = 200
    sending.deliver(receiver)

    assert {state for _, state, _ in states()} == {DELIVERED}
    assert len(receiver.got) == 3


def test_other_events_go_before_those_of_the_catalogue_each_in_order(user, endpoint, monkeypatch):
    monkeypatch.setattr(sending, "EACH", 1)
    for type_, subject, number in (
        (WebhookType.SERVICE_UPDATED, "service:1", 1),
        (WebhookType.SERVICE_UPDATED, "service:1", 2),
        (WebhookType.ORDER_UPDATED, "order:1", 3),
        (WebhookType.ORDER_UPDATED, "order:1", 4),
        (WebhookType.WALLET_LOW, "wallet:1", 5),
    ):
        webhooks.record([Happened(user.pk, type_, subject, {"subject": number})])
    receiver = Receiver()

    sending.deliver(receiver)

    assert receiver.subjects() == [3, 4, 5, 1, 2]


def test_claim_looks_at_the_first_rows_of_an_index_however_many_are_due(endpoint):
    line = sending._line(endpoint.pk, Turn.LATER)
    looked_up = "webhook_delivery_next (endpoint_id=? AND turn=? AND next_at<?)"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            looked_up = "Index Scan using webhook_delivery_next "
            # On an empty table other plans cost the same: leave it only those without a sort.
            for other in ("seqscan", "bitmapscan", "sort"):
                cursor.execute(f"SET LOCAL enable_{other} = off")

    plan = line.values("pk")[:2].explain()

    assert looked_up in plan
    assert "B-TREE" not in plan


def test_customer_has_one_share_of_all_endpoints_and_hindered_ones_have_half(user, monkeypatch):
    monkeypatch.setattr(sending, "HINDERED", 3)
    twin = UserFactory(sandbox_of=user)
    others = [UserFactory() for _ in range(4)]
    for customer, endpoints in ((user, 3), (twin, 3), *((other, 1) for other in others)):
        for number in range(endpoints):
            url = f"{URL}/{customer.pk}/{number}"
            webhooks.create(customer, url=url, events=WebhookType.values)
        happen(customer, "order:1", "order:2", "order:3")
    failing, slow = (WebhookEndpoint.objects.filter(user=other) for other in others[:2])
    failing.update(failing_since=from_now(timedelta()))
    slow.update(is_slow=True)

    claimed = sending._claim([])

    by_endpoint = Counter(one.delivery.endpoint_id for one in claimed)
    by_owner = Counter(one.endpoint.owner_id for one in claimed)
    assert max(by_endpoint.values()) == sending.EACH
    assert by_owner[user.pk] == sending.EACH_OWNER
    assert by_owner[others[2].pk] == by_owner[others[3].pk] == sending.EACH
    assert by_owner[others[0].pk] + by_owner[others[1].pk] == 3
    assert sending._claim(claimed) == []


def test_endpoint_is_slow_by_its_last_answer(user, endpoint):
    for milliseconds, is_slow in ((sending.SLOW_MILLISECONDS, True), (20, False)):
        happen(user, "order:1")
        (claimed,) = sending._claim([])
        sending._write(claimed.delivery, Reply(200, "", "", milliseconds))
        endpoint.refresh_from_db()
        assert endpoint.is_slow == is_slow


def test_looking_for_work_is_one_query_where_there_is_none(
    user, endpoint, django_assert_num_queries
):
    with django_assert_num_queries(1):
        assert sending.deliver(Receiver()) == 0


# --- the end of an endpoint ----------------------------------------------------------------------


def test_gone_endpoint_is_switched_off_and_its_customer_told(user, endpoint):
    user.language = "en"
    user.save()
    happen(user, "order:1", "order:2", "order:2")
    OrmQ.objects.all().delete()

    sending.deliver(Receiver(status=410))

    endpoint.refresh_from_db()
    assert (endpoint.disabled_because, endpoint.disabled_at is None) == (
        DisabledBecause.GONE,
        False,
    )
    assert {state for _, state, _ in states()} == {FAILED}
    jobs = [(job.task["func"], job.task["args"]) for job in OrmQ.objects.all()]
    assert jobs == [("storefront.tasks.tell_webhook_disabled", (endpoint.pk,))]

    tasks.tell_webhook_disabled(endpoint.pk)
    (letter,) = mail.outbox
    assert letter.to == [user.email]
    assert letter.subject == "Pulse: Your webhook endpoint has been switched off"
    assert URL in letter.body
    assert "410" in letter.body

    webhooks.enable(endpoint)
    tasks.tell_webhook_disabled(endpoint.pk)
    assert len(mail.outbox) == 1


HOUR = timedelta(hours=1)


def test_one_event_that_is_never_taken_switches_the_endpoint_off_after_three_days(user, endpoint):
    happen(user, "order:1")
    sending.deliver(Receiver(status=500))
    WebhookDelivery.objects.update(attempts=8)  # the pauses are long by now
    age(sending.PATIENCE - HOUR)
    sending.deliver(Receiver(status=500))
    assert states() == [("order:1", PENDING, 9)]
    assert WebhookEndpoint.objects.get().disabled_because == ""
    OrmQ.objects.all().delete()

    age(HOUR)  # the last attempt is made then, and not a pause of six hours later
    assert sending.deliver(Receiver(status=500)) == 1

    assert states() == [("order:1", FAILED, 10)]
    assert WebhookEndpoint.objects.get().disabled_because == DisabledBecause.FAILING
    jobs = [(job.task["func"], job.task["args"]) for job in OrmQ.objects.all()]
    assert jobs == [("storefront.tasks.tell_webhook_disabled", (endpoint.pk,))]


def test_event_that_alone_is_never_taken_is_given_up_and_switches_nothing_off(user, endpoint):
    happen(user, "order:1")
    sending.deliver(Receiver(status=500))
    WebhookDelivery.objects.update(next_at=from_now(24 * HOUR))
    happen(user, "order:2")
    sending.deliver(Receiver())

    for passed in (sending.PATIENCE - HOUR, HOUR):
        age(passed)
        wait()
        sending.deliver(Receiver(status=500))

    assert states() == [("order:1", FAILED, 3), ("order:2", DELIVERED, 1)]
    assert WebhookEndpoint.objects.get().disabled_because == ""


def test_endpoint_that_takes_nothing_is_off_after_three_days_however_long_the_line(user, endpoint):
    happen(user, "order:1")
    sending.deliver(Receiver(status=500))
    age(sending.PATIENCE)
    WebhookDelivery.objects.update(next_at=from_now(HOUR))  # its last attempt has not come yet
    happen(user, "order:2")

    assert sending.deliver(Receiver(status=500)) == 1

    assert WebhookEndpoint.objects.get().disabled_because == DisabledBecause.FAILING
    assert states() == [("order:1", FAILED, 1), ("order:2", FAILED, 1)]


def test_replay_that_is_never_taken_switches_nothing_off(user, endpoint):
    happen(user, "order:1")
    sending.deliver(Receiver())
    webhooks.replay(WebhookDelivery.objects.select_related("endpoint", "event").get())
    sending.deliver(Receiver(status=410))
    age(sending.PATIENCE)
    WebhookDelivery.objects.filter(replay=True).update(next_at=from_now(HOUR))
    happen(user, "order:2")

    assert sending.deliver(Receiver(status=500)) == 1
    wait()
    assert sending.deliver(Receiver(status=500)) == 2

    assert states() == [("order:1", DELIVERED, 1), ("", FAILED, 2), ("order:2", PENDING, 2)]
    assert WebhookEndpoint.objects.get().disabled_because == ""


def test_quiet_days_after_a_failure_switch_nothing_off(user, endpoint):
    WebhookEndpoint.objects.update(failing_since=from_now(-timedelta(days=10)))
    happen(user, "order:1")

    sending.deliver(Receiver(status=500))

    assert states() == [("order:1", PENDING, 1)]
    assert WebhookEndpoint.objects.get().disabled_because == ""


def test_mail_about_a_sandbox_endpoint_goes_to_the_owner(user):
    twin = UserFactory(sandbox_of=user)
    endpoint = webhooks.create(twin, url=URL, events=WebhookType.values)[0]
    webhooks.stop(endpoint, DisabledBecause.FAILING)

    tasks.tell_webhook_disabled(endpoint.pk)

    assert [letter.to for letter in mail.outbox] == [[user.email]]


def test_test_event_is_sent_once_and_counts_for_nothing(user, endpoint):
    webhooks.disable(endpoint)
    webhooks.send_test(endpoint)

    assert sending.deliver(Receiver(status=500)) == 1

    endpoint.refresh_from_db()
    assert states() == [("", FAILED, 1)]
    assert (endpoint.failing_since, endpoint.disabled_because) == (None, DisabledBecause.CUSTOMER)


def test_nothing_is_sent_that_was_recorded_while_its_endpoint_was_switched_off(user, endpoint):
    happen(user, "order:1")
    WebhookEndpoint.objects.update(disabled_at=from_now(timedelta()))

    assert sending.deliver(Receiver()) == 0
    assert states() == [("order:1", FAILED, 1)]


# --- the job -------------------------------------------------------------------------------------


def test_job_comes_again_while_something_is_due(user, endpoint, monkeypatch):
    happen(user, "order:1")
    OrmQ.objects.all().delete()
    rounds = iter([0, sending.deliver])

    def deliver():
        step = next(rounds)
        return step(Receiver()) if callable(step) else step

    monkeypatch.setattr(sending, "deliver", deliver)
    tasks.deliver_webhooks()
    assert [job.task["func"] for job in OrmQ.objects.all()] == ["storefront.tasks.deliver_webhooks"]
    tasks.deliver_webhooks()

    assert OrmQ.objects.count() == 1
    assert states() == [("order:1", DELIVERED, 1)]
