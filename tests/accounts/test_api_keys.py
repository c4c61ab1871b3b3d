"""API keys are shown once, recognised by a keyed digest, and note their use sparingly."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core.exceptions import ValidationError

from accounts import api_keys
from accounts.models import ApiKey, User

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


@pytest.fixture
def customer(db):
    return User.objects.create_user("customer@example.com")


@pytest.fixture
def issued(customer):
    return api_keys.issue(customer, name="My panel", currency="XAF")


def test_issue_returns_a_text_that_is_not_stored(customer):
    api_key, text = api_keys.issue(customer, name="  My panel ", currency="TRY")

    assert re.fullmatch(r"sk_[0-9A-Za-z]{40}", text)
    api_key.refresh_from_db()
    assert (api_key.name, api_key.currency, api_key.prefix) == ("My panel", "TRY", text[:11])
    row = ApiKey.objects.values().get()
    assert [name for name, value in row.items() if text in str(value)] == []


@pytest.mark.parametrize(
    ("name", "currency"), [("", "XAF"), (" ", "XAF"), ("x" * 61, "XAF"), ("x", "EUR"), ("x", "")]
)
def test_issue_refuses_a_bad_name_or_currency(customer, name, currency):
    with pytest.raises(ValidationError):
        api_keys.issue(customer, name=name, currency=currency)

    assert ApiKey.objects.count() == 0


def test_digest_depends_on_the_pepper(issued, settings):
    _, text = issued
    settings.API_KEY_PEPPER = "another"

    with pytest.raises(api_keys.InvalidApiKey):
        api_keys.authenticate(text, address="10.0.0.1")


def test_authenticate_finds_the_key_and_its_customer_in_one_query(
    issued, customer, django_assert_num_queries
):
    api_key, text = issued
    api_keys.authenticate(text, address="10.0.0.1")

    with django_assert_num_queries(1):
        found = api_keys.authenticate(text, address="10.0.0.1")
        assert found.user.email == customer.email

    assert found == api_key


@pytest.mark.parametrize("text", ["", "sk_", "sk_" + "a" * 40, "\x00", "\ud800", "é" * 100_000])
def test_authenticate_refuses_unknown_texts(issued, text):
    with pytest.raises(api_keys.InvalidApiKey):
        api_keys.authenticate(text, address="10.0.0.1")


def test_authenticate_refuses_a_revoked_key(issued):
    api_key, text = issued
    with time_machine.travel(NOON, tick=False):
        api_keys.revoke(api_key)
    with time_machine.travel(NOON + timedelta(days=1), tick=False):
        api_keys.revoke(api_key)

    with pytest.raises(api_keys.InvalidApiKey):
        api_keys.authenticate(text, address="10.0.0.1")
    api_key.refresh_from_db()
    assert api_key.revoked_at == NOON


def test_authenticate_refuses_a_suspended_customer_and_notes_nothing(issued, customer):
    api_key, text = issued
    User.objects.filter(pk=customer.pk).update(is_active=False)

    with pytest.raises(api_keys.AccountSuspended) as caught:
        api_keys.authenticate(text, address="10.0.0.1")

    assert caught.value.api_key == api_key
    api_key.refresh_from_db()
    assert api_key.last_used_at is None


def test_last_use_is_noted_at_most_once_a_minute(issued, django_assert_num_queries):
    api_key, text = issued
    with time_machine.travel(NOON, tick=False), django_assert_num_queries(2):
        api_keys.authenticate(text, address="10.0.0.1")
    with (
        time_machine.travel(NOON + timedelta(seconds=59), tick=False),
        django_assert_num_queries(1),
    ):
        api_keys.authenticate(text, address="10.0.0.2")

    api_key.refresh_from_db()
    assert (api_key.last_used_at, api_key.last_used_ip) == (NOON, "10.0.0.1")

    later = NOON + timedelta(seconds=60)
    with time_machine.travel(later, tick=False):
        returned = api_keys.authenticate(text, address="2001:db8::1")

    api_key.refresh_from_db()
    assert (api_key.last_used_at, api_key.last_used_ip) == (later, "2001:db8::1")
    assert (returned.last_used_at, returned.last_used_ip) == (later, "2001:db8::1")


@pytest.mark.parametrize(
    ("address", "stored"),
    [("", None), ("unix:", None), ("fe80::1%eth0", "fe80::1"), ("10.0.0.1", "10.0.0.1")],
)
def test_last_use_keeps_only_a_real_address(issued, address, stored):
    api_key, text = issued

    api_keys.authenticate(text, address=address)

    api_key.refresh_from_db()
    assert (api_key.last_used_at is not None, api_key.last_used_ip) == (True, stored)


def test_keep_stores_a_text_that_the_caller_made(customer):
    text = "sk_demo" + "1" * 36

    api_key = api_keys.keep(customer, text=text, name="Demo", currency="USD")

    assert api_keys.authenticate(text, address="") == api_key
    assert api_key.prefix == "sk_demo1111"
