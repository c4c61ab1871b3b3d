"""One guarded request: who is called, what goes over the wire, and when it is over.

The doubles are the resolver and the wire itself; nothing is looked up or dialled.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass, field

import httpcore2
import pytest

from storefront.webhooks import targets
from storefront.webhooks.targets import Caller, Reply

URL = "https://shop.example/hook?a=1"
PUBLIC, OTHER_PUBLIC = "93.184.216.34", "2606:2800:220:1::1"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Wire(httpcore2.NetworkBackend, httpcore2.NetworkStream):
    """Answers every connection with the same bytes, and remembers what it was told."""

    answer: list[bytes] = field(default_factory=lambda: [OK])
    dead: tuple[str, ...] = ()
    seconds_each: float = 0.0
    tls_fails: bool = False
    dialled: list[tuple[str, int]] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    sent: bytes = b""
    received: int = 0

    def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        self.dialled.append((host, port))
        if host in self.dead:
            raise httpcore2.ConnectError("refused")
        return self

    def start_tls(self, ssl_context, server_hostname=None, timeout=None):
        assert ssl_context.check_hostname
        assert ssl_context.verify_mode == ssl.CERT_REQUIRED
        self.names.append(server_hostname)
        if self.tls_fails:
            raise httpcore2.ConnectError("certificate")
        return self

    def read(self, max_bytes, timeout=None):
        if timeout < self.seconds_each:
            time.sleep(timeout)
            raise httpcore2.ReadTimeout
        time.sleep(self.seconds_each)
        chunk = self.answer.pop(0) if self.answer else b""
        self.received += len(chunk)
        return chunk

    def write(self, buffer, timeout=None):
        self.sent += buffer

    def close(self):
        pass

    def get_extra_info(self, info):
        return None


@pytest.fixture(autouse=True)
def _public_only(settings):
    settings.WEBHOOK_ALLOW_PRIVATE = False


def call(wire: Wire, *addresses: str, url: str = URL, time_limit: float = 5.0) -> Reply:
    caller = Caller(
        resolver=lambda host, port: list(addresses), backend=wire, time_limit=time_limit
    )
    return caller.post(url, headers={"webhook-id": "1"}, body=b'{"a":1}')


def test_request_goes_to_the_checked_address_in_the_name_of_the_host():
    wire = Wire()

    reply = call(wire, PUBLIC)

    head, _, body = wire.sent.partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    assert (reply.status, reply.answer, reply.error, reply.was_taken) == (200, "ok", "", True)
    assert (wire.dialled, wire.names) == ([(PUBLIC, 443)], ["shop.example"])
    assert line == "POST /hook?a=1 HTTP/1.1"
    assert sorted(headers) == [
        "Accept-Encoding: identity",
        "Connection: close",
        "Content-Length: 7",
        "Content-Type: application/json",
        "Host: shop.example",
        "User-Agent: storefront-webhooks/1",
        "webhook-id: 1",
    ]
    assert body == b'{"a":1}'


@pytest.mark.parametrize("private", ["127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "fe80::1%2"])
def test_name_with_one_private_address_is_never_called(private):
    wire = Wire()

    reply = call(wire, PUBLIC, private)

    assert (reply.status, wire.dialled) == (None, [])
    assert reply.error == "The address must be reachable on the public internet."


def test_name_is_looked_up_once_and_its_other_checked_addresses_are_tried():
    asked = []
    wire = Wire(dead=(PUBLIC,))

    def resolver(host, port):
        asked.append((host, port))
        return [PUBLIC, OTHER_PUBLIC]

    reply = Caller(resolver=resolver, backend=wire).post(
        "https://shop.example:8443/", headers={}, body=b"{}"
    )

    assert reply.status == 200
    assert asked == [("shop.example", 8443)]
    assert wire.dialled == [(PUBLIC, 8443), (OTHER_PUBLIC, 8443)]
    assert b"Host: shop.example:8443\r\n" in wire.sent


def test_redirect_is_an_answer_like_another_and_is_not_followed():
    wire = Wire(answer=[b"HTTP/1.1 302 Found\r\nLocation: https://x/\r\nContent-Length: 0\r\n\r\n"])

    reply = call(wire, PUBLIC)

    assert (reply.status, reply.was_taken, len(wire.dialled)) == (302, False, 1)


def test_long_answer_is_neither_kept_nor_read_whole():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"
    wire = Wire(answer=[head, *[b"\xff\x00" * 8192] * 100])

    reply = call(wire, PUBLIC)

    assert (reply.status, reply.answer) == (200, "\ufffd" * targets.KEPT_ANSWER)
    assert wire.received <= targets.LARGEST_ANSWER + len(head) + 16384


def test_answer_that_drips_ends_at_the_time_limit():
    wire = Wire(answer=[b"HTTP/1.1 200 OK\r\nX: ", *[b"y"] * 1000], seconds_each=0.02)

    reply = call(wire, PUBLIC, time_limit=0.1)

    assert (reply.status, reply.error) == (None, targets.TOO_LATE)
    assert 100 <= reply.milliseconds < 1000


def test_failures_are_told_in_our_own_words():
    def unknown(host, port):
        raise OSError("Name or service not known")

    post = Caller(resolver=unknown, backend=Wire()).post
    found = {
        "unknown": post(URL, headers={}, body=b"").error,
        "no address": call(Wire()).error,
        "dead": call(Wire(dead=(PUBLIC,)), PUBLIC).error,
        "certificate": call(Wire(tls_fails=True), PUBLIC).error,
        "garbage": call(Wire(answer=[b"SSH-2.0-OpenSSH\r\n\r\n"]), PUBLIC).error,
        "http": call(Wire(), PUBLIC, url="http://shop.example/").error,
    }

    assert found == {
        "unknown": targets.NO_ADDRESS,
        "no address": targets.NO_ADDRESS,
        "dead": targets.NO_CONNECTION,
        "certificate": targets.NO_CONNECTION,
        "garbage": targets.BROKEN,
        "http": "The address must begin with https://.",
    }


def test_development_may_call_its_own_machine_without_tls(settings):
    settings.WEBHOOK_ALLOW_PRIVATE = True
    wire = Wire()

    reply = call(wire, "127.0.0.1", url="http://localhost:9000/hook")

    assert (reply.status, wire.dialled, wire.names) == (200, [("127.0.0.1", 9000)], [])
