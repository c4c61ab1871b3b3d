"""The one table of refusals is complete, and speaks three languages."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.utils import translation

import accounts
import catalog
import orders
from accounts.api_keys import AccountSuspended, InvalidApiKey, NotPermitted
from accounts.encryption import SecretUnreadable
from accounts.exchange import RateMissing
from accounts.ledger import EntryKeyReused, InsufficientFunds, UnbalancedEntry
from accounts.limits import TooManyRequests
from accounts.models import ApiKey
from accounts.webhook_urls import UrlRefused
from accounts.webhooks import WebhookNotFound, WebhookRefused
from catalog.listing import ServiceNotFound, ServiceUnavailable
from catalog.order_types import FIELDS
from catalog.pricing import NotPriced, Price, Quote
from catalog.providers import OutcomeUnknown
from orders.bulk import TooManyOrders
from orders.cancellations import ActionRefused, CancelProblem, CancelRefused
from orders.checkout import (
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    InvalidIdempotencyKey,
    InvalidOrder,
    LinkBusy,
    PriceRaised,
    TwinOrder,
)
from orders.dripfeed import SeriesRefusal, SeriesRefused
from orders.listing import OrderNotFound
from orders.mass import ColumnsWrong, Fault, TableRefused
from orders.models import Order
from orders.moves import MoveNotAllowed
from orders.play import WrongAccount, WrongProvider
from orders.refills import RefillNotFound, RefillProblem, RefillRefused
from orders.refusals import LineDearer
from orders.requests import InvalidRequest, Problem, ProblemCode
from storefront.api.panel import texts
from storefront.errors import TABLE, describe, label_of, problem_text

NOON = datetime(2026, 5, 17, 12, tzinfo=UTC)
REQUIRED = Problem("link", ProblemCode.REQUIRED)
TABLE_PARAMS = {"limit": 1000, "line": 3, "column": "colour"}
QUOTE = Quote(
    Price(Decimal(1), Decimal(1), "USD", Decimal(1), Decimal(1), per_package=False),
    1,
    Decimal("12.345"),
)


# The sandbox is a program of its own; from a provider's client only ProviderError comes out.
ELSEWHERE = ("catalog.sandbox", "catalog.providers.", "catalog.management", "accounts.management")


def domain_exceptions() -> Iterator[type[Exception]]:
    """Every exception class that a module below the storefront defines and that is raised itself:
    bases, which others stand below, are not."""
    for package in (accounts, catalog, orders):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            is_front = {"migrations", "admin"} & {*module.name.split(".")}
            if is_front or module.name.startswith(ELSEWHERE):
                continue
            for value in vars(importlib.import_module(module.name)).values():
                if (
                    isinstance(value, type)
                    and issubclass(value, Exception)
                    and value.__module__ == module.name
                    and not any(
                        below.__module__.partition(".")[0] in ("accounts", "catalog", "orders")
                        for below in value.__subclasses__()
                    )
                ):
                    yield value


def test_table_knows_every_exception_of_the_domain():
    unknown = [
        f"{exception.__module__}.{exception.__qualname__}"
        for exception in domain_exceptions()
        if not any(ancestor in TABLE for ancestor in exception.__mro__)
    ]

    assert unknown == []


@pytest.mark.parametrize(
    ("exception", "code", "http_status"),
    [
        (InvalidApiKey(), "invalid_api_key", 401),
        (AccountSuspended(ApiKey(pk=1)), "account_suspended", 403),
        (NotPermitted("orders:write"), "permission_denied", 403),
        (TooManyRequests(30), "rate_limited", 429),
        (
            InsufficientFunds(required=Decimal(2), available=Decimal(1), currency="USD"),
            "insufficient_balance",
            400,
        ),
        (ServiceNotFound(), "service_not_found", 404),
        (ServiceUnavailable(), "service_unavailable", 400),
        (NotPriced(), "service_unavailable", 400),
        (RateMissing(), "service_unavailable", 400),
        (InvalidOrder((REQUIRED,)), "validation_error", 422),
        (InvalidRequest(REQUIRED), "validation_error", 422),
        (InvalidIdempotencyKey(), "invalid_idempotency_key", 422),
        (IdempotencyKeyReused(), "idempotency_key_reused", 422),
        (IdempotencyKeyInUse(), "idempotency_key_in_use", 409),
        (TooManyOrders(101), "too_many_orders", 422),
        (PriceRaised(QUOTE), "price_changed", 409),
        (LineDearer(Decimal("1.5"), "USD"), "price_changed", 409),
        (ColumnsWrong(("service", "link")), "invalid_table", 422),
        *((TableRefused(fault, **TABLE_PARAMS), "invalid_table", 422) for fault in Fault),
        (LinkBusy(), "link_busy", 409),
        (TwinOrder(Order(pk=7)), "duplicate_order", 409),
        (OrderNotFound("1"), "order_not_found", 404),
        (ActionRefused("why"), "action_refused", 409),
        (RefillRefused(RefillProblem.NO_GUARANTEE), "not_refillable", 400),
        (RefillRefused(RefillProblem.NOT_FINISHED), "not_refillable", 400),
        (RefillRefused(RefillProblem.NOT_DELIVERED), "not_refillable", 400),
        (RefillRefused(RefillProblem.WINDOW_OVER, until=NOON), "refill_window_over", 400),
        (RefillRefused(RefillProblem.OPEN), "refill_open", 409),
        (RefillNotFound("1"), "refill_not_found", 404),
        (CancelRefused(CancelProblem.ENDED), "not_cancellable", 400),
        (CancelRefused(CancelProblem.NOT_OFFERED), "not_cancellable", 400),
        (CancelRefused(CancelProblem.REFUSED), "not_cancellable", 400),
        (CancelRefused(CancelProblem.REQUESTED), "cancel_requested", 409),
        *((SeriesRefused(reason), "series_refused", 409) for reason in SeriesRefusal),
        (WebhookRefused({"url": ["why", "more"]}), "validation_error", 422),
        (WebhookRefused({"delivery": ["why"]}), "webhook_refused", 409),
        (WebhookNotFound("1"), "webhook_not_found", 404),
        (UrlRefused("why"), "validation_error", 422),
        (UnbalancedEntry(), "server_error", 500),
        (EntryKeyReused("order:1:charge"), "server_error", 500),
        (MoveNotAllowed(), "server_error", 500),
        (WrongAccount(), "server_error", 500),
        (WrongProvider(), "server_error", 500),
        (OutcomeUnknown("provider Example"), "server_error", 500),
        (SecretUnreadable(), "server_error", 500),
        (RuntimeError("internals"), "server_error", 500),
    ],
)
def test_describe(exception, code, http_status):
    described = describe(exception)

    assert (described.code, described.http_status) == (code, http_status)
    assert described.title
    assert described.message
    # The panel dialect has a text of its own for each.
    assert texts.error_text(exception)


def test_describe_of_our_own_failures_tells_nothing():
    assert {
        describe(failure).message
        for failure in (RuntimeError("internals"), OutcomeUnknown("provider Example"))
    } == {"Something went wrong on our side. Please try again later."}


def test_describe_of_a_guarantee_that_is_over_tells_when_it_ended():
    over = RefillRefused(RefillProblem.WINDOW_OVER, until=NOON)

    assert describe(over).message == "The refill guarantee ended on May 17, 2026."


@pytest.mark.parametrize(
    ("available", "required", "shown"),
    [
        ("10", "50", ("10.00", "50.00")),
        ("9.999", "10", ("9.99", "10.00")),
        ("10", "10.001", ("10.00", "10.01")),
        ("0", "0.0039", ("0.00", "0.0039")),
        ("0.000001", "9223372036854.775807", ("0.000001", "9223372036854.78")),
        ("0.006", "1E+40", ("0.006", "1" + "0" * 40 + ".00")),
    ],
)
def test_amounts_in_texts_have_two_decimals_unless_those_would_show_zero(
    available, required, shown
):
    error = InsufficientFunds(
        required=Decimal(required), available=Decimal(available), currency="USD"
    )

    assert describe(error).message == (
        f"Your balance ({shown[0]} USD) is not enough for this order ({shown[1]} USD)."
    )


@pytest.mark.parametrize(
    ("problem", "french"),
    [
        (REQUIRED, "Le champ Lien est requis."),
        (Problem("comments", ProblemCode.INVALID), "Le champ Commentaires n'est pas valide."),
        (
            Problem("quantity", ProblemCode.TOO_SMALL, {"minimum": 10, "maximum": 10_000}),
            "La quantité doit être entre 10 et 10000.",
        ),
        (
            Problem("comments", ProblemCode.TOO_LARGE, {"minimum": 1, "maximum": 20}),
            "Le champ Commentaires doit contenir entre 1 et 20 lignes.",
        ),
        (
            Problem("link", ProblemCode.TOO_LONG, {"limit": 2048}),
            "Le champ Lien ne doit pas dépasser 2048 caractères.",
        ),
        (
            Problem("runs", ProblemCode.NOT_ALLOWED),
            "Le champ Passages n'est pas disponible pour ce service.",
        ),
    ],
)
def test_problem_text_names_the_field_for_people(problem, french):
    with translation.override("fr"):
        assert problem_text(problem) == french


@pytest.mark.parametrize(
    ("problem", "english", "panel"),
    [
        (
            Problem("delay", ProblemCode.TOO_LARGE, {"minimum": 0, "maximum": 600}),
            "The Delay in minutes field must be between 0 and 600.",
            "Delay must be at most 600",
        ),
        (
            Problem("max", ProblemCode.TOO_SMALL, {"minimum": 10, "maximum": 600}),
            "The Maximum per post field must be between 10 and 600.",
            "Max must be at least 10",
        ),
        (
            Problem("usernames", ProblemCode.TOO_SMALL, {"minimum": 10, "maximum": 600}),
            "The User names field must have between 10 and 600 lines.",
            "Quantity must be at least 10",
        ),
        (
            Problem("runs", ProblemCode.TOO_LARGE_TOGETHER, {"maximum": 600}),
            "All runs together may come to at most 600.",
            "Quantity must be at most 600",
        ),
        (
            Problem("expiry", ProblemCode.IN_THE_PAST),
            "The Last day field must be a day after today.",
            "Invalid expiry",
        ),
        (
            Problem("link", ProblemCode.WRONG_NETWORK, {"expected": "twitter", "found": "youtube"}),
            "This link leads to YouTube, and the service is for X (Twitter).",
            "Invalid link",
        ),
        (
            Problem("link", ProblemCode.WRONG_TARGET, {"expected": "post", "found": "profile"}),
            "This service needs the link of a single post or video."
            " Yours leads to a profile, page or channel.",
            "Invalid link",
        ),
        (
            Problem("answer_number", ProblemCode.REQUIRED),
            "The Number of the answer field is required.",
            "Answer number is required",
        ),
    ],
)
def test_problem_text_of_the_order_types(problem, english, panel):
    with translation.override("en"):
        assert problem_text(problem) == english
    assert texts.problem_text(problem) == panel


@pytest.mark.parametrize("code", ProblemCode)
def test_every_problem_has_words(code):
    params = {"minimum": 1, "maximum": 2, "limit": 3, "expected": "group", "found": "post"}
    if code is ProblemCode.WRONG_NETWORK:
        params |= {"expected": "discord", "found": "tiktok"}

    assert problem_text(Problem("link", code, params))
    assert texts.problem_text(Problem("link", code, params))


def test_every_field_has_a_label():
    with translation.override("en"):
        assert [name for name in FIELDS if label_of(name) == name] == []


def test_problem_text_names_the_field_as_a_program_does():
    with translation.override("fr"):
        assert problem_text(REQUIRED, field="link") == "Le champ link est requis."
