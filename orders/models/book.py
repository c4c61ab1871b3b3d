"""Readings of the providers' balances, each beside what our book of the provider said."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.money import RateField
from catalog.models import Provider


class Outcome(models.TextChoices):
    """What a reading told."""

    OPENED = "opened", _("The book begins")
    AGREED = "agreed", _("It agrees")
    UNKNOWN = "unknown", _("Orders are of unknown outcome")
    WAITING = "waiting", _("More than expected: perhaps paid back for an order")
    TOPPED_UP = "topped_up", _("Topped up")
    DIFFERS = "differs", _("It differs")
    ACCEPTED = "accepted", _("Accepted by staff")


class BookReading(models.Model):
    """A balance that a provider told while nothing was being sent, in the provider's currency."""

    provider = models.ForeignKey(
        Provider, models.CASCADE, related_name="readings", verbose_name=_("provider")
    )
    at = models.DateTimeField(_("time"), db_default=Now())
    balance = RateField(_("balance there"))
    book = RateField(_("balance by our book"))
    # What is left of it after this reading: 0 where the two were brought together.
    difference = RateField(_("difference"))
    noted = RateField(  # type: ignore[misc]
        _("taken into the book"), null=True, blank=True
    )
    outcome = models.CharField(_("outcome"), max_length=10, choices=Outcome.choices)
    actor = models.ForeignKey(
        User, models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("staff")
    )

    class Meta:
        verbose_name = _("reading of a balance")
        verbose_name_plural = _("readings of balances")
        ordering = ["-pk"]
        indexes = [models.Index(fields=["provider", "at"], name="reading_of_provider")]

    def __str__(self) -> str:
        return f"{self.provider} · {self.at:%Y-%m-%d %H:%M}"
