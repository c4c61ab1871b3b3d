"""The developers' pages in a browser: the form that asks the APIs, and the drawn reference."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def test_form_asks_both_dialects_and_refuses_real_keys(visit, store):
    page = visit().goto("/developers/try/")
    answer = page.locator("#try-result")
    send = page.locator("#try").get_by_role("button")

    # Past the browser's own check of the field, as a program of the page could be.
    page.evaluate("document.getElementById('try').noValidate = true")
    page.fill("#try-key", store.key)
    send.click()
    expect(answer.locator("[data-problem]")).to_contain_text("Only sandbox keys")
    expect(answer.locator("[data-answered]")).to_be_hidden()

    page.fill("#try-key", re.search(r"sk_test_\w+", store.banner)[0])
    page.select_option("#try-action", "add")
    send.click()
    expect(answer.locator("[data-body]")).to_contain_text(re.compile(r'"order": \d+'))
    assert store.key not in answer.inner_text()
    page.get_by_text("REST API").last.click()
    page.select_option("#try-action", "status")
    send.click()
    expect(answer.locator("[data-status]")).to_have_text("HTTP 200")
    expect(answer.locator("[data-headers]")).to_contain_text("x-ratelimit-remaining")
    expect(answer.locator("[data-body]")).to_contain_text('"external_order_id"')


def test_form_works_without_javascript(visit, store):
    page = visit(java_script_enabled=False).goto("/developers/try/")
    page.fill("#try-key", re.search(r"sk_test_\w+", store.banner)[0])
    page.locator("#try").get_by_role("button").click()

    assert page.url == f"{store.site}/api/v2"
    expect(page.locator("body")).to_contain_text('"currency":"USD"')


def test_reference_is_drawn_under_the_strict_policy(visit):
    """The visitor's console stays empty: nothing was refused."""
    page = visit().goto("/developers/reference/")

    expect(page.locator("#operations-panel-panel_post")).to_be_visible()
    expect(page.locator("#operations-orders-create_order")).to_be_visible()
