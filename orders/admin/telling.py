"""What the admin tells of an order beyond its columns, as tables of the theme: the evidence about
one of unknown outcome, its history in full, its runs, refills and cancellation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.urls import reverse
from django.utils.formats import number_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.admin.reading import moment, shown
from catalog.models import Provider, Service
from orders import book
from orders.models import (
    CancelState,
    EventKind,
    EventSource,
    Evidence,
    EvidenceKind,
    Order,
    OrderEvent,
    RefillState,
    SeriesState,
    Verdict,
)
from orders.statuses import Status

Table = dict[str, Any]  # headers and rows, as the theme's table takes them

LATEST_EVENTS = 200
MOST_CANDIDATES = 5

_COLUMNS = {
    "status": _("status"),
    "external_id": _("provider's order id"),
    "start_count": _("start count"),
    "remains": _("remains"),
    "refunded": _("refunded"),
    "provider": _("provider"),
    "sent_service": _("delivered by"),
    "upstream_charge": _("provider's charge"),
    "cancel": _("cancellation"),
    "refill": _("refill"),
    "series": _("runs"),
    "served": _("used of the reserve"),
    "posts_served": _("posts served"),
    **{kind.value: kind.label for kind in EvidenceKind},
}
# How the values of a column are called, where they have names.
_WORDS: dict[str, Any] = {
    "status": Status,
    "cancel": CancelState,
    "refill": RefillState,
    "series": SeriesState,
    **dict.fromkeys((kind.value for kind in EvidenceKind), Verdict),
}


# --- evidence ------------------------------------------------------------------------------------


def evidence_table(order: Order, known: Sequence[Evidence]) -> Table:
    """What is known of an order of unknown outcome, one row a kind, strongest first."""
    kinds = [kind.value for kind in EvidenceKind]
    return {
        "headers": [_("evidence"), _("what it says"), _("in detail"), _("time")],
        "rows": [
            [
                each.get_kind_display(),
                each.get_verdict_display(),
                in_words(order, each),
                moment(each.at),
            ]
            for each in sorted(known, key=lambda each: kinds.index(each.kind))
        ],
    }


def in_words(order: Order, evidence: Evidence) -> str:
    """One piece of evidence, as a sentence for staff."""
    match evidence.kind:
        case EvidenceKind.LIST:
            return _list_in_words(evidence)
        case EvidenceKind.REPEAT:
            return _repeat_in_words(evidence)
        case EvidenceKind.IDS:
            return _ids_in_words(order, evidence)
        case _:
            return _balance_in_words(evidence)


def _list_in_words(evidence: Evidence) -> str:
    told = {"id": evidence.external_id, **evidence.details}
    if error := evidence.details.get("error"):
        return gettext("The provider's list could not be used: %(error)s") % {"error": error}
    if evidence.verdict == Verdict.BOUGHT:
        return gettext("The provider's list has our reference, as %(id)s.") % told
    return gettext("The provider's list has no order with our reference.")


def _repeat_in_words(evidence: Evidence) -> str:
    told = {"id": evidence.external_id, "error": "", "refused": "", **evidence.details}
    if evidence.verdict == Verdict.BOUGHT:
        return gettext("Asked again under its key, the provider answered with %(id)s.") % told
    if told["refused"]:
        return gettext("Asked again under its key, the provider refused: %(refused)s") % told
    return gettext("Asked again under its key, the provider gave no clear answer: %(error)s") % told


def _ids_in_words(order: Order, evidence: Evidence) -> str:
    details = evidence.details
    told = {"id": evidence.external_id, "first": "", "last": "", "error": "", **details}
    if told["error"]:
        return gettext("The ids could not be asked for: %(error)s") % told
    if evidence.verdict == Verdict.BOUGHT:
        return gettext("Id %(id)s was given around the call, and only this order fits it.") % told
    if evidence.verdict == Verdict.NOT_BOUGHT:
        text = gettext("No id from %(first)s to %(last)s is an order of ours without its number.")
        return text % told
    match details.get("why"):
        case "first":
            return gettext("No order of ours from before the call is known to count from.")
        case "disorder":
            return gettext("The provider's ids do not follow each other.")
        case "wide":
            return gettext("There are more ids around the call than may be asked for.")
        case "busy":
            return gettext("Another order was being bought at that moment.")
        case "open":
            text = gettext(
                "Nothing of ours from id %(first)s on. No later order of ours ends the search yet."
            )
            return text % told
    return _candidates_in_words(order, details.get("candidates", []))


def _candidates_in_words(order: Order, candidates: Sequence[dict[str, Any]]) -> str:
    currency, cost = order.provider.currency, book.cost(order)
    ids = ", ".join(
        f"{each['id']} ({each['charge']} {currency})" if each["charge"] else each["id"]
        for each in candidates[:MOST_CANDIDATES]
    )
    told = {
        "ids": ids + (" …" if len(candidates) > MOST_CANDIDATES else ""),
        "cost": "–" if cost is None else f"{cost.normalize():f} {currency}",
    }
    return (
        gettext("Ours, and no order's here: %(ids)s. This order should cost %(cost)s there.") % told
    )


def _balance_in_words(evidence: Evidence) -> str:
    told = {"change": "", "cost": "", "currency": "", "others": 0, **evidence.details}
    if told.get("why") == "no_reading":
        return gettext("The balance from before the call is not known.")
    match evidence.verdict:
        case Verdict.BOUGHT:
            text = gettext(
                "The balance moved by %(change)s %(currency)s beyond what we know to have been "
                "bought; this order costs %(cost)s."
            )
        case Verdict.NOT_BOUGHT:
            text = gettext(
                "The balance moved by %(change)s %(currency)s beyond what we know to have been "
                "bought; this order, which costs %(cost)s, is not in it."
            )
        case _:
            text = gettext(
                "The balance moved by %(change)s %(currency)s beyond what we know to have been "
                "bought; this order costs %(cost)s, and %(others)s others are of unknown outcome."
            )
    return text % told


# --- history -------------------------------------------------------------------------------------


def history_table(order: Order) -> Table:
    """The order's events, newest first; the number of queries does not depend on theirs."""
    events = list(
        OrderEvent.objects.filter(order=order)
        .select_related("actor", "api_key")
        .order_by("-pk")[:LATEST_EVENTS]
    )
    names = {
        "provider": _names(Provider, events, "provider"),
        "sent_service": _names(Service, events, "sent_service"),
    }
    return {
        "headers": [_("time"), _("by"), _("what"), _("before → after"), _("note")],
        "rows": [
            [
                moment(event.at),
                _author(event),
                EventKind(event.kind).label,
                _changes(event, names),
                format_html('<span class="break-anywhere">{}</span>', event.note or "–"),
            ]
            for event in events
        ],
    }


def _names(model: type[Any], events: Sequence[OrderEvent], column: str) -> dict[int, str]:
    ids = {pk for event in events for pk in event.changes.get(column, []) if pk is not None}
    return {pk: str(each) for pk, each in model.objects.in_bulk(ids).items()} if ids else {}


def _author(event: OrderEvent) -> str:
    match event.source:
        case EventSource.JOB:
            return gettext("Job %(name)s") % {"name": event.job} if event.job else gettext("Job")
        case EventSource.STAFF:
            return gettext("Staff: %(name)s") % {"name": event.actor or "–"}
        case EventSource.API:
            key = f"{event.api_key.prefix}…" if event.api_key else "–"
            return gettext("API key %(key)s") % {"key": key}
        case _:
            return gettext("Customer: %(name)s") % {"name": event.actor or "–"}


def _changes(event: OrderEvent, names: dict[str, dict[int, str]]) -> SafeString | str:
    def worded(column: str, value: Any) -> str:
        if value is None or value == "":
            return "–"
        if column in _WORDS:
            known = {choice.value: choice.label for choice in _WORDS[column]}
            return str(known.get(value, value))
        return names.get(column, {}).get(value) or str(value)

    return (
        format_html_join(
            "",
            '<div class="break-anywhere">{}: {} → {}</div>',
            (
                (_COLUMNS.get(column, column), worded(column, before), worded(column, after))
                for column, (before, after) in sorted(event.changes.items(), key=_place)
            ),
        )
        or "–"
    )


def _place(change: tuple[str, Any]) -> tuple[int, str]:
    """Databases keep the columns of a change in orders of their own."""
    column = change[0]
    known = list(_COLUMNS)
    return (known.index(column) if column in known else len(known), column)


# --- what belongs to it ---------------------------------------------------------------------------


def series_table(order: Order) -> Table | None:
    """The figures of a drip-feed or a subscription; None for an order that is neither."""
    if feed := getattr(order, "dripfeed", None):
        rows = [
            [_("state"), feed.get_state_display()],
            [_("runs begun"), f"{feed.runs_made} / {feed.runs}"],
            [_("quantity per run"), number_format(feed.quantity, force_grouping=True)],
            [_("minutes between runs"), number_format(feed.interval)],
            [_("next run"), moment(feed.next_run_at) if feed.next_run_at else "–"],
        ]
    elif subscription := getattr(order, "subscription", None):
        held = order.net_charge - subscription.served
        rows = [
            [_("state"), subscription.get_state_display()],
            [_("posts served"), f"{subscription.posts_served} / {subscription.posts}"],
            [_("units per post"), f"{subscription.minimum} – {subscription.maximum}"],
            [_("delay (minutes)"), number_format(subscription.delay)],
            [_("expires"), subscription.expires_on or "–"],
            [_("used of the reserve"), shown(subscription.served, order.currency)],
            [_("still in reserve"), shown(held, order.currency)],
        ]
    else:
        return None
    return {"headers": [_("figure"), _("value")], "rows": rows}


def runs_table(order: Order) -> Table | None:
    """The runs of a drip-feed, each an order towards the provider."""
    runs = order.run_orders.select_related("provider").order_by("run")
    rows = [
        [
            str(run.run),
            order_link(run),
            run.get_status_display(),
            "–" if run.delivered is None else f"{run.delivered} / {run.quantity}",
            shown(run.charge, run.currency),
            shown(run.refunded, run.currency),
            run.external_id or "–",
            moment(run.sent_at) if run.sent_at else "–",
        ]
        for run in runs
    ]
    if not rows:
        return None
    headers = [_("run"), _("order"), _("status"), _("delivered"), _("charge"), _("refunded")]
    return {"headers": [*headers, _("provider's order id"), _("sent")], "rows": rows}


def requests_table(order: Order) -> Table | None:
    """Refills and the cancellation that were asked for."""
    rows = [
        [
            _("Refill"),
            refill.get_state_display(),
            moment(refill.created_at),
            moment(refill.settled_at) if refill.settled_at else "–",
            refill.reason or refill.failure or "–",
        ]
        for refill in order.refills.all()
    ]
    if cancel := getattr(order, "cancel_request", None):
        rows.append(
            [
                _("Cancellation"),
                cancel.get_state_display(),
                moment(cancel.created_at),
                moment(cancel.settled_at) if cancel.settled_at else "–",
                cancel.failure or "–",
            ]
        )
    if not rows:
        return None
    headers = [_("request"), _("state"), _("requested"), _("settled"), _("reason")]
    return {"headers": headers, "rows": rows}


def order_link(order: Order) -> SafeString:
    """The order's number, leading to its page."""
    return format_html(
        '<a class="text-link" href="{}">#{}</a>',
        reverse("admin:orders_order_change", args=[order.pk]),
        order.pk,
    )
