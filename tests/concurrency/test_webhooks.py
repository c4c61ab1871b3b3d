"""Several senders at once: each delivery is in one hand."""

from __future__ import annotations

import pytest

from accounts import webhooks
from accounts.models import WebhookDelivery, WebhookType
from accounts.webhooks import Happened
from storefront.webhooks import bodies, sending
from tests.concurrency.together import together
from tests.factories import UserFactory

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


def test_delivery_is_claimed_by_one_sender_alone(monkeypatch):
    monkeypatch.setattr(bodies, "render", lambda event: "{}")
    monkeypatch.setattr(sending, "EACH", 10)
    monkeypatch.setattr(sending, "EACH_OWNER", 10)
    user = UserFactory()
    webhooks.create(user, url="https://shop.example/hook", events=WebhookType.values)
    for number in range(20):
        webhooks.record([Happened(user.pk, WebhookType.ORDER_UPDATED, f"order:{number}", {})])

    claims = together(*[lambda: [one.delivery.pk for one in sending._claim([])]] * 4)

    taken = [pk for claim in claims for pk in claim]
    assert len(taken) == len(set(taken))
    assert set(WebhookDelivery.objects.filter(attempts=1).values_list("pk", flat=True)) == set(
        taken
    )
    assert len(taken) >= 10
