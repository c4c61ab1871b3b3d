"""Wallet, settings, language, and the pages of sign-up and sign-in."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.urls import reverse
from django.utils import translation

from accounts import ledger
from accounts.models import User
from storefront.pages.wallet import PER_PAGE
from tests.factories import PASSWORD, OrderFactory, UserFactory, WalletFactory, fund

WALLET, PROFILE = reverse("wallet"), reverse("profile")


def said(response) -> str:
    text = re.sub(r"<[^>]*>", " ", response.content.decode())
    return " ".join(text.replace("\u00a0", " ").split())


# --- wallet -----------------------------------------------------------------------------------


def test_wallet_shows_every_currency_even_unopened_ones(signed_in, wallet):
    response = signed_in.get(WALLET)

    assert [(p.currency, p.balance) for p in response.context["purses"]] == [
        ("XAF", Decimal(0)),
        ("TRY", Decimal(0)),
        ("USD", Decimal(10)),
    ]


def test_wallet_lists_movements_with_running_balance(signed_in, wallet, service):
    order = OrderFactory(wallet=wallet, service=service, charge=Decimal("1.30"))
    ledger.refund(wallet, Decimal("0.325"), key="r1", subject=order.subject)

    words = said(signed_in.get(WALLET))

    assert f"Refund of order {order.pk}" in words
    assert "+ 0.325 USD 9.025 USD" in words
    assert "−1.30 USD 8.70 USD" in words
    assert "Added by support" in words


def test_wallet_of_another_currency_is_chosen_by_address(signed_in, customer):
    WalletFactory(user=customer, currency="XAF", funds=5000)

    response = signed_in.get(WALLET, {"currency": "XAF"})

    assert [posting.currency for posting in response.context["page"]] == ["XAF"]


def test_wallet_hides_what_staff_noted(signed_in, wallet):
    ledger.adjust(wallet, Decimal(1), key="a2", reason="Acme gave it back", actor=None)

    assert "Acme" not in signed_in.get(WALLET).content.decode()


def test_wallet_without_movements_says_so(signed_in):
    assert "Nothing has moved yet" in said(signed_in.get(WALLET))


def test_wallet_pages(signed_in, wallet):
    for _ in range(PER_PAGE):
        fund(wallet, 1)

    assert len(signed_in.get(WALLET, {"page": 2}).context["page"]) == 1
    assert signed_in.get(WALLET, {"page": 3}).status_code == 404


@pytest.mark.parametrize("movements", [1, 3])
def test_wallet_costs_the_same_queries_however_many(
    signed_in, wallet, movements, django_assert_num_queries
):
    for _ in range(movements - 1):
        fund(wallet, 1)

    # session, user; wallet; balances; count and rows; the header's purse
    with django_assert_num_queries(7):
        signed_in.get(WALLET)


# --- settings and language -----------------------------------------------------------------


def test_settings_are_saved(signed_in, customer):
    signed_in.post(
        PROFILE,
        {"name": "Aïcha", "language": "fr", "currency": "XAF", "time_zone": "Africa/Douala"},
    )

    customer.refresh_from_db()
    assert (customer.name, customer.language, customer.currency, customer.time_zone) == (
        "Aïcha",
        "fr",
        "XAF",
        "Africa/Douala",
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"time_zone": "Mars/Base"},
        {"currency": "EUR"},
        {"language": "xx"},
        {"name": "x" * 101},
        {"name": "\x00"},
    ],
)
def test_bad_settings_change_nothing(signed_in, customer, wrong):
    good = {"name": "A", "language": "", "currency": "USD", "time_zone": "UTC"}

    response = signed_in.post(PROFILE, {**good, **wrong})

    assert response.status_code == 200
    assert 'class="errorlist"' in response.content.decode()
    assert User.objects.get(pk=customer.pk).name == ""


def test_language_is_kept_with_the_account(signed_in, customer):
    response = signed_in.post(reverse("set_language"), {"language": "tr", "next": WALLET})

    customer.refresh_from_db()
    assert response.headers["Location"] == WALLET
    assert customer.language == "tr"
    assert '<html lang="tr">' in signed_in.get(WALLET).content.decode()


def test_language_of_a_visitor_is_kept_in_the_browser(client, db):
    client.post(reverse("set_language"), {"language": "fr"})

    assert '<html lang="fr">' in client.get("/").content.decode()


@pytest.mark.parametrize("language", ["", "xx", "\x00", "fr\n", "x" * 5000])
def test_language_that_we_do_not_speak_changes_nothing(signed_in, customer, language):
    response = signed_in.post(reverse("set_language"), {"language": language})

    customer.refresh_from_db()
    assert response.status_code == 302
    assert customer.language == "en"


def test_language_switch_leads_nowhere_else(client, db):
    response = client.post(
        reverse("set_language"), {"language": "fr", "next": "https://evil.example/"}
    )

    assert response.headers["Location"] == "/"


def test_times_are_told_in_the_customers_zone(signed_in, customer, wallet, service):
    customer.time_zone = "Pacific/Kiritimati"
    customer.save()
    order = OrderFactory(wallet=wallet, service=service)
    here = order.created_at.astimezone(
        __import__("zoneinfo").ZoneInfo("Pacific/Kiritimati")
    ).strftime("%H:%M")

    assert here in signed_in.get(reverse("order", args=[order.pk])).content.decode()


# --- sign-up and sign-in -------------------------------------------------------------------


def test_sign_up_keeps_language_and_currency(client, db):
    client.post(reverse("set_language"), {"language": "fr"})

    client.post(
        reverse("account_signup"),
        {"email": "New@Example.com", "password1": PASSWORD, "currency": "XAF"},
    )

    user = User.objects.get()
    assert (user.email, user.language, user.currency) == ("new@example.com", "fr", "XAF")


def test_sign_up_suggests_the_likely_currency(client, db):
    response = client.get(reverse("account_signup"), headers={"Accept-Language": "tr"})

    assert '<option value="TRY" selected>' in response.content.decode()


def test_sign_in_leads_to_the_order_form(client, db):
    user = UserFactory()

    response = client.post(reverse("account_login"), {"login": user.email, "password": PASSWORD})

    assert response.headers["Location"] == reverse("new_order")


@pytest.mark.parametrize("target", ["http://[", "https://evil.example/", "//evil.example"])
def test_sign_in_leads_nowhere_else(client, db, target):
    user = UserFactory()

    response = client.post(
        reverse("account_login"), {"login": user.email, "password": PASSWORD, "next": target}
    )

    assert response.headers["Location"] == reverse("new_order")


def test_second_factor_secrets_are_stored_encrypted(signed_in, customer):
    EmailAddress.objects.create(user=customer, email=customer.email, verified=True, primary=True)
    secret = generate_totp_secret()

    TOTP.activate(customer, secret)

    stored = Authenticator.objects.get(user=customer).data["secret"]
    assert secret not in stored
    assert stored.startswith("gAAAA")


def test_recovery_codes_are_shown_in_their_text_area(client, db):
    user = UserFactory()
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    TOTP.activate(user, generate_totp_secret())
    client.force_login(user)
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    client.post(reverse("mfa_generate_recovery_codes"))

    response = client.get(reverse("mfa_view_recovery_codes"))

    shown = re.search(r"<textarea[^>]*>\s*([^<]*)</textarea>", response.content.decode())
    assert shown is not None
    assert len(shown[1].split()) == 10


def test_own_language_wins_over_the_browsers(signed_in, customer):
    User.objects.filter(pk=customer.pk).update(language="tr")

    response = signed_in.get(PROFILE, headers={"Accept-Language": "fr"})

    assert '<html lang="tr">' in response.content.decode()
    translation.deactivate()


def test_mail_after_sign_up_is_signed_by_the_shop(client, db, settings, mailoutbox):
    settings.STORE_NAME = "Corner Shop"

    client.post(
        reverse("account_signup"),
        {"email": "new@example.com", "password1": "a-long-enough-word-9", "currency": "XAF"},
    )

    (mail,) = mailoutbox
    assert mail.to == ["new@example.com"]
    assert "Thank you for using Corner Shop!" in mail.body
