"""Orders that share a link: one runs at a time, the next begins by itself."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from catalog.models import SameLink
from catalog.order_types import ServiceType
from orders import dispatch, queueing, tasks
from orders.models import CancelRequest, Order
from orders.statuses import RUNNING, Status
from tests.factories import OrderFactory, ServiceFactory
from tests.orders.conftest import MENU, make_due, queued

pytestmark = pytest.mark.django_db

KEY = "instagram:post:abc"


@pytest.fixture
def service(provider):
    """A service of the sandbox whose orders queue by their link."""
    item = MENU[ServiceType.DEFAULT]
    return ServiceFactory(provider=provider, external_id=str(item.id), same_link=SameLink.QUEUE)


def place(service, *, key=KEY, **columns):
    return OrderFactory(service=service, link_key=key, **columns)


def statuses():
    return list(Order.objects.order_by("pk").values_list("status", flat=True))


def send(service):
    return dispatch.dispatch(service.provider)


def test_orders_of_one_link_are_sent_one_after_the_other(sandbox, service):
    for _ in range(3):
        place(service)

    for already in range(3):
        assert (send(service), send(service)) == (1, 0)
        assert statuses().count(Status.PENDING) == 2 - already
        running = Order.objects.get(status=Status.PROCESSING)
        Order.objects.filter(pk=running.pk).update(status=Status.COMPLETED)

    ids = Order.objects.order_by("pk").values_list("external_id", flat=True)
    assert list(ids) == [str(order.id) for order in sandbox.orders]


def test_next_one_begins_when_tracking_sees_the_end(sandbox, service):
    place(service)
    place(service)
    send(service)
    sandbox.complete(sandbox.orders[0].id)
    make_due()

    tasks.track_provider(service.provider_id)

    assert queued() == [("dispatch_provider", service.provider_id)]
    assert send(service) == 1


@pytest.mark.parametrize("status", sorted(RUNNING))
def test_running_order_holds_its_link(service, status):
    place(service, status=status)
    waits = place(service)

    assert list(dispatch.due()) == []
    assert queueing.is_taken(service, KEY, by=User())
    assert queueing.waits_for(waits) is not None


@pytest.mark.parametrize("status", sorted(set(Status) - RUNNING - {Status.PENDING}))
def test_ended_order_holds_nothing(service, status):
    place(service, status=status)
    free = place(service)

    assert list(dispatch.due()) == [free]
    assert queueing.waits_for(free) is None


def test_other_links_other_services_and_unknown_links_do_not_wait(service):
    other = ServiceFactory(provider=service.provider, same_link=SameLink.QUEUE)
    place(service, status=Status.PROCESSING)
    place(service, key="", status=Status.PROCESSING)
    free = [place(service, key="instagram:post:other"), place(other), place(service, key="")]

    assert list(dispatch.due().order_by("pk")) == free
    assert queueing.waiting(free) == {}


def test_service_may_switch_the_queue_off(service):
    place(service)
    place(service)
    service.same_link = SameLink.OFF
    service.save()

    assert dispatch.due().count() == 2
    assert queueing.waiting(list(Order.objects.all())) == {}
    assert send(service) == 2


def test_refusing_service_queues_what_slips_through(service):
    service.same_link = SameLink.REFUSE
    service.save()
    place(service)
    place(service)

    assert send(service) == 1


def test_order_that_waits_holds_nobody_else_up(sandbox, service):
    place(service, status=Status.PROCESSING)
    place(service)
    free = place(service, key="instagram:post:other")

    assert send(service) == 1

    free.refresh_from_db()
    assert free.status == Status.PROCESSING


def test_dripfeed_holds_its_link_by_its_runs_alone(service):
    parent = place(service, status=Status.IN_PROGRESS, send_after=None)
    free = place(service)
    assert list(dispatch.due()) == [free]
    assert queueing.waiting([parent, free]) == {}

    run = place(service, parent=parent, run=1, status=Status.PROCESSING)

    assert list(dispatch.due()) == []
    assert queueing.waits_for(free) == run


def test_orders_at_a_substitute_hold_the_link_too(service):
    elsewhere = ServiceFactory(external_id="9")
    place(service, status=Status.PROCESSING, sent_service=elsewhere, provider=elsewhere.provider)
    place(service)

    assert list(dispatch.due()) == []


def test_order_to_be_cancelled_is_not_claimed(service):
    CancelRequest.objects.create(order=place(service))

    assert list(dispatch.due()) == []


def test_waiting_names_the_running_order_or_else_the_oldest(service):
    first, second, third = (place(service) for _ in range(3))
    assert queueing.waiting([first, second, third]) == {second.pk: first, third.pk: first}

    Order.objects.filter(pk=second.pk).update(status=Status.PROCESSING)

    orders = list(Order.objects.order_by("pk"))
    assert queueing.waiting(orders) == {first.pk: second, third.pk: second}


def test_waiting_is_one_query_however_many_and_none_without_pending_ones(service):
    def queries(orders):
        with CaptureQueriesContext(connection) as captured:
            queueing.waiting(orders)
        return len(captured)

    orders = [place(service, key=f"instagram:post:{number % 2}") for number in range(5)]
    assert (queries(orders[:1]), queries(orders)) == (1, 1)
    assert queries([place(service, status=Status.COMPLETED)]) == 0


def test_link_is_free_without_orders_and_without_a_key(service):
    assert not queueing.is_taken(service, KEY, by=User())
    place(service, key="")
    assert not queueing.is_taken(service, "", by=User())
    place(service)
    assert queueing.is_taken(service, KEY, by=User())
