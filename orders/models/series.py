"""Orders that are delivered in parts over time: drip-feeds on our own schedule, subscriptions."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from accounts.money import ZERO, AmountField
from orders.models.order import Order


class SeriesState(models.TextChoices):
    """Where a drip-feed or a subscription stands."""

    ACTIVE = "active", _("Active")
    PAUSED = "paused", _("Paused")  # drip-feed only
    STOPPING = "stopping", _("Being stopped")  # what runs is awaited, nothing new begins
    ENDED = "ended", _("Ended")


class DripFeed(models.Model):
    """A drip-feed that we run ourselves. Its order is never sent: each run is an order of its own
    (`Order.parent`), made when it is due. By the database's clock."""

    order = models.OneToOneField(
        Order, models.CASCADE, related_name="dripfeed", verbose_name=_("order")
    )
    runs = models.PositiveIntegerField(_("runs"))
    quantity = models.PositiveBigIntegerField(_("quantity per run"))
    interval = models.PositiveIntegerField(_("minutes between runs"))
    runs_made = models.PositiveIntegerField(_("runs begun"), default=0)
    next_run_at = models.DateTimeField(_("next run"), null=True, blank=True)
    state = models.CharField(
        _("state"), max_length=8, choices=SeriesState.choices, default=SeriesState.ACTIVE
    )
    # Runs up to this one are forgiven: they no longer count as failures in a row.
    forgiven = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        verbose_name = _("drip-feed")
        verbose_name_plural = _("drip-feeds")
        constraints = [
            models.CheckConstraint(
                condition=Q(runs_made__lte=F("runs")), name="dripfeed_runs_within_plan"
            )
        ]
        indexes = [
            models.Index(
                fields=["next_run_at"],
                condition=Q(state=SeriesState.ACTIVE),
                name="dripfeed_due",
            ),
            models.Index(
                fields=["order"],
                condition=~Q(state=SeriesState.ENDED),
                name="dripfeed_open",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.order} · {self.runs_made}/{self.runs}"


class Subscription(models.Model):
    """An order of type Subscriptions: the provider serves a user's new posts.

    The order's charge is the reserve for the most that can be served; `served` of it has been
    earned (order's currency). What is left goes back when the subscription ends.
    """

    order = models.OneToOneField(
        Order, models.CASCADE, related_name="subscription", verbose_name=_("order")
    )
    minimum = models.PositiveBigIntegerField(_("minimum per post"))
    maximum = models.PositiveBigIntegerField(_("maximum per post"))
    posts = models.PositiveIntegerField(_("posts"), help_text=_("New and old ones together."))
    delay = models.PositiveIntegerField(_("delay (minutes)"), default=0)
    expires_on = models.DateField(_("expires"), null=True, blank=True)
    posts_served = models.PositiveIntegerField(_("posts served"), default=0)
    served = AmountField(_("used of the reserve"), default=ZERO)
    entries = models.PositiveIntegerField(default=0, editable=False)  # ledger entries of `served`
    state = models.CharField(
        _("state"), max_length=8, choices=SeriesState.choices, default=SeriesState.ACTIVE
    )

    class Meta:
        verbose_name = _("subscription")
        verbose_name_plural = _("subscriptions")
        constraints = [
            models.CheckConstraint(condition=Q(served__gte=0), name="subscription_served_positive"),
        ]
        indexes = [
            models.Index(
                fields=["expires_on"],
                condition=~Q(state=SeriesState.ENDED),
                name="subscription_open",
            )
        ]

    def __str__(self) -> str:
        return f"{self.order} · {self.posts_served}/{self.posts}"
