"""People are known by their e-mail address, in one spelling."""

from __future__ import annotations

import pytest
from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.urls import reverse

from accounts.models import User
from tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db


def test_address_is_kept_in_lower_case():
    created = User.objects.create_user(" Some.One@Example.COM ")
    saved = User(email="Other@Example.com")
    saved.save()

    assert (created.email, saved.email) == ("some.one@example.com", "other@example.com")


def test_same_address_in_another_spelling_is_taken():
    UserFactory(email="some.one@example.com")

    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create_user("SOME.ONE@example.com")
    with pytest.raises(ValidationError) as refusal:
        User(email="Some.One@Example.com", password="x").full_clean()

    assert list(refusal.value.message_dict) == ["email"]


def test_database_refuses_capital_letters_in_an_address():
    UserFactory()

    with pytest.raises(IntegrityError, match="user_email_lower_case"), transaction.atomic():
        User.objects.update(email="Some.One@example.com")


@pytest.mark.parametrize(
    "typed", ["some.one@example.com", "SOME.ONE@EXAMPLE.COM", " Some.One@example.com"]
)
def test_sign_in_ignores_the_case_of_the_address(rf, typed):
    user = UserFactory(email="some.one@example.com")

    assert authenticate(rf.post("/"), username=typed, password=PASSWORD) == user


def test_sign_in_page_ignores_the_case_of_the_address(client):
    user = UserFactory(email="some.one@example.com")

    client.post(reverse("account_login"), {"login": "SOME.ONE@Example.com", "password": PASSWORD})

    assert client.session["_auth_user_id"] == str(user.pk)


def test_suspended_customer_cannot_sign_in(rf):
    user = UserFactory(is_active=False)

    assert authenticate(rf.post("/"), username=user.email, password=PASSWORD) is None


def test_user_needs_an_address():
    with pytest.raises(ValueError, match="e-mail"):
        User.objects.create_user("")


def test_unknown_time_zone_is_refused():
    with pytest.raises(ValidationError) as refusal:
        User(email="a@example.com", password="x", time_zone="Mars/Olympus").full_clean()

    assert list(refusal.value.message_dict) == ["time_zone"]


def test_names_fall_back_to_the_address():
    user = User(email="some.one@example.com")

    assert (user.get_full_name(), user.get_short_name()) == ("some.one@example.com", "some.one")
