"""Nothing that a log line holds is worth stealing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from storefront.logs import mask

KEY = "sk_" + "a1B2" * 10


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"key {KEY} was used", "key sk_a1B2*** was used"),
        (f"signed with whsec_{'aB1+' * 8}.", "signed with whsec_***."),
        (
            "GET /api/v2?action=add&key=abcdef123&service=1",
            "GET /api/v2?action=add&key=***&service=1",
        ),
        ("POST /x?api_key=abc", "POST /x?api_key=***"),
        ('{"key": "abc", "action": "balance"}', '{"key": "***", "action": "balance"}'),
        ("{'password': 'abc', 'email': 'a@b.c'}", "{'password': '***', 'email': 'a@b.c'}"),
        ('{"token":["abc"],"x":1}', '{"token":["***"],"x":1}'),
        ('{"key": "", "x": "y"}', '{"key": "", "x": "y"}'),
        ('{"password": "two words", "x": 1}', '{"password": "***", "x": 1}'),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("sent with Bearer abc.def", "sent with Bearer ***"),
        ("X-API-Key: abc", "X-API-Key: ***"),
        ("postgres://shop:hunter2@db/shop", "postgres://shop:***@db/shop"),
        ("SECRET_KEY=abc", "SECRET_KEY=***"),
        (
            "the keyboard: fine, monkey 1, order:42:charge",
            "the keyboard: fine, monkey 1, order:42:charge",
        ),
    ],
)
def test_mask_hides_only_the_secret(text, masked):
    assert mask(text) == masked


SCRIPT = """
import logging, sys
import structlog
from storefront.logs import configure

configure({"json": sys.argv[1] == "json", "level": "INFO"})
structlog.get_logger("shop").info(
    "called", api_key="topsecret", sent={"key": "topsecret", "service": 7},
    tried=["?key=topsecret"], error=ValueError("token=topsecret"), count=3, ok=True,
)
logging.getLogger("library").warning("GET %s", "/api/v2?key=topsecret&action=add")
try:
    raise RuntimeError("https://x/?key=topsecret")
except RuntimeError:
    logging.getLogger("library").exception("failed")
logging.getLogger("httpx2").info("HTTP Request: GET ...")
"""


def lines_logged(style: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, style],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_production_logs_are_json_without_secrets():
    called, library, failed = map(json.loads, lines_logged("json"))

    assert (called["api_key"], called["sent"]) == ("***", {"key": "***", "service": 7})
    assert (called["tried"], called["error"]) == (["?key=***"], "ValueError: token=***")
    assert (called["count"], called["ok"], called["logger"]) == (3, True, "shop")
    assert library["event"] == "GET /api/v2?key=***&action=add"
    assert failed["exception"].endswith("RuntimeError: https://x/?key=***")


def test_development_logs_are_lines_without_secrets():
    text = "\n".join(lines_logged("lines"))

    assert "topsecret" not in text
    assert "GET /api/v2?key=***&action=add" in text
    assert "RuntimeError: https://x/?key=***" in text
