"""Bodies that come in chunks, as gunicorn itself reads them from a connection."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.parser import RequestParser

from orders.models import Order
from storefront.wsgi import application

LINK = "https://instagram.com/username"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"


@pytest.fixture
def send(db: None) -> Iterator[Callable[..., tuple[str, Any]]]:
    """Hands raw chunks to gunicorn's parser and its request to the whole application; returns
    status line and JSON."""

    def sent(path: str, kind: str, chunks: bytes, **headers: str) -> tuple[str, Any]:
        lines = [f"POST {path} HTTP/1.1", "Host: testserver", f"Content-Type: {kind}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            request = next(RequestParser(Config(), iter([head, chunks]), ("127.0.0.1", 1)))
            client, server = ("127.0.0.1", 1), ("127.0.0.1", 2)
            environ = wsgi.create(request, ours, client, server, Config())[1]
            status: list[str] = []
            answer = application(environ, lambda line, _headers, *_info: status.append(line))
            return status[0], json.loads(b"".join(answer))

    ends = (request_started, request_finished)
    for signal in ends:  # as Django's own test client does: the test's transaction stays open
        signal.disconnect(close_old_connections)
    yield sent
    for signal in ends:
        signal.connect(close_old_connections)


def chunked(body: bytes, size: int = 7) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])


def multipart(**fields: object) -> bytes:
    parts = (
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    return ("".join(parts) + "--b--\r\n").encode()


def test_chunked_bodies_of_every_kind_are_read_in_both_dialects(program, service, send):
    panel = {"key": program.text, "action": "add", "service": service.pk, "link": LINK}
    form = "&".join(f"{name}={value}" for name, value in panel.items())
    rest = {"service_id": service.pk, "link": LINK, "quantity": 10}
    as_json = json.dumps(panel | {"quantity": 10}).encode()

    answers = [
        send("/api/v2", FORM, chunked(f"{form}&quantity=10".encode())),
        send("/api", MULTIPART, chunked(multipart(**panel, quantity=10))),
        send("/api/v2/", "application/json", chunked(as_json)),
        send(
            "/api/v1/orders",
            "application/json",
            chunked(json.dumps(rest).encode()),
            X_API_Key=program.text,
        ),
        send("/api/v1/orders/", MULTIPART, chunked(multipart(**rest)), X_API_Key=program.text),
    ]

    assert [status for status, _ in answers] == ["200 OK"] * 3 + ["201 Created"] * 2
    ids = [body["order"] for _, body in answers[:3]]
    ids += [body["order"]["id"] for _, body in answers[3:]]
    assert ids == list(Order.objects.order_by("pk").values_list("pk", flat=True))


@pytest.mark.parametrize("kind", [FORM, MULTIPART, "application/json"])
@pytest.mark.parametrize("broken", ["cut", "garbage", "huge"])
def test_chunked_body_that_is_not_whole_buys_nothing(
    program, service, send, settings, kind, broken
):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2_000
    rest = {"service_id": service.pk, "link": LINK, "quantity": 10}
    body = {
        FORM: "&".join(f"{name}={value}" for name, value in rest.items()).encode(),
        MULTIPART: multipart(**rest),
        "application/json": json.dumps(rest).encode(),
    }[kind]
    chunks = {
        "cut": chunked(body).removesuffix(b"0\r\n\r\n"),
        "garbage": chunked(body).removesuffix(b"0\r\n\r\n") + b"zz\r\n",
        "huge": chunked(body + b" " * 2_000, size=500),
    }[broken]

    of_rest = send("/api/v1/orders", kind, chunks, X_API_Key=program.text)
    of_panel = send("/api/v2?action=balance", kind, chunks, X_API_Key=program.text)

    assert (of_rest[0], of_rest[1]["code"]) == ("400 Bad Request", "bad_request")
    assert of_panel == ("200 OK", {"error": "Invalid request"})
    assert Order.objects.count() == 0
