"""Orders: what was bought, for how much, and how delivery stands."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models import ApiKey, User, Wallet
from accounts.money import ZERO, AmountField, Currency, RateField
from catalog.models import Provider, Service
from catalog.order_types import ServiceType
from orders.statuses import FINAL, PUBLIC, RUNNING, Status


class Source(models.TextChoices):
    """The front that an order came through."""

    WEB = "web", _("Website")
    REST = "rest", _("REST API")
    PANEL = "panel", _("Panel API")


class Order(models.Model):
    """One purchase. Money in the customer's wallet currency unless a name says otherwise."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    customer = models.ForeignKey(
        User, models.PROTECT, related_name="orders", verbose_name=_("customer")
    )
    wallet = models.ForeignKey(
        Wallet, models.PROTECT, related_name="orders", verbose_name=_("wallet")
    )
    service = models.ForeignKey(
        Service, models.PROTECT, related_name="orders", verbose_name=_("service")
    )
    provider = models.ForeignKey(
        Provider, models.PROTECT, related_name="orders", verbose_name=_("provider")
    )

    # A run of a drip-feed: an order towards the provider, charged with its parent.
    parent = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="run_orders",
        verbose_name=_("drip-feed"),
    )
    run = models.PositiveIntegerField(_("run"), null=True, blank=True)

    # What was asked for.
    type = models.CharField(_("type"), max_length=32, choices=ServiceType.choices)
    # Of types without a link: the user name.
    link = models.CharField(_("link"), max_length=2048)
    # The same for all forms in which a link is pasted (catalog/links.py).
    link_key = models.CharField(max_length=255, editable=False, default="")
    quantity = models.PositiveBigIntegerField(
        _("quantity"), help_text=_("Of all runs together; of a subscription: the most.")
    )
    runs = models.PositiveIntegerField(_("runs"), null=True, blank=True)
    interval = models.PositiveIntegerField(_("minutes between runs"), null=True, blank=True)
    fields = models.JSONField(
        _("further fields"), default=dict, blank=True, help_text="comments, usernames, …"
    )
    source = models.CharField(_("source"), max_length=8, choices=Source.choices)
    api_key = models.ForeignKey(
        ApiKey, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("API key")
    )
    client_ref = models.CharField(_("customer's reference"), max_length=255, blank=True)
    idempotency_key = models.CharField(max_length=255, null=True, blank=True, editable=False)
    fingerprint = models.CharField(max_length=64, editable=False)

    # What it cost, and how that was worked out.
    currency = models.CharField(_("currency"), max_length=3, choices=Currency.choices)
    charge = AmountField(_("charge"))
    refunded = AmountField(_("refunded"), default=ZERO)
    rate = AmountField(_("price"), help_text=_("Per 1000 (a package: of one)."))
    provider_rate = RateField(
        _("provider's rate"), help_text=_("Per 1000 (a package: of one), provider's currency.")
    )
    exchange_rate = RateField(_("exchange rate"))
    # What the provider says that it took, in its currency; null while it has not told.
    upstream_charge = RateField(  # type: ignore[misc]
        _("provider's charge"), null=True, blank=True
    )
    # As promised when it was ordered: null without a guarantee, 0 for one without end.
    guarantee_days = models.PositiveSmallIntegerField(_("guarantee (days)"), null=True, blank=True)

    # The service that was sent in place of the one sold (catalog.models.Substitute).
    sent_service = models.ForeignKey(
        Service,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("delivered by"),
    )

    # How delivery stands.
    status = models.CharField(
        _("status"), max_length=16, choices=Status.choices, default=Status.PENDING
    )
    status_changed_at = models.DateTimeField(_("status since"), db_default=Now())
    external_id = models.CharField(_("provider's order id"), max_length=64, null=True, blank=True)
    start_count = models.PositiveBigIntegerField(_("start count"), null=True, blank=True)
    remains = models.PositiveBigIntegerField(_("remains"), null=True, blank=True)
    failure = models.CharField(
        _("what went wrong"), max_length=500, blank=True, help_text=_("For staff only.")
    )
    created_at = models.DateTimeField(_("created"), db_default=Now())
    sent_at = models.DateTimeField(_("sent"), null=True, blank=True)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    progress_at = models.DateTimeField(_("last progress"), null=True, blank=True)
    completed_at = models.DateTimeField(_("completed"), null=True, blank=True)

    # Made with a sandbox key: play money, a play provider (catalog/providers/play.py).
    sandbox = models.BooleanField(_("sandbox"), default=False, editable=False)

    # Work of the dispatcher and the tracker, by the database's clock.
    # Null: it is never sent itself, its runs are.
    send_after = models.DateTimeField(db_default=Now(), null=True, editable=False)
    send_attempts = models.PositiveSmallIntegerField(default=0, editable=False)
    claim = models.UUIDField(null=True, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    last_checked_at = models.DateTimeField(_("updated"), null=True, blank=True)
    next_check_at = models.DateTimeField(null=True, blank=True, editable=False)

    # What of its cost stands in our book of the provider (its currency), and whether that will
    # change no more (orders/book.py).
    booked = RateField(null=True, blank=True, editable=False)  # type: ignore[misc]
    book_closed = models.BooleanField(default=False, editable=False)

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")
        ordering = ["-pk"]
        constraints = [
            # In this order staff's search by the provider's id alone uses the index too.
            models.UniqueConstraint(fields=["external_id", "provider"], name="order_bought_once"),
            models.UniqueConstraint(
                fields=["customer", "idempotency_key"], name="order_idempotency_key"
            ),
            models.UniqueConstraint(fields=["parent", "run"], name="order_run_once"),
            models.CheckConstraint(condition=Q(charge__gt=0), name="order_charge_positive"),
            models.CheckConstraint(
                condition=Q(refunded__gte=0, refunded__lte=F("charge")),
                name="order_refund_within_charge",
            ),
            models.CheckConstraint(condition=Q(quantity__gte=1), name="order_quantity_positive"),
            # No substitute, and no share in a provider's book, for play money.
            models.CheckConstraint(
                condition=Q(sandbox=False) | Q(sent_service=None, booked=None),
                name="order_sandbox_apart",
            ),
            models.CheckConstraint(
                condition=Q(remains=None) | Q(remains__lte=F("quantity")),
                name="order_remains_within_quantity",
            ),
        ]
        indexes = [
            models.Index(F("customer"), F("id").desc(), name="order_customer_newest"),
            models.Index(fields=["client_ref", "customer"], name="order_client_ref"),
            # Staff's day at a glance, and their lists between two dates.
            models.Index(fields=["created_at"], name="order_created"),
            # The dispatcher's and the tracker's queues stay small while the table grows.
            models.Index(
                fields=["provider", "send_after"],
                condition=Q(status=Status.PENDING),
                name="order_to_send",
            ),
            models.Index(
                fields=["lease_until"], condition=Q(status=Status.SENDING), name="order_leased"
            ),
            # Under way, or ended and looked at again. By this condition because SQLite sees that it
            # is implied, and of a list of states does not.
            models.Index(
                fields=["provider", "next_check_at"],
                condition=Q(next_check_at__isnull=False),
                name="order_to_check",
            ),
            # Who holds, or waits for, a link.
            models.Index(
                fields=["link_key", "service"],
                condition=Q(status__in=sorted({Status.PENDING, *RUNNING})),
                name="order_link_taken",
            ),
            # What is measured (orders/facts.py).
            models.Index(fields=["service", "completed_at"], name="order_finished"),
            # What was bought around a lost call, and since a reading of the balance.
            models.Index(
                fields=["provider", "sent_at"],
                condition=Q(sent_at__isnull=False),
                name="order_sent",
            ),
            models.Index(
                fields=["provider"],
                condition=Q(book_closed=False, external_id__isnull=False),
                name="order_in_open_book",
            ),
            # Staff's queue, counted on every page of theirs.
            models.Index(
                fields=["status_changed_at"],
                condition=Q(status=Status.UNCONFIRMED),
                name="order_unconfirmed",
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"

    @property
    def public_status(self) -> Status:
        """The status that the outside is told."""
        return PUBLIC[self.status]

    @property
    def is_final(self) -> bool:
        """Whether delivery has ended, well or not."""
        return self.status in FINAL

    @property
    def is_being_asked_for(self) -> bool:
        """Whether a call that may buy this order of unknown outcome is under way now: nobody may
        settle it meanwhile (orders/reconciliation.py)."""
        return (
            self.status == Status.UNCONFIRMED
            and self.lease_until is not None
            and self.lease_until > timezone.now()
        )

    @property
    def net_charge(self) -> Decimal:
        """What the customer has paid, refunds taken off."""
        return self.charge - self.refunded

    @property
    def delivered(self) -> int | None:
        """Units delivered so far; None while the provider has not told."""
        if self.status == Status.COMPLETED:
            return self.quantity
        return None if self.remains is None else self.quantity - self.remains

    @property
    def public_reference(self) -> str | None:
        """The reference that this order has outside the store, without telling where.

        None until a provider has the order. Staff find the order by it in the admin's search.
        """
        return f"EXT{self.pk:08d}" if self.external_id else None

    @property
    def subject(self) -> str:
        """How the ledger names this order; alerts name a run by its own number."""
        return f"order:{self.pk}"

    @property
    def bought_as(self) -> Service:
        """The service that is sent to the provider."""
        return self.sent_service or self.service

    @property
    def quantity_per_run(self) -> int:
        """Units of one run; of an order without runs, all of them."""
        return self.quantity // (self.runs or 1)

    @property
    def guaranteed_until(self) -> datetime | None:
        """The end of the guarantee; None while there is none, and for one without end."""
        if self.completed_at is None or not self.guarantee_days:
            return None
        return self.completed_at + timedelta(days=self.guarantee_days)
