"""Buying through the panel dialect: the action-style API that nearly every panel speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode

from catalog.providers import (
    NotOffered,
    ProviderOutOfFunds,
    ProviderRefused,
    ServiceList,
    UpstreamCancel,
    UpstreamOrder,
    UpstreamRefill,
    UpstreamStatus,
    aftersale,
    parsing,
    refusals,
)
from catalog.providers.transport import (
    LARGEST_ANSWER,
    LARGEST_LIST,
    MOST_IDS,
    Answer,
    Call,
    Transport,
)
from catalog.providers.values import Unreadable

# The order in which panels document an order's parameters; others follow as they come.
_FIRST_FIELDS = ("link", "quantity", "runs", "interval")
_RESERVED = frozenset({"key", "action", "service"})

T = TypeVar("T")


class PanelClient:
    """A provider that speaks the panel dialect (`catalog.providers.ProviderClient`).

    Time-outs in seconds. The key is sent in the form body and appears nowhere else.
    """

    # The dialect's idempotency key is an addition that few panels have, and the others pass over.
    repeats_safely = False

    def __init__(self, *, url: str, key: str, connect_timeout: float, read_timeout: float) -> None:
        self._url = url
        self._key = key
        self._transport = Transport(
            key=key, connect_timeout=connect_timeout, read_timeout=read_timeout
        )

    # --- asking ------------------------------------------------------------------------------

    def services(self) -> ServiceList:
        """See ProviderClient."""
        return self._read(parsing.service_list, {"action": "services"}, limit=LARGEST_LIST)

    def balance(self) -> tuple[Decimal, str]:
        """See ProviderClient."""
        return self._read(parsing.balance, {"action": "balance"})

    def statuses(self, external_ids: Sequence[str]) -> dict[str, UpstreamStatus]:
        """See ProviderClient. Raises ValueError for more than 100 ids: a mistake of ours."""
        return self._transport.reports_without_key(self._in_halves(self._statuses, external_ids))

    def _statuses(self, asked: Sequence[str]) -> dict[str, UpstreamStatus]:
        parameters = {"action": "status", **_one_or_many("order", asked)}
        return self._read(lambda payload: parsing.statuses(payload, asked), parameters)

    def refill_statuses(self, refill_ids: Sequence[str]) -> dict[str, UpstreamRefill]:
        """See ProviderClient. Raises ValueError for more than 100 ids: a mistake of ours."""
        found = self._in_halves(self._refill_statuses, refill_ids)
        return self._transport.reports_without_key(found)

    def _refill_statuses(self, asked: Sequence[str]) -> dict[str, UpstreamRefill]:
        parameters = {"action": "refill_status", **_one_or_many("refill", asked)}
        try:
            return self._read(lambda payload: aftersale.refill_statuses(payload, asked), parameters)
        except ProviderRefused as refused:
            if len(asked) > 1 or not refusals.is_about_an_id(str(refused)):
                raise
            return {asked[0]: aftersale.refill_error(str(refused))}

    def find(self, reference: str) -> str | None:
        """See ProviderClient: this dialect has no list of orders."""
        raise NotOffered("the panel dialect has no list of orders")

    # --- changing things at the provider -----------------------------------------------------

    def add(self, order: UpstreamOrder) -> str:
        """See ProviderClient. Raises ValueError for a field that would overwrite our own."""
        if taken := _RESERVED & order.fields.keys():
            raise ValueError(f"not a field of an order: {', '.join(sorted(taken))}")
        first = {name: order.fields[name] for name in _FIRST_FIELDS if name in order.fields}
        parameters = {"action": "add", "service": order.service, **first, **order.fields}
        return self._transport.once(self._call(parameters), self._bought)

    def _bought(self, answer: Answer) -> str:
        payload = answer.json()
        external_id = parsing.order_id(payload)
        if external_id is None:
            self._raise_if_refused(answer, payload)
        refusal = refusals.refusal(payload)
        failed = refusal is not None or refusals.speaks_of_failure(payload)
        if external_id is not None and answer.status < 300 and not failed:
            return external_id
        if external_id is None and refusal is not None:
            raise Unreadable(refusal)
        raise Unreadable("no order id that could be believed")

    def refill(self, external_id: str) -> str:
        """See ProviderClient."""
        return self._once(
            lambda payload: aftersale.refill(payload, external_id),
            {"action": "refill", "order": external_id},
        )

    def cancel(self, external_ids: Sequence[str]) -> dict[str, UpstreamCancel]:
        """See ProviderClient. Raises ValueError for more than 100 ids: a mistake of ours.

        A batch that was refused for one id, so that nothing was cancelled, is asked in halves.
        """
        return self._transport.reports_without_key(self._in_halves(self._cancel, external_ids))

    def _cancel(self, asked: Sequence[str]) -> dict[str, UpstreamCancel]:
        try:
            return self._once(
                lambda payload: aftersale.cancels(payload, asked),
                {"action": "cancel", "orders": ",".join(asked)},
            )
        except ProviderRefused as refused:
            if len(asked) > 1 or not aftersale.is_about_one_cancel(str(refused)):
                raise
            return {asked[0]: aftersale.cancel_error(str(refused))}

    # --- calling -----------------------------------------------------------------------------

    def _read(
        self,
        reader: Callable[[Any], T],
        parameters: Mapping[str, str],
        *,
        limit: int = LARGEST_ANSWER,
    ) -> T:
        """Ask for something that may be asked twice, and read the answer."""
        call = self._call(parameters, limit=limit)
        return self._transport.read(call, partial(self._without_refusal, reader))

    def _once(self, reader: Callable[[Any], T], parameters: Mapping[str, str]) -> T:
        """Wish for something after the sale, once, and read the answer."""
        return self._transport.once(self._call(parameters), partial(self._without_refusal, reader))

    def _without_refusal(self, reader: Callable[[Any], T], answer: Answer) -> T:
        payload = answer.json()
        self._raise_if_refused(answer, payload)
        refusal = refusals.refusal(payload)
        if refusal is not None or answer.status >= 300:
            raise Unreadable(refusal or "an error without a reason")
        try:
            return reader(payload)
        except ProviderRefused as refused:
            raise ProviderRefused(self._transport.without_key(str(refused))) from None

    def _raise_if_refused(self, answer: Answer, payload: object) -> None:
        """Raises ProviderBusy, ProviderRefused, ProviderOutOfFunds for a clear no."""
        text = refusals.refusal(payload)
        if text is None or not refusals.says_no(text, http_status=answer.status):
            return
        if refusals.is_about_haste(text):
            raise answer.busy(payload)
        text = self._transport.without_key(text)
        if refusals.is_about_funds(text) or answer.status == 402:
            raise ProviderOutOfFunds(text)
        raise ProviderRefused(text)

    def _in_halves(
        self, ask: Callable[[Sequence[str]], dict[str, T]], ids: Sequence[str]
    ) -> dict[str, T]:
        """Ask about all at once; some panels refuse the whole batch for one id that they do not
        know. Such an id is absent."""
        if len(ids) > MOST_IDS:
            raise ValueError(f"at most {MOST_IDS} ids a call")
        asked = list(dict.fromkeys(ids))
        if not asked:
            return {}
        try:
            return ask(asked)
        except ProviderRefused as refused:
            if not refusals.is_about_an_id(str(refused)):
                raise
            if len(asked) == 1:
                return {}
            half = len(asked) // 2
            return {**self._in_halves(ask, asked[:half]), **self._in_halves(ask, asked[half:])}

    def _call(self, parameters: Mapping[str, str], *, limit: int = LARGEST_ANSWER) -> Call:
        return Call(
            action=parameters["action"],
            method="POST",
            url=self._url,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            content=urlencode({"key": self._key, **parameters}),
            limit=limit,
        )


def _one_or_many(name: str, ids: Sequence[str]) -> dict[str, str]:
    """Old panels know only the single form."""
    return {name: ids[0]} if len(ids) == 1 else {f"{name}s": ",".join(ids)}
