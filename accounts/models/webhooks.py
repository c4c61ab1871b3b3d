"""Webhooks: where customers want to be told, what happened, and how telling them went."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.encryption import EncryptedTextField
from accounts.models.people import User


class WebhookType(models.TextChoices):
    """What can be told."""

    ORDER_CREATED = "order.created", _("An order was placed")
    ORDER_UPDATED = "order.updated", _("An order's status changed")
    REFILL_UPDATED = "refill.updated", _("A refill's state changed")
    WALLET_CREDITED = "wallet.credited", _("Money came into a wallet")
    WALLET_LOW = "wallet.low", _("A wallet fell below its mark")
    SERVICE_UPDATED = "service.updated", _("A service's price, limits or availability changed")


class DisabledBecause(models.TextChoices):
    """Why nothing is sent to an endpoint."""

    CUSTOMER = "customer", _("Switched off by you")
    GONE = "gone", _("It answered 410: gone")
    FAILING = "failing", _("It failed for three days")
    STAFF = "staff", _("Switched off by the shop")
    REMOVED = "removed", _("Taken away by you")  # its rows go later (accounts/webhooks.py)


class WebhookEndpoint(models.Model):
    """An address of a customer's (of a sandbox twin's: for what its play orders do)."""

    user = models.ForeignKey(
        User, models.CASCADE, related_name="webhook_endpoints", verbose_name=_("customer")
    )
    url = models.CharField(_("address"), max_length=500)
    description = models.CharField(_("description"), max_length=100, blank=True)
    # The types that it is told.
    events: models.JSONField[list[str], list[str]] = models.JSONField(_("events"), default=list)
    # "whsec_" and base64; shown once.
    secret = EncryptedTextField(_("secret"))
    # While it is being changed both sign.
    previous_secret = EncryptedTextField(blank=True)
    previous_until = models.DateTimeField(_("old secret until"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), db_default=Now())
    # Since when every attempt failed; null while the last one succeeded.
    failing_since = models.DateTimeField(_("failing since"), null=True, blank=True)
    # Whether its last answer was long in coming.
    is_slow = models.BooleanField(default=False, editable=False)
    disabled_at = models.DateTimeField(_("disabled"), null=True, blank=True)
    disabled_because = models.CharField(
        _("disabled because"), max_length=8, choices=DisabledBecause.choices, blank=True
    )

    class Meta:
        verbose_name = _("webhook endpoint")
        verbose_name_plural = _("webhook endpoints")
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.url


class WebhookEvent(models.Model):
    """Something that happened, recorded in the transaction of the change that it tells of."""

    # The `webhook-id`: the same at every attempt, so that a receiver can tell a repeat.
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        User, models.CASCADE, related_name="+", verbose_name=_("customer"), db_index=False
    )
    type = models.CharField(_("event"), max_length=20)
    # "order:42", "refill:7", "wallet:3", "service:9": what is told in order
    subject = models.CharField(_("subject"), max_length=60, blank=True)
    # What the body is made of: values as they stood when it happened.
    facts: models.JSONField[Any, Any] = models.JSONField(default=dict)
    # Made once, before the first attempt: every repeat sends the same bytes.
    body = models.TextField(_("body"), blank=True)
    created_at = models.DateTimeField(_("time"), db_default=Now())

    class Meta:
        verbose_name = _("webhook event")
        verbose_name_plural = _("webhook events")
        indexes = [models.Index(fields=["created_at"], name="webhook_event_created")]

    def __str__(self) -> str:
        return f"{self.type} {self.subject}"


class DeliveryState(models.TextChoices):
    """How telling one endpoint of one event stands."""

    PENDING = "pending", _("Waiting")
    DELIVERED = "delivered", _("Delivered")
    FAILED = "failed", _("Given up")


class Turn(models.IntegerChoices):
    """Which of an endpoint's deliveries go before the others."""

    SOON = 0
    LATER = 1  # comes with thousands of its kind


class WebhookDelivery(models.Model):
    """Telling one endpoint of one event: the queue, and its owner's log."""

    event = models.ForeignKey(
        WebhookEvent, models.CASCADE, related_name="deliveries", verbose_name=_("event")
    )
    endpoint = models.ForeignKey(
        WebhookEndpoint,
        models.CASCADE,
        related_name="deliveries",
        verbose_name=_("endpoint"),
        db_index=False,
    )
    # The event's, to keep the order of one order's events.
    subject = models.CharField(max_length=60, blank=True)
    turn = models.PositiveSmallIntegerField(default=Turn.SOON, editable=False)
    state = models.CharField(
        _("state"), max_length=10, choices=DeliveryState.choices, default=DeliveryState.PENDING
    )
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    # When the next attempt is due; while one runs, when it counts as lost. Null once it has ended.
    next_at = models.DateTimeField(_("next attempt"), db_default=Now(), null=True, blank=True)
    created_at = models.DateTimeField(_("time"), db_default=Now())
    # Asked for by hand, of an event that had been told or given up.
    replay = models.BooleanField(_("replay"), default=False)

    class Meta:
        verbose_name = _("webhook delivery")
        verbose_name_plural = _("webhook deliveries")
        ordering = ["-pk"]
        indexes = [
            models.Index(F("endpoint"), F("id").desc(), name="webhook_delivery_newest"),
            models.Index(
                fields=["next_at"],
                condition=Q(next_at__isnull=False),
                name="webhook_delivery_due",
            ),
            models.Index(
                fields=["endpoint", "turn", "next_at", "id"],
                condition=Q(next_at__isnull=False),
                name="webhook_delivery_next",
            ),
            models.Index(
                fields=["endpoint", "subject", "id"],
                condition=Q(next_at__isnull=False),
                name="webhook_delivery_line",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event_id} → {self.endpoint_id}"


class WebhookAttempt(models.Model):
    """One request that was made, and what was answered."""

    delivery = models.ForeignKey(
        WebhookDelivery, models.CASCADE, related_name="log", verbose_name=_("delivery")
    )
    at = models.DateTimeField(_("time"), db_default=Now())
    # Null: there was no answer; `error` says why.
    status = models.PositiveSmallIntegerField(_("HTTP status"), null=True, blank=True)
    milliseconds = models.PositiveIntegerField(_("milliseconds"))
    # The first kilobyte.
    answer = models.TextField(_("answer"), blank=True)
    error = models.CharField(_("error"), max_length=200, blank=True)

    class Meta:
        verbose_name = _("webhook attempt")
        verbose_name_plural = _("webhook attempts")
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.status or self.error}"
