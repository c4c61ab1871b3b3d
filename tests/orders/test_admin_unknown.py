"""What the admin tells of orders of unknown outcome, and of an order's history and parts."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts import api_keys
from accounts.alerts import alert
from accounts.models import Alert
from orders import unconfirmed
from orders.admin.telling import in_words
from orders.models import (
    BookReading,
    CancelRequest,
    DripFeed,
    EventKind,
    Evidence,
    EvidenceKind,
    Order,
    Outcome,
    Refill,
    Subscription,
    Verdict,
)
from orders.moves import By, by_customer, by_job, by_staff, move, record
from orders.statuses import Status
from tests.factories import OrderFactory, ProviderFactory, StaffFactory, UserFactory, WalletFactory

pytestmark = pytest.mark.django_db

QUEUE = "/admin/orders/order/unconfirmed/"
LIST, REPEAT, IDS, BALANCE = EvidenceKind
BOUGHT, NOT_BOUGHT, UNCLEAR = Verdict


@pytest.fixture
def staff(client):
    staff = StaffFactory()
    client.force_login(staff)
    return staff


def lost(minutes=1, **columns):
    since = timezone.now() - timedelta(minutes=minutes)
    return OrderFactory(status=Status.UNCONFIRMED, status_changed_at=since, **columns)


def page_of(client, order):
    response = client.get(reverse("admin:orders_order_change", args=[order.pk]))
    assert response.status_code == 200
    return response


def queries(client, url):
    with CaptureQueriesContext(connection) as counted:
        assert client.get(url).status_code == 200
    return len(counted)


# --- the queue -----------------------------------------------------------------------------------


def test_queue_shows_the_oldest_first_with_what_is_known(client, staff):
    young, old = lost(2), lost(70, link="https://instagram.com/old")
    unconfirmed.note(old, LIST, NOT_BOUGHT)

    response = client.get(QUEUE)

    assert [line["order"] for line in response.context["lines"]] == [old, young]
    assert [bucket["number"] for bucket in response.context["buckets"]] == [1, 0, 1]
    text = response.content.decode()
    for shown in (
        "https://instagram.com/old",
        "1.30\N{NO-BREAK SPACE}USD",
        old.provider.name,
        "has no order with our reference",
        "Nothing has been found out yet.",
        reverse("admin:orders_order_change", args=[old.pk]),
    ):
        assert shown in text, shown


def test_queue_takes_as_many_queries_for_one_as_for_three(client, staff):
    unconfirmed.note(lost(), LIST, NOT_BOUGHT)
    queries(client, QUEUE)
    one = queries(client, QUEUE)
    for _ in range(2):
        unconfirmed.note(lost(), LIST, NOT_BOUGHT)

    assert queries(client, QUEUE) == one


def test_empty_queue_says_so(client, staff):
    assert "fate is known" in client.get(QUEUE).content.decode()


def test_queue_is_for_who_may_see_orders(client):
    client.force_login(UserFactory(is_staff=True))
    assert client.get(QUEUE).status_code == 403
    member = UserFactory(is_staff=True)
    member.user_permissions.add(Permission.objects.get(codename="view_order"))
    client.force_login(member)

    assert client.get(QUEUE).status_code == 200


def test_list_of_orders_leads_to_the_queue(client, staff):
    assert f'"{QUEUE}"' in client.get("/admin/orders/order/").content.decode()


# --- evidence ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "verdict", "external_id", "details", "words"),
    [
        (LIST, BOUGHT, "50", {}, "The provider's list has our reference, as 50."),
        (LIST, NOT_BOUGHT, "", {}, "The provider's list has no order with our reference."),
        (LIST, UNCLEAR, "", {"error": "502"}, "The provider's list could not be used: 502"),
        (REPEAT, BOUGHT, "50", {}, "Asked again under its key, the provider answered with 50."),
        (
            REPEAT,
            NOT_BOUGHT,
            "",
            {"refused": "bad link"},
            "Asked again under its key, the provider refused: bad link",
        ),
        (
            REPEAT,
            UNCLEAR,
            "",
            {"error": "502"},
            "Asked again under its key, the provider gave no clear answer: 502",
        ),
        (IDS, BOUGHT, "50", {}, "Id 50 was given around the call, and only this order fits it."),
        (
            IDS,
            NOT_BOUGHT,
            "",
            {"first": 50, "last": 60},
            "No id from 50 to 60 is an order of ours without its number.",
        ),
        (IDS, UNCLEAR, "", {"error": "502"}, "The ids could not be asked for: 502"),
        (
            IDS,
            UNCLEAR,
            "",
            {"why": "first"},
            "No order of ours from before the call is known to count from.",
        ),
        (IDS, UNCLEAR, "", {"why": "disorder"}, "The provider's ids do not follow each other."),
        (
            IDS,
            UNCLEAR,
            "",
            {"why": "wide"},
            "There are more ids around the call than may be asked for.",
        ),
        (IDS, UNCLEAR, "", {"why": "busy"}, "Another order was being bought at that moment."),
        (
            IDS,
            UNCLEAR,
            "",
            {"why": "open", "first": 50},
            "Nothing of ours from id 50 on. No later order of ours ends the search yet.",
        ),
        (
            IDS,
            UNCLEAR,
            "",
            {
                "why": "several",
                "candidates": [{"id": "50", "charge": "1"}, {"id": "51", "charge": None}],
            },
            "Ours, and no order's here: 50 (1 USD), 51. This order should cost 1 USD there.",
        ),
        (
            BALANCE,
            UNCLEAR,
            "",
            {"why": "no_reading", "cost": "1", "currency": "USD"},
            "The balance from before the call is not known.",
        ),
        (
            BALANCE,
            BOUGHT,
            "",
            {"change": "-1", "cost": "1", "currency": "USD", "others": 0},
            "The balance moved by -1 USD beyond what we know to have been bought; this order "
            "costs 1.",
        ),
        (
            BALANCE,
            NOT_BOUGHT,
            "",
            {"change": "0", "cost": "1", "currency": "USD", "others": 0},
            "The balance moved by 0 USD beyond what we know to have been bought; this order, "
            "which costs 1, is not in it.",
        ),
        (
            BALANCE,
            UNCLEAR,
            "",
            {"change": "-1", "cost": "1", "currency": "USD", "others": 2},
            "The balance moved by -1 USD beyond what we know to have been bought; this order "
            "costs 1, and 2 others are of unknown outcome.",
        ),
    ],
)
def test_evidence_is_told_in_plain_words(kind, verdict, external_id, details, words):
    order = lost()
    evidence = Evidence(
        order=order, kind=kind, verdict=verdict, external_id=external_id, details=details
    )

    assert in_words(order, evidence) == words


def test_page_shows_the_evidence_only_while_the_order_is_unconfirmed(client, staff):
    order = lost()
    unconfirmed.note(order, BALANCE, UNCLEAR, why="no_reading")
    unconfirmed.note(order, LIST, NOT_BOUGHT)

    rows = page_of(client, order).context["evidence_table"]["rows"]

    assert [str(row[0]) for row in rows] == [str(LIST.label), str(BALANCE.label)]
    Order.objects.update(status=Status.PROCESSING, external_id="7")
    assert "evidence_table" not in page_of(client, order).context


def test_evidence_of_an_earlier_attempt_is_not_shown(client, staff):
    order = lost()
    unconfirmed.note(order, LIST, NOT_BOUGHT)
    Order.objects.update(send_attempts=5)

    assert page_of(client, order).context["evidence_table"]["rows"] == []


# --- history -------------------------------------------------------------------------------------


def table(response, title):
    found = [
        part["table"] for part in response.context["order_tables"] if str(part["title"]) == title
    ]
    return found[0] if found else None


def test_history_says_who_changed_what_from_what_to_what(client, staff):
    wallet = WalletFactory()
    order = OrderFactory(wallet=wallet)
    key, _secret = api_keys.issue(wallet.user, name="panel", currency="USD")
    record(order, EventKind.CREATED, by=by_customer(wallet.user))
    move(order, Status.SENDING, by=by_job("dispatch"))
    move(order, Status.PROCESSING, by=by_staff(staff), external_id="77", failure="found it")
    record(order, EventKind.CANCEL, by=by_customer(wallet.user, key), changes={"remains": (1, 0)})
    record(order, EventKind.NOTE, by=By(source="job"), note="<b>x</b>")

    response = page_of(client, order)

    rows = [[str(cell) for cell in row[1:]] for row in table(response, "History")["rows"]]
    line = '<div class="break-anywhere">{}: {} → {}</div>'
    note = '<span class="break-anywhere">{}</span>'
    assert rows == [
        ["Job", "Note", "–", note.format("&lt;b&gt;x&lt;/b&gt;")],
        [
            f"API key {key.prefix}…",
            "Cancellation",
            line.format("remains", 1, 0),
            note.format("–"),
        ],
        [
            f"Staff: {staff}",
            "Status changed",
            line.format("status", "Being sent", "Processing")
            + line.format("provider&#x27;s order id", "–", 77),
            note.format("found it"),
        ],
        [
            "Job dispatch",
            "Status changed",
            line.format("status", "Pending", "Being sent"),
            note.format("–"),
        ],
        [f"Customer: {wallet.user}", "Created", "–", note.format("–")],
    ]


def test_history_names_providers(client, staff):
    order, other = OrderFactory(), OrderFactory()
    changes = {"provider": (order.provider_id, other.provider_id)}
    record(order, EventKind.REROUTED, changes=changes)

    text = str(table(page_of(client, order), "History")["rows"][0][3])

    assert f"{order.provider} → {other.provider}" in text


def test_page_takes_as_many_queries_for_one_event_as_for_three(client, staff):
    order = OrderFactory()
    url = reverse("admin:orders_order_change", args=[order.pk])
    record(order, EventKind.NOTE, by=by_staff(staff))
    queries(client, url)
    one = queries(client, url)
    for _ in range(2):
        record(order, EventKind.NOTE, by=by_staff(StaffFactory()))

    assert queries(client, url) == one


# --- what belongs to it ---------------------------------------------------------------------------


def test_page_of_a_drip_feed_shows_its_runs_and_theirs_lead_back(client, staff):
    parent = OrderFactory(status=Status.IN_PROGRESS, runs=3, interval=10, quantity=3000)
    DripFeed.objects.create(order=parent, runs=3, quantity=1000, interval=10, runs_made=1)
    run = OrderFactory(sent=True, external_id="77", charge=Decimal("0.40"), wallet=parent.wallet)
    Order.objects.filter(pk=run.pk).update(parent=parent, run=1, remains=250)

    response = page_of(client, parent)

    figures = {str(row[0]): row[1] for row in table(response, "Drip-feed or subscription")["rows"]}
    assert (figures["runs begun"], figures["quantity per run"]) == ("1 / 3", "1,000")
    [row] = table(response, "Runs")["rows"]
    assert [str(cell) for cell in row[2:5]] == [
        "In progress",
        "750 / 1000",
        "0.40\N{NO-BREAK SPACE}USD",
    ]
    assert f"#{run.pk}" in row[1]
    back = page_of(client, run)
    assert reverse("admin:orders_order_change", args=[parent.pk]) in back.content.decode()
    assert f"{parent.subject}:charge" in back.content.decode()


def test_page_of_a_subscription_shows_its_reserve(client, staff):
    order = OrderFactory(sent=True, type="Subscriptions", charge=Decimal(3))
    Subscription.objects.create(
        order=order, minimum=100, maximum=1000, posts=3, posts_served=1, served=Decimal(1)
    )

    rows = table(page_of(client, order), "Drip-feed or subscription")["rows"]

    figures = {str(row[0]): str(row[1]) for row in rows}
    assert figures["posts served"] == "1 / 3"
    assert figures["used of the reserve"] == "1.00\N{NO-BREAK SPACE}USD"
    assert figures["still in reserve"] == "2.00\N{NO-BREAK SPACE}USD"


def test_page_shows_what_was_asked_for_after_buying(client, staff):
    order = OrderFactory(sent=True)
    Refill.objects.create(order=order, reason="nothing dropped", state="rejected")
    CancelRequest.objects.create(order=order)

    rows = table(page_of(client, order), "Requests")["rows"]

    assert [(str(row[0]), str(row[1]), row[4]) for row in rows] == [
        ("Refill", "Rejected", "nothing dropped"),
        ("Cancellation", "Waiting to be asked for", "–"),
    ]
    assert table(page_of(client, OrderFactory()), "Requests") is None


# --- readings of the providers' balances ----------------------------------------------------------


def reading(provider, **columns):
    told = {"balance": 5, "book": 10, "difference": -5, "outcome": Outcome.DIFFERS}
    return BookReading.objects.create(provider=provider, **{**told, **columns})


def test_difference_is_accepted_with_a_reason_and_once(client, staff):
    provider = ProviderFactory(book_balance=10)
    told = reading(provider)
    alert("provider_book_differs", subject=f"provider:{provider.pk}", message="x")
    url = reverse("admin:orders_bookreading_accept", args=[told.pk])
    change = reverse("admin:orders_bookreading_change", args=[told.pk])
    assert url in client.get(change).content.decode()
    assert list(client.post(url, {"reason": ""}).context["form"].errors) == ["reason"]

    response = client.post(url, {"reason": "their fee"}, follow=True)

    assert [str(message) for message in response.context["messages"]] == [
        "The book says what the provider says; the difference was -5 USD."
    ]
    provider.refresh_from_db()
    assert provider.book_balance == 5
    assert Alert.objects.get().resolved_at is not None
    assert LogEntry.objects.get().change_message == "Accept the provider's balance: their fee"
    assert url not in client.get(change).content.decode()
    assert len(client.post(url, {"reason": "x"}).context["form"].non_field_errors()) == 1
    assert BookReading.objects.count() == 2


def test_accepting_needs_its_permission(client):
    told = reading(ProviderFactory(book_balance=10))
    member = UserFactory(is_staff=True)
    member.user_permissions.add(Permission.objects.get(codename="view_bookreading"))
    client.force_login(member)
    url = reverse("admin:orders_bookreading_accept", args=[told.pk])

    assert client.post(url, {"reason": "x"}).status_code == 403
    assert BookReading.objects.count() == 1


def test_readings_take_as_many_queries_for_one_as_for_three(client, staff):
    url = reverse("admin:orders_bookreading_changelist")
    reading(ProviderFactory())
    queries(client, url)
    one = queries(client, url)
    for _ in range(2):
        reading(ProviderFactory())

    assert queries(client, url) == one
