"""Refills: asked for by customers within the guarantee, done by the provider or by staff.

A refill costs nothing, so a lost reply is asked again; but a no after a lost reply may only mean
that the first was taken, and staff look. A clear no rejects it, in our own words: the provider's
stand in `failure`, for staff. Staff do by hand what no provider could be asked for, and what a
provider has left open for too long. Where a provider says yes without an id there is nothing to
follow: after `UNTRACKED` staff look whether it was done.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Case, F, Q, QuerySet, When
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django_q.tasks import async_task

from accounts import webhooks
from accounts.alerts import alert, resolve
from accounts.clock import from_now
from accounts.models import User, WebhookType
from accounts.webhooks import Happened
from catalog.health import guarded
from catalog.models import Provider, RefillBy
from catalog.providers import (
    NotOffered,
    ProviderBusy,
    ProviderClient,
    ProviderError,
    ProviderOutOfFunds,
    ProviderRefused,
    ProviderUnreachable,
    UpstreamRefill,
    UpstreamRefillState,
)
from catalog.providers.refusals import is_about_the_call
from orders.cancellations import ActionRefused
from orders.models import DripFeed, EventKind, Order, PublicRefillState, Refill, RefillState
from orders.models.requests import OPEN_REFILLS
from orders.moves import By, by_job, by_staff, record, storable
from orders.play import tell_staff
from orders.statuses import FINAL, Status

log = structlog.get_logger(__name__)

BATCH = 100
# No new call is begun after this: cancellations are attended to by the same job.
BUDGET_SECONDS = 20
# Longer than any call takes: until then nobody else asks.
ASK_AGAIN = timedelta(minutes=5)
# After a call that was not made.
LATER = timedelta(minutes=1)
MOST_ATTEMPTS = 3
# How often a refill under way is asked about: in its first hours, and then.
OFTEN, RARELY = timedelta(minutes=5), timedelta(minutes=30)
# Those of sandbox keys are soon done, and their programmers are watching.
PLAYS = timedelta(seconds=30)
YOUNG = timedelta(hours=6)
# After this staff look: of those with an id, and of those that cannot be followed.
LONGEST, UNTRACKED = timedelta(days=14), timedelta(days=3)
REFILL_ID_LIMIT = 64
REASON_LIMIT = 300

REFILLABLE = frozenset({Status.COMPLETED, Status.PARTIAL})

# Our words for a provider's no; customers read them in their language (`Refill.shown_reason`).
DECLINED = gettext_noop("The refill was checked and could not be granted for this order.")
NOT_DONE = gettext_noop("The refill could not be carried out.")
PAID_BACK = gettext_noop("The order was paid back meanwhile.")

_JOB = by_job("refills")
_MAX_ID = 2**63 - 1


class RefillProblem(StrEnum):
    """Why a refill cannot be asked for."""

    NO_GUARANTEE = "no_guarantee"
    NOT_FINISHED = "not_finished"
    NOT_DELIVERED = "not_delivered"  # it ended without a delivery that could be filled up
    WINDOW_OVER = "window_over"
    OPEN = "open"


class RefillRefused(Exception):
    """No refill; `problem` says why, `until` when the guarantee ended (WINDOW_OVER).

    Nothing has changed.
    """

    def __init__(self, problem: RefillProblem, *, until: datetime | None = None) -> None:
        super().__init__(problem.value)
        self.problem, self.until = problem, until


class RefillNotFound(Exception):
    """The customer has no such refill."""


def refusal(order: Order) -> RefillRefused | None:
    """Why `request` would refuse now; None where it would not."""
    return refusals([order]).get(order.pk)


def refusals(orders: Sequence[Order]) -> dict[int, RefillRefused]:
    """Those of the orders for which no refill can be asked now, by id, and why; one query."""
    being_filled = set(
        Refill.objects.filter(order__in=orders, state__in=OPEN_REFILLS).values_list(
            "order_id", flat=True
        )
    )
    found = {order.pk: _refusal(order, is_open=order.pk in being_filled) for order in orders}
    return {pk: refused for pk, refused in found.items() if refused}


def request(order: Order, *, by: By) -> Refill:
    """Ask for a refill of the order; the provider is asked by a job, staff where it cannot be.

    Two at once: the unique constraint lets one in. Raises RefillRefused, and then nothing has
    changed.
    """
    if refused := refusal(order):
        raise refused
    state = RefillState.MANUAL if _is_by_hand(order) else RefillState.WAITING
    try:
        with transaction.atomic():
            refill = Refill.objects.create(order=order, state=state, api_key=by.api_key)
            if state == RefillState.MANUAL:
                Refill.objects.filter(pk=refill.pk).update(next_check_at=None)
            # Its times are the database's.
            refill.refresh_from_db(fields=["created_at", "next_check_at"])
            _tell(refill, None, state, by=by, note="")
            if state == RefillState.MANUAL:
                _call_staff(refill, "Asked for, and to be done by hand.")
            else:
                async_task(
                    "orders.tasks.attend_provider", order.provider_id, q_options={"save": False}
                )
    except IntegrityError:
        raise RefillRefused(RefillProblem.OPEN) from None
    return refill


def request_each(orders: Sequence[Order], *, by: By) -> dict[int, Refill | RefillRefused]:
    """A refill of each order, by its id; each stands for itself, and no order stops the others."""
    made: dict[int, Refill | RefillRefused] = {}
    for order in orders:
        try:
            made[order.pk] = request(order, by=by)
        except RefillRefused as refused:
            made[order.pk] = refused
    return made


def find(customer: User, refill_id: str) -> Refill:
    """The customer's refill with this id. Raises RefillNotFound."""
    found = find_many(customer, [refill_id])
    if refill_id not in found:
        raise RefillNotFound(refill_id)
    return found[refill_id]


def find_many(customer: User, refill_ids: Sequence[str]) -> dict[str, Refill]:
    """The customer's refills, keyed by the text asked for; unknown ones are absent. One query."""
    numbers = {text: int(text) for text in refill_ids if is_refill_id(text)}
    refills = Refill.objects.filter(pk__in=numbers.values(), order__customer=customer)
    by_id = {refill.pk: refill for refill in refills}
    return {text: by_id[number] for text, number in numbers.items() if number in by_id}


def is_refill_id(text: str) -> bool:
    """Whether a refill could have this id."""
    text = text.strip()
    return text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) <= _MAX_ID


def settle(refill: Refill, *, completed: bool, reason: str, actor: User) -> None:
    """Staff end an open refill. The reason of a rejection is shown to the customer; what is said
    of a completed one stays in the history, for staff. Raises ActionRefused."""
    to = RefillState.COMPLETED if completed else RefillState.REJECTED
    if not completed and not reason.strip():
        raise ActionRefused(_("Say why: the customer reads it."))
    shown = "" if completed else reason.strip()[:REASON_LIMIT]
    if not refill.is_open or not _end(
        refill, to, by=by_staff(actor), reason=shown, note=reason, settled_by=actor
    ):
        raise ActionRefused(_("The refill has been settled already."))


def due() -> QuerySet[Refill]:
    """Open refills that the provider should be asked for, or about, now."""
    return Refill.objects.filter(
        state__in=(RefillState.WAITING, RefillState.ASKED), next_check_at__lte=Now()
    )


def attend(provider: Provider) -> None:
    """Ask the provider for the waiting refills, and how the others stand.

    Safe to run twice and at the same time as itself. Makes its calls outside any transaction.
    """
    started = time.monotonic()
    client = guarded(provider)
    _give_up(provider)
    while time.monotonic() - started < BUDGET_SECONDS:
        refill = _claim_waiting(provider)
        if refill is None:
            break
        if not _ask(client, refill):
            return
    while time.monotonic() - started < BUDGET_SECONDS:
        asked = _claim_asked(provider)
        if not asked or not _follow(provider, client, asked):
            break


def end_of_paid_back(order: Order) -> None:
    """Reject the open refill of an order that is paid back whole, in the caller's transaction."""
    for refill in Refill.objects.filter(order=order, state__in=OPEN_REFILLS):
        _end(refill, RefillState.REJECTED, reason=PAID_BACK)


# --- asking for it -------------------------------------------------------------------------------


def _refusal(order: Order, *, is_open: bool) -> RefillRefused | None:
    if order.guarantee_days is None:
        return RefillRefused(RefillProblem.NO_GUARANTEE)
    if order.status not in REFILLABLE:
        ended = order.status in FINAL
        return RefillRefused(RefillProblem.NOT_DELIVERED if ended else RefillProblem.NOT_FINISHED)
    until = order.guaranteed_until
    if until is not None and until < timezone.now():
        return RefillRefused(RefillProblem.WINDOW_OVER, until=until)
    return RefillRefused(RefillProblem.OPEN) if is_open else None


def _is_by_hand(order: Order) -> bool:
    """Whether no provider can be asked: staff do it, it lists no refill (any longer), or the
    provider has not this order but the runs of it."""
    return (
        order.service.refill_by == RefillBy.STAFF
        or not order.bought_as.refill
        or not order.external_id
        or DripFeed.objects.filter(order=order).exists()
    ) and not order.sandbox


def _claim_waiting(provider: Provider) -> Refill | None:
    """Take the longest-waiting refill for asking; nobody else asks for it meanwhile."""
    with transaction.atomic():
        refill = (
            due()
            .filter(state=RefillState.WAITING, order__provider=provider)
            .order_by("next_check_at", "pk")
            .select_for_update(skip_locked=True, of=("self",))
            .first()
        )
        if refill is None:
            return None
        Refill.objects.filter(pk=refill.pk).update(
            next_check_at=from_now(ASK_AGAIN), attempts=F("attempts") + 1
        )
    return Refill.objects.select_related("order").get(pk=refill.pk)


def _ask(client: ProviderClient, refill: Refill) -> bool:
    """One call for one refill; returns whether another may follow."""
    if refill.order.status not in REFILLABLE:
        _end(refill, RefillState.REJECTED, reason=PAID_BACK)
        return True
    delivered = _delivered_as(refill.order)
    if delivered is None:
        _end_undelivered(refill)
        return True
    try:
        external_id = client.refill(delivered)
    except (ProviderUnreachable, ProviderBusy) as error:
        # Nothing was sent, or it was turned away unread: that attempt was none.
        _wait(refill, str(error), pause=_pause(error), attempts=F("attempts") - 1)
        return False
    except (NotOffered, ProviderOutOfFunds) as error:
        _hand_over(refill, str(error))
    except ProviderRefused as error:
        if is_about_the_call(str(error)):
            _hand_over(refill, str(error))
        elif refill.attempts > 1:
            _hand_over(refill, f"Refused after a lost reply, so the first may be done: {error}")
        else:
            _end(refill, RefillState.REJECTED, reason=DECLINED, failure=str(error))
    except ProviderError as error:
        _lost(refill, str(error))
        return False
    except Exception as error:
        log.exception("refills.fault", refill=refill.pk)
        _lost(refill, f"{type(error).__name__} while asking.")
        return False
    else:
        _asked(refill, external_id)
    return True


def _delivered_as(order: Order) -> str | None:
    """The provider's id of what is to be filled up; None where it has nothing of it. Of a drip-feed
    staff do it, except for play: there any run stands for all."""
    if order.external_id:
        return order.external_id
    sent = order.run_orders.exclude(external_id=None).exclude(external_id="")
    return sent.order_by("pk").values_list("external_id", flat=True).last()


def _end_undelivered(refill: Refill) -> None:
    """Nobody can be asked. Staff do it, except for play, which is nobody's work."""
    why = "The provider has no such order."
    if refill.order.sandbox:
        _end(refill, RefillState.REJECTED, reason=NOT_DONE, failure=why)
    else:
        _hand_over(refill, why)


def _asked(refill: Refill, external_id: str) -> None:
    usable = external_id if len(external_id) <= REFILL_ID_LIMIT else ""
    _change(
        refill,
        RefillState.ASKED,
        external_id=storable(usable),
        failure="" if usable else "The provider said yes without an id to follow it by.",
        next_check_at=from_now(_first_look(refill.order) if usable else UNTRACKED),
    )


def _first_look(order: Order) -> timedelta:
    return PLAYS if order.sandbox else OFTEN


def _lost(refill: Refill, why: str) -> None:
    """The provider may have taken it: asked again after the pause of the claim, some times."""
    if refill.attempts >= MOST_ATTEMPTS:
        _hand_over(refill, f"Asked {refill.attempts} times without a usable answer: {why}")
    else:
        _wait(refill, why, pause=ASK_AGAIN)


def _wait(refill: Refill, why: str, *, pause: timedelta, **changes: Any) -> None:
    Refill.objects.filter(pk=refill.pk, state=refill.state).update(
        failure=storable(why), next_check_at=from_now(pause), **changes
    )


def _pause(error: ProviderUnreachable | ProviderBusy) -> timedelta:
    asked = getattr(error, "retry_after", None) or 0.0
    return min(max(LATER, timedelta(seconds=asked)), timedelta(hours=1))


# --- following it --------------------------------------------------------------------------------


def _give_up(provider: Provider) -> None:
    """To staff, what cannot be followed, or has been open for too long."""
    stale = due().filter(
        Q(external_id="") | Q(created_at__lt=from_now(-LONGEST)),
        state=RefillState.ASKED,
        order__provider=provider,
    )
    for refill in stale.select_related("order")[:BATCH]:
        _hand_over(refill, refill.failure or "The provider has left it open for too long.")


@transaction.atomic
def _claim_asked(provider: Provider) -> list[Refill]:
    """Refills to ask about, their next check already set."""
    claimed = list(
        due()
        .filter(state=RefillState.ASKED, order__provider=provider)
        .exclude(external_id="")
        .order_by("next_check_at", "pk")
        .select_for_update(skip_locked=True, of=("self",))
        .values_list("pk", flat=True)[:BATCH]
    )
    Refill.objects.filter(pk__in=claimed).update(
        next_check_at=Case(
            When(created_at__gt=from_now(-YOUNG), then=from_now(OFTEN)), default=from_now(RARELY)
        )
    )
    return list(Refill.objects.filter(pk__in=claimed).select_related("order").order_by("pk"))


def _follow(provider: Provider, client: ProviderClient, asked: Sequence[Refill]) -> bool:
    """One call about all of them; returns whether another may follow."""
    subject = f"provider:{provider.pk}"
    by_id = {refill.external_id: refill for refill in asked}
    try:
        reports = client.refill_statuses(list(by_id))
    except (ProviderUnreachable, ProviderBusy):
        return False
    except NotOffered as error:
        for refill in asked:
            _hand_over(refill, str(error))
        return True
    except ProviderError as error:
        alert("refill_status_failed", subject=subject, message=f"{provider}: {error}")
        return False
    resolve("refill_status_failed", subject=subject)
    for external_id, report in reports.items():
        if external_id in by_id:
            _apply(by_id[external_id], report)
    return True


def _apply(refill: Refill, report: UpstreamRefill) -> None:
    match report.state:
        case UpstreamRefillState.COMPLETED:
            _end(refill, RefillState.COMPLETED)
        case UpstreamRefillState.REJECTED:
            _end(
                refill, RefillState.REJECTED, reason=NOT_DONE, failure=report.reason or report.word
            )
        case None:
            tell_staff(
                refill.order,
                "refill_status_unknown",
                f"The provider says “{report.word or report.reason}”, which is no status that we"
                " know.",
                subject=_subject(refill),
            )


# --- writing it down -----------------------------------------------------------------------------


def _hand_over(refill: Refill, why: str) -> None:
    """From here on staff's."""
    with transaction.atomic():
        if _change(refill, RefillState.MANUAL, failure=why, next_check_at=None):
            _call_staff(refill, why)


def _call_staff(refill: Refill, why: str) -> None:
    tell_staff(
        refill.order,
        "refill_manual",
        f"Order {refill.order_id}: {why}",
        subject=_subject(refill),
    )


def _end(refill: Refill, to: RefillState, *, by: By = _JOB, note: str = "", **changes: Any) -> bool:
    ended = _change(refill, to, by=by, note=note, settled_at=Now(), next_check_at=None, **changes)
    if ended:
        for code in ("refill_manual", "refill_status_unknown"):
            resolve(code, subject=_subject(refill))
    return ended


def _change(
    refill: Refill, to: RefillState, *, by: By = _JOB, note: str = "", **changes: Any
) -> bool:
    """Move the refill on, with an event; False where it has been moved meanwhile, so that what
    has ended stays as it ended."""
    before = refill.state
    if "failure" in changes:
        changes["failure"] = storable(changes["failure"])
    with transaction.atomic():
        if not Refill.objects.filter(pk=refill.pk, state=before).update(state=to, **changes):
            return False
        was, refill.state = refill.public_state, to
        _tell(refill, before, to, by=by, note=note or changes.get("failure", ""))
        if refill.public_state != was:
            webhooks.record([_happened(refill, was)])
    return True


def _tell(refill: Refill, before: str | None, after: str, *, by: By, note: str) -> None:
    record(refill.order, EventKind.REFILL, by=by, changes={"refill": (before, after)}, note=note)


def _happened(refill: Refill, was: PublicRefillState) -> Happened:
    """What the customer's webhooks are told. The rest they read in the row: it has ended, and
    changes no more."""
    return Happened(
        refill.order.customer_id,
        WebhookType.REFILL_UPDATED,
        _subject(refill),
        {"refill": refill.pk, "previous": {"status": was.value}},
    )


def _subject(refill: Refill) -> str:
    return f"refill:{refill.pk}"
