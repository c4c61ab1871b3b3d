"""Ending an order before it is delivered: asked for by customers, or done by staff.

What has not been sent is cancelled and paid back at once. What a provider has is asked back of it:
the request is kept, the provider is asked (`attend`), and the money comes back when tracking sees
that the order ended. Asking twice does no harm, so a lost reply is asked again; a no after a lost
reply proves nothing (the first may have been taken), and the order's own end tells.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum

import structlog
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django_q.tasks import async_task

from accounts.alerts import resolve
from accounts.clock import from_now
from accounts.models import User
from catalog.health import guarded
from catalog.models import Provider
from catalog.order_types import ServiceType
from catalog.providers import (
    NotOffered,
    ProviderBusy,
    ProviderClient,
    ProviderError,
    ProviderRefused,
    ProviderUnreachable,
    UpstreamCancel,
)
from catalog.providers.refusals import is_about_the_call
from orders import dripfeed, subscriptions
from orders.models import (
    CancelRequest,
    CancelState,
    DripFeed,
    EventKind,
    Order,
    SeriesState,
)
from orders.models.requests import OPEN_CANCELS
from orders.moves import By, by_job, by_staff, record, storable
from orders.play import tell_staff
from orders.refunds import move_and_refund
from orders.statuses import FINAL, MOVES, TRACKED, Status

log = structlog.get_logger(__name__)

BATCH = 100
# No new call is begun after this: refills are attended to by the same job.
BUDGET_SECONDS = 20
# Longer than any call takes: until then nobody else asks.
ASK_AGAIN = timedelta(minutes=5)
# After a call that was not made.
LATER = timedelta(minutes=1)
MOST_ATTEMPTS = 5

_JOB = by_job("cancellations")
# The order ended as the customer wished, as far as it could.
_GIVEN = frozenset({Status.CANCELLED, Status.PARTIAL, Status.REFUNDED, Status.FAILED})


class ActionRefused(Exception):
    """The order's state does not allow this; the text tells staff why. Nothing has changed."""


class CancelProblem(StrEnum):
    """Why an order cannot be cancelled by its customer."""

    ENDED = "ended"
    NOT_OFFERED = "not_offered"  # it has been passed on, and there nothing is taken back
    REQUESTED = "requested"
    REFUSED = "refused"  # it was asked for, and the answer was no


class CancelRefused(Exception):
    """The order cannot be cancelled; `problem` says why. Nothing has changed."""

    def __init__(self, problem: CancelProblem) -> None:
        super().__init__(problem.value)
        self.problem = problem


def refusal(order: Order) -> CancelRefused | None:
    """Why `request` would refuse now; None where it would not."""
    if order.is_final:
        return CancelRefused(CancelProblem.ENDED)
    if (feed := _dripfeed(order)) is not None:
        stoppable = feed.state in (SeriesState.ACTIVE, SeriesState.PAUSED)
        return None if stoppable else CancelRefused(CancelProblem.REQUESTED)
    if order.status == Status.PENDING:
        return None
    if (earlier := CancelRequest.objects.filter(order=order).first()) is not None:
        is_open = earlier.state in OPEN_CANCELS
        return CancelRefused(CancelProblem.REQUESTED if is_open else CancelProblem.REFUSED)
    if order.status in TRACKED and not order.bought_as.cancel:
        return CancelRefused(CancelProblem.NOT_OFFERED)
    # Being sent, or of unknown outcome: the wish is kept until that is known.
    return None


def request(order: Order, *, by: By, note: str = "") -> CancelRequest | None:
    """Cancel the order for its customer, at once where it can be, else ask for it.

    Not sent yet: cancelled and paid back, and None is returned. A drip-feed of ours is stopped:
    None too, and it ends when its running run has. Otherwise the request is kept and returned,
    and `attend` carries it out. The object is brought up to date: `order.is_final` tells whether
    that was all. `note` is for staff. Raises CancelRefused, and then nothing has changed.
    """
    if _dripfeed(order) is not None:
        _stop_dripfeed(order, by=by, note=note)
        kept = None
    else:
        kept = _cancel_or_keep(order, by=by, note=note)
    order.refresh_from_db()
    return kept


def keep(order: Order, *, by: By, note: str = "") -> CancelRequest:
    """Keep a request for `attend` to carry out, in the caller's transaction.

    Raises CancelRefused where the order has one already, and then nothing has changed.
    """
    try:
        with transaction.atomic():
            kept = CancelRequest.objects.create(order=order)
            _tell(order, None, kept.state, by=by, note=note)
            async_task("orders.tasks.attend_provider", order.provider_id, q_options={"save": False})
    except IntegrityError:
        raise CancelRefused(CancelProblem.REQUESTED) from None
    return kept


def cancel_and_refund(order: Order, *, actor: User, reason: str) -> None:
    """Cancel an order and pay back all that is left of its charge, and of a subscription all that
    was not served.

    The provider is not told: what it has bought from us there stays bought. Raises ActionRefused.
    """
    if _dripfeed(order) is not None:
        raise ActionRefused(_("Stop the drip-feed instead: what never ran is paid back then."))
    if order.status == Status.SENDING:
        raise ActionRefused(_("The order is being sent right now. Try again in a minute."))
    if order.is_being_asked_for:
        raise ActionRefused(
            _("The provider is being asked for this order right now. Try again in a minute.")
        )
    if Status.CANCELLED not in MOVES[Status(order.status)]:
        raise ActionRefused(_("The order has ended already."))
    # No more than is left of it: refunds.py sees to that.
    if not move_and_refund(
        order, Status.CANCELLED, order.charge, reason=reason, by=by_staff(actor), completed_at=Now()
    ):
        raise ActionRefused(_("The order has changed meanwhile. Look at it again."))
    resolve("order_unconfirmed", subject=order.subject)


def due() -> QuerySet[CancelRequest]:
    """Open requests that something can be done about now."""
    known = Q(order__status__in=[Status.PENDING, *sorted(FINAL)])
    return CancelRequest.objects.filter(known | _to_ask(), state__in=OPEN_CANCELS)


def attend(provider: Provider) -> None:
    """Carry out the requests of the orders that stand at this provider.

    Safe to run twice and at the same time as itself. Makes its calls outside any transaction.
    """
    started = time.monotonic()
    known = CancelRequest.objects.filter(
        state__in=OPEN_CANCELS,
        order__provider=provider,
        order__status__in=[Status.PENDING, *sorted(FINAL)],
    )
    for kept in known.select_related("order__wallet").order_by("pk")[:BATCH]:
        _conclude(kept)
    client = guarded(provider)
    while time.monotonic() - started < BUDGET_SECONDS:
        claimed = _claim(provider)
        if not claimed or not _ask(client, claimed):
            return


# --- asking for it -------------------------------------------------------------------------------


def _dripfeed(order: Order) -> DripFeed | None:
    """The schedule of a drip-feed that we run ourselves; of other orders none."""
    return DripFeed.objects.filter(order=order).first() if order.runs else None


def _stop_dripfeed(order: Order, *, by: By, note: str) -> None:
    # Without a lock of ours: the drip-feed takes its own, its runs before itself.
    order.refresh_from_db()
    if refused := refusal(order):
        raise refused
    try:
        dripfeed.stop(order, by=by, note=note)
    except dripfeed.SeriesRefused:
        # Another stop was faster.
        raise CancelRefused(CancelProblem.REQUESTED) from None


@transaction.atomic
def _cancel_or_keep(order: Order, *, by: By, note: str) -> CancelRequest | None:
    # Under the row's lock whatever else moves the order waits for us, or is seen.
    locked = (
        Order.objects.select_for_update(no_key=True, of=("self",))
        .select_related("wallet", "service", "sent_service")
        .get(pk=order.pk)
    )
    if refused := refusal(locked):
        raise refused
    if locked.type == ServiceType.SUBSCRIPTIONS:
        subscriptions.stop(locked, by=by, note=note)
        return CancelRequest.objects.filter(order=locked).first()
    if locked.status == Status.PENDING:
        _cancel_unsent(locked, by=by, note=note)
        return None
    return keep(locked, by=by, note=note)


def _cancel_unsent(order: Order, *, by: By, note: str = "") -> bool:
    with transaction.atomic():
        if not move_and_refund(
            order, Status.CANCELLED, order.charge, by=by, reason=note, completed_at=Now()
        ):
            return False
        for kept in CancelRequest.objects.filter(order=order, state__in=OPEN_CANCELS):
            _change(kept, CancelState.DONE, by=by)
    return True


# --- carrying it out -----------------------------------------------------------------------------


def _to_ask() -> Q:
    return Q(
        state=CancelState.WAITING,
        next_try_at__lte=Now(),
        order__status__in=sorted(TRACKED),
        order__external_id__isnull=False,
    )


def _conclude(kept: CancelRequest) -> None:
    """Whatever was asked for, the order's state answers it."""
    if kept.order.status == Status.PENDING:
        _cancel_unsent(kept.order, by=_JOB)
        return
    given = kept.order.status in _GIVEN
    _change(kept, CancelState.DONE if given else CancelState.REFUSED)
    resolve("cancel_unanswered", subject=kept.order.subject)


@transaction.atomic
def _claim(provider: Provider) -> list[CancelRequest]:
    """Take up to a batch of requests for asking; nobody else asks for them meanwhile."""
    claimed = list(
        CancelRequest.objects.filter(_to_ask(), order__provider=provider)
        .order_by("next_try_at", "pk")
        .select_for_update(skip_locked=True, of=("self",))
        .values_list("pk", flat=True)[:BATCH]
    )
    CancelRequest.objects.filter(pk__in=claimed).update(
        next_try_at=from_now(ASK_AGAIN), attempts=F("attempts") + 1
    )
    return list(
        CancelRequest.objects.filter(pk__in=claimed)
        .select_related("order__service", "order__sent_service")
        .order_by("pk")
    )


def _ask(client: ProviderClient, claimed: Sequence[CancelRequest]) -> bool:
    """One call about all of them; returns whether another may follow."""
    asked = {}
    for kept in claimed:
        if kept.order.bought_as.cancel:
            asked[str(kept.order.external_id)] = kept
        else:
            _change(kept, CancelState.REFUSED, why="The service does not offer it.")
    if not asked:
        return True
    try:
        answers: Mapping[str, UpstreamCancel] = client.cancel(list(asked))
    except (ProviderUnreachable, ProviderBusy) as error:
        _not_asked(asked.values(), error)
        return False
    except NotOffered as error:
        answers = {external_id: UpstreamCancel(False, str(error)) for external_id in asked}
    except ProviderRefused as error:
        if len(asked) > 1 or is_about_the_call(str(error)):
            # A no to all at once, or to us, tells nothing of each.
            _unanswered(asked.values(), str(error))
            return False
        answers = {external_id: UpstreamCancel(False, str(error)) for external_id in asked}
    except ProviderError as error:
        _unanswered(asked.values(), str(error))
        return False
    except Exception as error:
        log.exception("cancellations.fault")
        _unanswered(asked.values(), f"{type(error).__name__} while asking.")
        return False
    for external_id, answer in answers.items():
        if external_id in asked:
            _answered(asked[external_id], answer)
    _unanswered(
        [kept for external_id, kept in asked.items() if external_id not in answers],
        "The provider's answer lacks this order.",
    )
    return True


def _answered(kept: CancelRequest, answer: UpstreamCancel) -> None:
    if answer.accepted:
        _change(kept, CancelState.ASKED)
    elif kept.attempts > 1:
        # The call whose reply was lost may have been taken: the order's own end will tell.
        _change(kept, CancelState.ASKED, why=f"After a lost reply: {answer.reason}")
    else:
        _change(kept, CancelState.REFUSED, why=answer.reason)


def _not_asked(
    requests: Iterable[CancelRequest], error: ProviderUnreachable | ProviderBusy
) -> None:
    """Nothing was sent, or it was turned away unread: that attempt was none."""
    asked = getattr(error, "retry_after", None) or 0.0
    pause = min(max(LATER, timedelta(seconds=asked)), timedelta(hours=1))
    CancelRequest.objects.filter(
        pk__in=[kept.pk for kept in requests], state=CancelState.WAITING
    ).update(
        next_try_at=from_now(pause),
        attempts=F("attempts") - 1,
        failure=storable(str(error)),
    )


def _unanswered(requests: Iterable[CancelRequest], why: str) -> None:
    """It may have been heard: asked again after the pause of the claim, some times."""
    for kept in requests:
        if kept.attempts < MOST_ATTEMPTS:
            CancelRequest.objects.filter(pk=kept.pk, state=CancelState.WAITING).update(
                failure=storable(why)
            )
        elif _change(kept, CancelState.ASKED, why=why):
            tell_staff(
                kept.order,
                "cancel_unanswered",
                "Asked several times to cancel this order, the provider did not answer "
                f"usably ({why}). Ask it by other means.",
            )


def _change(kept: CancelRequest, to: CancelState, *, by: By = _JOB, why: str = "") -> bool:
    """Move an open request on, with an event; False where it has been moved meanwhile."""
    settled = {} if to in OPEN_CANCELS else {"settled_at": Now()}
    before = kept.state
    with transaction.atomic():
        if not CancelRequest.objects.filter(pk=kept.pk, state=before).update(
            state=to, failure=storable(why), **settled
        ):
            return False
        kept.state = to
        _tell(kept.order, before, to, by=by, note=why)
    return True


def _tell(order: Order, before: str | None, after: str, *, by: By, note: str) -> None:
    record(order, EventKind.CANCEL, by=by, changes={"cancel": (before, after)}, note=note)
