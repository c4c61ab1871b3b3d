"""What a no looks like, and which of them can be relied on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from catalog.providers.refusals import (
    is_about_an_id,
    is_about_funds,
    is_about_haste,
    refusal,
    says_no,
)
from catalog.providers.values import load
from tests.catalog.providers.test_values import JSON_VALUES


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ({"error": "Incorrect service ID"}, "Incorrect service ID"),
        ({"error": "Link &amp; quantity"}, "Link & quantity"),
        ({"error": {"message": "Bad link", "code": 7}}, "Bad link"),
        ({"error": {"link": ["is required"]}}, "is required"),
        ({"error": ["One", "Two"]}, "One; Two"),
        ({"error": True, "message": "Bad link"}, "Bad link"),
        ({"error": 1}, "no reason given"),
        ({"errors": ["Bad link"]}, "Bad link"),
        ({"data": {"error": "Bad link"}}, "Bad link"),
        ({"status": "fail", "message": "Bad link"}, "Bad link"),
        ({"status": "error", "msg": "Bad link"}, "Bad link"),
        ({"status": False, "message": "Bad link"}, "Bad link"),
        ({"success": False, "message": "Bad link"}, "Bad link"),
    ],
)
def test_refusal_is_recognised(payload: object, text: str) -> None:
    assert refusal(payload) == text


@pytest.mark.parametrize(
    "payload",
    [
        {"order": 5},
        {"order": 5, "error": ""},
        {"order": 5, "error": None},
        {"order": 5, "error": False, "errors": []},
        {"status": "success", "order": 5},
        {"status": "fail"},
        {"status": "Fail", "charge": "0.5", "remains": "0", "message": "private profile"},
        *([], ["error"], "error", None, 5),
    ],
)
def test_refusal_is_not_read_into_other_answers(payload: object) -> None:
    assert refusal(payload) is None


@pytest.mark.parametrize(
    "text",
    [
        "Not enough funds on balance",
        "not_enough_funds",
        "neworder.error.not_enough_funds",
        "Insufficient balance",
        "Insufficient funds. Required: 15.500000, Available: 10.000000",
        "INSUFFICIENT_BALANCE",
        "Your balance is too low",
        "Your account balance is insufficient",
        "Balance not enough!",
        "You don't have enough money",
        "You do not have enough credits to place this order",
        "Low balance",
        "No funds",
        "Order cost exceeds your balance",
        "Yetersiz bakiye",
        "Bakiyeniz yetersiz.",
        "Solde insuffisant",
        "Saldo insuficiente",
        "Недостаточно средств на балансе",
    ],
)
def test_lack_of_funds_is_recognised_in_its_many_spellings(text: str) -> None:
    assert is_about_funds(text)


@pytest.mark.parametrize(
    "text",
    [
        *("Incorrect service ID", "Quantity less than minimal 100", "Low quality link"),
        *("Not enough comments", "Insufficient quantity", "Service is not available"),
    ],
)
def test_other_refusals_are_not_about_funds(text: str) -> None:
    assert not is_about_funds(text)


@pytest.mark.parametrize(
    ("text", "http_status", "clear"),
    [
        ("Incorrect service ID", 200, True),
        ("Incorrect service ID", 400, True),
        ("Incorrect service ID", 500, True),
        ("Not enough funds on balance", 503, True),
        ("Quantity less than minimal 100", 500, True),
        ("Quantity must be at least 100", 500, True),
        ("Link is required", 502, True),
        ("Invalid API key", 500, True),
        ("neworder.error.min_quantity", 500, True),
        ("You have active order with this link", 500, True),
        ("We do not feel like it", 200, True),
        ("We do not feel like it", 422, True),
        # With 5xx, words that any framework or proxy may have put there prove nothing.
        ("We do not feel like it", 500, False),
        ("no reason given", 500, False),
        ("Service Unavailable", 503, False),
        ("Bad Gateway", 502, False),
        ("Internal Server Error", 500, False),
        ("Failed to create order", 500, False),
        ("Duplicate entry '7' for key 'orders.PRIMARY'", 500, False),
        ("An invalid response was received from the upstream server", 502, False),
        ("We do not feel like it", 408, False),
        # And a broken machine is no answer with any status.
        ("Internal server error", 200, False),
        ("Request timed out", 200, False),
        ("cURL error 28: Operation timeout", 200, False),
        ("SQLSTATE[40001]: Deadlock found", 200, False),
        ("Something went wrong", 400, False),
    ],
)
def test_only_a_clear_no_counts_as_one(text: str, http_status: int, clear: bool) -> None:
    assert says_no(text, http_status=http_status) is clear


@pytest.mark.parametrize("text", ["Too Many Requests", "Rate limit exceeded", "rate_limit"])
def test_haste_is_recognised(text: str) -> None:
    assert is_about_haste(text)


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("Incorrect order ID", True),
        ("Invalid order", True),
        ("Order not found", True),
        ("order doesn't exist", True),
        ("Order ID is invalid", True),
        ("Invalid API key", False),
        ("Incorrect request", False),
    ],
)
def test_refusal_about_an_order_id_is_recognised(text: str, about: bool) -> None:
    assert is_about_an_id(text) is about


@given(JSON_VALUES)
def test_no_answer_makes_reading_a_refusal_fail(payload: Any) -> None:
    text = refusal(load(json.dumps(payload).encode()))

    assert text is None or 0 < len(text) <= 300
