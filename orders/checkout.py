"""Selling: from what a customer asks for to a charged order that waits to be sent."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from django.db import IntegrityError, OperationalError, connection
from django.db.models import QuerySet
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
from catalog.providers import play as play_provider
from orders import dripfeed, play, queueing, subscriptions
from orders.models import EventKind, Order, Source
from orders.moves import by_customer, record
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
# A job of the queue: its function, and what it is called with.
Job = tuple[str] | tuple[str, int]
# PostgreSQL's SQLSTATE of a lock that was waited for longer than `lock_timeout`.
_LOCK_NOT_AVAILABLE = "55P03"
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


class IdempotencyKeyInUse(OrderError):
    """The first request with this idempotency key still runs, and does so for too long to wait."""


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
class Sale:
    """An order that can be taken: what is sold, what was understood, and what it costs."""

    listed: Listed
    request: OrderRequest
    quote: Quote


@dataclass(frozen=True)
class Mark:
    """Who orders, through what, and how a repeat is recognised."""

    customer: User
    source: Source
    api_key: ApiKey | None
    idempotency_key: str | None
    fingerprint: str


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
        refuse_odd_key(idempotency_key)
        if replay := _find_replay(customer, idempotency_key, fingerprint):
            return replay
    sale = _read(draft, currency)
    quote = sale.quote
    if at_most is not None and quote.charge > at_most:
        raise PriceRaised(quote)

    def sell() -> tuple[Order, Wallet]:
        if idempotency_key is not None:
            hold_keys(customer, [idempotency_key])
        wallet = ledger.wallet_of(customer, currency)
        if quote.charge > LARGEST_CHARGE:
            raise InsufficientFunds(
                required=quote.charge, available=wallet.balance, currency=currency
            )
        service, request = sale.listed.service, sale.request
        if refuse_twins_within is not None:
            _refuse_twins(wallet, service, request, within=refuse_twins_within)
        if service.same_link == SameLink.REFUSE and queueing.is_taken(
            service, request.link_key, by=customer
        ):
            raise LinkBusy
        mark = Mark(customer, source, api_key, idempotency_key, fingerprint)
        order, job = write_sale(sale, wallet=wallet, mark=mark)
        async_task(*job, q_options={"save": False})
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
            link_taken = queueing.is_taken(listed.service, request.link_key, by=customer)
    except InvalidRequest as error:
        problems = error.problems
        if listed and error.quantity is not None:
            # The price does not depend on what is wrong: it can be told already.
            quote = pricing.quote_at(listed.price, error.quantity)
    except CatalogError:
        listed = None
    missing = max(quote.charge - balance, ZERO) if quote else ZERO
    return Preview(listed, quote, problems, balance, missing, request, link_taken)


def read_sale(draft: OrderDraft, listed: Listed) -> Sale:
    """What the draft asks of this service, and its price. Raises InvalidOrder."""
    try:
        request = read_request(draft, listed.service)
    except InvalidRequest as error:
        raise InvalidOrder(error.problems) from error
    return Sale(listed, request, pricing.quote_at(listed.price, request.quantity))


def write_sale(sale: Sale, *, wallet: Wallet, mark: Mark) -> tuple[Order, Job]:
    """Write the order and charge the wallet, in the caller's transaction, which must also queue
    the job that is returned: so there is no order without it, and no job without its order.

    Raises InsufficientFunds, and IntegrityError where the customer's idempotency key is taken.
    """
    order = _write(sale, wallet=wallet, mark=mark)
    ledger.charge(
        wallet,
        sale.quote.charge,
        key=_charge_key(order),
        subject=order.subject,
        account=play.account_of(order),
    )
    record(order, EventKind.CREATED, by=by_customer(mark.customer, mark.api_key))
    job = _set_out(order, sale.request)
    order.refresh_from_db(fields=["created_at", "status_changed_at", "send_after"])
    return order, job


def _read(draft: OrderDraft, currency: str) -> Sale:
    try:
        service_id = read_service_id(draft.service_id)
    except InvalidRequest as error:
        raise InvalidOrder(error.problems) from error
    return read_sale(draft, listing.find(service_id, currency=currency))


def _write(sale: Sale, *, wallet: Wallet, mark: Mark) -> Order:
    service, request, price = sale.listed.service, sale.request, sale.quote.price
    sandbox = play.is_for_play(mark.customer, wallet=wallet, api_key=mark.api_key)
    return Order.objects.create(
        customer=mark.customer,
        wallet=wallet,
        service=service,
        provider=play_provider.provider() if sandbox else service.provider,
        sandbox=sandbox,
        type=service.type,
        link=request.link,
        link_key=request.link_key,
        quantity=request.quantity,
        runs=request.runs,
        interval=request.interval,
        fields=request.fields,
        client_ref=request.client_ref,
        source=mark.source,
        api_key=mark.api_key,
        idempotency_key=mark.idempotency_key,
        fingerprint=mark.fingerprint,
        currency=wallet.currency,
        charge=sale.quote.charge,
        rate=price.rate,
        provider_rate=price.provider_rate,
        exchange_rate=round(price.exchange_rate, 10),
        # 0 days: a guarantee without end.
        guarantee_days=(service.refill_days or 0) if service.offers_refill else None,
    )


def _set_out(order: Order, request: OrderRequest) -> Job:
    """What follows on the sale; returns the job that does the rest."""
    if request.terms is not None:
        subscriptions.open(order, request.terms)
    if request.runs is not None and not order.service.passes_dripfeed_on:
        # Its runs are orders of their own, made when they are due.
        dripfeed.open(order)
        return ("orders.tasks.tick",)
    return ("orders.tasks.dispatch_provider", order.provider_id)


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


def read_idempotency_key(value: object) -> str | None:
    """An idempotency key as a program sends it among its parameters: a text or a whole number;
    None where there is none, or a blank one, as forms send what they do not use.

    Raises InvalidIdempotencyKey.
    """
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise InvalidIdempotencyKey
    refuse_odd_key(value)
    return value


def refuse_odd_key(key: str) -> None:
    """Raises InvalidIdempotencyKey unless it has 1 to 255 printable characters."""
    if not 1 <= len(key) <= IDEMPOTENCY_KEY_LIMIT or not key.isprintable() or not key.strip():
        raise InvalidIdempotencyKey


def hold_keys(customer: User, keys: Collection[str]) -> None:
    """Let nobody else sell under these idempotency keys before the caller's transaction has ended.

    A sale begins with this, before it holds any wallet: those with a key in common queue here,
    and whoever comes later finds what the first one left. All keys at once, in one order for all
    sales, so that none waits for another that waits for it.

    Raises IdempotencyKeyInUse where the wait is too long; the transaction has to be given up then.
    """
    if not keys or connection.vendor != "postgresql":
        return  # SQLite: a sale is the only writer there is, from its beginning
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(number) FROM unnest(%s::bigint[]) AS number",
                [sorted(_number(customer, key) for key in keys)],
            )
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            raise IdempotencyKeyInUse from error
        raise


def find_replays(customer: User, keys: Collection[str]) -> dict[str, Placed]:
    """What was placed before under these idempotency keys, by key; two queries at most."""
    orders = Order.objects.filter(customer=customer, idempotency_key__in=keys)
    return {str(placed.order.idempotency_key): placed for placed in as_replays(orders)}


def as_replays(orders: QuerySet[Order]) -> list[Placed]:
    """These orders as a repeat is answered with them; two queries at most."""
    found = list(orders.select_related("service__category"))
    balances = {
        (posting.entry_id, posting.wallet_id): posting.balance_after
        for posting in Posting.objects.filter(entry__in=[_charge_key(order) for order in found])
    }
    return [
        Placed(
            order=order,
            balance_after=balances[_charge_key(order), order.wallet_id] or ZERO,
            replayed=True,
        )
        for order in found
    ]


def _find_replay(customer: User, key: str, fingerprint: str) -> Placed | None:
    replay = find_replays(customer, [key]).get(key)
    if replay is not None and replay.order.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    return replay


def _number(customer: User, key: str) -> int:
    """The number that stands for a customer's key among PostgreSQL's advisory locks."""
    digest = hashlib.blake2b(f"{customer.pk}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
