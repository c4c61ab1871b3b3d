"""Reading orders: what is understood, what is refused and why, and that nothing else happens."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.models import Service
from catalog.order_types import ORDER_TYPES, SOLD_TYPES, ServiceType
from orders.requests import (
    CLIENT_REF_LIMIT,
    LINE_LIMIT,
    LINK_LIMIT,
    LIST_LIMIT,
    InvalidRequest,
    OrderDraft,
    OrderRequest,
    Problem,
    ProblemCode,
    read_integer,
    read_request,
    read_service_id,
)

LINK = "https://instagram.com/someone"
LIMITS = {"minimum": 10, "maximum": 10_000}


def service(order_type=ServiceType.DEFAULT, *, minimum=10, maximum=10_000):
    return Service(type=order_type, min_quantity=minimum, max_quantity=maximum)


def read(values, order_type=ServiceType.DEFAULT, *, client_ref="", **limits):
    draft = OrderDraft(service_id=1, values=values, client_ref=client_ref)
    return read_request(draft, service(order_type, **limits))


def problems(values, order_type=ServiceType.DEFAULT, **others):
    with pytest.raises(InvalidRequest) as refused:
        read(values, order_type, **others)
    return [(p.field, p.code, dict(p.params)) for p in refused.value.problems]


# --- the types that are sold ---------------------------------------------------------------------


def test_default_order_takes_link_and_quantity():
    request = read({"link": LINK, "quantity": 100})

    assert request == OrderRequest(link=LINK, quantity=100, fields={}, client_ref="")


def test_package_takes_a_link_and_ignores_any_quantity():
    request = read({"link": LINK, "quantity": "x"}, ServiceType.PACKAGE, minimum=1, maximum=1)

    assert request == OrderRequest(link=LINK, quantity=1, fields={}, client_ref="")


def test_package_that_names_no_minimum_counts_as_one():
    request = read({"link": LINK}, ServiceType.PACKAGE, minimum=0, maximum=0)

    assert request.quantity == 1


def test_custom_comments_are_counted_without_empty_lines():
    comments = "Nice!\r\n\r\n  Great 👩‍👩‍👧  \n\nWow\r\n"

    request = read({"link": LINK, "comments": comments}, ServiceType.CUSTOM_COMMENTS, minimum=1)

    assert request.quantity == 3
    assert request.fields == {"comments": "Nice!\nGreat 👩‍👩‍👧\nWow"}


def test_custom_comments_may_come_as_a_list_of_texts():
    values = {"link": LINK, "comments": ["one", "", "two\nthree"]}

    request = read(values, ServiceType.CUSTOM_COMMENTS, minimum=1)

    assert (request.quantity, request.fields) == (3, {"comments": "one\ntwo\nthree"})


def test_custom_comments_ignore_a_quantity_of_their_own():
    values = {"link": LINK, "comments": "a\nb", "quantity": 9999}

    assert read(values, ServiceType.CUSTOM_COMMENTS, minimum=1).quantity == 2


@pytest.mark.parametrize("order_type", sorted(SOLD_TYPES))
def test_every_sold_type_requires_its_fields(order_type):
    required = [(name, ProblemCode.REQUIRED, {}) for name in ORDER_TYPES[order_type].fields]

    assert problems({}, order_type) == required
    assert problems(dict.fromkeys(ORDER_TYPES[order_type].fields, " \t"), order_type) == required


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [100, "100", " 100 ", "+100", "0100", 100.0, Decimal("100"), Decimal("1E+2")]
)
def test_quantity_is_understood_however_it_is_written(value):
    assert read({"link": LINK, "quantity": value}).quantity == 100


@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        "1e2",
        "100.0",
        "1_000",
        "1,000",
        "0x64",
        "١٠٠",
        "１００",
        "100\x00",
        "--5",
        10.5,
        Decimal("10.5"),
        float("nan"),
        float("inf"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("-Infinity"),
        Decimal("1e999999"),
        Decimal("1e-999999"),
        10**5000,
        "9" * 5000,
        [100],
        {"quantity": 100},
        b"100",
    ],
    ids=lambda value: str(type(value).__name__),
)
def test_quantity_that_is_no_whole_number_is_invalid(value):
    assert problems({"link": LINK, "quantity": value}) == [("quantity", ProblemCode.INVALID, {})]


@pytest.mark.parametrize("value", [9, 0, -1, -(10**18), "-9223372036854775809", -1.0])
def test_quantity_below_the_minimum_tells_the_limits(value):
    assert problems({"link": LINK, "quantity": value}) == [
        ("quantity", ProblemCode.TOO_SMALL, LIMITS)
    ]


@pytest.mark.parametrize("value", [10_001, 10**30, "9" * 99, 1e300, Decimal("9e29")])
def test_quantity_above_the_maximum_tells_the_limits(value):
    assert problems({"link": LINK, "quantity": value}) == [
        ("quantity", ProblemCode.TOO_LARGE, LIMITS)
    ]


def test_quantity_may_be_exactly_a_limit():
    assert read({"link": LINK, "quantity": 10}).quantity == 10
    assert read({"link": LINK, "quantity": 10_000}).quantity == 10_000


def test_zero_is_never_sold_even_where_the_provider_names_no_minimum():
    assert problems({"link": LINK, "quantity": 0}, minimum=0) == [
        ("quantity", ProblemCode.TOO_SMALL, {"minimum": 0, "maximum": 10_000})
    ]


def test_number_of_comments_must_be_within_the_limits():
    too_few = {"link": LINK, "comments": "a\nb"}
    too_many = {"link": LINK, "comments": "a\n" * 6}
    limits = {"minimum": 3, "maximum": 5}

    assert problems(too_few, ServiceType.CUSTOM_COMMENTS, **limits) == [
        ("comments", ProblemCode.TOO_SMALL, limits)
    ]
    assert problems(too_many, ServiceType.CUSTOM_COMMENTS, **limits) == [
        ("comments", ProblemCode.TOO_LARGE, limits)
    ]


@pytest.mark.parametrize(
    ("value", "number"),
    [(7, 7), ("-7", -7), (7.0, 7), (None, None), ("", None), ("7 7", None), (object(), None)],
)
def test_read_integer(value, number):
    assert read_integer(value) == number


@pytest.mark.parametrize(
    ("value", "number"),
    [("12", 12), (12.0, 12), (-5, 0), (10**30, 2**63 - 1), ("9" * 90, 2**63 - 1)],
)
def test_service_id_fits_the_column_whatever_is_asked(value, number):
    assert read_service_id(value) == number


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, ProblemCode.REQUIRED),
        ("", ProblemCode.REQUIRED),
        ("abc", ProblemCode.INVALID),
        (True, ProblemCode.INVALID),
        ([1], ProblemCode.INVALID),
        (1.5, ProblemCode.INVALID),
    ],
)
def test_service_id_that_is_none_is_refused(value, code):
    with pytest.raises(InvalidRequest) as refused:
        read_service_id(value)

    assert refused.value.problems == (Problem("service_id", code),)


# --- texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "link",
    [
        LINK,
        "http://example.com/a?b=c#d",
        "HTTPS://Example.com",
        "instagram.com/someone",
        "example.com:8080/path",
        "@someone",
        "someone",
        "https://example.com/ünïcode/👋",
        "x" * LINK_LIMIT,
    ],
    ids=lambda link: link[:40],
)
def test_link_is_kept_as_it_was_written(link):
    assert read({"link": f"  {link}\n", "quantity": 100}).link == link


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,x",
        "mailto:a@example.com",
        "ftp://example.com/x",
        "file:///etc/passwd",
        "http://",
        "https:///path",
        "http://[::1",
        "two words",
        "no\u00a0break",
        "line\nbreak",
        "null\x00byte",
        "half\ud83d",
        "\u009fcontrol",
        "@",
        "...",
        12345,
        True,
        ["https://example.com"],
        {"href": LINK},
    ],
    ids=repr,
)
def test_link_that_leads_nowhere_is_invalid(link):
    assert problems({"link": link, "quantity": 100}) == [("link", ProblemCode.INVALID, {})]


def test_link_too_long_tells_the_limit():
    assert problems({"link": "x" * (LINK_LIMIT + 1), "quantity": 100}) == [
        ("link", ProblemCode.TOO_LONG, {"limit": LINK_LIMIT})
    ]


@pytest.mark.parametrize(
    ("comments", "problem"),
    [
        ("ok\nnull\x00byte", (ProblemCode.INVALID, {})),
        ("ok\nhalf \udc00", (ProblemCode.INVALID, {})),
        ("old mac\rline ends", (ProblemCode.INVALID, {})),
        (12, (ProblemCode.INVALID, {})),
        (["ok", 5], (ProblemCode.INVALID, {})),
        (["ok", None], (ProblemCode.INVALID, {})),
        ({"0": "ok"}, (ProblemCode.INVALID, {})),
        ([], (ProblemCode.REQUIRED, {})),
        ("\r\n \n", (ProblemCode.REQUIRED, {})),
        ("ok\n" + "x" * (LINE_LIMIT + 1), (ProblemCode.TOO_LONG, {"limit": LINE_LIMIT})),
        ("x\n" * LIST_LIMIT, (ProblemCode.TOO_LONG, {"limit": LIST_LIMIT})),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_comments_that_cannot_be_sent_are_refused(comments, problem):
    values = {"link": LINK, "comments": comments}

    assert problems(values, ServiceType.CUSTOM_COMMENTS, minimum=1) == [("comments", *problem)]


@pytest.mark.parametrize(
    ("client_ref", "kept"), [("", ""), (None, ""), (" A-17 ", "A-17"), (17, "17"), ("é👋", "é👋")]
)
def test_client_ref_is_kept(client_ref, kept):
    assert read({"link": LINK, "quantity": 100}, client_ref=client_ref).client_ref == kept


@pytest.mark.parametrize(
    ("client_ref", "problem"),
    [
        ("x" * (CLIENT_REF_LIMIT + 1), (ProblemCode.TOO_LONG, {"limit": CLIENT_REF_LIMIT})),
        ("a\nb", (ProblemCode.INVALID, {})),
        ("\x00", (ProblemCode.INVALID, {})),
        ("\ud800", (ProblemCode.INVALID, {})),
        (True, (ProblemCode.INVALID, {})),
        (1.5, (ProblemCode.INVALID, {})),
        (["a"], (ProblemCode.INVALID, {})),
        (10**5000, (ProblemCode.INVALID, {})),
    ],
    ids=lambda value: type(value).__name__,
)
def test_client_ref_that_cannot_be_kept_is_refused(client_ref, problem):
    values = {"link": LINK, "quantity": 100}

    assert problems(values, client_ref=client_ref) == [("client_ref", *problem)]


# --- drip-feed is not sold yet -------------------------------------------------------------------


@pytest.mark.parametrize("value", [2, "2", "x", 1.5, True, [0], "-1"])
@pytest.mark.parametrize("name", ["runs", "interval"])
def test_drip_feed_is_refused_rather_than_run_once(name, value):
    assert problems({"link": LINK, "quantity": 100, name: value}) == [
        (name, ProblemCode.NOT_ALLOWED, {})
    ]


@pytest.mark.parametrize("value", [0, "0", "", None, 0.0])
def test_drip_feed_fields_that_ask_for_none_are_accepted(value):
    assert read({"link": LINK, "quantity": 100, "runs": value, "interval": value}).quantity == 100


# --- all together --------------------------------------------------------------------------------


def test_every_problem_is_told_at_once_in_the_order_of_the_fields():
    values = {"quantity": "many", "runs": 5}

    assert [field for field, _code, _params in problems(values, client_ref="\x00")] == [
        "link",
        "quantity",
        "runs",
        "client_ref",
    ]


@pytest.mark.parametrize(
    ("values", "quantity"),
    [
        ({"quantity": 100}, 100),
        ({"link": LINK, "quantity": 100, "runs": 2}, 100),
        ({"link": LINK, "quantity": 1}, None),
        ({"link": LINK}, None),
    ],
)
def test_refusal_carries_the_quantity_that_could_be_priced(values, quantity):
    with pytest.raises(InvalidRequest) as refused:
        read(values)

    assert refused.value.quantity == quantity


# --- the same order again ------------------------------------------------------------------------


def fingerprint(values=None, *, currency="USD", service_id=1, client_ref=""):
    values = {"link": LINK, "quantity": 100} if values is None else values
    return OrderDraft(service_id, values, client_ref).fingerprint(currency)


@pytest.mark.parametrize(
    "values",
    [
        {"link": LINK, "quantity": "100"},
        {"quantity": 100.0, "link": f" {LINK} "},
        {"link": LINK, "quantity": 100, "runs": "", "interval": None},
        {"link": LINK, "quantity": 100, "key": "secret", "action": "add"},
    ],
)
def test_fingerprint_is_the_same_however_the_order_is_written(values):
    assert fingerprint(values) == fingerprint()
    assert fingerprint(values, service_id="1") == fingerprint()


@pytest.mark.parametrize(
    "changed",
    [
        {"values": {"link": LINK, "quantity": 101}},
        {"values": {"link": LINK + "x", "quantity": 100}},
        {"values": {"link": LINK, "quantity": 100, "comments": "a"}},
        {"values": {"link": LINK, "quantity": 100, "runs": 2}},
        {"currency": "TRY"},
        {"service_id": 2},
        {"client_ref": "A"},
    ],
    ids=repr,
)
def test_fingerprint_differs_with_anything_that_matters(changed):
    assert fingerprint(**changed) != fingerprint()


def test_fingerprint_of_a_list_is_that_of_its_lines():
    assert fingerprint({"comments": ["a", "b"]}) == fingerprint({"comments": "a\r\nb\n"})
    assert fingerprint({"comments": ["a", "b"]}) != fingerprint({"comments": ["a", "c"]})


def test_fingerprint_of_a_deep_value_is_made_without_descending():
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]

    assert len(fingerprint({"link": deep})) == 64


# --- whatever is sent ----------------------------------------------------------------------------

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.decimals(),
    st.text(st.characters()),
    st.sampled_from(["100", LINK, "a\r\nb", "\x00", "\ud800", "1e999999"]),
    # 10^5000 has no repr, which hypothesis wants of samples.
    st.just(None).map(lambda _: 10**5000),
)
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
_NAMES = st.sampled_from(["link", "quantity", "comments", "runs", "interval", "usernames"])


@given(
    order_type=st.sampled_from(sorted(SOLD_TYPES)),
    service_id=_JSON | st.just(1),
    values=st.dictionaries(_NAMES | st.text(), _JSON),
    client_ref=_JSON,
)
def test_any_draft_is_a_valid_order_or_an_invalid_request(
    order_type, service_id, values, client_ref
):
    draft = OrderDraft(service_id, values, client_ref)

    assert len(draft.fingerprint("USD")) == 64
    try:
        number = read_service_id(service_id)
        request = read_request(draft, service(order_type, minimum=1))
    except InvalidRequest:
        return
    assert 0 <= number <= 2**63 - 1
    assert 1 <= request.quantity <= 10_000
    assert 1 <= len(request.link) <= LINK_LIMIT
    for text in (request.link, request.client_ref, *request.fields.values()):
        assert "\x00" not in text
        text.encode()


@given(quantity=st.integers(10, 10_000), spaces=st.text(" \t\n", max_size=3))
def test_any_quantity_within_the_limits_is_accepted(quantity, spaces):
    values = {"link": LINK, "quantity": f"{spaces}{quantity}{spaces}"}

    assert read(values).quantity == quantity


@given(
    lines=st.lists(
        st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])).map(str.strip),
        max_size=30,
    ),
    ends=st.sampled_from(["\n", "\r\n"]),
)
def test_comments_are_charged_by_what_is_in_them(lines, ends):
    kept = [line for line in lines if line]
    values = {"link": LINK, "comments": ends.join(lines)}
    if not kept:
        assert problems(values, ServiceType.CUSTOM_COMMENTS, minimum=1) == [
            ("comments", ProblemCode.REQUIRED, {})
        ]
        return

    request = read(values, ServiceType.CUSTOM_COMMENTS, minimum=1)

    assert (request.quantity, request.fields["comments"].split("\n")) == (len(kept), kept)
