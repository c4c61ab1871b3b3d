"""Selling: from what a customer asks for to a charged order that waits to be sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from django.db import IntegrityError
from django_q.tasks import async_task

from accounts import ledger
from accounts.clock import from_now
from accounts.ledger import InsufficientFunds
from accounts.models import ApiKey, Posting, User, Wallet
from accounts.money import AMOUNT_PLACES, MAX_BIGINT, ZERO
from accounts.retrying import in_one_transaction
from catalog import listing, pricing
from catalog.listing import CatalogError, Listed
from catalog.models import SameLink, Service
from catalog.pricing import Quote
from orders import dripfeed, queueing, subscriptions
from orders.models import EventKind, Order, Source
from orders.moves import by_customer, record
from orders.refunds import charged_to
from orders.requests import (
    InvalidRequest,
    OrderDraft,
    OrderRequest,
    Problem,
    read_request,
    read_service_id,
)
from orders.statuses import Status

IDEMPOTENCY_KEY_LIMIT = 255
# More than any wallet can hold, and the column could not store it.
LARGEST_CHARGE = Decimal(MAX_BIGINT).scaleb(-AMOUNT_PLACES)
# Whoever asks for the same again after one of these means it.
_CAME_TO_NOTHING = (Status.FAILED, Status.CANCELLED, Status.REFUNDED)


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


class LinkBusy(OrderError):
    """The service takes one order of a link at a time, and has one."""


class TwinOrder(OrderError):
    """The customer gave the same order a moment ago: `order`. Asked again, they may mean it."""

    def __init__(self, order: Order) -> None:
        super().__init__(str(order))
        self.order = order


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
    fields that it does not depend on. Of a subscription the quote is what is reserved, the most
    that it can come to. `missing` is what the wallet lacks. `request` is what was understood, None
    beside problems; `link_taken` tells that an order of its link is under way, so that this one
    would wait, or be refused (`Service.same_link`).
    """

    listed: Listed | None
    quote: Quote | None
    problems: tuple[Problem, ...]
    balance: Decimal
    missing: Decimal
    request: OrderRequest | None = None
    link_taken: bool = False


def place_order(
    *,
    customer: User,
    currency: str,
    draft: OrderDraft,
    source: Source,
    idempotency_key: str | None = None,
    api_key: ApiKey | None = None,
    at_most: Decimal | None = None,
    refuse_twins_within: timedelta | None = None,
) -> Placed:
    """Charge the customer's wallet in `currency` and record the order, once per idempotency key.

    The provider is not called here: the charge, the order and the job that sends it are one
    transaction. `at_most` is the charge that the customer was shown, in `currency`;
    `refuse_twins_within` refuses the same order given again within that time. The charge of a
    subscription is a reserve (`orders/subscriptions.py`).

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

    def sell() -> tuple[Order, Wallet]:
        wallet = ledger.wallet_of(customer, currency)
        if quote.charge > LARGEST_CHARGE:
            raise InsufficientFunds(
                required=quote.charge, available=wallet.balance, currency=currency
            )
        if refuse_twins_within is not None:
            _refuse_twins(wallet, listed.service, request, within=refuse_twins_within)
        if listed.service.same_link == SameLink.REFUSE and queueing.is_taken(
            listed.service, request.link_key
        ):
            raise LinkBusy
        order = _write(
            request,
            quote,
            listed.service,
            customer=customer,
            wallet=wallet,
            source=source,
            api_key=api_key,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint,
        )
        ledger.charge(
            wallet,
            quote.charge,
            key=_charge_key(order),
            subject=order.subject,
            account=charged_to(order.type),
        )
        record(order, EventKind.CREATED, by=by_customer(customer, api_key))
        _set_out(order, request)
        order.refresh_from_db(fields=["created_at", "status_changed_at", "send_after"])
        return order, wallet

    try:
        order, wallet = in_one_transaction(sell)
    except (IntegrityError, LinkBusy, TwinOrder):
        # Two requests with one key at once: the unique constraint let the other one in first, or
        # it is the very order that is in our way.
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
    listed = quote = request = None
    problems: tuple[Problem, ...] = ()
    link_taken = False
    try:
        listed = listing.find(read_service_id(draft.service_id), currency=currency)
        request = read_request(draft, listed.service)
        quote = pricing.quote_at(listed.price, request.quantity)
        if listed.service.same_link != SameLink.OFF:
            link_taken = queueing.is_taken(listed.service, request.link_key)
    except InvalidRequest as error:
        problems = error.problems
        if listed and error.quantity is not None:
            # The price does not depend on what is wrong: it can be told already.
            quote = pricing.quote_at(listed.price, error.quantity)
    except CatalogError:
        listed = None
    missing = max(quote.charge - balance, ZERO) if quote else ZERO
    return Preview(listed, quote, problems, balance, missing, request, link_taken)


def _read(draft: OrderDraft, currency: str) -> tuple[Listed, OrderRequest]:
    try:
        listed = listing.find(read_service_id(draft.service_id), currency=currency)
        return listed, read_request(draft, listed.service)
    except InvalidRequest as error:
        raise InvalidOrder(error.problems) from error


def _write(
    request: OrderRequest,
    quote: Quote,
    service: Service,
    *,
    customer: User,
    wallet: Wallet,
    source: Source,
    api_key: ApiKey | None,
    idempotency_key: str | None,
    fingerprint: str,
) -> Order:
    return Order.objects.create(
        customer=customer,
        wallet=wallet,
        service=service,
        provider=service.provider,
        type=service.type,
        link=request.link,
        link_key=request.link_key,
        quantity=request.quantity,
        runs=request.runs,
        interval=request.interval,
        fields=request.fields,
        client_ref=request.client_ref,
        source=source,
        api_key=api_key,
        idempotency_key=idempotency_key,
        fingerprint=fingerprint,
        currency=wallet.currency,
        charge=quote.charge,
        rate=quote.price.rate,
        provider_rate=quote.price.provider_rate,
        exchange_rate=round(quote.price.exchange_rate, 10),
        # 0 days: a guarantee without end.
        guarantee_days=(service.refill_days or 0) if service.offers_refill else None,
    )


def _set_out(order: Order, request: OrderRequest) -> None:
    """What follows on the sale, and the job that does it: a row of the same transaction, so that
    there is no order without it, and no job without its order."""
    if request.terms is not None:
        subscriptions.open(order, request.terms)
    if request.runs is not None and not order.service.passes_dripfeed_on:
        # Its runs are orders of their own, made when they are due.
        dripfeed.open(order)
        async_task("orders.tasks.tick", q_options={"save": False})
        return
    async_task("orders.tasks.dispatch_provider", order.provider_id, q_options={"save": False})


def _refuse_twins(
    wallet: Wallet, service: Service, request: OrderRequest, *, within: timedelta
) -> None:
    # Locked, so that of two clicks at once the second one sees the first one's order.
    Wallet.objects.select_for_update(no_key=True).get(pk=wallet.pk)
    lately = Order.objects.filter(
        customer=wallet.user_id,
        service=service,
        link_key=request.link_key,
        quantity=request.quantity,
        runs=request.runs,
        interval=request.interval,
        parent=None,
        created_at__gte=from_now(-within),
    ).exclude(status__in=_CAME_TO_NOTHING)
    for order in lately.order_by("-pk"):
        if order.fields == request.fields:
            raise TwinOrder(order)


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
