"""What resellers run: the programs of the developers' pages, as the pages show them, and published
clients of the panel dialect. One running store answers all of them."""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import smm as babismm
import smmpy
from optsmm import OptSMM

from storefront.pages.samples import LANGUAGES, PLACEHOLDER_KEY, PLACEHOLDER_SECRET
from storefront.webhooks import signing
from tests.processes import eventually
from tests.running import Running
from tests.sandbox import free_port

pytestmark = pytest.mark.process

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"type":"order.updated"}'
EXTENSIONS = {"php": "php", "python": "py", "javascript": "mjs"}


@dataclass(frozen=True)
class Shop:
    """The running store, as a reseller with a sandbox key sees it."""

    store: Running
    key: str

    def program(self, page: str, sample: str, language: str) -> str:
        """A program as its page shows it, with the key in its place."""
        address = f"{self.store.site}/developers/{page}/?code={language}"
        with urllib.request.urlopen(address) as answer:
            shown = answer.read().decode()
        found = re.search(
            rf'<code id="{sample}-text" data-language="{language}">(.*?)</code>', shown, re.DOTALL
        )
        assert found
        text = html.unescape(found[1])
        return text.replace(PLACEHOLDER_KEY, self.key).replace(PLACEHOLDER_SECRET, SECRET)

    def ask(self, path: str, body: object = None, *, method: str | None = None) -> Any:
        request = urllib.request.Request(
            f"{self.store.site}/api/v1{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-API-Key": self.key, "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


@pytest.fixture
def shop(store: Running) -> Shop:
    found = re.search(r"sk_test_\w+", store.banner)
    assert found
    return Shop(store, found[0])


def command(language: str, program: Path) -> list[str]:
    """How a program of this language is run."""
    name = {"curl": "bash", "javascript": "node", "python": sys.executable}.get(language, language)
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"The examples need {name}: see .ci/run", pytrace=False)
    return [found, str(program)]


def write(folder: Path, language: str, program: str) -> Path:
    path = folder / f"program.{EXTENSIONS.get(language, 'sh')}"
    path.write_text(program)
    return path


def run(folder: Path, language: str, program: str) -> str:
    """What the program prints; it must end well and complain of nothing."""
    done = subprocess.run(
        command(language, write(folder, language, program)),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


BEGUN = r"(?:pending|processing|in_progress|completed)"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("page", "sample"), [("panel", "panel-order"), ("rest", "rest-order")])
def test_order_programs_order_once(
    shop: Shop, page: str, sample: str, language: str, tmp_path: Path
) -> None:
    program = shop.program(page, sample, language)
    before = shop.ask("/orders")["meta"]["total"]

    first, second = (run(tmp_path, language, program) for _ in range(2))

    if language == "curl":
        balance, order = (json.loads(line, parse_float=Decimal) for line in first.splitlines())
        assert balance["currency"] == "USD"
        assert Decimal(balance["balance"]) > 0
        assert re.fullmatch(BEGUN, order["status"].lower().replace(" ", "_"))
    else:
        told = rf"Balance: \d+\.?\d* USD\nOrder \d+: {BEGUN}, \d+\.\d+ USD\n"
        assert re.fullmatch(told, first.replace("In progress", "in_progress"), re.IGNORECASE)
        assert re.search(r"Order \d+", first)[0] == re.search(r"Order \d+", second)[0]
    assert shop.ask("/orders")["meta"]["total"] == before + 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_programs_for_many_orders_get_an_answer_for_each(
    shop: Shop, language: str, tmp_path: Path
) -> None:
    told = run(tmp_path, language, shop.program("panel", "panel-many", language))

    lines = told.splitlines()
    assert "Order 2: Invalid quantity" in told or "Order 2: Quantity must be at least" in told
    assert len(lines) == (3 if language == "curl" else 4)
    if language == "curl":
        placed, _statuses, cancels = map(json.loads, lines)
        assert isinstance(placed["0"]["order"], int)
        assert [one["order"] for one in cancels] == [1, 2, 3]
    else:
        order = re.search(r"\d+$", lines[0])[0]
        assert lines[2].startswith(order)
        assert lines[3].startswith(order)


@pytest.mark.parametrize("language", LANGUAGES)
def test_rest_programs_for_many_orders_get_an_answer_for_each(
    shop: Shop, language: str, tmp_path: Path
) -> None:
    told = run(tmp_path, language, shop.program("rest", "rest-many", language))

    if language == "curl":
        answer = json.loads(told)
        assert answer["meta"] == {"placed": 1, "refused": 1}
        assert answer["data"][1]["code"] == "validation_error"
    else:
        assert re.fullmatch(r"order-\d+: \d+\norder-\d+: validation_error\n", told)


@pytest.mark.parametrize("language", LANGUAGES)
def test_programs_that_read_lists_read_each_once(shop: Shop, language: str, tmp_path: Path) -> None:
    told = run(tmp_path, language, shop.program("rest", "rest-lists", language)).splitlines()

    if language == "curl":
        assert told[0] == "304"
        assert json.loads((tmp_path / "services.json").read_text())
        assert len(json.loads(told[1])["data"]) <= 5
    else:
        assert re.fullmatch(r"\d+ services", told[0])
        assert told[1] == "304"
        orders = shop.ask("/orders?per_page=100")["meta"]["total"]
        assert len(told) == 2 + orders


# --- webhooks -------------------------------------------------------------------------------------


@contextmanager
def receiver(folder: Path, language: str, program: str, port: int) -> Iterator[None]:
    """The program as a running receiver."""
    path = write(folder, language, program)
    words = command(language, path)
    if language == "php":
        words[1:] = ["-S", f"127.0.0.1:{port}", str(path)]
    process = subprocess.Popen(
        words,
        env=os.environ | {"PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert eventually(lambda: sent(f"http://127.0.0.1:{port}/", {}, b"") is not None)
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def sent(address: str, headers: dict[str, str], body: bytes) -> int | None:
    """The status that a receiver answers; None while it does not listen."""
    try:
        request = urllib.request.Request(address, body, headers, method="POST")
        return urllib.request.urlopen(request, timeout=20).status
    except urllib.error.HTTPError as refused:
        return refused.code
    except OSError:
        return None


@pytest.mark.parametrize("language", ["php", "python", "javascript"])
def test_receivers_take_what_the_store_sends_and_nothing_forged(
    shop: Shop, language: str, tmp_path: Path
) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    made = shop.ask("/webhooks", {"url": address, "events": ["order.created"]})
    webhook, secret = made["webhook"]["id"], made["secret"]
    program = shop.program("webhooks", "webhook-verify", language).replace(SECRET, secret)
    now = int(time.time())

    def status(
        *, body: str = BODY, at: int = now, secrets: Sequence[str] = (secret,)
    ) -> int | None:
        headers = signing.headers(secrets, event_id="msg_1", timestamp=at, body=BODY.encode())
        return sent(address, headers | {"Content-Type": "application/json"}, body.encode())

    with receiver(tmp_path, language, program, port):
        delivery = shop.ask(f"/webhooks/{webhook}/test", {})["delivery"]["id"]
        assert eventually(
            lambda: shop.ask(f"/webhooks/deliveries/{delivery}")["status"] == "delivered"
        )
        assert status() == 204
        assert status(secrets=[SECRET, secret]) == 204
        assert status(secrets=[SECRET]) == 400
        assert status(body=BODY + " ") == 400
        assert status(at=now - 3600) == 400
    shop.ask(f"/webhooks/{webhook}", method="DELETE")


def test_shell_check_tells_genuine_from_forged(shop: Shop, tmp_path: Path) -> None:
    """With the vector that the standard publishes."""
    path = write(tmp_path, "curl", shop.program("webhooks", "webhook-verify", "curl"))
    signature = "v1,E96PY2ugAXQPYkUlMd77rrr1xnnBJ4GIUO9uiw5rRHQ="

    def told(body: str) -> str:
        (tmp_path / "body").write_text(body)
        heads = {"ID": "msg_1", "TIMESTAMP": "1700000000", "SIGNATURE": f"v1,AAAA {signature}"}
        return subprocess.run(
            command("curl", path), cwd=tmp_path, env=os.environ | heads, text=True,
            stdout=subprocess.PIPE, check=False,
        ).stdout  # fmt: skip

    assert told(BODY) == "genuine\n"
    assert told(BODY + " ") == "forged\n"


# --- published clients ----------------------------------------------------------------------------


@pytest.mark.parametrize("client_class", [smmpy.smm, babismm.SMM])
def test_published_clients_buy_and_follow(shop: Shop, client_class: type) -> None:
    client = client_class(f"{shop.store.site}/api/v2", shop.key)
    service = next(one for one in client.get_services() if one["type"] == "Default")
    link = "https://www.instagram.com/another_page"

    order = client.add_order(service["service"], link, max(100, service["min"]))["order"]

    assert isinstance(order, int)
    assert client.get_balance()["currency"] == "USD"
    assert client.get_status(order)["currency"] == "USD"
    assert set(client.get_multi_status([order, 0])) == {str(order), "0"}
    (cancelled,) = client.cancel_orders([order])
    assert cancelled["order"] == order
    assert [one["status"] for one in client.create_multi_refill([order])] == ["rejected"]
    assert client.get_multi_refill_status([0]) == [{"refill": "0", "error": "Invalid refill ID"}]
    with pytest.raises(Exception, match="Incorrect order ID"):
        client.get_status(0)


def test_published_client_without_forms_buys_and_follows(shop: Shop) -> None:
    """It asks by query, and reckons with the numbers that it gets."""
    client = OptSMM(shop.key)
    client.base_url = f"{shop.store.site}/api/v2"

    async def buy() -> None:
        service = next(one for one in await client.services() if one["type"] == "Default")
        order = await client.create_order(
            service["service"], "https://www.instagram.com/third_page", max(100, service["min"])
        )
        assert isinstance(order, int)
        assert (await client.order_status(order))["currency"] == "USD"
        amount, currency = await client.balance()
        assert (amount > 0, currency) == (True, "USD")
        assert service in await client.search_services(service["name"][:5])

    # In a thread of its own: the browser's tests may have a loop in this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, buy()).result()
