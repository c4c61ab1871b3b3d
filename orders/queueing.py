"""Orders that share a link: one at a time for each service, as the service says.

Providers count what a link has at the start of an order and at its end: two orders that run at
once are both seen as delivered by half of the units. So an order waits while another one of the
same service and link runs, whoever it belongs to, or waits and is older. Nothing is stored: when
the one in front ends, the next one is simply no longer in the way of the dispatcher's claim.

What is in the way is a run or an ordinary order. A drip-feed itself is never sent (its
`send_after` is null), so it is in nobody's way.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.models import User
from catalog.models import SameLink, Service
from orders.models import CancelRequest, Order
from orders.models.requests import OPEN_CANCELS
from orders.play import among_its_own, in_the_way_of
from orders.statuses import RUNNING, Status

# As in the index "order_link_taken".
_HOLDS_OR_WAITS = sorted({Status.PENDING, *RUNNING})
# Service, link, and whose orders of it wait for each other: real ones for all real ones.
_Line = tuple[int, str, int | None]


def claimable(pending: QuerySet[Order]) -> QuerySet[Order]:
    """Those of the pending orders that need not wait for another of their link, and that nobody
    has asked to cancel.

    Exact only while the provider's row is locked: two claims at once could each see the other's
    order still waiting.
    """
    same = Order.objects.filter(
        link_key=OuterRef("link_key"), service=OuterRef("service"), send_after__isnull=False
    )
    in_front = same.filter(
        among_its_own(),
        Q(status__in=sorted(RUNNING)) | Q(status=Status.PENDING, pk__lt=OuterRef("pk")),
        status__in=_HOLDS_OR_WAITS,
    )
    unwanted = CancelRequest.objects.filter(order=OuterRef("pk"), state__in=OPEN_CANCELS)
    queues = ~Q(service__same_link=SameLink.OFF) & ~Q(link_key="")
    return pending.exclude(queues & Exists(in_front)).exclude(Exists(unwanted))


def waits_for(order: Order) -> Order | None:
    """The order that this one waits for: the one that runs, else the oldest that waits."""
    return waiting([order]).get(order.pk)


def waiting(orders: Sequence[Order]) -> dict[int, Order]:
    """Which of the orders wait for another of their link, and for which one (a run, where it is
    one of a drip-feed). One query; none where no order is pending."""
    pending = [
        order
        for order in orders
        if order.status == Status.PENDING and order.link_key and order.send_after is not None
    ]
    if not pending:
        return {}
    found = (
        Order.objects.filter(
            link_key__in={order.link_key for order in pending},
            service__in={order.service_id for order in pending},
            status__in=_HOLDS_OR_WAITS,
            send_after__isnull=False,
        )
        .exclude(service__same_link=SameLink.OFF)
        .order_by("pk")
    )
    of_link: dict[_Line, list[Order]] = {}
    for other in found:
        of_link.setdefault(_line(other), []).append(other)
    answer = {}
    for order in pending:
        others = of_link.get(_line(order), [])
        running = [other for other in others if other.status in RUNNING]
        older = [other for other in others if other.pk < order.pk]
        if in_front := running or older:
            answer[order.pk] = in_front[0]
    return answer


def is_taken(service: Service, link_key: str, *, by: User) -> bool:
    """Whether an order of this service and link, in the way of this customer's, runs or waits to
    run."""
    return bool(link_key) and (
        Order.objects.filter(
            in_the_way_of(by),
            link_key=link_key,
            service=service,
            status__in=_HOLDS_OR_WAITS,
            send_after__isnull=False,
        ).exists()
    )


def taken(links: Collection[tuple[int, str]], *, by: User) -> set[tuple[int, str]]:
    """Those of the links, each a service's id and a link key, that are taken for this customer;
    one query."""
    found = Order.objects.filter(
        in_the_way_of(by),
        link_key__in={key for _service, key in links if key},
        service__in={service for service, _key in links},
        status__in=_HOLDS_OR_WAITS,
        send_after__isnull=False,
    )
    return set(links) & set(found.order_by().values_list("service_id", "link_key").distinct())


def _line(order: Order) -> _Line:
    return order.service_id, order.link_key, order.customer_id if order.sandbox else None
