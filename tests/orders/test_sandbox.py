"""Orders of sandbox keys: each outcome from end to end, and nothing real moves by any of them."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F, Sum
from django.test import RequestFactory
from django.utils import timezone

from accounts import api_keys, ledger, twins
from accounts.clock import from_now
from accounts.models import Account, Alert, ApiKey, Posting, User, Wallet
from accounts.money import round_down
from accounts.statement import holdings, sales_since
from catalog.models import (
    Breaker,
    PlayOrder,
    PlayRefill,
    Provider,
    SameLink,
    Service,
    ServiceFacts,
    Substitute,
)
from catalog.order_types import ServiceType
from catalog.providers import play as play_provider
from orders import (
    cancellations,
    checkout,
    dispatch,
    dripfeed,
    facts,
    failover,
    listing,
    queueing,
    reconciliation,
    refills,
    restoring,
    tasks,
    tracking,
    unconfirmed,
)
from orders.models import (
    BookReading,
    CancelState,
    DripFeed,
    Order,
    Outcome,
    Refill,
    RefillState,
    Source,
)
from orders.moves import by_customer
from orders.play import WrongAccount, WrongProvider, is_for_play
from orders.refunds import move_and_refund
from orders.requests import OrderDraft
from orders.statuses import FINAL, Status
from storefront.admin.overview import dashboard
from tests.books import breaches
from tests.factories import (
    ExchangeRateFactory,
    OrderFactory,
    ServiceFactory,
    StaffFactory,
    UserFactory,
    WalletFactory,
)
from tests.orders.conftest import LINK, queued

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books")]

FULL = twins.FUNDS["USD"]


@pytest.fixture
def key(customer: User) -> ApiKey:
    """A sandbox key of the customer who holds 10 USD."""
    return api_keys.issue_sandbox(customer, name="test", currency="USD")[0]


@pytest.fixture
def service(db: None) -> Service:
    """1.30 USD per 1000, with refill and cancel, of a provider that nobody can reach."""
    return ServiceFactory(refill=True, cancel=True, dripfeed=True, same_link=SameLink.QUEUE)


def order_for(key: ApiKey, service: Service, words: str = "", **values: Any) -> Order:
    given = {"link": f"{LINK}?{words}", "quantity": "1000", **values}
    draft = OrderDraft(service_id=service.pk, values=given)
    return checkout.place_order(
        customer=key.customer, currency=key.currency, draft=draft, source=Source.PANEL, api_key=key
    ).order


def make_due() -> None:
    """Let every pause of play orders, and every interval between their checks, be over."""
    played, past = Order.objects.filter(sandbox=True), from_now(timedelta(minutes=-1))
    played.exclude(send_after=None).update(send_after=past)
    played.exclude(next_check_at=None).update(next_check_at=past)


def pass_(seconds: float) -> None:
    """Let everything be this much older, and everything be due."""
    earlier = timedelta(seconds=seconds)
    PlayOrder.objects.update(created_at=F("created_at") - earlier)
    PlayRefill.objects.update(created_at=F("created_at") - earlier)
    Refill.objects.exclude(next_check_at=None).update(next_check_at=from_now(-earlier))
    make_due()


def work() -> None:
    """What the jobs of the play provider do in one tick."""
    provider = play_provider.provider()
    dripfeed.run_due()
    dispatch.dispatch(provider)
    make_due()
    reconciliation.reconcile(provider)
    tracking.poll(provider)
    cancellations.attend(provider)
    refills.attend(provider)
    dripfeed.settle()


def settled(order: Order) -> Order:
    """The order after it was sent, a minute passed, and it was asked about."""
    work()
    for _ in range(2):
        pass_(60)
        work()
    order.refresh_from_db()
    return order


def purse(order: Order) -> Decimal:
    return Wallet.objects.get(pk=order.wallet_id).balance


# --- each outcome --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "quantity", "status", "left"),
    [
        ("", 1091, Status.PARTIAL, 437),
        ("sandbox-partial", 1000, Status.PARTIAL, 400),
        ("sandbox-cancel", 1000, Status.CANCELLED, 1000),
        ("sandbox-fail", 1000, Status.FAILED, 1000),
        ("sandbox-unknown", 1000, Status.COMPLETED, 0),
        ("sandbox-norefill", 1000, Status.COMPLETED, 0),
        ("", 1000, Status.COMPLETED, 0),
    ],
)
def test_order_ends_as_it_asks_and_is_paid_back_what_it_lacks(
    key: ApiKey, service: Service, word: str, quantity: int, status: Status, left: int
) -> None:
    order = settled(order_for(key, service, word, quantity=str(quantity)))

    assert (order.status, order.remains) == (status, left)
    assert order.refunded == round_down(order.charge * left / quantity)
    assert purse(order) == FULL - order.charge + order.refunded
    assert order.public_reference == f"EXT{order.pk:08d}"


def test_unknown_outcome_is_settled_by_machine_in_about_a_minute(
    key: ApiKey, service: Service
) -> None:
    order = order_for(key, service, "sandbox-unknown")
    work()
    order.refresh_from_db()
    assert (order.status, order.public_status) == (Status.UNCONFIRMED, Status.PROCESSING)

    make_due()
    assert reconciliation.reconcile(order.provider) == 0
    # It is looked at again before a minute is over.
    order.refresh_from_db()
    assert order.next_check_at is not None
    assert order.next_check_at < timezone.now() + timedelta(seconds=60)
    pass_(play_provider.LOST_FOR)
    assert reconciliation.reconcile(order.provider) == 1

    order.refresh_from_db()
    assert order.status == Status.PROCESSING
    assert PlayOrder.objects.count() == 1
    assert Alert.objects.count() == 0


def test_slow_order_is_still_under_way(key: ApiKey, service: Service) -> None:
    assert settled(order_for(key, service, "sandbox-slow")).status == Status.PROCESSING


def test_many_unknown_outcomes_interrupt_nobody(key: ApiKey, service: Service) -> None:
    for number in range(7):
        order_for(key, service, f"sandbox-unknown{number}", link=f"{LINK}{number}?sandbox-unknown")
    work()

    assert order_for(key, service).provider.breaker == Breaker.CLOSED
    assert settled(Order.objects.latest("pk")).status == Status.COMPLETED
    assert Alert.objects.count() == 0


@pytest.mark.parametrize(
    ("word", "state"), [("", RefillState.COMPLETED), ("sandbox-norefill", RefillState.REJECTED)]
)
@pytest.mark.parametrize("by", ["", "staff"])
def test_refill_is_done_or_rejected_as_asked_and_never_staff_s(
    key: ApiKey, service: Service, word: str, state: RefillState, by: str
) -> None:
    service.refill_by = by
    service.save()
    order = settled(order_for(key, service, word))

    refill = refills.request(order, by=by_customer(key.customer, key))
    work()
    pass_(play_provider.REFILL_TAKES)
    work()

    refill.refresh_from_db()
    assert refill.state == state
    assert Alert.objects.count() == 0


def test_refill_of_what_was_never_sent_is_declined_and_stops_no_other(
    key: ApiKey, service: Service
) -> None:
    sent = settled(order_for(key, service))
    unsent = order_for(key, service)
    Order.objects.filter(pk=unsent.pk).update(
        status=Status.COMPLETED, external_id=None, send_after=None, next_check_at=None
    )
    unsent.refresh_from_db()
    refused, done = (
        refills.request(order, by=by_customer(key.customer, key)) for order in (unsent, sent)
    )

    for _ in range(3):
        pass_(60)
        work()

    refused.refresh_from_db()
    done.refresh_from_db()
    assert (refused.state, done.state) == (RefillState.REJECTED, RefillState.COMPLETED)
    assert not Alert.objects.exists()


def test_order_is_cancelled_before_and_after_it_was_sent(key: ApiKey, service: Service) -> None:
    waits, sent = order_for(key, service), order_for(key, service, link=f"{LINK}2")
    assert cancellations.request(waits, by=by_customer(key.customer, key)) is None
    work()
    pass_(20)
    work()
    kept = cancellations.request(sent, by=by_customer(key.customer, key))
    assert kept is not None
    work()
    pass_(5)
    work()

    kept.refresh_from_db()
    sent.refresh_from_db()
    work()
    kept.refresh_from_db()
    assert (waits.status, sent.status) == (Status.CANCELLED, Status.CANCELLED)
    assert kept.state == CancelState.DONE
    assert purse(sent) == FULL


def test_drip_feed_runs_and_pays_back_what_its_runs_lack(key: ApiKey, service: Service) -> None:
    order = order_for(key, service, "sandbox-partial", runs="2", interval="1")
    for _ in range(2):
        work()
        pass_(60)
        work()
        past = from_now(timedelta(seconds=-1))
        DripFeed.objects.exclude(next_run_at=None).update(next_run_at=past)
        Order.objects.filter(parent=order).update(sent_at=from_now(timedelta(minutes=-5)))
    work()

    order.refresh_from_db()
    runs = Order.objects.filter(parent=order)
    assert (
        list(runs.values_list("status", "sandbox", "provider"))
        == [(Status.PARTIAL, True, play_provider.provider().pk)] * 2
    )
    assert (order.status, order.remains) == (Status.PARTIAL, 800)
    assert purse(order) == FULL - order.charge + order.refunded
    assert order.refunded == order.charge * 4 / 10


def test_subscription_serves_posts_out_of_play_money(key: ApiKey) -> None:
    service = ServiceFactory(type=ServiceType.SUBSCRIPTIONS, cancel=True)
    values = {"username": "someone", "min": "100", "max": "1000", "posts": "4", "delay": "0"}
    order = order_for(key, service, **values, link="", quantity="")
    work()
    seen = []
    for _ in range(5):
        pass_(play_provider.POST_TAKES)
        work()
        order.subscription.refresh_from_db()
        seen.append((order.subscription.posts_served, order.subscription.served))

    order.refresh_from_db()
    assert seen == [(n, Decimal("1.3") * n) for n in (1, 2, 3, 4, 4)]
    assert (order.status, order.refunded) == (Status.COMPLETED, 0)
    assert purse(order) == FULL - order.charge


# --- nothing real moves --------------------------------------------------------------------------


def figures(staff: User) -> dict[str, Any]:
    """Everything that tells of the real shop, by what it is."""
    request = RequestFactory().get("/admin/")
    request.user = staff
    overview = dashboard(request, {})
    del overview["queue"]  # the jobs that wait are counted whoever they work for
    real = Provider.objects.exclude(dialect="play").order_by("pk")
    orders = Order.objects.filter(sandbox=False).order_by("pk")
    in_accounts = Posting.objects.exclude(account__in=(Account.WALLET, Account.PLAY))
    moved = in_accounts.values_list("account", "currency").order_by("account", "currency")
    facts.measure()
    return {
        "sales": sales_since(timezone.now() - timedelta(days=1)),
        "holdings": holdings(),
        "accounts": list(moved.annotate(Sum("amount"))),
        "wallets": list(Wallet.objects.filter(user__sandbox_of=None).values().order_by("pk")),
        "overview": json.dumps(overview, default=repr),
        "facts": list(ServiceFacts.objects.values_list("service", "orders", "completion_rate")),
        "books": list(BookReading.objects.values()),
        "providers": list(real.values()),
        "orders": list(orders.values()),
        "lost": (unconfirmed.ages(), list(unconfirmed.queue())),
        "alerts": list(Alert.objects.values()),
        "services": list(Service.objects.order_by("pk").values()),
    }


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name, figure in before.items():
        assert after[name] == figure, name


def test_no_figure_of_the_real_books_moves(key: ApiKey, service: Service) -> None:
    """All that sandbox keys can do, beside a shop that has sold, lost and promised something."""
    ExchangeRateFactory()
    staff = StaffFactory()
    real = WalletFactory(user=key.user, funds=50)
    for _ in range(facts.FEWEST):
        OrderFactory(wallet=real, service=service, sent=True, status=Status.COMPLETED)
    Order.objects.update(completed_at=timezone.now())
    OrderFactory(wallet=real, service=service, status=Status.UNCONFIRMED, link=LINK)
    OrderFactory(wallet=real, service=service, link=LINK)
    move_and_refund(OrderFactory(wallet=real, sent=True), Status.PARTIAL, Decimal("0.5"))
    BookReading.objects.create(
        provider=service.provider, balance=5, book=5, difference=0, outcome=Outcome.AGREED
    )
    ServiceFactory(type=ServiceType.SUBSCRIPTIONS)
    provider = play_provider.provider()
    twins.twin_of(key.user)
    before = figures(staff)

    for number, word in enumerate(play_provider.Magic):
        order_for(key, service, link=f"{LINK}{number}?{word}")
        order_for(key, service, link=f"{LINK}?{word}")
    order_for(key, service, link=f"{LINK}?sandbox-fail", runs="5", interval="1")
    subscription = Service.objects.get(type=ServiceType.SUBSCRIPTIONS)
    values = {"min": "100", "max": "1000", "posts": "3", "delay": "0", "link": "", "quantity": ""}
    order_for(key, subscription, username="someone", **values)
    order_for(key, subscription, username="sandbox-cancel", **values)
    xaf = api_keys.issue_sandbox(key.user, name="xaf", currency="XAF")[0]
    order_for(xaf, service)
    assert_same(before, figures(staff))
    play = Order.objects.filter(sandbox=True)
    dispatch.dispatch(provider)
    assert play.filter(status=Status.UNCONFIRMED).exists()
    assert_same(before, figures(staff))
    by = by_customer(key.customer, key)
    for _ in range(6):
        work()
        pass_(30)
        DripFeed.objects.exclude(next_run_at=None).update(next_run_at=from_now(timedelta(0)))
        play.exclude(run=None).update(sent_at=from_now(timedelta(minutes=-5)))
        refills.request_each(play.filter(status__in=sorted(refills.REFILLABLE)), by=by)
    for order in play.filter(parent=None):
        if cancellations.refusal(order) is None:
            cancellations.request(order, by=by)
    queued()
    tasks.beat()
    for job, *ids in queued():
        if ids == [provider.pk]:
            getattr(tasks, job)(*ids)
    twins.refill(key.user)
    tasks.read_balance(provider.pk)

    assert set(play.values_list("status", flat=True)) >= {*FINAL} - {Status.REFUNDED}
    assert Refill.objects.count() > 3
    # Whatever it was that handed one over to staff.
    handed_over = Refill.objects.filter(order__status=Status.COMPLETED).latest("pk").pk
    Refill.objects.filter(pk=handed_over).update(state=RefillState.MANUAL)
    assert_same(before, figures(staff))


# --- each wall on its own ------------------------------------------------------------------------


def test_neither_kind_of_order_is_ever_bought_where_the_other_is(
    key: ApiKey, service: Service
) -> None:
    played = order_for(key, service)
    real = OrderFactory(service=service, wallet=WalletFactory())
    provider = play_provider.provider()
    Order.objects.filter(pk=played.pk).update(provider=service.provider)
    Order.objects.filter(pk=real.pk).update(provider=provider)

    assert list(dispatch.due()) == []
    for at in (provider, service.provider):
        assert dispatch.claim(at, limit=9) == []
    for order in (played, real):
        order.refresh_from_db()
        with pytest.raises(WrongProvider):
            dispatch.upstream_order(order)
    Order.objects.update(status=Status.UNCONFIRMED)
    assert list(reconciliation.due()) == []
    assert [(each.rule, each.subject) for each in breaches()] == [
        ("order_not_apart", played.subject),
        ("order_not_apart", real.subject),
    ]

    Order.objects.filter(pk=played.pk).update(provider=provider)
    Order.objects.filter(pk=real.pk).update(provider=service.provider)


def test_customer_wallet_and_key_must_be_of_one_account(key: ApiKey, service: Service) -> None:
    real_key = api_keys.issue(key.user, name="real", currency="USD")[0]
    another = api_keys.issue_sandbox(UserFactory(), name="other", currency="USD")[0]
    draft = OrderDraft(service_id=service.pk, values={"link": LINK, "quantity": "1000"})
    before = Posting.objects.count()

    for customer, with_key in (
        (key.customer, real_key),
        (key.customer, another),
        (key.customer, None),
        (key.user, key),
    ):
        with pytest.raises(WrongAccount):
            checkout.place_order(
                customer=customer,
                currency="USD",
                draft=draft,
                source=Source.REST,
                api_key=with_key,
            )

    with pytest.raises(WrongAccount):
        is_for_play(key.user, wallet=ledger.wallet_of(key.customer, "USD"), api_key=None)

    assert (Order.objects.count(), Posting.objects.count()) == (0, before)


def test_database_refuses_a_sandbox_order_paid_with_real_money(
    key: ApiKey, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orders.play.account_of", lambda order: Account.SALES)

    with pytest.raises(IntegrityError):
        order_for(key, service)

    assert Order.objects.count() == 0


def test_database_refuses_a_substitute_and_a_book_of_play_orders(
    key: ApiKey, service: Service
) -> None:
    order = order_for(key, service)

    for column, value in (("sent_service", service), ("booked", 1)):
        with pytest.raises(IntegrityError), transaction.atomic():
            Order.objects.filter(pk=order.pk).update(**{column: value})


def test_substitute_takes_no_sandbox_order(key: ApiKey, service: Service) -> None:
    Substitute.objects.create(service=service, substitute=ServiceFactory())
    order = order_for(key, service)
    Provider.objects.filter(dialect="play").update(breaker=Breaker.OPEN)

    assert not failover.pass_on(order, why="refused")
    assert failover.pass_on_interrupted() == 0


def test_orders_of_a_link_wait_only_for_their_own_kind(key: ApiKey, service: Service) -> None:
    other = api_keys.issue_sandbox(UserFactory(), name="other", currency="USD")[0]
    first, second, others = (order_for(each, service) for each in (key, key, other))
    OrderFactory(service=service, link_key=first.link_key, status=Status.UNCONFIRMED)
    real = OrderFactory(service=service, link_key=first.link_key)
    link = {(service.pk, first.link_key)}

    assert list(dispatch.due().order_by("pk")) == [first, others]
    assert {pk: order.pk for pk, order in queueing.waiting([first, second, others, real]).items()}[
        second.pk
    ] == first.pk
    assert set(queueing.waiting([first, second, others, real])) == {second.pk, real.pk}
    stranger = api_keys.issue_sandbox(UserFactory(), name="third", currency="USD")[0]
    assert queueing.taken(link, by=stranger.customer) == set()
    for customer in (key.customer, key.user):
        assert queueing.taken(link, by=customer) == link
        assert queueing.is_taken(service, first.link_key, by=customer)


def test_sandbox_order_holds_no_real_one_up(key: ApiKey, service: Service) -> None:
    played = order_for(key, service)
    assert not queueing.is_taken(service, played.link_key, by=key.user)
    assert queueing.taken({(service.pk, played.link_key)}, by=key.user) == set()

    real = OrderFactory(service=service, link_key=played.link_key)

    assert queueing.waits_for(real) is None
    assert list(dispatch.due().order_by("pk")) == [played, real]


def test_found_after_staff_paid_it_back_it_is_no_loss(key: ApiKey, service: Service) -> None:
    order = order_for(key, service, "sandbox-unknown")
    work()
    order.refresh_from_db()
    move_and_refund(order, Status.CANCELLED, order.charge)

    assert unconfirmed.found_after_refund(order, "77", by=unconfirmed.JOB)

    assert not Posting.objects.filter(account=Account.LOSSES).exists()
    assert Alert.objects.count() == 0


def test_balance_of_play_money_is_asked_for_by_nobody(service: Service) -> None:
    play_provider.provider()

    tasks.read_balances()

    assert queued() == [("read_balance", service.provider_id)]


def test_restored_backup_goes_on_with_play(key: ApiKey, service: Service) -> None:
    order = order_for(key, service)

    assert restoring.hold_everything() == (1, 0)

    assert settled(order).status == Status.COMPLETED


def test_own_orders_keys_and_refills_are_not_the_owner_s(key: ApiKey, service: Service) -> None:
    order = order_for(key, service)

    assert order.customer == key.customer != key.user
    assert listing.find_many(key.user, [str(order.pk)]) == {}
    assert list(listing.find_many(key.customer, [str(order.pk)])) == [str(order.pk)]


def test_both_dialects_sell_for_play(client: Any, customer: User, service: Service) -> None:
    text = api_keys.issue_sandbox(customer, name="test", currency="USD")[1]
    own = api_keys.issue(customer, name="real", currency="USD")[1]
    asked = {"action": "add", "service": service.pk, "link": LINK, "quantity": 1000}

    order = client.post("/api/v2", {"key": text, **asked}).json()["order"]
    balance = client.get("/api/v1/balance", headers={"X-API-Key": text}).json()["balance"]
    settled(Order.objects.get(pk=order))
    status = {"action": "status", "order": order}
    told, to_owner = (
        client.post("/api/v2", {"key": key, **status}).json().get("status") for key in (text, own)
    )

    assert balance == 998.7
    assert (told, to_owner) == ("Completed", None)
