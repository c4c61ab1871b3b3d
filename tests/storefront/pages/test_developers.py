"""The pages for developers tell each reader their own facts, and nothing that the APIs do not do.
Their programs are run by tests/storefront/test_examples.py."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from django.urls import reverse

from accounts import api_keys
from catalog.providers.play import BY_QUANTITY, Magic
from orders.statuses import PUBLIC_STATUSES
from storefront.api.openapi.document import document
from storefront.api.panel.actions import ACTIONS
from storefront.api.panel.texts import BY_CODE, STATUS_WORDS
from storefront.api.urls import urlpatterns
from storefront.pages import developer_tables as tables
from storefront.pages.samples import LANGUAGES, PLACEHOLDER_KEY


def shown(client: Any, name: str, **query: str) -> str:
    return client.get(reverse(name), query).content.decode()


def test_visitors_see_a_placeholder_and_a_real_service(client, service):
    html = shown(client, "developers_panel", code="python")

    assert f"KEY = &quot;{PLACEHOLDER_KEY}&quot;" in html
    assert f"service={service.pk}," in html
    assert "http://testserver/api/v2" in html
    assert "SERVICE_" not in html


def test_customers_see_the_beginning_of_their_sandbox_key(signed_in, customer):
    key, text = api_keys.issue(customer, name="Real", currency="USD")
    real = shown(signed_in, "developers")
    test_key, test_text = api_keys.issue_sandbox(customer, name="Test", currency="USD")
    api_keys.issue(customer, name="Newer", currency="USD")
    sandbox = shown(signed_in, "developers_rest", code="php")

    assert f'X-API-Key: {key.prefix}…"' in real
    assert f"const KEY = &#x27;{test_key.prefix}…&#x27;;" in sandbox
    assert text not in real
    assert test_text not in sandbox


def test_customers_without_a_working_key_see_a_placeholder(signed_in, customer):
    key, _text = api_keys.issue(customer, name="Real", currency="USD")
    api_keys.revoke(key)

    assert f"X-API-Key: {PLACEHOLDER_KEY}" in shown(signed_in, "developers")


def test_customers_see_their_own_limits(signed_in, customer):
    customer.api_per_minute = 7_777
    customer.save()

    assert "7,777" in shown(signed_in, "developers")


@pytest.mark.parametrize("language", LANGUAGES)
def test_language_of_programs_is_in_the_address(client, db, language):
    html = shown(client, "developers_panel", code=language)

    assert set(re.findall(r'data-language="(\w+)"', html)) == {language}
    assert f'href="?code={language}#panel-order" aria-current="true"' in html


def test_unknown_language_of_programs_is_the_first(client, db):
    assert 'data-language="curl"' in shown(client, "developers_rest", code="../../settings")


def test_form_works_without_javascript(client, service):
    html = shown(client, "developers_try")

    assert '<form class="card form try" id="try" method="post" action="/api/v2"' in html
    assert {"key", "action", "service", "link", "quantity", "orders"} <= set(
        re.findall(r'\sname="(\w+)"', html)
    )
    assert 'pattern="sk_test_[0-9A-Za-z]+"' in html


def test_tables_are_what_the_apis_do():
    published = json.loads(document())
    told = {
        code
        for path, item in published["paths"].items()
        if path.startswith("/api/v1/")
        for operation in item.values()
        for answer in operation["responses"].values()
        for code in re.findall(r"`([a-z]+_[a-z_]+)`", answer["description"])
    }
    routes = {
        re.sub(r"<str:\w+>", "{id}", pattern.pattern._route).removeprefix("api/v1")
        for pattern in urlpatterns
        if getattr(pattern.pattern, "_route", "").startswith("api/v1")
        and not pattern.pattern._route.endswith("/")
    }

    assert {refusal.code for refusal in tables.REFUSALS} == told
    assert {
        refusal.code: refusal.panel for refusal in tables.REFUSALS if refusal.panel
    }.items() <= ({**BY_CODE, "bad_request": "Invalid request"}).items()
    assert {endpoint.path for endpoint in tables.ENDPOINTS} == routes
    assert {(row.name, row.permission) for row in tables.ACTIONS} == {
        (name, action.permission) for name, action in ACTIONS.items()
    }
    assert [(row.status, row.panel) for row in tables.STATUSES] == [
        (status, STATUS_WORDS[status]) for status in PUBLIC_STATUSES
    ]
    assert {row.word: row.digits for row in tables.MAGIC if row.word} == {
        magic.value: digits for digits, magic in BY_QUANTITY.items()
    }
    assert {row.word for row in tables.MAGIC if row.word} == set(Magic)


def test_message_is_one_that_is_sent():
    published = json.loads(document())
    operation = published["webhooks"]["order.updated"]["post"]
    shape = operation["requestBody"]["content"]["application/json"]["schema"]

    jsonschema.validate(json.loads(tables.MESSAGE), shape | {"components": published["components"]})
