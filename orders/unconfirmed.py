"""Orders of which we do not know whether the provider has them: settled by staff, with a reason."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django_q.tasks import async_task

from accounts.alerts import resolve
from accounts.models import User
from orders.cancellations import ActionRefused
from orders.clock import from_now
from orders.dispatch import FIRST_CHECK, is_provider_id
from orders.models import Order
from orders.statuses import Status, move


def mark_sent_as(order: Order, external_id: str, *, actor: User, reason: str) -> None:
    """Staff found the order at the provider: link it and follow it from now on.

    Raises ActionRefused, also when another order has this id.
    """
    external_id = external_id.strip()
    if not is_provider_id(external_id):
        raise ActionRefused(_("Enter the provider's order id."))
    try:
        with transaction.atomic():
            _leave(
                order,
                Status.PROCESSING,
                external_id=external_id,
                sent_at=Now(),
                next_check_at=from_now(FIRST_CHECK),
                failure=_("%(staff)s: %(reason)s") % {"staff": actor, "reason": reason},
            )
    except IntegrityError:
        raise ActionRefused(_("Another order has this provider's id.")) from None
    resolve("order_unconfirmed", subject=order.subject)


def send_again(order: Order, *, actor: User, reason: str) -> None:
    """Staff made sure that nothing was bought: back into the queue. Raises ActionRefused."""
    with transaction.atomic():
        _leave(
            order,
            Status.PENDING,
            claim=None,
            send_after=Now(),
            failure=_("%(staff)s: %(reason)s") % {"staff": actor, "reason": reason},
        )
        async_task("orders.tasks.dispatch_provider", order.provider_id, q_options={"save": False})
    resolve("order_unconfirmed", subject=order.subject)


def _leave(order: Order, to: Status, **changes: object) -> None:
    if order.status != Status.UNCONFIRMED:
        raise ActionRefused(_("The order is not unconfirmed."))
    changes["failure"] = str(changes["failure"])[:500]
    if not move(order, to, **changes):
        raise ActionRefused(_("The order has changed meanwhile. Look at it again."))
