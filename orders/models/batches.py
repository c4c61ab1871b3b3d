"""What became of the batches that came with an idempotency key."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models.functions import Now

from accounts.models import User
from accounts.money import AmountField


class KeyedBatch(models.Model):
    """The first answer to a batch, for its repeats. Written with its orders, kept as long."""

    customer = models.ForeignKey(User, models.PROTECT, related_name="+", db_index=False)
    key_digest = models.CharField(max_length=64)
    fingerprint = models.CharField(max_length=64)
    # One for each item: {"order": its id}, or the refusal (orders/refusals.py).
    outcomes: models.JSONField[Any, Any] = models.JSONField()
    balance = AmountField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["customer", "key_digest"], name="keyed_batch_once")
        ]

    def __str__(self) -> str:
        return f"{self.pk}"
