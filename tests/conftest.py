"""What every test stands on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import TransactionTestCase

from accounts import triggers


@pytest.fixture(autouse=True)
def _clear_cache() -> Iterator[None]:
    """Rate limits live in the cache and would reach from one test into the next."""
    cache.clear()
    yield
    cache.clear()


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that wants another address than loopback fails before anything is dialled."""
    real_connect, real_connect_ex = socket.socket.connect, socket.socket.connect_ex

    def guarded(real: Any) -> Any:
        def connect(self: socket.socket, address: Any) -> Any:
            if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
                raise AssertionError(f"a test tried to reach {address[0]}")
            return real(self, address)

        return connect

    monkeypatch.setattr(socket.socket, "connect", guarded(real_connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(real_connect_ex))


@pytest.fixture(scope="session", autouse=True)
def _emptiable_ledger() -> Iterator[None]:
    """Tests that commit are cleaned up by emptying tables, which the ledger's triggers refuse on
    SQLite: they are lifted for just that moment."""
    real_teardown = TransactionTestCase._fixture_teardown

    def teardown(self: TransactionTestCase) -> None:
        if connection.vendor == "postgresql":
            real_teardown(self)
            return
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
