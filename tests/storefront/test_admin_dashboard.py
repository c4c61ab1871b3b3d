"""Every page of the admin answers, shows each member of staff only what they may see, and asks a
number of queries that does not grow with the tables."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_q.models import OrmQ, Schedule, Task
from django_q.signing import SignedPackage

from accounts import api_keys, webhooks
from accounts.alerts import alert
from accounts.models import ApiKey, ApiRequest, WebhookDelivery, WebhookEndpoint, WebhookEvent
from catalog.models import Breaker, Provider, SyncOutcome, SyncRecord
from orders.models import BookReading, CancelRequest, Order, Outcome, Refill, RefillState
from orders.refunds import move_and_refund
from orders.statuses import Status
from tests.factories import (
    ExchangeRateFactory,
    ManualPriceFactory,
    OrderFactory,
    ProviderFactory,
    StaffFactory,
    UserFactory,
    WalletFactory,
)

pytestmark = pytest.mark.django_db

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
IDS = [model._meta.label for model in MODELS]


@pytest.fixture
def staff(client):
    staff = StaffFactory()
    client.force_login(staff)
    return staff


def fill(number):
    """One row more in every model that the admin shows; `number` keeps them apart."""
    staff = StaffFactory()
    customer = UserFactory()
    wallet = WalletFactory(user=customer, funds=10)
    order = OrderFactory(wallet=wallet)
    OrderFactory(status=Status.UNCONFIRMED)
    CancelRequest.objects.create(order=order)
    Refill.objects.create(order=order)
    BookReading.objects.create(
        provider=order.provider, balance=5, book=5, difference=0, outcome=Outcome.AGREED
    )
    Provider.objects.filter(pk=order.provider_id).update(maintenance=True)
    ManualPriceFactory(service=order.service)
    SyncRecord.objects.create(provider=order.provider, outcome=SyncOutcome.CHANGED)
    ExchangeRateFactory(actor=staff)
    api_key, _text = api_keys.issue(customer, name="panel", currency="USD")
    ApiRequest.objects.create(
        api_key=api_key, dialect="rest", action="x", status=200, result="ok", milliseconds=1
    )
    endpoint, _secret = webhooks.create(
        customer, url="https://shop.example/hook", events=["order.created"]
    )
    webhooks.send_test(endpoint)
    endpoint = WebhookEndpoint.objects.create(
        user=customer, url="https://example.com/hook", secret="whsec_TOPSECRETSEED"
    )
    event = WebhookEvent.objects.create(user=customer, type="order.created", body="{}")
    WebhookDelivery.objects.create(event=event, endpoint=endpoint)
    alert("sync_failed", subject=f"order:{order.pk}", message="time-out")
    EmailAddress.objects.create(user=customer, email=customer.email)
    Authenticator.objects.create(
        user=customer, type=Authenticator.Type.TOTP, data={"secret": "TOPSECRETSEED"}
    )
    Group.objects.create(name=f"Group {number}")
    for success in (True, False):
        Task.objects.create(
            id=f"{number}{success}",
            name=f"job {number}",
            func="orders.tasks.tick",
            started=timezone.now(),
            stopped=timezone.now(),
            success=success,
        )
    payload = SignedPackage.dumps(
        {
            "id": f"{number}",
            "name": f"job {number}",
            "func": "orders.tasks.tick",
            "args": (),
            "kwargs": {},
        }
    )
    OrmQ.objects.create(key="storefront", payload=payload, lock=timezone.now())
    Schedule.objects.create(name=f"job {number}", func="orders.tasks.tick")
    LogEntry.objects.create(
        user=staff,
        content_type=ContentType.objects.get_for_model(Order),
        object_id=order.pk,
        object_repr=str(order),
        action_flag=CHANGE,
        change_message="Cancelled: twice",
    )


def page(model, name, *args):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=args)


def get_counting(client, url):
    with CaptureQueriesContext(
        connection,
    ) as queries:
        response = client.get(url)
    assert response.status_code == 200, url
    return len(queries)


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_every_list_answers_with_a_constant_number_of_queries(client, staff, model):
    fill(1)
    url = page(model, "changelist")
    get_counting(client, url)  # content types and the like are remembered from here on
    one = get_counting(client, url)
    fill(2)
    fill(3)

    assert get_counting(client, url) == one


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_every_page_answers_without_a_secret(client, staff, model):
    fill(1)
    obj = model._default_manager.first()
    model_admin = admin.site.get_model_admin(model)
    lists = client.get(page(model, "changelist"))
    request = lists.wsgi_request
    urls = [page(model, name, quote(obj.pk)) for name in ("change", "history")]
    if model_admin.has_add_permission(request):
        urls.append(page(model, "add"))
    if model_admin.has_delete_permission(request, obj):
        urls.append(page(model, "delete", quote(obj.pk)))

    answers = {url: client.get(url) for url in urls}

    assert {url: answer.status_code for url, answer in answers.items()} == dict.fromkeys(urls, 200)
    secrets = ["TOPSECRETSEED", "upstream-key", ApiKey.objects.get().digest, staff.password]
    shown = "".join(answer.content.decode() for answer in (lists, *answers.values()))
    assert [secret for secret in secrets if secret in shown] == []


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_search_takes_anything(client, staff, model):
    for term in ("é'\"%_\\", "9" * 40):
        assert client.get(page(model, "changelist"), {"q": term}).status_code == 200


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_no_page_is_open_to_staff_without_permission(client, model):
    fill(1)
    client.force_login(UserFactory(is_staff=True))
    obj = model._default_manager.first()

    answers = [
        client.get(page(model, "changelist")).status_code,
        client.get(page(model, "change", quote(obj.pk))).status_code,
    ]

    assert answers == [403, 403]


def test_customers_are_not_let_in(client):
    client.force_login(UserFactory())

    assert client.get("/admin/").status_code == 302
    assert client.get("/admin/login/").status_code == 403


def test_staff_sign_in_by_the_shops_own_door(client):
    """There the second factor is asked for, and guesses are counted."""
    response = client.get("/admin/", follow=True)

    assert response.redirect_chain[-1][0] == f"{reverse('account_login')}?next=%2Fadmin%2F"


def test_pages_use_the_shops_accent(client, staff, settings):
    settings.STORE_ACCENT = "#0f766e"

    assert "--color-primary-600: rgb(15, 118, 110)" in client.get("/admin/").content.decode()


# --- the front page -------------------------------------------------------------------------------


def test_front_page_takes_a_constant_number_of_queries(client, staff):
    fill(1)
    get_counting(client, "/admin/")
    one = get_counting(client, "/admin/")
    fill(2)
    fill(3)

    assert get_counting(client, "/admin/") == one


def test_empty_shop_has_a_front_page(client, staff):
    context = client.get("/admin/").context

    assert (context["orders_today"], context["alerts_open"], context["failures"]) == (0, 0, 0)
    assert [queue["number"] for queue in context["waiting"]] == [0, 0]
    assert [context[table]["rows"] for table in ("turnover", "holdings")] == [[], []]
    assert [context[lines] for lines in ("unconfirmed", "alerts")] == [[], []]


def test_front_page_counts_orders(client, staff):
    now = timezone.now()
    OrderFactory()
    OrderFactory(status=Status.PENDING, status_changed_at=now - timedelta(hours=2))
    OrderFactory(status=Status.UNCONFIRMED, created_at=now - timedelta(days=2))
    OrderFactory(status=Status.COMPLETED, created_at=now - timedelta(days=20))

    context = client.get("/admin/").context

    assert (context["orders_today"], context["orders_week"]) == (2, 3)
    pending, unconfirmed = context["waiting"]
    assert (pending["number"], pending["oldest"]) == (2, now - timedelta(hours=2))
    assert (unconfirmed["number"], len(context["unconfirmed"])) == (1, 1)
    assert context["orders_chart"]["words"].split(", ")[-1].endswith(": 2")


def test_front_page_tells_the_ages_of_unconfirmed_orders(client, staff):
    for minutes in (1, 14, 20, 70, 500):
        since = timezone.now() - timedelta(minutes=minutes)
        OrderFactory(status=Status.UNCONFIRMED, status_changed_at=since)

    response = client.get("/admin/")

    lost = response.context["waiting"][1]
    assert lost["ages"] == "2 under 15 min, 1 under 1 h, 2 older"
    assert lost["ages"] in response.content.decode()
    assert lost["page"] == reverse("admin:orders_order_unconfirmed_queue")
    oldest = response.context["unconfirmed"][0]
    assert timezone.now() - oldest.since > timedelta(minutes=499)


def test_front_page_tells_what_is_the_matter_with_providers(client, staff):
    for number, columns in enumerate(
        (
            {},
            {"maintenance": True},
            {"breaker": Breaker.OPEN, "breaker_reason": "time-outs"},
            {"balance": Decimal("4.50"), "low_balance": 5},
            {"funds_wait_until": timezone.now()},
            {"maintenance": True, "enabled": False},
        )
    ):
        ProviderFactory(name=f"P{number}", **columns)

    told = {line.title: line.text for line in client.get("/admin/").context["providers"]}

    assert told == {
        "P1": "Maintenance: orders wait",
        "P2": "Interrupted: time-outs",
        "P3": "Low balance: 4.5 USD",
        "P4": "Our funds there are used up: orders wait",
    }


def test_front_page_counts_what_waits_for_staffs_hands(client, staff):
    for state in (RefillState.MANUAL, RefillState.ASKED):
        Refill.objects.create(order=OrderFactory(sent=True), state=state)
    alert("order_stalled", subject="order:1", message="No progress.")
    alert("sync_failed", subject="provider:1", message="x")

    context = client.get("/admin/").context

    assert (context["refills"]["number"], context["stalled"]) == (1, 1)
    assert len(client.get(context["stalled_page"]).context["cl"].result_list) == 1


def test_front_page_sums_money_by_currency(client, staff):
    order = OrderFactory(sent=True, charge=Decimal("1.30"))
    move_and_refund(order, Status.PARTIAL, Decimal("0.30"))
    WalletFactory(currency="XAF", funds="1248.5")

    context = client.get("/admin/").context

    figures = '<span class="figures">{}\N{NO-BREAK SPACE}{}</span>'
    one = figures.format("1.00", "USD")
    assert context["turnover"]["rows"] == [[one, one]]
    assert context["holdings"]["rows"] == [
        [figures.format("99.00", "USD"), "1"],
        [figures.format("1,248.5", "XAF"), "1"],
    ]


def test_front_page_and_navigation_show_only_what_is_permitted(client):
    fill(1)
    member = UserFactory(is_staff=True)
    member.user_permissions.add(Permission.objects.get(codename="view_alert"))
    client.force_login(member)

    response = client.get("/admin/")

    shown = response.context
    hidden = {"orders_today", "waiting", "unconfirmed", "turnover", "holdings", "failures", "queue"}
    hidden |= {"refills", "providers"}
    assert [key for key in hidden if key in shown] == []
    assert shown["alerts_open"] == 1
    titles = [
        str(item["title"]) for group in shown["sidebar_navigation"] for item in group["items"]
    ]
    assert titles == ["Overview", "Alerts"]


def test_navigation_counts_what_waits(client, staff):
    fill(1)
    fill(2)

    groups = client.get("/admin/").context["sidebar_navigation"]

    badges = {
        str(item["title"]): item["badge"]
        for group in groups
        for item in group["items"]
        if "badge" in item
    }
    assert badges == {"Orders": 2, "Alerts": 2}


def test_navigation_leads_to_every_list(client, staff):
    groups = client.get("/admin/").context["sidebar_navigation"]

    links = {item["link"] for group in groups for item in group["items"]}
    assert links == {reverse("admin:index"), *(page(model, "changelist") for model in MODELS)}


# --- jobs -----------------------------------------------------------------------------------------


def test_jobs_can_be_read_and_not_written(client, staff):
    """Who writes a job's path runs any code."""
    fill(1)
    for model in (Schedule, OrmQ):
        obj = model.objects.first()
        assert client.get(page(model, "add")).status_code == 403
        change = page(model, "change", obj.pk)
        assert client.post(change, {"func": "os.abort", "name": "x"}).status_code == 403
        assert client.post(page(model, "delete", obj.pk), {"post": "yes"}).status_code == 403


def test_failed_job_can_be_run_again(client, staff):
    fill(1)
    waiting = OrmQ.objects.count()
    failed = Task.objects.get(success=False)

    client.post(
        reverse("admin:django_q_failure_changelist"),
        {"action": "run_again", "_selected_action": [failed.pk]},
    )

    assert OrmQ.objects.count() == waiting + 1
    assert not Task.objects.filter(success=False).exists()
