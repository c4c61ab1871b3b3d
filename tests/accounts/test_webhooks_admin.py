"""What staff see of customers' webhooks, and that they can switch one off."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from accounts import twins, webhooks
from accounts.models import DeliveryState, DisabledBecause, WebhookAttempt
from tests.factories import StaffFactory, UserFactory

pytestmark = pytest.mark.django_db

GIVEN = {"url": "https://shop.example/hook", "events": ["order.updated"]}


@pytest.fixture
def staff(client):
    staff = StaffFactory()
    client.force_login(staff)
    return staff


@pytest.fixture
def endpoint():
    return webhooks.create(UserFactory(email="a@example.com"), **GIVEN)[0]


@pytest.fixture
def delivery(endpoint):
    delivery = webhooks.send_test(endpoint)
    delivery.event.body = '{"type":"test"}'
    delivery.event.save()
    WebhookAttempt.objects.create(delivery=delivery, status=500, milliseconds=12, answer="broken")
    return delivery


def page(model, name, *args):
    return reverse(f"admin:accounts_{model}_{name}", args=args)


def test_pages_show_everything_but_the_secret(client, staff, endpoint, delivery):
    shown = [
        client.get(page("webhookendpoint", "changelist"), {"q": "shop.example"}),
        client.get(page("webhookendpoint", "change", endpoint.pk)),
        client.get(page("webhookdelivery", "changelist"), {"endpoint__id__exact": endpoint.pk}),
        client.get(page("webhookdelivery", "change", delivery.pk)),
    ]

    for response in shown:
        assert response.status_code == 200
        assert endpoint.secret.removeprefix("whsec_") not in response.content.decode()
    for response in (shown[0], shown[1]):
        assert "a@example.com" in response.content.decode()
        assert "Working" in response.content.decode()
    assert "order.updated" in shown[1].content.decode()
    assert list(shown[2].context["cl"].result_list) == [delivery]
    assert "broken" in shown[3].content.decode()
    assert "{&quot;type&quot;:&quot;test&quot;}" in shown[3].content.decode()


def test_switching_off_wants_a_reason_and_gives_up_what_waits(client, staff, endpoint, delivery):
    address = page("webhookendpoint", "switch_off", endpoint.pk)

    client.post(address, {"reason": ""})
    endpoint.refresh_from_db()
    assert endpoint.disabled_at is None
    client.post(address, {"reason": "It points at somebody else"})

    endpoint.refresh_from_db()
    delivery.refresh_from_db()
    assert endpoint.disabled_because == DisabledBecause.STAFF
    assert delivery.state == DeliveryState.FAILED
    assert list(LogEntry.objects.values_list("user", "object_id", "change_message")) == [
        (staff.pk, str(endpoint.pk), "Switch off: It points at somebody else")
    ]


def test_what_its_owner_removed_is_not_switched_off(client, staff, endpoint):
    webhooks.remove(endpoint)

    answer = client.post(page("webhookendpoint", "switch_off", endpoint.pk), {"reason": "x"})

    endpoint.refresh_from_db()
    assert endpoint.disabled_because == DisabledBecause.REMOVED
    assert answer.context["form"].errors == {"__all__": ["Removed by the customer"]}
    assert not LogEntry.objects.exists()


def test_state_and_owner_are_told_as_staff_read_them(client, staff, endpoint):
    sandboxed, _secret = webhooks.create(twins.twin_of(endpoint.user), **GIVEN)
    webhooks.disable(sandboxed)

    for address in (
        page("webhookendpoint", "changelist"),
        page("webhookendpoint", "change", sandboxed.pk),
    ):
        html = client.get(address).content.decode()
        assert "Switched off by the customer" in html
        assert "a@example.com (Sandbox)" in html
        assert "by you" not in html


@pytest.mark.parametrize("model", ["webhookendpoint", "webhookdelivery"])
def test_nobody_adds_edits_or_deletes(client, staff, endpoint, delivery, model):
    pk = {"webhookendpoint": endpoint.pk, "webhookdelivery": delivery.pk}[model]

    assert client.get(page(model, "add")).status_code == 403
    assert client.post(page(model, "change", pk), {"url": "x"}).status_code == 403
    assert client.post(page(model, "delete", pk), {"post": "yes"}).status_code == 403
