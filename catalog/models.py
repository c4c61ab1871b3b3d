"""Providers, the categories and services bought from them, manual prices, and sync records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, URLValidator
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.encryption import EncryptedTextField
from accounts.models import currency_code
from accounts.money import (
    PRICE_STEP,
    AmountField,
    Currency,
    MoreThan,
    RateField,
    ScaledDecimalField,
)
from catalog.order_types import ORDER_TYPES, SOLD_TYPES, ServiceType
from catalog.search import normalise


class MarkupField(ScaledDecimalField):
    """Percent added to the cost, two decimals; null: as the next level says."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        kwargs.update(places=2, null=True, blank=True)
        kwargs.setdefault("validators", [MoreThan(-100)])
        kwargs.setdefault(
            "help_text", _("Percent added to the cost. Empty: the next level's markup applies.")
        )
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]


class Dialect(models.TextChoices):
    """API dialects that we can buy through; each is a client in catalog/providers."""

    PANEL = "panel", _("Panel dialect (API v2)")
    REST = "rest", _("REST dialect (API v1)")
    PLAY = "play", _("Sandbox keys, inside the store")


class Breaker(models.TextChoices):
    """Whether calls to a provider are let through (catalog/health.py)."""

    CLOSED = "closed", _("Working")
    OPEN = "open", _("Interrupted")
    PROBING = "probing", _("Being tried")


class Provider(models.Model):
    """An upstream seller. Customers never learn its name."""

    name = models.CharField(_("name"), max_length=80, unique=True)
    dialect = models.CharField(
        _("dialect"), max_length=16, choices=Dialect.choices, default=Dialect.PANEL
    )
    base_url = models.URLField(
        _("API address"), max_length=300, validators=[URLValidator(["http", "https"])]
    )
    api_key = EncryptedTextField(_("API key"))
    currency = models.CharField(
        _("currency"), max_length=3, default="USD", validators=[currency_code]
    )
    markup_percent = MarkupField(_("markup"))
    connect_timeout = models.PositiveSmallIntegerField(
        _("connect time-out (s)"),
        default=10,
        validators=[MinValueValidator(1), MaxValueValidator(20)],
    )
    read_timeout = models.PositiveSmallIntegerField(
        _("read time-out (s)"),
        default=60,
        # A job that sends orders must end before the queue's time-out takes it.
        validators=[MinValueValidator(1), MaxValueValidator(75)],
    )
    enabled = models.BooleanField(
        _("enabled"),
        default=True,
        help_text=_("Off: nothing is sold or sent, and it is synced only by hand."),
    )
    maintenance = models.BooleanField(
        _("maintenance"),
        default=False,
        help_text=_("On: it is sold on, and orders wait to be sent until this is off again."),
    )
    requests_per_minute = models.PositiveIntegerField(
        _("requests per minute"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("What the provider allows us. Empty: no limit."),
    )
    low_balance = RateField(  # type: ignore[misc]
        _("low balance"),
        null=True,
        blank=True,
        help_text=_("Staff are told below this (provider's currency). Empty: never."),
    )
    reconcile_by_ids = models.BooleanField(
        _("look for lost orders by their ids"),
        default=False,
        help_text=_(
            "For orders of unknown outcome: asks for the status of the ids around the lost call, "
            "at most ten requests. Only for providers whose ids are consecutive numbers."
        ),
    )

    # Kept by the machine (catalog/health.py, orders/book.py); by the database's clock.
    breaker = models.CharField(
        _("circuit breaker"),
        max_length=8,
        choices=Breaker.choices,
        default=Breaker.CLOSED,
        editable=False,
    )
    breaker_until = models.DateTimeField(
        _("interrupted until"), null=True, blank=True, editable=False
    )
    breaker_reason = models.CharField(
        _("interrupted because"), max_length=300, blank=True, editable=False
    )
    failures = models.PositiveIntegerField(_("failures in a row"), default=0, editable=False)
    # While set: our funds there were used up, and nothing is sent before then.
    funds_wait_until = models.DateTimeField(
        _("waiting for funds until"), null=True, blank=True, editable=False
    )
    window_started_at = models.DateTimeField(null=True, blank=True, editable=False)
    window_calls = models.PositiveIntegerField(default=0, editable=False)
    balance = RateField(  # type: ignore[misc]
        _("balance there"), null=True, blank=True, editable=False
    )
    balance_at = models.DateTimeField(_("balance read"), null=True, blank=True, editable=False)
    # What the balance should be by our book: the last agreed reading, and what moved since.
    book_balance = RateField(  # type: ignore[misc]
        _("balance by our book"), null=True, blank=True, editable=False
    )

    class Meta:
        verbose_name = _("provider")
        verbose_name_plural = _("providers")
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["dialect"], condition=Q(dialect=Dialect.PLAY), name="provider_one_play"
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_play(self) -> bool:
        """Whether it delivers the orders of sandbox keys, and no others."""
        return self.dialect == Dialect.PLAY


class Network(models.TextChoices):
    """The social network that a category is about; brand names are not translated."""

    INSTAGRAM = "instagram", "Instagram"
    TIKTOK = "tiktok", "TikTok"
    YOUTUBE = "youtube", "YouTube"
    FACEBOOK = "facebook", "Facebook"
    TWITTER = "twitter", "X (Twitter)"
    TELEGRAM = "telegram", "Telegram"
    SPOTIFY = "spotify", "Spotify"
    DISCORD = "discord", "Discord"
    TWITCH = "twitch", "Twitch"
    LINKEDIN = "linkedin", "LinkedIn"
    SNAPCHAT = "snapchat", "Snapchat"
    THREADS = "threads", "Threads"
    WHATSAPP = "whatsapp", "WhatsApp"
    WEBSITE = "website", _("Website traffic")
    OTHER = "other", _("Other")


class Category(models.Model):
    """A heading of the catalogue. Several providers' services may share one."""

    source_name = models.CharField(
        _("provider's name"), max_length=200, unique=True, help_text=_("Sync finds it by this.")
    )
    name = models.CharField(
        _("our name"), max_length=200, blank=True, help_text=_("Empty: the provider's name.")
    )
    network = models.CharField(
        _("network"), max_length=16, choices=Network.choices, default=Network.OTHER
    )
    position = models.PositiveIntegerField(pgettext_lazy("sorting", "order"), default=0)
    markup_percent = MarkupField(_("markup"))
    enabled = models.BooleanField(_("enabled"), default=True)

    class Meta:
        verbose_name = _("category")
        verbose_name_plural = _("categories")
        ordering = ["position", "source_name", "pk"]

    def __str__(self) -> str:
        return self.shown_name

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Also brings the services' search texts up to date."""
        super().save(*args, **kwargs)
        stale = []
        for service in self.services.only("name", "provider_name", "search_text", "category"):
            if service.search_text != (text := service.searched()):
                service.search_text = text
                stale.append(service)
        Service.objects.bulk_update(stale, ["search_text"])

    @property
    def shown_name(self) -> str:
        """The name that customers see."""
        return self.name or self.source_name

    def searched(self) -> str:
        """What of the category its services are found by."""
        network = "" if self.network == Network.OTHER else self.network
        return normalise(f"{self.shown_name} {network}")


class LinkTarget(models.TextChoices):
    """What a service's link must lead to. Empty on a service: as its name tells."""

    ANY = "any", _("Anything: links are not checked")
    PROFILE = "profile", _("A profile, page or channel")
    POST = "post", _("A single post, video or track")
    GROUP = "group", _("A group, server or invitation")


class RefillBy(models.TextChoices):
    """Who does a service's refills. Empty on a service: the provider, where it lists refill."""

    STAFF = "staff", _("Our staff, by hand")
    NOBODY = "nobody", _("Nobody: no refill is offered")


class DripfeedBy(models.TextChoices):
    """Who runs a drip-feed. Empty on a service: our schedule, where the provider lists it."""

    OURS = "ours", _("Our own schedule")
    PROVIDER = "provider", _("The provider, passed on")
    NOBODY = "nobody", _("Nobody: no drip-feed is offered")


class SameLink(models.TextChoices):
    """What becomes of an order whose link has a running order of the same service."""

    QUEUE = "queue", _("It waits for the other one")
    REFUSE = "refuse", _("It is refused")
    OFF = "off", _("It is sent at once")


# By category, as staff ordered both; new services stand in the order in which they were imported.
SHOP_ORDER = ("category__position", "category__source_name", "position", "pk")


class ServiceQuerySet(models.QuerySet["Service"]):
    def orderable(self) -> ServiceQuerySet:
        """Services that can be ordered now (a price in the asked currency apart)."""
        return self.filter(
            vanished_at=None,
            disabled_by_staff=False,
            type__in=SOLD_TYPES,
            provider_rate__gt=0,
            max_quantity__gte=F("min_quantity"),
            provider__enabled=True,
            category__enabled=True,
        )


class Service(models.Model):
    """What a customer buys. The provider's columns are rewritten by every sync, ours never are."""

    provider = models.ForeignKey(
        Provider, models.PROTECT, related_name="services", verbose_name=_("provider")
    )
    external_id = models.CharField(_("provider's id"), max_length=64)

    # As the provider says.
    provider_name = models.CharField(_("provider's name"), max_length=500)
    provider_description = models.TextField(_("provider's description"), blank=True)
    provider_category = models.CharField(_("provider's category"), max_length=200)
    provider_type = models.CharField(_("provider's type"), max_length=64)
    provider_rate = RateField(  # type: ignore[misc]
        _("provider's rate"),
        null=True,
        blank=True,
        help_text=_("Per 1000 (a package: of one), in the provider's currency."),
    )
    min_quantity = models.PositiveBigIntegerField(_("minimum"), default=1)
    max_quantity = models.PositiveBigIntegerField(_("maximum"), default=1)
    refill = models.BooleanField(_("refill"), default=False)
    cancel = models.BooleanField(_("cancel"), default=False)
    dripfeed = models.BooleanField(_("drip-feed"), default=False)
    vanished_at = models.DateTimeField(
        _("vanished"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("When the provider's list lacked it; empty while it is listed."),
    )

    # As staff say.
    type = models.CharField(_("type"), max_length=32, choices=ServiceType.choices)
    name = models.CharField(
        _("our name"), max_length=500, blank=True, help_text=_("Empty: the provider's name.")
    )
    description = models.TextField(
        _("our description"), blank=True, help_text=_("Empty: the provider's description.")
    )
    category = models.ForeignKey(
        Category, models.PROTECT, related_name="services", verbose_name=_("category")
    )
    position = models.PositiveIntegerField(pgettext_lazy("sorting", "order"), default=0)
    markup_percent = MarkupField(_("markup"))
    allow_below_cost = models.BooleanField(_("may be sold below cost"), default=False)
    disabled_by_staff = models.BooleanField(_("disabled by us"), default=False)
    average_time = models.CharField(
        _("estimated time"), max_length=60, blank=True, help_text=_("e.g. 1-3 hours")
    )
    link_target = models.CharField(
        _("link"),
        max_length=8,
        choices=LinkTarget.choices,
        blank=True,
        help_text=_("What the link must lead to. Empty: as the names tell."),
    )
    same_link = models.CharField(
        _("same link"), max_length=8, choices=SameLink.choices, default=SameLink.QUEUE
    )
    refill_by = models.CharField(
        _("refills by"),
        max_length=8,
        choices=RefillBy.choices,
        blank=True,
        help_text=_("Empty: the provider, where it lists refill."),
    )
    refill_days = models.PositiveSmallIntegerField(
        _("guarantee (days)"),
        null=True,
        blank=True,
        default=30,
        help_text=_("From completion on. Empty: without end."),
    )
    dripfeed_by = models.CharField(
        _("drip-feed by"),
        max_length=8,
        choices=DripfeedBy.choices,
        blank=True,
        help_text=_("Empty: our own schedule, where the provider lists drip-feed."),
    )
    # What customers search: the shown names and the network, normalised (catalog/search.py).
    search_text = models.TextField(default="", editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    objects = ServiceQuerySet.as_manager()

    class Meta:
        verbose_name = _("service")
        verbose_name_plural = _("services")
        ordering = SHOP_ORDER
        constraints = [
            models.UniqueConstraint(fields=["provider", "external_id"], name="service_unique"),
            models.CheckConstraint(
                condition=Q(provider_rate__gte=0) | Q(provider_rate=None),
                name="service_rate_not_negative",
            ),
        ]
        indexes = [models.Index(fields=["category", "position"], name="service_listing")]

    def __str__(self) -> str:
        return f"{self.pk} · {self.shown_name}"

    def save(self, *args: Any, update_fields: Iterable[str] | None = None, **kwargs: Any) -> None:
        """Also keeps the search text."""
        self.search_text = self.searched()
        if update_fields is not None:
            update_fields = {*update_fields, "search_text"}
        super().save(*args, update_fields=update_fields, **kwargs)

    def searched(self) -> str:
        """The search text that goes with the names; `search_text` is where it is kept."""
        return f"{normalise(self.shown_name)} {self.category.searched()}"

    @property
    def shown_name(self) -> str:
        """The name that customers see."""
        return self.name or self.provider_name

    @property
    def shown_description(self) -> str:
        """The description that customers see."""
        return self.description or self.provider_description

    @property
    def offers_refill(self) -> bool:
        """Whether an order made now comes with a guarantee."""
        if self.refill_by == RefillBy.NOBODY:
            return False
        return self.refill or self.refill_by == RefillBy.STAFF

    @property
    def offers_dripfeed(self) -> bool:
        """Whether an order may be spread over several runs."""
        row = ORDER_TYPES.get(self.type)
        if row is None or "runs" not in row.optional:
            return False
        if self.dripfeed_by == DripfeedBy.NOBODY:
            return False
        return self.dripfeed or self.dripfeed_by == DripfeedBy.OURS

    @property
    def passes_dripfeed_on(self) -> bool:
        """Whether the provider runs the drip-feed, as one order of its own."""
        return self.dripfeed and self.dripfeed_by == DripfeedBy.PROVIDER

    @property
    def is_orderable(self) -> bool:
        """Whether `ServiceQuerySet.orderable` would return it."""
        return bool(
            self.vanished_at is None
            and not self.disabled_by_staff
            and self.type in SOLD_TYPES
            and self.provider_rate
            and self.max_quantity >= self.min_quantity
            and self.provider.enabled
            and self.category.enabled
        )


class Substitute(models.Model):
    """Another provider's service that may deliver in a service's place (orders/dispatch.py)."""

    service = models.ForeignKey(
        Service, models.CASCADE, related_name="substitutes", verbose_name=_("service")
    )
    substitute = models.ForeignKey(
        Service, models.CASCADE, related_name="substitutes_for", verbose_name=_("substitute")
    )
    position = models.PositiveIntegerField(pgettext_lazy("sorting", "order"), default=0)

    class Meta:
        verbose_name = _("substitute")
        verbose_name_plural = _("substitutes")
        ordering = ["position", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["service", "substitute"], name="substitute_unique"),
            models.CheckConstraint(
                condition=~Q(service=F("substitute")), name="substitute_is_another"
            ),
        ]

    def __str__(self) -> str:
        return str(self.substitute)

    def clean(self) -> None:
        """Refuses what could not take the service's place."""
        super().clean()
        if self.service_id is None or self.substitute_id is None:
            return
        if self.service.provider_id == self.substitute.provider_id:
            raise ValidationError({"substitute": _("Choose a service of another provider.")})
        if self.service.type != self.substitute.type:
            raise ValidationError({"substitute": _("Choose a service of the same type.")})


class ServiceFacts(models.Model):
    """What our own orders of the last 30 days tell of a service (orders/facts.py).

    Times in seconds, of finished orders of about 1000 units; null: fewer than ten of them.
    """

    service = models.OneToOneField(
        Service, models.CASCADE, related_name="facts", verbose_name=_("service")
    )
    orders = models.PositiveIntegerField(_("orders measured"), default=0)
    start_average = models.PositiveIntegerField(null=True)
    start_median = models.PositiveIntegerField(null=True)
    start_p90 = models.PositiveIntegerField(null=True)
    completion_average = models.PositiveIntegerField(null=True)
    completion_median = models.PositiveIntegerField(null=True)
    completion_p90 = models.PositiveIntegerField(null=True)
    # Percent of all finished orders (of any size) that were completed in full.
    completion_rate = models.PositiveSmallIntegerField(_("completion rate"), null=True)
    measured_at = models.DateTimeField(_("measured"), auto_now=True)

    class Meta:
        verbose_name = _("measured facts")
        verbose_name_plural = _("measured facts")

    def __str__(self) -> str:
        return str(self.service)


class ManualPrice(models.Model):
    """A price set by staff for one service and wallet currency; it wins over the worked-out one."""

    service = models.ForeignKey(
        Service, models.CASCADE, related_name="manual_prices", verbose_name=_("service")
    )
    currency = models.CharField(_("currency"), max_length=3, choices=Currency.choices)
    rate = AmountField(
        _("price"), validators=[MoreThan(0)], help_text=_("Per 1000 (a package: of one).")
    )

    class Meta:
        verbose_name = _("manual price")
        verbose_name_plural = _("manual prices")
        constraints = [
            models.UniqueConstraint(fields=["service", "currency"], name="manual_price_unique"),
            models.CheckConstraint(condition=Q(rate__gt=0), name="manual_price_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.rate} {self.currency}"

    def clean(self) -> None:
        super().clean()
        step = PRICE_STEP.get(self.currency)
        if step and self.rate is not None and self.rate % step:
            raise ValidationError(
                {"rate": _("Prices in this currency are multiples of %(step)s.") % {"step": step}}
            )


class SyncOutcome(models.TextChoices):
    """How a sync ended."""

    CHANGED = "changed", _("Changed")
    UNCHANGED = "unchanged", _("Unchanged")
    HELD = "held", _("Held: the list is suspiciously short")
    FAILED = "failed", _("Failed: no usable list")


class SyncRecord(models.Model):
    """What one sync did. A sync that found nothing to change leaves no row."""

    provider = models.ForeignKey(
        Provider, models.CASCADE, related_name="syncs", verbose_name=_("provider")
    )
    outcome = models.CharField(_("outcome"), max_length=16, choices=SyncOutcome.choices)
    created_at = models.DateTimeField(_("time"), auto_now_add=True)
    listed = models.PositiveIntegerField(_("listed"), default=0)
    added = models.PositiveIntegerField(_("added"), default=0)
    changed = models.PositiveIntegerField(_("changed"), default=0)
    disabled = models.PositiveIntegerField(_("disabled"), default=0)
    enabled = models.PositiveIntegerField(_("enabled again"), default=0)
    refused = models.PositiveIntegerField(_("refused"), default=0)
    details = models.JSONField(
        _("details"), default=dict, blank=True, help_text=_("Per kind of change: what, and why.")
    )

    class Meta:
        verbose_name = _("sync record")
        verbose_name_plural = _("sync records")
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.provider} · {self.created_at:%Y-%m-%d %H:%M}"


class PlayOutcome(models.TextChoices):
    """How an order of a sandbox key ends (catalog/providers/play.py)."""

    COMPLETED = "completed", _("Completed")
    PARTIAL = "partial", _("Partial")
    CANCELLED = "cancelled", _("Cancelled")
    FAILED = "failed", _("Failed")


class PlayOrder(models.Model):
    """What the play provider knows of an order; how it stands follows from its age."""

    reference = models.CharField(max_length=64, unique=True)
    quantity = models.PositiveBigIntegerField()
    outcome = models.CharField(max_length=10, choices=PlayOutcome.choices)
    # Of a subscription: how many posts it is for, and what 1000 units cost (provider's currency).
    posts = models.PositiveIntegerField(default=0)
    rate = RateField(default=0)
    refills_rejected = models.BooleanField(default=False)
    slow = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    cancelled_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.reference


class PlayRefill(models.Model):
    """A refill that the play provider was asked for."""

    order = models.ForeignKey(PlayOrder, models.CASCADE, related_name="refills")
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.order} {self.pk}"


class CatalogueChange(models.Model):
    """That something which the lists of services show has changed; written by triggers
    (catalog/triggers.py) in the transaction of the change, read by catalog/versions.py."""

    at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("catalogue change")
        verbose_name_plural = _("catalogue changes")

    def __str__(self) -> str:
        return str(self.pk)


class AnnouncedCatalogue(models.Model):
    """What customers' webhooks were last told of the services in one currency."""

    currency = models.CharField(max_length=3, choices=Currency.choices, primary_key=True)
    version = models.CharField(max_length=64, blank=True)
    # service id → [price per unit, minimum, maximum]
    services: models.JSONField[Any, Any] = models.JSONField(default=dict)
    at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = _("announced catalogue")
        verbose_name_plural = _("announced catalogues")

    def __str__(self) -> str:
        return self.currency
