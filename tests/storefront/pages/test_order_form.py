"""The order form tells the price before it takes it, and takes it once."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from django.urls import reverse

from accounts.models import Posting
from catalog.models import Network
from catalog.order_types import ServiceType
from orders.models import Order
from tests.factories import (
    CategoryFactory,
    ManualPriceFactory,
    OrderFactory,
    ServiceFactory,
    WalletFactory,
)

NEW, PRICE, OPTIONS = reverse("new_order"), reverse("order_price"), reverse("service_options")


@pytest.fixture
def filled_in(service, wallet) -> dict[str, str]:
    """A form that costs 1.30 USD, as the browser sends it after showing that price."""
    return {
        "service": str(service.pk),
        "link": "https://instagram.com/aicha",
        "quantity": "1000",
        "currency": "USD",
        "idempotency_key": "form-1",
        "agreed": "1.300000",
    }


def said(response) -> str:
    """The words of a page, without tags and repeated spaces."""
    return " ".join(re.sub(r"<[^>]*>", " ", response.content.decode()).split())


def test_form_places_the_order_that_was_shown(signed_in, filled_in, wallet):
    response = signed_in.post(NEW, filled_in)

    order = Order.objects.get()
    assert response.headers["Location"] == reverse("order", args=[order.pk])
    assert (order.quantity, order.charge, order.currency) == (1000, Decimal("1.30"), "USD")
    wallet.refresh_from_db()
    assert wallet.balance == Decimal("8.70")


def test_form_sent_twice_gives_one_order(signed_in, filled_in):
    first = signed_in.post(NEW, filled_in)
    second = signed_in.post(NEW, filled_in)

    assert second.headers["Location"] == first.headers["Location"]
    assert Order.objects.count() == 1


def test_every_rendered_form_has_its_own_key(signed_in, service):
    pages = [signed_in.get(NEW, {"service": service.pk}) for _ in range(2)]

    assert len({page.context["idempotency_key"] for page in pages}) == 2


def test_form_changed_and_sent_again_is_refused_with_a_new_key(signed_in, filled_in):
    signed_in.post(NEW, filled_in)

    response = signed_in.post(NEW, {**filled_in, "quantity": "500"})

    assert response.status_code == 422
    assert "Check your orders first." in said(response)
    assert response.context["idempotency_key"] != "form-1"
    assert Order.objects.count() == 1


def test_without_having_seen_the_price_nothing_is_taken(signed_in, filled_in):
    del filled_in["agreed"]

    response = signed_in.post(NEW, filled_in)

    assert response.status_code == 200
    assert "Order for 1.30\u00a0USD" in response.content.decode().replace(
        '<span class="money">', ""
    ).replace("</span>", "")
    assert response.context["idempotency_key"] == "form-1"
    assert not Order.objects.exists()


@pytest.mark.parametrize("language", ["en", "fr", "tr"])
def test_the_price_on_the_form_is_what_the_form_sends(
    signed_in, customer, filled_in, htmx, language
):
    customer.language = language
    customer.save()
    priced = signed_in.post(PRICE, {**filled_in, "agreed": ""}, headers=htmx)
    shown = re.search(r'name="agreed" value="([^"]*)"', priced.content.decode())
    assert shown

    response = signed_in.post(NEW, {**filled_in, "agreed": shown[1]})

    assert response.status_code == 302
    assert Order.objects.get().charge == Decimal("1.30")


@pytest.mark.parametrize("agreed", ["1.299999", "0", "-5"])
def test_a_price_above_the_one_shown_is_not_taken(signed_in, filled_in, agreed):
    response = signed_in.post(NEW, {**filled_in, "agreed": agreed})

    assert response.status_code == 409
    assert "The price has changed" in said(response)
    assert not Order.objects.exists()


@pytest.mark.parametrize("agreed", ["NaN", "sNaN", "Infinity", "x", "", "1e9999999999999999999999"])
def test_an_unreadable_agreed_price_is_none(signed_in, filled_in, agreed):
    response = signed_in.post(NEW, {**filled_in, "agreed": agreed})

    assert response.status_code == 200
    assert not Order.objects.exists()


def test_another_currency_than_ours_is_not_replaced_silently(signed_in, filled_in):
    response = signed_in.post(NEW, {**filled_in, "currency": "EUR"})

    assert response.status_code == 200
    assert not Order.objects.exists()


def test_too_little_money_is_told_with_what_is_missing(signed_in, filled_in):
    response = signed_in.post(
        PRICE, {**filled_in, "quantity": "10000", "agreed": ""}, headers={"HX-Request": "true"}
    )

    assert "Missing 3.00\u00a0USD".replace("\u00a0", " ") in said(response)
    assert 'id="place" disabled' in response.content.decode()


def test_insufficient_funds_are_refused_when_sent_anyway(signed_in, filled_in):
    response = signed_in.post(NEW, {**filled_in, "quantity": "10000", "agreed": "13"})

    assert response.status_code == 400
    assert "is not enough for this order" in said(response)
    assert not Order.objects.exists()


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("quantity", "9", "The quantity must be between 10 and 10000."),
        ("quantity", "10001", "The quantity must be between 10 and 10000."),
        ("quantity", "-1", "The quantity must be between 10 and 10000."),
        ("quantity", "many", "The Quantity field is not valid."),
        ("quantity", "", "The Quantity field is required."),
        ("link", "", "The Link field is required."),
        ("link", "two words", "The Link field is not valid."),
        ("link", "javascript:alert(1)", "The Link field is not valid."),
        ("link", "a\x00b", "The Link field is not valid."),
        ("link", "h" * 2049, "The Link field may have at most 2048 characters."),
    ],
)
def test_problems_stand_beside_their_field(signed_in, filled_in, field, value, sentence):
    response = signed_in.post(NEW, {**filled_in, field: value})

    assert response.status_code == 422
    problem = re.search(rf'id="problem-{field}"[^>]*>([^<]*)<', response.content.decode())
    assert problem is not None
    assert problem[1] == sentence
    assert not Order.objects.exists()


def test_fields_that_are_still_empty_are_no_problem_while_typing(signed_in, filled_in):
    response = signed_in.post(PRICE, {**filled_in, "link": ""})

    assert "is required" not in said(response)
    assert "This order costs 1.30 USD" in said(response).replace("\u00a0", " ")


def test_price_follows_the_wallet(signed_in, filled_in, service, customer):
    WalletFactory(user=customer, currency="TRY", funds=100)
    ManualPriceFactory(service=service, currency="TRY", rate=Decimal(50))
    from tests.factories import ExchangeRateFactory

    ExchangeRateFactory(quote="TRY", rate=Decimal(40))

    response = signed_in.post(PRICE, {**filled_in, "currency": "TRY"})

    words = said(response).replace("\u00a0", " ")
    assert "This order costs 50.00 TRY 1,000 × 50.00 TRY / 1,000" in words
    assert "In the wallet 100.00 TRY Left afterwards 50.00 TRY" in words
    assert "0.05 TRY comes back to this wallet for each one not delivered" in words


def test_a_service_without_price_in_the_currency_says_so(signed_in, filled_in):
    response = signed_in.post(PRICE, {**filled_in, "currency": "XAF"})

    assert "This service has no price in XAF at the moment." in said(response)


def test_the_link_is_said_back(signed_in, filled_in):
    response = signed_in.post(PRICE, filled_in)

    assert "Instagram, profile @aicha" in said(response)


def test_a_link_of_another_network_is_pointed_out(signed_in, filled_in):
    response = signed_in.post(PRICE, {**filled_in, "link": "https://www.tiktok.com/@aicha"})

    assert "This is a TikTok link, but the service is for Instagram." in said(response)


def test_comments_are_counted_and_charged(signed_in, filled_in, service):
    service.type, service.min_quantity = ServiceType.CUSTOM_COMMENTS, 2
    service.save()

    page = signed_in.get(NEW, {"service": service.pk})
    priced = signed_in.post(PRICE, {**filled_in, "comments": "Lovely!\r\n\r\nWow\n"})

    assert 'name="comments"' in page.content.decode()
    assert 'name="quantity"' not in page.content.decode()
    assert "2 × 1.30 USD / 1,000" in said(priced).replace("\u00a0", " ")


def test_a_package_has_one_price(signed_in, filled_in, service):
    service.type = ServiceType.PACKAGE
    service.save()

    page = signed_in.post(PRICE, filled_in)

    assert "one package" in said(page)
    assert "the whole amount comes back to this wallet" in said(page)


def test_choosing_another_service_keeps_what_was_typed(signed_in, filled_in, htmx):
    other = ServiceFactory(min_quantity=1)

    response = signed_in.get(NEW, {**filled_in, "service": other.pk}, headers=htmx)

    assert 'value="https://instagram.com/aicha"' in response.content.decode()
    assert response.templates[0].name == "orders/_order_form.html"


def test_fields_that_are_not_in_the_form_are_refused_visibly(signed_in, filled_in):
    response = signed_in.post(NEW, {**filled_in, "runs": "5"})

    assert response.status_code == 422
    assert "field is not available for this service." in said(response)


def test_options_show_what_was_ordered_lately_first(signed_in, wallet, service):
    ServiceFactory()
    OrderFactory(wallet=wallet, service=service)

    response = signed_in.get(OPTIONS)

    assert [item.service for item in response.context["recent"]] == [service]
    assert service not in [item.service for item in response.context["found"]]


def test_options_leave_out_what_cannot_be_ordered_again(signed_in, wallet, service):
    OrderFactory(wallet=wallet, service=service)
    service.disabled_by_staff = True
    service.save()

    assert signed_in.get(OPTIONS).context["recent"] == []


def test_options_find_by_text_and_network(signed_in, service):
    tiktok = CategoryFactory(source_name="TikTok Views", network=Network.TIKTOK)
    views = ServiceFactory(category=tiktok, provider_name="Views")

    by_text = signed_in.get(OPTIONS, {"q": "tiktok"})
    by_network = signed_in.get(OPTIONS, {"network": "tiktok"})

    assert [item.service for item in by_text.context["found"]] == [views]
    assert [item.service for item in by_network.context["found"]] == [views]


def test_somebody_who_is_signed_out_is_taken_to_sign_in(client, service, htmx):
    page = client.get(NEW)
    fragment = client.get(OPTIONS, headers=htmx)

    assert page.headers["Location"] == f"{reverse('account_login')}?next={NEW}"
    assert fragment.headers["HX-Redirect"].startswith(reverse("account_login"))


def test_previews_write_nothing(signed_in, filled_in):
    postings = Posting.objects.count()

    signed_in.post(PRICE, filled_in)

    assert Posting.objects.count() == postings


@pytest.mark.parametrize("services", [1, 3])
def test_options_cost_the_same_queries_however_many(
    signed_in, service, services, django_assert_num_queries
):
    ServiceFactory.create_batch(services - 1, category=service.category)

    with django_assert_num_queries(9):
        signed_in.get(OPTIONS)
