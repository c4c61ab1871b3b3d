"""Jobs of the fronts: safe to run twice, at the same time, and to be killed anywhere."""

from __future__ import annotations

from django_q.tasks import async_task

from accounts import jobs
from storefront.webhooks import catalogue, mails, sending


def deliver_webhooks() -> None:
    """Send what is due to the customers' endpoints; woken by each event, and by the clock."""
    with jobs.only("deliver_webhooks") as may_run:
        if may_run:
            sending.deliver()
    # What found us at work was committed before: it is seen here.
    if may_run and sending.due().exists():
        async_task("storefront.tasks.deliver_webhooks", q_options={"save": False})


def tell_webhook_disabled(endpoint_id: int) -> None:
    """Write to the customer whose endpoint was switched off; queued with its switching off."""
    mails.tell_disabled(endpoint_id)


def announce_services() -> None:
    """Tell the customers' webhooks of services that have changed."""
    with jobs.only("announce_services") as may_run:
        if may_run:
            catalogue.announce()
