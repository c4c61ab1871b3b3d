"""Evidence about orders of which we do not know whether the provider has them."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from orders.models.order import Order


class EvidenceKind(models.TextChoices):
    """How the provider was asked, strongest first."""

    LIST = "list", _("The provider's list of orders")
    REPEAT = "repeat", _("The same request again, under its key")
    IDS = "ids", _("The ids around the lost call")
    BALANCE = "balance", _("The provider's balance against our book")


class Verdict(models.TextChoices):
    """What a piece of evidence tells."""

    BOUGHT = "bought", _("It was bought")
    NOT_BOUGHT = "not_bought", _("It was not bought")
    UNCLEAR = "unclear", _("It cannot tell")


class Evidence(models.Model):
    """One answer to the question whether an order was bought; the newest of a kind counts."""

    order = models.ForeignKey(
        Order, models.CASCADE, related_name="evidence", verbose_name=_("order")
    )
    kind = models.CharField(_("kind"), max_length=8, choices=EvidenceKind.choices)
    verdict = models.CharField(_("verdict"), max_length=12, choices=Verdict.choices)
    external_id = models.CharField(_("provider's order id"), max_length=64, blank=True)
    details: models.JSONField[Any, Any] = models.JSONField(_("details"), default=dict, blank=True)
    # Which attempt it is about: an order that was sent again needs evidence of its own.
    attempt = models.PositiveSmallIntegerField(default=1)
    at = models.DateTimeField(_("time"), db_default=Now())

    class Meta:
        verbose_name = _("evidence")
        verbose_name_plural = _("evidence")
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.order_id} {self.kind}: {self.verdict}"
