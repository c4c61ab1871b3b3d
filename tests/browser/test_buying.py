"""A person buys: finds a service by search, orders, and watches it being delivered."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from decimal import Decimal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor

pytestmark = pytest.mark.browser

# From the order to its end: a second's delivery, and the checks that see it.
DELIVERY_MS = 60_000


def choose_by_search(page: Page, text: str) -> None:
    """With the keyboard alone: type, arrow down, Enter."""
    page.locator("#service-search").press_sequentially(text)
    expect(page.locator("#service-options [role=option]").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#field-link")).to_be_focused()


def order(page: Page, *, search: str, link: str, quantity: str) -> int:
    """Order through the form and return the order's number."""
    choose_by_search(page, search)
    page.fill("#field-link", link)
    page.fill("#field-quantity", quantity)
    # The price that the button asks for.
    expect(page.locator("[name=agreed]")).to_be_attached()
    page.locator("#place").click()
    page.wait_for_url(re.compile(r"/orders/\d+/"))
    return int(page.url.rstrip("/").rsplit("/", 1)[1])


def rest(store, path: str, *, body: object = None) -> dict:
    key = re.search(r"sk_\w+", store.banner)
    assert key
    request = urllib.request.Request(
        f"{store.site}/api/v1{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"X-API-Key": key[0], "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer, parse_float=Decimal)


@pytest.mark.parametrize("locale", ["en", "fr", "tr"])
def test_customer_finds_orders_and_sees_it_complete(locale, store, visit):
    visitor = visit(locale=locale)
    visitor.sign_in("customer")
    before = rest(store, "/balance")["balance"]

    number = order(
        visitor.page,
        search="instagram followers real",
        # The same again within two minutes would be asked about.
        link=f"https://www.instagram.com/somebody.{locale}",
        quantity="1000",
    )

    expect(visitor.page.locator("#order-live.is-completed")).to_be_visible(timeout=DELIVERY_MS)
    bought = rest(store, f"/orders/{number}")
    assert bought["status"] == "completed"
    assert bought["remains"] == 0
    assert rest(store, "/balance")["balance"] == before - bought["cost"]
    # Nobody outside learns who delivers.
    assert re.fullmatch(r"EXT\d+", bought["external_order_id"])


def test_partial_order_is_paid_back_to_the_last_millionth(store, visit):
    visitor = visit()
    visitor.sign_in("customer")
    before = rest(store, "/balance")["balance"]

    number = order(
        visitor.page,
        search="tiktok followers",
        link="https://www.tiktok.com/@partial",
        quantity="1003",
    )

    expect(visitor.page.locator("#order-live.is-partial")).to_be_visible(timeout=DELIVERY_MS)
    bought = rest(store, f"/orders/{number}")
    millionth = Decimal("0.000001")
    back = (bought["cost"] * bought["remains"] / bought["quantity"]).quantize(
        millionth, "ROUND_FLOOR"
    )
    assert bought["remains"] == 1003 - 1003 * 3 // 5
    assert rest(store, "/balance")["balance"] == before - bought["cost"] + back
    visitor.goto("/wallet/?currency=USD")
    expect(visitor.page.locator("main")).to_contain_text(f"{back.normalize():f}")


def test_programs_buy_through_both_dialects(store):
    service = next(
        service for services in rest(store, "/services").values() for service in services
    )
    link, quantity = "https://www.instagram.com/program", service["min_quantity"]

    first = store.panel(action="add", service=str(service["id"]), link=link, quantity=str(quantity))
    second = rest(
        store, "/orders", body={"service_id": service["id"], "link": link, "quantity": quantity}
    )

    statuses = store.panel(action="status", orders=f"{first['order']},{second['order']['id']},0")
    assert statuses.pop("0") == {"error": "Incorrect order ID"}
    assert set(statuses) == {str(first["order"]), str(second["order"]["id"])}
    assert {status["charge"] for status in statuses.values()} == {f"{second['order']['cost']}"}
    assert store.panel(action="balance")["currency"] == "USD"


def test_order_form_works_without_javascript(store, visit):
    visitor = visit(java_script_enabled=False)
    visitor.sign_in("customer")
    page = visitor.goto("/services/")
    page.fill("main input[name=q]", "telegram")
    page.keyboard.press("Enter")
    page.locator("main a[href^='/services/']").first.click()
    page.locator("main a[href*='/order/?']").first.click()
    page.fill("#field-link", "https://t.me/somebody")
    page.fill("#field-quantity", "500")

    page.click("#place")
    expect(page.locator("#place")).to_contain_text("Order for")
    page.click("#place")

    page.wait_for_url(re.compile(r"/orders/\d+/"))
    expect(page.locator("main")).to_contain_text("https://t.me/somebody")


def test_wrong_quantity_is_told_beside_the_field_while_typing(visit):
    visitor = visit()
    visitor.sign_in("customer")
    page = visitor.page
    choose_by_search(page, "instagram followers")
    page.fill("#field-link", "https://www.instagram.com/somebody")

    page.fill("#field-quantity", "1")

    expect(page.locator("#problem-quantity")).to_contain_text("The quantity must be between")
    expect(page.locator("#field-quantity")).to_have_attribute("aria-invalid", "true")


def open_form(visitor: Visitor, search: str) -> Page:
    """The order form with the first service that the search finds."""
    choose_by_search(visitor.page, search)
    return visitor.page


def test_fields_follow_the_type_and_the_choices(visit):
    visitor = visit()
    visitor.sign_in("customer")
    page = open_form(visitor, "website traffic from google")
    for needed in ("#field-google_keyword", "#field-referring_url"):
        expect(page.locator(needed)).to_be_hidden()

    page.select_option("#field-type_of_traffic", "2")

    expect(page.locator("#field-referring_url")).to_be_visible()
    expect(page.locator("#field-google_keyword")).to_be_hidden()


def test_comments_are_counted_and_priced_while_typing(visit):
    visitor = visit()
    visitor.sign_in("customer")
    page = open_form(visitor, "instagram custom comments")

    page.locator("#field-comments").press_sequentially("One\nTwo\nThree\nFour\nFive\n")

    expect(page.locator("#counted-comments")).to_contain_text("5 comments =")


def test_runs_are_priced_together_before_they_are_bought(visit):
    visitor = visit()
    visitor.sign_in("customer")
    page = open_form(visitor, "instagram followers")
    page.fill("#field-link", "@in-runs")
    page.fill("#field-quantity", "100")
    page.locator(".spread > summary").press("Enter")

    page.fill("#field-runs", "3")
    page.fill("#field-interval", "60")

    expect(page.locator("#price")).to_contain_text("3 runs of 100, one every 60 min: 300 in all.")


def refused(visitor: Visitor, status: int) -> None:
    """The page came with this status, of which Chromium complains, and of nothing else."""
    assert [str(status) in complaint for complaint in visitor.complaints] == [True]
    visitor.complaints.clear()


def test_problems_are_told_together_and_lead_to_their_fields(visit):
    visitor = visit()
    visitor.sign_in("customer")
    page = open_form(visitor, "instagram followers")
    page.fill("#field-quantity", "100")
    expect(page.locator("[name=agreed]")).to_be_attached()
    page.click("#place")

    summary = page.locator("[role=alert]:has(.wrong)")
    expect(summary).to_be_focused()
    refused(visitor, 422)
    summary.get_by_role("link", name="Link").press("Enter")

    expect(page.locator("#field-link")).to_be_focused()


def test_the_same_again_is_asked_about_once(visit):
    visitor = visit()
    visitor.sign_in("customer")
    wanted = {"search": "instagram followers", "link": "@twin", "quantity": "100"}
    first = order(visitor.page, **wanted)
    page = visitor.goto("/order/")
    open_form(visitor, wanted["search"])
    page.fill("#field-link", wanted["link"])
    page.fill("#field-quantity", wanted["quantity"])
    expect(page.locator("[name=agreed]")).to_be_attached()
    page.click("#place")

    expect(page.locator(".note[role=alert]")).to_contain_text(f"order {first}")
    refused(visitor, 409)
    page.click("button[name=again]")
    page.wait_for_url(re.compile(r"/orders/\d+/"))

    assert int(page.url.rstrip("/").rsplit("/", 1)[1]) > first


@pytest.mark.parametrize("javascript", [True, False])
def test_many_orders_are_checked_confirmed_and_followed(javascript, visit):
    visitor = visit(java_script_enabled=javascript)
    visitor.sign_in("customer")
    page = visitor.goto("/orders/many/")
    lines = [f"1 | @many{javascript}{number} | 100" for number in range(30)]
    page.fill("#mass-text", "\n".join([*lines, "nonsense"]))
    page.click("button[name=check]")
    expect(page.locator("main")).to_contain_text("30 lines can be ordered. 1 line needs a change.")

    page.click("#place")

    page.wait_for_url(re.compile(r"/orders/many/.+"))
    if javascript:
        expect(page.locator("#mass.is-completed")).to_be_visible(timeout=DELIVERY_MS)
    else:
        until = time.monotonic() + DELIVERY_MS / 1000
        while not page.locator("#mass.is-completed").count() and time.monotonic() < until:
            page.reload()
    expect(page.locator("#mass-words")).to_have_text("30 of 30 lines")
    expect(page.locator("#mass .list__title")).to_have_count(30)


def test_admin_shows_providers_orders_and_money(store, visit):
    store.panel(
        action="add", service="1", link="https://www.instagram.com/staff-sees", quantity="100"
    )
    visitor = visit()
    visitor.sign_in("staff")

    for path, shown in (
        ("/admin/", "Orders"),
        ("/admin/orders/order/", "customer@example.com"),
        ("/admin/orders/order/?q=staff-sees", "1 order"),
        ("/admin/catalog/provider/", "USD"),
        ("/admin/catalog/service/", "Instagram"),
        ("/admin/accounts/wallet/", "customer@example.com"),
        ("/admin/accounts/journalentry/", "order:"),
    ):
        page = visitor.goto(path)
        expect(page.locator("main, #main, #content, body").first).to_contain_text(shown)
