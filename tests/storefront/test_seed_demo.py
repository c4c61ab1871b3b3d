"""Demonstration data can be made again and again, gives money once, and stays out of production."""

from __future__ import annotations

import json
from decimal import Decimal
from io import StringIO

import pytest
from allauth.account.models import EmailAddress
from django.core.management import CommandError, call_command
from django.test import Client

from accounts import api_keys, ledger
from accounts.models import ApiKey, ExchangeRate, JournalEntry, Posting, User, Wallet
from catalog.models import Provider, Service, SyncRecord
from catalog.order_types import SOLD_TYPES
from tests.sandbox import SandboxInTest, free_port

# So many that each type is among them.
SERVICES = 100


@pytest.fixture(autouse=True)
def _no_sandbox_runs(settings):
    settings.SANDBOX_PORT = free_port()


@pytest.fixture
def seed(db):
    """Run the command; its JSON."""

    def run(*arguments: str) -> dict:
        out = StringIO()
        call_command("seed_demo", "--json", f"--services={SERVICES}", *arguments, stdout=out)
        return json.loads(out.getvalue())

    return run


def count_rows():
    models = (User, EmailAddress, ApiKey, Wallet, JournalEntry, Posting, ExchangeRate)
    return {model: model.objects.count() for model in (*models, Provider, Service, SyncRecord)}


def test_seed_tells_logins_that_work(seed, client):
    told = seed()

    assert told["staff"]["email"] == "staff@example.com"
    assert [person["email"] for person in told["customers"]] == ["customer@example.com"]
    for person in (told["staff"], *told["customers"]):
        assert Client().login(username=person["email"], password=person["password"])
        assert EmailAddress.objects.get(email=person["email"]).verified
    staff = User.objects.get(pk=told["staff"]["id"])
    customer = User.objects.get(pk=told["customers"][0]["id"])
    assert (staff.is_superuser, staff.is_staff) == (True, True)
    assert (customer.is_superuser, customer.is_staff) == (False, False)


def test_seed_tells_api_keys_that_work_one_for_each_funded_wallet(seed):
    [customer] = seed()["customers"]

    assert {
        currency: (api_keys.authenticate(text, address="").currency, customer["wallets"][currency])
        for currency, text in customer["api_keys"].items()
    } == {
        wallet.currency: (wallet.currency, {"id": wallet.pk, "balance": str(wallet.balance)})
        for wallet in Wallet.objects.filter(user=customer["id"])
    }
    assert {w.currency: w.balance for w in Wallet.objects.filter(user=customer["id"])} == {
        "XAF": Decimal(500_000),
        "TRY": Decimal(25_000),
        "USD": Decimal(1_000),
    }


def test_seed_tells_a_sandbox_key_that_acts_for_the_customers_twin(seed):
    [customer] = seed()["customers"]

    key = api_keys.authenticate(customer["sandbox_key"], address="")

    assert (key.sandbox, key.user.email) == (True, customer["email"])
    assert key.customer.sandbox_of_id == customer["id"]


def test_seed_fills_the_catalogue_with_services_of_every_sold_type(seed):
    told = seed()["services"]

    assert told["orderable"] == Service.objects.orderable().count() > 0
    assert Service.objects.count() == SERVICES
    assert set(told["examples"]) == set(SOLD_TYPES)
    for kind, ids in told["examples"].items():
        assert ids
        assert set(Service.objects.filter(pk__in=ids).values_list("type", flat=True)) == {kind}


def test_seed_again_changes_nothing_and_tells_the_same(seed):
    first, rows = seed("--customers=2"), count_rows()

    assert seed("--customers=2") == first
    assert count_rows() == rows


def test_seed_again_gives_no_spent_money_back(seed):
    [customer] = seed()["customers"]
    wallet = Wallet.objects.get(pk=customer["wallets"]["USD"]["id"])
    ledger.charge(wallet, Decimal(400), key="order:1:charge", subject="order:1")

    [customer] = seed()["customers"]

    assert customer["wallets"]["USD"]["balance"] == "600.000000"


def test_seed_again_makes_a_changed_login_work_as_told(seed):
    [customer] = seed()["customers"]
    user = User.objects.get(pk=customer["id"])
    user.set_password("another password")
    user.save()
    ApiKey.objects.get(currency="USD", sandbox=False).delete()
    api_keys.revoke(ApiKey.objects.get(sandbox=True))
    api_keys.revoke(ApiKey.objects.get(currency="XAF"))

    [again] = seed()["customers"]

    assert again == customer
    assert Client().login(username=customer["email"], password=customer["password"])
    for text in (*customer["api_keys"].values(), customer["sandbox_key"]):
        api_keys.authenticate(text, address="")


def test_seed_makes_more_customers(seed):
    seed()

    told = seed("--customers=3")["customers"]

    assert [person["email"] for person in told] == [
        "customer@example.com",
        "customer2@example.com",
        "customer3@example.com",
    ]
    assert len({text for person in told for text in person["api_keys"].values()}) == 9


def test_seed_keeps_the_exchange_rates_of_staff(seed):
    ExchangeRate.objects.create(base="USD", quote="XAF", rate=Decimal(555))

    seed()

    assert list(ExchangeRate.objects.order_by("quote").values_list("quote", "rate").distinct()) == [
        ("TRY", Decimal(42)),
        ("XAF", Decimal(555)),
    ]


def test_seed_takes_the_catalogue_of_the_sandbox_that_runs(seed, sandbox: SandboxInTest, settings):
    settings.SANDBOX_PORT, settings.SANDBOX_KEY = sandbox.port, sandbox.key

    told = seed()

    assert told["provider"]["base_url"] == sandbox.url
    assert [call["action"] for call in sandbox.calls] == ["services"]
    assert Service.objects.count() != SERVICES


def test_seed_follows_the_sandbox_to_another_port(seed, settings):
    seed()
    settings.SANDBOX_PORT = free_port()

    told = seed()

    assert told["provider"]["base_url"] == f"http://127.0.0.1:{settings.SANDBOX_PORT}/api/v2"
    assert Provider.objects.count() == 1


def test_seed_is_refused_in_production(seed, settings):
    settings.PRODUCTION = True

    with pytest.raises(CommandError, match="no place in production"):
        seed()

    assert set(count_rows().values()) == {0}


@pytest.mark.parametrize("argument", ["--customers=0", "--services=0"])
def test_seed_refuses_nothing_at_all(seed, argument):
    with pytest.raises(CommandError, match="start at 1"):
        seed(argument)

    assert set(count_rows().values()) == {0}


def test_seed_tells_people_in_lines(db):
    out = StringIO()

    call_command("seed_demo", f"--services={SERVICES}", stdout=out)

    staff, customer, *keys, services = out.getvalue().splitlines()
    assert staff.startswith("staff@example.com  demo-")
    assert customer.startswith("customer@example.com  demo-")
    assert [line.split()[:3] for line in keys] == [
        *(["API", "key", currency] for currency in ("XAF", "TRY", "USD")),
        ["Sandbox", "key", "USD"],
    ]
    assert services.endswith("services can be ordered")
