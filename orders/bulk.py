"""Selling several orders in one request: each has an answer of its own, and one wallet pays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from django_q.tasks import async_task

from accounts import ledger
from accounts.ledger import InsufficientFunds
from accounts.models import ApiKey, User, Wallet
from accounts.money import ZERO
from accounts.retrying import in_one_transaction
from catalog import listing
from catalog.listing import CatalogError, Listed, ServiceNotFound, ServiceUnavailable
from catalog.models import SameLink
from orders import queueing, refusals
from orders.checkout import (
    IdempotencyKeyReused,
    InvalidIdempotencyKey,
    InvalidOrder,
    Job,
    LinkBusy,
    Mark,
    OrderError,
    Placed,
    Sale,
    as_replays,
    find_replays,
    hold_keys,
    read_idempotency_key,
    read_sale,
    refuse_odd_key,
    write_sale,
)
from orders.models import KeyedBatch, Order, Source
from orders.requests import InvalidRequest, OrderDraft, Problem, ProblemCode, read_service_id

MAX_ORDERS = 100

# Exception: an OrderError or CatalogError, or one that was kept from the first time.
Outcome = Placed | Exception
_Link = tuple[int, str]


class TooManyOrders(OrderError):
    """More than MAX_ORDERS at once."""


@dataclass(frozen=True)
class BulkItem:
    """One order of a batch as received. `idempotency_key` is its own: a text, a number, nothing."""

    draft: OrderDraft
    idempotency_key: object = None


@dataclass(frozen=True)
class Batch:
    """What became of each item, in their order. `balance` is what the wallet held after the newest
    of the orders; a repeat gets the same."""

    outcomes: tuple[Outcome, ...]
    balance: Decimal

    @property
    def placed(self) -> list[Placed]:
        """The items that are orders now, or were before."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, Placed)]


@dataclass(frozen=True)
class _Asked:
    """One item with what recognises a repeat of it, and what could be sold, or why not."""

    key: str | None
    fingerprint: str
    sale: Sale | OrderError | CatalogError


def place_many(
    *,
    customer: User,
    currency: str,
    items: Sequence[BulkItem],
    source: Source,
    api_key: ApiKey | None = None,
    idempotency_key: str | None = None,
) -> Batch:
    """Place what can be placed of 1 to 100 orders, in one transaction; the others get the reason
    that `checkout.place_order` would refuse them for.

    A repeat of an item under its own key is answered with the first order and charged nothing.
    `idempotency_key` is one for the whole batch: a repeat of a batch of which something was placed
    gets its first answer, refusals included, and nothing is judged or charged again.

    Raises InsufficientFunds where the wallet does not hold the total of all that could be placed,
    TooManyOrders, InvalidOrder (no item), IdempotencyKeyInUse, and, for the key of the batch,
    InvalidIdempotencyKey or IdempotencyKeyReused; then nothing has changed.
    """
    if not items:
        raise InvalidOrder((Problem("orders", ProblemCode.REQUIRED),))
    if len(items) > MAX_ORDERS:
        raise TooManyOrders(len(items))
    whole = None
    if idempotency_key is not None:
        refuse_odd_key(idempotency_key)
        whole = _Whole.of(idempotency_key, items, customer=customer, currency=currency)
    services = listing.find_many(_service_ids(items), currency=currency)
    asked = [_ask(item, currency=currency, services=services) for item in items]
    keys = {one.key for one in asked if one.key is not None}

    def sell() -> Batch:
        hold_keys(customer, keys | {whole.key_digest} if whole else keys)
        if whole and (first := whole.first_answer()):
            return first
        # Held until all are charged: the total is compared with what there is.
        wallet = ledger.held_wallet_of(customer, currency)
        replays = find_replays(customer, keys)
        outcomes, sales = _sort_out(asked, replays, customer=customer)
        total = sum((sale.quote.charge for sale in sales.values()), ZERO)
        if total > wallet.balance:
            raise InsufficientFunds(required=total, available=wallet.balance, currency=currency)
        jobs: dict[Job, None] = {}
        for number, sale in sales.items():
            one = asked[number]
            mark = Mark(customer, source, api_key, one.key, one.fingerprint)
            order, job = write_sale(sale, wallet=wallet, mark=mark)
            outcomes[number] = Placed(order, balance_after=wallet.balance, replayed=False)
            jobs[job] = None
        for job in jobs:
            async_task(*job, q_options={"save": False})
        batch = _batch(asked, outcomes, wallet)
        if whole and batch.placed:
            whole.keep(batch)
        return batch

    return in_one_transaction(sell)


@dataclass(frozen=True)
class _Whole:
    """A batch with a key for the whole: what recognises it, and what was answered before."""

    customer: User
    key_digest: str
    fingerprint: str

    @classmethod
    def of(cls, key: str, items: Sequence[BulkItem], *, customer: User, currency: str) -> _Whole:
        """The batch as it was asked for."""
        each = [
            (item.draft.fingerprint(currency), str(item.idempotency_key or "")) for item in items
        ]
        return cls(customer, _digest(f"batch:{key}"), _digest(json.dumps(each)))

    def first_answer(self) -> Batch | None:
        """What the first one was answered with, from what was kept. Raises IdempotencyKeyReused
        where that was another batch."""
        kept = KeyedBatch.objects.filter(customer=self.customer, key_digest=self.key_digest).first()
        if kept is None:
            return None
        if kept.fingerprint != self.fingerprint:
            raise IdempotencyKeyReused
        ids = {one["order"] for one in kept.outcomes if "order" in one}
        orders = {one.order.pk: one for one in as_replays(Order.objects.filter(pk__in=ids))}
        return Batch(
            tuple(
                orders[one["order"]] if "order" in one else refusals.read(one)
                for one in kept.outcomes
            ),
            kept.balance,
        )

    def keep(self, batch: Batch) -> None:
        """Keep the answer, in the transaction of its orders."""
        KeyedBatch.objects.create(
            customer=self.customer,
            key_digest=self.key_digest,
            fingerprint=self.fingerprint,
            outcomes=[
                {"order": outcome.order.pk}
                if isinstance(outcome, Placed)
                else refusals.keep(outcome)
                for outcome in batch.outcomes
            ],
            balance=batch.balance,
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _service_ids(items: Sequence[BulkItem]) -> set[int]:
    ids = set()
    for item in items:
        try:
            ids.add(read_service_id(item.draft.service_id))
        except InvalidRequest:
            continue
    return ids


def _ask(
    item: BulkItem,
    *,
    currency: str,
    services: Mapping[int, Listed | ServiceNotFound | ServiceUnavailable],
) -> _Asked:
    fingerprint = item.draft.fingerprint(currency)
    try:
        key = read_idempotency_key(item.idempotency_key)
    except InvalidIdempotencyKey as odd:
        return _Asked(None, fingerprint, odd)
    return _Asked(key, fingerprint, _sale(item.draft, services))


def _sale(
    draft: OrderDraft, services: Mapping[int, Listed | ServiceNotFound | ServiceUnavailable]
) -> Sale | OrderError | CatalogError:
    try:
        listed = services[read_service_id(draft.service_id)]
    except InvalidRequest as error:
        return InvalidOrder(error.problems)
    if isinstance(listed, CatalogError):
        return listed
    try:
        return read_sale(draft, listed)
    except InvalidOrder as refused:
        return refused


def _sort_out(
    asked: Sequence[_Asked], replays: Mapping[str, Placed], *, customer: User
) -> tuple[dict[int, Outcome], dict[int, Sale]]:
    """What is known of the items already, and what is to be sold, by their places. An item that
    repeats an earlier one of the batch stands in neither."""
    outcomes: dict[int, Outcome] = {}
    sales: dict[int, Sale] = {}
    first: dict[str, str] = {}
    taken = queueing.taken({link for one in asked if (link := _alone_on(one.sale))}, by=customer)
    for number, one in enumerate(asked):
        before = first.get(one.key) if one.key is not None else None
        if one.key is not None and (replay := replays.get(one.key)):
            same = replay.order.fingerprint == one.fingerprint
            outcomes[number] = replay if same else IdempotencyKeyReused()
        elif before is not None:
            if before != one.fingerprint:
                outcomes[number] = IdempotencyKeyReused()
        elif not isinstance(one.sale, Sale):
            outcomes[number] = one.sale
        elif (link := _alone_on(one.sale)) in taken:
            outcomes[number] = LinkBusy()
        else:
            sales[number] = one.sale
            if link is not None:
                taken.add(link)
            if one.key is not None:
                first[one.key] = one.fingerprint
    return outcomes, sales


def _alone_on(sale: Sale | OrderError | CatalogError) -> _Link | None:
    """The link that the sale needs to itself, by its service's rule."""
    if not isinstance(sale, Sale) or sale.listed.service.same_link != SameLink.REFUSE:
        return None
    return (sale.listed.service.pk, sale.request.link_key) if sale.request.link_key else None


def _batch(asked: Sequence[_Asked], outcomes: dict[int, Outcome], wallet: Wallet) -> Batch:
    by_key = {
        asked[number].key: outcome
        for number, outcome in outcomes.items()
        if isinstance(outcome, Placed)
    }
    ordered = [
        outcomes[number] if number in outcomes else _again(by_key[one.key])
        for number, one in enumerate(asked)
    ]
    placed = [outcome for outcome in ordered if isinstance(outcome, Placed)]
    newest = max(placed, key=lambda one: one.order.pk, default=None)
    return Batch(tuple(ordered), newest.balance_after if newest else wallet.balance)


def _again(placed: Placed) -> Placed:
    return Placed(placed.order, placed.balance_after, replayed=True)
