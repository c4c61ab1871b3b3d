"""Buying through the panel dialect: the action-style API that nearly every panel speaks.

Each call is one POST on a connection of its own. That costs a handshake, and buys certainty: a
connection that was kept open may die under a request, and then nobody knows whether it was sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from ssl import SSLContext
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx2
import stamina
import structlog

from catalog.providers import (
    OutcomeUnknown,
    ProviderAnswerInvalid,
    ProviderBusy,
    ProviderOutOfFunds,
    ProviderRefused,
    ProviderUnreachable,
    ServiceList,
    UpstreamOrder,
    UpstreamStatus,
    parsing,
    refusals,
)
from catalog.providers.values import Unreadable, load, seconds

log = structlog.get_logger(__name__)

MOST_IDS = 100
LARGEST_LIST = 20 * 1024 * 1024
LARGEST_ANSWER = 1024 * 1024
READ_ATTEMPTS = 3
READ_PATIENCE = 45.0  # seconds after which a read is not begun again

# The order in which panels document an order's parameters; others follow as they come.
_FIRST_FIELDS = ("link", "quantity", "runs", "interval")
_RESERVED = frozenset({"key", "action", "service"})

T = TypeVar("T")


class _Lost(Exception):
    """The request may have been sent, and no whole answer came back."""


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    retry_after: str | None


@lru_cache(maxsize=1)
def _tls() -> SSLContext:
    """Read once: loading the certificates takes longer than most calls."""
    return httpx2.create_ssl_context(trust_env=False)


class PanelClient:
    """A provider that speaks the panel dialect (`catalog.providers.ProviderClient`).

    Time-outs in seconds. The key is sent in the form body and appears nowhere else.
    """

    def __init__(self, *, url: str, key: str, connect_timeout: float, read_timeout: float) -> None:
        self._url = url
        self._key = key
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout

    def services(self) -> ServiceList:
        """See ProviderClient."""
        return self._read(parsing.service_list, {"action": "services"}, limit=LARGEST_LIST)

    def balance(self) -> tuple[Decimal, str]:
        """See ProviderClient."""
        return self._read(parsing.balance, {"action": "balance"})

    def statuses(self, external_ids: Sequence[str]) -> dict[str, UpstreamStatus]:
        """See ProviderClient. Raises ValueError for more than 100 ids: a mistake of ours."""
        if len(external_ids) > MOST_IDS:
            raise ValueError(f"at most {MOST_IDS} ids a call")
        asked = list(dict.fromkeys(external_ids))
        if not asked:
            return {}
        # Old panels know only the single form.
        ids = {"order": asked[0]} if len(asked) == 1 else {"orders": ",".join(asked)}
        try:
            return self._read(
                lambda payload: parsing.statuses(payload, asked), {"action": "status", **ids}
            )
        except ProviderRefused as refused:
            if not refusals.is_about_an_order_id(str(refused)):
                raise
            if len(asked) == 1:
                return {}
            # Some panels refuse the whole batch for one id that they do not know.
            half = len(asked) // 2
            return {**self.statuses(asked[:half]), **self.statuses(asked[half:])}

    def add(self, order: UpstreamOrder) -> str:
        """See ProviderClient. Raises ValueError for a field that would overwrite our own."""
        if taken := _RESERVED & order.fields.keys():
            raise ValueError(f"not a field of an order: {', '.join(sorted(taken))}")
        first = {name: order.fields[name] for name in _FIRST_FIELDS if name in order.fields}
        parameters = {"action": "add", "service": order.service, **first, **order.fields}
        try:
            answer = self._post(parameters, limit=LARGEST_ANSWER)
        except _Lost as error:
            raise OutcomeUnknown(str(error)) from None
        try:
            payload = self._understood(answer)
        except Unreadable as error:
            raise OutcomeUnknown(f"HTTP {answer.status}: {error}") from None
        external_id = parsing.order_id(payload)
        refusal = refusals.refusal(payload)
        failed = refusal is not None or refusals.speaks_of_failure(payload)
        if external_id is not None and answer.status < 300 and not failed:
            return external_id
        if external_id is None and refusal is not None:
            raise OutcomeUnknown(f"HTTP {answer.status}: {self._without_key(refusal)}")
        raise OutcomeUnknown(f"HTTP {answer.status}: no order id that could be believed")

    # --- calling -----------------------------------------------------------------------------

    def _read(
        self,
        reader: Callable[[Any], T],
        parameters: Mapping[str, str],
        *,
        limit: int = LARGEST_ANSWER,
    ) -> T:
        """Ask for something that may be asked twice, and read the answer."""
        for attempt in stamina.retry_context(
            on=(ProviderUnreachable, ProviderAnswerInvalid),
            attempts=READ_ATTEMPTS,
            timeout=READ_PATIENCE,
        ):
            with attempt:
                try:
                    answer = self._post(parameters, limit=limit)
                    payload = self._understood(answer)
                    refusal = refusals.refusal(payload)
                    if refusal is not None or answer.status >= 300:
                        raise Unreadable(refusal or "an error without a reason")
                    return reader(payload)
                except _Lost as error:
                    raise ProviderAnswerInvalid(str(error)) from None
                except Unreadable as error:
                    reason = f"HTTP {answer.status}: {self._without_key(str(error))}"
                    raise ProviderAnswerInvalid(reason) from None
        raise AssertionError("a retry ends by returning or raising")

    def _understood(self, answer: _Answer) -> Any:
        """The JSON of the answer, unless it is a clear no.

        Raises ProviderBusy, ProviderRefused, ProviderOutOfFunds; Unreadable without JSON.
        """
        try:
            payload = load(answer.body)
        except Unreadable:
            if answer.status == 429:
                raise self._busy(answer, {}) from None
            raise
        if answer.status == 429:
            raise self._busy(answer, payload)
        text = refusals.refusal(payload)
        if text is None or parsing.order_id(payload) is not None:
            return payload
        if not refusals.says_no(text, http_status=answer.status):
            return payload
        if refusals.is_about_haste(text):
            raise self._busy(answer, payload)
        if refusals.is_about_funds(text) or answer.status == 402:
            raise ProviderOutOfFunds(self._without_key(text))
        raise ProviderRefused(self._without_key(text))

    def _busy(self, answer: _Answer, payload: object) -> ProviderBusy:
        told = payload.get("retry_after") if isinstance(payload, dict) else None
        wait = seconds(answer.retry_after)
        return ProviderBusy(
            f"HTTP {answer.status}: too many requests",
            retry_after=seconds(told) if wait is None else wait,
        )

    def _without_key(self, text: str) -> str:
        """A provider may repeat the key in what it says."""
        return text.replace(self._key, "***") if self._key else text

    def _post(self, parameters: Mapping[str, str], *, limit: int) -> _Answer:
        """One request, never repeated, no redirect followed, the body read up to `limit` bytes.

        Raises ProviderUnreachable when no connection was made, and _Lost for everything that
        went wrong later. The library's exceptions hold the request, and with it the key: they are
        not chained.
        """
        begun = time.monotonic()
        status: int | None = None
        request = self._request(parameters)
        try:
            with self._open() as client:
                response = client.send(request, stream=True)
                try:
                    status = response.status_code
                    body = _body(response, limit=limit, until=begun + self._longest)
                    return _Answer(status, body, response.headers.get("Retry-After"))
                finally:
                    response.close()
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol) as error:
            raise ProviderUnreachable(f"no connection ({type(error).__name__})") from None
        except _Lost:
            raise
        except Exception as error:
            # What is not known to have happened before the sending counts as after it.
            raise _Lost(f"no whole answer ({type(error).__name__})") from None
        finally:
            log.info(
                "provider_call",
                host=request.url.host,
                action=parameters["action"],
                status=status,
                milliseconds=round((time.monotonic() - begun) * 1000),
            )

    @property
    def _longest(self) -> float:
        """Seconds in which an answer must be there; a drip of bytes does not prolong it."""
        return self._connect_timeout + self._read_timeout

    def _open(self) -> httpx2.Client:
        timeout = httpx2.Timeout(self._read_timeout, connect=self._connect_timeout)
        # trust_env off: no proxy and no .netrc of the machine stands between us and a provider.
        return httpx2.Client(timeout=timeout, verify=_tls(), trust_env=False)

    def _request(self, parameters: Mapping[str, str]) -> httpx2.Request:
        try:
            return httpx2.Request(
                "POST",
                self._url,
                content=urlencode({"key": self._key, **parameters}),
                headers={
                    "Accept": "application/json",
                    "Accept-Encoding": "gzip",
                    "Connection": "close",
                    "Content-Type": "application/x-www-form-urlencoded",
                    "User-Agent": "storefront/1",
                },
            )
        except httpx2.InvalidURL:
            raise ProviderUnreachable("the API address is not a usable URL") from None


def _body(response: httpx2.Response, *, limit: int, until: float) -> bytes:
    chunks, size = [], 0
    for chunk in response.iter_bytes():
        size += len(chunk)
        if size > limit:
            raise _Lost(f"HTTP {response.status_code}: the answer is larger than {limit} bytes")
        if time.monotonic() > until:
            raise _Lost(f"HTTP {response.status_code}: the answer took too long")
        chunks.append(chunk)
    return b"".join(chunks)
