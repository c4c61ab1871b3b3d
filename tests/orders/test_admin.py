"""What staff see of an order, how they find it, and the three things that they can do to it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse
from django_q.models import OrmQ

from accounts import ledger
from accounts.alerts import alert
from accounts.audit import RULES as LEDGER_RULES
from accounts.models import Alert, JournalEntry, Wallet
from orders.audit import RULES as ORDER_RULES
from orders.models import Order
from orders.refunds import move_and_refund
from orders.statuses import Status
from tests.factories import OrderFactory, ServiceFactory, StaffFactory, UserFactory, WalletFactory

pytestmark = pytest.mark.django_db

NBSP = "\N{NO-BREAK SPACE}"
LIST = "/admin/orders/order/"
ACTIONS = ("cancel", "mark_sent", "send_again")


@pytest.fixture
def staff(client):
    staff = StaffFactory()
    client.force_login(staff)
    return staff


@pytest.fixture
def unconfirmed():
    """Charged 1.30 of 100 USD; nobody knows whether the provider has it."""
    order = OrderFactory(status=Status.UNCONFIRMED, failure="Read time-out")
    alert("order_unconfirmed", subject=order.subject, message="time-out")
    return order


def page(order):
    return reverse("admin:orders_order_change", args=[order.pk])


def action(name, order):
    return reverse(f"admin:orders_order_{name}", args=[order.pk])


def told(response):
    return [str(message) for message in response.context["messages"]]


def offered(client, order):
    text = client.get(page(order)).content.decode()
    return [name for name in ACTIONS if action(name, order) in text]


def everything():
    """All that an action could change."""
    return [
        list(model.objects.order_by("pk").values())
        for model in (Order, Wallet, JournalEntry, Alert, LogEntry, OrmQ)
    ]


def adds_up():
    return [finding for rule in (*LEDGER_RULES, *ORDER_RULES) for finding in rule()] == []


# --- finding --------------------------------------------------------------------------------------


def found(client, **query):
    return list(client.get(LIST, query).context["cl"].queryset)


@pytest.mark.parametrize(
    "term",
    [
        "{pk}",
        "#{pk}",
        " {pk} ",
        "EXT{pk:08d}",
        "ext{pk:08d}",
        "{uuid}",
        "90071992",
        "my-ref-7",
        "Buyer@Example",
        "someone_special",
        "https://instagram.com/someone_special",
    ],
)
def test_order_is_found_by_whatever_staff_have_in_hand(client, staff, term):
    OrderFactory()
    order = OrderFactory(
        wallet=WalletFactory(user=UserFactory(email="buyer@example.com")),
        link="https://instagram.com/someone_special",
        external_id="90071992",
        client_ref="my-ref-7",
        status=Status.IN_PROGRESS,
    )

    assert found(client, q=term.format(pk=order.pk, uuid=order.uuid)) == [order]


@pytest.mark.parametrize(
    "term",
    [
        "0",
        "999999999",
        "9" * 19,
        "9" * 30,
        "EXT",
        "#",
        "550e8400-e29b-41d4-a716-446655440000",
        "%",
        "_",
    ],
)
def test_search_for_nothing_that_exists_finds_nothing(client, staff, term):
    OrderFactory()

    assert found(client, q=term) == []


def test_handle_of_a_link_is_not_taken_for_an_address(client, staff):
    order = OrderFactory(link="https://tiktok.com/@someone")

    assert found(client, q="@someone") == [order]


def test_list_is_narrowed_by_status_provider_source_and_currency(client, staff):
    order = OrderFactory(status=Status.COMPLETED)
    other = OrderFactory(status=Status.PENDING, wallet=WalletFactory(currency="TRY"), source="rest")
    OrderFactory(status=Status.FAILED)

    assert found(client, status__exact="completed") == [order]
    assert found(client, status__exact=["completed", "pending"]) == [other, order]
    assert found(client, provider__id__exact=order.provider_id) == [order]
    assert found(client, source__exact="rest") == [other]
    assert found(client, currency__exact="TRY") == [other]


def test_list_takes_as_many_queries_for_one_as_for_three(client, staff, django_assert_num_queries):
    OrderFactory()
    client.get(LIST)
    with django_assert_num_queries(8):
        client.get(LIST)
    OrderFactory()
    OrderFactory()

    # Session, user, three badges, the filter's providers, count, rows.
    with django_assert_num_queries(8):
        client.get(LIST)


# --- reading --------------------------------------------------------------------------------------


def test_page_shows_money_delivery_and_what_was_asked(client, staff):
    service = ServiceFactory(type="Custom Comments")
    order = OrderFactory(
        sent=True,
        service=service,
        fields={"comments": "Great!\n<script>alert(1)</script>"},
        charge=Decimal("1.30"),
        remains=250,
        client_ref="my-ref-7",
    )
    move_and_refund(order, Status.PARTIAL, Decimal("0.325"))

    text = client.get(page(order)).content.decode()

    for shown in (
        f"1.30{NBSP}USD",
        f"0.325{NBSP}USD",
        f"0.975{NBSP}USD",
        "750 / 1,000",
        order.public_reference,
        order.external_id,
        "my-ref-7",
        "Great!\n&lt;script&gt;",
        f"{order.subject}:charge",
        f"{order.subject}:refund:1",
    ):
        assert shown in text, shown
    assert "<script>alert(1)" not in text


def test_page_shows_why_an_order_waits_for_staff(client, staff, unconfirmed):
    text = client.get(page(unconfirmed)).content.decode()

    assert "Read time-out" in text
    assert "answer was lost" in text


def test_link_that_a_browser_would_run_is_not_clickable(client, staff):
    order = OrderFactory(link="javascript:alert(document.cookie)")

    text = client.get(page(order)).content.decode()

    assert 'href="javascript:' not in text
    assert "javascript:alert(document.cookie)" in text


def test_postings_are_shown_only_to_who_may_see_them(client):
    order = OrderFactory()
    member = UserFactory(is_staff=True)
    member.user_permissions.add(Permission.objects.get(codename="view_order"))
    client.force_login(member)

    response = client.get(page(order))

    assert response.status_code == 200
    assert "ledger_table" not in response.context


def test_orders_are_never_added_edited_or_deleted(client, staff):
    order = OrderFactory()
    before = everything()

    answers = [
        client.get(f"{LIST}add/").status_code,
        client.post(f"{LIST}add/", {"link": "x"}).status_code,
        client.post(page(order), {"status": "completed", "charge": "0"}).status_code,
        client.post(
            reverse("admin:orders_order_delete", args=[order.pk]), {"post": "yes"}
        ).status_code,
    ]
    client.post(LIST, {"action": "delete_selected", "_selected_action": [order.pk], "post": "yes"})

    assert answers == [403] * 4
    assert everything() == before


def test_address_of_no_order_leads_back_to_the_list(client, staff):
    for key in ("999999", "abc"):
        assert client.get(f"{LIST}{key}/change/").status_code == 302
        for name in ACTIONS:
            assert client.get(reverse(f"admin:orders_order_{name}", args=[key])).status_code == 302


# --- acting ---------------------------------------------------------------------------------------


def test_cancelling_pays_everything_back_and_is_logged(client, staff, unconfirmed):
    response = client.post(action("cancel", unconfirmed), {"reason": "not there"}, follow=True)

    unconfirmed.refresh_from_db()
    assert (unconfirmed.status, unconfirmed.refunded) == (Status.CANCELLED, Decimal("1.30"))
    assert unconfirmed.wallet.balance == Wallet.objects.get().balance == 100
    assert told(response) == [f"The order is cancelled; 1.30{NBSP}USD went back to the customer."]
    entry = JournalEntry.objects.get(pk=f"{unconfirmed.subject}:refund:1")
    assert (entry.reason, entry.actor) == ("not there", staff)
    assert list(LogEntry.objects.values_list("user", "object_id", "change_message")) == [
        (staff.pk, str(unconfirmed.pk), "Cancel and refund: not there")
    ]
    assert Alert.objects.get().resolved_at is not None
    assert adds_up()


def test_marking_as_sent_links_the_order_without_buying(client, staff, unconfirmed):
    client.post(action("mark_sent", unconfirmed), {"external_id": " 777 ", "reason": "found it"})

    unconfirmed.refresh_from_db()
    assert (unconfirmed.status, unconfirmed.external_id) == (Status.PROCESSING, "777")
    assert OrmQ.objects.count() == 0
    assert [entry.change_message for entry in LogEntry.objects.all()] == ["Mark as sent: found it"]
    assert Alert.objects.get().resolved_at is not None
    assert adds_up()


def test_sending_again_queues_the_order_once(client, staff, unconfirmed):
    client.post(action("send_again", unconfirmed), {"reason": "surely not there"})

    unconfirmed.refresh_from_db()
    assert (unconfirmed.status, unconfirmed.refunded) == (Status.PENDING, 0)
    assert OrmQ.objects.count() == 1
    assert [entry.change_message for entry in LogEntry.objects.all()] == [
        "Send again: surely not there"
    ]
    assert adds_up()


@pytest.mark.parametrize("name", ACTIONS)
def test_action_shows_the_facts_and_does_nothing_before_it_is_sent(
    client, staff, unconfirmed, name
):
    before = everything()

    response = client.get(action(name, unconfirmed))

    text = response.content.decode()
    for fact in (unconfirmed.link, f"1.30{NBSP}USD", unconfirmed.customer.email):
        assert fact in text
    assert everything() == before


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("reason", ["", "  ", "x" * 301])
def test_action_without_a_reason_changes_nothing(client, staff, unconfirmed, name, reason):
    before = everything()

    response = client.post(action(name, unconfirmed), {"reason": reason, "external_id": "777"})

    assert list(response.context["form"].errors) == ["reason"]
    assert everything() == before


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.PENDING, ["cancel"]),
        (Status.SENDING, []),
        (Status.UNCONFIRMED, ["cancel", "mark_sent", "send_again"]),
        (Status.PROCESSING, ["cancel"]),
        (Status.IN_PROGRESS, ["cancel"]),
        (Status.COMPLETED, []),
        (Status.PARTIAL, []),
        (Status.CANCELLED, []),
        (Status.REFUNDED, []),
        (Status.FAILED, []),
    ],
)
def test_only_possible_actions_are_offered_and_the_others_refused(client, staff, status, expected):
    order = OrderFactory(status=status)
    before = everything()

    assert offered(client, order) == expected
    for name in ACTIONS:
        if name not in expected:
            response = client.post(action(name, order), {"reason": "why", "external_id": "777"})
            assert response.status_code == 200
            assert len(response.context["form"].non_field_errors()) == 1
    assert everything() == before


def test_order_that_moved_meanwhile_is_left_alone(client, staff, unconfirmed, monkeypatch):
    """Between the page's reading and its writing another member of staff was faster."""
    from orders.admin.orders import OrderAdmin

    read = OrderAdmin.get_object

    def slow(self, request, object_id, from_field=None):
        order = read(self, request, object_id, from_field)
        Order.objects.update(status=Status.PROCESSING, external_id="777")
        return order

    monkeypatch.setattr(OrderAdmin, "get_object", slow)

    for name in ACTIONS:
        Order.objects.update(status=Status.UNCONFIRMED, external_id=None)
        response = client.post(action(name, unconfirmed), {"reason": "why", "external_id": "888"})
        assert "changed meanwhile" in response.context["form"].non_field_errors()[0]

    order = Order.objects.get()
    assert (order.status, order.external_id, order.refunded) == (Status.PROCESSING, "777", 0)
    assert adds_up()


def test_id_of_another_order_is_refused(client, staff, unconfirmed):
    OrderFactory(service=unconfirmed.service, status=Status.IN_PROGRESS, external_id="777")
    before = everything()

    response = client.post(
        action("mark_sent", unconfirmed), {"external_id": "777", "reason": "found it"}
    )

    assert "Another order" in response.context["form"].non_field_errors()[0]
    assert everything() == before


@pytest.mark.parametrize("external_id", ["", "x" * 65, "a\x00b"])
def test_id_that_no_provider_gives_is_refused(client, staff, unconfirmed, external_id):
    before = everything()

    response = client.post(
        action("mark_sent", unconfirmed), {"external_id": external_id, "reason": "found it"}
    )

    assert list(response.context["form"].errors) == ["external_id"]
    assert everything() == before


def test_cancelling_twice_pays_back_once(client, staff, unconfirmed):
    for _ in range(2):
        client.post(action("cancel", unconfirmed), {"reason": "not there"})

    assert Wallet.objects.get().balance == 100
    assert JournalEntry.objects.filter(kind="refund").count() == 1


def test_cancelling_after_a_partial_refund_pays_only_the_rest(client, staff):
    order = OrderFactory(sent=True)
    Order.objects.update(refunded=Decimal("0.30"))
    ledger.refund(
        order.wallet, Decimal("0.30"), key=f"{order.subject}:refund:1", subject=order.subject
    )

    client.post(action("cancel", order), {"reason": "provider failed"})

    order.refresh_from_db()
    assert (order.refunded, Wallet.objects.get().balance) == (Decimal("1.30"), 100)
    assert adds_up()


@pytest.mark.parametrize("name", ACTIONS)
def test_acting_needs_its_permission(client, unconfirmed, name):
    member = UserFactory(is_staff=True)
    member.user_permissions.add(Permission.objects.get(codename="view_order"))
    client.force_login(member)
    before = everything()

    refused = client.post(action(name, unconfirmed), {"reason": "why", "external_id": "777"})

    assert refused.status_code == 403
    assert offered(client, unconfirmed) == []
    assert everything() == before


def test_who_may_change_orders_may_act(client, unconfirmed):
    member = UserFactory(is_staff=True)
    member.user_permissions.add(Permission.objects.get(codename="change_order"))
    client.force_login(member)

    client.post(action("cancel", unconfirmed), {"reason": "not there"})

    unconfirmed.refresh_from_db()
    assert unconfirmed.status == Status.CANCELLED
