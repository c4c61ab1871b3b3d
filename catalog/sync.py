"""Bringing a provider's list into the catalogue.

The list is fetched and compared outside any transaction. Only when something differs is the
provider's row locked, the comparison made again with the rows as they are then, and the
difference written in bulk, in one transaction. Columns of staff are never written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import alerts
from accounts.encryption import SecretUnreadable
from accounts.models import Alert
from accounts.money import MAX_BIGINT, round_up
from catalog.models import Category, Provider, Service, SyncOutcome, SyncRecord
from catalog.networks import guess_network
from catalog.order_types import ServiceType
from catalog.pricing import is_package
from catalog.providers import Offer, ProviderError, ServiceList
from catalog.providers.registry import client_for
from catalog.search import normalise

# A list that lacks more than this share of the services, and at least this many of them, waits
# for staff: of a handful each loss is ordinary, and seen in the record.
HELD_SHARE = Decimal("0.2")
HELD_FROM = 5
# Rows per statement (SQLite takes fewer), lines per kind of change in a record, and in an alert.
BATCH = 500
RECORD_LINES = 100
ALERT_LINES = 5

FAILED, HELD, REFUSED = "sync_failed", "sync_held", "sync_refused"

_RATE_STEP = Decimal("1E-10")
_RATE_LIMIT = MAX_BIGINT * _RATE_STEP
_NO_CATEGORY = "Other"
_TYPES = {normalise(value): ServiceType(value) for value in ServiceType.values}
# What a sync may write; of `type` and `category`, which staff may set, only what it derived itself.
_COLUMNS = (
    "provider_name",
    "provider_description",
    "provider_category",
    "provider_type",
    "provider_rate",
    "min_quantity",
    "max_quantity",
    "refill",
    "cancel",
    "dripfeed",
    "vanished_at",
    "type",
    "category",
    "search_text",
)
# The changes that a record spells out, with the old and the new value.
_TOLD = frozenset(_COLUMNS) - {"provider_description", "category", "vanished_at", "search_text"}


def sync(provider: Provider, *, accept_shorter: bool = False) -> SyncRecord:
    """Fetch the provider's list, store what differs, and tell what was done.

    CHANGED: the differences are stored. UNCHANGED: there are none, and the record is not saved
    (unless entries are refused that were not before). FAILED: there is no usable list. HELD: the
    list lacks suspiciously many services, and `accept_shorter` is not set; the record's counts
    say what it would do. After FAILED and HELD nothing has changed, and staff are alerted.
    Any number may run at once.
    """
    try:
        listed = _read(client_for(provider).services())
    except (ProviderError, SecretUnreadable) as error:
        return _fail(provider, f"{type(error).__name__}: {error}")
    if not listed.offers:
        return _fail(provider, "The list is empty, or nothing of it can be read.")
    rows = provider.services.order_by("pk")
    difference = _compare(rows, listed)
    if not difference.lines and _open_alerts(provider) == difference.alert:
        return difference.record(provider, SyncOutcome.UNCHANGED)
    with transaction.atomic():
        # Two syncs queue here, and the second one finds what the first has stored; an edit by
        # staff is seen, or waits. Orders go on referring to the locked rows meanwhile (no_key).
        Provider.objects.select_for_update(no_key=True).values_list("pk").get(pk=provider.pk)
        difference = _compare(rows.select_for_update(no_key=True), listed)
        return _store(provider, difference, accept_shorter=accept_shorter)


@dataclass(frozen=True)
class _Listed:
    """The usable offers by the provider's id, and why the other entries are not."""

    offers: Mapping[str, Offer]
    refused: Sequence[str]


@dataclass
class _Difference:
    """What a list would change: the rows to write, and lines for staff per kind of change."""

    listed: int
    known: int  # services that the list before had
    refused: list[str]
    categories: list[Category] = field(default_factory=list)
    new: list[Service] = field(default_factory=list)
    altered: list[Service] = field(default_factory=list)
    lines: dict[str, list[str]] = field(default_factory=dict)  # added, changed, disabled, enabled

    @property
    def is_suspicious(self) -> bool:
        lost = len(self.lines.get("disabled", ()))
        return lost >= HELD_FROM and lost > self.known * HELD_SHARE

    @property
    def alert(self) -> dict[str, str]:
        """The alerts that stand open after this difference is stored: message per code."""
        if not self.refused:
            return {}
        first = "; ".join(self.refused[:ALERT_LINES])
        return {REFUSED: f"{len(self.refused)} entries of the list are refused: {first}"}

    def tell(self, kind: str, service: Service, note: str = "") -> None:
        line = f"{service.external_id} · {service.provider_name}"
        self.lines.setdefault(kind, []).append(f"{line}: {note}" if note else line)

    def record(self, provider: Provider, outcome: SyncOutcome) -> SyncRecord:
        lines = self.lines | ({"refused": self.refused} if self.refused else {})
        return SyncRecord(
            provider=provider,
            outcome=outcome,
            listed=self.listed,
            **{kind: len(entries) for kind, entries in lines.items()},
            details={kind: entries[:RECORD_LINES] for kind, entries in lines.items()},
        )


def _read(answer: ServiceList) -> _Listed:
    offers: dict[str, Offer] = {}
    refused = [_fit(reason, 200) for reason in answer.unreadable]
    for offer in answer.offers:
        if not 1 <= len(offer.external_id) <= 64 or not offer.external_id.isprintable():
            refused.append(f"{_fit(offer.external_id, 20)}…: unusable id")
        elif offer.external_id in offers:
            refused.append(f"{offer.external_id}: listed twice, the first one counts")
        else:
            offers[offer.external_id] = offer
    return _Listed(offers, refused)


def _compare(rows: QuerySet[Service], listed: _Listed) -> _Difference:
    """Apply the list to the rows in memory, and collect those that it alters."""
    now = timezone.now()
    headings = _Headings()
    known = {row.external_id: row for row in rows}
    difference = _Difference(
        listed=len(listed.offers),
        known=sum(row.vanished_at is None for row in known.values()),
        refused=list(listed.refused),
        categories=headings.new,
    )
    for external_id, offer in listed.offers.items():
        service = known.pop(external_id, None)
        if service is None:
            # Without usable limits: 1 to 0, which cannot be ordered.
            service = Service(external_id=external_id, max_quantity=0)
            _apply(offer, service, headings, difference.refused)
            difference.new.append(service)
            difference.tell("added", service)
            continue
        service.category = headings.by_pk[service.category_id]
        before = {column: getattr(service, column) for column in _COLUMNS}
        _apply(offer, service, headings, difference.refused)
        changes = {
            column: (old, new)
            for column, old in before.items()
            if old != (new := getattr(service, column))
        }
        if changes:
            difference.altered.append(service)
            difference.tell(
                "enabled" if "vanished_at" in changes else "changed", service, _note(changes)
            )
    for service in known.values():
        if service.vanished_at is None:
            service.vanished_at = now
            difference.altered.append(service)
            difference.tell("disabled", service)
    return difference


class _Headings:
    """The categories, found by the provider's name for them; unknown ones are made, unsaved."""

    def __init__(self) -> None:
        self.by_pk = {category.pk: category for category in Category.objects.all()}
        self._by_name = {category.source_name: category for category in self.by_pk.values()}
        self._last = max((category.position for category in self.by_pk.values()), default=0)
        self.new: list[Category] = []

    def named(self, name: str) -> Category:
        if name not in self._by_name:
            # At the end, in the provider's order.
            self._last += 1
            category = Category(source_name=name, network=guess_network(name), position=self._last)
            self._by_name[name] = category
            self.new.append(category)
        return self._by_name[name]


def _apply(offer: Offer, service: Service, headings: _Headings, refused: list[str]) -> None:
    """Set the provider's columns of the service; what cannot be used keeps its old value."""
    is_new = service.pk is None
    service.provider_name = _fit(offer.name, 500) or f"#{offer.external_id}"
    service.provider_description = _fit(offer.description, 10_000)
    service.refill, service.cancel, service.dripfeed = offer.refill, offer.cancel, offer.dripfeed
    service.vanished_at = None

    # A type that staff have mapped, and a category that staff have chosen, stay.
    word = _fit(offer.type, 64)
    if is_new or normalise(word) != normalise(service.provider_type):
        service.type = _TYPES.get(normalise(word), ServiceType.UNKNOWN)
    service.provider_type = word
    heading = _fit(offer.category, 200) or _NO_CATEGORY
    if is_new or (
        heading != service.provider_category
        and service.category.source_name == service.provider_category
    ):
        service.category = headings.named(heading)
    service.provider_category = heading
    service.search_text = service.searched()

    if offer.rate is None or not offer.rate.is_finite() or not 0 <= offer.rate < _RATE_LIMIT:
        refused.append(f"{offer.external_id}: no readable rate")
    elif offer.rate == 0:
        refused.append(f"{offer.external_id}: rate 0")
    else:
        # Upwards, so that our cost is never understated.
        service.provider_rate = round_up(offer.rate, _RATE_STEP)
    lowest, highest = offer.min_quantity, offer.max_quantity
    if is_package(service):
        lowest, highest = lowest or 1, highest or lowest or 1
    if lowest is None or highest is None or lowest < 0 or highest > MAX_BIGINT:
        refused.append(f"{offer.external_id}: no readable minimum and maximum")
    elif highest < max(lowest, 1):
        refused.append(f"{offer.external_id}: minimum {lowest} above maximum {highest}")
    else:
        service.min_quantity, service.max_quantity = max(lowest, 1), highest


def _store(provider: Provider, difference: _Difference, *, accept_shorter: bool) -> SyncRecord:
    """Write the difference, its record and its alerts; the provider's row is locked."""
    if difference.is_suspicious and not accept_shorter:
        record = difference.record(provider, SyncOutcome.HELD)
        record.save()
        message = f"The list lacks {record.disabled} of {difference.known} services."
        alerts.resolve(FAILED, subject=_subject(provider))
        alerts.alert(HELD, subject=_subject(provider), message=message)
        return record
    _write(provider, difference)
    record = difference.record(
        provider, SyncOutcome.CHANGED if difference.lines else SyncOutcome.UNCHANGED
    )
    standing = _open_alerts(provider)
    for code in standing.keys() - difference.alert.keys():
        alerts.resolve(code, subject=_subject(provider))
    news = difference.alert.items() - standing.items()
    for code, message in news:
        alerts.alert(code, subject=_subject(provider), message=message)
    if difference.lines or news:
        record.save()
    return record


def _write(provider: Provider, difference: _Difference) -> None:
    if difference.categories:
        # Another provider's sync may be making the same ones. In one order, or the two could
        # wait for each other.
        Category.objects.bulk_create(
            sorted(difference.categories, key=lambda category: category.source_name),
            batch_size=BATCH,
            ignore_conflicts=True,
        )
        names = [category.source_name for category in difference.categories]
        saved = Category.objects.in_bulk(names, field_name="source_name")
        for category in difference.categories:
            category.pk = saved[category.source_name].pk
    for service in difference.new:
        service.provider = provider
    Service.objects.bulk_create(difference.new, batch_size=BATCH)
    # An upsert over rows that are there and locked: many times quicker than bulk_update's CASEs.
    Service.objects.bulk_create(
        difference.altered,
        batch_size=BATCH,
        update_conflicts=True,
        unique_fields=["pk"],
        update_fields=_COLUMNS,
    )


def _fail(provider: Provider, reason: str) -> SyncRecord:
    reason = _fit(reason, 500)
    with transaction.atomic():
        alerts.alert(FAILED, subject=_subject(provider), message=reason)
        return SyncRecord.objects.create(
            provider=provider, outcome=SyncOutcome.FAILED, details={"reason": [reason]}
        )


def _open_alerts(provider: Provider) -> dict[str, str]:
    return dict(
        Alert.objects.filter(
            code__in=[FAILED, HELD, REFUSED], subject=_subject(provider), resolved_at=None
        ).values_list("code", "message")
    )


def _subject(provider: Provider) -> str:
    return f"provider:{provider.pk}"


def _note(changes: Mapping[str, tuple[Any, Any]]) -> str:
    """ "provider_rate 1.5 → 1.7, min_quantity 10 → 20" """
    return ", ".join(
        f"{column} {_plain(changes[column][0])} → {_plain(changes[column][1])}"
        for column in changes
        if column in _TOLD
    )


def _plain(value: Any) -> str:
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)


def _fit(text: str, limit: int) -> str:
    """The text as every database can store it: no null bytes or half surrogates, cut to length."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode().strip()[:limit]
