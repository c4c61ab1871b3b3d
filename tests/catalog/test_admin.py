"""The staff's pages of the catalogue, as a superuser uses them."""

from __future__ import annotations

import re
from decimal import Decimal
from html import unescape

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import Alert
from catalog import health
from catalog.admin.providers import _condition as provider_condition
from catalog.models import (
    Breaker,
    Category,
    ManualPrice,
    Network,
    Provider,
    Service,
    Substitute,
    SyncRecord,
)
from catalog.order_types import ServiceType
from tests.factories import (
    CategoryFactory,
    ExchangeRateFactory,
    ManualPriceFactory,
    OrderFactory,
    ProviderFactory,
    ServiceFactory,
    StaffFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(StaffFactory())
    return client


def page(name: str, *args: object) -> str:
    return reverse(f"admin:catalog_{name}", args=args)


def told(response) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


def errors(response) -> dict[str, list[str]]:
    return response.context["adminform"].form.errors


def rows(response) -> list[object]:
    return list(response.context["cl"].result_list)


LISTS = ["provider", "category", "service", "syncrecord"]


def make_rows(count: int) -> None:
    ExchangeRateFactory()
    for service in ServiceFactory.create_batch(count):
        ManualPriceFactory(service=service)
        SyncRecord.objects.create(provider=service.provider, outcome="changed")


@pytest.mark.parametrize("model", LISTS)
def test_lists_take_a_fixed_number_of_queries(staff, model):
    taken = {}
    for count in (1, 3):
        make_rows(count - Service.objects.count())
        staff.get(page(f"{model}_changelist"))
        with CaptureQueriesContext(connection) as queries:
            response = staff.get(page(f"{model}_changelist"))
        assert len(rows(response)) == count
        taken[count] = len(queries)

    assert taken[1] == taken[3]


@pytest.mark.parametrize("model", LISTS)
def test_lists_can_be_searched_and_filtered_and_are_for_staff_only(staff, model):
    make_rows(1)

    assert staff.get(page(f"{model}_changelist"), {"q": "insta 1 ★"}).status_code == 200
    customer = Client()
    customer.force_login(UserFactory())
    assert customer.get(page(f"{model}_changelist")).status_code == 302


# --- providers ---------------------------------------------------------------------------------

PROVIDER = {
    "name": "Upstream",
    "dialect": "panel",
    "base_url": "https://panel.example.com/api/v2",
    "new_api_key": "the-key",
    "currency": "USD",
    "markup_percent": "",
    "connect_timeout": "10",
    "read_timeout": "60",
    "enabled": "on",
}


def test_a_provider_is_added_with_its_key(staff):
    response = staff.post(page("provider_add"), PROVIDER)

    assert response.status_code == 302
    assert Provider.objects.get().api_key == "the-key"


def test_a_provider_needs_a_key(staff):
    response = staff.post(page("provider_add"), {**PROVIDER, "new_api_key": ""})

    assert errors(response) == {"new_api_key": ["This field is required."]}
    assert not Provider.objects.exists()


@pytest.mark.parametrize(("typed", "kept"), [("", "upstream-key"), ("new-key", "new-key")])
def test_a_provider_keeps_its_key_until_a_new_one_is_typed(staff, typed, kept):
    provider = ProviderFactory()

    staff.post(
        page("provider_change", provider.pk), {**PROVIDER, "name": "New", "new_api_key": typed}
    )

    provider = Provider.objects.get()
    assert (provider.name, provider.api_key) == ("New", kept)


def test_no_page_shows_the_key(staff):
    provider = ProviderFactory(api_key="do-not-show-me")

    for url in (
        page("provider_changelist"),
        page("provider_change", provider.pk),
        page("provider_history", provider.pk),
    ):
        assert "do-not-show-me" not in staff.get(url).content.decode()


def test_a_provider_whose_key_cannot_be_read_can_be_given_a_new_one(staff, settings):
    provider = ProviderFactory()
    settings.ENCRYPTION_KEYS = ["bmV3LWtleS1uZXcta2V5LW5ldy1rZXktbmV3LWtleS0="]

    assert staff.get(page("provider_changelist")).status_code == 200
    response = staff.post(page("provider_test_connection", provider.pk), {"_form_submitted": "1"})
    assert told(response) == [f"{provider.name}: SecretUnreadable: catalog.Provider.api_key"]

    refused = staff.post(
        page("provider_change", provider.pk), {**PROVIDER, "name": "New", "new_api_key": ""}
    )
    assert errors(refused).keys() == {"new_api_key"}
    assert Provider.objects.get().name == provider.name

    staff.post(page("provider_change", provider.pk), PROVIDER)
    assert Provider.objects.get().api_key == "the-key"


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": "ftp://panel.example.com"},
        {"base_url": "not an address"},
        {"base_url": ""},
        {"base_url": "https://" + "x" * 300},
        {"currency": "usd"},
        {"currency": "US"},
        {"connect_timeout": "0"},
        {"read_timeout": "121"},
        {"read_timeout": "x"},
        {"markup_percent": "-100"},
        {"markup_percent": "1.234"},
        {"markup_percent": "NaN"},
        {"dialect": "other"},
        {"name": ""},
        {"name": "a\x00b"},
    ],
)
def test_a_provider_with_a_bad_value_is_refused(staff, changes):
    response = staff.post(page("provider_add"), {**PROVIDER, **changes})

    assert errors(response).keys() == changes.keys()
    assert not Provider.objects.exists()


ACTIONS = ["sync_now", "accept_shorter_list", "test_connection"]


@pytest.mark.parametrize("action", ACTIONS)
def test_opening_a_buttons_dialog_does_nothing_yet(staff, sandbox, action):
    provider = sandbox.provider()

    response = staff.get(page(f"provider_{action}", provider.pk))

    assert response.status_code == 200
    assert not sandbox.calls
    assert not Service.objects.exists()


@pytest.mark.parametrize("action", ACTIONS)
def test_the_buttons_of_an_unknown_provider_lead_back(staff, action):
    response = staff.post(page(f"provider_{action}", 12345), {"_form_submitted": "1"})

    assert response.url == page("provider_changelist")


def press(staff: Client, action: str, provider: Provider):
    return staff.post(page(f"provider_{action}", provider.pk), {"_form_submitted": "1"})


def choose(staff: Client, model: str, action: str, *objects: object):
    return staff.post(
        page(f"{model}_changelist"),
        {"action": action, "_selected_action": [str(chosen.pk) for chosen in objects]},
    )


def test_sync_now_stores_the_list_and_tells_the_counts(staff, sandbox):
    provider = sandbox.provider()

    response = press(staff, "sync_now", provider)

    count = Service.objects.count()
    assert response.url == page("provider_change", provider.pk)
    assert told(response) == [
        f"{provider.name}: Changed. {count} listed, {count} added, 0 changed, 0 disabled, "
        "0 enabled again, 0 refused."
    ]
    again = choose(staff, "provider", "sync_selected", provider)
    assert told(again)[-1].startswith(f"{provider.name}: Unchanged.")


def test_a_button_pressed_in_a_dialog_reloads_the_page(staff, sandbox):
    provider = sandbox.provider()

    response = staff.post(
        page("provider_test_connection", provider.pk),
        {"_form_submitted": "1"},
        headers={"HX-Request": "true"},
    )

    assert response.headers["HX-Redirect"] == page("provider_change", provider.pk)


def test_a_sync_that_fails_is_told(staff, sandbox):
    provider = sandbox.provider()
    sandbox.stop()

    response = press(staff, "sync_now", provider)

    [message] = told(response)
    assert message.startswith(f"{provider.name}: nothing was changed. ProviderUnreachable: ")
    assert not Service.objects.exists()


def test_a_held_list_is_told_and_can_be_accepted(staff, sandbox):
    provider = sandbox.provider()
    press(staff, "sync_now", provider)
    listed = Service.objects.count()
    for number in range(listed):
        ServiceFactory(
            provider=provider, category=Category.objects.first(), external_id=f"gone{number}"
        )

    held = choose(staff, "provider", "sync_selected", provider)

    assert told(held)[-1] == (
        f"{provider.name}: held, because {listed} services are missing from the list; nothing was "
        "changed. If that is right, sync again and accept the shorter list."
    )
    assert Service.objects.filter(vanished_at=None).count() == 2 * listed
    assert Alert.objects.get(resolved_at=None).code == "sync_held"

    press(staff, "accept_shorter_list", provider)

    assert Service.objects.filter(vanished_at=None).count() == listed
    assert not Alert.objects.filter(resolved_at=None).exists()


@pytest.mark.parametrize("pressed", [True, False], ids=["button", "list action"])
def test_test_connection_tells_the_balance(staff, sandbox, pressed):
    provider = sandbox.provider()
    sandbox.set_balance("12.50")

    if pressed:
        response = press(staff, "test_connection", provider)
    else:
        response = choose(staff, "provider", "test_selected", provider)

    assert told(response) == [f"{provider.name}: connected. Balance: 12.5 USD."]


def test_test_connection_tells_of_another_currency(staff, sandbox):
    provider = sandbox.provider(currency="EUR")
    sandbox.set_balance("12.50")

    response = press(staff, "test_connection", provider)

    assert told(response) == [
        f"{provider.name}: connected, but the account there is in USD, not EUR (balance 12.5 USD)."
    ]


def test_test_connection_tells_a_refusal_without_the_key(staff, sandbox):
    provider = sandbox.provider(api_key="wrong-key")

    response = press(staff, "test_connection", provider)

    [message] = told(response)
    assert message.startswith(f"{provider.name}: ProviderRefused: ")
    assert "wrong-key" not in message


# --- categories --------------------------------------------------------------------------------


def test_a_category_can_be_added_and_changed_but_not_its_source_name(staff):
    staff.post(
        page("category_add"),
        {"source_name": "Ours", "name": "", "network": "tiktok", "position": "1", "enabled": "on"},
    )
    category = Category.objects.get()
    service = ServiceFactory(category=category, provider_name="Likes")

    staff.post(
        page("category_change", category.pk),
        {"source_name": "X", "name": "Shown", "network": "youtube", "position": "5"},
    )

    category.refresh_from_db()
    assert (category.source_name, category.name, category.network) == (
        "Ours",
        "Shown",
        Network.YOUTUBE,
    )
    assert (category.position, category.enabled) == (5, False)
    service.refresh_from_db()
    assert service.search_text == "likes shown youtube"


def test_order_and_visibility_are_edited_in_the_list(staff):
    category = CategoryFactory(position=1)

    response = staff.post(
        page("category_changelist"),
        {
            "form-TOTAL_FORMS": "1",
            "form-INITIAL_FORMS": "1",
            "form-0-id": str(category.pk),
            "form-0-position": "7",
            "_save": "Save",
        },
    )

    assert response.status_code == 302
    category.refresh_from_db()
    assert (category.position, category.enabled) == (7, False)


def test_the_category_list_tells_how_many_services_can_be_ordered(staff):
    category = CategoryFactory()
    ServiceFactory.create_batch(2, category=category)
    ServiceFactory(category=category, disabled_by_staff=True)

    [row] = rows(staff.get(page("category_changelist")))

    assert row.orderable == 2


# --- services ----------------------------------------------------------------------------------

NO_PRICES = {
    "manual_prices-TOTAL_FORMS": "0",
    "manual_prices-INITIAL_FORMS": "0",
    "substitutes-TOTAL_FORMS": "0",
    "substitutes-INITIAL_FORMS": "0",
}


def service_form(service: Service, **changes: str) -> dict[str, str]:
    return {
        "name": service.name,
        "category": str(service.category_id),
        "link_target": service.link_target,
        "same_link": service.same_link,
        "refill_by": service.refill_by,
        "refill_days": "" if service.refill_days is None else str(service.refill_days),
        "dripfeed_by": service.dripfeed_by,
        "type": service.type,
        "position": str(service.position),
        "description": service.description,
        "average_time": service.average_time,
        "markup_percent": "",
        **NO_PRICES,
        **changes,
    }


def test_the_list_shows_prices_costs_and_margins_in_every_currency(staff):
    ExchangeRateFactory(rate=Decimal(600))
    service = ServiceFactory(name="Our followers", provider_name="Their followers")
    ManualPriceFactory(service=service, currency="USD", rate=Decimal("2.5"))

    text = unescape(staff.get(page("service_changelist")).content.decode())

    for shown in (
        "Our followers",
        "Their followers",
        f"{service.provider.name} · {service.external_id}",
        "1 USD",
        "780",
        "cost 600 · +30.0 %",
        "2.5",
        "cost 1 · +150.0 %",
        "On sale",
    ):
        assert shown in text


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, "On sale"),
        ({"vanished_at": timezone.now()}, "Vanished"),
        ({"disabled_by_staff": True}, "Disabled by us"),
        ({"type": ServiceType.UNKNOWN}, "Type is not sold"),
        ({"provider_rate": None}, "No rate or limits"),
        ({"category__enabled": False}, "Provider or category disabled"),
        ({"provider__enabled": False}, "Provider or category disabled"),
    ],
)
def test_a_service_tells_why_it_is_not_on_sale(staff, changes, label):
    service = ServiceFactory(**changes)

    text = staff.get(page("service_change", service.pk)).content.decode()
    assert re.search(rf">\s*{label}\s*<", text)
    assert staff.get(page("service_changelist")).status_code == 200


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"q": "takipci"}, {"takip"}),
        ({"q": "supplier"}, {"views"}),
        ({"q": "ext-77"}, {"views"}),
        ({"q": "takipci supplier"}, set()),
        ({"q": "9" * 40}, set()),
        ({"state": "on_sale"}, {"takip"}),
        ({"state": "off_sale"}, {"views", "gone"}),
        ({"state": "unknown"}, {"views"}),
        ({"state": "disabled"}, {"views"}),
        ({"state": "vanished"}, {"gone"}),
        ({"state": "nonsense"}, {"takip", "views", "gone"}),
        ({"category__network__exact": "tiktok"}, {"views"}),
    ],
)
def test_services_are_searched_and_filtered(staff, query, expected):
    ServiceFactory(name="takip", provider_name="Takipçi Türk", category__source_name="Takipçi")
    ServiceFactory(
        name="views",
        provider_name="Supplier's",
        external_id="ext-77",
        type=ServiceType.UNKNOWN,
        disabled_by_staff=True,
        category__network=Network.TIKTOK,
    )
    ServiceFactory(name="gone", vanished_at=timezone.now())

    found = rows(staff.get(page("service_changelist"), query))

    assert {service.name for service in found} == expected


def test_services_are_found_by_id_and_by_category(staff):
    first = ServiceFactory(provider_name="Likes", category__source_name="A", external_id="x")
    second = ServiceFactory(provider_name="Likes", category__source_name="B", external_id="x")

    by_id = staff.get(page("service_changelist"), {"q": str(second.pk)})
    by_category = staff.get(
        page("service_changelist"), {"category__id__exact": str(first.category_id)}
    )

    assert rows(by_id) == [second]
    assert rows(by_category) == [first]


def test_staff_edit_their_columns_and_nothing_else(staff):
    service = ServiceFactory()
    other = CategoryFactory(source_name="Other heading", network=Network.OTHER)

    response = staff.post(
        page("service_change", service.pk),
        service_form(
            service,
            name="Our followers",
            category=str(other.pk),
            markup_percent="12.5",
            disabled_by_staff="on",
            provider_name="Forged",
            provider_rate="0.01",
            min_quantity="1",
        ),
    )

    assert response.status_code == 302
    before = service
    service = Service.objects.get()
    assert (service.name, service.category, service.markup_percent) == (
        "Our followers",
        other,
        Decimal("12.5"),
    )
    assert service.disabled_by_staff
    assert service.search_text == "our followers other heading"
    for column in ("provider_name", "provider_rate", "min_quantity", "external_id"):
        assert getattr(service, column) == getattr(before, column)


def test_saving_a_service_does_not_undo_a_sync_that_came_between(staff, monkeypatch):
    service = ServiceFactory()
    save = Service.save

    def save_after_a_sync(self, *args, **kwargs):
        Service.objects.filter(pk=self.pk).update(provider_rate=Decimal(7))
        save(self, *args, **kwargs)

    monkeypatch.setattr(Service, "save", save_after_a_sync)

    staff.post(page("service_change", service.pk), service_form(service, name="Ours"))

    service = Service.objects.get()
    assert (service.name, service.provider_rate) == ("Ours", Decimal(7))


def test_manual_prices_are_set_beside_the_service(staff):
    service = ServiceFactory()

    staff.post(
        page("service_change", service.pk),
        service_form(
            service,
            **{
                "manual_prices-TOTAL_FORMS": "1",
                "manual_prices-0-service": str(service.pk),
                "manual_prices-0-currency": "TRY",
                "manual_prices-0-rate": "12.34",
            },
        ),
    )

    assert ManualPrice.objects.values_list("service", "currency", "rate").get() == (
        service.pk,
        "TRY",
        Decimal("12.34"),
    )


@pytest.mark.parametrize("rate", ["0", "-1", "12.345", "x", "1e30", "NaN"])
def test_a_bad_manual_price_is_refused(staff, rate):
    service = ServiceFactory()

    response = staff.post(
        page("service_change", service.pk),
        service_form(
            service,
            name="Changed",
            **{
                "manual_prices-TOTAL_FORMS": "1",
                "manual_prices-0-service": str(service.pk),
                "manual_prices-0-currency": "TRY",
                "manual_prices-0-rate": rate,
            },
        ),
    )

    assert response.status_code == 200
    assert response.context["inline_admin_formsets"][0].formset.errors[0].keys() == {"rate"}
    assert not ManualPrice.objects.exists()
    service.refresh_from_db()
    assert service.name == ""


def test_services_come_and_go_only_by_sync(staff):
    service = ServiceFactory()

    assert staff.get(page("service_add")).status_code == 403
    assert staff.post(page("service_delete", service.pk), {"post": "yes"}).status_code == 403
    assert Service.objects.count() == 1


def test_list_actions_take_services_off_sale_and_put_them_back(staff):
    chosen = ServiceFactory.create_batch(2)
    other = ServiceFactory()

    response = choose(staff, "service", "disable", *chosen)

    assert told(response) == ["2 services were changed."]
    disabled = Service.objects.filter(disabled_by_staff=True)
    assert set(disabled) == set(chosen)
    assert not other.disabled_by_staff

    choose(staff, "service", "enable", chosen[0])

    assert set(disabled.all()) == {chosen[1]}


# --- sync records ------------------------------------------------------------------------------


def test_a_sync_record_is_shown_and_cannot_be_changed(staff):
    record = SyncRecord.objects.create(
        provider=ProviderFactory(),
        outcome="changed",
        added=1,
        details={"added": ["7 · <b>Name</b>"], "refused": ["8: rate 0"]},
    )

    text = staff.get(page("syncrecord_change", record.pk)).content.decode()

    assert "<li>7 · &lt;b&gt;Name&lt;/b&gt;</li>" in text
    assert "<li>8: rate 0</li>" in text
    assert re.search(r">\s*Changed\s*<", text)
    assert staff.post(page("syncrecord_change", record.pk), {"added": "9"}).status_code == 403
    assert staff.post(page("syncrecord_delete", record.pk), {"post": "yes"}).status_code == 403
    assert staff.get(page("syncrecord_add")).status_code == 403


# --- how a provider is doing ---------------------------------------------------------------------


def act(staff: Client, action: str, provider: Provider, reason: str = "they asked us to"):
    return staff.post(page(f"provider_{action}", provider.pk), {"reason": reason})


def test_page_of_a_provider_tells_times_as_text(staff):
    provider = ProviderFactory(balance=Decimal(7))
    Provider.objects.update(balance_at=timezone.now(), funds_wait_until=timezone.now())

    text = staff.get(page("provider_change", provider.pk)).content.decode()

    assert "7 USD (<span" in text
    assert "is tried again: <span" in text
    assert "&lt;span" not in text


def test_staff_interrupt_a_provider_and_let_it_go_on(staff):
    provider = ProviderFactory()

    response = act(staff, "interrupt", provider)
    assert response.url == page("provider_change", provider.pk)
    provider.refresh_from_db()
    assert provider.breaker == Breaker.OPEN
    assert provider.breaker_reason.endswith(": they asked us to")
    shown = staff.get(page("provider_change", provider.pk)).content.decode()
    assert "they asked us to" in shown
    assert ("/close_breaker" in shown, "/interrupt" in shown) == (True, False)

    act(staff, "close_breaker", provider)
    provider.refresh_from_db()
    assert (provider.breaker, provider.breaker_reason) == (Breaker.CLOSED, "")
    shown = staff.get(page("provider_change", provider.pk)).content.decode()
    assert ("close-breaker" in shown, "/interrupt" in shown) == (False, True)


def test_a_provider_is_not_interrupted_without_a_reason(staff):
    provider = ProviderFactory()

    assert act(staff, "interrupt", provider, reason="").status_code == 200

    provider.refresh_from_db()
    assert provider.breaker == Breaker.CLOSED


def test_closing_a_closed_breaker_is_refused(staff):
    response = act(staff, "close_breaker", ProviderFactory())

    assert response.context["form"].errors == {"__all__": ["The provider is not interrupted."]}


def test_saving_a_provider_leaves_the_machines_columns_alone(staff, monkeypatch):
    provider = ProviderFactory()
    save = Provider.save

    def save_after_the_machine(self, *args, **kwargs):
        health.trip(Provider.objects.get(), "meanwhile")
        Provider.objects.update(balance=Decimal(7), window_calls=3)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Provider, "save", save_after_the_machine)

    staff.post(
        page("provider_change", provider.pk),
        {
            **PROVIDER,
            "maintenance": "on",
            "requests_per_minute": "60",
            "low_balance": "12.5",
            "reconcile_by_ids": "on",
        },
    )

    provider.refresh_from_db()
    assert (provider.name, provider.api_key) == ("Upstream", "the-key")
    assert (provider.maintenance, provider.requests_per_minute) == (True, 60)
    assert (provider.low_balance, provider.reconcile_by_ids) == (Decimal("12.5"), True)
    assert (provider.breaker, provider.balance, provider.window_calls) == (
        Breaker.OPEN,
        Decimal(7),
        3,
    )


@pytest.mark.parametrize(
    ("columns", "word"),
    [
        ({}, "Working"),
        ({"enabled": False}, "Disabled"),
        ({"maintenance": True}, "Maintenance"),
        ({"breaker": Breaker.OPEN}, "Interrupted"),
        ({"breaker": Breaker.PROBING}, "Interrupted"),
        ({"funds_wait_until": timezone.now()}, "Waiting for funds"),
        ({"balance": Decimal(1), "low_balance": Decimal(2)}, "Low balance"),
        ({"balance": Decimal(2), "low_balance": Decimal(2)}, "Working"),
    ],
)
def test_a_provider_shows_how_it_is_doing(staff, columns, word):
    provider = ProviderFactory(**columns)

    [row] = rows(staff.get(page("provider_changelist")))
    shown = staff.get(page("provider_change", provider.pk))

    assert provider_condition(row).label == word
    assert word in unescape(shown.content.decode())


def test_a_provider_shows_what_waits_for_it(staff):
    service = ServiceFactory()
    for _ in range(2):
        OrderFactory(service=service)
    OrderFactory(service=service, send_after=None)

    shown = staff.get(page("provider_change", service.provider_id)).content.decode()

    link = f"provider__id__exact={service.provider_id}&amp;status__exact=pending"
    assert re.search(rf'{link}">(\d+)<', shown)[1] == "2"


# --- how a service's orders are treated ----------------------------------------------------------


def test_staff_set_how_orders_are_treated(staff):
    service = ServiceFactory()
    changes = {
        "link_target": "post",
        "same_link": "refuse",
        "refill_by": "staff",
        "refill_days": "90",
        "dripfeed_by": "ours",
    }

    staff.post(page("service_change", service.pk), service_form(service, **changes))

    service.refresh_from_db()
    assert [str(getattr(service, name)) for name in changes] == list(changes.values())


@pytest.mark.parametrize(
    ("action", "column", "value"),
    [
        ("guarantee_60", "refill_days", 60),
        ("guarantee_endless", "refill_days", None),
        ("same_link_off", "same_link", "off"),
        ("same_link_queue", "same_link", "queue"),
    ],
)
def test_selected_services_are_changed_together(staff, action, column, value):
    chosen, other = ServiceFactory(), ServiceFactory(same_link="refuse")
    before = getattr(other, column)

    response = choose(staff, "service", action, chosen)

    assert told(response) == ["1 service was changed."]
    chosen.refresh_from_db()
    other.refresh_from_db()
    assert (getattr(chosen, column), getattr(other, column)) == (value, before)


def substitute_form(service: Service, substitute: Service) -> dict[str, str]:
    return service_form(
        service,
        **{
            "substitutes-TOTAL_FORMS": "1",
            "substitutes-0-service": str(service.pk),
            "substitutes-0-substitute": str(substitute.pk),
            "substitutes-0-position": "1",
        },
    )


def test_substitutes_are_set_beside_the_service(staff):
    service, substitute = ServiceFactory(), ServiceFactory()

    staff.post(page("service_change", service.pk), substitute_form(service, substitute))

    assert Substitute.objects.values_list("service", "substitute", "position").get() == (
        service.pk,
        substitute.pk,
        1,
    )


def test_unfit_substitutes_are_refused_and_not_offered(staff):
    service = ServiceFactory()
    same_provider = ServiceFactory(provider=service.provider)
    other_type = ServiceFactory(type=ServiceType.PACKAGE)
    fit = ServiceFactory()

    for unfit in (same_provider, other_type):
        response = staff.post(page("service_change", service.pk), substitute_form(service, unfit))
        [_prices, substitutes] = response.context["inline_admin_formsets"]
        assert substitutes.formset.errors[0].keys() == {"substitute"}
    assert not Substitute.objects.exists()

    shown = staff.get(page("service_change", service.pk)).content.decode()
    [address] = set(re.findall(r'data-ajax--url="([^"]*substitute_for[^"]*)"', shown))
    asked = "&app_label=catalog&model_name=substitute&field_name=substitute&term="
    offered = staff.get(unescape(address) + asked).json()["results"]
    assert [row["id"] for row in offered] == [str(fit.pk)]
