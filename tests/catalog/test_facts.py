"""What is told of a service's speed."""

from __future__ import annotations

import pytest
from django.utils import translation

from catalog import facts
from catalog.models import ServiceFacts
from tests.factories import ServiceFactory

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("median", "p90", "text"),
    [
        (0, 0, "1 minute"),
        (60, 61, "1-2 minutes"),
        (601, 1500, "15-25 minutes"),
        (3540, 3600, "1 hour"),
        (3600, 10_800, "1-3 hours"),
        (4000, 4000, "70 minutes"),
        (1200, 10_801, "20 minutes - 4 hours"),
        (172_800, 172_801, "48 hours - 3 days"),
        (86_400 * 3, 86_400 * 9, "3-9 days"),
    ],
)
def test_measured_times_are_told_in_few_words(median, p90, text):
    service = ServiceFactory(average_time="what staff guess")
    ServiceFacts.objects.create(service=service, completion_median=median, completion_p90=p90)

    with translation.override("en"):
        assert facts.average_time(service) == text


@pytest.mark.parametrize(
    ("estimate", "text"), [("1-3 hours", "1-3 hours"), ("", "Not enough data")]
)
@pytest.mark.parametrize("row", [None, {}, {"start_median": 5, "start_p90": 9}])
def test_before_that_staffs_estimate_is_told_or_that_there_is_none(estimate, text, row):
    service = ServiceFactory(average_time=estimate)
    if row is not None:
        ServiceFacts.objects.create(service=service, **row)

    with translation.override("en"):
        assert facts.average_time(service) == text


def test_completion_rate_and_start_are_told_once_measured():
    unknown, known = ServiceFactory(), ServiceFactory()
    ServiceFacts.objects.create(service=known, completion_rate=0, start_median=60, start_p90=120)

    with translation.override("en"):
        assert (facts.completion_rate(unknown), facts.start_time(unknown)) == (None, "")
        assert (facts.completion_rate(known), facts.start_time(known)) == (0, "1-2 minutes")
