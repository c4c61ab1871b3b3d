"""Many orders at once: what is shown before it is confirmed is what is confirmed."""

from __future__ import annotations

import re
import uuid
from decimal import Decimal

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from catalog.models import SameLink
from orders import mass
from orders.mass import Agreed
from orders.models import MassLine, MassOrder, Order
from storefront.pages import mass_order
from tests.factories import OrderFactory, ServiceFactory, UserFactory, WalletFactory, fund
from tests.storefront.pages.test_every_page import assert_sound

MASS = reverse("mass_order")
LINK = "https://instagram.com/aicha"


def said(response) -> str:
    """The words of a page, without tags and repeated spaces."""
    words = re.sub(r"<[^>]*>", " ", response.content.decode()).replace("\u00a0", " ")
    return " ".join(words.split())


def check(client, text, **more):
    return client.post(MASS, {"text": text, "currency": "USD", "check": "1", **more})


def token_in(response) -> str:
    found = re.search(r'name="confirm" value="([^"]+)"', response.content.decode())
    assert found, said(response)
    return found[1]


def confirm(client, response, **more):
    return client.post(MASS, {"text": "", "currency": "USD", "confirm": token_in(response), **more})


@pytest.fixture
def three(service):
    """Three lines, 1.30 each, of a wallet that holds 10."""
    return "\n".join(f"{service.pk}|@name{number}|1000" for number in range(3))


@pytest.fixture
def confirmed(customer, wallet, service):
    lines = [
        Agreed(n, str(service.pk), {"link": f"@name{n}", "quantity": "1000"}, Decimal("1.30"))
        for n in (1, 2, 3)
    ]
    return mass.confirm(customer=customer, currency="USD", uuid=uuid.uuid4(), lines=lines)


# --- the lines and their preview ----------------------------------------------------------------


def test_page_tells_how_a_line_is_written(signed_in, wallet):
    response = signed_in.get(MASS)

    assert_sound(response)
    assert "service | link | comments" in said(response)


def test_preview_shows_the_price_of_each_line_and_of_all(signed_in, wallet, three):
    response = check(signed_in, three)

    assert_sound(response)
    words = said(response)
    assert "3 lines can be ordered." in words
    assert words.count("1.30 USD × 1,000") == 3
    assert "3 orders cost together 3.90 USD In the wallet 10.00 USD" in words
    assert "Left afterwards 6.10 USD" in words
    assert "Place 3 orders for 3.90 USD" in words
    assert not MassOrder.objects.exists()


def test_preview_tells_each_line_that_is_wrong_by_its_number(signed_in, wallet, service, three):
    response = check(signed_in, f"{three}\n\n{service.pk}|@a|9\nx|@b|1000\n{service.pk}|@c")

    words = said(response)
    assert "3 lines can be ordered. 3 lines need a change." in words
    pk = service.pk
    assert f"5 {pk} | @a | 9 The quantity must be between 10 and 10000." in words
    assert "6 x | @b | 1000 The Service field is not valid." in words
    assert f"7 {pk} | @c This line needs other columns: service | link | quantity." in words
    assert "Place 3 orders for 3.90 USD" in words


def test_preview_without_a_good_line_offers_nothing(signed_in, wallet):
    response = check(signed_in, "x|@b|1000")

    assert_sound(response)
    assert "No line can be ordered as it stands" in said(response)
    assert 'name="confirm"' not in response.content.decode()


def test_preview_tells_what_is_missing(signed_in, wallet, service):
    response = check(signed_in, f"{service.pk}|@a|8000\n{service.pk}|@b|1000")

    assert "Missing 1.70 USD" in said(response)
    assert 'name="confirm"' not in response.content.decode()


def test_preview_points_out_links_that_come_twice_or_are_busy(signed_in, wallet, service):
    service.same_link = SameLink.QUEUE
    service.save()
    OrderFactory(service=service, sent=True, link_key="instagram:@busy")

    words = said(
        check(signed_in, f"{service.pk}|@a|1000\n{service.pk}|@a|1000\n{service.pk}|@busy|1000")
    )

    assert "The same service and link as in line 1. It waits until the other one" in words
    assert "Another order for this link is under way: this one waits" in words


def test_file_is_read_in_place_of_the_lines(signed_in, wallet, service):
    content = f"Service;Link;Quantity\r\n{service.pk};{LINK};1000\r\n".encode("utf-8-sig")

    response = check(signed_in, "nonsense", file=SimpleUploadedFile("orders.csv", content))

    assert "1 order costs 1.30 USD" in said(response)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "There is no line to order."),
        ("12;é;5".encode("latin-1"), "This file cannot be read as text."),
        (b"x" * 500_001, "This is too long: at most 500 kB at once."),
        (b"12|a|5\n" * 1001, "These are too many lines: at most 1000 at once."),
        (b"service,link,colour\n1,a,b", "There is no field for the column “colour”."),
        (b'service,link\n1,"a', "Line 2 cannot be read: look at its quotation marks."),
        (b"\x00\x01|\x02|\x03", "The Service field is not valid."),
    ],
)
def test_odd_files_are_refused_in_words(signed_in, wallet, content, sentence):
    response = check(signed_in, "", file=SimpleUploadedFile("orders.csv", content))

    assert response.status_code in (200, 422)
    assert sentence in said(response)
    assert not MassOrder.objects.exists()


def test_refused_lines_stay_in_the_field(signed_in, wallet):
    response = check(signed_in, "service,link,colour\n1,a,b")

    assert_sound(response, 422)
    assert "service,link,colour\n1,a,b</textarea>" in response.content.decode()
    assert 'tabindex="-1" autofocus' in response.content.decode()


def test_lines_can_be_changed_after_the_preview(signed_in, wallet, three):
    response = signed_in.post(MASS, {"text": three, "currency": "USD", "change": "1"})

    assert f"{three}</textarea>" in response.content.decode()


def test_hostile_lines_are_shown_as_text(signed_in, wallet):
    response = check(signed_in, "<script>alert(1)</script>|<b>|1")

    assert_sound(response)
    assert "<script>alert" not in response.content.decode()


@pytest.mark.parametrize("lines", [1, 3, 100])
def test_preview_costs_the_same_queries(
    signed_in, wallet, service, lines, django_assert_num_queries
):
    text = "\n".join(f"{service.pk}|@name{number}|10" for number in range(lines))

    with django_assert_num_queries(9):
        check(signed_in, text)


# --- confirming ---------------------------------------------------------------------------------


def test_what_was_shown_is_what_is_confirmed(signed_in, customer, wallet, three):
    response = confirm(signed_in, check(signed_in, three))

    order = MassOrder.objects.get()
    assert response.headers["Location"] == reverse("mass_progress", args=[order.uuid])
    assert (order.customer, order.currency) == (customer, "USD")
    assert [line.agreed for line in order.lines.all()] == [Decimal("1.30")] * 3


def test_only_good_lines_are_confirmed_under_their_numbers(signed_in, wallet, three):
    confirm(signed_in, check(signed_in, f"x|@a|9\n{three}"))

    assert [line.number for line in MassLine.objects.all()] == [2, 3, 4]


def test_a_double_click_confirms_once(signed_in, wallet, three):
    shown = check(signed_in, three)

    first, second = confirm(signed_in, shown), confirm(signed_in, shown)

    assert first.headers["Location"] == second.headers["Location"]
    assert MassOrder.objects.count() == 1


def assert_shown_again(response):
    assert response.status_code == 409
    assert "These prices are no longer current." in said(response)
    assert "Place 3 orders for 3.90 USD" in said(response)
    assert not MassOrder.objects.exists()


def test_what_was_changed_on_the_way_is_not_confirmed(signed_in, wallet, three):
    token = token_in(check(signed_in, three))
    data = {"text": three, "currency": "USD"}

    assert_shown_again(signed_in.post(MASS, {**data, "confirm": f"x{token}"}))
    assert_shown_again(signed_in.post(MASS, {**data, "confirm": "nonsense"}))


def test_what_somebody_else_was_shown_is_not_confirmed(signed_in, client, wallet, three):
    shown = check(signed_in, three)
    other = UserFactory(currency="USD", language="en")
    WalletFactory(user=other, funds=10)
    client.force_login(other)

    assert_shown_again(confirm(client, shown, text=three))


def test_prices_of_long_ago_are_not_confirmed(signed_in, wallet, three, monkeypatch):
    shown = check(signed_in, three)
    monkeypatch.setattr(mass_order, "PREVIEW_SECONDS", -1)

    assert_shown_again(confirm(signed_in, shown, text=three))


def test_money_that_is_gone_meanwhile_is_told(signed_in, wallet, three):
    shown = check(signed_in, three)
    fund(wallet, -9)

    response = confirm(signed_in, shown, text=three)

    assert response.status_code == 400
    assert "is not enough for this order" in said(response)
    assert not MassOrder.objects.exists()


# --- how far it is ------------------------------------------------------------------------------


def progress_of(client, order, **query):
    return client.get(reverse("mass_progress", args=[order.uuid]), query)


def test_progress_polls_until_all_lines_are_done(signed_in, confirmed):
    waiting = progress_of(signed_in, confirmed)
    mass.place(confirmed.pk)
    done = progress_of(signed_in, confirmed)

    assert_sound(waiting)
    assert_sound(done)
    assert "0 of 3 lines" in said(waiting)
    assert "data-poll" in waiting.content.decode()
    assert "3 of 3 lines" in said(done)
    assert "data-poll" not in done.content.decode()
    assert "Taken from your wallet 3.90 USD" in said(done)
    for order in Order.objects.all():
        assert reverse("order", args=[order.pk]) in done.content.decode()


def test_progress_fragment_is_the_part_that_moves(signed_in, confirmed, htmx):
    response = signed_in.get(reverse("mass_progress", args=[confirmed.uuid]), headers=htmx)

    html = response.content.decode()
    assert html.strip().startswith('<div class="stack stack--wide" id="mass"')
    assert "<h1>" in html


@pytest.mark.parametrize(
    ("language", "sentence"),
    [("en", "is not enough for this order"), ("fr", "solde"), ("tr", "bakiye")],
)
def test_refused_lines_tell_why_in_the_readers_language(
    signed_in, customer, confirmed, wallet, language, sentence
):
    fund(wallet, -9)
    mass.place(confirmed.pk)
    customer.language = language
    customer.save()

    words = said(progress_of(signed_in, confirmed))

    assert words.lower().count(sentence) >= 3


def test_progress_shows_lines_by_what_became_of_them(signed_in, confirmed, wallet):
    fund(wallet, Decimal("-8.70"))
    mass.place(confirmed.pk)

    placed = progress_of(signed_in, confirmed, state="placed")
    refused = progress_of(signed_in, confirmed, state="refused")

    assert [row.line.number for row in placed.context["rows"]] == [1]
    assert [row.line.number for row in refused.context["rows"]] == [2, 3]


def test_progress_is_seen_by_its_customer_only(client, confirmed):
    client.force_login(UserFactory())

    assert progress_of(client, confirmed).status_code == 404


@pytest.mark.parametrize("query", [{"page": "9"}, {"page": "x"}])
def test_progress_of_a_page_that_cannot_be_is_not_found(signed_in, confirmed, query):
    assert progress_of(signed_in, confirmed, **query).status_code == 404


@pytest.mark.parametrize("lines", [1, 3])
def test_progress_costs_the_same_queries(signed_in, confirmed, lines, django_assert_num_queries):
    mass.place(confirmed.pk)
    MassLine.objects.filter(number__gt=lines).delete()

    with django_assert_num_queries(7):
        progress_of(signed_in, confirmed)


@pytest.mark.parametrize("orders", [1, 3])
def test_page_costs_the_same_queries(
    signed_in, customer, wallet, orders, django_assert_num_queries
):
    service = ServiceFactory()
    for _ in range(orders):
        mass.confirm(
            customer=customer,
            currency="USD",
            uuid=uuid.uuid4(),
            lines=[Agreed(1, str(service.pk), {}, Decimal(1))],
        )

    with django_assert_num_queries(5):
        signed_in.get(MASS)


def test_somebody_who_is_signed_out_is_taken_to_sign_in(client, db):
    response = client.get(MASS)

    assert response.headers["Location"] == f"{reverse('account_login')}?next={MASS}"
