"""Secrets are stored encrypted, read with any listed key, and opened only when used."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from django.db import connection

from accounts.encryption import SecretUnreadable
from catalog.models import Provider
from tests.factories import ProviderFactory

pytestmark = pytest.mark.django_db

SECRET = "upstream-key-é😀"


def stored():
    with connection.cursor() as cursor:
        cursor.execute("SELECT api_key FROM catalog_provider")
        return cursor.fetchone()[0]


@pytest.fixture
def keys(settings):
    """Two keys, the first of which is in use."""
    first, second = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.ENCRYPTION_KEYS = [first]
    return first, second


def test_secret_is_not_stored_in_plain_text(keys):
    ProviderFactory(api_key=SECRET)

    assert SECRET not in stored()
    assert Provider.objects.get().api_key == SECRET


def test_same_secret_is_stored_differently_each_time(keys):
    provider = ProviderFactory(api_key=SECRET)
    before = stored()

    provider.save()

    assert stored() != before


def test_rotation_reads_old_secrets_and_writes_with_the_new_key(keys, settings):
    first, second = keys
    provider = ProviderFactory(api_key=SECRET)

    settings.ENCRYPTION_KEYS = [second, first]
    provider = Provider.objects.get()
    assert provider.api_key == SECRET
    provider.save()

    settings.ENCRYPTION_KEYS = [second]
    assert Provider.objects.get().api_key == SECRET


def test_secret_of_a_lost_key_is_unreadable_and_does_not_leak(keys, settings):
    ProviderFactory(api_key=SECRET)
    settings.ENCRYPTION_KEYS = [keys[1]]

    with pytest.raises(SecretUnreadable) as refusal:
        _ = Provider.objects.get().api_key

    assert str(refusal.value) == "catalog.Provider.api_key"
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__


def test_provider_with_an_unreadable_secret_can_be_listed_and_given_a_new_one(keys, settings):
    ProviderFactory(name="Ours", api_key=SECRET)
    settings.ENCRYPTION_KEYS = [keys[1]]

    provider = Provider.objects.get()
    assert str(provider) == "Ours"
    provider.api_key = "new"
    provider.save()

    assert Provider.objects.get().api_key == "new"


def test_secret_that_is_not_ours_is_unreadable(keys):
    ProviderFactory()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE catalog_provider SET api_key = 'written by hand'")

    with pytest.raises(SecretUnreadable):
        _ = Provider.objects.get().api_key


def test_empty_secret_stays_empty(keys):
    ProviderFactory(api_key="")

    assert stored() == ""
    assert Provider.objects.get().api_key == ""


def test_deferred_secret_is_fetched_and_opened(keys):
    ProviderFactory(api_key=SECRET)

    provider = Provider.objects.defer("api_key").get()

    assert provider.api_key == SECRET
