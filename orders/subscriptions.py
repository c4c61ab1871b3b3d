"""Subscriptions: a reserve, what each served post takes of it, and what goes back at the end.

The charge of such an order is the reserve for the most that can be served. The provider tells what
it has taken so far, in total; that, at the order's own price, is what we have earned. What is left
goes back in the transaction of the order's last move. Whatever changes `served` holds the lock of
the order's row.
"""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from accounts import ledger
from accounts.alerts import resolve
from accounts.money import AMOUNT_PLACES, ZERO
from catalog.providers import UpstreamState, UpstreamStatus
from orders import cancellations, tracking
from orders.dripfeed import SeriesRefusal, SeriesRefused
from orders.models import CancelState, EventKind, Order, SeriesState, Subscription
from orders.moves import By, by_job, move, record, update
from orders.play import tell_staff
from orders.refunds import move_and_refund
from orders.requests import SubscriptionTerms
from orders.statuses import FINAL, TRACKED, Status

# How long after its last day the provider may take to say that it has ended.
GRACE = timedelta(days=1)
BATCH = 100

_UNDER_WAY = frozenset({UpstreamState.PENDING, UpstreamState.PROCESSING, UpstreamState.IN_PROGRESS})
_TRACKING = by_job("tracking")
_EXPIRY = by_job("subscriptions")


def open(order: Order, terms: SubscriptionTerms) -> Subscription:  # noqa: A001
    """Keep what was asked for, in the transaction that reserves the order's charge."""
    return Subscription.objects.create(
        order=order,
        minimum=terms.minimum,
        maximum=terms.maximum,
        posts=terms.posts,
        delay=terms.delay,
        expires_on=terms.expires_on,
    )


# --- what the provider reports -------------------------------------------------------------------


def apply(order: Order, report: UpstreamStatus) -> bool:
    """Bring the subscription to what the provider reports, with the money that goes with it.

    `report.state` is known. What is served grows with the provider's charge; a smaller charge
    changes nothing until the end, where the last one counts. An end without a charge releases
    nothing and tells staff, unless the report proves that nothing was served. Exactly once: a
    repeated or late report changes nothing. Returns whether the order's status changed.
    """
    if order.status not in TRACKED:
        return False
    subscription = Subscription.objects.get(order=order)
    if report.state in _UNDER_WAY and not _is_news(order, subscription, report):
        return False
    with transaction.atomic():
        locked = Order.objects.select_for_update(no_key=True).get(pk=order.pk)
        if (locked.status, locked.claim) != (order.status, order.claim):
            return False
        subscription.refresh_from_db()
        if report.state in _UNDER_WAY:
            return _go_on(order, subscription, report)
        return _end(order, subscription, report)


def earned(order: Order, upstream_charge: Decimal) -> Decimal:
    """What the customer owes for what the provider has taken (provider's currency): the same
    share of the order's price as of the provider's, rounded up to a millionth."""
    share = Fraction(upstream_charge) * Fraction(order.rate) / Fraction(order.provider_rate)
    return Decimal(math.ceil(share * 10**AMOUNT_PLACES)).scaleb(-AMOUNT_PLACES)


def _is_news(order: Order, subscription: Subscription, report: UpstreamStatus) -> bool:
    starts = order.status == Status.PROCESSING and report.state is UpstreamState.IN_PROGRESS
    served = report.charge is not None and _due(order, report.charge) > subscription.served
    return starts or served or _posts(subscription, report) > subscription.posts_served


def _go_on(order: Order, subscription: Subscription, report: UpstreamStatus) -> bool:
    served = subscription.served
    if report.charge is not None:
        served = max(served, _due(order, report.charge))
    posts = max(subscription.posts_served, _posts(subscription, report))
    _serve(order, subscription, served, posts)
    _tell_above_reserve(order, report)
    known = _known(order, report)
    if order.status == Status.PROCESSING and report.state is UpstreamState.IN_PROGRESS:
        known |= {"started_at": Now(), "progress_at": Now()}
        return move(order, Status.IN_PROGRESS, by=_TRACKING, **known)
    update(order, kind=EventKind.SERIES, by=_TRACKING, progress_at=Now(), **known)
    return False


def _end(order: Order, subscription: Subscription, report: UpstreamStatus) -> bool:
    if report.state is UpstreamState.REFUNDED or report.posts == 0:
        served = ZERO  # the provider has kept nothing, or has done nothing
    elif report.charge is not None:
        served = _due(order, report.charge)
    else:
        tell_staff(
            order,
            "subscription_without_charge",
            f"The provider says “{report.word}” and does not tell what it took in all:"
            " nothing is paid back until it does, or staff cancel the order.",
        )
        return False
    posts = subscription.posts_served if report.posts is None else _posts(subscription, report)
    _serve(order, subscription, served, posts)
    _tell_above_reserve(order, report)
    to = _outcome(order, subscription, report)
    known = _known(order, report)
    if to is Status.COMPLETED:
        known["remains"] = 0
    move_and_refund(
        order,
        to,
        order.charge - served,
        by=_TRACKING,
        reason="" if served == order.charge else "not served",
        completed_at=Now(),
        **known,
    )
    _set_state(subscription, SeriesState.ENDED)
    for code in ("subscription_without_charge", "subscription_overdue", "status_unknown"):
        resolve(code, subject=order.subject)
    return True


def _outcome(order: Order, subscription: Subscription, report: UpstreamStatus) -> Status:
    if not subscription.served:
        if report.state is UpstreamState.REFUNDED:
            return Status.REFUNDED
        return Status.FAILED if report.state is UpstreamState.FAILED else Status.CANCELLED
    all_served = subscription.posts_served >= subscription.posts
    said_so = report.state is UpstreamState.COMPLETED and report.posts is None
    return Status.COMPLETED if all_served or said_so else Status.PARTIAL


def _serve(order: Order, subscription: Subscription, served: Decimal, posts: int) -> None:
    """Earn what is new (or put back what was too much), once, with its line of history. Play
    money is earned by nobody."""
    changes: dict[str, tuple[Any, Any]] = {}
    if difference := served - subscription.served:
        subscription.entries += 1
        if not order.sandbox:
            ledger.serve(
                difference,
                currency=order.currency,
                key=f"{order.subject}:post:{subscription.entries}",
                subject=order.subject,
            )
        changes["served"] = (subscription.served, served)
        subscription.served = served
    if posts != subscription.posts_served:
        changes["posts_served"] = (subscription.posts_served, posts)
        subscription.posts_served = posts
    if changes:
        subscription.save(update_fields=["entries", "served", "posts_served"])
        record(order, EventKind.SERIES, by=_TRACKING, changes=changes)


def _due(order: Order, upstream_charge: Decimal) -> Decimal:
    return min(earned(order, upstream_charge), order.charge)


def _tell_above_reserve(order: Order, report: UpstreamStatus) -> None:
    if report.charge is not None and (owed := earned(order, report.charge)) > order.charge:
        tell_staff(
            order,
            "subscription_above_reserve",
            f"The provider took {report.charge}, which makes {owed} {order.currency} at"
            f" our price: more than the {order.charge} reserved. The rest is our loss.",
        )


def _posts(subscription: Subscription, report: UpstreamStatus) -> int:
    return min(max(report.posts or 0, 0), subscription.posts)


def _known(order: Order, report: UpstreamStatus) -> dict[str, Any]:
    """What else the report tells, where it can be stored."""
    charge = tracking.storable_charge(report)
    return {} if charge in (None, order.upstream_charge) else {"upstream_charge": charge}


# --- its end before its time ---------------------------------------------------------------------


@transaction.atomic
def stop(order: Order, *, by: By, note: str = "") -> None:
    """End the subscription: not sent yet, at once, with its whole reserve; else the provider is
    asked to cancel it, and what is not served goes back when it says so. Raises SeriesRefused."""
    locked = (
        Order.objects.select_for_update(no_key=True, of=("self",))
        .select_related("wallet", "service", "sent_service")
        .get(pk=order.pk)
    )
    subscription = Subscription.objects.filter(order=locked).first()
    if subscription is None:
        raise SeriesRefused(SeriesRefusal.NO_SERIES)
    if locked.is_final:
        raise SeriesRefused(SeriesRefusal.ENDED)
    if subscription.state == SeriesState.STOPPING:
        raise SeriesRefused(SeriesRefusal.STOPPING)
    if locked.status in TRACKED and not locked.bought_as.cancel:
        raise SeriesRefused(SeriesRefusal.NOT_OFFERED)
    _stop(locked, subscription, by=by, note=note)


def expire_due() -> int:
    """Ask to stop the subscriptions whose last day is over and whose provider does not say so;
    returns how many. Staff are told of each. Safe to run twice and to be killed anywhere."""
    _keep_states()
    overdue = Subscription.objects.filter(
        state=SeriesState.ACTIVE, expires_on__lt=timezone.now().date() - GRACE
    )
    found = list(overdue.order_by("expires_on").values_list("order", flat=True)[:BATCH])
    return sum(_expire(order_id, overdue) for order_id in found)


@transaction.atomic
def _expire(order_id: int, overdue: QuerySet[Subscription]) -> bool:
    order = (
        Order.objects.select_for_update(no_key=True, of=("self",))
        .select_related("wallet", "service", "sent_service", "provider")
        .get(pk=order_id)
    )
    subscription = overdue.filter(order=order).first()
    if subscription is None or order.is_final:
        return False
    _stop(order, subscription, by=_EXPIRY, note="Its last day is over.")
    if not order.is_final:
        tell_staff(
            order,
            "subscription_overdue",
            f"{order.provider}: the last day was {subscription.expires_on}, and the"
            " provider has not ended it. It is being asked to.",
        )
    return True


def _stop(order: Order, subscription: Subscription, *, by: By, note: str) -> None:
    if order.status == Status.PENDING:
        move_and_refund(
            order, Status.CANCELLED, order.charge, by=by, reason=note, completed_at=Now()
        )
        _set_state(subscription, SeriesState.ENDED)
        return
    changes = {"series": (subscription.state, SeriesState.STOPPING.value)}
    _set_state(subscription, SeriesState.STOPPING)
    record(order, EventKind.SERIES, by=by, changes=changes, note=note)
    try:
        cancellations.keep(order, by=by, note=note)
    except cancellations.CancelRefused:
        # It was asked before, and the answer was no: staff are told, or see the request.
        if by.source != _EXPIRY.source:
            raise SeriesRefused(SeriesRefusal.NOT_OFFERED) from None


def _keep_states() -> None:
    """Follow what others did: an order that ended by their hands, a request that was refused."""
    still_open = Subscription.objects.exclude(state=SeriesState.ENDED)
    still_open.filter(order__status__in=sorted(FINAL)).update(state=SeriesState.ENDED)
    still_open.filter(
        state=SeriesState.STOPPING,
        order__cancel_request__state=CancelState.REFUSED,
    ).exclude(expires_on__lt=timezone.now().date() - GRACE).update(state=SeriesState.ACTIVE)


def _set_state(subscription: Subscription, state: SeriesState) -> None:
    Subscription.objects.filter(pk=subscription.pk).update(state=state)
    subscription.state = state
