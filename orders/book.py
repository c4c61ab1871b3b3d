"""Our book of each provider's balance, against the balance that the provider reports.

The book begins with a balance as the provider told it; what was bought since is taken off it, and
what was paid back for orders is added. A reading counts only if nothing was being sent while it
was taken. What an order costs is what the provider told of it, else what its rate says; how much
of that stands in the book is kept with the order (`booked`), so that nothing is taken off twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import combinations
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from accounts.alerts import alert, resolve
from accounts.clock import from_now
from accounts.models import Alert, User
from accounts.money import ZERO
from catalog import health
from catalog.models import Provider
from catalog.order_types import ORDER_TYPES, ChargedOn
from catalog.providers import ProviderError
from orders import unconfirmed
from orders.cancellations import ActionRefused
from orders.models import BookReading, EvidenceKind, Order, Outcome, Verdict
from orders.statuses import FINAL, Status

log = structlog.get_logger(__name__)

# What roundings may come to, in any provider's currency, between two readings.
TOLERANCE = Decimal("0.01")
# By then tracking has heard of whatever was paid back for an order; more than expected after
# this is money of ours that came in.
LONGEST_SILENCE = timedelta(minutes=45)
READINGS_KEPT = timedelta(days=30)
# More orders of unknown outcome than this are told apart only where all or none were bought.
MOST_TOLD_APART = 10

_REBASED = (Outcome.OPENED, Outcome.TOPPED_UP, Outcome.ACCEPTED)
_STEP = Decimal("1e-10")
# With one of these the provider keeps nothing, unless it says that it does.
_NOT_PAID = frozenset({Status.CANCELLED, Status.REFUNDED, Status.FAILED})


def cost(order: Order) -> Decimal | None:
    """What the order should cost us at its provider, in the provider's currency, by its rate.

    None where that is not known beforehand: a subscription is paid as it is served.
    """
    charged_on = ORDER_TYPES[order.type].charged_on
    if charged_on is ChargedOn.POSTS:
        return None
    if charged_on is ChargedOn.PACKAGE:
        return order.provider_rate
    return (order.provider_rate * order.quantity / 1000).quantize(_STEP, ROUND_HALF_EVEN)


def net_cost(order: Order) -> Decimal:
    """What the provider has taken for an order that it has, as far as we have heard, less what it
    gave back (its currency)."""
    told, expected = order.upstream_charge, cost(order) or ZERO
    if order.status in _NOT_PAID:
        if told is not None:
            return told
        # Ended by staff before the provider was ever asked: what was bought there stays bought.
        return expected if order.last_checked_at is None else ZERO
    if told:
        return told
    # Some tell 0 until the order has ended.
    if order.status == Status.PARTIAL and order.delivered is not None:
        return (expected * order.delivered / order.quantity).quantize(_STEP, ROUND_HALF_EVEN)
    return expected


def read(provider: Provider) -> None:
    """Ask for the balance, compare it with our book, and tell staff what they should know.

    Unconfirmed orders that the comparison tells something about get it as evidence. Safe to run
    twice and at the same time as itself. Makes its call outside any transaction.
    """
    quiet_since = _quiet_since(provider)
    try:
        balance, currency = health.guarded(provider).balance()
    except ProviderError as error:
        log.info("book.not_read", provider=provider.pk, error=str(error))
        return
    if currency and currency != provider.currency:
        alert(
            "provider_currency_differs",
            subject=_subject(provider),
            message=f"{provider} keeps our account in {currency}; here it is {provider.currency}.",
        )
        return
    resolve("provider_currency_differs", subject=_subject(provider))
    balance = balance.quantize(_STEP, ROUND_HALF_EVEN) if _too_fine(balance) else balance
    _watch(provider, balance)
    if quiet_since is not None:
        with transaction.atomic():
            _compare(provider, balance, quiet_since)


def is_acceptable(reading: BookReading) -> bool:
    """Whether this is the provider's newest reading, and a difference is left in it."""
    newest = BookReading.objects.filter(provider=reading.provider_id).first()
    return newest == reading and reading.difference != ZERO


def accept(reading: BookReading, *, actor: User) -> Decimal:
    """Staff accept what the provider says: from now on the book says the same.

    Returns the difference that was accepted (provider's currency). Raises ActionRefused where
    there is none, or a newer reading; then nothing has changed.
    """
    with transaction.atomic():
        provider = Provider.objects.select_for_update(no_key=True).get(pk=reading.provider_id)
        if provider.book_balance is None or not is_acceptable(reading):
            raise ActionRefused(_("There is a newer reading, or no difference. Look at it again."))
        BookReading.objects.create(
            provider=provider,
            balance=reading.balance,
            book=reading.balance,
            difference=ZERO,
            noted=reading.difference,
            outcome=Outcome.ACCEPTED,
            actor=actor,
        )
        _keep(provider, book_balance=provider.book_balance + reading.difference)
        resolve("provider_book_differs", subject=_subject(provider))
    return reading.difference


def in_doubt(provider: Provider) -> QuerySet[Order]:
    """Orders of which the provider may have taken the price or not, oldest first."""
    return Order.objects.filter(provider=provider, status=Status.UNCONFIRMED).order_by("pk")


# --- a quiet moment ------------------------------------------------------------------------------


def under_way(provider: Provider) -> QuerySet[Order]:
    """Orders that a call may be buying at this moment."""
    return Order.objects.filter(
        Q(status=Status.SENDING) | Q(status=Status.UNCONFIRMED, lease_until__gt=Now()),
        provider=provider,
    )


def _quiet_since(provider: Provider) -> datetime | None:
    """The database's time, if nothing is being sent there."""
    now: datetime = Provider.objects.filter(pk=provider.pk).values_list(Now(), flat=True)[0]
    # A millisecond: SQLite keeps times as texts of different lengths.
    return None if under_way(provider).exists() else now - timedelta(milliseconds=1)


def _disturbed(provider: Provider, since: datetime) -> bool:
    """Whether something may have been bought while the balance was being read."""
    lost_since = Order.objects.filter(
        provider=provider, status=Status.UNCONFIRMED, status_changed_at__gte=since
    )
    bought_since = Order.objects.filter(provider=provider, sent_at__gte=since)
    return under_way(provider).exists() or lost_since.exists() or bought_since.exists()


# --- the balance itself --------------------------------------------------------------------------


def _watch(provider: Provider, balance: Decimal) -> None:
    before = provider.balance
    _keep(provider, balance=balance, balance_at=Now())
    if provider.low_balance is not None and balance < provider.low_balance:
        alert(
            "provider_low_balance",
            subject=_subject(provider),
            message=f"Our balance at {provider} is {balance:f} {provider.currency}.",
        )
    else:
        resolve("provider_low_balance", subject=_subject(provider))
    if provider.funds_wait_until is not None and before is not None and balance > before:
        health.funds_are_back(provider)


def _too_fine(balance: Decimal) -> bool:
    return balance != balance.quantize(_STEP, ROUND_HALF_EVEN)


def _keep(provider: Provider, **columns: Any) -> None:
    """These columns alone: staff may be editing the others."""
    Provider.objects.filter(pk=provider.pk).update(**columns)


# --- the comparison ------------------------------------------------------------------------------


def _compare(provider: Provider, balance: Decimal, quiet_since: datetime) -> None:
    # Claims take this lock too: nothing new is sent before this has been written down.
    locked = Provider.objects.select_for_update(no_key=True).get(pk=provider.pk)
    if _disturbed(provider, quiet_since):
        return
    if locked.book_balance is None:
        _open(provider, balance)
        return
    moved, can_come_back = _moved(provider)
    expected = locked.book_balance - moved
    difference = balance - expected
    noted, explained = None, True
    if doubtful := list(in_doubt(provider)):
        explained = _tell_doubtful(provider, balance, difference, doubtful)
        outcome = Outcome.UNKNOWN
    else:
        last = _settled(provider).first()
        standing = last.difference if last and last.outcome == Outcome.DIFFERS else ZERO
        outcome = _without_doubt(provider, difference - standing, difference, can_come_back)
        if outcome == Outcome.AGREED:
            expected, difference = balance, ZERO
        elif outcome == Outcome.TOPPED_UP:
            noted = difference - standing
            expected, difference = balance - standing, standing
    if outcome == Outcome.DIFFERS or not explained:
        _open_review(provider, balance, expected)
    elif outcome == Outcome.AGREED:
        resolve("provider_book_differs", subject=_subject(provider))
    elif outcome == Outcome.TOPPED_UP:
        log.info("book.topped_up", provider=provider.pk, amount=f"{noted:f}")
        health.funds_are_back(provider)
    _write(provider, balance, expected, difference, outcome, noted=noted)


def _settled(provider: Provider) -> QuerySet[BookReading]:
    """Readings, newest first, that told all there was to tell: with these others are compared."""
    return BookReading.objects.filter(provider=provider).exclude(
        outcome__in=(Outcome.UNKNOWN, Outcome.WAITING)
    )


def _open(provider: Provider, balance: Decimal) -> None:
    """Whatever was bought before is in the provider's figure already."""
    bought = Order.objects.filter(provider=provider, external_id__isnull=False, book_closed=False)
    bought.filter(status__in=sorted(FINAL), next_check_at=None).update(book_closed=True)
    _moved(provider)
    _write(provider, balance, balance, ZERO, Outcome.OPENED)


def _moved(provider: Provider) -> tuple[Decimal, Decimal]:
    """Bring the orders' share of the book up to date; returns what more the provider has taken
    since the last time, and what it might yet give back."""
    still_open = Order.objects.filter(
        provider=provider, external_id__isnull=False, book_closed=False
    ).defer("fields", "link", "failure")
    moved, can_come_back, changed = ZERO, ZERO, []
    for order in still_open:
        now = net_cost(order)
        closes = order.status in FINAL and order.next_check_at is None
        if not closes:
            can_come_back += now
        if now != order.booked or closes:
            moved += now - (order.booked or ZERO)
            order.booked, order.book_closed = now, closes
            changed.append(order)
    Order.objects.bulk_update(changed, ["booked", "book_closed"], batch_size=500)
    return moved, can_come_back


def _without_doubt(
    provider: Provider, change: Decimal, difference: Decimal, can_come_back: Decimal
) -> Outcome:
    """`change`: since the difference that staff have before them, if there is one."""
    if abs(difference) <= TOLERANCE:
        return Outcome.AGREED
    if change > TOLERANCE:
        return (
            Outcome.TOPPED_UP
            if change > can_come_back + TOLERANCE or _has_waited(provider)
            else Outcome.WAITING
        )
    return Outcome.DIFFERS


def _has_waited(provider: Provider) -> bool:
    """Whether there has been more than expected for longer than we may lack word of an order."""
    settled = _settled(provider).first()
    return BookReading.objects.filter(
        provider=provider,
        outcome=Outcome.WAITING,
        pk__gt=settled.pk if settled else 0,
        at__lt=from_now(-LONGEST_SILENCE),
    ).exists()


def _write(
    provider: Provider,
    balance: Decimal,
    book: Decimal,
    difference: Decimal,
    outcome: Outcome,
    *,
    noted: Decimal | None = None,
) -> None:
    BookReading.objects.filter(provider=provider, at__lt=from_now(-READINGS_KEPT)).delete()
    BookReading.objects.create(
        provider=provider,
        balance=balance,
        book=book,
        difference=difference,
        noted=noted,  # type: ignore[misc]
        outcome=outcome,
    )
    _keep(provider, book_balance=book)


def _open_review(provider: Provider, balance: Decimal, book: Decimal) -> None:
    """Told once, and again when the figure is another."""
    last = BookReading.objects.filter(provider=provider).first()
    told = Alert.objects.filter(
        code="provider_book_differs", subject=_subject(provider), resolved_at=None
    )
    same = last is not None and abs(last.difference - (balance - book)) <= TOLERANCE
    if same and told.exists():
        return
    alert(
        "provider_book_differs",
        subject=_subject(provider),
        message=(
            f"{provider} says {_figure(balance)} {provider.currency}, our book {_figure(book)}: "
            f"a difference of {_figure(balance - book)}. Find out why, then accept the newest "
            "reading of the provider's balance."
        ),
    )


# --- orders of unknown outcome -------------------------------------------------------------------


def _tell_doubtful(
    provider: Provider, balance: Decimal, difference: Decimal, doubtful: Sequence[Order]
) -> bool:
    """Keep what the balance tells of orders of unknown outcome as evidence; returns whether they
    may explain it.

    Each is compared with the last settled reading before its call. All that were lost since may
    have moved the balance, those that staff have paid back or sent again meanwhile too.
    """
    calls = unconfirmed.lost_calls(doubtful)
    lost = [(order, calls[order.pk]) for order in doubtful] + unconfirmed.left_unknown(provider)
    explained = False
    for order in doubtful:
        began = calls[order.pk].began
        base = _settled(provider).filter(at__lt=began).first()
        if base is None or _brought_together_since(base):
            explained = True
            unconfirmed.note(
                order,
                EvidenceKind.BALANCE,
                Verdict.UNCLEAR,
                why="no_reading",
                cost=_figure(cost(order)),
                currency=provider.currency,
            )
            continue
        since = [other for other, call in lost if call.began > base.at]
        change = difference - base.difference
        told, fits = _told_apart(since, change, _precision(balance, base.balance))
        explained = explained or fits or change > TOLERANCE
        unconfirmed.note(
            order,
            EvidenceKind.BALANCE,
            told[order.pk],
            change=_figure(change),
            cost=_figure(cost(order)),
            currency=provider.currency,
            others=len(since) - 1,
        )
    return explained


def _brought_together_since(base: BookReading) -> bool:
    """Whether the book was given another figure after this reading, so that they do not compare."""
    later = BookReading.objects.filter(provider=base.provider_id, pk__gt=base.pk)
    return later.filter(outcome__in=_REBASED).exists()


def _told_apart(
    orders: Sequence[Order], change: Decimal, precision: Decimal
) -> tuple[dict[int, Verdict], bool]:
    """Which of the orders the balance's change shows as bought, and whether they could explain
    it at all: only what every possible explanation has in common is told."""
    unclear = {order.pk: Verdict.UNCLEAR for order in orders}
    costs = [price for order in orders if (price := cost(order)) is not None]
    if len(costs) < len(orders):
        return unclear, True
    least, total = min(costs), sum(costs, ZERO)
    tolerance = max(precision, min(TOLERANCE, least / 4))
    if least <= 2 * tolerance:
        return unclear, -total - TOLERANCE <= change <= TOLERANCE
    priced = list(zip(orders, costs, strict=True))
    sizes = range(len(priced) + 1) if len(priced) <= MOST_TOLD_APART else (0, len(priced))
    explanations = [
        {order.pk for order, _cost in chosen}
        for size in sizes
        for chosen in combinations(priced, size)
        if abs(change + sum((price for _order, price in chosen), ZERO)) <= tolerance
    ]
    if not explanations:
        many = len(priced) > MOST_TOLD_APART
        return unclear, many and -total <= change <= ZERO
    always = set.intersection(*explanations)
    ever = set.union(*explanations)
    return {
        pk: Verdict.BOUGHT
        if pk in always
        else (Verdict.UNCLEAR if pk in ever else Verdict.NOT_BOUGHT)
        for pk in unclear
    }, True


def _precision(*balances: Decimal) -> Decimal:
    """The finest step in which the provider shows its balance; a cent at least is assumed."""
    exponents = [int(balance.normalize().as_tuple().exponent) for balance in balances]
    return min(Decimal("0.01"), Decimal(1).scaleb(min(exponents)))


def _figure(amount: Decimal | None) -> str:
    return "" if amount is None else f"{amount.normalize():f}"


def _subject(provider: Provider) -> str:
    return f"provider:{provider.pk}"
