"""The lists of services as prepared bytes: right after every change, encoded, not sent twice."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from decimal import Decimal

import brotli
import pytest
import zstandard
from django.apps import apps
from django.db import models, transaction
from django.utils import translation

from accounts.models import ExchangeRate
from catalog import triggers, versions
from catalog.listing import catalogue
from catalog.models import Category, ManualPrice, Provider, Service, ServiceFacts
from storefront.api import prepared
from storefront.api.conditional import preferred_coding
from storefront.api.panel import actions
from storefront.api.rendering import dumps
from storefront.api.rest.serializers import CatalogueSerializer
from tests.concurrency.together import together
from tests.factories import (
    CategoryFactory,
    ExchangeRateFactory,
    ManualPriceFactory,
    ProviderFactory,
    ServiceFactory,
)
from tests.storefront.api.conftest import program_of

SHAPES = {"panel": actions._list, "rest": CatalogueSerializer().to_representation}
DECODERS = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": zstandard.ZstdDecompressor().decompress,
}


@pytest.fixture
def listed(service):
    """A service that shows something of each table; large enough to be worth compressing."""
    ServiceFacts.objects.create(
        service=service, completion_median=3600, completion_p90=7200, completion_rate=98
    )
    Service.objects.update(provider_description="Real accounts. " * 50)
    return service


def prepared_lists():
    with translation.override("en"):
        return [
            prepared.services(dialect, currency, shape).plain
            for dialect, shape in SHAPES.items()
            for currency in ("XAF", "USD")
        ]


def built_lists():
    with translation.override("en"):
        read = [catalogue(currency) for currency in ("XAF", "USD")]
        return [dumps(shape(services)) for shape in SHAPES.values() for services in read]


def upsert(service, **changes):
    """As a sync writes."""
    for name, value in changes.items():
        setattr(service, name, value)
    Service.objects.bulk_create(
        [service], update_conflicts=True, unique_fields=["pk"], update_fields=[*changes]
    )


CHANGES = {
    "service_added": lambda service: ServiceFactory(category=service.category),
    "service_synced": lambda service: upsert(service, provider_rate=Decimal(7)),
    "service_renamed": lambda service: Service.objects.update(name="New"),
    "service_vanished": lambda service: Service.objects.update(vanished_at=datetime.now(UTC)),
    "service_deleted": lambda service: service.delete(),
    "category_renamed": lambda service: Category.objects.update(name="New"),
    "category_disabled": lambda service: Category.objects.update(enabled=False),
    "provider_disabled": lambda service: Provider.objects.update(enabled=False),
    "manual_price_added": lambda service: ManualPriceFactory(service=service, rate=9),
    "manual_price_changed": lambda service: ManualPrice.objects.update(rate=77),
    "manual_price_deleted": lambda service: ManualPrice.objects.all().delete(),
    "facts_measured": lambda service: ServiceFacts.objects.update(completion_p90=10_800),
    "facts_deleted": lambda service: ServiceFacts.objects.all().delete(),
    "exchange_rate_added": lambda service: ExchangeRateFactory(rate=1_000_000),
    "exchange_rate_deleted": lambda service: ExchangeRate.objects.all().delete(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_kind_of_change_shows_at_the_next_request(listed, change):
    before = prepared_lists()

    change(listed)

    after = prepared_lists()
    assert after == built_lists()
    assert after != before


def test_change_while_bytes_are_made_shows_at_the_next_request(listed, monkeypatch):
    read = prepared.catalogue

    def overtaken(currency):
        found = read(currency)
        Service.objects.update(name="New")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(prepared, "catalogue", overtaken)
        made = prepared_lists()

    assert prepared_lists() == built_lists() != made


def test_default_markup_shows_at_once(listed, settings):
    before = prepared_lists()

    settings.DEFAULT_MARKUP_PERCENT = "31"

    after = prepared_lists()
    assert after == built_lists()
    assert after != before


@pytest.fixture
def varied(listed):
    """With `listed`, services of which each shows what another one's values hide."""
    ServiceFactory(
        provider=listed.provider,
        category=listed.category,
        refill=True,
        dripfeed=True,
        markup_percent=-50,
    )
    ServiceFactory(provider=listed.provider)


def other_value(field, row):
    """Something that the column does not hold."""
    held = getattr(row, field.attname)
    match field:
        case models.ForeignKey(related_model=related):
            makers = {
                Provider: lambda: ProviderFactory(markup_percent=77),
                Category: CategoryFactory,
                Service: ServiceFactory,
            }
            return makers[related]().pk if related in makers else None
        case models.BooleanField():
            return not held
        case models.DateTimeField():
            return datetime(2020, 1, 1, tzinfo=UTC)
        case models.CharField(choices=[*choices]) if choices:
            return next(value for value, _ in reversed(choices) if value != held)
        case models.CharField(max_length=3):
            return "EUR"
        case models.CharField() | models.TextField():
            return "http://127.0.0.1:9/other"
        case _:
            return (held or 0) + 1


def columns_that(notice, model):
    """The columns of which `notice` notices another value, in one of the rows."""
    found, at_first = set(), notice()
    for row in model.objects.order_by("pk"):
        for field in model._meta.concrete_fields:
            if field.primary_key or field.attname in found:
                continue
            with transaction.atomic():
                value = other_value(field, row)
                # The row that the value refers to must not count as the change.
                before = notice() if field.is_relation else at_first
                model.objects.filter(pk=row.pk).update(**{field.attname: value})
                if notice() != before:
                    found.add(field.attname)
                transaction.set_rollback(True)
    return found


@pytest.mark.parametrize("table", triggers.SHOWN)
def test_columns_that_show_are_those_that_the_triggers_watch(varied, table):
    """A new column of these tables must be on one side or the other."""
    (model,) = (model for model in apps.get_models() if model._meta.db_table == table)

    showing, making_versions = (
        columns_that(built_lists, model),
        columns_that(versions.current, model),
    )

    assert showing == making_versions == {*triggers.SHOWN[table]} - {"id"}


@pytest.mark.parametrize("rows", [1, 3])
def test_services_are_read_once_for_any_number_of_rows(listed, rows, django_assert_num_queries):
    for _ in range(rows - 1):
        other = ManualPriceFactory(service=ServiceFactory(), currency="XAF", rate=1000).service
        ServiceFacts.objects.create(service=other, completion_rate=98)
    prepared_lists()
    Service.objects.update(max_quantity=77)

    with django_assert_num_queries(7):
        first = prepared.services("rest", "XAF", SHAPES["rest"])
    with django_assert_num_queries(1):
        again = prepared.services("rest", "XAF", SHAPES["rest"])

    assert again is first


def test_a_change_that_does_not_show_keeps_the_encodings(listed):
    first = prepared.services("panel", "USD", SHAPES["panel"])

    ManualPriceFactory(service=listed, currency="TRY")

    assert prepared.services("panel", "USD", SHAPES["panel"]) is first


def test_one_thread_builds_and_the_others_wait(monkeypatch):
    threads, asked, built = 8, [], []

    def current():
        asked.append(1)
        return "old" if len(asked) == 1 else "new"

    def slow_catalogue(currency):
        built.append(currency)
        # Until every thread has seen that there is a new version.
        while built[1:] and len(asked) < 1 + threads:
            pass
        return [len(built)]

    monkeypatch.setattr(prepared, "_kept", {})
    monkeypatch.setattr(prepared.versions, "current", current)
    monkeypatch.setattr(prepared, "catalogue", slow_catalogue)
    prepared.services("panel", "USD", list)

    contents = together(*[lambda: prepared.services("panel", "USD", list).plain] * threads)

    assert (contents, len(built)) == ([b"[2]"] * threads, 2)


def test_lists_differ_by_dialect_currency_and_language(program, listed):
    in_dollars = program_of(program.user, "USD")

    french, turkish, dollars = (
        program.get("/services"),
        program.get("/services", Accept_Language="tr"),
        in_dollars.get("/services"),
    )

    tags = {answer.headers["ETag"] for answer in (french, turkish, dollars)}
    assert len(tags) == 3
    assert turkish.json()["Instagram"][0]["average_time"] == "1-2 saat"
    assert [service["service"] for service in program.panel("services")] == [listed.pk]


@pytest.mark.parametrize("coding", DECODERS)
def test_each_encoding_holds_the_same_and_has_a_tag_of_its_own(program, listed, coding):
    plain = program.get("/services")
    tag = plain.headers["ETag"]

    packed = program.get("/services", Accept_Encoding=f"{coding}, identity;q=0.5")

    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == coding
    assert DECODERS[coding](packed.content) == plain.content
    assert packed.headers["Content-Length"] == str(len(packed.content))
    assert packed.headers["ETag"] == f'{tag[:-1]}-{coding}"'
    assert program.get("/services", Accept_Encoding=coding).content == packed.content


def test_small_answers_are_not_compressed(program, service):
    answer = program.get("/services", Accept_Encoding="gzip")

    assert "Content-Encoding" not in answer.headers


def test_unchanged_services_are_not_sent_again(program, listed):
    plain = program.get("/services").headers["ETag"]
    packed = f'{plain[:-1]}-br"'
    # What is held, what is accepted, and the tag that the 304 names.
    cases = [
        (plain, "", plain),
        (plain, "br", plain),
        (f"W/{packed}", "", packed),
        (f'"other" , {packed}', "gzip", packed),
        (f"{plain}, {packed}", "br", packed),
        ("*", "br", packed),
    ]
    for held, accepted, told in cases:
        answer = program.get("/services", If_None_Match=held, Accept_Encoding=accepted)

        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["ETag"] == told
        assert answer.headers["Cache-Control"] == "private, no-cache"
        vary = {name.strip() for name in answer.headers["Vary"].split(",")}
        assert vary >= {"Accept-Encoding", "Accept-Language"}
        assert {"Content-Type", "Content-Encoding"}.isdisjoint(answer.headers)

    Service.objects.update(max_quantity=77)
    for held in (plain, packed, '"other"', "nonsense"):
        answer = program.get("/services", If_None_Match=held)
        assert (answer.status_code, answer.headers["ETag"] == plain) == (200, False)


def test_the_panels_services_are_conditional_too(program, listed):
    asked = {"key": program.text, "action": "services"}
    first = program.client.post("/api/v2", asked, headers={"Accept-Encoding": "gzip"})
    tag = first.headers["ETag"]

    again = program.client.get("/api/v2", asked, headers={"If-None-Match": tag})

    assert gzip.decompress(first.content) == program.client.post("/api/v2", asked).content
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert again.headers["Cache-Control"] == "private, no-cache"


def test_no_key_no_bytes(program, listed):
    prepared_lists()
    program.text = "sk_wrong"

    answer = program.get("/services", If_None_Match="*")

    assert answer.status_code == 401
    assert program.panel("services") == {"error": "Unauthorized"}


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", "identity"),
        ("identity", "identity"),
        ("deflate", "identity"),
        ("gzip", "gzip"),
        ("GZIP;q=0.5", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, br;q=0.9, zstd;q=0.8", "gzip"),
        ("gzip;q=0.5, br ; q = 0.50", "br"),
        ("gzip;q=0", "identity"),
        ("gzip; q = 0.000, *", "zstd"),
        ("zstd;q=0, *;q=0.1", "br"),
        ("*;q=0", "identity"),
        ("identity, gzip;q=0.5", "identity"),
        ("identity;q=0, gzip;q=0.001", "gzip"),
        ("gzip;q=often, br;level=5", "identity"),
        (",;,=", "identity"),
    ],
)
def test_preferred_coding(header, coding):
    assert preferred_coding(header) == coding
