"""A provider for tests: the real sandbox server, on a real socket, told what to do.

`sandbox` is the fixture (every test may ask for it, nothing to import):

    def test_something(sandbox, db):
        provider = sandbox.provider()              # a saved Provider row that points at it
        client = client_for(provider)
        other = sandbox.provider(name="REST", dialect="rest")  # the same shop in the REST dialect

- Time stands still: `sandbox.advance(90)` lets sandbox seconds pass. An order is Pending for 60 to
  119 s and then In progress for 10 to 20 minutes; `sandbox.advance(DAY)` ends it. Its calendar
  begins today and goes with its own clock.
- A subscription is Active from the start. After 60 to 119 s its old posts are served, then a new
  one every 600 s (`delivery.POST_TAKES`), each with its `max`, charged as it is served: `posts` and
  `charge` of its status grow together. It ends Completed with the last post, Expired when its
  expiry's day is over, Canceled 60 s after a cancel was asked for.
- A refill is done after 600 s (`delivery.REFILL_TAKES`); of a link with "norefill" in it, it is
  Rejected then. `sandbox.complete_refill(id)` and `.reject_refill(id)` end one now. A cancel is
  carried out 60 s after it was asked for: Canceled, or Partial where the order had begun.
- Nothing ends badly by chance. `sandbox.complete(id)`, `.end_partial(id, remains=250)`,
  `.cancel(id)` and `.fail(id)` end one order now, paying back as a provider does. Links with
  "partial", "cancel", "fail" or "slow" in them do so in time.
- `sandbox.say(id, status="Marinating", remains="-3")` puts words into a status answer.
- `sandbox.misbehave("add", Kind.LOSE_REPLY, times=3)` spoils the next calls of an action ("*": of
  any), `sandbox.misbehave("add", Kind.LOSE_REPLY, every=10)` each tenth from now on, in either
  dialect. Actions: services, add, status, balance, refill, refill_status, cancel; in the REST
  dialect also find (by `client_ref`) and order (one by its id).
- `sandbox.answer("add", {"order": "7"}, status=200)` answers the next with exactly that, and does
  nothing. `sandbox.behave()` forgets all that and lets hanging calls go. Kinds, and which of
  them still take the order: catalog/sandbox/misbehaviour.py.
- `sandbox.orders` is every order it accepted (`.id`, `.link`, `.fields`, `.total`, `.cost`,
  `.status`, `.reference`, `.served`): the proof of "bought exactly once". `sandbox.calls` is every
  call with a good key (`action` and what was sent, without the key).
- `sandbox.balance`, `sandbox.set_balance("0")`. `sandbox.wait_for_orders(1)` waits until that many
  were accepted.
- Other processes tell it over HTTP: `POST /_control` with the key in `X-API-Key` and a JSON object
  such as {"misbehave": {"action": "add", "kind": "lose_reply", "every": 10}}, {"behave": true},
  {"advance": 90}, {"speed": 60}, {"balance": "5"}; `GET /_control/orders` lists the orders.
- `sandbox.stop()` closes its port (connection refused); `sandbox.start_again()` opens the same.

The client's reads are not repeated in tests that use it, so one misbehaviour is one failure.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import stamina

from catalog.sandbox.delivery import NEVER_FAILS
from catalog.sandbox.menu import SHORTEST
from catalog.sandbox.server import Sandbox

if TYPE_CHECKING:
    from catalog.models import Provider

KEY = "sandbox-key-of-the-tests"
DAY = 86_400


def free_port() -> int:
    """A port that nobody listens on, below the range that the system gives to clients: a client
    that tries a closed port of that range again and again can end up connected to itself."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class SandboxInTest(Sandbox):
    """A started sandbox whose clock stands still, with what only tests need."""

    def __init__(self, data: Path, *, services: int = SHORTEST) -> None:
        super().__init__(data, key=KEY, services=services, speed=0, habits=NEVER_FAILS)
        self.port = free_port()
        self.start_again()

    def start_again(self) -> None:
        """Serve (again) on the port that it has had from the beginning."""
        self.start("127.0.0.1", self.port)

    def provider(self, *, dialect: str = "panel", **changes: Any) -> Provider:
        """A saved provider row that points here; `changes` are its other columns."""
        from catalog.models import Provider

        values = {
            "name": "Sandbox",
            "dialect": dialect,
            "base_url": self.rest_url if dialect == "rest" else self.url,
            "api_key": self.key,
            "currency": "USD",
            "connect_timeout": 2,
            "read_timeout": 5,
        }
        return Provider.objects.create(**{**values, **changes})


@pytest.fixture
def sandbox(tmp_path: Path, unrepeated_reads: None) -> Iterator[SandboxInTest]:
    """A sandbox provider of the test's own (see the head of this file)."""
    running = SandboxInTest(tmp_path / "sandbox.sqlite3")
    yield running
    running.close()


@pytest.fixture
def unrepeated_reads() -> Iterator[None]:
    """A provider's client tries its reads once, and never waits."""
    with stamina.set_testing(True, attempts=1):
        yield
