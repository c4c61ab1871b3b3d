"""The one table of refusals is complete, and speaks three languages."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from decimal import Decimal

import pytest
from django.utils import translation

import accounts
import catalog
import orders
from accounts.api_keys import AccountSuspended, InvalidApiKey
from accounts.encryption import SecretUnreadable
from accounts.exchange import RateMissing
from accounts.ledger import EntryKeyReused, InsufficientFunds, UnbalancedEntry
from accounts.models import ApiKey
from catalog.listing import ServiceNotFound, ServiceUnavailable
from catalog.pricing import NotPriced, Price, Quote
from catalog.providers import OutcomeUnknown
from orders.cancellations import ActionRefused
from orders.checkout import (
    IdempotencyKeyReused,
    InvalidIdempotencyKey,
    InvalidOrder,
    PriceRaised,
)
from orders.listing import OrderNotFound
from orders.requests import InvalidRequest, Problem, ProblemCode
from orders.statuses import MoveNotAllowed
from storefront.api.panel import texts
from storefront.errors import TABLE, describe, problem_text

REQUIRED = Problem("link", ProblemCode.REQUIRED)
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
        (PriceRaised(QUOTE), "price_changed", 409),
        (OrderNotFound("1"), "order_not_found", 404),
        (ActionRefused("why"), "action_refused", 409),
        (UnbalancedEntry(), "server_error", 500),
        (EntryKeyReused("order:1:charge"), "server_error", 500),
        (MoveNotAllowed(), "server_error", 500),
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
        (Problem("answer_number", ProblemCode.REQUIRED), "Le champ answer_number est requis."),
    ],
)
def test_problem_text_names_the_field_for_people(problem, french):
    with translation.override("fr"):
        assert problem_text(problem) == french


def test_problem_text_names_the_field_as_a_program_does():
    with translation.override("fr"):
        assert problem_text(REQUIRED, field="link") == "Le champ link est requis."
