"""Webhooks: where customers want to be told, and the rows of what they are told.

What happens is recorded here, in the transaction of the change itself: rolled back, it was never
told. The bodies and the requests are made later, by `storefront/webhooks`, outside any transaction.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django_q.tasks import async_task

from accounts import pruning
from accounts.clock import from_now
from accounts.models import (
    DeliveryState,
    DisabledBecause,
    Turn,
    User,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
    WebhookType,
)
from accounts.webhook_urls import UrlRefused, read_url

MOST_ENDPOINTS = 10
URL_LIMIT = 500
DESCRIPTION_LIMIT = 100
LONGEST_GRACE = timedelta(days=7)
KEPT_FOR = timedelta(days=30)
# What "send test event" sends; every endpoint takes it.
TEST = "test"

_SECRET_PREFIX = "whsec_"
_SECRET_BYTES = 32
_BATCH = 1000


class WebhookRefused(Exception):
    """Not possible. `problems` maps the field ("url", "events", "description", "grace") to its
    sentences, in the active language. Nothing has changed."""

    def __init__(self, problems: Mapping[str, Sequence[str]]) -> None:
        super().__init__(str(dict(problems)))
        self.problems = {field: list(texts) for field, texts in problems.items()}


class WebhookNotFound(Exception):
    """The customer has no such endpoint, or no such delivery."""


@dataclass(frozen=True)
class Happened:
    """Something to tell a customer of.

    `subject` ("order:42") names what it is about: its events are told in order. `facts` are plain
    JSON (amounts as text): how things stood, as `storefront/webhooks/bodies.py` reads them.
    """

    user_id: int
    type: WebhookType
    subject: str
    facts: Mapping[str, Any]


# --- recording -----------------------------------------------------------------------------------


def record(happened: Sequence[Happened]) -> None:
    """Write down what happened, for every endpoint that wants to be told.

    For the transaction of the change: both are committed, or neither. One query where nobody
    listens, four where somebody does, however many things happened.
    """
    if not happened:
        return
    listening = _listening({one.user_id for one in happened})
    events: list[WebhookEvent] = []
    deliveries: list[WebhookDelivery] = []
    for one in happened:
        wanted = [pk for pk, types in listening.get(one.user_id, ()) if one.type in types]
        if not wanted:
            continue
        event = WebhookEvent(
            user_id=one.user_id, type=one.type, subject=one.subject, facts=dict(one.facts)
        )
        events.append(event)
        # One new exchange rate tells of every service.
        turn = Turn.LATER if one.type == WebhookType.SERVICE_UPDATED else Turn.SOON
        deliveries += (
            WebhookDelivery(event=event, endpoint_id=pk, subject=one.subject, turn=turn)
            for pk in wanted
        )
    if events:
        WebhookEvent.objects.bulk_create(events)
        WebhookDelivery.objects.bulk_create(deliveries)
        _wake()


def _listening(users: set[int]) -> dict[int, list[tuple[int, list[str]]]]:
    """The endpoints that are on, with their types, by customer; none of suspended customers."""
    rows = (
        WebhookEndpoint.objects.filter(
            Q(user__sandbox_of=None) | Q(user__sandbox_of__is_active=True),
            user__in=users,
            user__is_active=True,
            disabled_at=None,
        )
        .order_by("pk")
        .values_list("user_id", "pk", "events")
    )
    found: dict[int, list[tuple[int, list[str]]]] = {}
    for user_id, pk, types in rows:
        found.setdefault(user_id, []).append((pk, types))
    return found


def _wake() -> None:
    """A row of the caller's transaction: the sender comes once the events are there to be sent."""
    async_task("storefront.tasks.deliver_webhooks", q_options={"save": False})


# --- managing endpoints --------------------------------------------------------------------------


def create(
    user: User, *, url: str, events: Sequence[str], description: str = ""
) -> tuple[WebhookEndpoint, str]:
    """A new endpoint of the customer's (or of a sandbox twin's), and its secret, which is shown
    this once. Raises WebhookRefused."""
    values = _read(url=url, events=events, description=description)
    secret = _new_secret()
    with transaction.atomic():
        # Two at once count one after the other.
        User.objects.select_for_update(no_key=True).get(pk=user.pk)
        if endpoints_of(user).count() >= MOST_ENDPOINTS:
            text = _("At most %(most)s endpoints are possible.") % {"most": MOST_ENDPOINTS}
            raise WebhookRefused({"url": [text]})
        endpoint = WebhookEndpoint.objects.create(user=user, secret=secret, **values)
    endpoint.refresh_from_db()
    return endpoint, secret


def change(endpoint: WebhookEndpoint, *, url: str, events: Sequence[str], description: str) -> None:
    """Set address, types and description; what waits goes to the new address. Raises
    WebhookRefused, and WebhookNotFound where it was removed meanwhile."""
    _set(endpoint, **_read(url=url, events=events, description=description))


def rotate(endpoint: WebhookEndpoint, *, grace: timedelta) -> str:
    """A new secret, shown this once; the old one signs too for `grace` (0 to 7 days). Raises
    WebhookRefused, and WebhookNotFound where it was removed meanwhile."""
    if not timedelta() <= grace <= LONGEST_GRACE:
        text = _("The old secret can stay for at most %(days)s days.")
        raise WebhookRefused({"grace": [text % {"days": LONGEST_GRACE.days}]})
    secret = _new_secret()
    _set(
        endpoint,
        secret=secret,
        previous_secret=endpoint.secret if grace else "",
        previous_until=from_now(grace) if grace else None,
    )
    return secret


def enable(endpoint: WebhookEndpoint) -> None:
    """Send again what happens from now on; one that is on stays as it is. Raises WebhookNotFound
    where it was removed meanwhile."""
    if endpoint.disabled_at is not None:
        _set(endpoint, disabled_at=None, disabled_because="", failing_since=None)


def disable(endpoint: WebhookEndpoint) -> None:
    """Send nothing more: what waits is given up, and can be replayed. Raises WebhookNotFound where
    it was removed meanwhile."""
    stop(endpoint, DisabledBecause.CUSTOMER)


def remove(endpoint: WebhookEndpoint) -> None:
    """Take it away for good, its log with it; its secret is forgotten at once.

    The rows follow later (`prune_removed`): a sale that is being committed may still refer to
    them, and must not fail for it. Raises WebhookNotFound where it was removed meanwhile.
    """
    stop(endpoint, DisabledBecause.REMOVED, secret="", previous_secret="")


@transaction.atomic
def stop(endpoint: WebhookEndpoint, because: DisabledBecause, **changes: Any) -> None:
    """Switch the endpoint off, and give up what waits for it. Raises WebhookNotFound where it was
    removed meanwhile."""
    _set(endpoint, disabled_at=Now(), disabled_because=because, **changes)
    WebhookDelivery.objects.filter(endpoint=endpoint, next_at__isnull=False).update(
        state=DeliveryState.FAILED, next_at=None
    )


def find(user: User, pk: int | str) -> WebhookEndpoint:
    """The customer's endpoint with this number. Raises WebhookNotFound."""
    found = endpoints_of(user).filter(pk=_number(pk)).first()
    if found is None:
        raise WebhookNotFound(pk)
    return found


def find_delivery(user: User, pk: int | str) -> WebhookDelivery:
    """The customer's delivery with this number, its event and endpoint loaded. Raises
    WebhookNotFound."""
    found = (
        WebhookDelivery.objects.filter(pk=_number(pk), endpoint__in=endpoints_of(user))
        .select_related("event", "endpoint")
        .first()
    )
    if found is None:
        raise WebhookNotFound(pk)
    return found


def endpoints_of(user: User) -> QuerySet[WebhookEndpoint]:
    """The customer's endpoints, the oldest first."""
    return _kept().filter(user=user)


def deliveries_of(endpoint: WebhookEndpoint, *, state: str = "") -> QuerySet[WebhookDelivery]:
    """The endpoint's log, newest first, each with its event; `state` keeps those in one state."""
    deliveries = WebhookDelivery.objects.filter(endpoint=endpoint).select_related("event")
    return (deliveries.filter(state=state) if state else deliveries).order_by("-pk")


@transaction.atomic
def send_test(endpoint: WebhookEndpoint) -> WebhookDelivery:
    """Have a test event sent, once, whatever the endpoint listens to, and while it is off too.
    Raises WebhookNotFound where it was removed meanwhile."""
    event = WebhookEvent.objects.create(
        user_id=endpoint.user_id, type=TEST, facts={"endpoint": endpoint.pk}
    )
    return _queue(endpoint, event)


@transaction.atomic
def replay(delivery: WebhookDelivery) -> WebhookDelivery:
    """Have the event sent to the endpoint once more, the same bytes under the same id. Raises
    WebhookRefused where the endpoint is off, or the event has not been sent at all yet, and
    WebhookNotFound where the endpoint was removed meanwhile."""
    if delivery.state == DeliveryState.PENDING:
        raise WebhookRefused({"delivery": [_("This event is still being sent.")]})
    if delivery.endpoint.disabled_at is not None:
        raise WebhookRefused({"delivery": [_("Switch the endpoint on first.")]})
    return _queue(delivery.endpoint, delivery.event, replay=True)


def prune_events() -> int:
    """Forget events of more than 30 days; returns how many rows went."""
    until = pruning.deadline()
    old = WebhookEvent.objects.filter(created_at__lt=from_now(-KEPT_FOR)).order_by("created_at")
    deleted = 0
    while not pruning.is_over(until) and (batch := list(old.values_list("pk", flat=True)[:_BATCH])):
        deleted += _forget(WebhookDelivery.objects.filter(event__in=batch), until=until)
        deleted += pruning.delete(WebhookEvent.objects.filter(pk__in=batch), until=until)
    return deleted


def prune_removed() -> int:
    """Forget endpoints that were taken away a day ago, with their log; returns how many rows
    went."""
    until = pruning.deadline()
    gone = WebhookEndpoint.objects.filter(
        disabled_because=DisabledBecause.REMOVED, disabled_at__lt=from_now(-timedelta(days=1))
    )
    deleted = _forget(WebhookDelivery.objects.filter(endpoint__in=gone), until=until)
    return deleted + pruning.delete(gone, until=until)


def _forget(deliveries: QuerySet[WebhookDelivery], *, until: float) -> int:
    attempts = WebhookAttempt.objects.filter(delivery__in=deliveries)
    deleted = pruning.delete(attempts.order_by(), until=until)
    return deleted + pruning.delete(deliveries.order_by(), until=until)


def _queue(
    endpoint: WebhookEndpoint, event: WebhookEvent, *, replay: bool = False
) -> WebhookDelivery:
    # Held until the delivery is there, so that removing it gives up this one too.
    if not _kept().select_for_update(no_key=True).filter(pk=endpoint.pk).first():
        raise WebhookNotFound(endpoint.pk)
    # Without a subject: asked for by hand, it waits for nothing else.
    delivery = WebhookDelivery.objects.create(endpoint=endpoint, event=event, replay=replay)
    delivery.refresh_from_db(fields=["created_at", "next_at"])
    _wake()
    return delivery


def _set(endpoint: WebhookEndpoint, **changes: Any) -> None:
    if not _kept().filter(pk=endpoint.pk).update(**changes):
        raise WebhookNotFound(endpoint.pk)
    endpoint.refresh_from_db(fields=list(changes))


def _kept() -> QuerySet[WebhookEndpoint]:
    """All but the removed ones: their secrets are gone, and they never come back."""
    return WebhookEndpoint.objects.exclude(disabled_because=DisabledBecause.REMOVED)


def _read(*, url: str, events: Sequence[str], description: str) -> dict[str, Any]:
    problems: dict[str, list[str]] = {}
    try:
        url = read_url(url.strip()).text
    except UrlRefused as refused:
        problems["url"] = [str(refused)]
    if len(url) > URL_LIMIT:
        problems["url"] = [_("At most %(limit)s characters.") % {"limit": URL_LIMIT}]
    known = [one.value for one in WebhookType if one.value in events]
    if not known or set(events) - set(known):
        problems["events"] = [_("Choose at least one of the events of the list.")]
    if len(description) > DESCRIPTION_LIMIT or not description.isprintable():
        problems["description"] = [
            _("At most %(limit)s characters, on one line.") % {"limit": DESCRIPTION_LIMIT}
        ]
    if problems:
        raise WebhookRefused(problems)
    return {"url": url, "events": known, "description": description.strip()}


def _new_secret() -> str:
    return _SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def _number(pk: int | str) -> int:
    """The number; what can be none is nobody's."""
    text = str(pk)
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise WebhookNotFound(pk)
    return int(text)
