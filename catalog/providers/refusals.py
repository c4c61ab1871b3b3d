"""Reading a no: what a refusal says, and whether it is one that can be relied on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from catalog.providers.values import line

LONGEST_REFUSAL = 300

_MESSAGE_NAMES = ("message", "msg", "error", "detail", "text")
_FAILURE_WORDS = frozenset({"fail", "failed", "failure", "error", "false"})
# An object with one of these reports on an order: its "Fail" is the order's, and no refusal.
OF_A_REPORT = frozenset({"charge", "remains", "start_count", "posts"})
_NO_ERROR: Sequence[object] = (None, False, 0, "", "0", "false", [], {})


def refusal(payload: object) -> str | None:
    """The text of an answer that says no; None where it does not.

    Knows `{"error": …}` with text, object or list, `{"errors": …}`, and a status of failure (or
    `"success": false`) with a message.
    """
    for part in parts(payload):
        for name in ("error", "errors"):
            if (value := part.get(name)) not in _NO_ERROR:
                return _message(value) or _message(part) or "no reason given"
        if _is_failure(part) and (text := _message(part)):
            return text
    return None


def error_text(value: object) -> str:
    """The words for a reader in the value of an `error`: text, object or list; "" without any."""
    return "" if value in _NO_ERROR else _message(value)


def speaks_of_failure(payload: object) -> bool:
    """Whether an answer's status is a failure, with a message or without."""
    return any(_is_failure(part) for part in parts(payload))


def parts(payload: object) -> Iterator[Mapping[str, Any]]:
    """The answer, and what it wraps as `data`, as far as they are objects."""
    if isinstance(payload, dict):
        yield payload
        if isinstance(payload.get("data"), dict):
            yield payload["data"]


def _is_failure(part: Mapping[str, Any]) -> bool:
    return not OF_A_REPORT & part.keys() and (
        part.get("success") is False or str(part.get("status")).strip().casefold() in _FAILURE_WORDS
    )


def _message(value: object) -> str:
    """The words for a reader in an error's text, object or list; "" without any."""
    texts: Sequence[object] = ()
    if isinstance(value, str):
        texts = [value]
    elif isinstance(value, list):
        texts = [entry.get("message") if isinstance(entry, dict) else entry for entry in value]
    elif isinstance(value, dict):
        told = [value[name] for name in _MESSAGE_NAMES if isinstance(value.get(name), str)]
        # Else the fields' own messages: {"link": ["is required"]}.
        own = [text for texts in value.values() if isinstance(texts, list) for text in texts]
        texts = told[:1] or own
    lines = [line(text, limit=LONGEST_REFUSAL) for text in texts[:5] if isinstance(text, str)]
    return "; ".join(filter(None, lines))[:LONGEST_REFUSAL]


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


_MONEY = r"(?:funds?|balance|credits?|money|solde|bakiye\w*|saldo|средств)"
_TOO_LITTLE = (
    r"(?:not enough|insufficient|insufficent|too low|low|yetersiz|insuffisant|недостаточно)"
)
_NO_FUNDS = _any(
    rf"{_TOO_LITTLE} (?:\w+ ){{0,3}}{_MONEY}\b",
    rf"\b{_MONEY} (?:\w+ ){{0,3}}{_TOO_LITTLE}\b",
    rf"(?:do not|don t|dont) have enough (?:\w+ ){{0,2}}{_MONEY}\b",
    rf"\b(?:no|out of|lack of|exceeds?) (?:\w+ ){{0,3}}{_MONEY}\b",
    r"(?:insuficiente|insufficient) ?saldo|saldo (?:\w+ )?insuficiente",
)
_TOO_MANY = _any(r"too many (?:requests|attempts|calls)", r"rate limit")
_ABOUT_AN_ID = _any(
    r"(?:incorrect|invalid|wrong|unknown|bad) (?:\w+ )?(?:order|refill)",
    r"(?:order|refill)s? (?:id )?(?:is |was |are )?(?:not found|incorrect|invalid|wrong|unknown)",
    r"(?:order|refill) (?:\w+ )?does ?n[o ]{0,2}t exist",
)
_ABOUT_THE_CALL = _any(
    r"unauthori[sz]ed|not authori[sz]ed|forbidden|permission",
    r"(?:api|our|wrong|invalid|incorrect|missing) key",
    r"(?:incorrect|invalid|wrong|unknown|unsupported|missing) (?:request|action|method|command)",
)
# Said by the machinery in front of or below a panel: the order may have been written all the same.
_BROKEN = _any(
    r"internal (?:server )?error",
    r"server error",
    r"time ?out|timed out",
    r"gateway",
    r"sqlstate|deadlock|database|exception|stack ?trace|fatal",
    r"something went wrong|unexpected|unknown error",
)
# With a status of 5xx only words of the trade count as an answer of the panel itself.
_OF_THE_TRADE = _any(
    r"(?:incorrect|invalid|wrong|bad|unknown|missing|inactive) (?:\w+ ){0,2}"
    r"(?:service|link|url|quantity|api|key|action|username|user|comments?|parameters?)\b",
    r"\b(?:service|link|url|quantity|key|username|comments?)(?: id)? (?:is |was |does |are )?"
    r"(?:not|n t|incorrect|invalid|required|missing|disabled|inactive|less|more|must|too)\b",
    r"\b(?:min|minimum|minimal|max|maximum|maximal) (?:\w+ ){0,2}(?:quantity|amount|order)?",
    r"active order|already have|already exists|duplicate order",
    r"unauthori[sz]ed|not authori[sz]ed|forbidden|api key",
    r"neworder error",
)


def _words(text: str) -> str:
    """For comparing: lower case, everything but letters and digits a space."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())


def says_no(text: str, *, http_status: int) -> bool:
    """Whether a refusal's text is a clear no, after which nothing can have been bought.

    A failure of the provider's own machinery is not one: its order may have been written. With
    5xx (and 408) only words of the trade are believed, as proxies and frameworks put an `error`
    into their JSON too.
    """
    words = _words(text)
    if is_about_funds(text):
        return True
    if _BROKEN.search(words):
        return False
    if http_status >= 500 or http_status == 408:
        return bool(_OF_THE_TRADE.search(words))
    return True


def is_about_funds(text: str) -> bool:
    """Whether a refusal says that our balance at the provider is too small."""
    return bool(_NO_FUNDS.search(_words(text)))


def is_about_haste(text: str) -> bool:
    """Whether a refusal says that we ask too often."""
    return bool(_TOO_MANY.search(_words(text)))


def is_about_an_id(text: str) -> bool:
    """Whether a refusal says that the provider does not know an order or a refill."""
    return bool(_ABOUT_AN_ID.search(_words(text)))


def is_about_the_call(text: str) -> bool:
    """Whether a refusal is about our key or an action that the provider does not know: it says
    nothing of the order that was asked about."""
    return bool(_ABOUT_THE_CALL.search(_words(text)))
