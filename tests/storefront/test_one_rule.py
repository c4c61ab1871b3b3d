"""Each rule once, through the website's forms, the REST dialect and the panel dialect.

A case says what is there, what is asked for, and what must come of it; the fronts below know
only how to ask. A refusal changes nothing, whichever front was asked, and says why in the front's
own words; what is accepted has the same effect, to the millionth.
"""

from __future__ import annotations

import html
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format

from accounts import api_keys
from accounts.models import JournalEntry, User, Wallet
from catalog import links
from catalog.models import SameLink, Service
from catalog.order_types import ORDER_TYPES, ServiceType
from orders.models import CancelRequest, Order, Refill
from orders.statuses import Status
from storefront.errors import label_of
from tests.books import breaches
from tests.factories import OrderFactory, ServiceFactory, WalletFactory

pytestmark = pytest.mark.django_db

LINK = "https://instagram.com/someone"
CHARGE = Decimal("1.30")  # of 1000 units, or of one package
YESTERDAY = timezone.now() - timedelta(days=1)
IN_TWO_DAYS = (timezone.now() + timedelta(days=2)).strftime("%d/%m/%Y")


# --- the fronts ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What a front said: yes or no, and why not."""

    accepted: bool
    words: str = ""


class Website:
    """A person with a browser."""

    name = "page"

    def __init__(self, wallet: Wallet) -> None:
        self._client = Client(headers={"Accept-Language": "en"})
        self._client.force_login(wallet.user)
        self._currency = wallet.currency

    def place(self, service: object, values: Mapping[str, Any]) -> Answer:
        form = {
            "service": service,
            "currency": self._currency,
            "agreed": "999999",
            "idempotency_key": str(uuid.uuid4()),
            **values,
        }
        response = self._client.post(reverse("new_order"), form)
        if response.status_code != 302:
            return Answer(False, self._told(response))
        if "login" in response.headers["Location"]:
            return Answer(False, "sign in")
        return Answer(True)

    def refill(self, order: Order) -> Answer:
        return self._press("order_refill", order)

    def cancel(self, order: Order) -> Answer:
        return self._press("order_cancel", order)

    def look(self, order: Order) -> Answer:
        return self._found(self._client.get(reverse("order", args=[order.pk])))

    def _press(self, button: str, order: Order) -> Answer:
        response = self._client.post(reverse(button, args=[order.pk]), follow=True)
        if response.status_code == 404:
            return self._found(response)
        (message,) = response.context["messages"]
        return Answer(message.level_tag == "success", str(message))

    def _told(self, response: Any) -> str:
        """What the form says is wrong, and shows too."""
        form = response.context
        told = [field.problem for field in form["wrong"]]
        told += [*form["other_problems"], *filter(None, [form["refusal"]])]
        page = html.unescape(response.content.decode())
        assert all(sentence in page for sentence in told)
        return "; ".join(told)

    def _found(self, response: Any) -> Answer:
        return Answer(response.status_code == 200, "" if response.status_code == 200 else "404")


class Rest:
    """A program that speaks the REST dialect."""

    name = "rest"

    def __init__(self, wallet: Wallet) -> None:
        _key, text = api_keys.issue(wallet.user, name="program", currency=wallet.currency)
        self._client = Client(headers={"X-API-Key": text, "Accept-Language": "en"})

    def place(self, service: object, values: Mapping[str, Any]) -> Answer:
        return self._post("/orders", {"service_id": service, **values})

    def refill(self, order: Order) -> Answer:
        return self._post(f"/orders/{order.pk}/refill", {})

    def cancel(self, order: Order) -> Answer:
        return self._post(f"/orders/{order.pk}/cancel", {})

    def look(self, order: Order) -> Answer:
        return self._answer(self._client.get(f"/api/v1/orders/{order.pk}"))

    def _post(self, path: str, body: Mapping[str, Any]) -> Answer:
        return self._answer(
            self._client.post(
                f"/api/v1{path}", json.dumps(dict(body)), content_type="application/json"
            )
        )

    def _answer(self, response: Any) -> Answer:
        accepted = response.status_code < 300
        return Answer(accepted, "" if accepted else response.json()["message"])


class Panel:
    """A program that speaks the panel dialect."""

    name = "panel"

    def __init__(self, wallet: Wallet) -> None:
        _key, self._key = api_keys.issue(wallet.user, name="panel", currency=wallet.currency)
        self._client = Client()

    def place(self, service: object, values: Mapping[str, Any]) -> Answer:
        return self._answer(self._ask("add", service=service, **values))

    def refill(self, order: Order) -> Answer:
        answer = self._ask("refill", order=order.pk)
        assert answer["status"] == ("rejected" if "error" in answer else "completed")
        return self._answer(answer)

    def cancel(self, order: Order) -> Answer:
        (answer,) = self._ask("cancel", orders=order.pk)
        assert answer["order"] == order.pk
        return Answer(True) if answer["cancel"] == 1 else self._answer(answer["cancel"])

    def look(self, order: Order) -> Answer:
        return self._answer(self._ask("status", order=order.pk))

    def _ask(self, action: str, **params: Any) -> Any:
        return self._client.post("/api/v2", {"key": self._key, "action": action, **params}).json()

    def _answer(self, answer: Mapping[str, Any]) -> Answer:
        return Answer("error" not in answer, answer.get("error", ""))


class PanelBatch(Panel):
    """The same program, which sends its order in a batch."""

    def place(self, service: object, values: Mapping[str, Any]) -> Answer:
        orders = json.dumps([{"service": service, **values}])
        answer = self._ask("add_bulk", orders=orders)
        if set(answer) == {"error"}:
            return self._answer(answer)
        placed = self._answer(answer["0"])
        assert placed.accepted or placed.words.startswith("Order 1: ")
        return Answer(placed.accepted, placed.words.removeprefix("Order 1: "))


Front = Website | Rest | Panel


# --- the cases -----------------------------------------------------------------------------------


@dataclass
class Shop:
    """What is there before somebody asks: a customer with 100 USD, and what a case adds."""

    wallet: Wallet
    service: Service | None = None
    order: Order | None = None


@dataclass(frozen=True)
class Words:
    """Why not, as each front says it."""

    page: str
    rest: str
    panel: str


@dataclass(frozen=True)
class Case:
    """One rule. `arrange` puts things there; `words` None: it is accepted.

    `effect` is what an accepted request changes, of what `state` tells.
    """

    name: str
    arrange: Callable[[Shop], None]
    ask: Callable[[Front, Shop], Answer]
    words: Words | None = None
    effect: Mapping[str, Any] = field(default_factory=dict)


def same(people: str, panel: str) -> Words:
    """People and programs of the REST dialect read one sentence."""
    return Words(people, people, panel)


def about(name: str, sentence: str, panel: str) -> Words:
    """A sentence about a field, which people know by its label and programs by its name."""
    return Words(sentence % label_of(name), sentence % name, panel)


def state(shop: Shop) -> dict[str, Any]:
    """All that a request could change."""
    shop.wallet.refresh_from_db()
    return {
        "balance": shop.wallet.balance,
        "orders": Order.objects.count(),
        "entries": JournalEntry.objects.count(),
        "refills": list(Refill.objects.order_by("pk").values_list("order", "state")),
        "cancels": list(CancelRequest.objects.order_by("pk").values_list("order", "state")),
        "statuses": list(Order.objects.order_by("pk").values_list("status", "refunded")),
    }


def selling(**columns: Any) -> Callable[[Shop], None]:
    """A service of 1.30 USD per 1000, from 10 to 10000."""

    def arrange(shop: Shop) -> None:
        shop.service = ServiceFactory(**columns)

    return arrange


def order(**values: Any) -> Callable[[Front, Shop], Answer]:
    """Ask for an order of the service; a value of None is not sent."""
    given = {"link": LINK, "quantity": 1000, **values}
    sent = {name: value for name, value in given.items() if value is not None}

    def ask(front: Front, shop: Shop) -> Answer:
        return front.place(shop.service.pk if shop.service else 10**9, sent)

    return ask


def having(service: Mapping[str, Any] | None = None, **columns: Any) -> Callable[[Shop], None]:
    """The customer has an order, paid with 1.30 of the wallet; `service` are its columns."""

    def arrange(shop: Shop) -> None:
        sold = ServiceFactory(**(service or {}))
        shop.order = OrderFactory(wallet=shop.wallet, service=sold, **columns)

    return arrange


def finished(**columns: Any) -> Callable[[Shop], None]:
    """The customer has a completed order with 30 days of guarantee."""
    return having(
        **{
            "status": Status.COMPLETED,
            "completed_at": timezone.now(),
            "guarantee_days": 30,
            "external_id": "77",
            "service": {"refill": True},
            **columns,
        }
    )


def then(arrange: Callable[[Shop], None], more: Callable[[Shop], Any]) -> Callable[[Shop], None]:
    """One after the other."""

    def both(shop: Shop) -> None:
        arrange(shop)
        more(shop)

    return both


def somebody_elses(**columns: Any) -> Callable[[Shop], None]:
    def arrange(shop: Shop) -> None:
        shop.order = OrderFactory(**columns)

    return arrange


def busy(shop: Shop) -> None:
    """Another customer's order of the link runs."""
    OrderFactory(sent=True, service=shop.service, link_key=links.of_service(LINK, shop.service).key)


def ask_refill(front: Front, shop: Shop) -> Answer:
    return front.refill(shop.order)


def ask_cancel(front: Front, shop: Shop) -> Answer:
    return front.cancel(shop.order)


def look(front: Front, shop: Shop) -> Answer:
    return front.look(shop.order)


TEN = "\n".join(f"line{number}" for number in range(10))
TEN_GROUPS = "https://t.me/group1\nhttps://t.me/group2"
# A whole order of each type, and what it costs.
FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    ServiceType.DEFAULT: ({}, "1.30"),
    ServiceType.PACKAGE: ({"quantity": None}, "1.30"),
    ServiceType.SEO: ({"keywords": "buy\nsell"}, "1.30"),
    ServiceType.CUSTOM_COMMENTS: ({"quantity": None, "comments": TEN}, "0.013"),
    ServiceType.CUSTOM_COMMENTS_PACKAGE: ({"quantity": None, "comments": TEN}, "1.30"),
    ServiceType.MENTIONS: ({"usernames": TEN}, "1.30"),
    ServiceType.MENTIONS_WITH_HASHTAGS: ({"usernames": TEN, "hashtags": "#a\n#b"}, "1.30"),
    ServiceType.MENTIONS_CUSTOM_LIST: ({"quantity": None, "usernames": TEN}, "0.013"),
    ServiceType.MENTIONS_HASHTAG: ({"hashtag": "#summer"}, "1.30"),
    ServiceType.MENTIONS_USER_FOLLOWERS: ({"username": "someone"}, "1.30"),
    ServiceType.MENTIONS_MEDIA_LIKERS: ({"media": "https://instagram.com/p/Cabcdefgh/"}, "1.30"),
    ServiceType.COMMENT_LIKES: ({"username": "someone"}, "1.30"),
    ServiceType.COMMENT_REPLIES: (
        {"quantity": None, "username": "someone", "comments": TEN},
        "0.013",
    ),
    ServiceType.POLL: ({"answer_number": 2}, "1.30"),
    ServiceType.INVITES_FROM_GROUPS: ({"groups": TEN_GROUPS}, "1.30"),
    ServiceType.SUBSCRIPTIONS: (
        {
            "link": None,
            "quantity": None,
            "username": "someone",
            "min": 50,
            "max": 100,
            "posts": 7,
            "old_posts": 3,
            "delay": 0,
            "expiry": IN_TWO_DAYS,
        },
        "1.30",
    ),
    ServiceType.WEB_TRAFFIC: (
        {"country": "FR", "device": 1, "type_of_traffic": 3},
        "1.30",
    ),
}


def placed(charge: str, *, quantity: int | None = None) -> dict[str, Any]:
    """One order more, paid in full."""
    return {"charge": Decimal(charge), "quantity": quantity}


def lacking(name: str) -> Words:
    """A field of its type is not there."""
    named = f"{name.replace('_', ' ').capitalize()} is required"
    panel = "Invalid quantity" if name == "quantity" else named
    return about(name, "The %s field is required.", panel)


PLACING = [
    *(
        Case(
            f"{order_type} is sold",
            selling(type=order_type, link_target="any"),
            order(**values),
            effect=placed(charge),
        )
        for order_type, (values, charge) in FIELDS.items()
    ),
    *(
        Case(
            f"{order_type} without {name}",
            selling(type=order_type, link_target="any"),
            order(**{**values, name: None}),
            lacking(name),
        )
        for order_type, (values, _charge) in FIELDS.items()
        for name in ORDER_TYPES[order_type].fields
    ),
    Case(
        "drip-feed is charged for all runs",
        selling(dripfeed=True),
        order(quantity=500, runs=2, interval=60),
        effect=placed("1.30", quantity=1000),
    ),
    Case(
        "unknown service",
        lambda shop: None,
        order(),
        same("This service does not exist.", "Service not found"),
    ),
    Case(
        "service that is switched off",
        selling(disabled_by_staff=True),
        order(),
        same("This service is not available at the moment.", "Service is not available"),
    ),
    Case(
        "link that is none",
        selling(),
        order(link="???"),
        about("link", "The %s field is not valid.", "Invalid link"),
    ),
    Case(
        "link of another network",
        selling(),
        order(link="https://www.tiktok.com/@someone"),
        same("This link leads to TikTok, and the service is for Instagram.", "Invalid link"),
    ),
    Case(
        "link to a post where a profile is meant",
        selling(),
        order(link="https://www.instagram.com/p/Cabcdefgh/"),
        same(
            "This service needs the link of a profile, page or channel."
            " Yours leads to a single post or video.",
            "Invalid link",
        ),
    ),
    Case(
        "quantity too small",
        selling(),
        order(quantity=9),
        same("The quantity must be between 10 and 10000.", "Quantity must be at least 10"),
    ),
    Case(
        "quantity too large",
        selling(),
        order(quantity=10_001),
        same("The quantity must be between 10 and 10000.", "Quantity must be at most 10000"),
    ),
    Case(
        "quantity that is no number",
        selling(),
        order(quantity="many"),
        about("quantity", "The %s field is not valid.", "Invalid quantity"),
    ),
    Case(
        "drip-feed of a service without",
        selling(),
        order(runs=2, interval=60),
        about(
            "runs",
            "The %s field is not available for this service.",
            "Runs is not available for this service",
        ),
    ),
    Case(
        "drip-feed larger than the service",
        selling(dripfeed=True),
        order(quantity=5001, runs=2, interval=60),
        same("All runs together may come to at most 10000.", "Quantity must be at most 10000"),
    ),
    Case(
        "more than the wallet holds",
        selling(provider_rate=Decimal(100)),
        order(quantity=1000),
        same(
            "Your balance (100.00 USD) is not enough for this order (130.00 USD).",
            "Insufficient balance. Required: 130.000000, Available: 100.000000",
        ),
    ),
    Case(
        "suspended customer",
        then(selling(), lambda shop: User.objects.update(is_active=False)),
        order(),
        Words("sign in", "This account is suspended.", "Unauthorized"),
    ),
    Case(
        "link that is taken",
        then(selling(same_link=SameLink.REFUSE), busy),
        order(),
        same(
            "This service takes one order at a time for a link. Order again once the one that is"
            " under way has ended.",
            "An order for this link is already in progress",
        ),
    ),
]

NO_REFILL = "Order cannot be refilled"
REFILLS = [
    Case("refill", finished(), ask_refill, effect={"refills": "waiting"}),
    Case(
        "refill by staff",
        finished(service={"refill_by": "staff"}),
        ask_refill,
        effect={"refills": "manual"},
    ),
    Case(
        "refill without a guarantee",
        finished(guarantee_days=None),
        ask_refill,
        same("This order comes without a refill guarantee.", NO_REFILL),
    ),
    Case(
        "refill of an unfinished order",
        finished(status=Status.IN_PROGRESS, completed_at=None),
        ask_refill,
        same("A refill can be asked for once the order is finished.", NO_REFILL),
    ),
    Case(
        "refill of an order that delivered nothing",
        finished(status=Status.CANCELLED),
        ask_refill,
        same("Nothing was delivered that could be refilled.", NO_REFILL),
    ),
    Case(
        "refill after the guarantee",
        finished(completed_at=YESTERDAY - timedelta(days=30)),
        ask_refill,
        same(
            f"The refill guarantee ended on {date_format(YESTERDAY, 'DATE_FORMAT')}.",
            "Refill period has ended",
        ),
    ),
    Case(
        "refill while one is open",
        then(finished(), lambda shop: Refill.objects.create(order=shop.order)),
        ask_refill,
        same("A refill of this order is already under way.", "Refill already requested"),
    ),
    Case(
        "refill of somebody else's order",
        somebody_elses(status=Status.COMPLETED, completed_at=timezone.now(), guarantee_days=30),
        ask_refill,
        Words("404", "This order does not exist.", "Incorrect order ID"),
    ),
]

NO_CANCEL = "Order cannot be canceled"
CANCELS = [
    Case(
        "cancel before it is sent",
        having(),
        ask_cancel,
        effect={"status": Status.CANCELLED, "refunded": CHARGE},
    ),
    *(
        Case(
            f"cancel while {status}",
            having(status=status, external_id="7", service={"cancel": True}),
            ask_cancel,
            effect={"cancels": "waiting"},
        )
        for status in (Status.PROCESSING, Status.IN_PROGRESS)
    ),
    *(
        Case(
            f"cancel while {status}",
            having(status=status),
            ask_cancel,
            effect={"cancels": "waiting"},
        )
        for status in (Status.SENDING, Status.UNCONFIRMED)
    ),
    Case(
        "cancel of a service without",
        having(sent=True),
        ask_cancel,
        same("This service cannot be stopped once the order has been passed on.", NO_CANCEL),
    ),
    *(
        Case(
            f"cancel of a {status} order",
            having(status=status),
            ask_cancel,
            same("This order has ended already.", NO_CANCEL),
        )
        for status in (Status.COMPLETED, Status.CANCELLED, Status.FAILED)
    ),
    Case(
        "cancel twice",
        then(
            having(sent=True, service={"cancel": True}),
            lambda shop: CancelRequest.objects.create(order=shop.order),
        ),
        ask_cancel,
        same(
            "The cancellation of this order has already been asked for.",
            "Cancel already requested",
        ),
    ),
    Case(
        "cancel after a no",
        then(
            having(sent=True, service={"cancel": True}),
            lambda shop: CancelRequest.objects.create(order=shop.order, state="refused"),
        ),
        ask_cancel,
        same("Its delivery can no longer be stopped.", NO_CANCEL),
    ),
    Case(
        "cancel of somebody else's order",
        somebody_elses(),
        ask_cancel,
        Words("404", "This order does not exist.", "Incorrect order ID"),
    ),
]

LOOKING = [
    Case("own order is seen", having(), look),
    Case(
        "somebody else's order is not seen",
        somebody_elses(),
        look,
        Words("404", "This order does not exist.", "Incorrect order ID"),
    ),
]


# --- the test ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "front"),
    [
        *product([*PLACING, *REFILLS, *CANCELS, *LOOKING], [Website, Rest, Panel]),
        # How a missing field is told is the single order's business.
        *product([case for case in PLACING if " without " not in case.name], [PanelBatch]),
    ],
    ids=lambda one: one.name if isinstance(one, Case) else one.__name__,
)
def test_rule_is_the_same_through_every_front(case: Case, front: type[Front]) -> None:
    shop = Shop(WalletFactory())
    visitor = front(shop.wallet)
    case.arrange(shop)
    before = state(shop)

    answer = case.ask(visitor, shop)

    if case.words is not None:
        assert answer == Answer(False, getattr(case.words, front.name))
        assert state(shop) == before
    else:
        assert answer.accepted, answer.words
        assert state(shop) == {**before, **expected(case.effect, shop, before, front)}
    assert breaches() == []


def expected(
    effect: Mapping[str, Any], shop: Shop, before: Mapping[str, Any], front: type[Front]
) -> dict[str, Any]:
    """What differs afterwards; of an order that was placed, the order itself is looked at too."""
    if "charge" in effect:
        placed = Order.objects.latest("pk")
        charge: Decimal = effect["charge"]
        assert (placed.source, placed.status, placed.charge) == (
            {Website: "web", Rest: "rest", Panel: "panel", PanelBatch: "panel"}[front],
            Status.PENDING,
            charge,
        )
        assert effect["quantity"] in (None, placed.quantity)
        return {
            "balance": before["balance"] - charge,
            "orders": before["orders"] + 1,
            "entries": before["entries"] + 1,
            "statuses": [*before["statuses"], (Status.PENDING, Decimal(0))],
        }
    if "status" in effect:
        return {
            "balance": before["balance"] + effect["refunded"],
            "entries": before["entries"] + 1,
            "statuses": [(effect["status"], effect["refunded"])],
        }
    assert shop.order is not None
    return {name: [(shop.order.pk, to)] for name, to in effect.items()}


def test_every_type_is_among_the_cases() -> None:
    assert set(FIELDS) == set(ORDER_TYPES)
