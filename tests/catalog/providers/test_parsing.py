"""Answers as a whole: bare, wrapped, incomplete and odd."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.models import Service
from catalog.providers import Offer, UpstreamState, UpstreamStatus
from catalog.providers.parsing import (
    LARGEST_RATE,
    LONGEST_CATEGORY,
    LONGEST_NAME,
    LONGEST_TYPE,
    RATE_STEP,
    STATES,
    balance,
    order_id,
    service_list,
    state,
    statuses,
)
from catalog.providers.values import Unreadable, load
from tests.catalog.providers.test_values import JSON_VALUES

ENTRY = {
    "service": 1,
    "name": "Instagram Likes",
    "type": "Default",
    "category": "Instagram",
    "rate": "0.90",
    "min": "50",
    "max": "10000",
}
OFFER = Offer("1", "Instagram Likes", "Instagram", "Default", Decimal("0.90"), 50, 10_000)


def through_json(value: Any) -> Any:
    return load(json.dumps(value).encode())


# --- add -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "read"),
    [
        ({"order": 1}, "1"),
        ({"order": "1"}, "1"),
        ({"status": "success", "order": 151}, "151"),
        ({"data": {"order": 7}}, "7"),
        ({"order_id": "9"}, "9"),
        ({"order": "5f3e-9a"}, "5f3e-9a"),
        *(({"order": bad}, None) for bad in (None, True, 0, "0", -1, "", "success", [], {}, 1.5)),
        *((bad, None) for bad in ({}, [], [{"order": 1}], "1", 1, None, {"id": 1})),
    ],
)
def test_order_id_is_read_or_none(payload: object, read: str | None) -> None:
    assert order_id(through_json(payload)) == read


# --- services ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        [ENTRY],
        {"services": [ENTRY]},
        {"data": [ENTRY]},
        {"status": "success", "data": {"services": [ENTRY]}},
        {"0": ENTRY},
    ],
)
def test_service_list_is_found_in_its_wrappings(payload: object) -> None:
    assert service_list(through_json(payload)).offers == (OFFER,)


@pytest.mark.parametrize("payload", [{}, {"services": None}, "list", 5, None, {"a": 1}, ["x"]])
def test_answer_without_a_list_is_unreadable(payload: object) -> None:
    with pytest.raises(Unreadable):
        service_list(through_json(payload))


def test_empty_list_is_empty() -> None:
    assert service_list([]).offers == ()


@pytest.mark.parametrize(
    ("change", "attribute", "read"),
    [
        ({"service": "1"}, "external_id", "1"),
        ({"service": 1.0}, "external_id", "1"),
        ({"name": " Likes &amp; Views\u0000 💎 "}, "name", "Likes & Views 💎"),
        ({"name": "n" * 900}, "name", "n" * LONGEST_NAME),
        ({"category": None}, "category", "Other"),
        ({"category": "  "}, "category", "Other"),
        ({"category": "c" * 900}, "category", "c" * LONGEST_CATEGORY),
        ({"type": None}, "type", ""),
        ({"type": "t" * 900}, "type", "t" * LONGEST_TYPE),
        ({"rate": 0.123456}, "rate", Decimal("0.123456")),
        ({"rate": 3}, "rate", Decimal(3)),
        ({"rate": "0,90"}, "rate", Decimal("0.90")),
        ({"rate": "0.12345678911"}, "rate", Decimal("0.1234567892")),
        ({"rate": 1e-15}, "rate", RATE_STEP),
        ({"rate": 0}, "rate", Decimal(0)),
        *(({"rate": bad}, "rate", None) for bad in (None, "", "N/A", "-1", -0.5, "1,234", 1e12)),
        ({"min": 50}, "min_quantity", 50),
        *(({"min": bad}, "min_quantity", None) for bad in (None, "", "-1", "ten", 1.5, 2**63)),
        *(({"max": bad}, "max_quantity", None) for bad in (None, "∞", -1, [], "1.000")),
        ({"max": "1,000,000"}, "max_quantity", 1_000_000),
        *(({"refill": yes}, "refill", True) for yes in (True, 1, "1", "true", "yes")),
        *(({"cancel": yes}, "cancel", True) for yes in (True, 1, "1", "true", "yes")),
        *(({"dripfeed": yes}, "dripfeed", True) for yes in (True, 1, "1", "true", "yes")),
        *(({"refill": no}, "refill", False) for no in (False, 0, "0", "false", None, "")),
        ({"desc": "Start: <br> 1 h"}, "description", "Start: \n 1 h"),
        ({"description": "D", "desc": "d"}, "description", "D"),
    ],
)
def test_offer_is_read_in_every_habit(change: dict[str, Any], attribute: str, read: object) -> None:
    (offer,) = service_list(through_json([{**ENTRY, **change}])).offers

    assert getattr(offer, attribute) == read


@pytest.mark.parametrize("name", ["type", "category", "rate", "min", "max"])
def test_offer_lacking_a_value_is_still_an_offer(name: str) -> None:
    entry = {key: value for key, value in ENTRY.items() if key != name}

    (offer,) = service_list([entry]).offers

    assert (offer.rate is None) is (name == "rate")
    assert (offer.category == "Other") is (name == "category")


def test_entry_that_cannot_be_read_does_not_spoil_the_others() -> None:
    found = service_list(
        through_json(
            [
                *("text", None, {**ENTRY, "service": None}, {**ENTRY, "name": ""}),
                {**ENTRY, "service": "x" * 65},
                ENTRY,
                {**ENTRY, "rate": "0.10"},
            ]
        )
    )

    assert found.offers == (OFFER,)
    assert found.unreadable == (
        "entry 1: not an object",
        "entry 2: not an object",
        "entry 3: no service id",
        "entry 4: service 1 has no name",
        "entry 5: no service id",
        "entry 7: service 1 is listed twice",
    )


def test_rate_with_one_comma_is_read_where_the_list_writes_decimal_commas() -> None:
    rates = ["1,234", "0,95"]

    found = service_list([{**ENTRY, "service": n, "rate": r} for n, r in enumerate(rates, 1)])

    assert [offer.rate for offer in found.offers] == [Decimal("1.234"), Decimal("0.95")]


def test_limits_are_those_of_the_columns() -> None:
    columns = {
        "provider_name": LONGEST_NAME,
        "provider_category": LONGEST_CATEGORY,
        "provider_type": LONGEST_TYPE,
    }

    assert {c: Service._meta.get_field(c).max_length for c in columns} == columns
    Service._meta.get_field("provider_rate").get_prep_value(LARGEST_RATE)


@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(ENTRY, JSON_VALUES)), max_size=5))
def test_no_list_makes_reading_fail(entries: list[dict[str, Any]]) -> None:
    try:
        found = service_list(through_json(entries))
    except Unreadable:
        return
    assert len(found.offers) + len(found.unreadable) == len(entries)
    for offer in found.offers:
        assert offer.name
        assert offer.external_id
        assert offer.rate is None or 0 <= offer.rate <= LARGEST_RATE


@given(JSON_VALUES)
def test_rate_that_says_nothing_is_never_zero(rate: Any) -> None:
    (offer,) = service_list(through_json([{**ENTRY, "rate": rate}])).offers

    if offer.rate == 0:
        assert "0" in str(rate)


# --- status --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        (("Pending", "pending", "PENDING", "Awaiting"), UpstreamState.PENDING),
        (("Processing",), UpstreamState.PROCESSING),
        (
            ("In progress", "Inprogress", "in-progress", "In Progress", "IN_PROGRESS", "Active"),
            UpstreamState.IN_PROGRESS,
        ),
        (("Paused",), UpstreamState.IN_PROGRESS),
        (("Completed", "Complete", " completed "), UpstreamState.COMPLETED),
        (("Partial", "PARTIAL"), UpstreamState.PARTIAL),
        (("Expired",), UpstreamState.PARTIAL),
        (("Canceled", "Cancelled", "cancelled"), UpstreamState.CANCELLED),
        (("Refunded", "Refunds"), UpstreamState.REFUNDED),
        (("Fail", "Failed", "Error"), UpstreamState.FAILED),
        (("Marinating", "", "2", "success", "Tamamlandı", "🚀", "Not completed"), None),
    ],
)
def test_status_word_is_understood_or_none(
    words: tuple[str, ...], meaning: UpstreamState | None
) -> None:
    assert {state(word) for word in words} == {meaning}


REPORT = {
    "charge": "0.27819",
    "start_count": "3572",
    "status": "Partial",
    "remains": "157",
    "currency": "USD",
}
READ = UpstreamStatus(
    UpstreamState.PARTIAL, "Partial", start_count=3572, remains=157, charge=Decimal("0.27819")
)


@pytest.mark.parametrize(
    "payload",
    [
        REPORT,
        {"order": 7, **REPORT},
        {"7": REPORT},
        {"7": [REPORT]},
        [{"order": "7", **REPORT}],
        [{"order_id": 7, **REPORT}],
        [REPORT],
        {"data": REPORT},
        {"status": "success", "data": {"7": REPORT}},
        {"orders": {"7": REPORT}},
        {"orders": [{"order": 7, **REPORT}]},
    ],
)
def test_report_on_one_order_is_found_in_its_wrappings(payload: object) -> None:
    assert statuses(through_json(payload), ["7"]) == {"7": READ}


@pytest.mark.parametrize(
    "payload",
    [
        {"7": REPORT, "8": {"error": "Incorrect order ID"}},
        {"7": REPORT, "8": "Incorrect order ID"},
        {"7": REPORT, "8": None},
        {"7": REPORT, "8": []},
        {"7": REPORT},
        {"7": REPORT, "9": REPORT},
        [{"order": 7, **REPORT}, {"order": 8, "error": "Incorrect order ID"}],
        [{"order": 7, **REPORT}, "Incorrect order ID", None],
        [{"order": 7, **REPORT}, REPORT],
        [{"order": 7, **REPORT}, {"order": 7, **REPORT, "status": "Completed"}],
    ],
)
def test_order_without_a_report_is_absent_and_does_not_spoil_the_others(payload: object) -> None:
    assert statuses(through_json(payload), ["7", "8"]) == {"7": READ}


@pytest.mark.parametrize(
    "payload",
    [
        *({}, [], "Completed", 5, None, {"message": "maintenance"}, {"9": REPORT}),
        *([REPORT, REPORT], REPORT, {"status": "success"}, {"status": "error"}),
    ],
)
def test_answer_about_none_of_the_orders_is_unreadable(payload: object) -> None:
    with pytest.raises(Unreadable):
        statuses(through_json(payload), ["7", "8"])


def test_bare_error_is_not_taken_for_a_failed_order() -> None:
    with pytest.raises(Unreadable):
        statuses({"status": "error"}, ["7"])


def test_failed_order_is_told_by_its_id_or_its_figures() -> None:
    for payload in ({"7": {"status": "Fail"}}, {"status": "Fail", "remains": "5"}):
        assert statuses(payload, ["7"])["7"].state is UpstreamState.FAILED


@pytest.mark.parametrize(
    ("change", "attribute", "read"),
    [
        ({"status": "Marinating"}, "word", "Marinating"),
        ({"status": "Marinating"}, "state", None),
        ({"status": 2}, "word", "2"),
        ({"status": 2}, "state", None),
        ({"status": None}, "word", ""),
        ({"status": None}, "state", None),
        ({"status": {"error": "x"}}, "state", None),
        ({"status": "w" * 500}, "word", "w" * 64),
        ({"remains": 0}, "remains", 0),
        ({"remains": "-12"}, "remains", -12),
        ({"remains": 10**9}, "remains", 10**9),
        *(({"remains": bad}, "remains", None) for bad in (None, "Unknown", "", "1.000", [], True)),
        *(({"start_count": bad}, "start_count", None) for bad in (None, "", "-1", "?", 1.5)),
        ({"start_count": 12}, "start_count", 12),
        ({"charge": 0.1}, "charge", Decimal("0.1")),
        ({"charge": "0,5"}, "charge", Decimal("0.5")),
        *(({"charge": bad}, "charge", None) for bad in (None, "", "-0.1", float("nan"), "free")),
    ],
)
def test_report_is_read_in_every_habit(
    change: dict[str, Any], attribute: str, read: object
) -> None:
    found = statuses(through_json({"7": {**REPORT, **change}}), ["7"])["7"]

    assert getattr(found, attribute) == read


@pytest.mark.parametrize("name", ["remains", "start_count", "charge"])
def test_report_lacking_a_figure_does_not_know_it(name: str) -> None:
    report = {key: value for key, value in REPORT.items() if key != name}

    assert getattr(statuses({"7": report}, ["7"])["7"], name) is None


@given(JSON_VALUES | st.dictionaries(st.sampled_from(["7", "8", "data"]), JSON_VALUES))
def test_no_answer_makes_reading_statuses_fail(payload: Any) -> None:
    try:
        found = statuses(through_json(payload), ["7", "8"])
    except Unreadable:
        return
    assert set(found) <= {"7", "8"}


@given(JSON_VALUES)
def test_word_that_says_nothing_is_never_a_state(word: Any) -> None:
    found = statuses(through_json({"7": {"status": word}}), ["7"])["7"]

    if found.state is not None:
        assert "".join(c for c in str(word).casefold() if c.isalnum()) in STATES


@given(st.sampled_from(["remains", "start_count", "charge"]), JSON_VALUES)
def test_bad_figure_costs_only_itself(name: str, value: Any) -> None:
    payload = {"7": {**REPORT, name: value}, "8": REPORT}

    found = statuses(through_json(payload), ["7", "8"])

    assert found["7"].state is UpstreamState.PARTIAL
    assert found["8"] == READ


# --- balance -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "read"),
    [
        ({"balance": "100.84292", "currency": "USD"}, (Decimal("100.84292"), "USD")),
        ({"balance": 5}, (Decimal(5), "")),
        ({"balance": "1,234.56", "currency": "try"}, (Decimal("1234.56"), "TRY")),
        ({"balance": "100,84", "currency": "€"}, (Decimal("100.84"), "")),
        ({"status": "success", "data": {"balance": "-1.5"}}, (Decimal("-1.5"), "")),
    ],
)
def test_balance_is_read(payload: object, read: tuple[Decimal, str]) -> None:
    assert balance(through_json(payload)) == read


@pytest.mark.parametrize(
    "payload", [{}, [], "5", 5, None, {"balance": None}, {"balance": "N/A"}, {"balance": "1,234"}]
)
def test_balance_that_cannot_be_read_is_not_zero(payload: object) -> None:
    with pytest.raises(Unreadable):
        balance(through_json(payload))


@given(JSON_VALUES)
def test_no_answer_makes_reading_the_balance_fail(value: Any) -> None:
    try:
        amount, _currency = balance(through_json({"balance": value}))
    except Unreadable:
        return
    assert amount != 0 or "0" in str(value)
