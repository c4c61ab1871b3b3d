"""API keys are shown once, recognised by a keyed digest, and note their use sparingly."""

from __future__ import annotations

import hmac
import re
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts import api_keys
from accounts.api_keys import AccountSuspended, InvalidApiKey, KeyTerms, NotPermitted
from accounts.clock import from_now
from accounts.models import ApiKey, Permission, User, every_permission

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

    with pytest.raises(InvalidApiKey):
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
    with pytest.raises(InvalidApiKey):
        api_keys.authenticate(text, address="10.0.0.1")


def test_authenticate_refuses_a_revoked_key(issued):
    api_key, text = issued
    with time_machine.travel(NOON, tick=False):
        api_keys.revoke(api_key)
    with time_machine.travel(NOON + timedelta(days=1), tick=False):
        api_keys.revoke(api_key)

    with pytest.raises(InvalidApiKey):
        api_keys.authenticate(text, address="10.0.0.1")
    api_key.refresh_from_db()
    assert api_key.revoked_at == NOON


def test_authenticate_refuses_a_suspended_customer_and_notes_nothing(issued, customer):
    api_key, text = issued
    User.objects.filter(pk=customer.pk).update(is_active=False)

    with pytest.raises(AccountSuspended) as caught:
        api_keys.authenticate(text, address="10.0.0.1")

    assert caught.value.api_key == api_key
    api_key.refresh_from_db()
    assert api_key.last_used_at is None


def test_last_use_is_noted_at_most_once_a_minute(issued, django_assert_num_queries):
    api_key, text = issued
    # From a new address it is asked too whether that one guesses.
    with time_machine.travel(NOON, tick=False), django_assert_num_queries(3):
        api_keys.authenticate(text, address="10.0.0.1")
    with (
        time_machine.travel(NOON + timedelta(seconds=59), tick=False),
        django_assert_num_queries(2),
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


# --- terms ---------------------------------------------------------------------------------------


def works(text: str, address: str = "10.0.0.1") -> bool:
    try:
        api_keys.authenticate(text, address=address)
    except InvalidApiKey:
        return False
    return True


def test_key_may_do_everything_for_ever_unless_told_otherwise(issued):
    api_key, _text = issued

    api_key.refresh_from_db()

    assert api_key.permissions == every_permission()
    assert (api_key.expires_at, api_key.networks, api_key.sandbox) == (None, [], False)


def test_terms_are_kept_in_one_spelling(issued):
    api_key, _text = issued
    until = timezone.now() + timedelta(days=1)

    api_keys.change(
        api_key,
        name=" Second ",
        terms=KeyTerms(
            permissions=["orders:write", "services:read"],
            expires_at=until,
            networks=["203.0.113.9/24", " 2001:DB8::1 ", "::ffff:203.0.113.7/120"],
        ),
    )

    api_key.refresh_from_db()
    assert (api_key.name, api_key.expires_at) == ("Second", until)
    assert api_key.permissions == ["services:read", "orders:write"]
    assert api_key.networks == ["203.0.113.0/24", "2001:db8::1/128"]


@pytest.mark.parametrize(
    ("terms", "name", "fields"),
    [
        (KeyTerms(permissions=()), "x", ["permissions"]),
        (KeyTerms(permissions=["orders:steal"]), "x", ["permissions"]),
        (KeyTerms(expires_at=NOON), "x", ["expires_at"]),
        (KeyTerms(networks=["10.0.0.0/33"]), "x", ["networks"]),
        (KeyTerms(networks=["10.0.0.1", "::ffff:10.0.0.1/95"]), "x", ["networks"]),
        (KeyTerms(networks=[f"10.0.0.{n}" for n in range(51)]), "x", ["networks"]),
        (KeyTerms(permissions=(), networks=["home"]), "", ["name", "networks", "permissions"]),
    ],
)
def test_terms_that_cannot_be_kept_change_nothing(issued, customer, terms, name, fields):
    api_key, _text = issued
    before = ApiKey.objects.values().get()

    with pytest.raises(ValidationError) as refused:
        api_keys.change(api_key, name=name, terms=terms)
    with pytest.raises(ValidationError):
        api_keys.issue(customer, name=name, currency="USD", terms=terms)

    assert sorted(refused.value.message_dict) == fields
    assert ApiKey.objects.values().get() == before


def test_expired_key_is_refused_and_can_still_be_renamed(issued):
    api_key, text = issued
    ApiKey.objects.update(expires_at=from_now(timedelta(seconds=30)))
    assert works(text)
    ApiKey.objects.update(expires_at=from_now(-timedelta(seconds=1)))
    api_key.refresh_from_db()

    assert not works(text)

    api_keys.change(api_key, name="Old", terms=KeyTerms(expires_at=api_key.expires_at))
    assert ApiKey.objects.get().name == "Old"


@pytest.mark.parametrize(
    ("address", "let_in"),
    [
        ("203.0.113.77", True),
        ("::ffff:203.0.113.77", True),
        ("2001:db8:1::7", True),
        ("203.0.114.1", False),
        ("2001:db8:2::7", False),
        ("", False),
        ("unix:", False),
    ],
)
def test_key_with_networks_works_from_there_only(issued, address, let_in):
    api_key, text = issued
    terms = KeyTerms(networks=["203.0.113.0/24", "2001:db8:1::/48"])
    api_keys.change(api_key, name="x", terms=terms)

    assert works(text, address) is let_in


def test_key_does_what_it_is_permitted(issued):
    api_key, _text = issued
    api_keys.change(api_key, name="x", terms=KeyTerms(permissions=["services:read"]))

    api_keys.require(api_key, Permission.SERVICES_READ)
    with pytest.raises(NotPermitted) as refused:
        api_keys.require(api_key, Permission.ORDERS_WRITE)

    assert refused.value.permission == "orders:write"


# --- another text --------------------------------------------------------------------------------


def test_regenerated_key_lets_the_old_text_work_for_the_grace(issued):
    api_key, old = issued

    new = api_keys.regenerate(api_key, grace=timedelta(hours=1))

    assert (works(old), works(new)) == (True, True)
    assert (api_key.prefix, ApiKey.objects.get().prefix) == (new[:11], new[:11])
    ApiKey.objects.update(previous_until=from_now(-timedelta(seconds=1)))
    assert (works(old), works(new)) == (False, True)


def test_regenerating_without_grace_or_twice_ends_the_older_texts(issued):
    api_key, first = issued
    second = api_keys.regenerate(api_key, grace=timedelta())
    assert (works(first), works(second)) == (False, True)

    third = api_keys.regenerate(api_key, grace=timedelta(days=7))
    fourth = api_keys.regenerate(api_key, grace=timedelta(days=7))

    assert [works(text) for text in (first, second, third, fourth)] == [False, False, True, True]


def test_revoking_ends_the_replaced_text_too(issued):
    api_key, old = issued
    new = api_keys.regenerate(api_key, grace=timedelta(days=7))

    api_keys.revoke(api_key)

    assert (works(old), works(new)) == (False, False)


@pytest.mark.parametrize("grace", [timedelta(days=7, seconds=1), timedelta(seconds=-1)])
def test_regenerating_refuses_a_grace_out_of_bounds(issued, grace):
    api_key, text = issued

    with pytest.raises(ValidationError) as refused:
        api_keys.regenerate(api_key, grace=grace)

    assert (list(refused.value.message_dict), works(text)) == (["grace"], True)


def test_revoked_key_is_not_regenerated(issued):
    api_key, _text = issued
    api_keys.revoke(api_key)

    with pytest.raises(ValidationError):
        api_keys.regenerate(api_key, grace=timedelta())


def test_last_word_about_a_digest_takes_the_same_time(issued, monkeypatch):
    _api_key, text = issued
    compared = []

    def compare(one, other):
        compared.append((one, other))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)

    assert not works(text)
    digest = api_keys.digest_of(text)
    assert compared == [(digest, digest), ("", digest)]


# --- sandbox -------------------------------------------------------------------------------------


def test_sandbox_key_acts_for_the_twin_and_stops_with_its_owner(customer):
    api_key, text = api_keys.issue_sandbox(customer, name="Trial", currency="USD")

    assert re.fullmatch(r"sk_test_[0-9A-Za-z]{40}", text)
    found = api_keys.authenticate(text, address="10.0.0.1")
    assert (found.user, found.customer, found.prefix) == (
        customer,
        User.objects.get(sandbox_of=customer),
        text[:16],
    )
    again = api_keys.regenerate(api_key, grace=timedelta())
    assert again.startswith("sk_test_")

    User.objects.filter(pk=customer.pk).update(is_active=False)
    with pytest.raises(AccountSuspended):
        api_keys.authenticate(again, address="10.0.0.1")
