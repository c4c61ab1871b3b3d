"""Webhooks in the REST dialect."""

from __future__ import annotations

from datetime import UTC, timedelta

import pytest
from django.utils import timezone

from accounts import api_keys, webhooks
from accounts.models import (
    ApiRequest,
    DeliveryState,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookType,
)
from storefront.api.rest.webhook_serializers import EVENT_TYPES
from tests.factories import UserFactory
from tests.storefront.api.conftest import GATE, Program, program_of

GIVEN = {"url": "https://shop.example/hook", "events": ["order.updated", "order.created"]}


def second(moment):
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def endpoint(program) -> WebhookEndpoint:
    return webhooks.create(program.user, **GIVEN)[0]


@pytest.fixture
def delivery(endpoint) -> WebhookDelivery:
    """Given up after one answer that was no success."""
    delivery = webhooks.send_test(endpoint)
    WebhookDelivery.objects.filter(pk=delivery.pk).update(
        state=DeliveryState.FAILED, next_at=None, attempts=1
    )
    delivery.event.body = '{"type":"test"}'
    delivery.event.save()
    WebhookAttempt.objects.create(delivery=delivery, status=500, milliseconds=12, answer="no")
    delivery.refresh_from_db()
    return delivery


def shape_of(endpoint, **columns):
    return {
        "id": endpoint.pk,
        "url": endpoint.url,
        "description": endpoint.description,
        "events": endpoint.events,
        "status": "working",
        "failing_since": None,
        "disabled_at": None,
        "disabled_because": None,
        "previous_secret_until": None,
        "created_at": second(endpoint.created_at),
        **columns,
    }


def test_webhook_is_made_and_its_secret_told_once(program):
    response = program.post("/webhooks", {**GIVEN, "description": "Mine"}, Accept_Language="en")

    endpoint = WebhookEndpoint.objects.get()
    assert response.status_code == 201
    assert response.json() == {
        "message": "The webhook is made.",
        "webhook": shape_of(endpoint),
        "secret": endpoint.secret,
    }
    assert (endpoint.user, endpoint.url, endpoint.description) == (
        program.user,
        GIVEN["url"],
        "Mine",
    )
    # In the documents' order, whichever was sent.
    assert endpoint.events == ["order.created", "order.updated"]
    assert program.get("/webhooks").json() == {"data": [shape_of(endpoint)]}
    assert program.get(f"/webhooks/{endpoint.pk}").json() == shape_of(endpoint)
    assert "whsec_" not in "".join(
        f"{entry.request}{entry.answer}" for entry in ApiRequest.objects.all()
    )


def test_webhook_is_made_from_a_form_too(program):
    response = program.client.post("/api/v1/webhooks/", GIVEN, headers={"X-API-Key": program.text})

    assert response.status_code == 201
    assert WebhookEndpoint.objects.get().events == ["order.created", "order.updated"]


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        ({"url": "nonsense"}, ["url"]),
        ({"url": None}, ["url"]),
        ({"url": ["https://shop.example/"]}, ["url"]),
        ({"url": "https://shop.example/" + "x" * 500}, ["url"]),
        ({"events": []}, ["events"]),
        ({"events": "order.created"}, ["events"]),
        ({"events": ["order.eaten", {"a": 1}]}, ["events"]),
        ({"description": "a\nb"}, ["description"]),
        ({"url": "", "events": 7}, ["url", "events"]),
    ],
)
def test_bad_webhook_is_refused_field_by_field(program, wrong, fields):
    response = program.post("/webhooks", {**GIVEN, **wrong})

    body = response.json()
    assert response.status_code == 422
    assert (body["error"], body["code"]) == ("Validation Error", "validation_error")
    assert [*body["errors"]] == fields
    assert body["message"] == body["errors"][fields[0]][0]
    assert not WebhookEndpoint.objects.exists()


@pytest.mark.parametrize("path", ["/webhooks", "/webhooks/{}/rotate"])
def test_body_that_is_no_object_is_refused(program, endpoint, path):
    response = program.post(path.format(endpoint.pk), "[1]")

    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


def test_secret_is_rotated(program, endpoint):
    old = endpoint.secret

    response = program.post(
        f"/webhooks/{endpoint.pk}/rotate", {"grace_hours": 2}, Accept_Language="en"
    )

    endpoint.refresh_from_db()
    assert response.status_code == 200
    assert response.json() == {
        "message": "The webhook has a new secret.",
        "webhook": shape_of(endpoint, previous_secret_until=second(endpoint.previous_until)),
        "secret": endpoint.secret,
    }
    assert endpoint.secret != old
    assert endpoint.previous_secret == old
    left = endpoint.previous_until - timezone.now()
    assert timedelta(minutes=119) < left <= timedelta(hours=2)
    # Without a body the old one signs for a day.
    assert program.post(f"/webhooks/{endpoint.pk}/rotate", "").status_code == 200
    endpoint.refresh_from_db()
    assert endpoint.previous_until - timezone.now() > timedelta(hours=23)


@pytest.mark.parametrize("hours", [-1, 169, "x", None])
def test_secret_is_not_rotated_with_a_bad_grace(program, endpoint, hours):
    response = program.post(f"/webhooks/{endpoint.pk}/rotate", {"grace_hours": hours})

    assert (response.status_code, [*response.json()["errors"]]) == (422, ["grace_hours"])
    kept = WebhookEndpoint.objects.get()
    assert kept.secret == endpoint.secret


def test_webhook_is_switched_off_and_on(program, endpoint):
    off = program.post(f"/webhooks/{endpoint.pk}/disable", "", Accept_Language="en").json()

    endpoint.refresh_from_db()
    disabled = {
        "status": "disabled",
        "disabled_at": second(endpoint.disabled_at),
        "disabled_because": "customer",
    }
    assert off == {
        "message": "The webhook is switched off.",
        "webhook": shape_of(endpoint, **disabled),
    }
    on = program.post(f"/webhooks/{endpoint.pk}/enable", "", Accept_Language="en").json()
    assert on == {"message": "The webhook is switched on.", "webhook": shape_of(endpoint)}


def test_failing_webhook_says_since_when(program, endpoint):
    since = timezone.now() - timedelta(hours=5)
    WebhookEndpoint.objects.update(failing_since=since)

    assert program.get(f"/webhooks/{endpoint.pk}").json() == shape_of(
        endpoint, status="failing", failing_since=second(since)
    )


def test_webhook_is_removed(program, endpoint):
    response = program.client.delete(
        f"/api/v1/webhooks/{endpoint.pk}",
        headers={"X-API-Key": program.text, "Accept-Language": "en"},
    )

    assert (response.status_code, response.json()) == (
        200,
        {"message": "The webhook is removed."},
    )
    assert program.get(f"/webhooks/{endpoint.pk}").status_code == 404
    assert program.get("/webhooks").json() == {"data": []}


def test_test_event_is_sent(program, endpoint):
    response = program.post(f"/webhooks/{endpoint.pk}/test", "", Accept_Language="en")

    delivery = WebhookDelivery.objects.get()
    assert response.status_code == 202
    assert response.json() == {
        "message": "The event is on its way.",
        "delivery": {
            "id": delivery.pk,
            "webhook_id": endpoint.pk,
            "event_id": str(delivery.event_id),
            "type": "test",
            "status": "pending",
            "attempts": 0,
            "next_attempt_at": second(delivery.next_at),
            "replay": False,
            "created_at": second(delivery.created_at),
        },
    }
    assert (*WebhookType.values, webhooks.TEST) == EVENT_TYPES


def test_delivery_tells_body_and_attempts(program, endpoint, delivery):
    in_list = {
        "id": delivery.pk,
        "webhook_id": endpoint.pk,
        "event_id": str(delivery.event_id),
        "type": "test",
        "status": "failed",
        "attempts": 1,
        "next_attempt_at": None,
        "replay": False,
        "created_at": second(delivery.created_at),
    }
    attempt = WebhookAttempt.objects.get()

    assert program.get(f"/webhooks/{endpoint.pk}/deliveries").json() == {
        "data": [in_list],
        "meta": {"current_page": 1, "total": 1, "per_page": 20},
    }
    assert program.get(f"/webhooks/deliveries/{delivery.pk}").json() == {
        **in_list,
        "body": '{"type":"test"}',
        "log": [
            {
                "at": second(attempt.at),
                "http_status": 500,
                "milliseconds": 12,
                "answer": "no",
                "error": "",
            }
        ],
    }


def test_deliveries_are_filtered_and_paged(program, endpoint, delivery):
    waiting = webhooks.send_test(endpoint)
    path = f"/webhooks/{endpoint.pk}/deliveries"

    def ids(**query):
        return [row["id"] for row in program.get(path, query).json()["data"]]

    assert ids() == [waiting.pk, delivery.pk]
    assert ids(status="failed") == [delivery.pk]
    assert ids(status="delivered") == []
    assert ids(per_page=1, page=2) == [delivery.pk]
    assert ids(page=9) == []
    for wrong in ({"status": "lost"}, {"page": 0}, {"per_page": "x"}):
        response = program.get(path, wrong)
        assert (response.status_code, [*response.json()["errors"]]) == (422, [*wrong])


def test_delivery_is_replayed(program, endpoint, delivery):
    response = program.post(f"/webhooks/deliveries/{delivery.pk}/replay", "")

    again = WebhookDelivery.objects.latest("pk")
    told = response.json()["delivery"]
    assert response.status_code == 202
    assert (told["id"], told["event_id"], told["replay"]) == (
        again.pk,
        str(delivery.event_id),
        True,
    )

    refused = program.post(f"/webhooks/deliveries/{again.pk}/replay", "", Accept_Language="en")
    assert refused.status_code == 409
    assert refused.json() == {
        "error": "Conflict",
        "message": "This event is still being sent.",
        "code": "webhook_refused",
    }


# --- whose they are, and who may ------------------------------------------------------------------


def calls_on(endpoint, delivery):
    """Every address of one webhook or delivery, with its method."""
    return [
        ("get", f"/webhooks/{endpoint}"),
        ("delete", f"/webhooks/{endpoint}"),
        ("post", f"/webhooks/{endpoint}/rotate"),
        ("post", f"/webhooks/{endpoint}/test"),
        ("post", f"/webhooks/{endpoint}/enable"),
        ("post", f"/webhooks/{endpoint}/disable"),
        ("get", f"/webhooks/{endpoint}/deliveries"),
        ("get", f"/webhooks/deliveries/{delivery}"),
        ("post", f"/webhooks/deliveries/{delivery}/replay"),
    ]


def call(program, method, path):
    return getattr(program.client, method)(
        f"/api/v1{path}", headers={"X-API-Key": program.text, "Accept-Language": "en"}
    )


def test_others_webhooks_do_not_exist(program, endpoint, delivery):
    own_sandbox = Program(
        program.user, *api_keys.issue_sandbox(program.user, name="test", currency="XAF")
    )
    before = [*WebhookEndpoint.objects.values()], WebhookDelivery.objects.count()

    for stranger in (program_of(UserFactory()), own_sandbox):
        for method, path in calls_on(endpoint.pk, delivery.pk):
            response = call(stranger, method, path)
            assert response.status_code == 404, path
            assert response.json() == {
                "error": "Not Found",
                "message": "This webhook or delivery does not exist.",
                "code": "webhook_not_found",
            }
        assert stranger.get("/webhooks").json() == {"data": []}
    assert before == ([*WebhookEndpoint.objects.values()], WebhookDelivery.objects.count())


@pytest.mark.parametrize("number", ["0", "-1", "x", "9" * 30, "²"])
def test_what_is_no_number_is_not_found(program, number):
    for method, path in calls_on(number, number):
        assert call(program, method, path).json()["code"] == "webhook_not_found"


def test_key_without_the_permission_may_nothing(program, endpoint, delivery):
    program.api_key.permissions = ["orders:write", "balance:read"]
    program.api_key.save(update_fields=["permissions"])
    everything = [
        ("get", "/webhooks"),
        ("post", "/webhooks"),
        *calls_on(endpoint.pk, delivery.pk),
    ]

    for method, path in everything:
        response = call(program, method, path)
        assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
    assert WebhookDelivery.objects.count() == 1


@pytest.mark.parametrize("number", [1, 3])
def test_lists_cost_the_same_queries_however_many(
    program, endpoint, delivery, number, django_assert_max_num_queries
):
    for _ in range(number - 1):
        webhooks.create(program.user, **GIVEN)
        webhooks.send_test(endpoint)
        WebhookAttempt.objects.create(delivery=delivery, status=200, milliseconds=1)
    program.get("/balance")
    with django_assert_max_num_queries(GATE + 1):
        program.get("/webhooks")
    # … the endpoint, count and rows
    with django_assert_max_num_queries(GATE + 3):
        program.get(f"/webhooks/{endpoint.pk}/deliveries")
    # … the delivery and its attempts
    with django_assert_max_num_queries(GATE + 2):
        program.get(f"/webhooks/deliveries/{delivery.pk}")
