"""What customers ask for after buying: refills and cancellations."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.models import ApiKey, User
from orders.models.order import Order


class RefillState(models.TextChoices):
    """Where a refill stands. The outside knows three words: pending, completed, rejected."""

    WAITING = "waiting", _("Waiting to be asked for")
    ASKED = "asked", _("Asked of the provider")
    MANUAL = "manual", _("With our staff")
    COMPLETED = "completed", _("Completed")
    REJECTED = "rejected", _("Rejected")


OPEN_REFILLS = (RefillState.WAITING, RefillState.ASKED, RefillState.MANUAL)


class PublicRefillState(models.TextChoices):
    """Where a refill stands, for the outside: who does it is our affair."""

    PENDING = "pending", _("Pending")
    COMPLETED = "completed", _("Completed")
    REJECTED = "rejected", _("Rejected")


class Refill(models.Model):
    """A request to deliver again what has dropped; at most one open at a time for an order."""

    order = models.ForeignKey(
        Order, models.PROTECT, related_name="refills", verbose_name=_("order")
    )
    state = models.CharField(
        _("state"), max_length=12, choices=RefillState.choices, default=RefillState.WAITING
    )
    external_id = models.CharField(_("provider's refill id"), max_length=64, blank=True)
    # Shown to the customer: our own words, never the provider's. English where a job wrote it.
    reason = models.CharField(_("reason"), max_length=300, blank=True)
    failure = models.CharField(
        _("what went wrong"), max_length=500, blank=True, help_text=_("For staff only.")
    )
    api_key = models.ForeignKey(
        ApiKey, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("API key")
    )
    created_at = models.DateTimeField(_("requested"), db_default=Now())
    settled_at = models.DateTimeField(_("settled"), null=True, blank=True)
    settled_by = models.ForeignKey(
        User, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("staff")
    )
    attempts = models.PositiveSmallIntegerField(default=0, editable=False)
    next_check_at = models.DateTimeField(db_default=Now(), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("refill")
        verbose_name_plural = _("refills")
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["order"], condition=Q(state__in=OPEN_REFILLS), name="refill_one_open"
            )
        ]
        indexes = [
            models.Index(
                fields=["next_check_at"],
                condition=Q(state__in=(RefillState.WAITING, RefillState.ASKED)),
                name="refill_due",
            ),
            models.Index(
                fields=["created_at"], condition=Q(state=RefillState.MANUAL), name="refill_manual"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pk} ({self.order})"

    @property
    def is_open(self) -> bool:
        """Whether it is still being worked on."""
        return self.state in OPEN_REFILLS

    @property
    def public_state(self) -> PublicRefillState:
        """The state that the outside is told."""
        return PublicRefillState.PENDING if self.is_open else PublicRefillState(self.state)

    @property
    def shown_reason(self) -> str:
        """The reason in the reader's language, where it is one of ours; staff's words as typed."""
        return gettext(self.reason) if self.reason else ""


class CancelState(models.TextChoices):
    """Where a request to cancel stands."""

    WAITING = "waiting", _("Waiting to be asked for")
    ASKED = "asked", _("Asked of the provider")
    DONE = "done", _("Done")
    REFUSED = "refused", _("Refused")


OPEN_CANCELS = (CancelState.WAITING, CancelState.ASKED)


class CancelRequest(models.Model):
    """A request to cancel an order that the provider may have; an order has one at most."""

    order = models.OneToOneField(
        Order, models.CASCADE, related_name="cancel_request", verbose_name=_("order")
    )
    state = models.CharField(
        _("state"), max_length=12, choices=CancelState.choices, default=CancelState.WAITING
    )
    failure = models.CharField(
        _("what went wrong"), max_length=500, blank=True, help_text=_("For staff only.")
    )
    created_at = models.DateTimeField(_("requested"), db_default=Now())
    settled_at = models.DateTimeField(_("settled"), null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0, editable=False)
    next_try_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("request to cancel")
        verbose_name_plural = _("requests to cancel")
        ordering = ["-pk"]
        indexes = [
            models.Index(
                fields=["next_try_at"],
                condition=Q(state__in=OPEN_CANCELS),
                name="cancel_open",
            )
        ]

    def __str__(self) -> str:
        return f"{self.pk} ({self.order})"
