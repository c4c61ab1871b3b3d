"""Selling: from what a customer asks for to a charged order that waits to be sent."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.db import IntegrityError, transaction
from django_q.tasks import async_task

from accounts import ledger
from accounts.ledger import InsufficientFunds
from accounts.models import ApiKey, Posting, User, Wallet
from accounts.money import AMOUNT_PLACES, MAX_BIGINT, ZERO
from catalog import listing, pricing
from catalog.listing import CatalogError, Listed
from catalog.pricing import Quote
from orders.models import Order, Source
from orders.requests import (
    InvalidRequest,
    OrderDraft,
    OrderRequest,
    Problem,
    read_request,
    read_service_id,
)

IDEMPOTENCY_KEY_LIMIT = 255
# More than any wallet can hold, and the column could not store it.
LARGEST_CHARGE = Decimal(MAX_BIGINT).scaleb(-AMOUNT_PLACES)


class OrderError(Exception):
    """Base of what checkout refuses. Nothing has changed."""


class InvalidOrder(OrderError):
    """The order cannot be accepted as it stands; `problems` says why, field by field."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(", ".join(f"{p.field}: {p.code}" for p in problems))
        self.problems = problems


class InvalidIdempotencyKey(OrderError):
    """The idempotency key is empty, too long, or not printable."""


class IdempotencyKeyReused(OrderError):
    """The customer used this idempotency key before, for another order."""


class PriceRaised(OrderError):
    """The charge is now higher than the one that the customer agreed to."""

    def __init__(self, quote: Quote) -> None:
        super().__init__(f"now {quote.charge} {quote.price.currency}")
        self.quote = quote


@dataclass(frozen=True)
class Placed:
    """An accepted order. A replay carries the first order and the balance as it was then."""

    order: Order
    balance_after: Decimal
    replayed: bool


@dataclass(frozen=True)
class Preview:
    """What an order would cost, for a form that is being filled in; nothing is reserved.

    `listed` and `quote` are None while they cannot be told; a quote may stand beside problems of
    fields that it does not depend on. `missing` is what the wallet lacks.
    """

    listed: Listed | None
    quote: Quote | None
    problems: tuple[Problem, ...]
    balance: Decimal
    missing: Decimal


def place_order(
    *,
    customer: User,
    currency: str,
    draft: OrderDraft,
    source: Source,
    idempotency_key: str | None = None,
    api_key: ApiKey | None = None,
    at_most: Decimal | None = None,
) -> Placed:
    """Charge the customer's wallet in `currency` and record the order, once per idempotency key.

    The provider is not called here: the charge, the order and the job that sends it are one
    transaction. `at_most` is the charge that the customer was shown, in `currency`.

    Raises OrderError, CatalogError (unknown service, not available) or InsufficientFunds, and
    then nothing has changed.
    """
    fingerprint = draft.fingerprint(currency)
    if idempotency_key is not None:
        _refuse_odd_key(idempotency_key)
        if replay := _find_replay(customer, idempotency_key, fingerprint):
            return replay
    listed, request = _read(draft, currency)
    quote = pricing.quote_at(listed.price, request.quantity)
    if at_most is not None and quote.charge > at_most:
        raise PriceRaised(quote)
    try:
        with transaction.atomic():
            wallet = ledger.wallet_of(customer, currency)
            if quote.charge > LARGEST_CHARGE:
                raise InsufficientFunds(
                    required=quote.charge, available=wallet.balance, currency=currency
                )
            order = Order.objects.create(
                customer=customer,
                wallet=wallet,
                service=listed.service,
                provider=listed.service.provider,
                type=listed.service.type,
                link=request.link,
                quantity=request.quantity,
                fields=request.fields,
                client_ref=request.client_ref,
                source=source,
                api_key=api_key,
                idempotency_key=idempotency_key,
                fingerprint=fingerprint,
                currency=currency,
                charge=quote.charge,
                rate=quote.price.rate,
                provider_rate=quote.price.provider_rate,
                exchange_rate=round(quote.price.exchange_rate, 10),
            )
            ledger.charge(wallet, quote.charge, key=_charge_key(order), subject=order.subject)
            # The job is a row of the same transaction: no order without it, and no job without
            # its order.
            async_task(
                "orders.tasks.dispatch_provider", order.provider_id, q_options={"save": False}
            )
            order.refresh_from_db(fields=["created_at", "status_changed_at"])
    except IntegrityError:
        # Two requests with one key at once: the unique constraint let the other one in first.
        if idempotency_key is not None and (
            replay := _find_replay(customer, idempotency_key, fingerprint)
        ):
            return replay
        raise
    return Placed(order=order, balance_after=wallet.balance, replayed=False)


def preview(*, customer: User, currency: str, draft: OrderDraft) -> Preview:
    """What `place_order` would do with this draft. Writes nothing, raises nothing for bad input."""
    balance = (
        Wallet.objects.filter(user=customer, currency=currency)
        .values_list("balance", flat=True)
        .first()
    ) or ZERO
    listed = quote = None
    problems: tuple[Problem, ...] = ()
    try:
        listed = listing.find(read_service_id(draft.service_id), currency=currency)
        request = read_request(draft, listed.service)
        quote = pricing.quote_at(listed.price, request.quantity)
    except InvalidRequest as error:
        problems = error.problems
        if listed and error.quantity is not None:
            # The price does not depend on what is wrong: it can be told already.
            quote = pricing.quote_at(listed.price, error.quantity)
    except CatalogError:
        listed = None
    missing = max(quote.charge - balance, ZERO) if quote else ZERO
    return Preview(listed, quote, problems, balance, missing)


def _read(draft: OrderDraft, currency: str) -> tuple[Listed, OrderRequest]:
    try:
        listed = listing.find(read_service_id(draft.service_id), currency=currency)
        return listed, read_request(draft, listed.service)
    except InvalidRequest as error:
        raise InvalidOrder(error.problems) from error


def _charge_key(order: Order) -> str:
    return f"{order.subject}:charge"


def _refuse_odd_key(key: str) -> None:
    if not 1 <= len(key) <= IDEMPOTENCY_KEY_LIMIT or not key.isprintable() or not key.strip():
        raise InvalidIdempotencyKey


def _find_replay(customer: User, key: str, fingerprint: str) -> Placed | None:
    order = (
        Order.objects.select_related("service__category")
        .filter(customer=customer, idempotency_key=key)
        .first()
    )
    if order is None:
        return None
    if order.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    charge = Posting.objects.get(entry=_charge_key(order), wallet=order.wallet_id)
    return Placed(order=order, balance_after=charge.balance_after, replayed=True)
