"""Twins: the accounts with play money that sandbox keys act for."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction
from django.urls import reverse

from accounts import ledger, low_marks, triggers, twins
from accounts.ledger import Leg
from accounts.models import Account, EntryKind, JournalEntry, Posting, User, Wallet
from accounts.statement import Holdings, holdings, sales_since
from tests.books import breaches
from tests.factories import StaffFactory, UserFactory, WalletFactory, fund

pytestmark = pytest.mark.django_db


def balances(user: User) -> dict[str, Decimal]:
    return dict(Wallet.objects.filter(user=user).values_list("currency", "balance"))


def in_account(account: str) -> Decimal:
    return sum(Posting.objects.filter(account=account).values_list("amount", flat=True), Decimal(0))


def test_twin_is_made_once_and_funded() -> None:
    user = UserFactory(currency="TRY", language="tr", time_zone="Europe/Istanbul")

    twin = twins.twin_of(user)

    assert twins.twin_of(User.objects.get(pk=user.pk)) == twin == user.sandbox_twin
    assert (twin.currency, twin.language, twin.time_zone) == ("TRY", "tr", "Europe/Istanbul")
    assert balances(twin) == {"USD": 1_000, "XAF": 600_000, "TRY": 40_000}
    assert balances(user) == {}
    assert breaches() == []


def test_marks_of_wallets_hold_for_a_twin_that_is_made_later() -> None:
    user = UserFactory()
    low_marks.set_marks(user, {"USD": Decimal("2.5"), "XAF": Decimal(1000)})

    twin = twins.twin_of(user)

    assert low_marks.marks_of(twin) == {"USD": Decimal("2.5"), "XAF": Decimal(1000)}


def test_nobody_can_sign_in_as_a_twin() -> None:
    twin = twins.twin_of(UserFactory())

    assert not twin.has_usable_password()
    assert not twin.is_staff
    assert twin.email.endswith("@sandbox.invalid")


def test_twin_has_no_twin() -> None:
    twin = twins.twin_of(UserFactory())

    with pytest.raises(ValueError, match="twin"):
        twins.twin_of(twin)

    assert User.objects.count() == 2


def test_refill_sets_the_balances_back_up_and_down() -> None:
    user = UserFactory()
    twin = twins.twin_of(user)
    for currency, amount in (("USD", -400), ("TRY", 5)):
        ledger.play(ledger.wallet_of(twin, currency), Decimal(amount))
    entries = JournalEntry.objects.count()

    assert twins.refill(user) == twin

    assert balances(twin) == dict(twins.FUNDS)
    assert JournalEntry.objects.count() == entries + 2
    assert breaches() == []


def test_first_refill_makes_the_twin() -> None:
    assert balances(twins.refill(UserFactory())) == dict(twins.FUNDS)


def test_play_money_is_in_no_real_figure() -> None:
    wallet = WalletFactory(funds=7)
    twin = twins.twin_of(wallet.user)
    before = in_account(Account.ADJUSTMENTS)

    # By hand, too.
    fund(ledger.wallet_of(twin, "USD"), 3)

    assert holdings() == [Holdings("USD", Decimal(7), 1)]
    assert in_account(Account.ADJUSTMENTS) == before
    assert in_account(Account.PLAY) == -sum(balances(twin).values())
    assert sales_since(wallet.user.date_joined) == []


@pytest.mark.parametrize("account", sorted(set(Account) - {Account.WALLET, Account.PLAY}))
def test_database_refuses_real_money_for_a_twin(account: str) -> None:
    wallet = ledger.wallet_of(twins.twin_of(UserFactory()), "USD")

    with pytest.raises(IntegrityError), transaction.atomic():
        move(wallet, account)

    wallet.refresh_from_db()
    assert wallet.balance == 1_000


def test_database_refuses_play_money_for_a_customer() -> None:
    wallet = WalletFactory()
    twins_wallet = ledger.wallet_of(twins.twin_of(wallet.user), "USD")

    for legs in (
        [Leg(Decimal(1), "USD", wallet=wallet), Leg(Decimal(-1), "USD", Account.PLAY)],
        [Leg(Decimal(1), "USD", wallet=wallet), Leg(Decimal(-1), "USD", wallet=twins_wallet)],
        [Leg(Decimal(1), "USD", Account.SALES), Leg(Decimal(-1), "USD", Account.PLAY)],
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            ledger.post(key="mixed", kind=EntryKind.ADJUSTMENT, legs=legs)

    wallet.refresh_from_db()
    assert wallet.balance == 100


def test_audit_finds_mixed_money() -> None:
    wallet = ledger.wallet_of(twins.twin_of(UserFactory()), "USD")
    with connection.cursor() as cursor:
        table = " ON accounts_journalentry" if connection.vendor == "postgresql" else ""
        cursor.execute(f"DROP TRIGGER ledger_play_apart{table}")
    assert triggers.missing(connection) == ["ledger_play_apart"]

    move(wallet, Account.SALES)

    assert [(each.rule, each.subject) for each in breaches()] == [
        ("trigger_missing", "ledger_play_apart"),
        ("play_money_mixed", "mixed"),
    ]


def move(wallet: Wallet, account: str) -> None:
    legs = [Leg(Decimal(1), "USD", wallet=wallet), Leg(Decimal(-1), "USD", account)]
    ledger.post(key="mixed", kind=EntryKind.ADJUSTMENT, legs=legs)


@pytest.mark.parametrize(
    ("page", "mine"),
    [("accounts_wallet", "real@example.com"), ("accounts_posting", "real@example.com")],
)
def test_staff_see_play_money_when_they_ask_for_it(client, page: str, mine: str) -> None:
    client.force_login(StaffFactory())
    wallet = WalletFactory(user=UserFactory(email=mine))
    twin = twins.twin_of(wallet.user)
    url = reverse(f"admin:{page}_changelist")

    real, play, both = (
        client.get(url, {"money": kind} if kind else {}).content.decode()
        for kind in ("", "play", "all")
    )

    assert (mine in real, twin.email in real) == (True, False)
    assert (mine in play, twin.email in play) == (False, True)
    assert (mine in both, twin.email in both) == (True, True)
