"""Wallets, the ledger, exchange rates."""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.models.people import User
from accounts.money import ZERO, AmountField, Currency, MoreThan, RateField

currency_code = RegexValidator(r"^[A-Z]{3}\Z", _("Use the three capital letters of the currency."))


class Wallet(models.Model):
    """What one customer has in one currency.

    `balance` is a cache of the wallet's postings; only `ledger.post` writes it.
    """

    user = models.ForeignKey(User, models.PROTECT, related_name="wallets", verbose_name=_("user"))
    currency = models.CharField(_("currency"), max_length=3, choices=Currency.choices)
    balance = AmountField(_("balance"), default=ZERO, editable=False)
    # The customer's webhooks are told when the balance falls below this; null: never.
    low_at = AmountField(_("low below"), null=True, blank=True)  # type: ignore[misc]

    class Meta:
        verbose_name = _("wallet")
        verbose_name_plural = _("wallets")
        constraints = [
            models.UniqueConstraint(fields=["user", "currency"], name="wallet_unique"),
            models.CheckConstraint(condition=Q(balance__gte=0), name="wallet_never_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.user} · {self.currency}"


class EntryKind(models.TextChoices):
    """What a journal entry tells of."""

    CHARGE = "charge", _("Order")
    REFUND = "refund", _("Refund")
    ADJUSTMENT = "adjustment", _("Adjustment")
    SERVED = "served", _("Served out of a reserve")
    LOSS = "loss", _("Loss")


class Account(models.TextChoices):
    """The ledger's accounts. A wallet posting names its wallet; house accounts are summed, never
    cached, or every order would queue on one row."""

    WALLET = "wallet", _("Wallet")
    SALES = "sales", _("Sales")
    ADJUSTMENTS = "adjustments", _("Adjustments")
    RESERVED = "reserved", _("Reserved for subscriptions")  # charged, and not yet earned
    LOSSES = "losses", _("Losses")  # paid back to customers for what was delivered after all
    PLAY = "play", _("Play money")  # the other side of everything that sandbox keys do


class JournalEntry(models.Model):
    """One movement of money, written once and never changed (database triggers).

    The key names it for people and makes it idempotent: `order:42:charge`, `order:42:refund:1`.
    The row is written after its postings: its insertion is what seals them (see triggers.py).
    """

    key = models.CharField(_("key"), max_length=120, primary_key=True)
    kind = models.CharField(_("kind"), max_length=16, choices=EntryKind.choices)
    subject = models.CharField(_("subject"), max_length=60, blank=True, help_text="order:42")
    reason = models.CharField(_("reason"), max_length=300, blank=True)
    actor = models.ForeignKey(
        User, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("staff")
    )
    created_at = models.DateTimeField(_("time"), db_default=Now())

    class Meta:
        verbose_name = _("journal entry")
        verbose_name_plural = _("journal entries")
        # Plain indexes, here and below: `db_index` on text would add a second one for LIKE.
        indexes = [
            models.Index(fields=["subject"], name="entry_subject"),
            models.Index(fields=["created_at"], name="entry_created"),
        ]

    def __str__(self) -> str:
        return self.key

    @property
    def order_id(self) -> int | None:
        """The order that it is about, or None."""
        kind, _colon, number = self.subject.partition(":")
        return int(number) if kind == "order" and number.isdigit() else None


class Posting(models.Model):
    """One leg of an entry. Positive: more in this account. An entry's legs sum to zero per
    currency."""

    entry = models.ForeignKey(
        JournalEntry,
        models.PROTECT,
        db_index=False,
        related_name="postings",
        verbose_name=_("entry"),
    )
    account = models.CharField(_("account"), max_length=16, choices=Account.choices)
    wallet = models.ForeignKey(
        Wallet,
        models.PROTECT,
        null=True,
        blank=True,
        db_index=False,
        related_name="postings",
        verbose_name=_("wallet"),
    )
    currency = models.CharField(_("currency"), max_length=3, choices=Currency.choices)
    amount = AmountField(_("amount"))
    balance_after = AmountField(_("balance after"), null=True, blank=True)  # type: ignore[misc]

    class Meta:
        verbose_name = _("posting")
        verbose_name_plural = _("postings")
        constraints = [
            models.CheckConstraint(
                # A check that is null passes, so that each null is excluded by name.
                condition=Q(
                    account=Account.WALLET,
                    wallet__isnull=False,
                    balance_after__isnull=False,
                    balance_after__gte=0,
                )
                | (~Q(account=Account.WALLET) & Q(wallet=None, balance_after=None)),
                name="posting_wallet_named",
            ),
            models.CheckConstraint(condition=~Q(amount=0), name="posting_moves_something"),
        ]
        indexes = [
            models.Index(fields=["entry"], name="posting_entry"),
            # A wallet's page lists its postings newest first.
            models.Index(F("wallet"), F("id").desc(), name="posting_wallet_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.entry_id}: {self.account} {self.amount} {self.currency}"


class ExchangeRate(models.Model):
    """1 `base` = `rate` `quote`, from `created_at` until a newer row of the pair.

    Rows are added, never changed: orders keep the rate that they were priced with, and staff can
    see what it was.
    """

    base = models.CharField(_("from"), max_length=3, validators=[currency_code])
    quote = models.CharField(_("to"), max_length=3, validators=[currency_code])
    rate = RateField(_("rate"), validators=[MoreThan(0)], help_text=_("1 “from” = this many “to”"))
    created_at = models.DateTimeField(_("since"), auto_now_add=True)
    actor = models.ForeignKey(
        User, models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("staff")
    )

    class Meta:
        verbose_name = _("exchange rate")
        verbose_name_plural = _("exchange rates")
        ordering = ["base", "quote", "-pk"]
        indexes = [models.Index(F("base"), F("quote"), F("id").desc(), name="exchange_newest")]
        constraints = [
            models.CheckConstraint(condition=Q(rate__gt=0), name="exchange_rate_positive"),
            models.CheckConstraint(condition=~Q(base=F("quote")), name="exchange_two_currencies"),
        ]

    def __str__(self) -> str:
        return f"1 {self.base} = {self.rate.normalize():f} {self.quote}"
