"""Limits count by the database's clock, in windows that begin with their first request."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from accounts import api_keys, limits
from accounts.limits import DAY, MINUTE, Allowance, TooManyRequests, Use
from accounts.models import ApiUsage, User, WrongKeys

PLACE, OTHER = "198.51.100.7", "203.0.113.9"


@pytest.fixture
def customer(db):
    return User.objects.create_user("customer@example.com", api_per_minute=3, api_per_day=5)


@pytest.fixture
def issued(customer):
    return api_keys.issue(customer, name="program", currency="USD")


@pytest.fixture
def key(issued):
    return issued[0]


def pass_time(seconds: int) -> None:
    """As if all windows had begun so much earlier."""
    ApiUsage.objects.update(
        minute_from=F("minute_from") - seconds, day_from=F("day_from") - seconds
    )
    WrongKeys.objects.update(window_from=F("window_from") - seconds)


def count(key, times: int = 1) -> list[int | None]:
    return [limits.count(key).retry_after for _ in range(times)]


def test_count_lets_the_limit_through_and_no_more(key, django_assert_num_queries):
    is_sqlite = connection.vendor == "sqlite"  # there it is asked first whether it would refuse
    with django_assert_num_queries(2 if is_sqlite else 1):
        first = limits.count(key)
    usage = ApiUsage.objects.get()

    assert first == Allowance(3, 2, usage.minute_from + MINUTE, None)
    assert count(key, 2) == [None, None]

    refused = limits.count(key)

    assert (refused.limit, refused.remaining, refused.reset_at) == (3, 0, first.reset_at)
    assert refused.retry_after in (59, 60)
    # What is refused is not counted.
    usage.refresh_from_db()
    assert (usage.minute_count, usage.day_count) == (3, 3)


@pytest.mark.sqlite
@pytest.mark.parametrize("name", ["api_per_minute", "api_per_day"])
def test_refused_request_does_not_stand_among_the_writers(key, name):
    setattr(key.user, name, 1)
    count(key)

    with CaptureQueriesContext(connection) as asked:
        refused = limits.count(key)

    assert refused.retry_after is not None
    assert [query["sql"].split()[0] for query in asked] == ["SELECT"]


def test_window_ends_a_minute_after_its_first_request(key):
    assert count(key, 4)[3] is not None
    began = ApiUsage.objects.get().minute_from
    pass_time(MINUTE - 5)
    (waiting,) = count(key)

    assert waiting in (4, 5)

    pass_time(5)

    assert count(key) == [None]
    usage = ApiUsage.objects.get()
    assert usage.minute_count == 1
    assert usage.minute_from >= began
    assert (usage.day_count, usage.day_from) == (4, began - MINUTE)


def test_day_refuses_when_the_minute_does_not_and_is_told_when_it_is_tighter(key):
    count(key, 3)
    pass_time(MINUTE)
    tighter = limits.count(key)
    assert (tighter.limit, tighter.remaining) == (5, 1)
    count(key)

    refused = limits.count(key)

    usage = ApiUsage.objects.get()
    assert (refused.limit, refused.remaining) == (5, 0)
    assert refused.reset_at == usage.day_from + DAY
    assert refused.retry_after in range(DAY - MINUTE - 5, DAY - MINUTE + 1)
    assert (usage.minute_count, usage.day_count) == (2, 5)
    assert limits.use_of([key]) == {key.pk: Use(2, 5, 3, 5)}

    pass_time(DAY)

    assert limits.use_of([key]) == {key.pk: Use(0, 0, 3, 5)}
    assert limits.count(key) == Allowance(3, 2, ApiUsage.objects.get().minute_from + 60, None)


def test_both_used_up_tells_the_one_that_lasts_longer(key, customer):
    customer.api_per_day = 3
    key.user = customer
    count(key, 3)

    refused = limits.count(key)

    assert (refused.limit, refused.retry_after in (DAY - 1, DAY)) == (3, True)


def test_shops_limits_hold_where_a_customer_has_none(key, settings):
    settings.API_PER_MINUTE, settings.API_PER_DAY = 60, 10_000
    key.user.api_per_minute = key.user.api_per_day = None

    assert limits.limits_of(key) == (60, 10_000)


def test_each_key_has_its_own_count(key, customer):
    other, _text = api_keys.issue(customer, name="second", currency="USD")
    count(key, 3)

    assert count(other) == [None]
    assert limits.use_of([other])[other.pk].day == 1


def test_lowered_limit_holds_at_once(key, customer):
    count(key, 2)
    key.user.api_per_minute = 1

    assert limits.count(key).remaining == 0
    assert count(key)[0] is not None


def guess(times: int, address: str = PLACE) -> list[type[Exception]]:
    outcomes = []
    for _ in range(times):
        with pytest.raises((api_keys.InvalidApiKey, TooManyRequests)) as caught:
            api_keys.authenticate("sk_" + "x" * 40, address=address)
        outcomes.append(caught.type)
    return outcomes


def test_wrong_keys_are_throttled_by_address(db, django_assert_num_queries):
    assert guess(31) == [api_keys.InvalidApiKey] * 30 + [TooManyRequests]
    # A flood is read, never written.
    with django_assert_num_queries(2):
        guess(1)
    assert WrongKeys.objects.get().count == 30
    assert guess(1, OTHER) == [api_keys.InvalidApiKey]

    pass_time(MINUTE)

    assert guess(1) == [api_keys.InvalidApiKey]
    assert WrongKeys.objects.get(address=PLACE).count == 1


def test_guesser_does_not_learn_that_a_guess_is_right(issued):
    _key, text = issued
    guess(30)

    with pytest.raises(TooManyRequests) as refused:
        api_keys.authenticate(text, address=PLACE)

    assert refused.value.retry_after in (59, 60)
    assert api_keys.authenticate(text, address=OTHER).name == "program"


def test_good_key_goes_on_from_where_it_works(issued):
    _key, text = issued
    api_keys.authenticate(text, address="2001:db8::1")
    # An IPv6 client has a whole network to come from.
    guess(30, "2001:db8::2")

    assert guess(1, "2001:db8::3") == [TooManyRequests]
    assert api_keys.authenticate(text, address="2001:db8::4").name == "program"


def test_keys_that_were_good_once_and_no_key_are_no_guesses(issued):
    key, text = issued
    api_keys.revoke(key)
    for sent in ("", text):
        with pytest.raises(api_keys.InvalidApiKey):
            api_keys.authenticate(sent, address=PLACE)

    assert WrongKeys.objects.count() == 0
