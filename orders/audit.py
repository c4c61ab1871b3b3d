"""The proof that orders and ledger tell the same story; see accounts/audit.py for the method.

The ledger names an order in words (`order:42`), which the ORM cannot join on: plain SQL that both
databases run with one pass over each table.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models import F, OuterRef, Q, QuerySet, Subquery, Sum
from django.utils import timezone

from accounts.audit import Finding, Rule
from accounts.models import Alert
from accounts.money import AmountField
from orders.models import BookReading, CancelRequest, Order, Outcome, Refill, SeriesState
from orders.models.requests import OPEN_CANCELS, OPEN_REFILLS
from orders.play import at_fitting_provider
from orders.statuses import FINAL, TRACKED, Status

_ORDERS_AGAINST_LEDGER = """
WITH moved AS (
    SELECT entry.subject, posting.wallet_id,
        SUM(CASE entry.kind WHEN 'charge' THEN 1 ELSE 0 END) AS charges,
        SUM(CASE entry.kind WHEN 'charge' THEN -posting.amount ELSE 0 END) AS charged,
        SUM(CASE entry.kind WHEN 'charge' THEN 0 ELSE posting.amount END) AS paid_back
    FROM accounts_journalentry entry
    JOIN accounts_posting posting ON posting.entry_id = entry.key
    WHERE entry.subject LIKE 'order:%' AND posting.account = 'wallet'
    GROUP BY entry.subject, posting.wallet_id
)
SELECT * FROM (
    SELECT orders_order.id, orders_order.charge, orders_order.refunded,
        COALESCE(moved.charges, 0) AS charges,
        COALESCE(moved.charged, 0) AS charged,
        COALESCE(moved.paid_back, 0) AS paid_back
    FROM orders_order
    LEFT JOIN moved
        ON moved.subject = 'order:' || orders_order.id AND moved.wallet_id = orders_order.wallet_id
    WHERE orders_order.parent_id IS NULL
) compared
WHERE charges <> 1 OR charged <> charge OR paid_back <> refunded OR paid_back > charged
ORDER BY id
"""
_ENTRIES_WITHOUT_ORDER = """
SELECT subject FROM accounts_journalentry WHERE subject LIKE 'order:%'
EXCEPT SELECT 'order:' || id FROM orders_order
ORDER BY subject
"""
_MOVED_IN_ANOTHER_WALLET = """
SELECT entry.subject, posting.wallet_id
FROM accounts_journalentry entry JOIN accounts_posting posting ON posting.entry_id = entry.key
WHERE entry.subject LIKE 'order:%' AND posting.account = 'wallet'
EXCEPT SELECT 'order:' || id, wallet_id FROM orders_order
ORDER BY subject, wallet_id
"""

_SUBSCRIPTIONS_AGAINST_LEDGER = """
WITH moved AS (
    SELECT entry.subject,
        SUM(posting.amount) AS held,
        SUM(CASE entry.kind WHEN 'served' THEN -posting.amount ELSE 0 END) AS served
    FROM accounts_journalentry entry
    JOIN accounts_posting posting ON posting.entry_id = entry.key
    WHERE posting.account = 'reserved'
    GROUP BY entry.subject
)
SELECT * FROM (
    SELECT orders_order.id,
        orders_order.charge - orders_order.refunded - subscription.served AS left_over,
        subscription.served, subscription.state,
        COALESCE(moved.held, 0) AS held,
        COALESCE(moved.served, 0) AS served_there
    FROM orders_subscription subscription
    JOIN orders_order ON orders_order.id = subscription.order_id
    LEFT JOIN moved ON moved.subject = 'order:' || orders_order.id
    WHERE NOT orders_order.sandbox
) compared
WHERE held <> left_over OR served_there <> served OR held < 0 OR (state = 'ended' AND held <> 0)
ORDER BY id
"""
_RESERVES_WITHOUT_SUBSCRIPTION = """
SELECT entry.subject
FROM accounts_journalentry entry JOIN accounts_posting posting ON posting.entry_id = entry.key
WHERE posting.account = 'reserved'
EXCEPT SELECT 'order:' || order_id FROM orders_subscription
ORDER BY subject
"""
# Play money is moved for orders of sandbox keys, and nothing else is.
_PLAYED_WITH_WRONG_MONEY = """
SELECT DISTINCT entry.subject, posting.account
FROM accounts_journalentry entry
JOIN accounts_posting posting ON posting.entry_id = entry.key
JOIN orders_order ON entry.subject = 'order:' || orders_order.id
WHERE posting.account <> 'wallet' AND orders_order.sandbox <> (posting.account = 'play')
ORDER BY entry.subject, posting.account
"""
_LOSSES_BEYOND_REFUNDS = """
WITH lost AS (
    SELECT entry.subject, -SUM(posting.amount) AS amount
    FROM accounts_journalentry entry JOIN accounts_posting posting ON posting.entry_id = entry.key
    WHERE posting.account = 'losses'
    GROUP BY entry.subject
)
SELECT lost.subject, lost.amount, COALESCE(orders_order.refunded, 0)
FROM lost LEFT JOIN orders_order ON lost.subject = 'order:' || orders_order.id
WHERE lost.amount > COALESCE(orders_order.refunded, 0)
ORDER BY lost.subject
"""
# A request is settled by a job of its own, soon after its order has ended.
_SETTLED_WITHIN = timedelta(hours=1)


def orders_match_the_ledger() -> Iterator[Finding]:
    """I5: one charge entry an order, of its charge; what was paid back is what the order says it
    was, and never more than was charged."""
    for order, *amounts in _rows(_ORDERS_AGAINST_LEDGER):
        subject, charges = f"order:{order}", amounts.pop(2)
        charge, refunded, charged, paid_back = map(_amount, amounts)
        if charges != 1:
            yield Finding("order_charged_not_once", subject, f"the ledger has {charges} charges")
        if charged - paid_back != charge - refunded:
            detail = f"net charge {charge - refunded}, in the ledger {charged - paid_back}"
            yield Finding("order_net_charge_wrong", subject, detail)
        elif (charged, paid_back) != (charge, refunded):
            detail = f"charge {charge}, in the ledger {charged}; refunded {refunded}, {paid_back}"
            yield Finding("order_charge_wrong", subject, detail)
        if paid_back > charged:
            detail = f"{paid_back} paid back of {charged}"
            yield Finding("order_refunded_too_much", subject, detail)


def entries_have_orders() -> Iterator[Finding]:
    """I5: the ledger names no order that there is not."""
    for (subject,) in _rows(_ENTRIES_WITHOUT_ORDER):
        yield Finding("entry_without_order", subject, "the ledger has entries of it")


def orders_move_their_own_wallet() -> Iterator[Finding]:
    """I5: an order is paid from, and back to, the wallet that it names."""
    for subject, wallet in _rows(_MOVED_IN_ANOTHER_WALLET):
        yield Finding("order_in_another_wallet", subject, f"wallet {wallet} has postings of it")


def runs_stay_within_their_drip_feed() -> Iterator[Finding]:
    """I5: the runs of a drip-feed share its charge, and what is paid back for them is paid back
    through it."""
    fed = (
        Order.objects.filter(run_orders__isnull=False)
        .annotate(charges=Sum("run_orders__charge"), paid_back=Sum("run_orders__refunded"))
        .filter(Q(charges__gt=F("charge")) | Q(paid_back__gt=F("refunded")))
        .order_by("pk")
    )
    for order in fed.iterator():
        if order.charges > order.charge:
            detail = f"its runs cost {order.charges} of {order.charge}"
            yield Finding("runs_beyond_charge", order.subject, detail)
        if order.paid_back > order.refunded:
            detail = f"{order.paid_back} paid back for its runs, {order.refunded} by itself"
            yield Finding("runs_refunded_beyond_order", order.subject, detail)


def runs_belong_to_their_drip_feed() -> Iterator[Finding]:
    """I5: a run is its drip-feed's: same customer and wallet, and over before it."""
    runs = Order.objects.exclude(parent=None).select_related("parent").order_by("pk")
    strange = runs.exclude(wallet=F("parent__wallet"), customer=F("parent__customer"))
    for run in strange.iterator():
        yield Finding("run_of_another_wallet", run.subject, f"it is a run of {run.parent}")
    for run in runs.filter(parent__status__in=_ENDED).exclude(status__in=_ENDED).iterator():
        assert run.parent is not None
        detail = f"it is {run.status}, its drip-feed {run.parent.status}"
        yield Finding("run_outlives_its_drip_feed", run.subject, detail)


def reserves_match_their_subscriptions() -> Iterator[Finding]:
    """I5: of a subscription's charge, what was neither served nor paid back is in reserve, and
    nothing once it has ended."""
    for order, left, used, state, *there in _rows(_SUBSCRIPTIONS_AGAINST_LEDGER):
        subject = f"order:{order}"
        left_over, served, held, served_there = map(_amount, (left, used, *there))
        if held != left_over:
            detail = f"{held} in reserve, {left_over} left of its charge"
            yield Finding("reserve_wrong", subject, detail)
        if served_there != served:
            detail = f"served {served}, in the ledger {served_there}"
            yield Finding("served_wrong", subject, detail)
        if held < 0:
            yield Finding("served_beyond_charge", subject, f"{held} in reserve")
        if state == SeriesState.ENDED and held:
            yield Finding("reserve_after_the_end", subject, f"{held} in reserve")


def reserves_have_subscriptions() -> Iterator[Finding]:
    """I5: only subscriptions reserve."""
    for (subject,) in _rows(_RESERVES_WITHOUT_SUBSCRIPTION):
        yield Finding("reserve_without_subscription", subject, "the ledger has reserves of it")


def play_stays_apart() -> Iterator[Finding]:
    """I5, I6: orders of sandbox keys are paid for with play money and stand at the play provider,
    and no others do; their runs are theirs."""
    for subject, account in _rows(_PLAYED_WITH_WRONG_MONEY):
        yield Finding("order_of_the_wrong_money", subject, f"it moved {account}")
    strange = Order.objects.exclude(
        at_fitting_provider(),
        Q(parent=None) | Q(parent__sandbox=F("sandbox")),
        Q(sandbox=True, customer__sandbox_of__isnull=False)
        | Q(sandbox=False, customer__sandbox_of=None),
    )
    for order in strange.order_by("pk").iterator():
        kind = "for play" if order.sandbox else "real"
        yield Finding("order_not_apart", order.subject, f"it is {kind}")


def losses_stay_within_refunds() -> Iterator[Finding]:
    """I5: a loss is what was paid back for an order that was delivered after all."""
    for subject, amount, refunded in _rows(_LOSSES_BEYOND_REFUNDS):
        detail = f"{_amount(amount)} lost of {_amount(refunded)} paid back"
        yield Finding("loss_beyond_refund", subject, detail)


def states_and_ids_agree() -> Iterator[Finding]:
    """I6, I7: what runs is linked to the provider's order, and what has one is not sent again."""
    lacking = Order.objects.filter(status__in=sorted(TRACKED), external_id=None, dripfeed=None)
    for order in lacking.order_by("pk").iterator():
        yield Finding("order_running_without_id", order.subject, f"it is {order.status}")
    waiting = (Status.PENDING, Status.SENDING, Status.UNCONFIRMED)
    bought = Order.objects.filter(status__in=waiting).exclude(external_id=None)
    for order in bought.order_by("pk").iterator():
        detail = f"it is {order.status}, and the provider has it as {order.external_id}"
        yield Finding("order_bought_before_sent", order.subject, detail)
    for order in Order.objects.exclude(dripfeed=None).exclude(external_id=None).iterator():
        yield Finding("drip_feed_bought_itself", order.subject, f"as {order.external_id}")


def requests_end_with_their_order() -> Iterator[Finding]:
    """I17: nobody waits for a refill or a cancellation of an order that is over."""
    before = timezone.now() - _SETTLED_WITHIN
    unfulfilled = {Status.CANCELLED, Status.REFUNDED, Status.FAILED}
    for name, waiting in (
        (
            "refill_of_an_ended_order",
            Refill.objects.filter(state__in=OPEN_REFILLS, order__status__in=sorted(unfulfilled)),
        ),
        (
            "cancellation_of_an_ended_order",
            CancelRequest.objects.filter(state__in=OPEN_CANCELS, order__status__in=_ENDED),
        ),
    ):
        late: QuerySet[Any] = waiting.filter(order__status_changed_at__lt=before)
        for each in late.select_related("order").order_by("pk").iterator():
            yield Finding(name, each.order.subject, f"it is {each.order.status}")


def differing_books_are_under_review() -> Iterator[Finding]:
    """I14: our book of a provider agrees with its balance, or staff are being told."""
    newest = BookReading.objects.filter(provider=OuterRef("provider")).order_by("-pk")
    differing = BookReading.objects.filter(
        pk=Subquery(newest.values("pk")[:1]), outcome=Outcome.DIFFERS
    )
    for reading in differing.order_by("pk").iterator():
        subject = f"provider:{reading.provider_id}"
        told = Alert.objects.filter(code="provider_book_differs", subject=subject, resolved_at=None)
        if not told.exists():
            yield Finding("book_differs", subject, f"by {reading.difference:f}")


RULES: tuple[Rule, ...] = (
    orders_match_the_ledger,
    entries_have_orders,
    orders_move_their_own_wallet,
    runs_stay_within_their_drip_feed,
    runs_belong_to_their_drip_feed,
    reserves_match_their_subscriptions,
    reserves_have_subscriptions,
    play_stays_apart,
    losses_stay_within_refunds,
    states_and_ids_agree,
    requests_end_with_their_order,
    differing_books_are_under_review,
)
_ENDED = sorted(FINAL)


def _rows(sql: str) -> Iterator[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        yield from cursor


def _amount(stored: Any) -> Any:
    return AmountField().from_db_value(stored, None, connection)
