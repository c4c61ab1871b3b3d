"""What must hold after every fault: nothing lost, nothing bought twice, the books add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from decimal import Decimal

from django.db import connection
from django.db.models import Sum

from accounts.models import Alert, EntryKind, Posting, Wallet
from accounts.money import ZERO
from catalog.sandbox.state import Taken
from orders.models import Order
from orders.statuses import FINAL, Status
from tests.books import breaches
from tests.faults.matrix.load import Load
from tests.processes import eventually
from tests.sandbox import SandboxInTest

QUIET_WITHIN = 60.0


def is_quiet() -> bool:
    """Nothing is under way any more, but for what waits for evidence or staff."""
    resting = {*FINAL, Status.UNCONFIRMED}
    return not Order.objects.exclude(status__in=resting).exists()


def become_quiet(within: float = QUIET_WITHIN) -> None:
    """Wait until every order has ended, or is known to be unknown."""
    if not eventually(is_quiet, within=within):
        found = Counter(Order.objects.values_list("status", flat=True))
        raise AssertionError(f"not quiet after {within:.0f} s: {dict(found)}")


def prove(load: Load, wallet: Wallet, provider: SandboxInTest) -> dict[str, int]:
    """Every invariant that can be seen from outside. Returns how many orders stand where.

    Raises AssertionError with what is broken.
    """
    findings = breaches()
    assert not findings, findings
    orders = list(Order.objects.filter(wallet=wallet).order_by("pk"))
    _acknowledged(load, orders)
    _bought_once(orders, [taken for taken in provider.orders if load.is_its(taken.link)])
    _paid_once(orders, wallet)
    return {str(status): number for status, number in Counter(o.status for o in orders).items()}


def _acknowledged(load: Load, orders: Collection[Order]) -> None:
    by_key = {order.idempotency_key: order for order in orders}
    assert len(by_key) == len(orders), "two orders under one key"
    for number, order_id in load.orders.items():
        order = by_key.get(f"{load.name}-{number}")
        assert order, f"order {order_id} was acknowledged and is lost"
        assert order.pk == order_id, f"order {order_id} was acknowledged, {order.pk} stands there"
        assert order.link == load.link(number)


def _bought_once(orders: Collection[Order], taken_orders: Collection[Taken]) -> None:
    bought = Counter(taken.link for taken in taken_orders)
    twice = [link for link, times in bought.items() if times > 1]
    assert not twice, f"bought twice: {twice}"
    upstream = {str(taken.id): taken.link for taken in taken_orders}
    unknown = {order.link for order in orders if order.status == Status.UNCONFIRMED}
    told = set(
        Alert.objects.filter(code="order_unconfirmed", resolved_at=None).values_list(
            "subject", flat=True
        )
    )
    for order in orders:
        if order.external_id:
            assert upstream.get(order.external_id) == order.link, f"{order} is linked to another"
        if order.status == Status.UNCONFIRMED:
            assert order.refunded == ZERO, f"{order} was paid back while unknown"
            assert order.subject in told, f"{order} is in front of nobody"
    linked = {order.link for order in orders if order.external_id}
    lost = set(bought) - linked - unknown
    assert not lost, f"bought, and neither linked nor in front of staff: {lost}"


def _paid_once(orders: Collection[Order], wallet: Wallet) -> None:
    for order in orders:
        if order.status in (Status.CANCELLED, Status.FAILED, Status.REFUNDED):
            assert order.refunded == order.charge, f"{order} ended without its money"
        if order.status == Status.COMPLETED:
            assert order.refunded == ZERO, f"{order} was delivered and paid back"
    wallet.refresh_from_db()
    net = sum((order.net_charge for order in orders), ZERO)
    given = Posting.objects.filter(wallet=wallet, entry__kind=EntryKind.ADJUSTMENT).aggregate(
        total=Sum("amount")
    )["total"] or Decimal(0)
    assert wallet.balance == given - net, f"balance {wallet.balance}, should be {given - net}"


def reconnect() -> None:
    """Forget a connection that the fault has cut."""
    connection.close()
