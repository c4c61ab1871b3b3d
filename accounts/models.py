"""Customers, their API keys and wallets, the ledger, exchange rates, and alerts for staff."""

from __future__ import annotations

from typing import Any, ClassVar
from zoneinfo import available_timezones

from django.conf import settings
from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Now
from django.utils.translation import gettext_lazy as _

from accounts.money import ZERO, AmountField, Currency, MoreThan, RateField


def validate_time_zone(value: str) -> None:
    if value not in available_timezones():
        raise ValidationError(_("Unknown time zone."))


currency_code = RegexValidator(r"^[A-Z]{3}\Z", _("Use the three capital letters of the currency."))


class UserManager(BaseUserManager["User"]):
    """Creates users by e-mail address, which is kept in lower case."""

    def _create(self, email: str, password: str | None, **fields: Any) -> User:
        if not email:
            raise ValueError("A user needs an e-mail address.")
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self._create(email, password, **fields)

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self._create(email, password, **{**fields, "is_staff": True, "is_superuser": True})

    def get_by_natural_key(self, email: str | None) -> User:
        return self.get(email=(email or "").strip().lower())


class User(AbstractUser):
    """A customer or a member of staff. `is_active=False` suspends on every front at once."""

    username = None  # type: ignore[assignment]
    first_name = None  # type: ignore[assignment]
    last_name = None  # type: ignore[assignment]
    email = models.EmailField(
        _("e-mail address"),
        unique=True,
        error_messages={"unique": _("A user with this e-mail address exists already.")},
    )
    name = models.CharField(_("name"), max_length=100, blank=True)
    language = models.CharField(
        _("language"),
        max_length=5,
        choices=settings.LANGUAGES,
        blank=True,
        help_text=_("Empty: as the browser asks."),
    )
    currency = models.CharField(
        _("currency"), max_length=3, choices=Currency.choices, default=Currency.USD
    )
    time_zone = models.CharField(
        _("time zone"), max_length=64, default="UTC", validators=[validate_time_zone]
    )

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[UserManager] = UserManager()  # type: ignore[assignment]

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        constraints = [
            # One spelling of an address, so that the unique index means what people mean.
            models.CheckConstraint(condition=Q(email=Lower("email")), name="user_email_lower_case"),
        ]

    def __str__(self) -> str:
        return self.email

    def clean(self) -> None:
        super().clean()
        self.email = self.email.strip().lower()

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.email = self.email.strip().lower()
        super().save(*args, **kwargs)

    def get_full_name(self) -> str:
        return self.name or self.email

    def get_short_name(self) -> str:
        return self.name or self.email.split("@")[0]


class ApiKey(models.Model):
    """A sub-resellers' program's access to one customer's account, in one wallet currency.

    Only a keyed digest is stored; the visible prefix lets its owner recognise it.
    """

    user = models.ForeignKey(User, models.CASCADE, related_name="api_keys", verbose_name=_("user"))
    name = models.CharField(_("name"), max_length=60)
    currency = models.CharField(_("currency"), max_length=3, choices=Currency.choices)
    prefix = models.CharField(_("prefix"), max_length=16)
    digest = models.CharField(_("digest"), max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True)
    last_used_ip = models.GenericIPAddressField(_("last address"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True)

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class Wallet(models.Model):
    """What one customer has in one currency.

    `balance` is a cache of the wallet's postings; only `ledger.post` writes it.
    """

    user = models.ForeignKey(User, models.PROTECT, related_name="wallets", verbose_name=_("user"))
    currency = models.CharField(_("currency"), max_length=3, choices=Currency.choices)
    balance = AmountField(_("balance"), default=ZERO, editable=False)

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


class Alert(models.Model):
    """Something that staff must look at; one open row per code and subject."""

    code = models.CharField(_("code"), max_length=40)
    subject = models.CharField(_("subject"), max_length=60, help_text="provider:1, order:42")
    message = models.TextField(_("message"))
    times = models.PositiveIntegerField(_("times"), default=1)
    created_at = models.DateTimeField(_("since"), auto_now_add=True)
    last_at = models.DateTimeField(_("last time"), auto_now=True)
    resolved_at = models.DateTimeField(_("resolved"), null=True, blank=True)

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        ordering = ["-last_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["code", "subject"],
                condition=Q(resolved_at=None),
                name="alert_open_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.code} · {self.subject}"


class JobAttempt(models.Model):
    """A job that has begun and not ended: it runs, or its worker was killed (accounts/jobs.py)."""

    job = models.CharField(_("job"), max_length=100, unique=True)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    last_at = models.DateTimeField(_("last time"), db_default=Now())

    class Meta:
        verbose_name = _("unfinished job")
        verbose_name_plural = _("unfinished jobs")
        ordering = ["-last_at", "-pk"]

    def __str__(self) -> str:
        return self.job
