"""Customers, their API keys, webhooks and wallets, the ledger, exchange rates, alerts for staff."""

from accounts.models.api import (
    ApiDialect,
    ApiKey,
    ApiRequest,
    ApiUsage,
    KeyState,
    Permission,
    WrongKeys,
    every_permission,
)
from accounts.models.money import (
    Account,
    EntryKind,
    ExchangeRate,
    JournalEntry,
    Posting,
    Wallet,
    currency_code,
)
from accounts.models.people import User, UserManager, validate_time_zone
from accounts.models.records import Alert, JobAttempt
from accounts.models.webhooks import (
    DeliveryState,
    DisabledBecause,
    Turn,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
    WebhookType,
)

__all__ = [
    "Account",
    "Alert",
    "ApiDialect",
    "ApiKey",
    "ApiRequest",
    "ApiUsage",
    "DeliveryState",
    "DisabledBecause",
    "EntryKind",
    "ExchangeRate",
    "JobAttempt",
    "JournalEntry",
    "KeyState",
    "Permission",
    "Posting",
    "Turn",
    "User",
    "UserManager",
    "Wallet",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookEvent",
    "WebhookType",
    "WrongKeys",
    "currency_code",
    "every_permission",
    "validate_time_zone",
]
