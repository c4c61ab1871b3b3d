"""The Standard Webhooks signature: proof that a request is ours, and that nobody changed it."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence

_PREFIX = "whsec_"


def headers(
    secrets: Sequence[str], *, event_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """The three headers of one request; a signature for each secret ("whsec_" and base64), the
    newest first. `timestamp` is of this attempt, in seconds since 1970."""
    signatures = (sign(secret, event_id, timestamp, body) for secret in secrets)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def sign(secret: str, event_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the base64 of HMAC-SHA256(secret, "{event_id}.{timestamp}.{body}").

    Raises ValueError where the secret is empty: anybody could sign with that.
    """
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    if not key:
        raise ValueError("no secret to sign with")
    digest = hmac.digest(key, f"{event_id}.{timestamp}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"
