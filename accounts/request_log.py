"""The log of what programs did with a key, for its owner: 30 days, and no secret in it."""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.db.models import QuerySet

from accounts import pruning
from accounts.client_addresses import parse
from accounts.clock import from_now
from accounts.models import ApiKey, ApiRequest

KEPT_FOR = timedelta(days=30)
ACTION_CHARACTERS = 80
REQUEST_CHARACTERS = 2048
ANSWER_CHARACTERS = 1024
TOO_MANY = 429

log = structlog.get_logger(__name__)


def write(
    api_key: ApiKey,
    *,
    dialect: str,
    action: str,
    status: int,
    result: str,
    milliseconds: int,
    address: str,
    request: str,
    answer: str,
) -> None:
    """Note one request; one INSERT. Never raises: what is noted must not stop what was done.

    `request` and `answer` come without secrets, and are shortened here. Of requests that were
    refused for being too many (429) one line stands for a whole flood. Not for use inside a
    transaction.
    """
    try:
        if status == TOO_MANY and _was_last(api_key, status):
            return
        ApiRequest.objects.create(
            api_key=api_key,
            dialect=dialect,
            action=_storable(action, ACTION_CHARACTERS),
            status=status,
            result=result[:40],
            milliseconds=milliseconds,
            address=str(known) if (known := parse(address)) else None,
            request=_storable(request, REQUEST_CHARACTERS),
            answer=_storable(answer, ANSWER_CHARACTERS),
        )
    except Exception as error:
        log.warning("api_request_not_logged", api_key_id=api_key.pk, error=error)


def of_key(api_key: ApiKey) -> QuerySet[ApiRequest]:
    """The key's requests of the last 30 days, newest first."""
    return ApiRequest.objects.filter(api_key=api_key, at__gte=from_now(-KEPT_FOR))


def prune() -> int:
    """Delete what is older than 30 days; returns how many requests."""
    old = ApiRequest.objects.filter(at__lt=from_now(-KEPT_FOR)).order_by("at")
    return pruning.delete(old, until=pruning.deadline())


def _was_last(api_key: ApiKey, status: int) -> bool:
    newest = ApiRequest.objects.filter(api_key=api_key).values_list("status", flat=True)
    return newest.first() == status


def _storable(text: str, limit: int) -> str:
    return text[:limit].replace("\x00", "").encode("utf-8", "replace").decode()
