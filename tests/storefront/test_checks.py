"""Settings that would lose money or secrets are refused, and only those."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cryptography.fernet import Fernet
from django.conf import settings as product
from django.core import checks

from storefront import checks as ours
from tests.production import environment

SOUND_KEY = Fernet.generate_key().decode()


def cache(backend):
    return {"default": {"BACKEND": f"django.core.cache.backends.{backend}"}}


def found(check):
    return {message.id.removeprefix("storefront.") for message in check(None)}


@pytest.fixture
def production(settings):
    """A sound production configuration, to spoil in one place."""
    settings.PRODUCTION, settings.DEBUG = True, False
    settings.SECRET_KEY, settings.API_KEY_PEPPER = "s" * 60, "p" * 60
    settings.ENCRYPTION_KEYS = [SOUND_KEY]
    settings.ALLOWED_HOSTS = ["shop.example.com"]
    settings.CACHES = cache("db.DatabaseCache")
    settings.WEBHOOK_ALLOW_PRIVATE = False
    return settings


def test_production_with_its_own_secrets_is_accepted(production):
    assert [
        *ours.check_production(None),
        *ours.check_deployment(None),
        *ours.check_encryption_keys(None),
        *ours.check_debug(None),
        *ours.check_queue(None),
    ] == []


@pytest.mark.parametrize(
    ("setting", "value", "error"),
    [
        ("SECRET_KEY", product.INSECURE_SECRET_KEY, "E010"),
        ("SECRET_KEY", "short", "E010"),
        ("API_KEY_PEPPER", product.INSECURE_SECRET_KEY, "E011"),
        ("API_KEY_PEPPER", "short", "E011"),
        ("ENCRYPTION_KEYS", [product.INSECURE_ENCRYPTION_KEY], "E012"),
        ("ENCRYPTION_KEYS", [SOUND_KEY, product.INSECURE_ENCRYPTION_KEY], "E012"),
        ("ALLOWED_HOSTS", ["*"], "E013"),
        ("ALLOWED_HOSTS", [], "E013"),
        ("CACHES", cache("locmem.LocMemCache"), "E014"),
        ("CACHES", cache("dummy.DummyCache"), "E014"),
        ("WEBHOOK_ALLOW_PRIVATE", True, "E015"),
    ],
)
def test_production_refuses(production, setting, value, error):
    setattr(production, setting, value)

    assert found(ours.check_production) == {error}


def test_development_may_use_the_built_in_secrets(settings):
    assert ours.check_production(None) == []


def test_deployment_check_finds_secrets_where_production_was_forgotten(settings):
    assert found(ours.check_deployment) == {"E001", "E010", "E011", "E012", "E014"}


def test_encryption_keys_must_not_be_missing(settings):
    settings.ENCRYPTION_KEYS = []

    assert found(ours.check_encryption_keys) == {"E002"}


def test_encryption_keys_must_be_fernet_keys(settings):
    settings.ENCRYPTION_KEYS = [SOUND_KEY, "not a key", "c2hvcnQ="]

    first, second = ours.check_encryption_keys(None)

    assert [first.msg, second.msg] == [
        "Key 2 of ENCRYPTION_KEYS is no Fernet key.",
        "Key 3 of ENCRYPTION_KEYS is no Fernet key.",
    ]


@pytest.mark.parametrize(
    ("hosts", "errors"),
    [
        (["localhost", "127.0.0.1", "[::1]", ".localhost", "shop.localhost", "127.1.2.3"], set()),
        (["localhost", "shop.example.com"], {"E004"}),
        (["*"], {"E004"}),
        (["192.168.1.7"], {"E004"}),
    ],
)
def test_debug_is_refused_for_a_public_host(settings, hosts, errors):
    settings.DEBUG, settings.ALLOWED_HOSTS = True, hosts

    assert found(ours.check_debug) == errors


def test_debug_is_refused_in_production(production):
    production.DEBUG, production.ALLOWED_HOSTS = True, ["localhost"]

    assert found(ours.check_debug) == {"E004"}


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({}, set()),
        ({"retry": 240}, {"E006"}),
        ({"retry": 100}, {"E006"}),
        ({"timeout": None}, {"E005"}),
        ({"max_attempts": 0}, {"E007"}),
        ({"ack_failures": False}, {"E007"}),
        ({"orm": None}, {"E008"}),
    ],
)
def test_queue_must_neither_overlap_nor_repeat_for_ever(settings, changes, errors):
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, **changes}

    assert found(ours.check_queue) == errors


def test_every_check_of_ours_is_registered():
    registered = checks.registry.registry.get_checks(include_deployment_checks=True)

    assert {check for check in vars(ours).values() if getattr(check, "tags", None)} == {
        check for check in registered if check.__module__ == ours.__name__
    }
    assert len({check for check in registered if check.__module__ == ours.__name__}) == 5


def test_a_start_in_production_with_the_built_in_secrets_stops(tmp_path):
    stopped = subprocess.run(
        [sys.executable, "manage.py", "migrate"],
        cwd=product.BASE_DIR,
        env=environment(SECRET_KEY=product.INSECURE_SECRET_KEY, DATA_DIR=str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
    )

    assert stopped.returncode == 1
    assert "storefront.E010" in stopped.stderr
