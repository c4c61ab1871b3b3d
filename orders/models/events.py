"""The history of an order: every change, who made it, and what stood there before."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.models import ApiKey, User
from orders.models.order import Order


class EventSource(models.TextChoices):
    """Who changed something."""

    CUSTOMER = "customer", _("Customer")
    API = "api", _("API key")
    STAFF = "staff", _("Staff")
    JOB = "job", _("Job")


class EventKind(models.TextChoices):
    """What an event tells of."""

    CREATED = "created", _("Created")
    MOVED = "moved", _("Status changed")
    PROGRESS = "progress", _("Progress")
    REFILL = "refill", _("Refill")
    CANCEL = "cancel", _("Cancellation")
    SERIES = (
        "series",
        pgettext_lazy("drip-feed", "Runs"),
    )  # drip-feed and subscription: paused, resumed, stopped, served
    REROUTED = "rerouted", _("Given to a substitute")
    EVIDENCE = "evidence", _("Evidence")
    NOTE = "note", _("Note")


class OrderEvent(models.Model):
    """One change of one order; written in the transaction of the change, and never changed."""

    order = models.ForeignKey(
        Order, models.CASCADE, related_name="events", verbose_name=_("order"), db_index=False
    )
    at = models.DateTimeField(_("time"), db_default=Now())
    kind = models.CharField(_("kind"), max_length=12, choices=EventKind.choices)
    source = models.CharField(_("by"), max_length=8, choices=EventSource.choices)
    actor = models.ForeignKey(
        User, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("person")
    )
    api_key = models.ForeignKey(
        ApiKey, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("API key")
    )
    job = models.CharField(_("job"), max_length=32, blank=True)
    # column → [before, after], as JSON values (amounts as text)
    changes: models.JSONField[Any, Any] = models.JSONField(_("changes"), default=dict, blank=True)
    note = models.CharField(_("note"), max_length=500, blank=True, help_text=_("For staff only."))

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        ordering = ["pk"]
        indexes = [models.Index(fields=["order", "id"], name="event_of_order")]

    def __str__(self) -> str:
        return f"{self.order_id} {self.kind}"

    @property
    def status(self) -> tuple[str, str] | None:
        """The status before and after, where this event changed it."""
        pair = self.changes.get("status")
        return (str(pair[0]), str(pair[1])) if pair else None
