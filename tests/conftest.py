"""What every test stands on."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from django.core.cache import cache
from django.db import connection
from django.test import SimpleTestCase, TransactionTestCase

from accounts import triggers
from storefront import translations

pytest_plugins = ["tests.sandbox", "tests.running"]

# A slow machine is no failure; what CI finds, anybody can find again.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_configure(config: pytest.Config) -> None:
    """Tests read pages in every language: once, not in each of xdist's processes."""
    if not hasattr(config, "workerinput"):
        translations.compile_changed()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """All that look at the one running store share a process of xdist's. What touches no database
    is proved by the half of the suite that runs on SQLite."""
    for item in items:
        if "store" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("store"))
    if "DATABASE_URL" not in os.environ:
        return
    kept = [item for item in items if _uses_database(item)]
    config.hook.pytest_deselected(items=[item for item in items if not _uses_database(item)])
    items[:] = kept


def _uses_database(item: pytest.Item) -> bool:
    fixtures = {"db", "transactional_db", "live_server", "django_db_setup"}
    return (
        item.get_closest_marker("django_db") is not None
        or issubclass(getattr(item, "cls", None) or object, SimpleTestCase)
        or not fixtures.isdisjoint(getattr(item, "fixturenames", ()))
    )


@pytest.fixture(autouse=True)
def _clear_cache() -> Iterator[None]:
    """Rate limits live in the cache and would reach from one test into the next."""
    cache.clear()
    yield
    cache.clear()


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """A test that wants another address than loopback fails before anything is looked up or
    dialled."""

    def refuse(host: Any) -> None:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in (None, "", "localhost") and not _is_loopback(name):
            raise AssertionError(f"a test tried to reach {name}")

    def guarded(real: Any) -> Any:
        def connect(self: socket.socket, address: Any) -> Any:
            if isinstance(address, tuple):
                refuse(address[0])
            return real(self, address)

        return connect

    real_getaddrinfo = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        refuse(host)
        return real_getaddrinfo(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the system's Chromium, which the browser tests drive."""
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("Browser tests need Chromium: apt-get install chromium", pytrace=False)
    return path


@pytest.fixture(scope="session", autouse=True)
def _emptiable_ledger() -> Iterator[None]:
    """Tests that commit are cleaned up by emptying tables, which the ledger's triggers refuse:
    they are lifted for just that moment."""
    real_teardown = TransactionTestCase._fixture_teardown

    def teardown(self: TransactionTestCase) -> None:
        with connection.schema_editor() as editor:
            triggers.remove(editor)
        try:
            real_teardown(self)
        finally:
            with connection.schema_editor() as editor:
                triggers.install(editor)

    TransactionTestCase._fixture_teardown = teardown  # type: ignore[method-assign]
    yield
    TransactionTestCase._fixture_teardown = real_teardown  # type: ignore[method-assign]
