"""Reading the panel dialect's answers after the sale: refills and cancels.

Readers raise `ProviderRefused` for a clear no and `Unreadable` for what is neither yes nor no.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from catalog.providers import ProviderRefused, UpstreamCancel, UpstreamRefill, UpstreamRefillState
from catalog.providers.refusals import error_text, is_about_an_id, says_no
from catalog.providers.values import Unreadable, identifier, line, whole

LONGEST_WORD = 64
LONGEST_REASON = 300
NO_REASON = "no reason given"
_YES = frozenset({"success", "successful", "true", "ok", "accepted", "yes"})
_ORDER_NAMES = ("order", "order_id", "id")
_REFILL_NAMES = ("refill", "refill_id", "id")

# By the word's letters alone, as with orders' states.
_REFILL_STATES: Mapping[str, UpstreamRefillState] = {
    "pending": UpstreamRefillState.PENDING,
    "awaiting": UpstreamRefillState.PENDING,
    "processing": UpstreamRefillState.PENDING,
    "inprogress": UpstreamRefillState.PENDING,
    "completed": UpstreamRefillState.COMPLETED,
    "complete": UpstreamRefillState.COMPLETED,
    "rejected": UpstreamRefillState.REJECTED,
    "error": UpstreamRefillState.REJECTED,
    "fail": UpstreamRefillState.REJECTED,
    "failed": UpstreamRefillState.REJECTED,
    "canceled": UpstreamRefillState.REJECTED,
    "cancelled": UpstreamRefillState.REJECTED,
}


# --- asking for a refill -------------------------------------------------------------------------


def refill(payload: object, external_id: str) -> str:
    """The refill's id, "" for a yes without one.

    Knows `{"refill": "1"}`, `{"refill": {"id": 1}}`, `{"refill": {"error": …}}`,
    `{"refill": null, "status": "rejected"}`, `{"status": "Success"}`, also as `data` or in a list.
    """
    entry = _only(payload, external_id)
    found = entry.get("refill", entry.get("refill_id"))
    if isinstance(found, dict):
        entry, found = found, found.get("id")
        _refuse(error_text(entry.get("error")))
    if _letters(entry.get("status")) in ("rejected", "declined"):
        reason = line(entry.get("reason") or entry.get("message"), limit=LONGEST_REASON)
        raise ProviderRefused(reason or NO_REASON)
    if (number := _numbered(found)) is not None:
        return number
    if is_yes(found) or (found is None and is_yes(entry.get("status"))):
        return ""
    raise Unreadable("neither a refill nor a refusal")


def _only(payload: object, external_id: str) -> Mapping[str, Any]:
    """The one entry of an answer about one order."""
    for _wrapping in range(3):
        if isinstance(payload, list) and len(payload) == 1:
            payload = payload[0]
        elif isinstance(payload, dict) and isinstance(payload.get("data"), dict | list):
            payload = payload["data"]
        elif isinstance(payload, dict) and isinstance(payload.get(external_id), dict):
            payload = payload[external_id]
    if not isinstance(payload, dict):
        raise Unreadable("no answer about the order")
    if _id_of(payload, _ORDER_NAMES) not in (None, external_id):
        raise Unreadable("about another order")
    _refuse(error_text(payload.get("error")))
    return payload


def _refuse(text: str) -> None:
    if not text:
        return
    if says_no(text, http_status=200):
        raise ProviderRefused(text)
    raise Unreadable(text)


# --- how refills stand ---------------------------------------------------------------------------


def refill_state(word: str) -> UpstreamRefillState | None:
    """A refill's word, understood; None for one that is not in the table."""
    return _REFILL_STATES.get(_letters(word))


def refill_error(reason: str) -> UpstreamRefill:
    """The report on a refill in whose place the provider put an error."""
    return UpstreamRefill(state=None, word="", reason=reason)


def refill_statuses(payload: object, asked: Sequence[str]) -> dict[str, UpstreamRefill]:
    """Reports out of a single or multi answer, keyed by the ids asked for.

    Raises Unreadable when the answer is about none of the refills asked for.
    """
    found: dict[str, UpstreamRefill] = {}
    for refill_id, entry in _by_id(payload, asked, names=_REFILL_NAMES, told="status"):
        if refill_id in asked and refill_id not in found and entry is not None:
            found[refill_id] = refill_report(entry)
    if not found:
        raise Unreadable("about none of the refills asked for")
    return found


def refill_report(entry: object) -> UpstreamRefill:
    """One refill's report out of its word or its object."""
    told = entry.get("status") if isinstance(entry, dict) else entry
    error = told.get("error") if isinstance(told, dict) else None
    if isinstance(entry, dict) and error is None:
        error = entry.get("error")
    if text := error_text(error):
        return refill_error(text)
    word = line(told, limit=LONGEST_WORD)
    reason = ""
    if isinstance(entry, dict):
        reason = line(entry.get("reason") or entry.get("message"), limit=LONGEST_REASON)
    return UpstreamRefill(state=refill_state(word), word=word, reason=reason)


# --- asking for a cancel -------------------------------------------------------------------------


def cancels(payload: object, asked: Sequence[str]) -> dict[str, UpstreamCancel]:
    """Answers per order, keyed by the ids asked for.

    Knows a list of `{"order": id, "cancel": 1 | {"error": …}}`, an object keyed by id,
    `{"cancel": id}` and `{"status": "Success"}`, the last for all that were asked for.
    Raises Unreadable when the answer is about none of them.
    """
    if (
        isinstance(payload, dict)
        and not {"cancel", "data"} & payload.keys()
        and is_yes(payload.get("status"))
    ):
        return dict.fromkeys(asked, UpstreamCancel(accepted=True))
    found: dict[str, UpstreamCancel] = {}
    for external_id, entry in _by_id(payload, asked, names=_ORDER_NAMES, told="cancel"):
        if external_id not in asked or external_id in found:
            continue
        answer = _cancel(entry, external_id)
        if answer is not None:
            found[external_id] = answer
    if not found:
        raise Unreadable("about none of the orders asked for")
    return found


def _cancel(entry: object, external_id: str) -> UpstreamCancel | None:
    """What is said about one order; None where it is neither yes nor no."""
    if isinstance(entry, dict):
        told = entry.get("cancel", entry.get("status"))
        error = told.get("error") if isinstance(told, dict) else entry.get("error")
    else:
        told, error = entry, None
    if text := error_text(error):
        return cancel_error(text) if says_no(text, http_status=200) else None
    if is_yes(told) or identifier(told) == external_id:
        return UpstreamCancel(accepted=True)
    if told is False or whole(told) == 0:
        return UpstreamCancel(accepted=False, reason=NO_REASON)
    return None


def cancel_error(text: str) -> UpstreamCancel:
    """A refusal's meaning: where the cancel was asked for before, it still holds."""
    return UpstreamCancel(accepted="already" in text.casefold() and _asked(text), reason=text)


def _asked(text: str) -> bool:
    return any(word in text.casefold() for word in ("request", "asked", "cancel", "queue"))


def is_about_one_cancel(text: str) -> bool:
    """Whether a refusal is about cancelling the order, and not about the call (the key, …)."""
    return "cancel" in text.casefold() or is_about_an_id(text)


# --- answers about several things ----------------------------------------------------------------


def _by_id(
    payload: object, asked: Sequence[str], *, names: Sequence[str], told: str
) -> Iterator[tuple[str, object]]:
    """Pairs of an id and what is said about it.

    `names`: under which an entry names its id; `told`: what an answer about one thing holds.
    """
    for name in ("data", "orders", "refills"):
        if isinstance(payload, dict) and isinstance(payload.get(name), dict | list):
            payload = payload[name]
    if isinstance(payload, dict) and told in payload:
        payload = [payload]
    if isinstance(payload, list):
        alone = len(payload) == len(asked) == 1
        for entry in payload:
            if not isinstance(entry, dict):
                continue
            # An entry without an id of its own is meant for what alone was asked for; the answer
            # to a cancel may be the order's id.
            found = _id_of(entry, names)
            if found is None:
                value = identifier(entry.get(told))
                found = value if value in asked else asked[0] if alone else None
            if found is not None:
                yield found, entry
    elif isinstance(payload, dict):
        for key, entry in payload.items():
            yield str(key), entry[0] if isinstance(entry, list) and len(entry) == 1 else entry


def _id_of(entry: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((found for name in names if (found := identifier(entry.get(name)))), None)


def _letters(word: object) -> str:
    return "".join(c for c in str(word).casefold() if c.isalnum())


def is_yes(value: object) -> bool:
    """Whether a value says yes: true, 1, "1", "Success" and the like."""
    return value is True or whole(value) == 1 or _letters(value) in _YES


def _numbered(value: object) -> str | None:
    """An id that holds a digit: "success" in its place is none."""
    found = identifier(value)
    return found if found and any(c.isdigit() for c in found) else None
