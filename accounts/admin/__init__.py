"""The staff's side of people and money, one file a subject."""

from accounts.admin import alerts, money, people, programs, webhooks

__all__ = ["alerts", "money", "people", "programs", "webhooks"]
