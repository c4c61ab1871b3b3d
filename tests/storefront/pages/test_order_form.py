"""The order form tells the price before it takes it, and takes it once."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import Posting
from catalog.models import Network, SameLink
from catalog.order_types import FIELDS, ORDER_TYPES, FieldKind, ServiceType
from orders.models import Order
from tests.factories import (
    CategoryFactory,
    ExchangeRateFactory,
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

    assert "This link leads to TikTok, and the service is for Instagram." in said(response)
    assert 'id="hint-link"' in response.content.decode()
    assert "TikTok, profile" not in said(response)


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


# --- every type ---------------------------------------------------------------------------------

FILLED: dict[str, dict[str, str]] = {
    ServiceType.DEFAULT: {"link": "@aicha", "quantity": "100"},
    ServiceType.PACKAGE: {"link": "@aicha"},
    ServiceType.SEO: {"link": "https://example.com", "quantity": "100", "keywords": "red\r\nblue"},
    ServiceType.CUSTOM_COMMENTS: {"link": "@aicha", "comments": "Nice\r\nGreat"},
    ServiceType.CUSTOM_COMMENTS_PACKAGE: {"link": "@aicha", "comments": "Nice\r\nGreat"},
    ServiceType.MENTIONS: {"link": "@aicha", "quantity": "100", "usernames": "@a\r\nb"},
    ServiceType.MENTIONS_WITH_HASHTAGS: {
        "link": "@aicha",
        "quantity": "100",
        "usernames": "a",
        "hashtags": "#x\r\ny",
    },
    ServiceType.MENTIONS_CUSTOM_LIST: {"link": "@aicha", "usernames": "a\r\nb"},
    ServiceType.MENTIONS_HASHTAG: {"link": "@aicha", "quantity": "100", "hashtag": "#x"},
    ServiceType.MENTIONS_USER_FOLLOWERS: {"link": "@aicha", "quantity": "100", "username": "@b"},
    ServiceType.MENTIONS_MEDIA_LIKERS: {
        "link": "@aicha",
        "quantity": "100",
        "media": "https://instagram.com/p/abc",
    },
    ServiceType.COMMENT_LIKES: {
        "link": "https://instagram.com/p/abc",
        "quantity": "100",
        "username": "b",
    },
    ServiceType.COMMENT_REPLIES: {
        "link": "https://instagram.com/p/abc",
        "username": "b",
        "comments": "Yes\r\nNo",
    },
    ServiceType.POLL: {
        "link": "https://instagram.com/p/abc",
        "quantity": "100",
        "answer_number": "2",
    },
    ServiceType.INVITES_FROM_GROUPS: {
        "link": "@aicha",
        "quantity": "100",
        "groups": "https://t.me/one\r\nhttps://t.me/two",
    },
    ServiceType.SUBSCRIPTIONS: {
        "username": "aicha",
        "min": "10",
        "max": "20",
        "delay": "0",
        "posts": "5",
        "old_posts": "",
        "expiry": "",
    },
    ServiceType.WEB_TRAFFIC: {
        "link": "https://example.com",
        "quantity": "100",
        "country": "FR",
        "device": "5",
        "type_of_traffic": "3",
        "google_keyword": "",
        "referring_url": "",
    },
}


@pytest.fixture
def of_type(service):
    """Makes the service one of that type, whose names promise nothing about its links."""

    def become(kind, **columns):
        service.type, service.min_quantity = kind, 1
        service.provider_name = "Something"
        for name, value in columns.items():
            setattr(service, name, value)
        service.save()
        return service

    return become


def form_of(service, values, **more):
    return {
        "service": str(service.pk),
        "currency": "USD",
        "idempotency_key": "form-1",
        **values,
        **more,
    }


def agreed_in(response):
    shown = re.search(r'name="agreed" value="([^"]*)"', response.content.decode())
    assert shown, said(response)
    return shown[1]


def drawn_in(response):
    """The form's fields by what they are drawn as."""
    html = response.content.decode()
    found = re.findall(r'<(\w+) id="field-(\w+)"', html)
    return {name: tag for tag, name in found}


@pytest.mark.parametrize("kind", sorted(ORDER_TYPES))
def test_form_draws_the_fields_of_its_type(signed_in, wallet, of_type, kind):
    page = signed_in.get(NEW, {"service": of_type(kind).pk})

    row = ORDER_TYPES[kind]
    names = [*row.fields, *(name for name in row.optional if name not in ("runs", "interval"))]
    shapes = {
        FieldKind.LINES: "textarea",
        FieldKind.CHOICE: "select",
        FieldKind.COUNTRY: "select",
    }
    assert drawn_in(page) == {name: shapes.get(FIELDS[name].kind, "input") for name in names}
    html = page.content.decode()
    for name in names:
        label = re.search(rf'<label for="field-{name}">([^<]+)', html)
        assert label
        assert label[1].strip() != name
        assert f'id="problem-{name}"' in html
        assert f'id="hint-{name}"' in html


@pytest.mark.parametrize("kind", sorted(ORDER_TYPES))
def test_every_type_is_ordered_at_the_price_that_was_shown(signed_in, wallet, of_type, htmx, kind):
    form = form_of(of_type(kind), FILLED[kind])
    charge = agreed_in(signed_in.post(PRICE, form, headers=htmx))

    response = signed_in.post(NEW, {**form, "agreed": charge})

    order = Order.objects.get()
    assert response.headers["Location"] == reverse("order", args=[order.pk])
    assert (order.type, order.charge) == (kind, Decimal(charge))
    wallet.refresh_from_db()
    assert wallet.balance == 10 - order.charge


@pytest.mark.parametrize("kind", sorted(ORDER_TYPES))
def test_every_type_works_without_javascript(signed_in, wallet, of_type, kind):
    """The first press shows the price, the second one orders."""
    form = form_of(of_type(kind), FILLED[kind])
    shown = signed_in.post(NEW, form)
    assert not Order.objects.exists()

    signed_in.post(NEW, {**form, "agreed": agreed_in(shown)})

    assert Order.objects.get().type == kind


@pytest.mark.parametrize("kind", sorted(ORDER_TYPES))
def test_every_required_field_is_asked_for_beside_itself(signed_in, wallet, of_type, kind):
    response = signed_in.post(NEW, form_of(of_type(kind), {}, agreed="1"))

    assert response.status_code == 422
    problems = dict(re.findall(r'id="problem-(\w+)"[^>]*>([^<]+)<', response.content.decode()))
    assert set(problems) == set(ORDER_TYPES[kind].fields)
    # And once more together at the top, each leading to its field.
    assert set(re.findall(r'<a href="#field-(\w+)">', response.content.decode())) == set(problems)
    assert "autofocus" in response.content.decode()


def test_lists_tell_how_many_lines_they_have(signed_in, wallet, of_type, htmx):
    form = form_of(of_type(ServiceType.CUSTOM_COMMENTS), {"link": "@aicha"})

    response = signed_in.post(PRICE, {**form, "comments": "One\n\nTwo\nThree"}, headers=htmx)

    assert "3 comments = 0.0039 USD" in said(response).replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("traffic", "needed"), [("1", "google_keyword"), ("2", "referring_url"), ("3", None)]
)
def test_what_a_choice_makes_necessary_is_asked_for(signed_in, wallet, of_type, traffic, needed):
    service = of_type(ServiceType.WEB_TRAFFIC)
    values = {**FILLED[ServiceType.WEB_TRAFFIC], "type_of_traffic": traffic}

    page = signed_in.get(NEW, {"service": service.pk}).content.decode()
    sent = signed_in.post(NEW, form_of(service, values, agreed="1"))

    assert 'data-needs="type_of_traffic=1"' in page
    assert 'data-needs="type_of_traffic=2"' in page
    problems = dict(re.findall(r'id="problem-(\w+)"[^>]*>([^<]+)<', sent.content.decode()))
    assert set(problems) == ({needed} if needed else set())
    assert Order.objects.exists() is (needed is None)


@pytest.mark.parametrize("written", ["iso", "market"])
def test_last_day_is_taken_from_a_field_for_dates(signed_in, wallet, of_type, written):
    day = timezone.localdate() + timedelta(days=40)
    text = day.isoformat() if written == "iso" else f"{day:%d/%m/%Y}"
    form = form_of(
        of_type(ServiceType.SUBSCRIPTIONS), {**FILLED[ServiceType.SUBSCRIPTIONS], "expiry": text}
    )

    shown = signed_in.post(NEW, form)
    signed_in.post(NEW, {**form, "agreed": agreed_in(shown)})

    assert f'type="date" min="{timezone.localdate() + timedelta(days=1)}" value="{day}"' in (
        shown.content.decode()
    )
    assert Order.objects.get().subscription.expires_on == day


def test_a_subscription_tells_what_is_reserved_and_what_comes_back(
    signed_in, wallet, of_type, htmx
):
    form = form_of(of_type(ServiceType.SUBSCRIPTIONS), FILLED[ServiceType.SUBSCRIPTIONS])

    words = said(signed_in.post(PRICE, form, headers=htmx)).replace("\u00a0", " ")

    assert "Reserved for this subscription 0.13 USD" in words
    assert "For 5 posts with up to 20 each" in words
    assert "0.0013 USD is used for each one served. What is not used comes back" in words
    assert "Reserve 0.13 USD and start" in words


# --- in runs ------------------------------------------------------------------------------------


def test_runs_are_offered_where_the_service_has_them(signed_in, wallet, service):
    without = signed_in.get(NEW, {"service": service.pk})
    service.dripfeed = True
    service.save()
    with_runs = signed_in.get(NEW, {"service": service.pk})

    assert "Spread over several runs" not in said(without)
    assert "Spread over several runs" in said(with_runs)
    assert {"runs", "interval"} < set(drawn_in(with_runs))


def test_runs_are_priced_together_and_told_in_words(signed_in, filled_in, service, htmx):
    service.dripfeed = True
    service.save()

    response = signed_in.post(PRICE, {**filled_in, "runs": "5", "interval": "60"}, headers=htmx)

    words = said(response).replace("\u00a0", " ")
    assert "This order costs 6.50 USD 5,000 × 1.30 USD / 1,000" in words
    assert "5 runs of 1,000, one every 60 min: 5,000 in all." in words


def test_order_in_runs_is_charged_for_all_of_them(signed_in, filled_in, service, wallet):
    service.dripfeed = True
    service.save()

    signed_in.post(NEW, {**filled_in, "runs": "5", "interval": "60", "agreed": "6.5"})

    order = Order.objects.get()
    assert (order.runs, order.interval, order.quantity) == (5, 60, 5000)
    wallet.refresh_from_db()
    assert wallet.balance == Decimal("3.50")


def test_runs_that_were_typed_stay_in_sight(signed_in, filled_in, service):
    service.dripfeed = True
    service.save()

    response = signed_in.post(NEW, {**filled_in, "runs": "5", "interval": ""})

    assert '<details class="more spread" open>' in response.content.decode()


# --- the same again -----------------------------------------------------------------------------


def test_the_same_again_is_asked_about_first(signed_in, filled_in):
    signed_in.post(NEW, filled_in)
    first = Order.objects.get()

    response = signed_in.post(NEW, {**filled_in, "idempotency_key": "form-2"})

    assert response.status_code == 409
    assert f"You ordered the same a moment ago ( order {first.pk} )." in said(response)
    assert 'name="again"' in response.content.decode()
    assert response.context["idempotency_key"] == "form-2"
    assert Order.objects.count() == 1


def test_the_same_again_is_ordered_when_it_is_meant(signed_in, filled_in):
    signed_in.post(NEW, filled_in)
    again = {**filled_in, "idempotency_key": "form-2", "again": "1"}

    first, second = signed_in.post(NEW, again), signed_in.post(NEW, again)

    assert Order.objects.count() == 2
    assert first.headers["Location"] == second.headers["Location"]


def test_enter_never_means_again(signed_in, filled_in):
    """A browser presses the form's first button for Enter."""
    signed_in.post(NEW, filled_in)

    html = signed_in.post(NEW, {**filled_in, "idempotency_key": "form-2"}).content.decode()

    form = html[html.index('<form id="order"') :]
    assert "name=" not in re.findall(r"<button\b[^>]*>", form)[0]


@pytest.mark.parametrize("changed", [{"quantity": "500", "agreed": "0.65"}, {"link": "@other"}])
def test_something_else_is_not_the_same(signed_in, filled_in, changed):
    signed_in.post(NEW, filled_in)

    signed_in.post(NEW, {**filled_in, "idempotency_key": "form-2", **changed})

    assert Order.objects.count() == 2


def test_after_two_minutes_nobody_asks(signed_in, filled_in):
    signed_in.post(NEW, filled_in)
    Order.objects.update(created_at=timezone.now() - timedelta(seconds=121))

    signed_in.post(NEW, {**filled_in, "idempotency_key": "form-2"})

    assert Order.objects.count() == 2


# --- the same link ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "words", "disabled"),
    [
        (SameLink.QUEUE, "Yours starts by itself when that is finished.", False),
        (SameLink.REFUSE, "This service takes one at a time", True),
        (SameLink.OFF, None, False),
    ],
)
def test_another_order_of_the_link_is_told_before_buying(
    signed_in, filled_in, service, rule, words, disabled
):
    service.same_link = rule
    service.save()
    OrderFactory(service=service, sent=True, link_key="instagram:@aicha")

    response = signed_in.post(PRICE, filled_in)

    assert ("Another order for this link is under way." in said(response)) is bool(words)
    assert (words or "") in said(response)
    assert ('id="place" disabled' in response.content.decode()) is disabled


def test_a_busy_link_is_refused_in_words(signed_in, filled_in, service):
    service.same_link = SameLink.REFUSE
    service.save()
    OrderFactory(service=service, sent=True, link_key="instagram:@aicha")
    orders = Order.objects.count()

    response = signed_in.post(NEW, filled_in)

    assert response.status_code in (400, 409)
    assert re.search(r'role="alert"[^>]*>.*?<p>[^<]+', response.content.decode(), re.DOTALL)
    assert Order.objects.count() == orders


# --- what is asked of the database --------------------------------------------------------------


@pytest.mark.parametrize("kind", [ServiceType.DEFAULT, ServiceType.WEB_TRAFFIC])
def test_price_costs_the_same_queries_for_every_type(
    signed_in, wallet, of_type, htmx, kind, django_assert_num_queries
):
    form = form_of(of_type(kind, same_link=SameLink.QUEUE), FILLED[kind])

    with django_assert_num_queries(10):
        signed_in.post(PRICE, form, headers=htmx)
