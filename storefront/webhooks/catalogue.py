"""`service.updated`: what of the catalogue has changed since customers were last told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from time import monotonic
from uuid import uuid4

from django.db import transaction
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts.models import WebhookEndpoint, WebhookType
from accounts.webhooks import Happened, record
from catalog import versions
from catalog.listing import catalogue
from catalog.models import AnnouncedCatalogue
from storefront.api.rendering import exact_text

# Events of one transaction; at least those of one service.
SLICE = 250
# After this no more slices than one of each currency; what is left is told by the next job.
BUDGET_SECONDS = 20

_IN_PART = "in part "

# Service id, as JSON's keys are: how it is listed (price of one unit, minimum, maximum).
_Services = dict[str, list[str | int]]


def announce() -> int:
    """Tell each customer who listens to `service.updated` of every service that has another price
    (in the customer's own currency), other limits, or came or went; returns how many events.

    What stood there when the first one began to listen is told to nobody. Told in slices, each of
    them noted with its events: safe to run twice, beside itself, and to be killed anywhere; what
    the time does not allow is told by the next run.
    """
    until = monotonic() + BUDGET_SECONDS
    listeners = _listeners()
    AnnouncedCatalogue.objects.exclude(currency__in=listeners).delete()
    return sum(
        _announce(currency, sorted(users), until=until)
        for currency, users in sorted(listeners.items())
    )


def _listeners() -> dict[str, set[int]]:
    """Currency → the customers who listen; a sandbox twin's currency is its owner's."""
    found: dict[str, set[int]] = defaultdict(set)
    for user_id, currency, events in WebhookEndpoint.objects.filter(
        disabled_at=None, user__is_active=True
    ).values_list("user_id", Coalesce("user__sandbox_of__currency", "user__currency"), "events"):
        if WebhookType.SERVICE_UPDATED in events:
            found[currency].add(user_id)
    return dict(found)


def _announce(currency: str, users: Sequence[int], *, until: float) -> int:
    announced = AnnouncedCatalogue.objects.filter(currency=currency)
    told = announced.values_list("version", flat=True).first()
    # Asked before the catalogue is read: what changes meanwhile is told the next time.
    version = versions.current()
    if told == version:
        return 0
    # Read before the catalogue too: whoever moves it from here on may know a newer one.
    row = announced.first()
    services = _services(currency)
    if row is None:  # the first listener; where another run was quicker, it told nothing either
        announced.get_or_create(
            currency=currency, defaults={"version": version, "services": services}
        )
        return 0
    changed = [
        key
        for key in sorted(row.services.keys() | services.keys(), key=int)
        if row.services.get(key) != services.get(key)
    ]
    step = max(1, SLICE // len(users))
    events = 0
    for start in range(0, len(changed), step):
        part = changed[start : start + step]
        happened = list(_happened(currency, users, row.services, services, keys=part))
        for key in part:
            row.services.pop(key, None)
            if key in services:
                row.services[key] = services[key]
        # Of no catalogue: it is told in part.
        if not _tell(row, f"{_IN_PART}{uuid4()}", happened):
            return events
        events += len(happened)
        if monotonic() >= until:
            return events
    _tell(row, version, [])
    return events


def _services(currency: str) -> _Services:
    return {
        str(listed.service.pk): [
            exact_text(listed.price.per_unit),
            listed.service.min_quantity,
            listed.service.max_quantity,
        ]
        for listed in catalogue(currency)
    }


@transaction.atomic
def _tell(row: AnnouncedCatalogue, version: str, happened: Sequence[Happened]) -> bool:
    """Note the row's services as told, under this version, and record what happened; False, with
    nothing done, where another run has moved the row since it was read."""
    # Each version stands there once, so it tells whether the row is as it was read.
    if not AnnouncedCatalogue.objects.filter(pk=row.pk, version=row.version).update(
        version=version, services=row.services, at=timezone.now()
    ):
        return False
    row.version = version
    record(happened)
    return True


def _happened(
    currency: str, users: Sequence[int], old: _Services, new: _Services, *, keys: Sequence[str]
) -> Iterator[Happened]:
    for key in keys:
        facts = {
            "service": int(key),
            "currency": currency,
            "before": old.get(key),
            "after": new.get(key),
        }
        for user_id in users:
            yield Happened(user_id, WebhookType.SERVICE_UPDATED, f"service:{key}", facts)
