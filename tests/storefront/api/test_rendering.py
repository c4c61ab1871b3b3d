"""JSON out is exact."""

from __future__ import annotations

import json
import uuid
from decimal import Decimal

import pytest
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from storefront.api.rendering import dumps, exact_text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("50.000000", "50.00"),
        ("0", "0.00"),
        ("0E-6", "0.00"),
        ("1E+3", "1000.00"),
        ("0.05", "0.05"),
        ("0.278190", "0.27819"),
        ("1E-6", "0.000001"),
        ("-1.5", "-1.50"),
        ("9223372036854.775807", "9223372036854.775807"),
    ],
)
def test_exact_text_has_at_least_two_decimals_and_never_an_exponent(amount, text):
    assert exact_text(Decimal(amount)) == text


@pytest.mark.parametrize("amount", ["NaN", "Infinity"])
def test_exact_text_refuses_what_is_no_amount(amount):
    with pytest.raises(ValueError, match="not an amount"):
        exact_text(Decimal(amount))


def test_dumps_prints_every_kind_of_value():
    value = {
        "text": 'é "quoted"\n\u2028',
        "lazy": gettext_lazy("x"),
        1: [True, False, None, 7, 10**40, Decimal("0.1"), (), {}, []],
        "id": uuid.UUID(int=1),
    }

    assert dumps(value).decode() == (
        '{"text":"é \\"quoted\\"\\n\u2028","lazy":"x",'
        f'"1":[true,false,null,7,{10**40},0.10,[],{{}},[]],'
        '"id":"00000000-0000-0000-0000-000000000001"}'
    )


@pytest.mark.parametrize("value", [0.1, {1, 2}, object(), {"a": [1.5]}])
def test_dumps_refuses_floats_and_unknown_types(value):
    with pytest.raises(TypeError, match="no exact JSON form"):
        dumps(value)


amounts = st.integers(-(2**63), 2**63).map(lambda millionths: Decimal(millionths).scaleb(-6))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | amounts | st.text(st.characters(codec="utf-8")),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=10,
    )
)
def test_dumps_is_read_back_as_the_same_value(value):
    assert json.loads(dumps(value), parse_float=Decimal) == value
