"""The panel client against the sandbox, over real sockets: what it sends, and what it makes of
every answer in contracts that providers give."""

from __future__ import annotations

import socket
import traceback
from decimal import Decimal
from typing import Any

import pytest
import stamina
import structlog

from accounts.encryption import SecretUnreadable
from catalog.models import Dialect, Provider
from catalog.order_types import ServiceType
from catalog.providers import (
    OutcomeUnknown,
    ProviderAnswerInvalid,
    ProviderBusy,
    ProviderError,
    ProviderOutOfFunds,
    ProviderRefused,
    ProviderUnreachable,
    UpstreamOrder,
    UpstreamState,
)
from catalog.providers.panel import PanelClient
from catalog.providers.registry import CLIENTS, client_for
from catalog.sandbox.misbehaviour import ANY_ACTION, Kind
from tests.catalog.providers.conftest import ORDER, Wire, client_of, http, impatient
from tests.sandbox import DAY, KEY, SandboxInTest, free_port

# --- what is sent --------------------------------------------------------------------------------


def test_add_sends_the_fields_in_a_panel_s_order(
    sandbox: SandboxInTest, client: PanelClient
) -> None:
    order = UpstreamOrder(
        "1001", {"interval": "5", "runs": "2", "quantity": "100", "link": "https://a.example/ğ &=?"}
    )

    external_id = client.add(order)

    assert external_id == "500001"
    assert list(sandbox.calls[0].items()) == [
        ("action", "add"),
        ("service", "1001"),
        ("link", "https://a.example/ğ &=?"),
        ("quantity", "100"),
        ("runs", "2"),
        ("interval", "5"),
    ]


def test_add_sends_lists_with_their_line_ends(sandbox: SandboxInTest, client: PanelClient) -> None:
    service = next(
        offer for offer in client.services().offers if offer.type == ServiceType.CUSTOM_COMMENTS
    )
    comments = "Güzel 👏\nsecond\r\nthird\nfourth\nfifth"

    client.add(
        UpstreamOrder(service.external_id, {"link": "https://a.example", "comments": comments})
    )

    (order,) = sandbox.orders
    assert (order.fields["comments"], order.total) == (comments, 5)


@pytest.mark.parametrize("field", ["key", "action", "service"])
def test_add_refuses_a_field_that_would_overwrite_its_own(
    sandbox: SandboxInTest, client: PanelClient, field: str
) -> None:
    with pytest.raises(ValueError, match=field):
        client.add(UpstreamOrder("1001", {**ORDER.fields, field: "x"}))

    assert list(sandbox.calls) == []


def test_every_call_has_a_connection_of_its_own(wire: Wire) -> None:
    wire.says(http('{"balance": "1"}'))
    client = client_of(wire.url)

    client.balance()
    client.balance()

    assert len(wire.requests) == 2
    assert all(b"connection: close" in request.lower() for request in wire.requests)


def test_key_is_in_the_body_and_not_in_the_address(wire: Wire) -> None:
    wire.says(http('{"balance": "1"}'))

    client_of(wire.url).balance()

    assert KEY.encode() not in wire.requests[0].split(b"\r\n\r\n")[0]


# --- the outcomes of add -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "external_id"),
    [
        ({"order": 1}, "1"),
        ({"order": "23501"}, "23501"),
        ({"status": "success", "order": 151}, "151"),
        ({"data": {"order": "99"}}, "99"),
        ({"order": 12, "error": None}, "12"),
    ],
)
def test_add_is_accepted_with_the_order_s_id(
    sandbox: SandboxInTest, client: PanelClient, body: object, external_id: str
) -> None:
    sandbox.answer("add", body)

    assert client.add(ORDER) == external_id


@pytest.mark.parametrize("status", [200, 400, 404, 422, 500, 503])
def test_add_is_refused_with_any_http_status(
    sandbox: SandboxInTest, client: PanelClient, status: int
) -> None:
    sandbox.misbehave("add", Kind.REFUSE, text="Incorrect service ID", status=status)

    with pytest.raises(ProviderRefused, match=r"^Incorrect service ID$"):
        client.add(ORDER)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": "Bad link"}, 200),
        ({"error": {"message": "Bad link"}}, 200),
        ({"status": "fail", "message": "Bad link"}, 200),
        ({"data": {"error": "Bad link"}}, 400),
        ({"errors": ["Bad link"]}, 422),
    ],
)
def test_add_is_refused_in_any_shape(
    sandbox: SandboxInTest, client: PanelClient, body: object, status: int
) -> None:
    sandbox.answer("add", body, status=status)

    with pytest.raises(ProviderRefused, match=r"^Bad link$"):
        client.add(ORDER)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"error": "Not enough funds on balance"}, 200),
        ({"error": "Insufficient balance"}, 500),
        ({"status": "error", "message": "Yetersiz bakiye"}, 200),
        ({"error": "Please pay"}, 402),
    ],
)
def test_add_without_our_funds_is_told_apart(
    sandbox: SandboxInTest, client: PanelClient, body: object, status: int
) -> None:
    sandbox.answer("add", body, status=status)

    with pytest.raises(ProviderOutOfFunds):
        client.add(ORDER)


def test_add_beyond_the_real_balance_is_out_of_funds(
    sandbox: SandboxInTest, client: PanelClient
) -> None:
    sandbox.set_balance("0.001")

    with pytest.raises(ProviderOutOfFunds):
        client.add(ORDER)

    assert sandbox.orders == []


@pytest.mark.parametrize(("seconds", "retry_after"), [(30, 30.0), (0, None)])
def test_add_turned_away_for_haste_may_be_tried_later(
    sandbox: SandboxInTest, client: PanelClient, seconds: int, retry_after: float | None
) -> None:
    sandbox.misbehave("add", Kind.TOO_MANY, seconds=seconds)

    with pytest.raises(ProviderBusy) as caught:
        client.add(ORDER)

    assert caught.value.retry_after == retry_after
    assert (len(sandbox.calls), sandbox.orders) == (1, [])


def test_haste_is_understood_from_the_body_alone(
    sandbox: SandboxInTest, client: PanelClient
) -> None:
    sandbox.answer("add", {"error": "Too Many Requests", "retry_after": "12"}, status=200)

    with pytest.raises(ProviderBusy) as caught:
        client.add(ORDER)

    assert caught.value.retry_after == 12


@pytest.mark.parametrize(
    "kind",
    [
        *(Kind.LOSE_REPLY, Kind.HTML, Kind.EMPTY, Kind.TRUNCATED, Kind.NAN, Kind.LIST),
        *(Kind.STRING, Kind.HUGE, Kind.NO_ID),
    ],
)
def test_add_that_took_effect_and_was_not_answered_is_unknown(
    sandbox: SandboxInTest, client: PanelClient, kind: Kind
) -> None:
    sandbox.misbehave("add", kind)

    with pytest.raises(OutcomeUnknown):
        client.add(ORDER)

    assert (len(sandbox.calls), len(sandbox.orders)) == (1, 1)


def test_add_that_took_effect_and_is_never_answered_is_unknown(sandbox: SandboxInTest) -> None:
    sandbox.misbehave("add", Kind.HANG)

    with pytest.raises(OutcomeUnknown, match="ReadTimeout"):
        impatient(sandbox).add(ORDER)

    assert sandbox.wait_for_orders(1)
    assert len(sandbox.calls) == 1


@pytest.mark.parametrize("kind", [Kind.RESET, Kind.ERROR_500, Kind.REDIRECT])
def test_add_that_failed_in_a_way_that_proves_nothing_is_unknown(
    sandbox: SandboxInTest, client: PanelClient, kind: Kind
) -> None:
    sandbox.misbehave("add", kind)

    with pytest.raises(OutcomeUnknown):
        client.add(ORDER)

    assert len(sandbox.calls) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"order": 5, "error": "Bad link"}, 200),
        ({"order": 5, "status": "fail"}, 200),
        ({"order": 5}, 500),
        ({"order": 5}, 404),
        ({"order": 0}, 200),
        ({"order": None}, 200),
        ({"order": "success"}, 200),
        ({"error": "Internal Server Error"}, 500),
        ({"error": "Request timed out"}, 200),
        ({"message": "Server Error"}, 500),
        ({"status": "fail"}, 200),
        (None, 200),
        ({}, 200),
    ],
)
def test_add_answered_without_a_clear_yes_or_no_is_unknown(
    sandbox: SandboxInTest, client: PanelClient, body: object, status: int
) -> None:
    sandbox.answer("add", body, status=status)

    with pytest.raises(OutcomeUnknown):
        client.add(ORDER)

    assert len(sandbox.calls) == 1


@pytest.mark.parametrize(
    "pieces",
    [
        (http('{"order": 5}', length=100),),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n", b'{"order": 5}'),
        (http('{"order": 5}', headers="Content-Encoding: gzip\r\n"),),
        (b"SSH-2.0-OpenSSH_9.2\r\n",),
        (b"",),
    ],
    ids=["cut off", "last chunk missing", "not gzip", "not http", "hung up"],
)
def test_add_answered_by_half_an_answer_is_unknown(wire: Wire, pieces: tuple[bytes, ...]) -> None:
    wire.says(*pieces)

    with pytest.raises(OutcomeUnknown):
        client_of(wire.url).add(ORDER)

    assert len(wire.requests) == 1


def test_add_answered_in_drips_is_given_up_in_time(wire: Wire) -> None:
    wire.says(http("", length=1000), *[b" "] * 1000, pause=0.05)

    with pytest.raises(OutcomeUnknown, match="took too long"):
        client_of(wire.url, connect_timeout=0.5, read_timeout=0.5).add(ORDER)


def test_answer_that_comes_late_but_in_time_counts(
    sandbox: SandboxInTest, client: PanelClient
) -> None:
    sandbox.misbehave("add", Kind.SLOW, seconds=0.2)

    assert client.add(ORDER) == "500001"


def test_add_without_a_connection_was_not_sent(unrepeated_reads: None) -> None:
    with pytest.raises(ProviderUnreachable):
        client_of(f"http://127.0.0.1:{free_port()}/api/v2").add(ORDER)


def test_add_whose_connection_is_not_answered_was_not_sent(unrepeated_reads: None) -> None:
    with socket.create_server(("127.0.0.1", free_port()), backlog=0) as full:
        address = full.getsockname()
        with socket.create_connection(address):
            url = f"http://127.0.0.1:{address[1]}/api/v2"
            with pytest.raises(ProviderUnreachable):
                client_of(url, connect_timeout=0.2).add(ORDER)


def test_add_over_tls_to_a_port_without_tls_was_not_sent(
    sandbox: SandboxInTest, client: PanelClient
) -> None:
    with pytest.raises(ProviderUnreachable):
        client_of(sandbox.url.replace("http:", "https:")).add(ORDER)

    assert sandbox.orders == []


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://", "http://[::1", "no url"])
def test_add_to_an_address_that_is_none_was_not_sent(url: str) -> None:
    with pytest.raises(ProviderUnreachable):
        client_of(url).add(ORDER)


def test_refused_connection_then_a_second_try_buys_once(
    sandbox: SandboxInTest, client: PanelClient
) -> None:
    sandbox.stop()
    with pytest.raises(ProviderUnreachable):
        client.add(ORDER)
    sandbox.start_again()

    client.add(ORDER)

    assert len(sandbox.orders) == 1


# --- reading -------------------------------------------------------------------------------------


def test_services_are_read(sandbox: SandboxInTest, client: PanelClient) -> None:
    found = client.services()

    assert (len(found.offers), found.unreadable) == (320, ())
    assert {offer.type for offer in found.offers} == set(ServiceType.values) - {"Unknown"}
    fast = next(offer for offer in found.offers if "HQ" in offer.name)
    assert fast.name == "Instagram Followers [HQ & Fast | 60 Days ♻️ | Instant]"
    assert fast.description == "High quality & fast.\nLink: public profile or post."


@pytest.mark.parametrize(
    ("kind", "offers", "unreadable"),
    [
        (Kind.CATALOGUE_EMPTY, 0, 0),
        (Kind.CATALOGUE_HALVED, 160, 0),
        (Kind.CATALOGUE_DOUBLED_IDS, 320, 320),
        (Kind.LIST, 320, 0),
        (Kind.HUGE, 320, 1),
    ],
)
def test_services_of_an_odd_list(
    sandbox: SandboxInTest, client: PanelClient, kind: Kind, offers: int, unreadable: int
) -> None:
    sandbox.misbehave("services", kind)

    found = client.services()

    assert (len(found.offers), len(found.unreadable)) == (offers, unreadable)


def test_doubled_ids_keep_the_first_rate(sandbox: SandboxInTest, client: PanelClient) -> None:
    before = client.services().offers
    sandbox.misbehave("services", Kind.CATALOGUE_DOUBLED_IDS)

    assert client.services().offers == before


@pytest.mark.parametrize("kind", [Kind.CATALOGUE_BROKEN_RATES, Kind.NAN])
def test_broken_rates_are_unknown_and_not_zero(
    sandbox: SandboxInTest, client: PanelClient, kind: Kind
) -> None:
    sandbox.misbehave("services", kind)

    assert {offer.rate for offer in client.services().offers} == {None}


def test_list_beyond_the_limit_is_not_taken_into_memory(
    sandbox: SandboxInTest, client: PanelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog.providers.panel.LARGEST_LIST", 1_000_000)
    sandbox.misbehave("services", Kind.HUGE)

    with pytest.raises(ProviderAnswerInvalid, match="larger than"):
        client.services()


def test_balance_is_read(client: PanelClient) -> None:
    assert client.balance() == (Decimal(10000), "USD")


def test_statuses_are_read(sandbox: SandboxInTest, client: PanelClient) -> None:
    first, second, third = (client.add(ORDER) for _ in range(3))
    sandbox.end_partial(first, remains=40)
    sandbox.cancel(second)

    found = client.statuses([first, second, third, "7"])

    assert {key: (report.state, report.remains) for key, report in found.items()} == {
        first: (UpstreamState.PARTIAL, 40),
        second: (UpstreamState.CANCELLED, 100),
        third: (UpstreamState.PENDING, 100),
    }
    assert sandbox.calls[-1] == {"action": "status", "orders": f"{first},{second},{third},7"}


def test_status_of_one_order_uses_the_single_form(
    sandbox: SandboxInTest, client: PanelClient
) -> None:
    order = client.add(ORDER)
    sandbox.advance(DAY)

    found = client.statuses([order, order])

    assert found[order].state is UpstreamState.COMPLETED
    assert sandbox.calls[-1] == {"action": "status", "order": order}


def test_statuses_of_nothing_ask_nothing(sandbox: SandboxInTest, client: PanelClient) -> None:
    assert client.statuses([]) == {}
    assert list(sandbox.calls) == []


def test_statuses_of_more_than_a_hundred_are_a_mistake(client: PanelClient) -> None:
    with pytest.raises(ValueError, match="100"):
        client.statuses([str(number) for number in range(1, 102)])


def test_one_bad_report_does_not_spoil_the_other_99(
    sandbox: SandboxInTest, client: PanelClient
) -> None:
    asked = [str(number) for number in range(1, 101)]
    good = {"status": "Completed", "charge": "0.5", "start_count": "5", "remains": "0"}
    bad = ['"x"', "NaN", "[]", "null", "{}", '{"error": "Incorrect order ID"}', '{"status": NaN}']
    for value in bad:
        items = [f'"{key}": {value}' for key in asked[:1]]
        items += [f'"{key}": {str(good).replace(chr(39), chr(34))}' for key in asked[1:]]
        sandbox.answer("status", "{" + ",".join(items) + "}")

        found = client.statuses(asked)

        done = {key for key, report in found.items() if report.state is UpstreamState.COMPLETED}
        assert done == set(asked[1:])


def test_unknown_word_is_told_as_it_is(sandbox: SandboxInTest, client: PanelClient) -> None:
    order = client.add(ORDER)
    sandbox.misbehave("status", Kind.UNKNOWN_WORD)

    report = client.statuses([order])[order]

    assert (report.state, report.word, report.remains) == (None, "Marinating", 100)


def test_negative_remains_are_told_as_they_are(sandbox: SandboxInTest, client: PanelClient) -> None:
    order = client.add(ORDER)
    sandbox.misbehave("status", Kind.NEGATIVE_REMAINS)

    assert client.statuses([order])[order].remains == -12


def test_foreign_order_in_the_answer_is_passed_over(
    sandbox: SandboxInTest, client: PanelClient
) -> None:
    orders = [client.add(ORDER), client.add(ORDER)]
    sandbox.misbehave("status", Kind.FOREIGN_ID)

    assert list(client.statuses(orders)) == orders


def test_status_of_one_unknown_order_is_absent(client: PanelClient) -> None:
    assert client.statuses(["7"]) == {}


def test_batch_refused_for_one_id_is_asked_in_halves(
    sandbox: SandboxInTest, client: PanelClient
) -> None:
    orders = [client.add(ORDER) for _ in range(4)]
    sandbox.answer("status", {"error": "Incorrect order ID"})
    before = len(sandbox.calls)

    found = client.statuses(orders)

    assert list(found) == orders
    assert len(sandbox.calls) == before + 3


@pytest.mark.parametrize("call", ["services", "balance", "statuses"])
@pytest.mark.parametrize(
    "kind",
    [
        *(Kind.LOSE_REPLY, Kind.HTML, Kind.EMPTY, Kind.TRUNCATED, Kind.STRING),
        *(Kind.ERROR_500, Kind.REDIRECT),
    ],
)
def test_read_with_an_unusable_answer_is_invalid(
    sandbox: SandboxInTest, client: PanelClient, call: str, kind: Kind
) -> None:
    sandbox.misbehave(ANY_ACTION, kind)

    with pytest.raises(ProviderAnswerInvalid):
        getattr(client, call)(*([["7", "8"]] if call == "statuses" else []))

    assert len(sandbox.calls) == 1


def test_read_that_is_never_answered_is_invalid(sandbox: SandboxInTest) -> None:
    sandbox.misbehave("balance", Kind.HANG)

    with pytest.raises(ProviderAnswerInvalid, match="ReadTimeout"):
        impatient(sandbox).balance()


@pytest.mark.parametrize("call", ["services", "balance", "statuses"])
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (({"error": "Invalid API key"}, 200), ProviderRefused),
        (({"error": "Invalid API key"}, 401), ProviderRefused),
        (({"status": "error", "message": "Invalid API key"}, 200), ProviderRefused),
        (({"error": "Too Many Requests"}, 429), ProviderBusy),
        (({"error": "Internal server error"}, 500), ProviderAnswerInvalid),
        (({"message": "Not found"}, 404), ProviderAnswerInvalid),
    ],
)
def test_read_that_is_refused(
    sandbox: SandboxInTest,
    client: PanelClient,
    call: str,
    answer: tuple[object, int],
    error: type[ProviderError],
) -> None:
    body, status = answer
    sandbox.answer(ANY_ACTION, body, status=status)

    with pytest.raises(ProviderError) as caught:
        getattr(client, call)(*([["7", "8"]] if call == "statuses" else []))

    assert type(caught.value) is error
    assert len(sandbox.calls) == 1


def test_read_is_repeated_until_it_works(sandbox: SandboxInTest, client: PanelClient) -> None:
    sandbox.misbehave("balance", Kind.RESET)
    sandbox.misbehave("balance", Kind.HTML)

    with stamina.set_testing(True, attempts=9, cap=True):
        assert client.balance() == (Decimal(10000), "USD")

    assert len(sandbox.calls) == 3


@pytest.mark.parametrize(("kind", "calls"), [(Kind.HTML, 3), (Kind.REFUSE, 1), (Kind.TOO_MANY, 1)])
def test_read_is_repeated_only_where_that_may_help(
    sandbox: SandboxInTest, client: PanelClient, kind: Kind, calls: int
) -> None:
    sandbox.misbehave("balance", kind, times=5)

    with stamina.set_testing(True, attempts=9, cap=True), pytest.raises(ProviderError):
        client.balance()

    assert len(sandbox.calls) == calls


def test_add_is_never_repeated(sandbox: SandboxInTest, client: PanelClient) -> None:
    sandbox.misbehave("add", Kind.LOSE_REPLY, times=5)

    with stamina.set_testing(True, attempts=9, cap=True), pytest.raises(OutcomeUnknown):
        client.add(ORDER)

    assert len(sandbox.orders) == 1


# --- secrets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [{"error": f"Key {KEY} is not active"}, f"<html>{KEY}</html>", {"message": f"Hello {KEY}"}],
)
@pytest.mark.parametrize("call", ["add", "services", "balance"])
def test_key_appears_in_no_error_and_no_log(
    sandbox: SandboxInTest, client: PanelClient, caplog: Any, body: object, call: str
) -> None:
    sandbox.answer(call, body, times=3)

    with (
        structlog.testing.capture_logs() as logs,
        stamina.set_testing(True, attempts=9, cap=True),
        pytest.raises(ProviderError) as caught,
    ):
        getattr(client, call)(*([ORDER] if call == "add" else []))

    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert KEY not in f"{logs} {caplog.text} {client!r}"
    assert any(entry["event"] == "provider_call" for entry in logs)


def test_key_does_not_hang_on_the_error_of_a_lost_connection(
    sandbox: SandboxInTest, client: PanelClient
) -> None:
    sandbox.misbehave("add", Kind.LOSE_REPLY)

    with pytest.raises(OutcomeUnknown) as caught:
        client.add(ORDER)

    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# --- the registry --------------------------------------------------------------------------------


def test_every_dialect_has_a_client() -> None:
    assert set(CLIENTS) == set(Dialect.values)


def test_client_is_made_from_the_provider_s_row(sandbox: SandboxInTest, db: None) -> None:
    provider = sandbox.provider()

    assert client_for(Provider.objects.get(pk=provider.pk)).balance() == (Decimal(10000), "USD")


def test_key_that_cannot_be_decrypted_is_no_client(
    sandbox: SandboxInTest, db: None, settings: Any
) -> None:
    provider = sandbox.provider()
    settings.ENCRYPTION_KEYS = ["bm90LXRoZS1vbmUtaXQtd2FzLXdyaXR0ZW4td2l0aC0="]

    with pytest.raises(SecretUnreadable):
        client_for(Provider.objects.get(pk=provider.pk))
