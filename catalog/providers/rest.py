"""Buying through the REST dialect: resources under `/api/v1`, idempotency keys, paging."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from catalog.order_types import FIELDS, FieldKind
from catalog.providers import (
    OutcomeUnknown,
    ProviderAnswerInvalid,
    ProviderBusy,
    ProviderError,
    ProviderOutOfFunds,
    ProviderRefused,
    ProviderUnreachable,
    ServiceList,
    UpstreamCancel,
    UpstreamOrder,
    UpstreamRefill,
    UpstreamStatus,
    aftersale,
    parsing,
    refusals,
    rest_parsing,
)
from catalog.providers.transport import (
    LARGEST_ANSWER,
    LARGEST_LIST,
    MOST_IDS,
    READ_PATIENCE,
    Answer,
    Call,
    Transport,
)
from catalog.providers.values import Unreadable

# A hundred orders fit on one page; a provider that gives fewer a page is asked for the others.
MOST_PAGES = 20
_OUR_FIELDS = frozenset({"service_id", "client_ref"})
# The answers after which an order may exist all the same: the first call with this key still
# runs, or it ended and was another order's.
_KEY_CODES = frozenset({"idempotency_key_in_use", "idempotency_key_reused"})

T = TypeVar("T")


class KeyRefused(ProviderRefused):
    """The provider does not accept our key, or it lacks the permission: staff must see to it."""


class RestClient:
    """A provider that speaks the REST dialect (`catalog.providers.ProviderClient`).

    `url` is the address up to `/api/v1`. Time-outs in seconds. The key is sent in `X-API-Key` and
    appears nowhere else. An order's reference is its idempotency key and its `client_ref`.
    """

    repeats_safely = True

    def __init__(self, *, url: str, key: str, connect_timeout: float, read_timeout: float) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._transport = Transport(
            key=key, connect_timeout=connect_timeout, read_timeout=read_timeout
        )

    # --- asking ------------------------------------------------------------------------------

    def services(self) -> ServiceList:
        """See ProviderClient."""
        return self._read(
            rest_parsing.service_list, self._get("services", "/services", limit=LARGEST_LIST)
        )

    def balance(self) -> tuple[Decimal, str]:
        """See ProviderClient."""
        return self._read(parsing.balance, self._get("balance", "/balance"))

    def statuses(self, external_ids: Sequence[str]) -> dict[str, UpstreamStatus]:
        """See ProviderClient. Raises ValueError for more than 100 ids: a mistake of ours."""
        asked = _asked(external_ids)
        found: dict[str, UpstreamStatus] = {}
        if not asked:
            return found
        until = time.monotonic() + READ_PATIENCE
        for page in range(1, MOST_PAGES + 1):
            query = {"ids": ",".join(asked), "per_page": MOST_IDS, "page": page}
            listed = self._read(rest_parsing.page, self._get("status", "/orders", query))
            reports = rest_parsing.statuses(listed, asked)
            found = {**reports, **found}
            if page == 1 and listed.items and not reports:
                raise ProviderAnswerInvalid("about none of the orders asked for")
            if listed.is_last or len(found) == len(asked) or time.monotonic() > until:
                break
        return self._transport.reports_without_key(found)

    def refill_statuses(self, refill_ids: Sequence[str]) -> dict[str, UpstreamRefill]:
        """See ProviderClient. Raises ValueError for more than 100 ids: a mistake of ours.

        One call a refill; those that 45 s do not suffice for are absent.
        """
        found = self._each(self._refill_status, _asked(refill_ids))
        return self._transport.reports_without_key(found)

    def _refill_status(self, refill_id: str) -> UpstreamRefill:
        call = self._get("refill_status", f"/refills/{quote(refill_id, safe='')}")
        try:
            return self._read(partial(rest_parsing.refill_report, refill_id=refill_id), call)
        except KeyRefused:
            raise
        except ProviderRefused as refused:
            return aftersale.refill_error(str(refused))

    def find(self, reference: str) -> str | None:
        """See ProviderClient."""
        query = {"client_ref": reference, "per_page": MOST_IDS}
        listed = self._read(rest_parsing.page, self._get("find", "/orders", query))
        try:
            return rest_parsing.order_with(listed, reference)
        except Unreadable as reason:
            raise ProviderAnswerInvalid(str(reason)) from None

    # --- changing things at the provider -----------------------------------------------------

    def add(self, order: UpstreamOrder) -> str:
        """See ProviderClient. Raises ValueError for a field that would overwrite our own."""
        if taken := _OUR_FIELDS & order.fields.keys():
            raise ValueError(f"not a field of an order: {', '.join(sorted(taken))}")
        # The same order must be the same body at every attempt, or its key would be refused.
        body = {"service_id": _number_or_text(order.service)}
        for name, text in order.fields.items():
            rule = FIELDS.get(name)
            is_number = rule is not None and rule.kind is FieldKind.NUMBER
            body[name] = _number_or_text(text) if is_number else text
        headers = {}
        if order.reference:
            body["client_ref"] = order.reference
            headers["Idempotency-Key"] = order.reference
        return self._transport.once(self._post("add", "/orders", body, headers), self._bought)

    def _bought(self, answer: Answer) -> str:
        payload = answer.json()
        external_id = rest_parsing.order_id(payload)
        if external_id is None:
            self._raise_if_refused(answer, payload)
        elif answer.status < 300 and refusals.refusal(payload) is None:
            return external_id
        raise Unreadable(rest_parsing.message(payload) or "no order id that could be believed")

    def refill(self, external_id: str) -> str:
        """See ProviderClient."""
        call = self._post("refill", f"/orders/{quote(external_id, safe='')}/refill")
        return self._once(partial(aftersale.refill, external_id=external_id), call)

    def cancel(self, external_ids: Sequence[str]) -> dict[str, UpstreamCancel]:
        """See ProviderClient. Raises ValueError for more than 100 ids: a mistake of ours.

        One call an order; those that 45 s do not suffice for are absent.
        """
        return self._each(self._cancel, _asked(external_ids))

    def _cancel(self, external_id: str) -> UpstreamCancel:
        call = self._post("cancel", f"/orders/{quote(external_id, safe='')}/cancel")
        try:
            self._once(partial(rest_parsing.cancelled, external_id=external_id), call)
        except KeyRefused:
            raise
        except ProviderRefused as refused:
            return aftersale.cancel_error(str(refused))
        return UpstreamCancel(accepted=True)

    # --- calling -----------------------------------------------------------------------------

    def _each(self, ask: Callable[[str], T], ids: Sequence[str]) -> dict[str, T]:
        """Ask about one after the other, for 45 s at most.

        One whose answer cannot be used is absent. Where the provider cannot be asked at all (no
        connection, too many requests, our key refused) the others are not tried. Raises what went
        wrong when nothing was answered.
        """
        found: dict[str, T] = {}
        failure: ProviderError | None = None
        until = time.monotonic() + READ_PATIENCE
        for one in ids:
            try:
                found[one] = ask(one)
            except (OutcomeUnknown, ProviderAnswerInvalid) as error:
                failure = error
            except (ProviderBusy, ProviderUnreachable, KeyRefused) as error:
                failure = error
                break
            if time.monotonic() > until:
                break
        if failure is not None and not found:
            raise failure
        return found

    def _read(self, reader: Callable[[Any], T], call: Call) -> T:
        """Ask for something that may be asked twice, and read the answer."""
        return self._transport.read(call, partial(self._without_refusal, reader))

    def _once(self, reader: Callable[[Any], T], call: Call) -> T:
        """Wish for something after the sale, once, and read the answer."""
        return self._transport.once(call, partial(self._without_refusal, reader))

    def _without_refusal(self, reader: Callable[[Any], T], answer: Answer) -> T:
        payload = answer.json()
        self._raise_if_refused(answer, payload)
        if answer.status >= 300:
            raise Unreadable(rest_parsing.message(payload) or "an error without a reason")
        try:
            return reader(payload)
        except ProviderRefused as refused:
            raise ProviderRefused(self._transport.without_key(str(refused))) from None

    def _raise_if_refused(self, answer: Answer, payload: object) -> None:
        """Raises ProviderBusy, ProviderRefused, ProviderOutOfFunds for a clear no.

        With 5xx nothing is one: idempotency keys make asking again cheap, and guessing is not.
        """
        if refusals.refusal(payload) is None or answer.status >= 500:
            return
        text, code = rest_parsing.message(payload), rest_parsing.code(payload)
        if code in _KEY_CODES or (answer.status == 409 and not code):
            return
        if not refusals.says_no(text, http_status=answer.status):
            return
        if code == "rate_limited" or refusals.is_about_haste(text):
            raise answer.busy(payload)
        text = self._transport.without_key(text)
        if answer.status in (401, 403):
            raise KeyRefused(f"our key is not accepted (HTTP {answer.status}): {text}")
        if code == "insufficient_balance" or refusals.is_about_funds(text) or answer.status == 402:
            raise ProviderOutOfFunds(text)
        raise ProviderRefused(text)

    def _get(
        self,
        action: str,
        path: str,
        query: Mapping[str, object] | None = None,
        *,
        limit: int = LARGEST_ANSWER,
    ) -> Call:
        url = f"{self._url}{path}"
        return Call(
            action=action,
            method="GET",
            url=f"{url}?{urlencode(query, safe=',')}" if query else url,
            headers={"X-API-Key": self._key},
            limit=limit,
        )

    def _post(
        self,
        action: str,
        path: str,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Call:
        return Call(
            action=action,
            method="POST",
            url=f"{self._url}{path}",
            headers={
                "X-API-Key": self._key,
                "Content-Type": "application/json",
                **(headers or {}),
            },
            content=json.dumps(body or {}, ensure_ascii=False),
        )


def _asked(ids: Sequence[str]) -> list[str]:
    if len(ids) > MOST_IDS:
        raise ValueError(f"at most {MOST_IDS} ids a call")
    return list(dict.fromkeys(ids))


def _number_or_text(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else text
