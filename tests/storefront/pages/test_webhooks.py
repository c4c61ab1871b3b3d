"""The pages of webhooks: what is told to which address, and how telling it went."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts import twins, webhooks
from accounts.models import (
    DeliveryState,
    DisabledBecause,
    Wallet,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookType,
)
from storefront.pages.webhooks import PER_PAGE
from tests.factories import UserFactory, WalletFactory
from tests.storefront.pages.test_every_page import assert_sound

LIST = reverse("webhooks")
NEW = reverse("new_webhook")
GIVEN = {"url": "https://shop.example/hook", "events": ["order.updated"], "description": "Mine"}


def said(response) -> str:
    text = re.sub(r"<[^>]*>", " ", response.content.decode())
    return " ".join(text.replace("\u00a0", " ").split())


@pytest.fixture
def endpoint(customer) -> WebhookEndpoint:
    return webhooks.create(customer, **GIVEN)[0]


@pytest.fixture
def delivery(endpoint) -> WebhookDelivery:
    """Given up after one answer that was no success."""
    delivery = webhooks.send_test(endpoint)
    WebhookDelivery.objects.filter(pk=delivery.pk).update(
        state=DeliveryState.FAILED, next_at=None, attempts=1
    )
    delivery.event.body = '{"type": "test"}'
    delivery.event.save()
    WebhookAttempt.objects.create(
        delivery=delivery, status=500, milliseconds=1234, answer="<b>broken</b>"
    )
    delivery.refresh_from_db()
    return delivery


def of(name, thing):
    return reverse(name, args=[thing.pk])


# --- making and changing ------------------------------------------------------------------------


def test_new_webhook_tells_its_secret_once(signed_in, customer):
    made = signed_in.post(NEW, GIVEN)

    endpoint = WebhookEndpoint.objects.get()
    assert (endpoint.user, endpoint.url, endpoint.events, endpoint.description) == (
        customer,
        *GIVEN.values(),
    )
    assert endpoint.secret.startswith("whsec_")
    assert f'value="{endpoint.secret}"' in made.content.decode()
    assert made.headers["Cache-Control"].startswith("max-age=0, no-cache, no-store")
    assert_sound(made)
    for page in (LIST, of("webhook", endpoint), of("edit_webhook", endpoint)):
        assert "whsec_" not in signed_in.get(page).content.decode()


def test_new_webhook_for_sandbox_orders_is_the_twins(signed_in, customer):
    signed_in.post(NEW, {**GIVEN, "sandbox": "on"})

    endpoint = WebhookEndpoint.objects.get()
    assert endpoint.user == twins.twin_of(customer)
    assert "Sandbox" in said(signed_in.get(LIST))
    assert signed_in.get(of("webhook", endpoint)).status_code == 200
    signed_in.post(of("remove_webhook", endpoint))
    assert list(webhooks.endpoints_of(endpoint.user)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "nonsense"},
        {"url": "https://u:p@shop.example/"},
        {"url": ""},
        {"url": "https://shop.example/" + "x" * 500},
        {"events": []},
        {"events": ["order.eaten"]},
        {"description": "x" * 101},
    ],
)
def test_bad_webhooks_are_refused_beside_the_field(signed_in, endpoint, wrong):
    for page in (NEW, of("edit_webhook", endpoint)):
        response = signed_in.post(page, {**GIVEN, **wrong})

        assert response.status_code == 200
        assert [*response.context["form"].errors] == [*wrong]
        assert 'class="errorlist"' in response.content.decode()
    assert WebhookEndpoint.objects.count() == 1
    kept = WebhookEndpoint.objects.get()
    assert (kept.url, kept.events, kept.description) == tuple(GIVEN.values())


def test_webhook_is_changed(signed_in, endpoint):
    changed = {"url": "https://other.example/", "events": ["wallet.low"], "description": ""}

    response = signed_in.post(of("edit_webhook", endpoint), changed, follow=True)

    endpoint.refresh_from_db()
    assert (endpoint.url, endpoint.events, endpoint.description) == tuple(changed.values())
    assert "The webhook is changed." in said(response)


def test_new_secret_is_shown_once_and_the_old_one_signs_for_the_chosen_time(signed_in, endpoint):
    old = endpoint.secret

    made = signed_in.post(of("rotate_webhook", endpoint), {"grace": "3600"})

    endpoint.refresh_from_db()
    assert endpoint.secret != old
    assert f'value="{endpoint.secret}"' in made.content.decode()
    assert endpoint.previous_secret == old
    assert old not in made.content.decode()
    left = endpoint.previous_until - timezone.now()
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    assert "The old secret signs beside it until" in said(made)

    assert signed_in.post(of("rotate_webhook", endpoint), {"grace": "99"}).context["form"].errors
    signed_in.post(of("rotate_webhook", endpoint), {"grace": "0"})
    endpoint.refresh_from_db()
    assert (endpoint.previous_secret, endpoint.previous_until) == ("", None)


def test_what_is_removed_meanwhile_is_not_found(signed_in, endpoint, monkeypatch):
    find = webhooks.find

    def overtaken(user, pk):
        webhooks.remove(find(user, pk))
        return endpoint

    monkeypatch.setattr(webhooks, "find", overtaken)

    assert signed_in.post(of("switch_webhook", endpoint)).status_code == 404


def test_webhook_is_switched_off_and_on(signed_in, endpoint):
    off = signed_in.post(of("switch_webhook", endpoint), follow=True)
    endpoint.refresh_from_db()
    assert endpoint.disabled_because == DisabledBecause.CUSTOMER
    assert "Off Switched off by you" in said(off)

    on = signed_in.post(of("switch_webhook", endpoint), {"on": "1"}, follow=True)
    endpoint.refresh_from_db()
    assert endpoint.disabled_at is None
    assert "Working" in said(on)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"failing_since": timezone.now()}, "Failing Every attempt has failed since"),
        (
            {"disabled_at": timezone.now(), "disabled_because": DisabledBecause.GONE},
            "Off It answered 410: gone",
        ),
        (
            {"disabled_at": timezone.now(), "disabled_because": DisabledBecause.FAILING},
            "Off It failed for three days",
        ),
    ],
)
def test_state_is_told_in_words(signed_in, endpoint, columns, words):
    WebhookEndpoint.objects.update(**columns)

    assert words in said(signed_in.get(LIST))
    assert words in said(signed_in.get(of("webhook", endpoint)))


def test_removing_asks_first(signed_in, customer, endpoint):
    asked = signed_in.get(of("remove_webhook", endpoint))
    assert "Remove this webhook?" in said(asked)
    assert list(webhooks.endpoints_of(customer)) == [endpoint]

    removed = signed_in.post(of("remove_webhook", endpoint), follow=True)
    assert list(webhooks.endpoints_of(customer)) == []
    assert "The webhook is removed." in said(removed)
    assert signed_in.get(of("webhook", endpoint)).status_code == 404


# --- the log ------------------------------------------------------------------------------------


def test_test_event_leads_to_its_delivery_which_asks_again_until_it_was_tried(
    signed_in, endpoint, htmx
):
    response = signed_in.post(of("test_webhook", endpoint), follow=True)

    delivery = WebhookDelivery.objects.get()
    page = of("webhook_delivery", delivery)
    assert response.redirect_chain == [(page, 302)]
    assert (delivery.event.type, delivery.state) == ("test", DeliveryState.PENDING)
    assert f'hx-get="{page}"' in response.content.decode()
    assert "Send it again" not in said(response)
    fragment = signed_in.get(page, headers=htmx).content.decode()
    assert "<html" not in fragment
    assert f'hx-get="{page}"' in fragment
    WebhookAttempt.objects.create(delivery=delivery, status=500, milliseconds=1)
    assert "hx-get" not in signed_in.get(page, headers=htmx).content.decode()


def test_delivery_shows_request_and_attempts_and_never_the_secret(signed_in, endpoint, delivery):
    html = signed_in.get(of("webhook_delivery", delivery))

    words = said(html)
    assert f"webhook-id: {delivery.event_id}" in words
    assert "{&quot;type&quot;: &quot;test&quot;}" in words
    assert "HTTP 500 1,234 ms" in words
    assert "&lt;b&gt;broken&lt;/b&gt;" in html.content.decode()
    assert endpoint.secret not in html.content.decode()
    assert "whsec_" not in html.content.decode()
    assert_sound(html)


def test_delivery_without_an_answer_says_why(signed_in, delivery):
    WebhookAttempt.objects.update(status=None, error="The name is not known.", answer="")

    words = said(signed_in.get(of("webhook_delivery", delivery)))

    assert "No answer 1,234 ms" in words
    assert "The name is not known." in words


def test_replay_is_a_delivery_of_its_own(signed_in, delivery):
    response = signed_in.post(of("replay_webhook", delivery), follow=True)

    again = WebhookDelivery.objects.latest("pk")
    assert (again.event, again.replay) == (delivery.event, True)
    assert response.redirect_chain == [(of("webhook_delivery", again), 302)]
    assert "Replay" in said(response)


def test_replay_that_cannot_be_is_refused_in_words(signed_in, endpoint, delivery):
    webhooks.disable(endpoint)

    assert "Send it again" not in said(signed_in.get(of("webhook_delivery", delivery)))
    response = signed_in.post(of("replay_webhook", delivery), follow=True)

    assert "Switch the endpoint on first." in said(response)
    assert WebhookDelivery.objects.count() == 1


def test_log_is_filtered_and_paged(signed_in, endpoint, delivery):
    for _ in range(PER_PAGE):
        webhooks.send_test(endpoint)
    page = of("webhook", endpoint)

    failed = signed_in.get(page, {"state": "failed"}).context["page"]
    assert list(failed) == [delivery]
    assert len(signed_in.get(page).context["page"]) == PER_PAGE
    assert list(signed_in.get(page, {"page": 2}).context["page"]) == [delivery]
    assert "None in this state" in said(signed_in.get(page, {"state": "delivered"}))
    for wrong in ({"page": 3}, {"state": "lost"}, {"page": "x"}):
        assert signed_in.get(page, wrong).status_code == 404


@pytest.mark.parametrize("number", [1, 3])
def test_pages_cost_the_same_queries_however_many(
    signed_in, customer, endpoint, delivery, number, django_assert_num_queries
):
    for _ in range(number - 1):
        webhooks.create(customer, **GIVEN)
        webhooks.send_test(endpoint)
        WebhookAttempt.objects.create(delivery=delivery, status=200, milliseconds=1)

    # session, user; the twin; endpoints; marks; the header's purse
    with django_assert_num_queries(6):
        signed_in.get(LIST)
    # session, user; the twin; the endpoint; count and rows; the header's purse
    with django_assert_num_queries(7):
        signed_in.get(of("webhook", endpoint))
    # session, user; the twin; the delivery; attempts; the header's purse
    with django_assert_num_queries(6):
        signed_in.get(of("webhook_delivery", delivery))


# --- marks of wallets -----------------------------------------------------------------------------


def test_low_marks_are_saved_for_own_and_play_wallets(signed_in, customer, wallet):
    twin = twins.twin_of(customer)

    response = signed_in.post(reverse("low_wallets"), {"USD": "2.5", "XAF": "1000"}, follow=True)

    marks = {(w.user_id, w.currency): w.low_at for w in Wallet.objects.exclude(low_at=None)}
    assert marks == {
        (customer.pk, "USD"): Decimal("2.5"),
        (customer.pk, "XAF"): Decimal(1000),
        (twin.pk, "USD"): Decimal("2.5"),
        (twin.pk, "XAF"): Decimal(1000),
    }
    assert "Your marks are saved." in said(response)
    assert 'value="1000' in response.content.decode()

    signed_in.post(reverse("low_wallets"), {"XAF": "1000"})
    assert Wallet.objects.get(user=customer, currency="USD").low_at is None
    assert Wallet.objects.get(user=customer, currency="USD").balance == Decimal(10)


@pytest.mark.parametrize("wrong", ["0", "-1", "x", "0.0000001", "99999999999999", "nan"])
def test_bad_low_marks_change_nothing(signed_in, customer, wallet, wrong):
    response = signed_in.post(reverse("low_wallets"), {"USD": "5", "XAF": wrong})

    assert response.status_code == 200
    assert re.search(r'class="errorlist|class="note note--bad', response.content.decode())
    assert not Wallet.objects.exclude(low_at=None).exists()


def test_low_marks_of_others_stay(signed_in):
    other = WalletFactory(user=UserFactory(), currency="USD")
    Wallet.objects.filter(pk=other.pk).update(low_at=Decimal(1))

    signed_in.post(reverse("low_wallets"), {"USD": "7"})

    other.refresh_from_db()
    assert other.low_at == Decimal(1)


# --- whose they are -------------------------------------------------------------------------------


def test_pages_are_sound(signed_in, endpoint, delivery):
    for name in ("webhook", "edit_webhook", "rotate_webhook", "remove_webhook"):
        assert_sound(signed_in.get(of(name, endpoint)))
    for page in (LIST, NEW):
        assert_sound(signed_in.get(page))


def test_others_webhooks_do_not_exist(client, endpoint, delivery):
    client.force_login(UserFactory())
    twin_endpoint, _secret = webhooks.create(twins.twin_of(endpoint.user), **GIVEN)
    before = [*WebhookEndpoint.objects.values()], WebhookDelivery.objects.count()

    for name in ("webhook", "edit_webhook", "rotate_webhook", "remove_webhook"):
        for foreign in (endpoint, twin_endpoint):
            assert client.get(of(name, foreign)).status_code == 404
    for name in ("edit_webhook", "rotate_webhook", "remove_webhook", "switch_webhook"):
        assert client.post(of(name, endpoint), {**GIVEN, "grace": "0"}).status_code == 404
    assert client.post(of("test_webhook", endpoint)).status_code == 404
    assert client.get(of("webhook_delivery", delivery)).status_code == 404
    assert client.post(of("replay_webhook", delivery)).status_code == 404
    assert endpoint.url not in client.get(LIST).content.decode()
    assert before == ([*WebhookEndpoint.objects.values()], WebhookDelivery.objects.count())


def test_form_offers_every_event_and_starts_with_all(signed_in):
    html = signed_in.get(NEW).content.decode()

    boxes = re.findall(r'<input type="checkbox" name="events" value="([^"]+)"[^>]*checked', html)
    assert boxes == WebhookType.values
