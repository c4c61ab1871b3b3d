"""API keys, what they have used of their limits, and the log of their requests."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.models.people import User
from accounts.money import Currency


class Permission(models.TextChoices):
    """What a key may be allowed to do."""

    SERVICES_READ = "services:read", _("Read services and prices")
    ORDERS_READ = "orders:read", _("Read orders and refills")
    ORDERS_WRITE = "orders:write", _("Place and cancel orders")
    REFILLS_WRITE = "refills:write", _("Ask for refills")
    BALANCE_READ = "balance:read", _("Read balance and transactions")
    WEBHOOKS_WRITE = "webhooks:write", _("Manage webhooks")


def every_permission() -> list[str]:
    """All of them: what a key gets where nothing else is said."""
    return [permission.value for permission in Permission]


class KeyState(models.TextChoices):
    """Whether a key still works."""

    ACTIVE = "active", _("Active")
    EXPIRED = "expired", _("Expired")
    REVOKED = "revoked", _("Revoked")


class ApiKey(models.Model):
    """A sub-resellers' program's access to one customer's account, in one wallet currency.

    Only a keyed digest is stored; the visible prefix lets its owner recognise it.
    """

    user = models.ForeignKey(User, models.CASCADE, related_name="api_keys", verbose_name=_("user"))
    name = models.CharField(_("name"), max_length=60)
    currency = models.CharField(_("currency"), max_length=3, choices=Currency.choices)
    prefix = models.CharField(_("prefix"), max_length=16)
    digest = models.CharField(_("digest"), max_length=64, unique=True, editable=False)
    # The key that this one took the place of, and until when it still works.
    previous_digest = models.CharField(max_length=64, unique=True, null=True, editable=False)
    previous_until = models.DateTimeField(_("old key until"), null=True, blank=True, editable=False)
    permissions: models.JSONField[list[str], list[str]] = models.JSONField(
        _("permissions"), default=every_permission
    )
    # Networks in CIDR notation; empty: from anywhere.
    networks: models.JSONField[list[str], list[str]] = models.JSONField(
        _("allowed networks"), default=list, blank=True
    )
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    sandbox = models.BooleanField(_("sandbox"), default=False, editable=False)
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

    @property
    def state(self) -> KeyState:
        """For people who look at it; requests are let in by accounts/api_keys.py."""
        if self.revoked_at:
            return KeyState.REVOKED
        if self.expires_at and self.expires_at <= timezone.now():
            return KeyState.EXPIRED
        return KeyState.ACTIVE

    @property
    def customer(self) -> User:
        """The account that the key acts for: of a sandbox key the owner's twin with play money,
        never the owner."""
        return self.user.sandbox_twin if self.sandbox else self.user


class ApiUsage(models.Model):
    """What a key has used of its limits (accounts/limits.py). Windows begin with their first
    request; seconds since 1970, by the database's clock."""

    api_key = models.OneToOneField(
        ApiKey, models.CASCADE, primary_key=True, related_name="usage", verbose_name=_("API key")
    )
    minute_from = models.BigIntegerField(default=0)
    minute_count = models.PositiveIntegerField(default=0)
    day_from = models.BigIntegerField(default=0)
    day_count = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name = _("use of an API key")
        verbose_name_plural = _("use of API keys")

    def __str__(self) -> str:
        return str(self.api_key)


class WrongKeys(models.Model):
    """How many wrong keys came from an address lately (accounts/limits.py)."""

    address = models.CharField(_("address"), max_length=64, primary_key=True)
    window_from = models.BigIntegerField(default=0)
    count = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name = _("wrong keys")
        verbose_name_plural = _("wrong keys")

    def __str__(self) -> str:
        return self.address


class ApiDialect(models.TextChoices):
    """The dialects that we speak to programs."""

    PANEL = "panel", _("Panel API")
    REST = "rest", _("REST API")


class ApiRequest(models.Model):
    """One request made with a key, kept for 30 days for its owner. Holds no secret."""

    api_key = models.ForeignKey(
        ApiKey,
        models.CASCADE,
        related_name="requests",
        verbose_name=_("API key"),
        db_index=False,
    )
    at = models.DateTimeField(_("time"), db_default=Now())
    dialect = models.CharField(_("dialect"), max_length=8, choices=ApiDialect.choices)
    # "add"; "POST /orders"
    action = models.CharField(_("action"), max_length=80)
    status = models.PositiveSmallIntegerField(_("HTTP status"))
    # "ok", or the code of what was refused
    result = models.CharField(_("result"), max_length=40)
    milliseconds = models.PositiveIntegerField(_("milliseconds"))
    address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    # Shortened, secrets masked.
    request = models.TextField(_("request"), blank=True)
    answer = models.TextField(_("answer"), blank=True)

    class Meta:
        verbose_name = _("API request")
        verbose_name_plural = _("API requests")
        ordering = ["-pk"]
        indexes = [
            models.Index(models.F("api_key"), models.F("id").desc(), name="api_request_newest"),
            models.Index(fields=["at"], name="api_request_at"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.status}"
