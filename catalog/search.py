"""Searching as people type: case, accents and the Turkish i do not matter."""

from __future__ import annotations

import unicodedata

_TURKISH = str.maketrans({"ı": "i", "İ": "i", "I": "i"})


def normalise(text: str) -> str:
    """Lower case without accents, single spaces: "Takipçi İSTANBUL" → "takipci istanbul"."""
    plain = unicodedata.normalize("NFKD", text.translate(_TURKISH).casefold())
    kept = "".join(c if c.isalnum() else " " for c in plain if not unicodedata.combining(c))
    return " ".join(kept.split())
