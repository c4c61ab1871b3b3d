"""Staff's queue of refills, and the cancellations that the machine carries out."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from orders import dripfeed, refills
from orders.models import CancelRequest, CancelState, OrderEvent, Refill, RefillState
from orders.moves import by_customer
from orders.statuses import Status
from tests.factories import OrderFactory, ServiceFactory, StaffFactory, UserFactory
from tests.orders.conftest import open_alerts

pytestmark = pytest.mark.django_db

REFILLS = "/admin/orders/refill/"
CANCELS = "/admin/orders/cancelrequest/"


@pytest.fixture
def staff(client):
    staff = StaffFactory()
    client.force_login(staff)
    return staff


def refill_of(state=RefillState.MANUAL, **columns):
    order = OrderFactory(
        status=Status.COMPLETED, completed_at=timezone.now(), guarantee_days=30, sent_at=None
    )
    return Refill.objects.create(order=order, state=state, **columns)


@pytest.fixture
def manual():
    order = OrderFactory(
        status=Status.COMPLETED,
        completed_at=timezone.now(),
        guarantee_days=30,
        service=ServiceFactory(refill_by="staff"),
    )
    return refills.request(order, by=by_customer(order.customer))


def page(refill):
    return reverse("admin:orders_refill_change", args=[refill.pk])


def action(name, refill):
    return reverse(f"admin:orders_refill_{name}", args=[refill.pk])


def listed(client, **query):
    return list(client.get(REFILLS, query).context["cl"].result_list)


def offered(client, refill):
    text = client.get(page(refill)).content.decode()
    return [name for name in ("complete", "reject") if action(name, refill) in text]


def test_list_shows_open_refills_staffs_own_first_and_then_by_age(client, staff):
    waiting = refill_of(RefillState.WAITING)
    asked = refill_of(RefillState.ASKED)
    ours, later = refill_of(), refill_of()
    done = refill_of(RefillState.COMPLETED)

    assert listed(client) == [ours, later, waiting, asked]
    assert listed(client, state="settled") == [done]
    assert set(listed(client, state="all")) == {ours, later, waiting, asked, done}


def test_list_leads_to_the_order(client, staff, manual):
    text = client.get(REFILLS).content.decode()

    assert reverse("admin:orders_order_change", args=[manual.order_id]) in text


@pytest.mark.parametrize(
    ("address", "make"),
    [
        (REFILLS, refill_of),
        (CANCELS, lambda: CancelRequest.objects.create(order=OrderFactory(sent=True))),
    ],
)
def test_lists_take_as_many_queries_for_one_as_for_three(client, staff, address, make):
    make()
    client.get(address)
    with CaptureQueriesContext(connection) as one:
        client.get(address)
    make()
    make()

    with CaptureQueriesContext(connection) as three:
        client.get(address)

    assert len(three) == len(one)


def test_search_finds_by_order_link_and_address(client, staff, manual):
    refill_of()
    order = manual.order

    assert manual in listed(client, q=str(order.pk))
    assert listed(client, q=order.customer.email) == [manual]


def test_staff_complete_with_a_note_of_their_own(client, staff, manual):
    assert offered(client, manual) == ["complete", "reject"]

    client.post(action("complete", manual), {"reason": "sent 200 again"})

    manual.refresh_from_db()
    assert (manual.state, manual.settled_by, manual.reason) == (RefillState.COMPLETED, staff, "")
    assert LogEntry.objects.get().get_change_message() == "Complete: sent 200 again"
    assert open_alerts() == set()
    assert offered(client, manual) == []


def test_staff_reject_and_the_customer_reads_why(client, staff, manual):
    form = client.get(action("reject", manual)).content.decode()
    assert "The customer reads this" in form

    client.post(action("reject", manual), {"reason": "Nothing has dropped."})

    manual.refresh_from_db()
    assert (manual.state, manual.shown_reason) == (RefillState.REJECTED, "Nothing has dropped.")


def test_action_without_a_reason_changes_nothing(client, staff, manual):
    response = client.post(action("reject", manual), {"reason": " "})

    manual.refresh_from_db()
    assert (response.status_code, manual.state) == (200, RefillState.MANUAL)
    assert LogEntry.objects.count() == 0


def test_action_on_what_was_settled_meanwhile_is_refused_in_words(client, staff, manual):
    Refill.objects.update(state=RefillState.COMPLETED)

    response = client.post(action("reject", manual), {"reason": "x"})

    assert "The refill has been settled already." in response.content.decode()
    manual.refresh_from_db()
    assert (manual.state, LogEntry.objects.count()) == (RefillState.COMPLETED, 0)


def test_staff_who_may_only_look_are_offered_nothing(client, manual):
    reader = UserFactory(is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_refill"))
    client.force_login(reader)

    assert offered(client, manual) == []
    assert client.post(action("complete", manual), {"reason": "x"}).status_code == 403
    manual.refresh_from_db()
    assert manual.state == RefillState.MANUAL


def test_navigation_counts_what_staff_must_do_by_hand(client, staff):
    refill_of()
    refill_of(RefillState.ASKED)
    groups = client.get("/admin/").context["sidebar_navigation"]

    badges = {str(item["title"]): item.get("badge") for group in groups for item in group["items"]}
    assert badges["Refills"] == 1


def test_cancellations_are_listed_with_what_the_provider_said(client, staff):
    kept = CancelRequest.objects.create(
        order=OrderFactory(sent=True), state=CancelState.REFUSED, failure="Order cannot be canceled"
    )
    open_one = CancelRequest.objects.create(
        order=OrderFactory(sent=True, created_at=timezone.now() - timedelta(days=1))
    )

    found = list(client.get(CANCELS).context["cl"].result_list)
    shown = client.get(reverse("admin:orders_cancelrequest_change", args=[kept.pk]))

    assert found == [open_one]
    assert "Order cannot be canceled" in shown.content.decode()


# --- stopping an order ---------------------------------------------------------------------------


def stop_page(order):
    return reverse("admin:orders_order_stop", args=[order.pk])


def test_staff_ask_the_provider_to_cancel_a_running_order(client, staff):
    order = OrderFactory(sent=True, service=ServiceFactory(cancel=True))
    page = client.get(reverse("admin:orders_order_change", args=[order.pk])).content.decode()
    assert stop_page(order) in page

    client.post(stop_page(order), {"reason": "asked by e-mail"})

    assert CancelRequest.objects.get().order == order
    event = OrderEvent.objects.get(kind="cancel")
    assert (event.source, event.actor, event.note) == ("staff", staff, "asked by e-mail")


def test_staff_stop_a_dripfeed(client, staff):
    order = OrderFactory(service=ServiceFactory(dripfeed=True), runs=2, interval=10)
    dripfeed.open(order)

    client.post(stop_page(order), {"reason": "asked by e-mail"})

    order.refresh_from_db()
    assert (order.status, order.refunded) == (Status.CANCELLED, order.charge)


@pytest.mark.parametrize("columns", [{"status": Status.COMPLETED}, {"sent": True}])
def test_stop_that_is_not_possible_is_not_offered_and_refused_in_words(client, staff, columns):
    order = OrderFactory(**columns)
    page = client.get(reverse("admin:orders_order_change", args=[order.pk])).content.decode()
    assert stop_page(order) not in page

    response = client.post(stop_page(order), {"reason": "x"})

    assert response.status_code == 200
    assert response.context["form"].non_field_errors()
    assert CancelRequest.objects.count() == LogEntry.objects.count() == 0


def test_page_of_a_refill_says_its_state_in_words(client, staff, manual):
    text = client.get(page(manual)).content.decode()

    assert "With our staff" in text
    assert "(&#x27;manual&#x27;" not in text
    assert manual.next_check_at is None
