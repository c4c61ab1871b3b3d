"""What holds for every page: nothing inline, strict policy, no page without its words."""

from __future__ import annotations

import re

import pytest
from allauth.account.models import EmailAddress
from django.test import Client
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from accounts import api_keys
from accounts.models import ApiRequest
from storefront.middleware import STRICT_CSP
from storefront.pages.failures import server_error
from tests.factories import PASSWORD, OrderFactory, UserFactory

PUBLIC = [
    "home",
    "catalogue",
    "account_login",
    "account_signup",
    "account_reset_password",
    "developers",
    "developers_panel",
    "developers_rest",
    "developers_webhooks",
    "developers_try",
    "developers_reference",
]
PRIVATE = [
    "new_order",
    "mass_order",
    "orders",
    "wallet",
    "api_keys",
    "new_api_key",
    "webhooks",
    "new_webhook",
    "profile",
    "account_email",
    "account_change_password",
    "mfa_index",
    "mfa_activate_totp",
    "account_logout",
]


def inline_parts(html: str) -> list[str]:
    """Scripts, styles and handlers that the policy would refuse."""
    scripts = [
        tag
        for tag in re.findall(r"<script\b[^>]*>", html)
        if "src=" not in tag and 'type="application/json"' not in tag
    ]
    return [
        *scripts,
        *re.findall(r"<style\b", html),
        *re.findall(r"<[^>]*\sstyle\s*=[^>]*>", html),
        *re.findall(r"<[^>]*\son[a-z]+\s*=[^>]*>", html),
        *re.findall(r"<[^>]*\bhx-on[^>]*>", html),
    ]


def assert_sound(response, status: int = 200) -> None:
    html = response.content.decode()
    assert response.status_code == status
    assert response.headers["Content-Security-Policy"] == STRICT_CSP
    assert inline_parts(html) == []
    assert re.findall(r'(?:src|href|action)="(?:https?:)?//', html) == []
    assert len(re.findall(r"<h1\b", html)) == 1
    assert re.search(r"<title>\s*\S", html)
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert sorted(ids) == sorted(set(ids))


@pytest.mark.parametrize("name", PUBLIC)
def test_public_pages_are_sound(client, service, name):
    assert_sound(client.get(reverse(name)))


@pytest.mark.parametrize("name", PRIVATE)
def test_customers_pages_are_sound(signed_in, customer, wallet, service, name):
    EmailAddress.objects.create(user=customer, email=customer.email, verified=True, primary=True)
    OrderFactory(wallet=wallet, service=service, sent=True)
    api_keys.issue(customer, name="Mine", currency="USD")
    signed_in.post(reverse("account_reauthenticate"), {"password": PASSWORD})

    assert_sound(signed_in.get(reverse(name)))


@pytest.mark.parametrize("name", PRIVATE)
def test_customers_pages_ask_visitors_to_sign_in(client, db, name):
    response = client.get(reverse(name))

    # Signing out while signed out leads home.
    target = reverse("home" if name == "account_logout" else "account_login")
    assert response.headers["Location"].partition("?")[0] == target


def test_pages_of_one_thing_are_sound(signed_in, customer, wallet, service):
    order = OrderFactory(wallet=wallet, service=service)
    key, _secret = api_keys.issue(customer, name="Mine", currency="USD")

    assert_sound(signed_in.get(reverse("service", args=[service.pk])))
    assert_sound(signed_in.get(reverse("order", args=[order.pk])))
    for action in ("order_refill", "order_cancel"):
        assert_sound(signed_in.get(reverse(action, args=[order.pk])))
    assert_sound(signed_in.get(reverse("orders_refill"), {"order": order.pk}))
    entry = ApiRequest.objects.create(
        api_key=key, dialect="rest", action="x", status=200, result="ok", milliseconds=1
    )
    of_key = ["api_key", "change_api_key", "regenerate_api_key", "revoke_api_key"]
    for name in (*of_key, "api_key_requests"):
        assert_sound(signed_in.get(reverse(name, args=[key.pk])))
    assert_sound(signed_in.get(reverse("api_key_request", args=[key.pk, entry.pk])))
    assert_sound(signed_in.post(reverse("regenerate_api_key", args=[key.pk]), {"grace": "0"}))
    assert_sound(signed_in.get(reverse("new_order"), {"service": service.pk}))


@pytest.mark.parametrize("language", ["fr", "tr", "en"])
def test_pages_exist_in_every_language(client, service, language):
    response = client.get("/", headers={"Accept-Language": language})

    assert f'<html lang="{language}">' in response.content.decode()


def test_visitors_hostile_text_is_shown_as_text(signed_in, wallet, service):
    hostile = '"><script>alert(1)</script>'

    for page in ("orders", "catalogue"):
        html = signed_in.get(reverse(page), {"q": hostile}).content.decode()
        assert hostile not in html
        assert "&lt;script&gt;" in html


def test_providers_names_cannot_carry_markup(client, service):
    service.provider_name = service.provider_description = "<img src=x onerror=alert(1)>"
    service.save()

    html = client.get(reverse("service", args=[service.pk]), {"currency": "USD"}).content.decode()

    assert inline_parts(html) == []


# --- what went wrong --------------------------------------------------------------------------


def test_unknown_addresses_are_told_so(client, db):
    assert_sound(client.get("/nowhere/"), status=404)


@pytest.mark.parametrize("path", ["/services/%00", "/?q=%00", "/orders/?status=%00"])
def test_null_bytes_are_refused(client, db, path):
    assert_sound(client.get(path), status=400)


def test_null_bytes_in_cookies_are_refused(client, db):
    client.cookies["sessionid"] = "x"
    response = client.get("/", headers={"Cookie": 'sessionid="' + "\\000" * 32 + '"'})

    assert response.status_code == 400


def test_unknown_hosts_are_refused_with_a_page(client, db):
    response = client.get("/", headers={"Host": "evil.example"})

    assert_sound(response, status=400)


def test_forms_without_their_token_are_refused_with_a_page(customer):
    client = Client(enforce_csrf_checks=True)
    client.force_login(customer)

    response = client.post(reverse("profile"), {"name": "x"})

    assert_sound(response, status=403)
    assert "This form is too old" in response.content.decode()


def test_failure_page_asks_nothing_of_the_request(rf):
    def broken() -> None:
        raise RuntimeError("the session's database is gone")

    request = rf.get("/")
    request.user = SimpleLazyObject(broken)

    assert server_error(request).status_code == 500


def test_failure_page_needs_no_database(client, monkeypatch):
    """No database fixture: a query here would fail the test."""
    from storefront.pages import home

    def broken(request: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(home, "chosen_currency", lambda *_: broken(None))
    client.raise_request_exception = False

    response = client.get("/")

    assert_sound(response, status=500)
    assert "secret detail" not in response.content.decode()


def test_suspended_customers_are_signed_out(signed_in, customer):
    customer.is_active = False
    customer.save()

    assert signed_in.get(reverse("wallet")).status_code == 302


def test_staff_see_the_door_to_the_administration(client, db):
    client.force_login(UserFactory(is_staff=True))
    staff = client.get(reverse("profile")).content.decode()
    client.force_login(UserFactory())
    others = client.get(reverse("profile")).content.decode()

    assert reverse("admin:index") in staff
    assert reverse("admin:index") not in others
