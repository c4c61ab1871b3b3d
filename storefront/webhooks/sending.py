"""Sending what happened to the customers' endpoints: at least once, each endpoint by itself.

A delivery is claimed by pushing its next time forward before the request, so that several senders
share the work, and what a killed one had in hand comes again. Requests run in threads, outside any
transaction; the database is left to the caller's thread. A customer has few of them at a time,
and the endpoints that fail or are slow together have half: they keep nobody else waiting.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import structlog
from django.db import transaction
from django.db.models import (
    Case,
    DurationField,
    Exists,
    ExpressionWrapper,
    F,
    Min,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    When,
)
from django.db.models.functions import Coalesce, Now
from django_q.tasks import async_task

from accounts import webhooks
from accounts.clock import from_now
from accounts.models import (
    DeliveryState,
    DisabledBecause,
    Turn,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
)
from storefront.webhooks import bodies, signing
from storefront.webhooks.targets import Caller, Reply

log = structlog.get_logger(__name__)

SIDE_BY_SIDE = 16
EACH = 2  # requests to one endpoint at a time
EACH_OWNER = 4  # to all of one customer's, the sandbox's among them
HINDERED = SIDE_BY_SIDE // 2  # to all of those together whose last answer was a failure, or slow
SLOW_MILLISECONDS = 2000
# No new request is begun after this: what is left waits for the next job.
BUDGET_SECONDS = 20
# Longer than any request takes, with the look-up of its name.
LEASE = timedelta(minutes=2)
# The first repeat, and each thrice as long, up to the longest; a quarter more or less by chance.
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=6)
JITTER = 0.25
PATIENCE = timedelta(days=3)
# An event waits for an earlier one of its subject until that has failed this often.
HOLDS_BACK = 5

_GONE = 410


class _Endpoint(NamedTuple):
    """What an endpoint's share depends on."""

    pk: int
    owner_id: int  # a sandbox twin's is its owner
    is_hindered: bool


@dataclass(frozen=True)
class _Claimed:
    """A delivery in hand, and all that its request needs."""

    delivery: WebhookDelivery
    endpoint: _Endpoint
    url: str
    secrets: Sequence[str]
    body: bytes


def due() -> QuerySet[WebhookDelivery]:
    """Deliveries whose next attempt has come, and that wait for no earlier one of their subject."""
    earlier = WebhookDelivery.objects.filter(
        endpoint=OuterRef("endpoint"),
        subject=OuterRef("subject"),
        pk__lt=OuterRef("pk"),
        next_at__isnull=False,
        attempts__lt=HOLDS_BACK,
    )
    return WebhookDelivery.objects.filter(Q(subject="") | ~Exists(earlier), next_at__lte=Now())


def deliver(caller: Caller | None = None) -> int:
    """Send what is due; returns how many requests were made.

    Safe to run twice, at the same time as itself, and to be killed anywhere: what was being sent
    is sent again.
    """
    caller = caller or Caller()
    sent = 0
    until = time.monotonic() + BUDGET_SECONDS
    running: dict[Future[Reply], _Claimed] = {}
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        while True:
            if time.monotonic() < until:
                for claimed in _claim(list(running.values())):
                    running[pool.submit(_send, caller, claimed)] = claimed
                    sent += 1
            if not running:
                return sent
            done, _waiting = wait(running, timeout=1, return_when=FIRST_COMPLETED)
            for future in done:
                _record(running.pop(future).delivery, future)


# --- taking them in hand -------------------------------------------------------------------------


def _claim(running: Sequence[_Claimed]) -> list[_Claimed]:
    """As many as there is room for, nobody more than their share."""
    in_hand = list(running)
    if len(in_hand) == SIDE_BY_SIDE:
        return []
    waiting = _waiting()
    random.shuffle(waiting)  # nobody is always the last
    for endpoint in waiting:
        share = min(
            SIDE_BY_SIDE - len(in_hand),
            EACH - sum(one.endpoint.pk == endpoint.pk for one in in_hand),
            EACH_OWNER - sum(one.endpoint.owner_id == endpoint.owner_id for one in in_hand),
        )
        if endpoint.is_hindered:
            share = min(share, HINDERED - sum(one.endpoint.is_hindered for one in in_hand))
        if share > 0:
            in_hand += _claim_of(endpoint, share)
    return in_hand[len(running) :]


def _waiting() -> list[_Endpoint]:
    """The endpoints that something is due to."""
    firsts = [Subquery(_line(OuterRef("pk"), turn).values("pk")[:1]) for turn in Turn]
    rows = (
        WebhookEndpoint.objects.alias(first=Coalesce(*firsts))
        .filter(first__isnull=False)
        .order_by()
        .values_list(
            "pk",
            Coalesce("user__sandbox_of", "user"),
            Case(When(failing_since=None, is_slow=False, then=False), default=True),
        )
    )
    return [_Endpoint(*row) for row in rows]


def _line(endpoint: int | OuterRef, turn: Turn) -> QuerySet[WebhookDelivery]:
    """Those of the endpoint that are due: the order of an index, whose first rows are cheap."""
    return due().filter(endpoint=endpoint, turn=turn).order_by("next_at", "pk")


def _claim_of(endpoint: _Endpoint, most: int) -> list[_Claimed]:
    ids: list[int] = []
    with transaction.atomic():
        for turn in Turn:
            line = _line(endpoint.pk, turn).select_for_update(skip_locked=True, of=("self",))
            ids += line.values_list("pk", flat=True)[: most - len(ids)]
        WebhookDelivery.objects.filter(pk__in=ids, next_at__lte=Now()).update(
            next_at=from_now(LEASE), attempts=F("attempts") + 1
        )
    claimed = (
        WebhookDelivery.objects.filter(pk__in=ids)
        .select_related("endpoint", "event__user__sandbox_of")
        .annotate(
            signs_twice=Case(When(endpoint__previous_until__gt=Now(), then=True), default=False)
        )
    )
    return [one for delivery in claimed.order_by("pk") if (one := _prepared(delivery, endpoint))]


def _prepared(delivery: WebhookDelivery, endpoint: _Endpoint) -> _Claimed | None:
    """All that the request needs; None where there is none to make."""
    target = delivery.endpoint
    if target.disabled_at is not None and delivery.event.type != webhooks.TEST:
        # It was switched off while this was being recorded.
        _give_up(delivery)
        return None
    try:
        secrets = [target.secret]
        if delivery.signs_twice:  # type: ignore[attr-defined]
            secrets.append(target.previous_secret)
        body = _body(delivery.event)
    except Exception:
        # A fault of ours: it is tried again, the others go on, and the endpoint is not to blame.
        log.exception("webhooks.not_prepared", delivery=delivery.pk)
        _fail(delivery)
        return None
    return _Claimed(delivery, endpoint, target.url, secrets, body)


def _body(event: WebhookEvent) -> bytes:
    """The event's body, the same at every attempt and to every endpoint."""
    if not event.body:
        rendered = bodies.render(event)
        WebhookEvent.objects.filter(pk=event.pk, body="").update(body=rendered)
        event.refresh_from_db(fields=["body"])
    return event.body.encode()


def _send(caller: Caller, claimed: _Claimed) -> Reply:
    headers = signing.headers(
        claimed.secrets,
        event_id=str(claimed.delivery.event_id),
        timestamp=int(time.time()),
        body=claimed.body,
    )
    return caller.post(claimed.url, headers=headers, body=claimed.body)


# --- writing down what came of it ----------------------------------------------------------------


def _record(delivery: WebhookDelivery, future: Future[Reply]) -> None:
    """A fault here leaves the claim: the delivery comes again after its lease."""
    try:
        reply = future.result()
        _write(delivery, reply)
    except Exception:
        log.exception("webhooks.not_recorded", delivery=delivery.pk)
        return
    log.info(
        "webhook_sent",
        delivery=delivery.pk,
        endpoint=delivery.endpoint_id,
        status=reply.status,
        milliseconds=reply.milliseconds,
    )


@transaction.atomic
def _write(delivery: WebhookDelivery, reply: Reply) -> None:
    """The line of the log, what follows for the delivery, and for its endpoint."""
    # The endpoint first, as whoever switches it off takes them.
    held = WebhookEndpoint.objects.select_for_update(no_key=True)
    endpoint = held.filter(pk=delivery.endpoint_id).first()
    if endpoint is None:  # it was taken away meanwhile, and its log with it
        return
    WebhookAttempt.objects.create(
        delivery=delivery,
        status=reply.status,
        milliseconds=reply.milliseconds,
        answer=reply.answer,
        error=reply.error,
    )
    is_slow = reply.milliseconds >= SLOW_MILLISECONDS
    if endpoint.is_slow != is_slow:
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(is_slow=is_slow)
    if reply.was_taken:
        # Even where it was given up, or another sender has it, meanwhile.
        WebhookDelivery.objects.filter(pk=delivery.pk).update(
            state=DeliveryState.DELIVERED, next_at=None
        )
        WebhookEndpoint.objects.filter(pk=endpoint.pk).update(failing_since=None)
        return
    if delivery.event.type == webhooks.TEST:
        # Asked for by somebody who looks at its outcome: it is made once, and counts for nothing.
        _give_up(delivery)
        return
    if endpoint.disabled_at is None:
        _judge(endpoint, delivery, is_gone=reply.status == _GONE)
    _fail(delivery)
    _put_off_what_waits_for(delivery)


def _fail(delivery: WebhookDelivery) -> None:
    """Try again later, the last time three days after the first, and then give up; neither where
    another sender has it in hand since."""
    ours = _open(delivery).filter(attempts=delivery.attempts)
    # Where no request could be made yet: since it was recorded.
    began = Coalesce(Min("log__at"), F("created_at"))
    tried_for = (
        ours.annotate(tried_for=ExpressionWrapper(Now() - began, output_field=DurationField()))
        .values_list("tried_for", flat=True)
        .first()
    )
    if tried_for is None:
        return
    if tried_for < PATIENCE:
        pause = min(pause_after(delivery.attempts), PATIENCE - tried_for)
        ours.update(next_at=from_now(pause))
    else:
        ours.update(state=DeliveryState.FAILED, next_at=None)


def _put_off_what_waits_for(delivery: WebhookDelivery) -> None:
    """Nothing that it holds back is looked at before its own next attempt."""
    if not delivery.subject or delivery.attempts >= HOLDS_BACK:
        return
    ours = _open(delivery).filter(attempts=delivery.attempts)
    next_at = ours.values_list("next_at", flat=True).first()
    if next_at is not None:
        WebhookDelivery.objects.filter(
            endpoint=delivery.endpoint_id,
            subject=delivery.subject,
            pk__gt=delivery.pk,
            next_at__lt=next_at,
        ).update(next_at=next_at)


def _judge(endpoint: WebhookEndpoint, delivery: WebhookDelivery, *, is_gone: bool) -> None:
    """Note the failure, and switch the endpoint off where it was the last straw: it is gone, or it
    took nothing in three days, through which an event was tried. Quiet days are no failures."""
    endpoints = WebhookEndpoint.objects.filter(pk=endpoint.pk)
    endpoints.update(failing_since=Coalesce("failing_since", Now()))
    if delivery.replay:
        return  # asked for by hand: it switches nothing off
    # Any event, not this one alone: the last attempt of the first may stand in a long line.
    tried_throughout = WebhookDelivery.objects.filter(
        endpoint=endpoint,
        next_at__isnull=False,
        replay=False,
        log__at__lte=from_now(-PATIENCE),
    )
    if is_gone:
        because = DisabledBecause.GONE
    elif endpoints.filter(
        Exists(tried_throughout), failing_since__lte=from_now(-PATIENCE)
    ).exists():
        because = DisabledBecause.FAILING
    else:
        return
    webhooks.stop(endpoint, because)
    async_task("storefront.tasks.tell_webhook_disabled", endpoint.pk, q_options={"save": False})


def _give_up(delivery: WebhookDelivery) -> None:
    _open(delivery).update(state=DeliveryState.FAILED, next_at=None)


def _open(delivery: WebhookDelivery) -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.filter(pk=delivery.pk, next_at__isnull=False)


def pause_after(attempts: int) -> timedelta:
    """How long to wait after so many failed attempts, with a part of chance: endpoints that failed
    together are not asked together again."""
    # Beyond ten the longest holds anyway.
    factor: int = 3 ** min(attempts - 1, 10)
    pause = min(FIRST_PAUSE * factor, LONGEST_PAUSE)
    return pause * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
