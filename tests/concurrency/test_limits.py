"""Limits are exact whoever asks at the same moment: one statement decides and counts."""

from __future__ import annotations

import pytest

from accounts import api_keys, limits
from accounts.api_keys import InvalidApiKey
from accounts.limits import TooManyRequests
from accounts.models import ApiUsage, WrongKeys
from tests.concurrency.together import together
from tests.factories import UserFactory

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


def test_many_at_once_pass_a_limit_as_often_as_it_says():
    user = UserFactory(api_per_minute=100, api_per_day=1000)
    api_key, _text = api_keys.issue(user, name="program", currency="USD")

    # Again and again: opening their connections, the first requests meet by luck only.
    asked = together(*[lambda: [limits.count(api_key) for _ in range(25)]] * 8)

    allowances = [allowance for each in asked for allowance in each]
    passed = [each.remaining for each in allowances if each.retry_after is None]
    assert sorted(passed) == [*range(100)]
    assert {each.remaining for each in allowances if each.retry_after} == {0}
    usage = ApiUsage.objects.get()
    assert (usage.minute_count, usage.day_count) == (100, 100)


def test_wrong_keys_at_once_are_counted_one_by_one(monkeypatch):
    monkeypatch.setattr(limits, "WRONG_KEYS_PER_MINUTE", 4)

    def guess() -> None:
        api_keys.authenticate("sk_wrong", address="198.51.100.7")

    outcomes = together(*[guess] * 8)

    assert sorted(type(each).__name__ for each in outcomes) == (
        [InvalidApiKey.__name__] * 4 + [TooManyRequests.__name__] * 4
    )
    assert WrongKeys.objects.get().count == 4


def test_regenerated_by_two_at_once_leaves_the_last_two_texts():
    api_key, first = api_keys.issue(UserFactory(), name="program", currency="USD")
    copies = [type(api_key).objects.get() for _ in range(2)]

    texts = together(
        *[
            lambda copy=copy: api_keys.regenerate(copy, grace=api_keys.LONGEST_GRACE)
            for copy in copies
        ]
    )

    for text in texts:
        assert api_keys.authenticate(text, address="10.0.0.1") == api_key
    with pytest.raises(InvalidApiKey):
        api_keys.authenticate(first, address="10.0.0.1")
