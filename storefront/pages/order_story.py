"""How an order is told on its page and in the list: what happens next and who must act, what it
has still to go, and what its customer can do now, or why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.formatting import money, number
from catalog.countries import countries
from catalog.order_types import FIELDS, ORDER_TYPES, FieldKind, ServiceType
from orders import cancellations, dripfeed, listing, queueing, refills
from orders.cancellations import CancelProblem
from orders.models import DripFeed, Order, SeriesState, Subscription
from orders.models.requests import OPEN_CANCELS
from orders.refills import RefillProblem
from orders.refunds import share_not_delivered
from orders.statuses import Status
from storefront.errors import describe, label_of
from storefront.templatetags.store import language

# A link to the order form carries what was ordered; longer addresses break somewhere.
_LONGEST_ADDRESS = 1800

_NEXT: Mapping[str, Promise] = {
    Status.PENDING: gettext_lazy(
        "It is passed on for delivery within a minute. You need not do anything."
    ),
    Status.PROCESSING: gettext_lazy(
        "Delivery has been asked for and starts soon. You need not do anything."
    ),
    Status.IN_PROGRESS: gettext_lazy(
        "Delivery is under way. Leave the link public until it is finished."
    ),
    Status.COMPLETED: gettext_lazy("Everything you ordered has been delivered."),
    Status.PARTIAL: gettext_lazy(
        "Delivery ended early. What was not delivered went back to your wallet."
    ),
    Status.CANCELLED: gettext_lazy(
        "The order was cancelled, and the money went back to your wallet."
    ),
    Status.REFUNDED: gettext_lazy("The order was paid back to your wallet."),
    Status.FAILED: gettext_lazy("The order could not be delivered. Support can tell you more."),
}
_DRIPFEED: Mapping[str, Promise] = {
    SeriesState.ACTIVE: gettext_lazy(
        "It is delivered in parts, one after the other. You need not do anything."
    ),
    SeriesState.PAUSED: gettext_lazy("It is paused: no further run begins until you resume it."),
    SeriesState.STOPPING: gettext_lazy(
        "It is being stopped: what has begun is delivered, and nothing new begins."
    ),
}


@dataclass(frozen=True)
class Row:
    """An order as the list shows it."""

    order: Order
    # Why it waits; "" where it does not.
    waiting: str
    can_refill: bool
    is_refilling: bool


@dataclass(frozen=True)
class Run:
    """One run of a drip-feed, and why it waits; "" where it does not."""

    order: Order
    waiting: str


@dataclass(frozen=True)
class Given:
    """One field of an order, as its customer filled it in."""

    name: str
    label: str
    value: str

    @property
    def is_long(self) -> bool:
        """Whether it is shown only on request."""
        return "\n" in self.value or len(self.value) > 120


@dataclass(frozen=True)
class Offer:
    """Something that the customer can do with the order, or the reason why not."""

    can: bool
    reason: str = ""


def rows(orders: Sequence[Order]) -> list[Row]:
    """The orders of one customer for their list; two queries."""
    held = queueing.waiting([order for order in orders if order.status == Status.PENDING])
    refused = refills.refusals(orders)
    return [
        Row(
            order=order,
            waiting=waiting_words(order, held.get(order.pk)),
            can_refill=order.pk not in refused,
            is_refilling=order.pk in refused and refused[order.pk].problem is RefillProblem.OPEN,
        )
        for order in orders
    ]


def runs(order: Order, *, newest: int) -> list[Run]:
    """The newest runs of a drip-feed, latest first; two queries at most."""
    found = listing.runs_of(order, newest=newest)
    held = queueing.waiting(found)
    return [Run(run, waiting_words(run, held.get(run.pk))) for run in found]


def waiting_words(order: Order, other: Order | None) -> str:
    """What the order waits for, "" for nothing; another customer's order has no number."""
    if other is None:
        return ""
    if other.customer_id == order.customer_id:
        return _("Waiting for order %(id)s") % {"id": other.parent_id or other.pk}
    return _("Waiting for another order of this link")


def what_next(order: Order, waiting: str) -> str:
    """What happens next and who must act, in a sentence."""
    feed: DripFeed | None = getattr(order, "dripfeed", None)
    if order.is_final:
        return str(_NEXT[order.public_status])
    kept = getattr(order, "cancel_request", None)
    if kept is not None and kept.state in OPEN_CANCELS:
        return _(
            "You asked to cancel it, and we are waiting for the answer. What is not delivered by"
            " then comes back."
        )
    if feed is not None:
        return str(_DRIPFEED[feed.state])
    if waiting:
        return _(
            "%(waiting)s: the same link takes one order at a time. It starts by itself afterwards."
        ) % {"waiting": waiting}
    if order.type == ServiceType.SUBSCRIPTIONS and order.status == Status.IN_PROGRESS:
        return _("New posts are served as they appear. Leave the profile public.")
    return str(_NEXT[order.public_status])


def to_come(order: Order) -> list[Promise | str]:
    """The steps that an order has still to go, what happens now first; of an ended one, none."""
    if order.is_final:
        return []
    first = _("Passed on for delivery")
    if getattr(order, "dripfeed", None) is not None:
        first = _("First run")
    ahead: list[Promise | str] = [first, _("Delivery"), _("Finished")]
    return ahead if order.public_status == Status.PENDING else ahead[1:]


# --- what was ordered ----------------------------------------------------------------------------


def asked(order: Order) -> list[Given]:
    """Everything that the order was given besides link and quantity."""
    # A subscription's terms stand beside its progress.
    fields = {} if order.type == ServiceType.SUBSCRIPTIONS else order.fields
    given = [Given(name, label_of(name), _shown(name, str(fields[name]))) for name in fields]
    given = [each for each in given if each.value]
    if order.runs:
        per_run = number(order.quantity_per_run, language())
        given += [
            Given("runs", label_of("runs"), number(order.runs, language())),
            Given("per_run", _("Quantity per run"), per_run),
        ]
    if order.interval:
        given.append(Given("interval", label_of("interval"), number(order.interval, language())))
    return given


def _shown(name: str, value: str) -> str:
    """A field's value in words, where it is one of a choice."""
    rule = FIELDS.get(name)
    if rule is None:
        return value
    if rule.kind is FieldKind.COUNTRY:
        return countries(language()).get(value, value)
    return str((rule.choices or {}).get(value, value))


def order_again(order: Order) -> str:
    """The order form's address, filled in as this order was."""
    row = ORDER_TYPES.get(order.type)
    fields = {*row.fields, *row.optional} if row else set()
    values: dict[str, object] = {k: v for k, v in order.fields.items() if k in fields}
    if "link" in fields:
        values["link"] = order.link
    if "quantity" in fields:
        values["quantity"] = order.quantity_per_run
    if order.runs:
        values |= {"runs": order.runs, "interval": order.interval or ""}
    query: dict[str, object] = {"service": order.service_id, "currency": order.currency}
    for name, value in values.items():
        if len(urlencode(query | {name: value})) < _LONGEST_ADDRESS:
            query[name] = value
    return f"{reverse('new_order')}?{urlencode(query)}"


# --- what can be done with it --------------------------------------------------------------------


def refill_offer(order: Order) -> Offer:
    """Whether a refill can be asked for now; one query."""
    refused = refills.refusal(order)
    return Offer(True) if refused is None else Offer(False, describe(refused).message)


def cancel_offer(order: Order) -> Offer | None:
    """Whether the order can be cancelled or stopped now; None where nobody would ask."""
    refused = cancellations.refusal(order)
    if refused is None:
        return Offer(True)
    if refused.problem is CancelProblem.ENDED:
        return None
    return Offer(False, describe(refused).message)


def guarantee(order: Order) -> str:
    """How long what drops off is delivered again; "" without a guarantee."""
    if order.guarantee_days is None:
        return ""
    if order.guarantee_days == 0:
        return _("What drops off later is delivered again on request, without a time limit.")
    if order.completed_at is None:
        return ngettext(
            "What drops off within %(days)s day of completion is delivered again on request.",
            "What drops off within %(days)s days of completion is delivered again on request.",
            order.guarantee_days,
        ) % {"days": order.guarantee_days}
    return ""


def is_series(order: Order) -> bool:
    """Whether it is delivered in parts over time, so that it is stopped rather than cancelled."""
    return any(getattr(order, name, None) is not None for name in ("dripfeed", "subscription"))


def comes_back(order: Order) -> list[str]:
    """What cancelling now would bring: sentences for the question before it."""
    feed: DripFeed | None = getattr(order, "dripfeed", None)
    terms: Subscription | None = getattr(order, "subscription", None)
    if feed is not None:
        return [
            _(
                "The runs that have not begun never will, and %(amount)s for them goes back to"
                " your wallet at once."
            )
            % {"amount": _amount(dripfeed.never_ran(order), order)},
            _("A run that has begun is delivered, or paid back like any other order."),
        ]
    if order.status == Status.PENDING:
        return [
            _("Nothing has been passed on yet: %(amount)s goes back to your wallet at once.")
            % {"amount": _amount(order.net_charge, order)}
        ]
    if terms is not None:
        return [
            _(
                "We ask for no further post to be served. Once that is confirmed, what has not"
                " been used goes back to your wallet: at the moment %(amount)s."
            )
            % {"amount": _amount(order.net_charge - terms.served, order)},
        ]
    undelivered = order.quantity if order.remains is None else order.remains
    most = min(share_not_delivered(order, undelivered), order.net_charge)
    return [
        _(
            "It has been passed on, so we have to ask for it to be stopped; whether that"
            " succeeds is not certain."
        ),
        _(
            "If it does, what has not been delivered by then goes back to your wallet: at most"
            " %(amount)s."
        )
        % {"amount": _amount(most, order)},
        _("If it does not, the order goes on as before, and you have lost nothing."),
    ]


def _amount(amount: Decimal, order: Order) -> str:
    return money(amount, order.currency, language())
