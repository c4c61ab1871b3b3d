"""JSON in is exact, and holds nothing that would break later."""

from __future__ import annotations

import contextlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storefront.api.parsing import Unreadable, parse_json


def test_parse_json_keeps_fractions_exact():
    value = parse_json('\ufeff{"a": 0.1, "b": 1e3, "c": [1, "é", null]}'.encode())

    assert value == {"a": Decimal("0.1"), "b": Decimal("1e3"), "c": [1, "é", None]}
    assert isinstance(value["a"], Decimal)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"{'a': 1}", id="quotes"),
        pytest.param(b'{"a": NaN}', id="nan"),
        pytest.param(b'{"a": -Infinity}', id="infinity"),
        pytest.param(b'{"a": 1, "a": 2}', id="twice"),
        pytest.param(b'{"a": ' + b"9" * 101 + b"}", id="long-number"),
        pytest.param(b'{"a": ' + b"9" * 10_000 + b"}", id="very-long-number"),
        pytest.param(b'{"a": 0.' + b"1" * 101 + b"}", id="long-fraction"),
        pytest.param(b'{"a": 1e999999999}', id="exponent"),
        pytest.param(b'{"a": 1e-999999999}', id="negative-exponent"),
        pytest.param(b'{"a": 1e99999999999999999999999}', id="endless-exponent"),
        pytest.param(b"[" * 9 + b"]" * 9, id="deep"),
        pytest.param(b'{"a":' * 200_000, id="very-deep"),
        pytest.param(b'{"a": "\xff"}', id="not-utf-8"),
        pytest.param('{"a": "é"}'.encode("utf-16"), id="utf-16"),
        pytest.param(b'{"a": "\\u0000"}', id="null-byte"),
        pytest.param(b'{"\\u0000": 1}', id="null-byte-in-a-name"),
        pytest.param(b'[["\\ud800"]]', id="half-a-character"),
    ],
)
def test_parse_json_refuses(body):
    with pytest.raises(Unreadable):
        parse_json(body)


def test_parse_json_takes_what_is_just_within_the_limits():
    assert parse_json(b"9" * 100) == int("9" * 100)
    assert parse_json(b"[" * 8 + b"]" * 8) == [[[[[[[[]]]]]]]]
    assert parse_json(b'"\\ud83d\\ude00"') == "😀"


@given(st.binary(max_size=200))
def test_parse_json_never_raises_anything_else(body):
    with contextlib.suppress(Unreadable):
        parse_json(body)
