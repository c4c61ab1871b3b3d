"""Every habit of contracts/upstream.md, over a real socket, in the order of that list: how real
providers deviate, and that a value which cannot be read never becomes 0 or "Pending".

`panel` and `rest` are the two dialects' own ways to write the same oddity.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from catalog.providers import (
    OutcomeUnknown,
    ProviderAnswerInvalid,
    ProviderBusy,
    ProviderClient,
    ProviderRefused,
    UpstreamCancel,
    UpstreamOrder,
    UpstreamRefill,
    UpstreamRefillState,
    UpstreamState,
    UpstreamStatus,
)
from catalog.providers.panel import PanelClient
from catalog.providers.rest import RestClient
from tests.catalog.providers.conftest import (
    Speaker,
    Wire,
    client_of,
    http,
    rest_client_of,
)
from tests.sandbox import KEY, SandboxInTest

ORDER = UpstreamOrder("1001", {"link": "https://a.example", "quantity": "100"}, reference="ours-1")
COMMON = {"name": "Likes", "type": "Default", "category": "Instagram"}
PANEL = {"service": 1, **COMMON, "rate": "0.90", "min": 50, "max": 10_000}
REST = {"id": 1, **COMMON, "price_per_unit": 0.0009, "min_quantity": 50, "max_quantity": 10_000}
REST_NAMES = {
    "service": "id",
    "rate": "price_per_unit",
    "min": "min_quantity",
    "max": "max_quantity",
}


def listed(speaker: Speaker, change: Mapping[str, Any], *, without: str = "") -> Any:
    """The one offer that a client reads from a list with this service in it."""
    if speaker.dialect == "rest":
        named = {REST_NAMES.get(name, name): value for name, value in change.items()}
        entry = {**REST, **named}
        entry.pop(REST_NAMES.get(without, without), None)
        speaker.sandbox.answer("services", {"Instagram": [entry]})
    else:
        entry = {**PANEL, **change}
        entry.pop(without, None)
        speaker.sandbox.answer("services", [entry])
    (offer,) = speaker.client().services().offers
    return offer


# --- numbers, flags, texts of the list -----------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("0.90", "0.90"),
        (0.9, "0.9"),
        ("0,9", "0.9"),
        ("0.123456", "0.123456"),
        (0.123456, "0.123456"),
        (3, "3"),
        (1e-05, "0.00001"),
        ("1e-5", "0.00001"),
    ],
)
def test_rate_in_any_writing_is_exact(speaker: Speaker, written: object, read: str) -> None:
    factor = 1000 if speaker.dialect == "rest" else 1

    assert listed(speaker, {"rate": written}).rate == Decimal(read) * factor


@pytest.mark.parametrize("written", [None, "", "N/A", "-1", [], {}, True, "1.000,5,5"])
def test_rate_that_cannot_be_read_is_unknown(speaker: Speaker, written: object) -> None:
    assert listed(speaker, {"rate": written}).rate is None


@pytest.mark.parametrize("written", [100, "100", 100.0, "100.00"])
def test_limits_as_strings_and_numbers_are_read(speaker: Speaker, written: object) -> None:
    offer = listed(speaker, {"min": written, "max": written})

    assert (offer.min_quantity, offer.max_quantity) == (100, 100)


@pytest.mark.parametrize("name", ["min", "max", "rate"])
def test_missing_number_is_unknown(speaker: Speaker, name: str) -> None:
    offer = listed(speaker, {}, without=name)

    column = {"min": "min_quantity", "max": "max_quantity"}.get(name, name)
    assert getattr(offer, column) is None


@pytest.mark.parametrize("name", ["refill", "cancel", "dripfeed"])
@pytest.mark.parametrize(
    ("written", "read"),
    [
        *((yes, True) for yes in (True, 1, "1", "true", "True", "yes", 1.0)),
        *((no, False) for no in (False, 0, "0", "false", "no", None, "", "NaN")),
    ],
)
def test_flag_in_any_writing_is_read(
    speaker: Speaker, name: str, written: object, read: bool
) -> None:
    assert getattr(listed(speaker, {name: written}), name) is read


@pytest.mark.parametrize("name", ["refill", "cancel", "dripfeed"])
def test_missing_flag_is_no(speaker: Speaker, name: str) -> None:
    assert getattr(listed(speaker, {}), name) is False


@pytest.mark.parametrize("written", [7, "7", " 7 ", 7.0])
def test_service_id_as_string_or_number_is_text(speaker: Speaker, written: object) -> None:
    assert listed(speaker, {"service": written}).external_id == "7"


def test_name_with_entities_and_emoji_is_readable(speaker: Speaker) -> None:
    offer = listed(speaker, {"name": "Likes &amp; Views &quot;HQ&quot; \U0001f48e ♻️ İğ"})

    assert offer.name == 'Likes & Views "HQ" \U0001f48e ♻️ İğ'


@pytest.mark.parametrize("name", ["desc", "description"])
def test_description_has_either_name(speaker: Speaker, name: str) -> None:
    offer = listed(speaker, {name: "Start: &lt; 1 h<br>Drop: 5 %"})

    assert offer.description == "Start: < 1 h\nDrop: 5 %"


def test_category_that_is_missing_is_other(client: PanelClient, sandbox: SandboxInTest) -> None:
    for category in ({}, {"category": None}, {"category": " "}):
        entry = {name: value for name, value in PANEL.items() if name != "category"}
        sandbox.answer("services", [{**entry, **category}])

        assert client.services().offers[0].category == "Other"


def test_category_of_the_rest_dialect_is_the_group(
    rest: RestClient, sandbox: SandboxInTest
) -> None:
    entry = {name: value for name, value in REST.items() if name != "category"}
    sandbox.answer("services", {"Views &amp; Likes": [entry], "": [{**entry, "id": 2}]})

    assert [offer.category for offer in rest.services().offers] == ["Views & Likes", "Other"]


def test_rest_service_without_a_type_is_an_ordinary_one(
    rest: RestClient, sandbox: SandboxInTest
) -> None:
    entry = {name: value for name, value in REST.items() if name != "type"}
    sandbox.answer("services", {"A": [entry]})

    assert rest.services().offers[0].type == "Default"


@pytest.mark.parametrize("kind", ["Package", "package", "Custom Comments Package"])
def test_rest_price_of_a_package_is_of_one(
    rest: RestClient, sandbox: SandboxInTest, kind: str
) -> None:
    sandbox.answer("services", {"A": [{**REST, "type": kind, "price_per_unit": 2.5}]})

    assert rest.services().offers[0].rate == Decimal("2.5")


def test_id_listed_twice_counts_once(speaker: Speaker) -> None:
    entries = [PANEL, {**PANEL, "rate": "9"}, {**PANEL, "service": "1"}]
    rest = {"A": [REST, {**REST, "price_per_unit": 9}], "B": [{**REST, "id": "1"}]}
    speaker.sandbox.answer("services", rest if speaker.dialect == "rest" else entries)

    found = speaker.client().services()

    assert [(offer.external_id, offer.rate) for offer in found.offers] == [("1", Decimal("0.9"))]
    assert len(found.unreadable) == 2


@pytest.mark.parametrize(
    "wrap",
    [
        lambda panel, _rest: panel,
        lambda panel, _rest: {"services": panel},
        lambda panel, _rest: {"data": panel},
        lambda panel, _rest: {"status": "success", "data": {"services": panel}},
        lambda panel, _rest: {"0": panel[0]},
    ],
)
def test_panel_list_is_found_in_its_wrapping(
    client: PanelClient, sandbox: SandboxInTest, wrap: Any
) -> None:
    sandbox.answer("services", wrap([PANEL], None))

    assert [offer.external_id for offer in client.services().offers] == ["1"]


@pytest.mark.parametrize(
    "payload",
    [
        {"Instagram": [REST]},
        {"Instagram": {"0": REST}},
        {"data": {"Instagram": [REST]}},
        {"success": True, "data": {"Instagram": [REST]}},
        {"services": [REST]},
        {"data": [REST]},
        [REST],
    ],
)
def test_rest_list_is_found_in_its_wrapping(
    rest: RestClient, sandbox: SandboxInTest, payload: object
) -> None:
    sandbox.answer("services", payload)

    (offer,) = rest.services().offers
    assert (offer.external_id, offer.category, offer.rate) == ("1", "Instagram", Decimal("0.9"))


@pytest.mark.parametrize("payload", [{"services": None}, "list", 5, {"Instagram": [5, None]}])
def test_answer_without_a_list_is_no_empty_list(speaker: Speaker, payload: object) -> None:
    speaker.sandbox.answer("services", json.dumps(payload))

    with pytest.raises(ProviderAnswerInvalid):
        speaker.client().services()


def test_entry_that_cannot_be_read_does_not_spoil_the_others(speaker: Speaker) -> None:
    rest = {"A": [REST, "x", {**REST, "id": None}], "B": [{**REST, "id": 2, "name": ""}], "C": 5}
    panel = [PANEL, "x", {**PANEL, "service": None}, {**PANEL, "service": 2, "name": ""}, 5]
    speaker.sandbox.answer("services", rest if speaker.dialect == "rest" else panel)

    found = speaker.client().services()

    assert (len(found.offers), len(found.unreadable)) == (1, 4)


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ({"balance": "100.84292", "currency": "USD"}, (Decimal("100.84292"), "USD")),
        ({"balance": 5.5}, (Decimal("5.5"), "")),
        ({"balance": "100,84", "currency": "try"}, (Decimal("100.84"), "TRY")),
        ({"data": {"balance": -1.5, "currency": "XAF"}}, (Decimal("-1.5"), "XAF")),
    ],
)
def test_balance_in_any_writing_is_read(
    speaker: Speaker, answer: object, read: tuple[Decimal, str]
) -> None:
    speaker.sandbox.answer("balance", answer)

    assert speaker.client().balance() == read


@pytest.mark.parametrize("value", [None, "N/A", "1,234", [], float("nan")])
def test_balance_that_cannot_be_read_is_not_zero(speaker: Speaker, value: object) -> None:
    speaker.sandbox.answer("balance", {"balance": value})

    with pytest.raises(ProviderAnswerInvalid):
        speaker.client().balance()


# --- add (the panel dialect's shapes are in test_panel.py) ---------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "external_id"),
    [
        ({"order": {"id": 123}}, 201, "123"),
        ({"order": {"id": "123"}}, 201, "123"),
        ({"message": "ok", "order": {"id": 123.0}, "balance": 1}, 200, "123"),
        ({"data": {"order": {"id": 123}}}, 201, "123"),
        ({"status": "success", "order": 151}, 201, "151"),
    ],
)
def test_rest_add_is_accepted_with_the_order_s_id(
    rest: RestClient, sandbox: SandboxInTest, body: object, status: int, external_id: str
) -> None:
    sandbox.answer("add", body, status=status)

    assert rest.add(ORDER) == external_id


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": "Not Found", "message": "Service introuvable.", "code": "not_found"}, 404),
        ({"error": "Service non disponible", "code": "service_unavailable"}, 400),
        (
            {"error": "Validation Error", "message": "Bad", "errors": {"link": ["Bad"]}},
            422,
        ),
        ({"error": "Conflict", "message": "This link has a running order", "code": "busy"}, 409),
        ({"error": "Bad link"}, 200),
    ],
)
def test_rest_add_is_refused(
    rest: RestClient, sandbox: SandboxInTest, body: object, status: int
) -> None:
    sandbox.answer("add", body, status=status)

    with pytest.raises(ProviderRefused):
        rest.add(ORDER)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": "Conflict", "code": "idempotency_key_in_use"}, 409),
        ({"error": "Conflict"}, 409),
        ({"error": "Validation Error", "code": "idempotency_key_reused"}, 422),
        ({"error": "Not enough funds", "code": "insufficient_balance"}, 500),
        ({"error": "Bad link"}, 503),
        ({"error": "Request timed out"}, 400),
        ({"error": "Bad link", "order": {"id": 5}}, 400),
        ({"order": {"id": 5}}, 500),
        ({"order": {"id": None}}, 201),
        ({"order": {"id": 0}}, 201),
        ({"order": {}}, 201),
        ({"order": "success"}, 201),
        ({"message": "Commande créée avec succès"}, 201),
        ({"message": "Not found"}, 404),
        ([], 201),
        (None, 201),
    ],
)
def test_rest_add_without_a_clear_yes_or_no_is_unknown(
    rest: RestClient, sandbox: SandboxInTest, body: object, status: int
) -> None:
    sandbox.answer("add", json.dumps(body), status=status)

    with pytest.raises(OutcomeUnknown):
        rest.add(ORDER)

    assert len(sandbox.calls) == 1


# --- statuses ------------------------------------------------------------------------------------

WORDS: Mapping[UpstreamState | None, tuple[object, ...]] = {
    UpstreamState.PENDING: ("Pending", "PENDING", "Awaiting"),
    UpstreamState.PROCESSING: ("Processing",),
    UpstreamState.IN_PROGRESS: (
        *("In progress", "Inprogress", "in-progress", "in_progress", "IN PROGRESS"),
        *("Active", "Paused"),
    ),
    UpstreamState.COMPLETED: ("Completed", "Complete", "completed "),
    UpstreamState.PARTIAL: ("Partial", "Expired"),
    UpstreamState.CANCELLED: ("Canceled", "Cancelled"),
    UpstreamState.REFUNDED: ("Refunded", "Refunds"),
    UpstreamState.FAILED: ("Fail", "Failed", "Error"),
    None: ("Marinating", "2", 2, "", None, "success"),
}


def reported(speaker: Speaker, report: Mapping[str, Any]) -> UpstreamStatus:
    """What a client makes of this report on order 7, beside one on order 8."""
    if speaker.dialect == "rest":
        items = [{"id": 7, **report}, {"id": 8, "status": "completed"}]
        answer: object = {"data": items, "meta": {"current_page": 1, "total": 2, "per_page": 100}}
    else:
        answer = {"7": report, "8": {"status": "Completed"}}
    speaker.sandbox.answer("status", answer)
    found = speaker.client().statuses(["7", "8"])
    assert found["8"].state is UpstreamState.COMPLETED
    return found["7"]


@pytest.mark.parametrize(
    ("word", "state"), [(word, state) for state, words in WORDS.items() for word in words]
)
def test_status_word_is_understood_or_nothing(
    speaker: Speaker, word: object, state: UpstreamState | None
) -> None:
    assert reported(speaker, {"status": word, "remains": 5}).state is state


@pytest.mark.parametrize(
    ("written", "read"),
    [
        *((value, None) for value in (None, "Unknown", "", [], "1.000")),
        *((("-12"), -12), (-12, -12), ("10000000", 10_000_000), ("0", 0), (5.0, 5)),
    ],
)
def test_remains_are_told_as_they_are(speaker: Speaker, written: object, read: int | None) -> None:
    assert reported(speaker, {"status": "Partial", "remains": written}).remains == read


def test_missing_figures_stay_unknown(speaker: Speaker) -> None:
    report = reported(speaker, {"status": "Partial"})

    assert (report.remains, report.start_count, report.charge, report.posts) == (None,) * 4


@pytest.mark.parametrize(
    ("figures", "posts"),
    [
        ({"posts": "6"}, 6),
        ({"posts": 0}, 0),
        ({"orders": ["11", "12"]}, 2),
        ({"orders": []}, 0),
        ({"posts": "?", "orders": [11]}, 1),
        ({"posts": None}, None),
        ({"posts": "-1"}, None),
    ],
)
def test_posts_of_a_subscription_are_told_or_counted(
    speaker: Speaker, figures: Mapping[str, object], posts: int | None
) -> None:
    assert reported(speaker, {"status": "Active", **figures}).posts == posts


def test_single_report_on_a_subscription_is_no_list_of_orders(
    client: PanelClient, sandbox: SandboxInTest
) -> None:
    sandbox.answer("status", {"status": "Active", "expiry": None, "orders": ["11", "12"]})

    report = client.statuses(["7"])["7"]

    assert (report.state, report.posts) == (UpstreamState.IN_PROGRESS, 2)


DONE = {"status": "Completed", "charge": "0.5", "start_count": "5", "remains": "0"}


@pytest.mark.parametrize(
    "answer",
    [
        {"7": DONE, "9": {"error": "Incorrect order ID"}},
        {"7": DONE, "9": "Incorrect order ID"},
        {"7": DONE},
        [{"order": 7, **DONE}, {"order": "9", "error": "Incorrect order ID"}],
        [{"order": "7", **DONE}, "Incorrect order ID"],
        {"data": {"7": DONE}},
        {"orders": [{"order": 7, **DONE}]},
        {"7": DONE, "10": DONE},
    ],
)
def test_multi_status_in_any_shape_tells_what_it_tells(
    client: PanelClient, sandbox: SandboxInTest, answer: object
) -> None:
    sandbox.answer("status", answer)

    found = client.statuses(["7", "9"])

    assert {key: report.remains for key, report in found.items()} == {"7": 0}


@pytest.mark.parametrize(
    "answer",
    [
        {"data": [{"id": 7, "status": "completed"}], "meta": {"total": 1}},
        {"data": [{"id": "7", "status": "Completed"}, {"id": 7, "status": "failed"}]},
        {"data": [{"id": 7, "status": "completed"}, "x", None, {"status": "failed"}]},
        {"data": [{"id": 5, "status": "failed"}, {"id": 7, "status": "completed"}]},
        [{"id": 7, "status": "completed"}],
    ],
)
def test_page_of_orders_in_any_shape_tells_what_it_tells(
    rest: RestClient, sandbox: SandboxInTest, answer: object
) -> None:
    sandbox.answer("status", answer)

    found = rest.statuses(["7", "9"])

    assert {key: report.state for key, report in found.items()} == {"7": UpstreamState.COMPLETED}


def test_cost_of_a_rest_order_is_what_is_left_after_refunds(
    rest: RestClient, sandbox: SandboxInTest
) -> None:
    items = [{"id": 7, "cost": 5.0, "refunded": 1.25}, {"id": 8, "cost": "3,5"}, {"id": 9}]
    sandbox.answer("status", {"data": items})

    found = rest.statuses(["7", "8", "9"])

    assert [found[key].charge for key in "789"] == [Decimal("3.75"), Decimal("3.5"), None]


# --- refills -------------------------------------------------------------------------------------

YES: tuple[tuple[object, str], ...] = (
    ({"refill": "1"}, "1"),
    ({"refill": 1}, "1"),
    ({"refill": "23", "status": "completed"}, "23"),
    ({"status": "Success"}, ""),
    ({"status": "success", "message": "Refill created"}, ""),
    ({"data": {"refill": 7}}, "7"),
    ([{"order": 500001, "refill": 7}], "7"),
    ({"500001": {"refill": 7}}, "7"),
    ({"message": "…", "refill": {"id": 23, "order_id": 500001, "status": "pending"}}, "23"),
)
NO: tuple[tuple[object, str], ...] = (
    ({"refill": {"error": "Not eligible"}}, "Not eligible"),
    ({"error": "Not eligible"}, "Not eligible"),
    ({"refill": None, "status": "rejected", "error": "Not eligible"}, "Not eligible"),
    ({"refill": None, "status": "rejected"}, "no reason given"),
    ({"status": "fail", "message": "Not eligible"}, "Not eligible"),
    ([{"order": 500001, "refill": {"error": "Not eligible"}}], "Not eligible"),
    ({"refill": {"id": None, "status": "rejected", "reason": "Not eligible"}}, "Not eligible"),
)


@pytest.mark.parametrize(("body", "refill"), YES)
def test_refill_is_accepted_in_any_shape(speaker: Speaker, body: object, refill: str) -> None:
    speaker.sandbox.answer("refill", body)

    assert speaker.client().refill("500001") == refill


@pytest.mark.parametrize(("body", "reason"), NO)
def test_refill_is_refused_in_any_shape(speaker: Speaker, body: object, reason: str) -> None:
    speaker.sandbox.answer("refill", body)

    with pytest.raises(ProviderRefused, match=reason):
        speaker.client().refill("500001")


@pytest.mark.parametrize("status", [400, 404, 409, 422])
def test_refill_is_refused_with_any_http_status(speaker: Speaker, status: int) -> None:
    body = {"error": "Bad Request", "message": "Not eligible", "code": "refill_refused"}
    speaker.sandbox.answer("refill", body, status=status)

    with pytest.raises(ProviderRefused):
        speaker.client().refill("500001")


@pytest.mark.parametrize(
    "body",
    [
        *({}, [], None, {"refill": None}, {"refill": 0}, {"refill": []}, {"refill": "maybe"}),
        *({"status": "fail"}, {"refill": {"error": "Internal server error"}}),
        *({"order": 9, "refill": 7}, {"error": "Server error"}, {"refill": float("nan")}),
    ],
)
def test_refill_answered_without_a_clear_yes_or_no_is_unknown(
    speaker: Speaker, body: object
) -> None:
    speaker.sandbox.answer("refill", json.dumps(body))

    with pytest.raises(OutcomeUnknown):
        speaker.client().refill("500001")


REFILL_WORDS = {
    "Pending": UpstreamRefillState.PENDING,
    "In progress": UpstreamRefillState.PENDING,
    "in_progress": UpstreamRefillState.PENDING,
    "Completed": UpstreamRefillState.COMPLETED,
    "completed": UpstreamRefillState.COMPLETED,
    "Rejected": UpstreamRefillState.REJECTED,
    "Error": UpstreamRefillState.REJECTED,
    "Marinating": None,
}


@pytest.mark.parametrize(("word", "state"), REFILL_WORDS.items())
def test_refill_word_is_understood_or_nothing(
    speaker: Speaker, word: str, state: UpstreamRefillState | None
) -> None:
    speaker.sandbox.answer("refill_status", {"status": word})

    assert speaker.client().refill_statuses(["1"]) == {"1": UpstreamRefill(state, word)}


def test_reason_of_a_refill_is_told(speaker: Speaker) -> None:
    body = {"id": 1, "status": "rejected", "reason": "No drop"}
    speaker.sandbox.answer("refill_status", body)

    assert speaker.client().refill_statuses(["1"]) == {
        "1": UpstreamRefill(UpstreamRefillState.REJECTED, "rejected", "No drop")
    }


@pytest.mark.parametrize(
    "body", [{"status": {"error": "Refill not found"}}, {"error": "Refill not found"}]
)
def test_error_in_a_refill_s_place_is_no_state(speaker: Speaker, body: object) -> None:
    speaker.sandbox.answer("refill_status", body)

    report = speaker.client().refill_statuses(["1"])["1"]

    assert (report.state, report.reason) == (None, "Refill not found")


@pytest.mark.parametrize(
    "body",
    [
        [{"refill": 1, "status": "Completed"}, {"refill": 2, "status": {"error": "No"}}],
        [{"refill": "1", "status": "Completed"}, {"refill": "2", "error": "No"}],
        {"1": {"status": "Completed"}, "2": {"error": "No"}},
        {"1": "Completed", "2": {"error": "No"}},
        {"data": [{"refill": 1, "status": "Completed"}, {"refill": 2, "error": "No"}]},
    ],
)
def test_multi_refill_status_in_any_shape_tells_each(
    client: PanelClient, sandbox: SandboxInTest, body: object
) -> None:
    sandbox.answer("refill_status", body)

    assert client.refill_statuses(["1", "2", "3"]) == {
        "1": UpstreamRefill(UpstreamRefillState.COMPLETED, "Completed"),
        "2": UpstreamRefill(None, "", "No"),
    }


@pytest.mark.parametrize("body", [{}, [], {"refill": 9, "status": "Completed"}, {"9": "Completed"}])
def test_refill_status_about_another_is_invalid(speaker: Speaker, body: object) -> None:
    if speaker.dialect == "rest" and isinstance(body, dict) and "refill" in body:
        body = {"id": 9, "status": "completed"}
    speaker.sandbox.answer("refill_status", json.dumps(body))

    with pytest.raises(ProviderAnswerInvalid):
        speaker.client().refill_statuses(["1"])


# --- cancels -------------------------------------------------------------------------------------

ACCEPTED = UpstreamCancel(accepted=True)
REFUSED = UpstreamCancel(accepted=False, reason="Too late")


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (
            [{"order": 1, "cancel": 1}, {"order": "2", "cancel": {"error": "Too late"}}],
            {"1": ACCEPTED, "2": REFUSED},
        ),
        ([{"order": 1, "cancel": "1"}, {"order": 9, "cancel": 1}], {"1": ACCEPTED}),
        (
            [{"order": 1, "cancel": True}, {"order": 2, "error": "Too late"}],
            {"1": ACCEPTED, "2": REFUSED},
        ),
        ({"1": {"cancel": 1}, "2": {"error": "Too late"}}, {"1": ACCEPTED, "2": REFUSED}),
        ({"1": 1, "2": {"cancel": {"error": "Too late"}}}, {"1": ACCEPTED, "2": REFUSED}),
        ({"1": {"status": "Success"}, "2": "?"}, {"1": ACCEPTED}),
        ({"data": [{"order": 1, "cancel": 1}]}, {"1": ACCEPTED}),
        ({"cancel": 1}, {"1": ACCEPTED}),
        ({"cancel": "2"}, {"2": ACCEPTED}),
        ({"status": "Success"}, {"1": ACCEPTED, "2": ACCEPTED}),
    ],
)
def test_cancel_is_answered_in_any_shape(
    client: PanelClient, sandbox: SandboxInTest, body: object, read: dict[str, UpstreamCancel]
) -> None:
    sandbox.answer("cancel", body)

    assert client.cancel(["1", "2"]) == read


@pytest.mark.parametrize(
    ("body", "read"),
    [
        ({"cancel": 500001}, ACCEPTED),
        ({"cancel": 1}, ACCEPTED),
        ({"order": 500001, "cancel": 1}, ACCEPTED),
        ([{"cancel": 1}], ACCEPTED),
        ({"error": "Order cannot be canceled"}, UpstreamCancel(False, "Order cannot be canceled")),
        ({"error": "Cancel already requested"}, UpstreamCancel(True, "Cancel already requested")),
    ],
)
def test_cancel_of_one_order_is_answered_in_any_shape(
    client: PanelClient, sandbox: SandboxInTest, body: object, read: UpstreamCancel
) -> None:
    sandbox.answer("cancel", body)

    assert client.cancel(["500001"]) == {"500001": read}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"message": "ok", "order": {"id": 7, "status": "cancelled"}}, 200),
        ({"message": "ok", "order": {"id": 7, "status": "in_progress"}}, 202),
        ({"message": "ok"}, 200),
        ({"status": "success"}, 200),
    ],
)
def test_rest_cancel_is_accepted(
    rest: RestClient, sandbox: SandboxInTest, body: object, status: int
) -> None:
    sandbox.answer("cancel", body, status=status)

    assert rest.cancel(["7"]) == {"7": ACCEPTED}


@pytest.mark.parametrize(
    "body",
    [
        *({}, [], "ok", {"status": "fail"}, {"error": "Internal server error"}),
        *({"order": 9, "cancel": 1}, {"cancel": 9}, {"9": {"cancel": 1}}),
        {"message": "ok", "order": {"id": 9}},
    ],
)
def test_cancel_answered_without_a_clear_yes_or_no_is_unknown(
    speaker: Speaker, body: object
) -> None:
    speaker.sandbox.answer("cancel", json.dumps(body))

    with pytest.raises(OutcomeUnknown):
        speaker.client().cancel(["7"])


def test_batch_of_cancels_refused_for_one_id_is_asked_in_halves(
    client: PanelClient, sandbox: SandboxInTest
) -> None:
    sandbox.answer("cancel", {"error": "Incorrect order ID"})

    found = client.cancel(["7", "8"])

    assert {key: answer.accepted for key, answer in found.items()} == {"7": False, "8": False}
    assert len(sandbox.calls) == 3


# --- what comes instead of an answer -------------------------------------------------------------


def clients(url: str) -> tuple[ProviderClient, ProviderClient]:
    return client_of(url), rest_client_of(url)


PAGE = "<!DOCTYPE html><html><title>Just a moment...</title></html>"


@pytest.mark.parametrize(
    "answer",
    [
        http(PAGE),
        http(PAGE, status="503 Service Unavailable"),
        http(PAGE, status="403 Forbidden"),
        http(""),
        http('{"order": 5, "balan'),
        http('{"order": {"id": 5}, "balance": 5}', length=500),
        http('{"order": 5}', headers="Content-Encoding: gzip\r\n"),
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 307 Temporary\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        b"",
    ],
    ids=[
        *("page", "page-503", "page-403", "empty", "truncated", "cut-off", "not-gzip"),
        *("redirect-302", "redirect-307", "hung-up"),
    ],
)
def test_no_answer_is_neither_yes_nor_no(wire: Wire, answer: bytes) -> None:
    wire.says(answer)

    for client in clients(wire.url):
        with pytest.raises(OutcomeUnknown):
            client.add(ORDER)
        with pytest.raises(OutcomeUnknown):
            client.refill("5")
        with pytest.raises(OutcomeUnknown):
            client.cancel(["5"])
        with pytest.raises(ProviderAnswerInvalid):
            client.balance()

    assert len(wire.requests) == 8
    assert not any(b"/elsewhere" in request for request in wire.requests)


def test_answer_that_is_packed_is_unpacked(wire: Wire) -> None:
    body = gzip.compress(b'{"balance": "5", "currency": "USD"}')
    wire.says(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body), body
    )

    for client in clients(wire.url):
        assert client.balance() == (Decimal(5), "USD")


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        (http('{"retry_after": 12}', status="429 Too Many Requests"), 12),
        (http("", status="429 Too Many Requests", headers="Retry-After: 9\r\n"), 9),
        (http(PAGE, status="429 Too Many Requests"), None),
        (http("", status="429 Too Many Requests", headers="Retry-After: soon\r\n"), None),
    ],
)
def test_too_many_requests_with_or_without_a_time(
    wire: Wire, answer: bytes, wait: float | None
) -> None:
    wire.says(answer)

    for client in clients(wire.url):
        for call in (lambda c: c.add(ORDER), lambda c: c.cancel(["5"]), lambda c: c.balance()):
            with pytest.raises(ProviderBusy) as caught:
                call(client)
            assert caught.value.retry_after == wait


def test_answer_in_drips_is_given_up_in_time(wire: Wire) -> None:
    wire.says(http("", length=1000), *[b" "] * 1000, pause=0.05)

    for make in (client_of, rest_client_of):
        with pytest.raises(OutcomeUnknown, match="took too long"):
            make(wire.url, connect_timeout=0.4, read_timeout=0.4).add(ORDER)


def test_answer_in_pieces_is_put_together(wire: Wire) -> None:
    whole = http('{"order": {"id": 5}, "balance": 1}')
    wire.says(whole[:20], whole[20:60], whole[60:], pause=0.05)

    assert rest_client_of(wire.url).add(ORDER) == "5"


# --- how the REST dialect is spoken --------------------------------------------------------------


def test_rest_request_is_as_documented(wire: Wire) -> None:
    wire.says(http('{"order": {"id": 5}}', status="201 Created"))
    fields = {"link": "https://a.example/ğ", "quantity": "100", "comments": "a\nb"}

    rest_client_of(f"{wire.url}/").add(UpstreamOrder("1001", fields, reference="ours-1"))

    head, _, body = wire.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /api/v2/orders HTTP/1.1"
    assert {f"X-API-Key: {KEY}", "Idempotency-Key: ours-1", "Connection: close"} <= set(lines)
    assert json.loads(body) == {
        "service_id": 1001,
        "link": "https://a.example/ğ",
        "quantity": 100,
        "comments": "a\nb",
        "client_ref": "ours-1",
    }


def test_rest_request_is_the_same_at_every_attempt(wire: Wire) -> None:
    wire.says(b"")
    client = rest_client_of(wire.url)
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            client.add(ORDER)

    assert wire.requests[0] == wire.requests[1]


def test_order_without_a_reference_has_no_key(wire: Wire) -> None:
    wire.says(http('{"order": {"id": 5}}'))

    rest_client_of(wire.url).add(UpstreamOrder("abc", {"link": "x"}))

    assert b"idempotency" not in wire.requests[0].lower()
    assert json.loads(wire.requests[0].partition(b"\r\n\r\n")[2]) == {
        "service_id": "abc",
        "link": "x",
    }


@pytest.mark.parametrize("field", ["service_id", "client_ref"])
def test_rest_add_refuses_a_field_that_would_overwrite_its_own(
    rest: RestClient, sandbox: SandboxInTest, field: str
) -> None:
    with pytest.raises(ValueError, match=field):
        rest.add(UpstreamOrder("1001", {**ORDER.fields, field: "x"}))

    assert list(sandbox.calls) == []


def test_pages_are_followed_until_all_are_told(rest: RestClient, sandbox: SandboxInTest) -> None:
    for page, number in ((1, 7), (2, 8), (3, 9)):
        meta = {"current_page": page, "total": 3, "per_page": 1}
        sandbox.answer("status", {"data": [{"id": number, "status": "completed"}], "meta": meta})

    assert set(rest.statuses(["7", "8", "9"])) == {"7", "8", "9"}
    assert [call["page"] for call in sandbox.calls] == ["1", "2", "3"]
    assert sandbox.calls[0] == {
        "action": "status",
        "ids": "7,8,9",
        "per_page": "100",
        "page": "1",
    }


def test_pages_are_not_followed_for_ever(rest: RestClient, sandbox: SandboxInTest) -> None:
    meta = {"current_page": 1, "total": 10**9, "per_page": 1}
    body = {"data": [{"id": 7, "status": "completed"}], "meta": meta}
    sandbox.answer("status", body, times=99)

    assert set(rest.statuses(["7", "8"])) == {"7"}
    assert len(sandbox.calls) == 20


def test_pages_of_others_orders_are_no_answer(rest: RestClient, sandbox: SandboxInTest) -> None:
    body = {"data": [{"id": 1, "status": "completed"}], "meta": {"total": 50}}
    sandbox.answer("status", body)

    with pytest.raises(ProviderAnswerInvalid, match="none of the orders"):
        rest.statuses(["7", "8"])


@pytest.mark.parametrize(
    "body",
    [
        {"data": [{"id": 5, "client_ref": "other"}], "meta": {"total": 1}},
        {"data": [{"id": 5}], "meta": {"total": 1}},
        {
            "data": [{"id": 5, "client_ref": "ours-1"}, {"id": 6, "client_ref": "ours-1"}],
            "meta": {"total": 2},
        },
        {"data": [{"id": 5, "client_ref": "ours-1"}], "meta": {"total": 7}},
        {"data": [{"id": 5, "client_ref": "ours-1"}, {"id": 6}]},
        {"data": [{"id": None, "client_ref": "ours-1"}], "meta": {"total": 1}},
        {"data": [], "meta": {"total": 7}},
        {"data": []},
        {},
        [],
    ],
)
def test_list_that_proves_nothing_finds_nothing_and_says_so(
    rest: RestClient, sandbox: SandboxInTest, body: object
) -> None:
    sandbox.answer("find", json.dumps(body))

    with pytest.raises(ProviderAnswerInvalid):
        rest.find("ours-1")


def test_refused_key_is_told_to_staff(rest: RestClient, sandbox: SandboxInTest) -> None:
    for status in (401, 403):
        body = {"error": "Forbidden", "message": "No permission", "code": "permission_denied"}
        sandbox.answer("add", body, status=status)
        with pytest.raises(ProviderRefused, match=rf"our key is not accepted \(HTTP {status}\)"):
            rest.add(ORDER)


def test_cancels_after_a_lost_reply_are_still_made(
    rest: RestClient, sandbox: SandboxInTest
) -> None:
    sandbox.answer("cancel", PAGE)
    sandbox.answer("cancel", {"message": "ok"})

    assert rest.cancel(["7", "8"]) == {"8": ACCEPTED}


def test_calls_end_where_the_provider_turns_us_away(
    rest: RestClient, sandbox: SandboxInTest
) -> None:
    sandbox.answer("cancel", {"message": "ok"})
    sandbox.answer("cancel", {"retry_after": 5}, status=429)

    assert rest.cancel(["7", "8", "9"]) == {"7": ACCEPTED}
    assert len(sandbox.calls) == 2
