"""A process of the store that dies where it is told to.

`python -m tests.faults.worker JOB PLACE ROW`: JOB is what it does with the row of that id: `send`
or `follow` a provider's orders, `sell` a service, run a provider's `dispatch_job`. PLACE is where
it kills itself (SIGKILL: nothing is cleaned up, no answer is given); `nowhere` lets it come to its
end.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import django


def die(*_args: Any, **_kwargs: Any) -> None:
    """What SIGKILL, an empty memory or a power cut do."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(job: str, place: str, row: int) -> None:
    django.setup()
    PLACES[place]()
    JOBS[job](row)


# --- what it does --------------------------------------------------------------------------------


def send(provider: int) -> None:
    from catalog.models import Provider
    from orders import dispatch

    dispatch.sweep()
    dispatch.dispatch(Provider.objects.get(pk=provider))


def follow(provider: int) -> None:
    from catalog.models import Provider
    from orders import tracking

    tracking.poll(Provider.objects.get(pk=provider))


def sell(service: int) -> None:
    from accounts.models import Wallet
    from orders.checkout import place_order
    from orders.models import Source
    from orders.requests import OrderDraft

    wallet = Wallet.objects.select_related("user").get()
    values = {"link": "https://instagram.com/someone", "quantity": 1000}
    place_order(
        customer=wallet.user,
        currency=wallet.currency,
        draft=OrderDraft(service, values),
        source=Source.REST,
        idempotency_key="the-key",
    )


def dispatch_job(provider: int) -> None:
    """As the queue's worker runs it."""
    from orders import tasks

    tasks.dispatch_provider(provider)


def begin_runs(_row: int) -> None:
    from orders import dripfeed

    dripfeed.run_due()


JOBS: dict[str, Callable[[int], None]] = {
    "send": send,
    "follow": follow,
    "sell": sell,
    "dispatch_job": dispatch_job,
    "begin_runs": begin_runs,
}


# --- where it dies -------------------------------------------------------------------------------


def nowhere() -> None:
    pass


def claimed() -> None:
    """The orders are claimed; no byte has been sent."""
    from orders import dispatch

    dispatch._buy = die  # type: ignore[assignment]


def answered() -> None:
    """The provider has taken the order and said so; nothing is written down."""
    from orders import dispatch

    buy = dispatch._buy

    def buy_and_die(*args: Any) -> str:
        external_id = buy(*args)
        die()
        return external_id

    dispatch._buy = buy_and_die


def recorded() -> None:
    """The answer is written down; the job has not come to its end."""
    from orders import dispatch

    record = dispatch._record

    def record_and_die(*args: Any) -> None:
        record(*args)
        die()

    dispatch._record = record_and_die


def asked() -> None:
    """The provider has reported; nothing is applied."""
    from orders import tracking

    tracking._apply_all = die  # type: ignore[assignment]


def paying_back() -> None:
    """The order is moved, its refund is not posted, nothing is committed."""
    from accounts import ledger

    ledger.refund = die  # type: ignore[assignment]


def charged() -> None:
    """The wallet is charged and the order written; the job is not queued, nothing committed."""
    from orders import checkout

    checkout.async_task = die


def run_made() -> None:
    """The run of a drip-feed is made; the time of the next one is not set, nothing committed."""
    from orders import dripfeed

    make_run = dripfeed._make_run

    def make_and_die(*args: Any) -> Any:
        make_run(*args)
        die()

    dripfeed._make_run = make_and_die


def run_begun() -> None:
    """The run is committed, with its job; nothing else of the tick has happened."""
    from orders import dripfeed

    begin = dripfeed._begin

    def begin_and_die(*args: Any) -> Any:
        begin(*args)
        die()

    dripfeed._begin = begin_and_die  # type: ignore[assignment]


PLACES: dict[str, Callable[[], None]] = {
    place.__name__: place
    for place in (
        nowhere,
        claimed,
        answered,
        recorded,
        asked,
        paying_back,
        charged,
        run_made,
        run_begun,
    )
}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
