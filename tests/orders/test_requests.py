"""Reading orders: what is understood, what is refused and why, and that nothing else happens."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from catalog.models import Category, DripfeedBy, LinkTarget, Network, Service
from catalog.order_types import (
    DEFAULT_POSTS,
    FIELDS,
    ORDER_TYPES,
    SOLD_TYPES,
    ChargedOn,
    FieldKind,
    ServiceType,
)
from orders.requests import (
    CLIENT_REF_LIMIT,
    LINE_LIMIT,
    LINK_LIMIT,
    LIST_LIMIT,
    NAME_LIMIT,
    ORDER_FIELDS,
    InvalidRequest,
    OrderDraft,
    OrderRequest,
    Problem,
    ProblemCode,
    SubscriptionTerms,
    read_integer,
    read_request,
    read_service_id,
)

LINK = "https://instagram.com/someone"
KEY = "instagram:@someone"
A_POST = "https://www.instagram.com/p/DAbCdEfGhIj/"
LIMITS = {"minimum": 10, "maximum": 10_000}


def service(order_type=ServiceType.DEFAULT, *, minimum=10, maximum=10_000, **columns):
    columns.setdefault("category", Category(source_name="Anything", network=Network.OTHER))
    return Service(type=order_type, min_quantity=minimum, max_quantity=maximum, **columns)


def valid(order_type):
    """An order of this type that may be placed with the limits 10 and 10,000."""
    values = {
        "link": A_POST,
        "quantity": 100,
        "comments": "\n".join(f"comment {n}" for n in range(12)),
        "usernames": "\n".join(f"name{n}" for n in range(11)),
        "hashtags": "#a\n#b",
        "keywords": "shoes\nhats",
        "groups": "t.me/a",
        "hashtag": "#a",
        "username": "@someone",
        "media": "instagram.com/p/x",
        "answer_number": 2,
        "min": 20,
        "max": 30,
        "delay": 5,
        "country": "US",
        "device": 5,
        "type_of_traffic": 3,
    }
    return {name: values[name] for name in ORDER_TYPES[order_type].fields}


def in_days(days):
    return timezone.localdate() + timedelta(days=days)


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

    assert request == OrderRequest(LINK, KEY, quantity=100, fields={}, client_ref="")


def test_package_takes_a_link_and_ignores_any_quantity():
    request = read({"link": LINK, "quantity": "x"}, ServiceType.PACKAGE, minimum=1, maximum=1)

    assert request == OrderRequest(LINK, KEY, quantity=1, fields={}, client_ref="")


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
        ("quantity", ProblemCode.TOO_SMALL, {"minimum": 1, "maximum": 10_000})
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


# --- every type ----------------------------------------------------------------------------------


def test_the_table_of_fields_is_that_of_the_types():
    named = {name for row in ORDER_TYPES.values() for name in (*row.fields, *row.optional)}

    assert named == set(FIELDS) == ORDER_FIELDS


@pytest.mark.parametrize(
    ("order_type", "quantity", "fields"),
    [
        (ServiceType.DEFAULT, 100, {}),
        (ServiceType.PACKAGE, 10, {}),
        (ServiceType.SEO, 100, {"keywords": "shoes\nhats"}),
        (ServiceType.CUSTOM_COMMENTS, 12, {"comments": valid("Custom Comments")["comments"]}),
        (
            ServiceType.CUSTOM_COMMENTS_PACKAGE,
            10,
            {"comments": valid("Custom Comments")["comments"]},
        ),
        (ServiceType.MENTIONS, 100, {"usernames": valid("Mentions")["usernames"]}),
        (
            ServiceType.MENTIONS_WITH_HASHTAGS,
            100,
            {"usernames": valid("Mentions")["usernames"], "hashtags": "#a\n#b"},
        ),
        (ServiceType.MENTIONS_CUSTOM_LIST, 11, {"usernames": valid("Mentions")["usernames"]}),
        (ServiceType.MENTIONS_HASHTAG, 100, {"hashtag": "#a"}),
        (ServiceType.MENTIONS_USER_FOLLOWERS, 100, {"username": "someone"}),
        (ServiceType.MENTIONS_MEDIA_LIKERS, 100, {"media": "instagram.com/p/x"}),
        (ServiceType.COMMENT_LIKES, 100, {"username": "someone"}),
        (
            ServiceType.COMMENT_REPLIES,
            12,
            {"username": "someone", "comments": valid("Custom Comments")["comments"]},
        ),
        (ServiceType.POLL, 100, {"answer_number": "2"}),
        (ServiceType.INVITES_FROM_GROUPS, 100, {"groups": "t.me/a"}),
        (
            ServiceType.SUBSCRIPTIONS,
            30 * DEFAULT_POSTS,
            {"username": "someone", "min": "20", "max": "30", "delay": "5", "posts": "30"},
        ),
        (
            ServiceType.WEB_TRAFFIC,
            100,
            {"country": "US", "device": "5", "type_of_traffic": "3"},
        ),
    ],
)
def test_every_type_is_read_by_the_table(order_type, quantity, fields):
    # No name of the service, so that nothing is known of its links.
    request = read(valid(order_type), order_type)

    assert (request.quantity, request.fields) == (quantity, fields)
    is_subscription = order_type == ServiceType.SUBSCRIPTIONS
    assert request.link == ("someone" if is_subscription else A_POST)
    assert (request.runs, request.interval) == (None, None)
    assert (request.terms is None) == (not is_subscription)


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_fields_of_other_types_are_not_looked_at(name):
    taken = {t: {*row.fields, *row.optional} for t, row in ORDER_TYPES.items()}
    for order_type in (t for t in taken if name not in taken[t] and name != "runs"):
        plain = read(valid(order_type), order_type)

        assert read({**valid(order_type), name: "\x00"}, order_type) == plain


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("@Some.One", "Some.One"),
        ("some_one", "some_one"),
        ("https://x.com/aicha?s=20", "aicha"),
        ("youtube.com/channel/UCx", "youtube.com/channel/UCx"),
        ("12345", "12345"),
    ],
)
def test_names_are_taken_with_at_without_or_as_their_address(value, kept):
    values = {**valid(ServiceType.COMMENT_LIKES), "username": value}

    assert read(values, ServiceType.COMMENT_LIKES).fields == {"username": kept}


@pytest.mark.parametrize("value", ["@", "two names", "a\nb", "instagram.com/p/x", "a/b", 5, ["a"]])
def test_names_that_are_none_are_invalid(value):
    values = {**valid(ServiceType.COMMENT_LIKES), "username": value}

    assert problems(values, ServiceType.COMMENT_LIKES) == [("username", ProblemCode.INVALID, {})]


def test_name_too_long_tells_the_limit():
    values = {**valid(ServiceType.COMMENT_LIKES), "username": "x" * (NAME_LIMIT + 1)}

    assert problems(values, ServiceType.COMMENT_LIKES) == [
        ("username", ProblemCode.TOO_LONG, {"limit": NAME_LIMIT})
    ]


@pytest.mark.parametrize("value", ["a\nb", ["a"], 5, "\x00"])
def test_one_line_takes_one_line(value):
    values = {**valid(ServiceType.MENTIONS_HASHTAG), "hashtag": value}

    assert problems(values, ServiceType.MENTIONS_HASHTAG) == [("hashtag", ProblemCode.INVALID, {})]


def test_media_is_a_link_whatever_it_leads_to():
    values = {**valid(ServiceType.MENTIONS_MEDIA_LIKERS), "media": "javascript:x"}

    assert problems(values, ServiceType.MENTIONS_MEDIA_LIKERS) == [
        ("media", ProblemCode.INVALID, {})
    ]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (0, (ProblemCode.TOO_SMALL, {"minimum": 1, "maximum": 1000})),
        ("-1", (ProblemCode.TOO_SMALL, {"minimum": 1, "maximum": 1000})),
        (1001, (ProblemCode.TOO_LARGE, {"minimum": 1, "maximum": 1000})),
        ("first", (ProblemCode.INVALID, {})),
        (True, (ProblemCode.INVALID, {})),
        (1.5, (ProblemCode.INVALID, {})),
    ],
)
def test_answer_of_a_poll_is_a_number_from_one(value, problem):
    values = {**valid(ServiceType.POLL), "answer_number": value}

    assert problems(values, ServiceType.POLL) == [("answer_number", *problem)]


# --- web traffic ---------------------------------------------------------------------------------


def traffic(**values):
    return {**valid(ServiceType.WEB_TRAFFIC), **values}


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("us", "US"),
        (" FR ", "FR"),
        ("Turkey", "TR"),
        ("türkiye", "TR"),
        ("États-Unis", "US"),
        ("united kingdom", "GB"),
        ("UK", "GB"),
        ("worldwide", "WW"),
        ("WW", "WW"),
        ("Kamerun", "CM"),
    ],
)
def test_country_is_understood_by_code_or_name(value, code):
    fields = read(traffic(country=value), ServiceType.WEB_TRAFFIC).fields

    assert fields["country"] == code


@pytest.mark.parametrize("value", ["XX", "ZZ", "Atlantis", "U", 1, ["US"], "x" * 999])
def test_country_that_is_none_is_invalid(value):
    assert problems(traffic(country=value), ServiceType.WEB_TRAFFIC) == [
        ("country", ProblemCode.INVALID, {})
    ]


@pytest.mark.parametrize(("name", "choices"), [("device", "12345"), ("type_of_traffic", "123")])
def test_choices_are_those_of_the_table(name, choices):
    assert "".join(FIELDS[name].choices) == choices
    for value in (0, 6, -1, "x", True, 1.5, "1,2", [1]):
        assert (name, ProblemCode.INVALID, {}) in problems(
            traffic(**{name: value}), ServiceType.WEB_TRAFFIC
        )


def test_google_keyword_goes_with_google_only():
    google = {"type_of_traffic": "1"}

    asked = read(traffic(**google, google_keyword="shoes"), ServiceType.WEB_TRAFFIC)

    assert asked.fields["google_keyword"] == "shoes"
    assert problems(traffic(**google), ServiceType.WEB_TRAFFIC) == [
        ("google_keyword", ProblemCode.REQUIRED, {})
    ]
    direct = read(traffic(google_keyword="shoes"), ServiceType.WEB_TRAFFIC)
    assert "google_keyword" not in direct.fields


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("https://example.com/a?b=c", "https://example.com/a?b=c"),
        ("example.com/a", "https://example.com/a"),
        ("HTTP://example.com", "HTTP://example.com"),
    ],
)
def test_referring_url_goes_with_another_page(value, kept):
    values = traffic(type_of_traffic=2, referring_url=value)

    assert read(values, ServiceType.WEB_TRAFFIC).fields["referring_url"] == kept


@pytest.mark.parametrize("value", ["ftp://example.com", "@name", "example", "https://[::1", "a b"])
def test_referring_url_that_is_none_is_invalid(value):
    values = traffic(type_of_traffic=2, referring_url=value)

    assert problems(values, ServiceType.WEB_TRAFFIC) == [("referring_url", ProblemCode.INVALID, {})]


def test_referring_url_is_required_of_another_page():
    assert problems(traffic(type_of_traffic=2), ServiceType.WEB_TRAFFIC) == [
        ("referring_url", ProblemCode.REQUIRED, {})
    ]


# --- subscriptions -------------------------------------------------------------------------------


def subscription(**values):
    return {**valid(ServiceType.SUBSCRIPTIONS), **values}


def test_subscription_reserves_the_most_of_all_posts():
    last = in_days(10)
    values = subscription(posts=4, old_posts="3", delay=600, expiry=f"{last:%d/%m/%Y}")

    request = read(values, ServiceType.SUBSCRIPTIONS)

    assert request.quantity == 30 * 7
    assert request.terms == SubscriptionTerms(20, 30, posts=7, delay=600, expires_on=last)
    assert request.fields == {
        "username": "someone",
        "min": "20",
        "max": "30",
        "delay": "600",
        "posts": "4",
        "old_posts": "3",
        "expiry": f"{last:%d/%m/%Y}",
    }


@pytest.mark.parametrize("posts", [None, "", 0, "0"])
def test_subscription_without_posts_is_for_the_usual_number(posts):
    request = read(subscription(posts=posts, old_posts=posts), ServiceType.SUBSCRIPTIONS)

    assert (request.terms.posts, request.fields["posts"]) == (DEFAULT_POSTS, str(DEFAULT_POSTS))
    assert "old_posts" not in request.fields
    assert request.quantity == 30 * DEFAULT_POSTS


@pytest.mark.parametrize("written", ["%d/%m/%Y", "%Y-%m-%d", "%d.%m.%Y", "%d-%m-%Y"])
def test_expiry_is_understood_however_it_is_written(written):
    day = in_days(400)

    request = read(subscription(expiry=day.strftime(written)), ServiceType.SUBSCRIPTIONS)

    assert (request.terms.expires_on, request.fields["expiry"]) == (day, f"{day:%d/%m/%Y}")


def test_expiry_is_the_customers_day_and_month_not_the_americans():
    year = in_days(400).year

    request = read(subscription(expiry=f"3/12/{year}"), ServiceType.SUBSCRIPTIONS)

    assert request.terms.expires_on == date(year, 12, 3)


@pytest.mark.parametrize("days", [0, -1, -4000])
def test_expiry_must_be_after_today(days):
    values = subscription(expiry=f"{in_days(days):%d/%m/%Y}")

    assert problems(values, ServiceType.SUBSCRIPTIONS) == [("expiry", ProblemCode.IN_THE_PAST, {})]


@pytest.mark.parametrize(
    "value",
    ["31/02/2999", "12/31/2999", "soon", "1/1/1", "00/00/0000", 20991231, "٣/١/٢٠٩٩", ["x"]],
)
def test_expiry_that_is_no_day_is_invalid(value):
    assert problems(subscription(expiry=value), ServiceType.SUBSCRIPTIONS) == [
        ("expiry", ProblemCode.INVALID, {})
    ]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"min": 9}, ("min", ProblemCode.TOO_SMALL, LIMITS)),
        ({"max": 10_001}, ("max", ProblemCode.TOO_LARGE, LIMITS)),
        ({"min": "a"}, ("min", ProblemCode.INVALID, {})),
        (
            {"min": 31},
            ("max", ProblemCode.TOO_SMALL, {"minimum": 31, "maximum": 10_000}),
        ),
        (
            {"delay": 601},
            ("delay", ProblemCode.TOO_LARGE, {"minimum": 0, "maximum": 600}),
        ),
        (
            {"delay": -1},
            ("delay", ProblemCode.TOO_SMALL, {"minimum": 0, "maximum": 600}),
        ),
        (
            {"posts": -1},
            ("posts", ProblemCode.TOO_SMALL, {"minimum": 0, "maximum": 10_000}),
        ),
        (
            {"old_posts": 10_001},
            ("old_posts", ProblemCode.TOO_LARGE, {"minimum": 0, "maximum": 10_000}),
        ),
        ({"username": "a b"}, ("username", ProblemCode.INVALID, {})),
    ],
)
def test_subscription_terms_outside_their_limits_are_refused(values, problem):
    assert problems(subscription(**values), ServiceType.SUBSCRIPTIONS) == [problem]


# --- drip-feed -----------------------------------------------------------------------------------

OURS = {"dripfeed_by": DripfeedBy.OURS}


def drip(runs=5, interval=60, **others):
    return {"link": LINK, "quantity": 100, "runs": runs, "interval": interval, **others}


@pytest.mark.parametrize(
    "columns", [OURS, {"dripfeed": True}, {"dripfeed": True, "dripfeed_by": DripfeedBy.PROVIDER}]
)
def test_drip_feed_counts_all_runs_together(columns):
    request = read(drip("5", " 60 "), **columns)

    assert (request.quantity, request.runs, request.interval) == (500, 5, 60)
    assert request.fields == {}


@pytest.mark.parametrize("runs", [1, "1", 0, "", None, [], 1.0])
@pytest.mark.parametrize("interval", [None, 60, "x"])
def test_one_run_is_a_plain_order_whatever_the_interval(runs, interval):
    plain = read({"link": LINK, "quantity": 100})

    assert read(drip(runs, interval), **OURS) == plain
    assert read(drip(runs, interval)) == plain


@pytest.mark.parametrize("columns", [{}, {"dripfeed": True, "dripfeed_by": DripfeedBy.NOBODY}])
@pytest.mark.parametrize("runs", [2, "2", "x", 1.5, True, [0], "-1"])
def test_drip_feed_that_is_not_offered_is_refused_rather_than_run_once(runs, columns):
    assert problems(drip(runs), **columns) == [("runs", ProblemCode.NOT_ALLOWED, {})]


@pytest.mark.parametrize(
    "order_type", sorted(t for t, row in ORDER_TYPES.items() if "runs" not in row.optional)
)
def test_types_without_runs_have_none(order_type):
    columns = {"dripfeed": True, "dripfeed_by": DripfeedBy.OURS}

    assert problems({**valid(order_type), "runs": 2, "interval": 5}, order_type, **columns) == [
        ("runs", ProblemCode.NOT_ALLOWED, {})
    ]


RUNS = {"minimum": 1, "maximum": 1000}
INTERVALS = {"minimum": 1, "maximum": 43_200}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"runs": "x"}, [("runs", ProblemCode.INVALID, {})]),
        ({"runs": -2}, [("runs", ProblemCode.TOO_SMALL, RUNS)]),
        ({"runs": 1001}, [("runs", ProblemCode.TOO_LARGE, RUNS)]),
        ({"runs": 101}, [("runs", ProblemCode.TOO_LARGE_TOGETHER, {"maximum": 10_000})]),
        ({"interval": None}, [("interval", ProblemCode.REQUIRED, {})]),
        ({"interval": 0}, [("interval", ProblemCode.TOO_SMALL, INTERVALS)]),
        ({"interval": 43_201}, [("interval", ProblemCode.TOO_LARGE, INTERVALS)]),
        ({"interval": "1h"}, [("interval", ProblemCode.INVALID, {})]),
        # Each run is an order of its own towards the provider.
        ({"quantity": 9}, [("quantity", ProblemCode.TOO_SMALL, LIMITS)]),
        ({"quantity": None}, [("quantity", ProblemCode.REQUIRED, {})]),
    ],
)
def test_drip_feed_outside_its_limits_is_refused(values, expected):
    assert problems(drip(**values), **OURS) == expected


def test_runs_may_come_to_exactly_the_maximum():
    assert read(drip(100), **OURS).quantity == 10_000


def test_web_traffic_may_come_in_runs():
    request = read(traffic(runs=3, interval=1440), ServiceType.WEB_TRAFFIC, **OURS)

    assert (request.quantity, request.runs, request.interval) == (300, 3, 1440)
    assert request.fields == {"country": "US", "device": "5", "type_of_traffic": "3"}


# --- links ---------------------------------------------------------------------------------------

LIKES = {
    "provider_name": "Instagram Likes",
    "category": Category(source_name="Instagram Likes", network=Network.INSTAGRAM),
}


@pytest.mark.parametrize(
    ("link", "code", "expected", "found"),
    [
        ("instagram.com/aicha", ProblemCode.WRONG_TARGET, "post", "profile"),
        ("@aicha", ProblemCode.WRONG_TARGET, "post", "profile"),
        ("https://youtu.be/x", ProblemCode.WRONG_NETWORK, "instagram", "youtube"),
    ],
)
def test_link_that_contradicts_the_service_is_refused(link, code, expected, found):
    values = {"link": link, "quantity": 100}

    assert problems(values, **LIKES) == [("link", code, {"expected": expected, "found": found})]
    assert read(values, **LIKES, link_target=LinkTarget.ANY).link == link


def test_links_that_are_one_have_one_key():
    keys = {
        read({"link": link, "quantity": 100}, **LIKES).link_key
        for link in ("instagram.com/p/DAx", "https://www.instagram.com/reel/DAx/?igsh=y")
    }

    assert keys == {"instagram:post:DAx"}


def test_subscription_has_the_key_of_the_profile():
    instagram = {"category": LIKES["category"]}

    request = read(subscription(username="@Aicha"), ServiceType.SUBSCRIPTIONS, **instagram)

    assert (request.link, request.link_key) == ("Aicha", "instagram:@aicha")


# --- all together --------------------------------------------------------------------------------


def test_every_problem_is_told_at_once_in_the_order_of_the_fields():
    values = {"quantity": "many", "runs": 5, "interval": "x"}

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


@pytest.mark.parametrize(
    ("order_type", "values", "quantity"),
    [
        (ServiceType.DEFAULT, drip(interval=""), 500),
        (ServiceType.DEFAULT, drip(runs="x"), None),
        (ServiceType.DEFAULT, drip(runs=101), None),
        (ServiceType.POLL, {"quantity": 100, "answer_number": "x"}, 100),
        (ServiceType.CUSTOM_COMMENTS, {"comments": "a\n" * 12}, 12),
        (ServiceType.CUSTOM_COMMENTS, {"comments": "a"}, None),
        (ServiceType.CUSTOM_COMMENTS_PACKAGE, {}, 10),
        (ServiceType.SUBSCRIPTIONS, {"max": 50, "posts": 2}, 100),
        (ServiceType.SUBSCRIPTIONS, {"min": 60, "max": 50, "posts": 2}, None),
        (ServiceType.SUBSCRIPTIONS, {"max": 50, "posts": "x"}, None),
    ],
)
def test_refusal_of_any_type_carries_what_could_be_priced(order_type, values, quantity):
    with pytest.raises(InvalidRequest) as refused:
        read(values, order_type, **OURS)

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
_NAMES = st.sampled_from(sorted(FIELDS))
_LIKELY = st.sampled_from(
    ["100", 100, LINK, "@a", "a\nb", ["a", "b"], 1, 2, 0, "", None, "US", "31/12/2999", "1/1/2000"]
)


@given(
    order_type=st.sampled_from(sorted(SOLD_TYPES)),
    values=st.dictionaries(_NAMES, _LIKELY),
    whole=st.booleans(),
)
def test_quantity_is_what_the_table_says(order_type, values, whole):
    """Of every type, whatever else is sent: the charge follows from one number, and this is it."""
    if whole:
        values = {**valid(order_type), **values}
    try:
        request = read(values, order_type, minimum=1, **OURS)
    except InvalidRequest:
        return
    text = request.fields.get
    match ORDER_TYPES[order_type].charged_on:
        case ChargedOn.QUANTITY:
            assert request.quantity == int(values["quantity"]) * (request.runs or 1)
        case ChargedOn.PACKAGE:
            assert request.quantity == 1
        case ChargedOn.COMMENTS:
            assert request.quantity == len(text("comments").split("\n"))
        case ChargedOn.USERNAMES:
            assert request.quantity == len(text("usernames").split("\n"))
        case ChargedOn.POSTS:
            posts = int(text("posts")) + int(text("old_posts", "0"))
            assert request.quantity == int(text("max")) * posts
            assert request.terms.posts == posts
    assert (request.runs is None) == (request.interval is None)
    assert request.quantity >= 1
    row = ORDER_TYPES[order_type]
    assert {*request.fields} <= {*row.fields, *row.optional} - {"link", "quantity", "runs"}
    for name in row.fields:
        assert name in request.fields or name in ("link", "quantity")
        if FIELDS[name].kind is not FieldKind.LINES and name in request.fields:
            assert "\n" not in request.fields[name]


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
        request = read_request(draft, service(order_type, minimum=1, **OURS))
    except InvalidRequest:
        return
    assert 0 <= number <= 2**63 - 1
    is_reserve = order_type == ServiceType.SUBSCRIPTIONS
    assert 1 <= request.quantity <= 10_000 * (20_000 if is_reserve else 1)
    assert 1 <= len(request.link) <= LINK_LIMIT
    assert 1 <= len(request.link_key) <= 255
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
