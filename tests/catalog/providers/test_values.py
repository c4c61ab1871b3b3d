"""Single values: every habit that contracts know of, and whatever hypothesis thinks of."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.providers.values import (
    Unreadable,
    amount,
    flag,
    identifier,
    line,
    load,
    paragraph,
    seconds,
    uses_decimal_commas,
    whole,
)

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.from_regex(r"[-+]?[0-9., eE]{1,12}", fullmatch=True),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("0.90", "0.90"),
        ("0.900000", "0.900000"),
        (3, "3"),
        (Decimal("0.1"), "0.1"),
        ("  12.5 ", "12.5"),
        ("0,9", "0.9"),
        ("0,900", "0.900"),
        ("12,34567", "12.34567"),
        ("1,234.56", "1234.56"),
        ("1,234,567", "1234567"),
        ("1.234,56", "1234.56"),
        ("1.234.567", "1234567"),
        ("1.234", "1.234"),
        ("9.0E-5", "0.000090"),
        (".5", "0.5"),
        ("-0.5", "-0.5"),
        ("0", "0"),
    ],
)
def test_amount_is_read_exactly(value: object, read: str) -> None:
    assert amount(value) == Decimal(read)


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, "", " ", "N/A", "free", "1,234", "12,345", "1.2.3", "1,2,3", "1 2"),
        *("NaN", "Infinity", "-inf", "1e999", "٣", "0x10", "1_000", [], {}, [1], 10**16),
    ],
)
def test_amount_that_has_no_one_reading_is_none(value: object) -> None:
    assert amount(value) is None


def test_amount_with_one_comma_is_decimal_where_the_seller_writes_decimal_commas() -> None:
    assert amount("1,234", decimal_comma=True) == Decimal("1.234")


@pytest.mark.parametrize(
    ("texts", "decimal"),
    [
        (["1,234", "0,9"], True),
        (["1,234", "0,95", "1,234.50"], False),
        (["1,234"], False),
        (["0.9"], False),
        ([], False),
    ],
)
def test_decimal_commas_are_found_out_by_numbers_with_one_reading(
    texts: list[str], decimal: bool
) -> None:
    assert uses_decimal_commas(texts) is decimal


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (100, 100),
        ("100", 100),
        (" 100 ", 100),
        ("-3", -3),
        (Decimal("100.0"), 100),
        (Decimal("1E+3"), 1000),
        ("100.0", 100),
        ("100.00", 100),
        ("100.0000", 100),
        ("1,000", 1000),
        ("1,000,000", 1_000_000),
        (2**63 - 1, 2**63 - 1),
    ],
)
def test_whole_number_is_read(value: object, read: int) -> None:
    assert whole(value) == read


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, "", "Unknown", "1.000", "1.5", Decimal("1.5"), "1e3", "10,00", [], {}),
        *(2**63, -(2**63), "9" * 19, "9" * 40, "NaN"),
    ],
)
def test_whole_number_that_has_no_one_reading_is_none(value: object) -> None:
    assert whole(value) is None


@pytest.mark.parametrize("value", [True, 1, "1", "true", "TRUE", "yes", "Yes", "on", Decimal(1)])
def test_flag_yes(value: object) -> None:
    assert flag(value) is True


@pytest.mark.parametrize("value", [False, 0, "0", "false", "no", "", None, 2, "maybe", [], {}])
def test_flag_anything_else_is_no(value: object) -> None:
    assert flag(value) is False


@pytest.mark.parametrize(
    ("value", "read"),
    [(12, "12"), ("12", "12"), (" 12 ", "12"), (Decimal("12.0"), "12"), ("6-a:b_c", "6-a:b_c")],
)
def test_identifier_is_text(value: object, read: str) -> None:
    assert identifier(value) == read


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, "0", "000", -1, "-1", "", "a b", "12;", "x" * 65, [], {}, "é"),
        *(Decimal("1.5"), 10**40, "1\n2", "1\0"),
    ],
)
def test_identifier_that_cannot_be_one_is_none(value: object) -> None:
    assert identifier(value) is None


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("Likes &amp; Views", "Likes & Views"),
        ("&quot;Old&quot; &#39;HQ&#39; &#127481;&#127479;", "\"Old\" 'HQ' 🇹🇷"),
        ("👨‍👩‍👧 Takipçi ♻️", "👨‍👩‍👧 Takipçi ♻️"),
        ("  two\t\n words \u00a0", "two words"),
        ("nul\0 bell\x07 half\ud800 turned\u202e", "nul bell half turned"),
        ("abcdefghijkl mnop", "abcdefghijkl"),
        (5, "5"),
        *((None, ""), (True, ""), ([], ""), ({}, "")),
    ],
)
def test_line_is_tidy(value: object, read: str) -> None:
    limit = 12 if value == "abcdefghijkl mnop" else 100

    assert line(value, limit=limit) == read


def test_paragraph_keeps_lines_and_drops_tags() -> None:
    text = "<p>First<br/>&lt;b&gt;second&lt;/b&gt; 5 < 6 &amp; more</p>\r\n<script>x</script>\0"

    assert paragraph(text, limit=100) == "First\nsecond 5 < 6 & more\n\nx"


def test_paragraph_is_cut() -> None:
    assert paragraph("x" * 10_000_000, limit=20) == "x" * 20


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (30, 30.0),
        ("30", 30.0),
        ("1.5", 1.5),
        (0, 1.0),
        (999999, 3600.0),
        (None, None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        (-5, None),
    ],
)
def test_seconds_to_wait_stay_within_reason(value: object, read: float | None) -> None:
    assert seconds(value) == read


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"  \n", b"<html></html>", b'{"order": 1', b"order=1", b"\x00\xff", b"[" * 100_000),
        b"Notice: undefined index<br>{}",
    ],
)
def test_body_without_json_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        load(body)


def test_body_with_a_mark_at_its_head_and_broken_letters_is_read() -> None:
    assert load(b'\xef\xbb\xbf{"name": "Be\xfeeni", "rate": 0.1}') == {
        "name": "Be\ufffdeni",
        "rate": Decimal("0.1"),
    }


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999999999", "9" * 5000])
def test_number_beyond_reason_spoils_only_itself(number: str) -> None:
    payload = load(f'{{"bad": {number}, "good": 5}}'.encode())

    assert (amount(payload["bad"]), whole(payload["bad"]), payload["good"]) == (None, None, 5)
    assert identifier(payload["bad"]) is None


@given(JSON_VALUES)
def test_no_value_makes_a_reader_fail(value: Any) -> None:
    read = load(json.dumps(value).encode())

    for reader in (amount, whole, flag, identifier, seconds):
        reader(read)
    assert len(line(read, limit=10)) <= 10
    assert len(paragraph(read, limit=10)) <= 10


@given(st.text() | st.from_regex(r"[-+]?[0-9., ]{1,12}", fullmatch=True))
def test_no_text_becomes_zero_that_does_not_say_zero(text: str) -> None:
    digits = {c for c in text if c.isdigit()}

    if digits != {"0"}:
        assert amount(text) != 0 or "e" in text.lower()
        assert whole(text) != 0


@given(st.decimals(min_value=0, max_value=10**9, places=6))
def test_amount_is_exact_however_it_is_written(number: Decimal) -> None:
    fraction = f"{number:f}"

    assert amount(fraction) == number
    assert amount(load(fraction.encode())) == number
    assert amount(fraction.replace(".", ","), decimal_comma=True) == number
    assert amount(f"{number:,}") == number


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=1e-30, max_value=1e14))
def test_amount_of_a_json_fraction_is_not_rounded(number: float) -> None:
    read = amount(load(json.dumps(number).encode()))

    assert read is not None
    assert math.isclose(float(read), number, rel_tol=1e-15)
