"""Many orders given at once: the lines, and what became of each."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.money import AmountField, Currency
from orders.models.order import Order


class MassOrder(models.Model):
    """A batch of lines that a customer has confirmed; a job places them one by one."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    customer = models.ForeignKey(
        User, models.PROTECT, related_name="mass_orders", verbose_name=_("customer")
    )
    currency = models.CharField(_("currency"), max_length=3, choices=Currency.choices)
    created_at = models.DateTimeField(_("created"), db_default=Now())
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)

    class Meta:
        verbose_name = _("mass order")
        verbose_name_plural = _("mass orders")
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["id"], condition=Q(finished_at=None), name="mass_unfinished")
        ]

    def __str__(self) -> str:
        return f"{self.pk}"


class LineState(models.TextChoices):
    """What became of a line."""

    WAITING = "waiting", _("Waiting")
    PLACED = "placed", _("Ordered")
    REFUSED = "refused", _("Refused")


class MassLine(models.Model):
    """One line: the values of an order (`OrderDraft`), and the order or the reason why not."""

    mass = models.ForeignKey(MassOrder, models.CASCADE, related_name="lines")
    number = models.PositiveSmallIntegerField(_("line"))
    service_id_given = models.CharField(max_length=40)
    values: models.JSONField[Any, Any] = models.JSONField(default=dict)
    # What the customer saw in the preview; the line is refused if it would cost more.
    agreed = AmountField(_("agreed"))
    state = models.CharField(
        _("state"), max_length=8, choices=LineState.choices, default=LineState.WAITING
    )
    order = models.ForeignKey(Order, models.SET_NULL, null=True, blank=True, related_name="+")
    # Code of storefront/errors.py and what its words need, so that each reader's language works.
    problem: models.JSONField[Any, Any] = models.JSONField(default=dict, blank=True)

    class Meta:
        verbose_name = _("line")
        verbose_name_plural = _("lines")
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["mass", "number"], name="mass_line_unique")]

    def __str__(self) -> str:
        return f"{self.mass_id}:{self.number}"
