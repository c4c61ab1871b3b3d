"""Many orders at once: what a text means, what it would cost, and each line placed once."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pytest
from django_q.models import OrmQ

from accounts.ledger import InsufficientFunds
from accounts.models import Posting, User
from catalog.listing import ServiceNotFound, ServiceUnavailable
from catalog.models import SameLink
from catalog.order_types import ORDER_TYPES, ServiceType
from orders import mass, tasks
from orders.checkout import InvalidOrder, LinkBusy, place_order
from orders.mass import Agreed, ColumnsWrong, Fault, TableRefused
from orders.models import LineState, MassLine, MassOrder, Order, Source
from orders.refusals import LineDearer
from orders.requests import OrderDraft, Problem, ProblemCode
from tests.factories import (
    ExchangeRateFactory,
    OrderFactory,
    ServiceFactory,
    UserFactory,
    fund,
)

LINK = "https://instagram.com/someone"


def plan(wallet, text):
    return mass.plan(customer=wallet.user, currency=wallet.currency, text=text)


def agreed(number, service, *, charge="1.30", **values):
    return Agreed(
        number, str(service.pk), {"link": LINK, "quantity": "1000", **values}, Decimal(charge)
    )


@pytest.fixture
def confirmed(wallet, service):
    """A mass order of three lines, 1.30 each, of a wallet that holds 10."""
    return mass.confirm(
        customer=wallet.user,
        currency="USD",
        uuid=uuid.uuid4(),
        lines=[agreed(number, service) for number in (1, 2, 4)],
    )


def states(order):
    return {line.number: line.state for line in order.lines.all()}


# --- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "12|a|5\n13|b|6",
        " 12 | a | 5 \r\n 13 | b | 6 \r\n",
        "\ufeff12|a|5\r13|b|6",
        "12\ta\t5\n13\tb\t6",
        "12;a;5;;\n13;b;6;;",
        "12,a,5\n13,b,6",
        '"12","a","5"\n"13","b","6"',
        "#12|a|5\n#13|b|6",
    ],
)
def test_read_takes_the_common_marks_between_columns(text):
    assert [(g.number, g.service, g.cells, g.names) for g in mass.read(text)] == [
        (1, "12", ("a", "5"), None),
        (2, "13", ("b", "6"), None),
    ]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_read_takes_columns_by_their_heading(mark):
    rows = [("Quantity", "Service ID", "link"), ("5", "12", "a"), ("", "13", "b")]
    text = "\ufeff" + "\r\n".join(mark.join(row) for row in rows)

    lines = mass.read(text)

    assert [(g.number, g.service, g.cells, g.names) for g in lines] == [
        (2, "12", ("5", "a"), ("quantity", "link")),
        (3, "13", ("", "b"), ("quantity", "link")),
    ]


def test_read_counts_lines_as_an_editor_does():
    assert [g.number for g in mass.read("\n12|a|5\n\n \n13|b|6\n")] == [2, 5]


def test_read_counts_a_cell_of_several_lines_as_one_row():
    lines = mass.read('service,link,comments\n12,a,"one\ntwo"\n13,b,"three"')

    assert [(g.number, g.cells) for g in lines] == [(2, ("a", "one\ntwo")), (3, ("b", "three"))]


def test_read_leaves_quotation_marks_in_comments():
    (line,) = mass.read('12|a|"Wow", she said \\ 5" tall')

    assert line.cells == ("a", '"Wow", she said \\ 5" tall')


@pytest.mark.parametrize(
    ("text", "fault", "params"),
    [
        ("", Fault.EMPTY, {}),
        (" \n\t\n", Fault.EMPTY, {}),
        ("service,link\n", Fault.EMPTY, {}),
        ("12|a|5\n" * 1001, Fault.TOO_MANY, {"limit": 1000}),
        ("12|a|5" + "\n" * 30_000 + "13|b|6", Fault.TOO_MANY, {"limit": 1000}),
        ("x" * 500_001, Fault.TOO_LONG, {"limit": 500}),
        ("é" * 250_001, Fault.TOO_LONG, {"limit": 500}),
        ("service,link,colour\n12,a,red", Fault.UNKNOWN_COLUMN, {"column": "colour"}),
        ("service,link,Link\n12,a,b", Fault.DOUBLE_COLUMN, {"column": "link"}),
        ('service,link\n12,"a\n13,b', Fault.QUOTES, {"line": 3}),
        ("service,link\n12," + "x" * 200_000, Fault.QUOTES, {"line": 2}),
    ],
)
def test_read_refuses_a_text_as_a_whole(text, fault, params):
    with pytest.raises(TableRefused) as refused:
        mass.read(text)

    assert (refused.value.fault, refused.value.params) == (fault, params)


def test_read_takes_a_thousand_lines():
    assert len(mass.read("12|a|5\n" * 1000)) == 1000


def test_decode_takes_utf8_with_and_without_its_mark():
    assert mass.decode("service;é".encode("utf-8-sig")) == "service;é"
    assert mass.decode("service;é".encode()) == "service;é"


def test_decode_refuses_other_encodings():
    with pytest.raises(TableRefused) as refused:
        mass.decode("service;é".encode("latin-1"))

    assert refused.value.fault is Fault.NOT_TEXT


# --- the preview --------------------------------------------------------------------------------


def test_plan_prices_each_line_and_the_whole(wallet, service):
    found = plan(wallet, f"{service.pk}|{LINK}|1000\n{service.pk}|@other|3001")

    assert [(line.quantity, line.charge) for line in found.good] == [
        (1000, Decimal("1.30")),
        (3001, Decimal("3.9013")),
    ]
    assert (found.total, found.balance, found.missing) == (Decimal("5.2013"), 10, 0)
    assert found.bad == []


def test_plan_tells_what_the_wallet_lacks(wallet, service):
    found = plan(wallet, f"{service.pk}|{LINK}|10000\n{service.pk}|@other|10")

    assert (found.total, found.missing) == (Decimal("13.013"), Decimal("3.013"))


def test_plan_prices_in_the_chosen_currency(wallet, service):
    ExchangeRateFactory()

    found = mass.plan(customer=wallet.user, currency="XAF", text=f"{service.pk}|{LINK}|1000")

    assert (found.total, found.balance, found.missing) == (780, 0, 780)


def test_plan_says_what_is_wrong_with_each_line(wallet, service):
    off = ServiceFactory(disabled_by_staff=True)
    text = "\n".join(
        [
            f"{service.pk}|{LINK}|1000",
            f"{service.pk}|{LINK}|9",
            f"x|{LINK}|1000",
            f"999999|{LINK}|1000",
            f"{10**30}|{LINK}|1000",
            f"{off.pk}|{LINK}|1000",
            f"{service.pk}|{LINK}",
            f"{service.pk}|{LINK}|1000|1|1|1|1|1",
            f"|{LINK}|1000",
        ]
    )

    found = plan(wallet, text)

    def wrong(line):
        problem = line.problem
        if isinstance(problem, InvalidOrder):
            return [(each.field, each.code) for each in problem.problems]
        return problem.columns if isinstance(problem, ColumnsWrong) else type(problem)

    assert [line.given.number for line in found.good] == [1]
    assert {line.given.number: wrong(line) for line in found.bad} == {
        2: [("quantity", ProblemCode.TOO_SMALL)],
        3: [("service_id", ProblemCode.INVALID)],
        4: ServiceNotFound,
        5: ServiceNotFound,
        6: ServiceUnavailable,
        7: ("service", "link", "quantity"),
        8: ("service", "link", "quantity", "runs", "interval"),
        9: [("service_id", ProblemCode.REQUIRED)],
    }
    assert found.total == Decimal("1.30")


# One good line of each type, as its columns stand in the table of order types.
LINES = {
    ServiceType.DEFAULT: "@someone|100",
    ServiceType.PACKAGE: "@someone",
    ServiceType.SEO: "https://example.com|100|shoes \\ red shoes",
    ServiceType.CUSTOM_COMMENTS: "@someone|Nice\\Great!",
    ServiceType.CUSTOM_COMMENTS_PACKAGE: "@someone|Nice\\Great!",
    ServiceType.MENTIONS: "@someone|100|@a\\@b",
    ServiceType.MENTIONS_WITH_HASHTAGS: "@someone|100|a\\b|#x\\#y",
    ServiceType.MENTIONS_CUSTOM_LIST: "@someone|a\\b\\c",
    ServiceType.MENTIONS_HASHTAG: "@someone|100|#x",
    ServiceType.MENTIONS_USER_FOLLOWERS: "@someone|100|other",
    ServiceType.MENTIONS_MEDIA_LIKERS: "@someone|100|https://instagram.com/p/abc",
    ServiceType.COMMENT_LIKES: "https://instagram.com/p/abc|100|other",
    ServiceType.COMMENT_REPLIES: "https://instagram.com/p/abc|other|Yes\\No",
    ServiceType.POLL: "https://instagram.com/p/abc|100|2",
    ServiceType.INVITES_FROM_GROUPS: "@someone|100|https://t.me/one\\https://t.me/two",
    ServiceType.SUBSCRIPTIONS: "someone|10|20|0|5",
    ServiceType.WEB_TRAFFIC: "https://example.com|100|FR|1|3",
}


@pytest.mark.parametrize("kind", sorted(ORDER_TYPES))
def test_every_type_can_be_ordered_by_a_line(customer, wallet, kind):
    service = ServiceFactory(type=kind, min_quantity=1)
    found = plan(wallet, f"{service.pk}|{LINES[kind]}")

    order = mass.confirm(
        customer=customer,
        currency="USD",
        uuid=uuid.uuid4(),
        lines=[
            Agreed(line.given.number, line.given.service, line.values, line.charge)
            for line in found.good
        ],
    )
    mass.place(order.pk)

    (line,) = order.lines.all()
    assert (line.state, line.problem) == (LineState.PLACED, {})
    assert (line.order.type, line.order.charge) == (kind, found.total)


def test_lists_stand_in_one_column(wallet):
    service = ServiceFactory(type=ServiceType.CUSTOM_COMMENTS, min_quantity=1)

    found = plan(
        wallet,
        f'service;comments;link\n{service.pk};One \\ Two;@a\n{service.pk};"One\nTwo\n\nThree";@b',
    )

    assert [line.quantity for line in found.good] == [2, 3]


def test_plan_points_out_a_link_that_comes_twice(wallet, service):
    service.same_link = SameLink.QUEUE
    service.save()

    found = plan(
        wallet,
        f"{service.pk}|@someone|100\n{service.pk}|@other|100\n"
        f"{service.pk}|https://www.instagram.com/someone/?igsh=x|100",
    )

    assert [(line.same_as, line.queues) for line in found.good] == [
        (None, True),
        (None, True),
        (1, True),
    ]


def test_plan_refuses_a_link_that_comes_twice_where_only_one_is_taken(wallet, service):
    service.same_link = SameLink.REFUSE
    service.save()

    found = plan(wallet, f"{service.pk}|@someone|100\n{service.pk}|{LINK}|100")

    assert [line.given.number for line in found.good] == [1]
    assert [type(line.problem) for line in found.bad] == [LinkBusy]


@pytest.mark.parametrize(
    ("rule", "waits", "problems"),
    [
        (SameLink.QUEUE, [True], []),
        (SameLink.REFUSE, [], [LinkBusy]),
        (SameLink.OFF, [False], []),
    ],
)
def test_plan_tells_of_earlier_orders_of_the_link(wallet, service, rule, waits, problems):
    service.same_link = rule
    service.save()
    OrderFactory(service=service, sent=True, link_key="instagram:@someone")

    found = plan(wallet, f"{service.pk}|{LINK}|100")

    assert [line.waits for line in found.good] == waits
    assert [type(line.problem) for line in found.bad] == problems


@pytest.mark.parametrize("lines", [1, 3, 200])
def test_plan_costs_the_same_queries_however_many_lines(wallet, lines, django_assert_num_queries):
    services = ServiceFactory.create_batch(min(lines, 3), same_link=SameLink.QUEUE)
    text = "\n".join(
        f"{services[number % len(services)].pk}|@name{number}|100" for number in range(lines)
    )

    with django_assert_num_queries(7):
        assert len(plan(wallet, text).good) == lines


def test_plan_writes_nothing(wallet, service):
    before = Posting.objects.count(), Order.objects.count()

    plan(wallet, f"{service.pk}|{LINK}|1000")

    assert (Posting.objects.count(), Order.objects.count()) == before


# --- confirming ---------------------------------------------------------------------------------


def test_confirm_keeps_the_lines_and_wakes_the_job(confirmed, wallet):
    assert states(confirmed) == dict.fromkeys((1, 2, 4), LineState.WAITING)
    assert [job.func() for job in OrmQ.objects.all()] == ["orders.tasks.place_mass_order"]
    wallet.refresh_from_db()
    assert wallet.balance == 10


def test_confirmed_twice_it_is_one(confirmed, customer, service):
    again = mass.confirm(
        customer=customer,
        currency="USD",
        uuid=confirmed.uuid,
        lines=[agreed(1, service)],
    )

    assert again == confirmed
    assert MassLine.objects.count() == 3


@pytest.mark.parametrize(
    ("charges", "refused"), [(["9", "2"], InsufficientFunds), ([], TableRefused)]
)
def test_confirm_refuses_and_changes_nothing(customer, wallet, service, charges, refused):
    with pytest.raises(refused):
        mass.confirm(
            customer=customer,
            currency="USD",
            uuid=uuid.uuid4(),
            lines=[agreed(n, service, charge=charge) for n, charge in enumerate(charges)],
        )

    assert (MassOrder.objects.count(), OrmQ.objects.count()) == (0, 0)


# --- placing ------------------------------------------------------------------------------------


def test_place_makes_an_order_of_each_line(confirmed, customer, wallet, books):
    assert mass.place(confirmed.pk) is False

    confirmed.refresh_from_db()
    assert confirmed.finished_at is not None
    assert states(confirmed) == dict.fromkeys((1, 2, 4), LineState.PLACED)
    orders = Order.objects.filter(customer=customer)
    assert [order.source for order in orders] == [Source.WEB] * 3
    assert {line.order for line in confirmed.lines.all()} == set(orders)
    wallet.refresh_from_db()
    assert wallet.balance == Decimal("6.10")
    assert mass.progress(confirmed) == mass.Progress(0, 3, 0, Decimal("3.90"))


def test_place_run_again_changes_nothing(confirmed, books):
    mass.place(confirmed.pk)

    assert mass.place(confirmed.pk) is False

    assert Order.objects.count() == 3


def test_a_line_whose_order_was_made_before_gets_that_order(confirmed, customer, books):
    """As after a kill between an order and its line, if they were ever two transactions."""
    line = confirmed.lines.get(number=2)
    made = place_order(
        customer=customer,
        currency="USD",
        draft=OrderDraft(line.service_id_given, line.values),
        source=Source.WEB,
        idempotency_key=f"mass:{confirmed.uuid}:2",
    ).order

    mass.place(confirmed.pk)

    line.refresh_from_db()
    assert line.order == made
    assert Order.objects.count() == 3


def test_place_goes_on_after_a_crash(confirmed, monkeypatch, books):
    real, calls = mass.checkout.place_order, []

    def crashing(**how):
        calls.append(how)
        if len(calls) == 2:
            real(**how)
            raise SystemExit
        return real(**how)

    monkeypatch.setattr(mass.checkout, "place_order", crashing)
    with pytest.raises(SystemExit):
        mass.place(confirmed.pk)
    assert Order.objects.count() == 1

    mass.place(confirmed.pk)

    assert states(confirmed) == dict.fromkeys((1, 2, 4), LineState.PLACED)
    assert Order.objects.count() == 3


def test_lines_without_funds_are_refused_and_the_others_kept(confirmed, wallet, books):
    fund(wallet, "-7.40")

    mass.place(confirmed.pk)

    assert states(confirmed) == {1: LineState.PLACED, 2: LineState.PLACED, 4: LineState.REFUSED}
    refusal = mass.refusal(confirmed.lines.get(number=4))
    assert isinstance(refusal, InsufficientFunds)
    assert (refusal.required, refusal.available) == (Decimal("1.30"), 0)
    assert mass.progress(confirmed) == mass.Progress(0, 2, 1, Decimal("2.60"))


def test_a_line_dearer_than_agreed_is_refused(confirmed, service):
    service.provider_rate = 2
    service.save()

    mass.place(confirmed.pk)

    assert set(states(confirmed).values()) == {LineState.REFUSED}
    refusal = mass.refusal(confirmed.lines.get(number=1))
    assert isinstance(refusal, LineDearer)
    assert (refusal.charge, refusal.currency) == (Decimal("2.60"), "USD")


def test_a_line_is_never_dearer_where_it_became_cheaper(confirmed, service):
    service.provider_rate = Decimal("0.5")
    service.save()

    mass.place(confirmed.pk)

    assert {line.order.charge for line in confirmed.lines.all()} == {Decimal("0.65")}


def test_problems_of_a_line_are_kept_as_they_were(customer, wallet, service):
    bad = agreed(1, service, link="https://tiktok.com/@someone", quantity="1")
    order = mass.confirm(customer=customer, currency="USD", uuid=uuid.uuid4(), lines=[bad])

    mass.place(order.pk)

    refusal = mass.refusal(order.lines.get())
    assert isinstance(refusal, InvalidOrder)
    assert refusal.problems == (
        Problem(
            "link",
            ProblemCode.WRONG_NETWORK,
            {"expected": "instagram", "found": "tiktok"},
        ),
        Problem("quantity", ProblemCode.TOO_SMALL, {"minimum": 10, "maximum": 10_000}),
    )


@pytest.mark.parametrize("refused", [ServiceNotFound, ServiceUnavailable, LinkBusy])
def test_refusals_without_facts_are_kept_as_they_were(confirmed, monkeypatch, refused):
    def refuse(**_how):
        raise refused

    monkeypatch.setattr(mass.checkout, "place_order", refuse)

    mass.place(confirmed.pk)

    assert {type(mass.refusal(line)) for line in confirmed.lines.all()} == {refused}


def test_place_makes_room_for_others_when_its_time_is_over(confirmed, monkeypatch):
    monkeypatch.setattr(mass, "BUDGET", -1)

    assert mass.place(confirmed.pk) is True

    assert set(states(confirmed).values()) == {LineState.WAITING}


def test_job_asks_for_its_next_run_while_lines_are_left(confirmed, monkeypatch):
    OrmQ.objects.all().delete()
    monkeypatch.setattr(mass, "BUDGET", -1)

    tasks.place_mass_order(confirmed.pk)

    assert [job.func() for job in OrmQ.objects.all()] == ["orders.tasks.place_mass_order"]


def test_tick_picks_up_what_nobody_was_woken_for(confirmed):
    OrmQ.objects.all().delete()

    tasks.beat()

    assert "orders.tasks.place_mass_order" in [job.func() for job in OrmQ.objects.all()]


def test_place_waits_while_the_customer_is_suspended(confirmed, customer, books):
    User.objects.filter(pk=customer.pk).update(is_active=False)

    assert mass.place(confirmed.pk) is False

    assert Order.objects.count() == 0
    User.objects.filter(pk=customer.pk).update(is_active=True)
    mass.place(confirmed.pk)
    assert Order.objects.count() == 3


def test_place_of_an_unknown_mass_order_does_nothing(db):
    assert mass.place(12345) is False


def test_customers_see_their_own_mass_orders_only(confirmed, customer):
    assert [*mass.of(customer)] == [confirmed]
    assert [*mass.of(UserFactory())] == []


@pytest.mark.parametrize("lines", [1, 3])
def test_progress_is_one_query(confirmed, service, lines, django_assert_num_queries):
    MassLine.objects.filter(number__gt=lines).delete()

    with django_assert_num_queries(1):
        mass.progress(confirmed)
