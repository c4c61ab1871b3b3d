"""What a restored backup needs: nothing may be sent on the word of a database that is behind."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction

from accounts.clock import from_now
from catalog.models import Dialect, Provider
from orders import dispatch
from orders.models import Order
from orders.statuses import Status


@transaction.atomic
def hold_everything() -> tuple[int, int]:
    """Put every provider into maintenance, and make what was being sent unconfirmed.

    Returns how many providers and orders that were. Staff release the providers. The one of
    sandbox keys was restored with the rest, and goes on.
    """
    real = Provider.objects.exclude(dialect=Dialect.PLAY)
    held = real.filter(maintenance=False).update(maintenance=True)
    # Whoever was sending them did so in another life: no lease of theirs holds any more.
    Order.objects.filter(status=Status.SENDING).update(lease_until=from_now(timedelta(seconds=-1)))
    return held, dispatch.sweep()
