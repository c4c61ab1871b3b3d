"""A provider's list becomes the catalogue: in bulk, where it differs, staff's columns apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.encryption import SecretUnreadable
from accounts.models import Alert
from catalog import sync as sync_module
from catalog.models import Category, Network, Provider, Service, SyncOutcome, SyncRecord
from catalog.order_types import ServiceType
from catalog.providers import (
    Offer,
    ProviderAnswerInvalid,
    ProviderBusy,
    ProviderRefused,
    ProviderUnreachable,
    ServiceList,
)
from catalog.sync import BATCH, sync
from tests.factories import CategoryFactory, ProviderFactory, ServiceFactory

pytestmark = pytest.mark.django_db


@dataclass
class Upstream:
    """What the provider's client answers next; stands at the client's seam."""

    offers: list[Offer] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    error: Exception | None = None

    def services(self) -> ServiceList:
        if self.error:
            raise self.error
        return ServiceList(self.offers, self.unreadable)


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Upstream:
    client = Upstream()
    monkeypatch.setattr(sync_module, "client_for", lambda provider: client)
    return client


@pytest.fixture
def provider() -> Provider:
    return ProviderFactory()


def offer(number: int = 1, **changes: Any) -> Offer:
    return Offer(
        **{
            "external_id": str(number),
            "name": f"Instagram Followers {number}",
            "category": "Instagram Followers",
            "type": "Default",
            "rate": Decimal("1.5"),
            "min_quantity": 10,
            "max_quantity": 5000,
            **changes,
        }
    )


def offers(count: int, **changes: Any) -> list[Offer]:
    return [offer(number, **changes) for number in range(1, count + 1)]


def the_service() -> Service:
    return Service.objects.select_related("category", "provider").get()


def open_alerts() -> dict[str, str]:
    return dict(Alert.objects.filter(resolved_at=None).values_list("code", "message"))


def snapshot() -> list[Any]:
    return [*Service.objects.order_by("pk").values(), *Category.objects.order_by("pk").values()]


# --- what is stored ----------------------------------------------------------------------------


def test_sync_stores_every_column_of_a_new_service(upstream, provider):
    upstream.offers = [
        offer(
            7,
            name="TikTok Views",
            category="TikTok · Views",
            type="package",
            refill=True,
            cancel=True,
            dripfeed=True,
            description="Fast",
        )
    ]

    record = sync(provider)

    service = the_service()
    assert (service.external_id, service.provider, service.provider_name) == (
        "7",
        provider,
        "TikTok Views",
    )
    assert (service.provider_description, service.provider_category) == ("Fast", "TikTok · Views")
    assert (service.provider_type, service.type) == ("package", ServiceType.PACKAGE)
    assert (service.provider_rate, service.min_quantity, service.max_quantity) == (
        Decimal("1.5"),
        10,
        5000,
    )
    assert (service.refill, service.cancel, service.dripfeed) == (True, True, True)
    assert service.search_text == "tiktok views tiktok views tiktok"
    assert service.is_orderable
    assert (service.category.source_name, service.category.network) == (
        "TikTok · Views",
        Network.TIKTOK,
    )
    assert (record.outcome, record.listed, record.added, record.refused) == (
        SyncOutcome.CHANGED,
        1,
        1,
        0,
    )
    assert record.details == {"added": ["7 · TikTok Views"]}


def test_new_categories_stand_at_the_end_in_the_providers_order(upstream, provider):
    CategoryFactory(source_name="Ours", position=3)
    upstream.offers = [offer(1, category="Zulu"), offer(2, category="Alpha"), offer(3)]

    sync(provider)

    names = Category.objects.values_list("source_name", "position")
    assert list(names) == [("Ours", 3), ("Zulu", 4), ("Alpha", 5), ("Instagram Followers", 6)]


def test_categories_are_shared_between_providers(upstream, provider):
    upstream.offers = [offer()]
    sync(provider)

    sync(ProviderFactory())

    assert Category.objects.count() == 1
    assert Service.objects.count() == 2


def test_sync_updates_what_the_provider_changed(upstream, provider):
    upstream.offers = [offer()]
    sync(provider)
    upstream.offers = [
        offer(name="Renamed", rate=Decimal("2.25"), min_quantity=20, description="New", refill=True)
    ]

    record = sync(provider)

    service = the_service()
    assert service.provider_name == "Renamed"
    assert service.provider_rate == Decimal("2.25")
    assert service.min_quantity == 20
    assert service.provider_description == "New"
    assert service.refill is True
    assert service.search_text == "renamed instagram followers instagram"
    assert (record.outcome, record.changed, record.added) == (SyncOutcome.CHANGED, 1, 0)
    assert record.details == {
        "changed": [
            "1 · Renamed: provider_name Instagram Followers 1 → Renamed, "
            "provider_rate 1.5 → 2.25, min_quantity 10 → 20, refill False → True"
        ]
    }


def test_staffs_columns_survive(upstream, provider):
    upstream.offers = [offer()]
    sync(provider)
    ours = {
        "name": "Our followers",
        "description": "Our words",
        "position": 4,
        "markup_percent": Decimal("12.50"),
        "allow_below_cost": True,
        "disabled_by_staff": True,
        "average_time": "1-3 hours",
    }
    Service.objects.update(**ours)
    Category.objects.update(name="Our heading", enabled=False, position=9)
    upstream.offers = [offer(name="Renamed", rate=Decimal(9))]

    sync(provider)

    assert Service.objects.values(*ours).get() == ours
    assert Category.objects.values("name", "enabled", "position").get() == {
        "name": "Our heading",
        "enabled": False,
        "position": 9,
    }
    assert the_service().search_text == "our followers our heading instagram"


def test_other_providers_services_are_left_alone(upstream, provider):
    other = ServiceFactory(external_id="1")
    before = Service.objects.filter(pk=other.pk).values().get()
    upstream.offers = [offer(2)]

    sync(provider)

    assert Service.objects.filter(pk=other.pk).values().get() == before


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a\x00b \ud800c", "ab ?c"),
        ("  spaced  ", "spaced"),
        ("x" * 600, "x" * 500),
        ("", "#1"),
    ],
)
def test_names_are_stored_as_every_database_can(upstream, provider, given, kept):
    upstream.offers = [offer(name=given, category=given, description=given)]

    sync(provider)

    assert the_service().provider_name == kept


def test_a_missing_category_is_filed_under_other(upstream, provider):
    upstream.offers = [offer(category="")]

    sync(provider)

    assert the_service().category.source_name == "Other"


# --- a sync that changes nothing ---------------------------------------------------------------


def test_unchanged_sync_writes_nothing(upstream, provider):
    upstream.offers = [*offers(3), offer(4, type="Odd"), offer(5, rate=None)]
    sync(provider)

    with CaptureQueriesContext(connection) as queries:
        record = sync(provider)

    assert (record.outcome, record.pk) == (SyncOutcome.UNCHANGED, None)
    assert [query["sql"].split()[0] for query in queries] == ["SELECT"] * 3
    assert (record.listed, record.refused) == (5, 1)


def test_statements_do_not_depend_on_the_number_of_services(upstream, provider):
    statements = {}
    for count in (1, 3):
        Service.objects.all().delete()
        upstream.offers = offers(count)
        with CaptureQueriesContext(connection) as queries:
            sync(provider)
        adding = len(queries)
        upstream.offers = offers(count, rate=Decimal(2))
        with CaptureQueriesContext(connection) as queries:
            sync(provider)
        statements[count] = (adding, len(queries))

    assert statements[1][1] == statements[3][1]
    # The first of the two also made the category: an INSERT and its reading back.
    assert statements[1][0] == statements[3][0] + 2


def test_ten_thousand_services_take_bulk_statements(upstream, provider):
    upstream.offers = [offer(n, category=f"Instagram {n % 100}") for n in range(10_000)]
    # SQLite takes 999 values a statement, and a service has 30 columns (31 with its id).
    rows = BATCH if connection.vendor == "postgresql" else 32
    with CaptureQueriesContext(connection) as adding:
        sync(provider)
    upstream.offers = [
        offer(n, category=f"Instagram {n % 100}", rate=Decimal(2)) for n in range(10_000)
    ]
    with CaptureQueriesContext(connection) as altering:
        record = sync(provider)
    with CaptureQueriesContext(connection) as unchanged:
        again = sync(provider)

    assert (record.changed, again.outcome) == (10_000, SyncOutcome.UNCHANGED)
    assert len(adding) <= 10_000 / rows + 20
    assert len(altering) <= 10_000 / rows + 20
    assert [query["sql"].split()[0] for query in unchanged] == ["SELECT"] * 3


def test_a_record_holds_a_hundred_lines_of_a_kind_and_the_whole_count(upstream, provider):
    upstream.offers = offers(101)

    record = sync(provider)

    assert (record.added, len(record.details["added"])) == (101, 100)


# --- vanished and back -------------------------------------------------------------------------


def test_a_vanished_service_is_disabled_and_comes_back(upstream, provider):
    upstream.offers = offers(2)
    sync(provider)
    upstream.offers = offers(1)

    gone = sync(provider)

    service = Service.objects.get(external_id="2")
    assert service.vanished_at is not None
    assert not service.is_orderable
    assert (gone.outcome, gone.disabled) == (SyncOutcome.CHANGED, 1)
    assert gone.details == {"disabled": ["2 · Instagram Followers 2"]}

    upstream.offers = offers(2)
    back = sync(provider)

    service.refresh_from_db()
    assert service.vanished_at is None
    assert service.is_orderable
    assert (back.outcome, back.enabled, back.changed) == (SyncOutcome.CHANGED, 1, 0)


def test_a_vanished_service_is_not_disabled_twice(upstream, provider):
    upstream.offers = offers(2)
    sync(provider)
    upstream.offers = offers(1)
    sync(provider)

    assert sync(provider).outcome == SyncOutcome.UNCHANGED


def test_a_service_that_staff_disabled_stays_disabled_when_it_comes_back(upstream, provider):
    upstream.offers = offers(2)
    sync(provider)
    Service.objects.filter(external_id="2").update(disabled_by_staff=True)
    upstream.offers = offers(1)
    sync(provider)
    upstream.offers = offers(2)

    sync(provider)

    service = Service.objects.get(external_id="2")
    assert service.vanished_at is None
    assert service.disabled_by_staff is True


# --- values that cannot be used ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "reason"),
    [
        (None, "no readable rate"),
        (Decimal(0), "rate 0"),
        (Decimal(-1), "no readable rate"),
        (Decimal("NaN"), "no readable rate"),
        (Decimal("Infinity"), "no readable rate"),
        (Decimal("1E+999999"), "no readable rate"),
        (Decimal("922337203.6854775808"), "no readable rate"),
    ],
)
def test_an_unusable_rate_keeps_the_old_one_and_is_reported(upstream, provider, rate, reason):
    upstream.offers = [offer()]
    sync(provider)
    upstream.offers = [offer(rate=rate, name="Renamed")]

    record = sync(provider)

    service = the_service()
    assert (service.provider_rate, service.provider_name) == (Decimal("1.5"), "Renamed")
    assert record.refused == 1
    assert record.details["refused"] == [f"1: {reason}"]


def test_a_new_service_without_a_rate_is_stored_and_cannot_be_ordered(upstream, provider):
    upstream.offers = [offer(rate=Decimal(0))]

    record = sync(provider)

    service = the_service()
    assert service.provider_rate is None
    assert not service.is_orderable
    assert (record.added, record.details["refused"]) == (1, ["1: rate 0"])


def test_a_rate_with_too_many_decimals_is_rounded_up(upstream, provider):
    upstream.offers = [offer(rate=Decimal("0.12345678901"))]

    sync(provider)

    assert the_service().provider_rate == Decimal("0.1234567891")
    assert sync(provider).outcome == SyncOutcome.UNCHANGED


@pytest.mark.parametrize(
    ("lowest", "highest", "reason"),
    [
        (None, 900, "no readable minimum and maximum"),
        (20, None, "no readable minimum and maximum"),
        (-1, 900, "no readable minimum and maximum"),
        (20, 2**63, "no readable minimum and maximum"),
        (900, 20, "minimum 900 above maximum 20"),
        (0, 0, "minimum 0 above maximum 0"),
    ],
)
def test_unusable_limits_keep_the_old_ones_and_are_reported(
    upstream, provider, lowest, highest, reason
):
    upstream.offers = [offer()]
    sync(provider)
    upstream.offers = [offer(min_quantity=lowest, max_quantity=highest, rate=Decimal(2))]

    record = sync(provider)

    service = the_service()
    assert (service.min_quantity, service.max_quantity) == (10, 5000)
    assert service.provider_rate == Decimal(2)
    assert record.details["refused"] == [f"1: {reason}"]


def test_a_new_service_without_limits_cannot_be_ordered(upstream, provider):
    upstream.offers = [offer(min_quantity=None)]

    sync(provider)

    service = the_service()
    assert not service.is_orderable
    assert not Service.objects.orderable().exists()


def test_a_minimum_of_0_means_1(upstream, provider):
    upstream.offers = [offer(min_quantity=0)]

    sync(provider)

    assert the_service().min_quantity == 1


@pytest.mark.parametrize("limits", [(None, None), (0, 0), (1, 1)])
def test_a_package_needs_no_limits(upstream, provider, limits):
    upstream.offers = [offer(type="Package", min_quantity=limits[0], max_quantity=limits[1])]

    record = sync(provider)

    assert record.refused == 0
    assert the_service().is_orderable


def test_an_id_that_is_listed_twice_counts_once_and_is_reported(upstream, provider):
    upstream.offers = [offer(1, name="First"), offer(1, name="Second")]

    record = sync(provider)

    assert the_service().provider_name == "First"
    assert record.details["refused"] == ["1: listed twice, the first one counts"]


@pytest.mark.parametrize("external_id", ["", "x" * 65, "1\x002"])
def test_an_unusable_id_is_reported(upstream, provider, external_id):
    upstream.offers = [offer(1), offer(2, external_id=external_id)]

    record = sync(provider)

    assert the_service().external_id == "1"
    assert record.refused == 1


# --- type and category: derived, unless staff have chosen ----------------------------------------


def test_an_unknown_type_is_imported_and_not_sold_until_staff_map_it(upstream, provider):
    upstream.offers = [offer(type="Auto Likes")]
    sync(provider)
    assert the_service().type == ServiceType.UNKNOWN
    assert not the_service().is_orderable
    Service.objects.update(type=ServiceType.DEFAULT)
    upstream.offers = [offer(type="AUTO  likes", rate=Decimal(2))]

    sync(provider)

    assert the_service().type == ServiceType.DEFAULT
    assert the_service().is_orderable


def test_a_type_follows_the_provider_when_its_word_changes(upstream, provider):
    upstream.offers = [offer(type="Default")]
    sync(provider)
    upstream.offers = [offer(type="custom_comments")]

    sync(provider)

    assert the_service().type == ServiceType.CUSTOM_COMMENTS


def test_a_service_follows_the_providers_category(upstream, provider):
    upstream.offers = [offer()]
    sync(provider)
    upstream.offers = [offer(category="YouTube Likes")]

    sync(provider)

    service = the_service()
    assert service.category.source_name == "YouTube Likes"
    assert service.search_text == "instagram followers 1 youtube likes youtube"


def test_a_service_that_staff_moved_stays_where_it_is(upstream, provider):
    upstream.offers = [offer()]
    sync(provider)
    ours = CategoryFactory(source_name="Ours")
    Service.objects.update(category=ours)
    upstream.offers = [offer(category="YouTube Likes")]

    sync(provider)

    service = the_service()
    assert service.category == ours
    assert service.provider_category == "YouTube Likes"


# --- lists that are not believed ---------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        ProviderUnreachable("no connection"),
        ProviderRefused("Invalid API key"),
        ProviderAnswerInvalid("not JSON"),
        ProviderBusy("too many requests"),
        SecretUnreadable("catalog.Provider.api_key"),
    ],
)
def test_no_usable_answer_changes_nothing_and_alerts(upstream, provider, error):
    upstream.offers = offers(2)
    sync(provider)
    before = snapshot()
    upstream.error = error

    record = sync(provider)

    assert snapshot() == before
    assert record.outcome == SyncOutcome.FAILED
    assert record.details == {"reason": [f"{type(error).__name__}: {error}"]}
    assert SyncRecord.objects.first() == record
    assert Alert.objects.values("code", "subject", "resolved_at").get() == {
        "code": "sync_failed",
        "subject": f"provider:{provider.pk}",
        "resolved_at": None,
    }


def test_a_reason_is_stored_as_every_database_can(upstream, provider):
    upstream.error = ProviderRefused("a\x00b" + "c" * 600)

    record = sync(provider)

    [reason] = record.details["reason"]
    assert reason == ("ProviderRefused: ab" + "c" * 600)[:500]
    assert open_alerts() == {"sync_failed": reason}


@pytest.mark.parametrize("unreadable", [[], ["entry 1: no id"]])
def test_an_empty_list_changes_nothing_even_if_shorter_ones_are_accepted(
    upstream, provider, unreadable
):
    upstream.offers = offers(2)
    sync(provider)
    before = snapshot()
    upstream.offers, upstream.unreadable = [], unreadable

    record = sync(provider, accept_shorter=True)

    assert snapshot() == before
    assert record.outcome == SyncOutcome.FAILED
    assert open_alerts().keys() == {"sync_failed"}


def test_a_suspiciously_short_list_changes_nothing_and_alerts(upstream, provider):
    upstream.offers = offers(29)
    sync(provider)
    before = snapshot()
    # 6 of 29 are more than 20 %; the rate and the new service must not be stored either.
    upstream.offers = [*offers(23, rate=Decimal(9)), offer(99)]

    record = sync(provider)

    assert snapshot() == before
    assert record.outcome == SyncOutcome.HELD
    assert (record.disabled, record.changed, record.added) == (6, 23, 1)
    assert SyncRecord.objects.first() == record
    assert open_alerts() == {"sync_held": "The list lacks 6 of 29 services."}


@pytest.mark.parametrize(("had", "has"), [(30, 24), (5, 1)], ids=["20 %", "a handful"])
def test_an_ordinarily_shorter_list_is_applied(upstream, provider, had, has):
    upstream.offers = offers(had)
    sync(provider)
    upstream.offers = offers(has)

    record = sync(provider)

    assert (record.outcome, record.disabled) == (SyncOutcome.CHANGED, had - has)


def test_services_that_had_vanished_before_are_not_counted_as_lost(upstream, provider):
    upstream.offers = offers(30)
    sync(provider)
    Service.objects.filter(external_id__in=[str(n) for n in range(1, 11)]).update(
        vanished_at="2026-01-01T00:00Z"
    )
    # 5 of the 20 that are listed.
    upstream.offers = [offer(n) for n in range(16, 31)]

    assert sync(provider).outcome == SyncOutcome.HELD


def test_a_shorter_list_is_applied_when_staff_accept_it(upstream, provider):
    upstream.offers = offers(30)
    sync(provider)
    upstream.offers = offers(10)
    sync(provider)
    assert open_alerts().keys() == {"sync_held"}

    record = sync(provider, accept_shorter=True)

    assert (record.outcome, record.disabled) == (SyncOutcome.CHANGED, 20)
    assert Service.objects.filter(vanished_at=None).count() == 10
    assert open_alerts() == {}


# --- alerts ------------------------------------------------------------------------------------


def test_a_successful_sync_resolves_the_alerts(upstream, provider):
    upstream.offers = offers(1)
    sync(provider)
    upstream.error = ProviderUnreachable("no connection")
    sync(provider)
    upstream.error = None

    record = sync(provider)

    assert (record.outcome, record.pk) == (SyncOutcome.UNCHANGED, None)
    assert open_alerts() == {}


def test_a_held_list_replaces_the_alert_of_a_failed_one(upstream, provider):
    upstream.offers = offers(30)
    sync(provider)
    upstream.error = ProviderUnreachable("no connection")
    sync(provider)
    upstream.error, upstream.offers = None, offers(10)

    sync(provider)

    assert open_alerts().keys() == {"sync_held"}


def test_alerts_of_other_providers_stay_open(upstream, provider):
    upstream.error = ProviderUnreachable("no connection")
    sync(ProviderFactory())
    upstream.error, upstream.offers = None, offers(1)

    sync(provider)

    assert open_alerts().keys() == {"sync_failed"}
    with CaptureQueriesContext(connection) as queries:
        sync(provider)
    assert [query["sql"].split()[0] for query in queries] == ["SELECT"] * 3


def test_refused_entries_alert_once_until_they_change(upstream, provider):
    upstream.offers = [offer(1), offer(2, rate=None)]
    upstream.unreadable = ["entry 3: no id"]
    sync(provider)

    again = sync(provider)
    upstream.offers[0] = offer(1, rate=Decimal(2))
    sync(provider)

    assert (again.outcome, again.pk, again.refused) == (SyncOutcome.UNCHANGED, None, 2)
    assert Alert.objects.values("code", "message", "times").get() == {
        "code": "sync_refused",
        "message": "2 entries of the list are refused: entry 3: no id; 2: no readable rate",
        "times": 1,
    }


def test_newly_refused_entries_leave_a_record_even_if_nothing_changed(upstream, provider):
    upstream.offers = offers(1)
    sync(provider)
    upstream.offers = [offer(1, rate=None)]

    record = sync(provider)

    assert record.outcome == SyncOutcome.UNCHANGED
    assert SyncRecord.objects.first() == record
    assert record.details == {"refused": ["1: no readable rate"]}


def test_the_refusal_alert_is_resolved_when_everything_can_be_read(upstream, provider):
    upstream.offers = [offer(1, rate=None)]
    sync(provider)
    upstream.offers = [offer(1)]

    sync(provider)

    assert open_alerts() == {}
