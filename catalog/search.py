"""Searching as people type: case, accents, fancy letters and the Turkish i do not matter."""

from __future__ import annotations

import unicodedata
from functools import lru_cache


# A sync normalises each category's name once per service.
@lru_cache(maxsize=1024)
def normalise(text: str) -> str:
    """Lower case without accents, single spaces: "Takipçi ★ İSTANBUL" → "takipci istanbul"."""
    # Decomposed first: the trade writes names in mathematical bold, which has no lower case.
    plain = unicodedata.normalize("NFKD", text).replace("ı", "i").casefold()
    kept = "".join(c if c.isalnum() else " " for c in plain if not unicodedata.combining(c))
    return " ".join(kept.split())
