"""Handing orders to providers: claim and commit, call, record; never twice.

An order is claimed ("sending", with a lease) and committed before the first byte leaves. A crash
afterwards leaves the claim; when its lease runs out the sweep makes the order "unconfirmed",
which only staff or proof resolve: it is never sent again by machine.

A provider's orders go out in the order in which they were placed. One that has to wait (no
connection, too many requests, no funds of ours there) keeps those behind it waiting; nobody is
held up by one that waits for another of its link, or that is being cancelled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from datetime import timedelta
from typing import Any
from uuid import uuid4

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.functions import Now

from accounts.alerts import alert, resolve
from accounts.clock import from_now
from accounts.encryption import SecretUnreadable
from catalog import health
from catalog.models import Breaker, Provider
from catalog.order_types import ORDER_TYPES, ServiceType
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
from orders import failover, play
from orders.models import Order
from orders.moves import by_job, move, move_all
from orders.queueing import claimable
from orders.refunds import move_and_refund
from orders.statuses import FINAL, Status

log = structlog.get_logger(__name__)

# Calls to one provider at a time; each order's answer is recorded as it comes in.
SIDE_BY_SIDE = 4
# No new batch is begun after this: the job queues itself again, behind those of other providers.
BUDGET_SECONDS = 20
# A call begins this soon after its claim, or not at all: it must end within the lease.
SPARE_SECONDS = 30
FUNDS_PAUSE = timedelta(minutes=5)
# Out of reach: the circuit breaker makes longer pauses of it.
UNREACHABLE_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(minutes=5)
ATTEMPTS_BEFORE_ALERT = 5
# So many orders of unknown outcome within so long interrupt the provider, each more for longer.
LOST_ALLOWED = 3
LOST_WITHIN = timedelta(minutes=10)
FIRST_CHECK = timedelta(seconds=5)
PROVIDER_ID_LIMIT = 64

BUSY = "provider_busy"

_BY = by_job("dispatch")


class _HeldUp(ProviderUnreachable):
    """Our own job was frozen between its claim and the call, which was not made."""


def dispatch(provider: Provider) -> int:
    """Send the provider's waiting orders, oldest first; returns how many it accepted.

    Safe to run twice and at the same time as itself. Makes its calls outside any transaction.
    """
    try:
        client = client_for(provider)
    except SecretUnreadable:
        health.trip(provider, health.KEY_UNREADABLE)
        return 0
    accepted, stopped = 0, False
    started = time.monotonic()
    # Reads alone may have closed the breaker that lost orders had opened.
    limit = 1 if _lost_lately(provider) >= LOST_ALLOWED else SIDE_BY_SIDE
    with _pool(provider) as pool:
        while not stopped and time.monotonic() - started < BUDGET_SECONDS:
            call_until = time.monotonic() + SPARE_SECONDS
            orders = claim(provider, limit=limit)
            if not orders:
                break
            trying_funds = provider.funds_wait_until is not None
            results = [
                _recorded(provider, order, answer)
                for order, answer in _send(pool, client, orders, call_until=call_until)
            ]
            health.took(provider, time.monotonic() - call_until + SPARE_SECONDS)
            accepted += results.count(Status.PROCESSING)
            if trying_funds:
                _conclude_funds(provider, *orders)
            # Out of funds, busy or out of reach: the rest would only hear the same.
            stopped = None in results or any(
                order.status == Status.PENDING and order.provider_id == provider.pk
                for order in orders
            )
    if accepted and not stopped:
        resolve(BUSY, subject=health.subject(provider))
    return accepted


def due() -> QuerySet[Order]:
    """Orders that could be sent now."""
    pausing = Order.objects.filter(
        provider=OuterRef("provider"),
        status=Status.PENDING,
        send_after__gt=Now(),
        pk__lt=OuterRef("pk"),
    )
    return claimable(
        Order.objects.filter(
            health.may_be_sent_to("provider__"),
            play.at_fitting_provider(),
            status=Status.PENDING,
            send_after__lte=Now(),
        ).exclude(Exists(pausing))
    )


def lease(provider: Provider) -> timedelta:
    """How long one call may take at most (see ProviderClient), and the time to begin it."""
    return timedelta(seconds=provider.connect_timeout + 2 * provider.read_timeout + SPARE_SECONDS)


@transaction.atomic
def claim(provider: Provider, *, limit: int) -> list[Order]:
    """Take up to `limit` waiting orders for sending, oldest first; nobody else gets them.

    Only one where it is to show whether the provider, or our funds there, are back. Brings the
    machine's columns of `provider` up to date, which tell that.
    """
    # One claim at a time: two would not see that each other's order takes a link.
    held = Provider.objects.select_for_update(no_key=True).only("funds_wait_until")
    if held.get(pk=provider.pk).funds_wait_until is not None:
        limit = 1
    waiting = list(
        due()
        .filter(provider=provider)
        .order_by("pk")
        .select_for_update(skip_locked=True, of=("self",))
        .values_list("pk", flat=True)[:limit]
    )
    if not waiting:
        return []
    try:
        waiting = waiting[: health.admit(provider, calls=len(waiting))]
    except (ProviderUnreachable, ProviderBusy):
        return []
    if provider.funds_wait_until is not None:
        health.funds_are_tried(provider, until=lease(provider))
    mark = uuid4()
    move_all(
        Order.objects.filter(pk__in=waiting),
        Status.PENDING,
        Status.SENDING,
        by=_BY,
        claim=mark,
        lease_until=from_now(lease(provider)),
        send_attempts=F("send_attempts") + 1,
    )
    return list(
        Order.objects.filter(pk__in=waiting, claim=mark)
        .select_related("service", "sent_service", "wallet", "provider")
        .order_by("pk")
    )


def sweep() -> int:
    """Make "unconfirmed" what was claimed and never answered for; returns how many."""
    expired = Order.objects.filter(status=Status.SENDING, lease_until__lt=Now())
    return sum(
        _unconfirmed(order, "The job that was sending this order did not come back.")
        for order in expired.select_related("provider")
    )


def _pool(provider: Provider) -> Executor:
    return (
        _OneByOne()
        if provider.is_play
        else ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="dispatch")
    )


class _OneByOne(Executor):
    """Calls at once, in the caller's own thread: the play provider uses its database connection."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _send(
    pool: Executor, client: ProviderClient, orders: list[Order], *, call_until: float
) -> Iterator[tuple[Order, Future[str]]]:
    """Only real providers' calls run in threads; the database is left to the caller's."""
    futures: dict[Future[str], Order] = {}
    for order in orders:
        try:
            future = pool.submit(_buy, client, upstream_order(order), call_until)
        except Exception as error:
            # Costs this order its turn, and the others of the batch nothing.
            future = Future()
            future.set_exception(error)
        futures[future] = order
    for future in as_completed(futures):
        yield futures[future], future


def _buy(client: ProviderClient, order: UpstreamOrder, call_until: float) -> str:
    # A job that was frozen here may outlive its lease, and staff may have sent the order again.
    if time.monotonic() > call_until:
        raise _HeldUp
    return client.add(order)


def upstream_order(order: Order) -> UpstreamOrder:
    """What the provider is sent: its own service, and the fields of the order's type.

    Whatever buys asks here first. Raises play.WrongProvider, before anything is sent.
    """
    play.refuse_wrong_provider(order)
    known = {*ORDER_TYPES[order.type].fields, *ORDER_TYPES[order.type].optional}
    fields = {name: str(value) for name, value in order.fields.items() if value is not None}
    if "link" in known:
        fields["link"] = order.link
    if "quantity" in known:
        fields["quantity"] = str(order.quantity_per_run)
    if order.runs is not None:
        fields["runs"], fields["interval"] = str(order.runs), str(order.interval)
    if order.type == ServiceType.SUBSCRIPTIONS:
        fields["username"] = order.link
        # Said outright: a provider would serve without end where it is not told how many.
        fields["posts"] = str(order.subscription.posts - int(fields.get("old_posts") or 0))
    return UpstreamOrder(
        service=order.bought_as.external_id,
        fields=fields,
        reference=str(order.uuid),
        quantity=order.quantity,
        rate=order.provider_rate,
    )


def _recorded(provider: Provider, order: Order, answer: Future[str]) -> Status | None:
    """Where the order stands after its answer; None where that could not be written down: its
    claim stays for the sweep, and the other answers of the batch are still recorded."""
    try:
        _record(provider, order, answer)
    except Exception:
        log.exception("dispatch.not_recorded", order=order.pk)
        return None
    return Status(order.status)


def _record(provider: Provider, order: Order, answer: Future[str]) -> None:
    """Write down what became of one call, and what it tells of the provider."""
    try:
        external_id = answer.result()
    except ProviderOutOfFunds:
        # Our money upstream is used up, which is no affair of the buyers.
        _wait(order, timedelta(0), "The provider says that our funds there are used up.")
        health.funds_are_used_up(provider, pause=FUNDS_PAUSE)
        health.succeeded(provider)
    except ProviderRefused as refusal:
        _refused(order, str(refusal))
        health.succeeded(provider)
    except ProviderBusy as busy:
        _wait(order, _pause(order, asked=busy.retry_after), str(busy))
        _tell_if_lasting(order, str(busy))
        health.succeeded(provider)
    except _HeldUp:
        _wait(order, UNREACHABLE_PAUSE, "Our own job was held up before the call.")
        health.not_called(provider)
    except ProviderUnreachable as unreachable:
        _wait(order, UNREACHABLE_PAUSE, str(unreachable))
        health.failed(provider, str(unreachable))
    except OutcomeUnknown as unknown:
        _unknown(order, str(unknown))
        health.failed(provider, str(unknown))
        _interrupt_if_lost(provider)
    except Exception as error:
        # A fault of our own after the call began: the order may have been bought.
        log.exception("dispatch.fault", order=order.pk)
        _unknown(order, f"{type(error).__name__} while sending.")
        _interrupt_if_lost(provider)
    else:
        _accepted(order, external_id)
        health.succeeded(provider)


def is_provider_id(text: str) -> bool:
    """Whether a provider's order could have this id."""
    return 0 < len(text) <= PROVIDER_ID_LIMIT and text.isprintable() and text == text.strip()


def _accepted(order: Order, external_id: str) -> None:
    bought: dict[str, Any] = {
        "by": _BY,
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
    order.refresh_from_db()
    if order.external_id == external_id:
        return
    if order.status in FINAL and order.external_id is None:
        from orders import unconfirmed  # it imports this module

        unconfirmed.found_after_refund(order, external_id, by=_BY)
    else:
        _late(order, f"The provider accepted it late, as {external_id}.")


def _refused(order: Order, why: str) -> None:
    """A clear no: a substitute delivers, or the customer gets the money back."""
    if failover.pass_on(order, why=why):
        return
    if not move_and_refund(
        order, Status.FAILED, order.charge, by=_BY, lease_until=None, failure=why[:500]
    ):
        _late(order, f"The provider refused it late: {why}")


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
    play.tell_staff(order, "order_answered_late", f"{what} It is {order.status}.")


@transaction.atomic
def _unconfirmed(order: Order, why: str) -> bool:
    """The state and the alert are one: nobody else would ever look at the order."""
    moved = move(order, Status.UNCONFIRMED, by=_BY, lease_until=None, failure=why[:500])
    if moved:
        play.tell_staff(
            order, "order_unconfirmed", f"{order.provider}: {why} It may have been bought."
        )
    return moved


def _interrupt_if_lost(provider: Provider) -> None:
    """A provider that takes orders and does not say so is given no more of them for a while."""
    lost = _lost_lately(provider)
    if lost >= LOST_ALLOWED and provider.breaker != Breaker.OPEN:
        reason = f"The outcome of {lost} orders is not known."
        health.trip(provider, reason, pause=health.PAUSE * (1 << min(lost - LOST_ALLOWED, 4)))


def _lost_lately(provider: Provider) -> int:
    return Order.objects.filter(
        provider=provider,
        status=Status.UNCONFIRMED,
        status_changed_at__gt=from_now(-LOST_WITHIN),
    ).count()


def _wait(order: Order, pause: timedelta, why: str) -> None:
    """Nothing was bought: back into the queue, where those behind it wait with it."""
    move(
        order,
        Status.PENDING,
        by=_BY,
        send_after=from_now(pause),
        claim=None,
        lease_until=None,
        failure=why[:500],
    )


def _conclude_funds(provider: Provider, order: Order) -> None:
    """The order that was to show whether our funds are back has been answered for."""
    if order.status == Status.PROCESSING:
        health.funds_are_back(provider)
    elif order.status == Status.FAILED or order.provider_id != provider.pk:
        # Refused for a reason of its own, which tells nothing: the next one tries.
        health.funds_are_tried(provider, until=timedelta(0))


def _pause(order: Order, *, asked: float | None = None) -> timedelta:
    """Twice as long at each attempt, and at least as long as the provider asks (seconds)."""
    seconds = max(5.0 * 2 ** min(order.send_attempts, 6), asked or 0.0)
    return timedelta(seconds=min(LONGEST_PAUSE.total_seconds(), seconds))


def _tell_if_lasting(order: Order, why: str) -> None:
    if order.send_attempts >= ATTEMPTS_BEFORE_ALERT:
        alert(BUSY, subject=f"provider:{order.provider_id}", message=why)
