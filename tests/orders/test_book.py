"""Our book of a provider's balance: what was bought and paid back is in it, what nobody can explain
is in front of staff, and a reading while something is being sent does not count."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from accounts.clock import from_now
from catalog import health
from catalog.order_types import ServiceType
from catalog.sandbox.misbehaviour import Kind
from orders import book, dispatch, tracking, unconfirmed
from orders.cancellations import ActionRefused, cancel_and_refund
from orders.models import BookReading, EvidenceKind, Order, Outcome, Verdict
from orders.statuses import Status
from tests.factories import ServiceFactory, StaffFactory
from tests.orders.conftest import MENU, make_due, open_alerts, sent, waiting
from tests.sandbox import DAY

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("books")]

RATE = MENU[ServiceType.DEFAULT].rate


@pytest.fixture
def provider(db, sandbox):
    provider = sandbox.provider()
    item = MENU[ServiceType.DEFAULT]
    ServiceFactory(provider=provider, external_id=str(item.id), provider_rate=item.rate)
    return provider


@pytest.fixture
def begun(provider):
    """The provider, its book begun."""
    book.read(provider)
    return provider


def read(provider):
    """One more reading; returns what it told, and the difference that is left."""
    provider.refresh_from_db()
    book.read(provider)
    last = BookReading.objects.first()
    return last.outcome, last.difference


def differs(provider):
    return ("provider_book_differs", f"provider:{provider.pk}")


def spend(sandbox, amount):
    """Somebody else takes this from our account there (or, negative, puts it in)."""
    sandbox.set_balance(sandbox.balance - Decimal(amount))


# --- what an order costs -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "cost"),
    [
        ({"type": "Default", "quantity": 250}, "0.35"),
        ({"type": "Default", "quantity": 500, "runs": 5, "interval": 1}, "0.7"),
        ({"type": "Package", "quantity": 1}, "1.4"),
        ({"type": "Custom Comments", "quantity": 3}, "0.0042"),
        ({"type": "Subscriptions", "quantity": 3000}, None),
    ],
)
def test_cost_is_the_rate_on_what_the_type_is_charged_on(columns, cost):
    order = Order(provider_rate=Decimal("1.4"), **columns)

    assert book.cost(order) == (None if cost is None else Decimal(cost))


@pytest.mark.parametrize(
    ("columns", "net"),
    [
        ({"status": "in_progress"}, "1.4"),
        ({"status": "in_progress", "upstream_charge": Decimal("1.5")}, "1.5"),
        ({"status": "in_progress", "upstream_charge": Decimal(0)}, "1.4"),
        ({"status": "completed", "upstream_charge": Decimal(0)}, "1.4"),
        ({"status": "partial", "remains": 250}, "1.05"),
        ({"status": "partial", "remains": 250, "upstream_charge": Decimal(1)}, "1"),
        ({"status": "cancelled", "last_checked_at": "then"}, "0"),
        ({"status": "cancelled", "last_checked_at": "then", "upstream_charge": Decimal(1)}, "1"),
        ({"status": "cancelled"}, "1.4"),
        ({"status": "in_progress", "type": "Subscriptions"}, "0"),
        (
            {"status": "partial", "type": "Subscriptions", "upstream_charge": Decimal("0.3")},
            "0.3",
        ),
    ],
)
def test_what_the_provider_tells_counts_and_else_what_was_delivered(columns, net):
    order = Order(
        **{"type": "Default", "quantity": 1000, "provider_rate": Decimal("1.4"), **columns}
    )

    assert book.net_cost(order) == Decimal(net)


# --- it agrees -----------------------------------------------------------------------------------


def test_first_reading_begins_the_book(sandbox, provider):
    sent(provider, sandbox)

    assert read(provider) == (Outcome.OPENED, 0)

    provider.refresh_from_db()
    assert provider.balance == provider.book_balance == sandbox.balance
    assert provider.balance_at is not None
    assert read(provider) == (Outcome.AGREED, 0)


def test_what_is_bought_is_taken_off_once(sandbox, begun):
    sent(begun, sandbox)
    sent(begun, sandbox, quantity=300)

    assert read(begun) == (Outcome.AGREED, 0)
    assert read(begun) == (Outcome.AGREED, 0)

    begun.refresh_from_db()
    assert begun.book_balance == sandbox.balance
    assert open_alerts() == set()


def test_what_the_provider_pays_back_is_put_in_again(sandbox, begun):
    order = sent(begun, sandbox)
    read(begun)
    sandbox.end_partial(int(order.external_id), remains=250)
    tracking.poll(begun)
    order.refresh_from_db()
    assert order.status == Status.PARTIAL

    assert read(begun) == (Outcome.AGREED, 0)
    Order.objects.update(next_check_at=None)
    assert read(begun) == (Outcome.AGREED, 0)

    order.refresh_from_db()
    assert (order.booked, order.book_closed) == (RATE * 3 / 4, True)


def test_orders_that_are_over_are_not_counted_again(sandbox, begun):
    for number in range(3):
        sent(begun, sandbox, link=f"https://instagram.com/{number}")
    sandbox.advance(DAY)
    make_due()
    tracking.poll(begun)
    Order.objects.update(next_check_at=None)

    read(begun)

    assert Order.objects.filter(book_closed=False).count() == 0
    assert read(begun) == (Outcome.AGREED, 0)


def test_roundings_are_no_difference_and_do_not_add_up(sandbox, begun):
    for _ in range(5):
        spend(sandbox, "0.008")
        assert read(begun) == (Outcome.AGREED, 0)

    assert open_alerts() == set()


# --- it differs ----------------------------------------------------------------------------------


def test_unexplained_difference_stays_in_front_of_staff_until_they_accept_it(sandbox, begun):
    spend(sandbox, 5)

    assert read(begun) == (Outcome.DIFFERS, -5)
    assert read(begun) == (Outcome.DIFFERS, -5)
    sent(begun, sandbox)
    assert read(begun) == (Outcome.DIFFERS, -5)
    assert open_alerts() == {differs(begun)}

    staff = StaffFactory()
    reading = BookReading.objects.first()
    assert book.accept(reading, actor=staff) == -5

    assert open_alerts() == set()
    accepted = BookReading.objects.first()
    assert (accepted.outcome, accepted.noted, accepted.actor) == (Outcome.ACCEPTED, -5, staff)
    assert read(begun) == (Outcome.AGREED, 0)
    for refused in (reading, BookReading.objects.first()):
        with pytest.raises(ActionRefused):
            book.accept(refused, actor=staff)


def test_alert_has_the_figures_and_is_counted_only_when_they_change(sandbox, begun):
    from accounts.models import Alert

    before = sandbox.balance
    spend(sandbox, 5)
    for _ in range(3):
        read(begun)

    told = Alert.objects.get()
    assert told.times == 1
    for figure in (before, before - 5, -5):
        assert f"{Decimal(figure).normalize():f}" in told.message
    spend(sandbox, 1)
    read(begun)
    assert Alert.objects.get().times == 2


def test_difference_that_explains_itself_closes_the_review(sandbox, begun):
    """The provider took more than its list says, and tells so with the next status."""
    order = sent(begun, sandbox)
    spend(sandbox, 1)
    assert read(begun) == (Outcome.DIFFERS, -1)

    Order.objects.filter(pk=order.pk).update(upstream_charge=RATE + 1)

    assert read(begun) == (Outcome.AGREED, 0)
    assert open_alerts() == set()


def test_top_up_is_recognised_and_what_was_in_review_stays(sandbox, begun):
    spend(sandbox, 5)
    read(begun)
    spend(sandbox, -100)

    assert read(begun) == (Outcome.TOPPED_UP, -5)

    assert BookReading.objects.first().noted == 100
    assert open_alerts() == {differs(begun)}
    assert read(begun) == (Outcome.DIFFERS, -5)


def test_top_up_lets_orders_that_wait_for_funds_go(sandbox, begun):
    begun.__class__.objects.update(funds_wait_until=from_now(timedelta(hours=1)))
    spend(sandbox, -100)

    assert read(begun) == (Outcome.TOPPED_UP, 0)

    begun.refresh_from_db()
    assert begun.funds_wait_until is None


def test_more_than_expected_may_be_paid_back_for_an_order_and_is_waited_for(sandbox, begun):
    order = sent(begun, sandbox)
    read(begun)
    sandbox.cancel(int(order.external_id))

    assert read(begun) == (Outcome.WAITING, RATE)
    make_due()
    tracking.poll(begun)

    assert read(begun) == (Outcome.AGREED, 0)
    assert open_alerts() == set()


def test_what_nobody_claims_in_time_is_a_top_up(sandbox, begun):
    sent(begun, sandbox)
    read(begun)
    spend(sandbox, "-0.5")
    assert read(begun) == (Outcome.WAITING, Decimal("0.5"))
    BookReading.objects.filter(outcome=Outcome.WAITING).update(at=from_now(timedelta(minutes=-46)))

    assert read(begun) == (Outcome.TOPPED_UP, 0)


# --- what does not count -------------------------------------------------------------------------


def test_reading_while_an_order_is_being_sent_does_not_count(sandbox, begun):
    waiting(begun)
    dispatch.claim(begun, limit=1)
    readings = BookReading.objects.count()
    spend(sandbox, 5)

    read(begun)

    assert BookReading.objects.count() == readings
    begun.refresh_from_db()
    assert begun.balance == sandbox.balance


@pytest.mark.parametrize("kind", [None, Kind.LOSE_REPLY])
def test_reading_during_which_something_was_sent_does_not_count(sandbox, begun, monkeypatch, kind):
    order = waiting(begun)
    readings = BookReading.objects.count()
    real = health.guarded

    class Meanwhile:
        def __init__(self, provider):
            self.client = real(provider)

        def balance(self):
            answer = self.client.balance()
            if kind:
                sandbox.misbehave("add", kind)
            dispatch.dispatch(begun)
            return answer

    monkeypatch.setattr(health, "guarded", Meanwhile)

    read(begun)

    order.refresh_from_db()
    assert order.status != Status.PENDING
    assert BookReading.objects.count() == readings


@pytest.mark.parametrize("kind", [Kind.ERROR_500, Kind.HTML, Kind.NAN, Kind.TOO_MANY])
def test_balance_that_cannot_be_read_changes_nothing(sandbox, begun, kind):
    before = type(begun).objects.values("balance", "book_balance").get()
    sandbox.misbehave("balance", kind)
    spend(sandbox, 5)

    read(begun)

    assert type(begun).objects.values("balance", "book_balance").get() == before


def test_account_in_another_currency_is_told_and_not_compared(sandbox, begun):
    readings = BookReading.objects.count()
    sandbox.answer("balance", {"balance": "3", "currency": "TRY"})

    read(begun)

    assert open_alerts() == {("provider_currency_differs", f"provider:{begun.pk}")}
    assert BookReading.objects.count() == readings
    read(begun)
    assert open_alerts() == set()


def test_low_balance_is_told_and_the_alert_closes_itself(sandbox, begun):
    type(begun).objects.update(low_balance=sandbox.balance - 1)
    read(begun)
    assert open_alerts() == set()
    spend(sandbox, 2)
    read(begun)
    low = ("provider_low_balance", f"provider:{begun.pk}")
    assert low in open_alerts()

    spend(sandbox, -2)
    read(begun)

    assert low not in open_alerts()


def test_old_readings_are_forgotten(sandbox, begun):
    BookReading.objects.update(at=from_now(timedelta(days=-31)))

    read(begun)

    assert BookReading.objects.count() == 1


# --- orders of unknown outcome -------------------------------------------------------------------


def lose(provider, sandbox, kind=Kind.LOSE_REPLY, **columns):
    order = waiting(provider, **columns)
    sandbox.misbehave("add", kind)
    dispatch.dispatch(provider)
    order.refresh_from_db()
    assert order.status == Status.UNCONFIRMED
    return order


def told(order):
    known = unconfirmed.known_of([order])[order.pk]
    return Verdict(known[EvidenceKind.BALANCE].verdict)


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [(Kind.LOSE_REPLY, Verdict.BOUGHT), (Kind.RESET, Verdict.NOT_BOUGHT)],
)
def test_balance_tells_whether_the_one_lost_order_was_bought(sandbox, begun, kind, verdict):
    order = lose(begun, sandbox, kind)

    assert read(begun)[0] == Outcome.UNKNOWN

    assert told(order) == verdict
    assert open_alerts() == {("order_unconfirmed", order.subject)}


def test_balance_tells_of_several_only_what_every_explanation_has_in_common(sandbox, begun):
    twins = [lose(begun, sandbox), lose(begun, sandbox, Kind.RESET)]
    single = lose(begun, sandbox, quantity=200)
    health.close(begun)  # so many lost calls have interrupted the provider

    read(begun)

    assert [told(order) for order in (*twins, single)] == [
        Verdict.UNCLEAR,
        Verdict.UNCLEAR,
        Verdict.BOUGHT,
    ]


def test_standing_difference_does_not_disturb_the_comparison(sandbox, begun):
    spend(sandbox, 5)
    read(begun)
    bought, not_bought = lose(begun, sandbox, quantity=200), lose(begun, sandbox, Kind.RESET)

    read(begun)

    assert (told(bought), told(not_bought)) == (Verdict.BOUGHT, Verdict.NOT_BOUGHT)


def test_order_lost_earlier_and_paid_back_is_one_of_the_explanations(sandbox, begun):
    first = lose(begun, sandbox)
    read(begun)
    first.refresh_from_db()
    cancel_and_refund(first, actor=StaffFactory(), reason="x")
    second = lose(begun, sandbox, Kind.RESET)

    read(begun)

    assert told(second) == Verdict.UNCLEAR


def test_difference_that_no_lost_order_explains_is_reviewed(sandbox, begun):
    order = lose(begun, sandbox)
    spend(sandbox, 5)

    read(begun)

    assert told(order) == Verdict.UNCLEAR
    assert open_alerts() == {("order_unconfirmed", order.subject), differs(begun)}


def test_price_below_what_the_provider_shows_of_its_balance_tells_nothing(sandbox, begun):
    """A balance in cents does not move for an order of a tenth of a cent."""
    sandbox.set_balance("100.00")
    BookReading.objects.all().delete()
    type(begun).objects.update(book_balance=None)
    read(begun)
    order = lose(begun, sandbox, Kind.RESET, quantity=1)

    sandbox.answer("balance", {"balance": "100.00", "currency": "USD"})
    read(begun)

    assert book.cost(order) < Decimal("0.02")
    assert told(order) == Verdict.UNCLEAR


def test_subscription_of_unknown_outcome_is_not_told_by_the_balance(sandbox, begun):
    order = lose(begun, sandbox, Kind.RESET)
    Order.objects.filter(pk=order.pk).update(type=ServiceType.SUBSCRIPTIONS)

    read(begun)

    assert told(order) == Verdict.UNCLEAR


def test_lost_before_the_book_began_is_not_told_by_it(sandbox, provider):
    order = lose(provider, sandbox)
    read(provider)

    read(provider)

    assert told(order) == Verdict.UNCLEAR


def test_accepting_while_an_order_is_lost_leaves_nothing_to_compare(sandbox, begun):
    order = lose(begun, sandbox, Kind.RESET)
    spend(sandbox, 5)
    read(begun)
    book.accept(BookReading.objects.first(), actor=StaffFactory())

    read(begun)

    assert told(order) == Verdict.UNCLEAR


def test_linked_order_is_in_the_book_and_the_books_agree(sandbox, begun):
    order = lose(begun, sandbox)
    read(begun)
    unconfirmed.mark_sent_as(order, str(sandbox.orders[0].id), actor=StaffFactory(), reason="found")

    assert read(begun) == (Outcome.AGREED, 0)


def test_more_orders_than_can_be_told_apart_are_told_all_or_none():
    lost = [
        Order(pk=number, provider_rate=Decimal("1.4"), type="Default", quantity=number * 100)
        for number in range(1, 13)
    ]
    total = sum(book.cost(order) for order in lost)
    cent = Decimal("0.01")

    assert set(book._told_apart(lost, Decimal(0), cent)[0].values()) == {Verdict.NOT_BOUGHT}
    assert set(book._told_apart(lost, -total, cent)[0].values()) == {Verdict.BOUGHT}
    assert set(book._told_apart(lost, -total / 2, cent)[0].values()) == {Verdict.UNCLEAR}
