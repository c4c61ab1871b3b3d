"""Handing orders to providers: claim and commit, call, record; never twice.

An order is claimed ("sending", with a lease) and committed before the first byte leaves. A crash
afterwards leaves the claim; when its lease runs out the sweep makes the order "unconfirmed",
which only staff or proof resolve: it is never sent again by machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from datetime import timedelta
from uuid import uuid4

import structlog
from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from accounts.alerts import alert, resolve
from catalog.models import Provider
from catalog.order_types import ORDER_TYPES
from catalog.providers import (
    OutcomeUnknown,
    ProviderBusy,
    ProviderClient,
    ProviderOutOfFunds,
    ProviderRefused,
    ProviderUnreachable,
    UpstreamOrder,
)
from catalog.providers.registry import client_for
from orders.clock import from_now
from orders.models import Order
from orders.refunds import move_and_refund
from orders.statuses import Status, move, move_all

log = structlog.get_logger(__name__)

# Calls to one provider at a time; each order's answer is recorded as it comes in.
SIDE_BY_SIDE = 4
# No new batch is begun after this: the job must end before the queue's time-out takes it.
BUDGET_SECONDS = 60
# A call begins this soon after its claim, or not at all: it must end within the lease.
SPARE_SECONDS = 30
FUNDS_PAUSE = timedelta(minutes=5)
LONGEST_PAUSE = timedelta(minutes=5)
ATTEMPTS_BEFORE_ALERT = 5
FIRST_CHECK = timedelta(seconds=5)
PROVIDER_ID_LIMIT = 64


def dispatch(provider: Provider) -> int:
    """Send the provider's waiting orders, oldest first; returns how many it accepted.

    Safe to run twice and at the same time as itself. Makes its calls outside any transaction.
    """
    client = client_for(provider)
    accepted, stopped = 0, False
    started = time.monotonic()
    with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="dispatch") as pool:
        while not stopped and time.monotonic() - started < BUDGET_SECONDS:
            call_until = time.monotonic() + SPARE_SECONDS
            orders = claim(provider, limit=SIDE_BY_SIDE)
            if not orders:
                break
            results = [
                _recorded(order, answer)
                for order, answer in _send(pool, client, orders, call_until=call_until)
            ]
            accepted += results.count(Status.PROCESSING)
            # Out of funds, busy or out of reach: the rest would only hear the same.
            stopped = Status.PENDING in results or None in results
    if accepted and not stopped:
        _sells_again(provider)
    return accepted


def due() -> QuerySet[Order]:
    """Orders that could be sent now."""
    return Order.objects.filter(
        status=Status.PENDING, send_after__lte=Now(), provider__enabled=True
    )


def lease(provider: Provider) -> timedelta:
    """How long one call may take at most (see ProviderClient), and the time to begin it."""
    return timedelta(seconds=provider.connect_timeout + 2 * provider.read_timeout + SPARE_SECONDS)


@transaction.atomic
def claim(provider: Provider, *, limit: int) -> list[Order]:
    """Take up to `limit` waiting orders for sending; nobody else gets them."""
    waiting = list(
        due()
        .filter(provider=provider)
        .order_by("pk")
        .select_for_update(skip_locked=True, of=("self",))
        .values_list("pk", flat=True)[:limit]
    )
    mark = uuid4()
    move_all(
        Order.objects.filter(pk__in=waiting),
        Status.PENDING,
        Status.SENDING,
        claim=mark,
        lease_until=from_now(lease(provider)),
        send_attempts=F("send_attempts") + 1,
    )
    return list(
        Order.objects.filter(pk__in=waiting, claim=mark)
        .select_related("service", "wallet", "provider")
        .order_by("pk")
    )


def sweep() -> int:
    """Make "unconfirmed" what was claimed and never answered for; returns how many."""
    expired = Order.objects.filter(status=Status.SENDING, lease_until__lt=Now())
    return sum(
        _unconfirmed(order, "The job that was sending this order did not come back.")
        for order in expired.select_related("provider")
    )


def _send(
    pool: ThreadPoolExecutor, client: ProviderClient, orders: list[Order], *, call_until: float
) -> Iterator[tuple[Order, Future[str]]]:
    """Only the calls run in threads; the database is left to the caller's."""
    futures = {pool.submit(_buy, client, order, call_until): order for order in orders}
    for future in as_completed(futures):
        yield futures[future], future


def _buy(client: ProviderClient, order: Order, call_until: float) -> str:
    # A job that was frozen here may outlive its lease, and staff may have sent the order again.
    if time.monotonic() > call_until:
        raise ProviderUnreachable("our own job was held up before the call")
    return client.add(_upstream_order(order))


def _upstream_order(order: Order) -> UpstreamOrder:
    fields = {**order.fields, "link": order.link}
    if "quantity" in ORDER_TYPES[order.type].fields:
        fields["quantity"] = str(order.quantity)
    return UpstreamOrder(service=order.service.external_id, fields=fields)


def _recorded(order: Order, answer: Future[str]) -> Status | None:
    """Where the order stands after its answer; None where that could not be written down: its
    claim stays for the sweep, and the other answers of the batch are still recorded."""
    try:
        _record(order, answer)
    except Exception:
        log.exception("dispatch.not_recorded", order=order.pk)
        return None
    return Status(order.status)


def _record(order: Order, answer: Future[str]) -> None:
    """Write down what became of one call."""
    try:
        external_id = answer.result()
    except ProviderOutOfFunds:
        _hold_for_funds(order)
    except ProviderRefused as refusal:
        if not move_and_refund(
            order, Status.FAILED, order.charge, lease_until=None, failure=str(refusal)[:500]
        ):
            _late(order, f"The provider refused it late: {refusal}")
    except ProviderBusy as busy:
        _hold(order, _pause(order, asked=busy.retry_after), str(busy))
        _tell_if_lasting(order, str(busy))
    except ProviderUnreachable as unreachable:
        _wait(order, _pause(order), str(unreachable))
        _tell_if_lasting(order, str(unreachable))
    except OutcomeUnknown as unknown:
        _unknown(order, str(unknown))
    except Exception as error:
        # A fault of our own after the call began: the order may have been bought.
        log.exception("dispatch.fault", order=order.pk)
        _unknown(order, f"{type(error).__name__} while sending.")
    else:
        _accepted(order, external_id)


def is_provider_id(text: str) -> bool:
    """Whether a provider's order could have this id."""
    return 0 < len(text) <= PROVIDER_ID_LIMIT and text.isprintable() and text == text.strip()


def _accepted(order: Order, external_id: str) -> None:
    bought = {
        "external_id": external_id,
        "sent_at": Now(),
        "lease_until": None,
        "failure": "",
        "next_check_at": from_now(FIRST_CHECK),
    }
    if not is_provider_id(external_id):
        _unknown(order, f"The provider answered with no id that we could use: {external_id!r}.")
        return
    try:
        with transaction.atomic():
            if move(order, Status.PROCESSING, **bought):
                return
            # The sweep was faster than this answer, which is the very proof that it lacked.
            order.status = Status.UNCONFIRMED
            if move(order, Status.PROCESSING, **bought):
                resolve("order_unconfirmed", subject=order.subject)
                return
    except IntegrityError:
        order.status = Status.SENDING
        _unknown(order, f"The provider answered with id {external_id}, another order's.")
        return
    order.refresh_from_db(fields=["status", "external_id"])
    if order.external_id != external_id:
        _late(order, f"The provider accepted it late, as {external_id}.")


def _unknown(order: Order, why: str) -> None:
    if _unconfirmed(order, why):
        return
    order.refresh_from_db(fields=["status"])
    # Where the sweep was faster, it has told as much already.
    if order.status != Status.UNCONFIRMED:
        _late(order, f"An earlier call came back late: {why} It may have been bought.")


def _late(order: Order, what: str) -> None:
    """The answer came after the order had left our hands: staff compare the two."""
    order.refresh_from_db(fields=["status"])
    alert("order_answered_late", subject=order.subject, message=f"{what} It is {order.status}.")


@transaction.atomic
def _unconfirmed(order: Order, why: str) -> bool:
    """The state and the alert are one: nobody else would ever look at the order."""
    moved = move(order, Status.UNCONFIRMED, lease_until=None, failure=why[:500])
    if moved:
        alert(
            "order_unconfirmed",
            subject=order.subject,
            message=f"{order.provider}: {why} It may have been bought.",
        )
    return moved


def _wait(order: Order, pause: timedelta, why: str) -> None:
    """Nothing was bought: back into the queue for a while."""
    move(
        order,
        Status.PENDING,
        send_after=from_now(pause),
        claim=None,
        lease_until=None,
        failure=why[:500],
    )


def _hold(order: Order, pause: timedelta, why: str) -> None:
    """Nothing was bought, and those behind this order would fare the same: all wait."""
    _wait(order, pause, why)
    Order.objects.filter(
        provider=order.provider_id, status=Status.PENDING, send_after__lt=from_now(pause)
    ).update(send_after=from_now(pause))


def _hold_for_funds(order: Order) -> None:
    """Our money upstream is used up, which is no affair of the buyers."""
    _hold(order, FUNDS_PAUSE, "The provider says that our funds there are used up.")
    alert(
        "provider_out_of_funds",
        subject=f"provider:{order.provider_id}",
        message=f"Top up our account at {order.provider}: orders are waiting.",
    )


def _pause(order: Order, *, asked: float | None = None) -> timedelta:
    """Twice as long at each attempt, and at least as long as the provider asks (seconds)."""
    seconds = max(5.0 * 2 ** min(order.send_attempts, 6), asked or 0.0)
    return timedelta(seconds=min(LONGEST_PAUSE.total_seconds(), seconds))


def _tell_if_lasting(order: Order, why: str) -> None:
    if order.send_attempts >= ATTEMPTS_BEFORE_ALERT:
        alert("provider_unreachable", subject=f"provider:{order.provider_id}", message=why)


def _sells_again(provider: Provider) -> None:
    """Whatever kept the provider from selling is over: nobody waits for it any longer."""
    Order.objects.filter(provider=provider, status=Status.PENDING, send_after__gt=Now()).update(
        send_after=Now()
    )
    resolve("provider_out_of_funds", subject=f"provider:{provider.pk}")
    resolve("provider_unreachable", subject=f"provider:{provider.pk}")
