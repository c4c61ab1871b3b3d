"""Money moves only in balanced entries, once per key, and never leaves a wallet below zero."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Sum
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from accounts import ledger, statement
from accounts.ledger import EntryKeyReused, InsufficientFunds, Leg, UnbalancedEntry
from accounts.models import Account, EntryKind, JournalEntry, Posting, Wallet
from tests.factories import StaffFactory, UserFactory, WalletFactory

pytestmark = pytest.mark.django_db

TEN = Decimal(10)


@pytest.fixture
def wallet():
    return WalletFactory(funds=TEN)


def written():
    """Everything that the ledger holds, to compare before and after."""
    return (
        list(JournalEntry.objects.order_by("pk").values()),
        list(Posting.objects.order_by("pk").values()),
        list(Wallet.objects.order_by("pk").values()),
    )


def legs_of(key):
    return list(
        Posting.objects.filter(entry=key)
        .order_by("pk")
        .values_list("account", "wallet", "currency", "amount", "balance_after")
    )


def test_charge_takes_exactly_the_amount(wallet):
    ledger.charge(wallet, Decimal("0.000001"), key="order:1:charge", subject="order:1")

    after = Decimal("9.999999")
    assert wallet.balance == Wallet.objects.get().balance == after
    assert legs_of("order:1:charge") == [
        (Account.WALLET, wallet.pk, "USD", Decimal("-0.000001"), after),
        (Account.SALES, None, "USD", Decimal("0.000001"), None),
    ]


def test_refund_gives_back_and_says_why(wallet):
    staff = StaffFactory()

    entry = ledger.refund(
        wallet, Decimal(3), key="order:1:refund:1", subject="order:1", reason="late", actor=staff
    )

    assert wallet.balance == 13
    assert legs_of(entry.pk) == [
        (Account.WALLET, wallet.pk, "USD", 3, 13),
        (Account.SALES, None, "USD", -3, None),
    ]
    entry = JournalEntry.objects.get(pk=entry.pk)
    assert (entry.kind, entry.subject, entry.reason, entry.actor) == (
        EntryKind.REFUND,
        "order:1",
        "late",
        staff,
    )


def test_adjustment_moves_between_wallet_and_house(wallet):
    ledger.adjust(wallet, Decimal(-4), key="adjustment:x", reason="mistake", actor=None)

    assert wallet.balance == 6
    assert legs_of("adjustment:x") == [
        (Account.WALLET, wallet.pk, "USD", -4, 6),
        (Account.ADJUSTMENTS, None, "USD", 4, None),
    ]


def test_charge_beyond_the_balance_is_refused(wallet):
    before = written()

    with pytest.raises(InsufficientFunds) as refusal:
        ledger.charge(wallet, Decimal("10.000001"), key="order:1:charge", subject="order:1")

    assert (refusal.value.required, refusal.value.available, refusal.value.currency) == (
        Decimal("10.000001"),
        TEN,
        "USD",
    )
    assert written() == before
    assert wallet.balance == TEN


def test_wallet_can_be_emptied_to_the_last_millionth(wallet):
    ledger.charge(wallet, TEN, key="order:1:charge", subject="order:1")

    assert Wallet.objects.get().balance == 0


@pytest.mark.parametrize("amount", ["0", "-1", "NaN", "sNaN", "Infinity"])
@pytest.mark.parametrize("movement", [ledger.charge, ledger.refund])
def test_charge_and_refund_never_go_backwards(wallet, movement, amount):
    before = written()

    with pytest.raises(UnbalancedEntry):
        movement(wallet, Decimal(amount), key="order:1:charge", subject="order:1")

    assert written() == before


@pytest.mark.parametrize("amount", ["0", "NaN", "Infinity", "-Infinity"])
def test_adjustment_by_no_number_is_refused(wallet, amount):
    before = written()

    with pytest.raises(UnbalancedEntry):
        ledger.adjust(wallet, Decimal(amount), key="adjustment:1", reason="test", actor=None)

    assert written() == before


def test_amount_finer_than_a_millionth_is_refused(wallet):
    before = written()

    with pytest.raises(ValueError, match="decimals"):
        ledger.charge(wallet, Decimal("0.0000001"), key="order:1:charge", subject="order:1")

    assert written() == before
    assert wallet.balance == TEN


def test_repeat_of_a_key_returns_the_entry_and_moves_nothing(wallet):
    first = ledger.charge(wallet, Decimal(4), key="order:1:charge", subject="order:1")
    stale = Wallet(pk=wallet.pk, user=wallet.user, currency="USD", balance=TEN)
    before = written()

    second = ledger.charge(stale, Decimal(4), key="order:1:charge", subject="order:1")

    assert (second, stale.balance) == (first, 6)
    assert written() == before


def test_key_with_another_amount_is_refused(wallet):
    ledger.charge(wallet, Decimal(4), key="order:1:charge", subject="order:1")
    before = written()

    with pytest.raises(EntryKeyReused):
        ledger.charge(wallet, Decimal(5), key="order:1:charge", subject="order:1")

    assert written() == before


def test_key_with_another_wallet_is_refused(wallet):
    ledger.charge(wallet, Decimal(4), key="order:1:charge", subject="order:1")
    other = WalletFactory(funds=TEN)
    before = written()

    with pytest.raises(EntryKeyReused):
        ledger.charge(other, Decimal(4), key="order:1:charge", subject="order:1")

    assert written() == before


@pytest.mark.parametrize(
    "amounts",
    [[], [(1, "USD")], [(1, "USD"), (-2, "USD")], [(1, "USD"), (-1, "XAF")], [(0, "USD")]],
)
def test_legs_that_do_not_balance_are_refused(amounts):
    legs = [Leg(Decimal(amount), currency, Account.SALES) for amount, currency in amounts]

    with pytest.raises(UnbalancedEntry):
        ledger.post(key="test:1", kind=EntryKind.ADJUSTMENT, legs=legs)

    assert written() == ([], [], [])


def test_leg_in_another_currency_than_its_wallet_is_refused(wallet):
    before = written()

    with pytest.raises(UnbalancedEntry):
        ledger.post(
            key="test:1",
            kind=EntryKind.ADJUSTMENT,
            legs=[Leg(TEN, "XAF", wallet=wallet), Leg(-TEN, "XAF", Account.SALES)],
        )

    assert written() == before


def test_leg_without_account_or_with_two_is_refused(wallet):
    before = written()

    for odd in (Leg(TEN, "USD"), Leg(TEN, "USD", Account.SALES, wallet)):
        with pytest.raises(UnbalancedEntry):
            ledger.post(
                key="test:1",
                kind=EntryKind.ADJUSTMENT,
                legs=[odd, Leg(-TEN, "USD", Account.SALES)],
            )

    assert written() == before


def test_failed_movement_leaves_the_callers_transaction_usable(wallet):
    with transaction.atomic():
        with pytest.raises(InsufficientFunds):
            ledger.charge(wallet, Decimal(11), key="order:1:charge", subject="order:1")
        ledger.charge(wallet, Decimal(1), key="order:2:charge", subject="order:2")

    assert Wallet.objects.get().balance == 9


def test_wallet_of_opens_an_empty_wallet_once():
    customer = UserFactory()

    opened = [ledger.wallet_of(customer, "XAF") for _ in range(2)]

    assert opened[0] == opened[1] == Wallet.objects.get()
    assert opened[0].balance == 0


def test_wallet_of_refuses_a_currency_that_no_wallet_holds():
    with pytest.raises(ValueError, match="EUR"):
        ledger.wallet_of(UserFactory(), "EUR")

    assert not Wallet.objects.exists()


def test_movement_takes_few_queries(wallet, django_assert_num_queries):
    # Savepoint, lock, key, balance, postings, entry, release.
    with django_assert_num_queries(7):
        ledger.charge(wallet, Decimal(1), key="order:1:charge", subject="order:1")


movements = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.decimals(min_value=Decimal("-9.9"), max_value=Decimal("9.9"), places=6),
    ).filter(lambda movement: movement[1]),
    min_size=1,
    max_size=12,
)


class TestAnyMovements(TestCase):
    @settings(max_examples=40, deadline=None)
    @given(movements)
    def test_balance_is_the_sum_of_the_postings_and_the_last_balance_after(self, moves):
        wallets = [WalletFactory(funds=0) for _ in range(3)]
        for number, (which, amount) in enumerate(moves):
            wallet = wallets[which]
            expected = wallet.balance + amount
            try:
                ledger.adjust(wallet, amount, key=f"move:{number}", reason="any", actor=None)
            except InsufficientFunds:
                assert expected < 0
            else:
                assert wallet.balance == expected >= 0

        for wallet in Wallet.objects.all():
            postings = statement.transactions(wallet)
            last = postings.first()
            assert wallet.balance == postings.aggregate(sum=Sum("amount", default=0))["sum"]
            assert wallet.balance == (last.balance_after if last else 0)
        assert Posting.objects.aggregate(sum=Sum("amount", default=0))["sum"] == 0


# --- what the databases themselves refuse, whoever writes ----------------------------------------

POSTING = (
    "INSERT INTO accounts_posting (entry_id, account, wallet_id, currency, amount, balance_after)"
    " VALUES (%s, %s, %s, %s, %s, %s)"
)
ENTRY = (
    "INSERT INTO accounts_journalentry (key, kind, subject, reason, created_at)"
    " VALUES (%s, 'adjustment', '', '', CURRENT_TIMESTAMP)"
)


def run(*statements):
    """Raw SQL in one transaction: no rule of ours stands between it and the database."""
    with transaction.atomic(), connection.cursor() as cursor:
        for sql, *params in statements:
            cursor.execute(sql, params)


@pytest.fixture
def sealed(transactional_db):
    """A wallet with 10 USD and the key of the entry that put them there."""
    wallet = WalletFactory(funds=TEN)
    return wallet, JournalEntry.objects.get().pk


def test_database_takes_a_balanced_entry(sealed):
    run(
        (POSTING, "raw", "sales", None, "USD", 5, None),
        (POSTING, "raw", "adjustments", None, "USD", -5, None),
        (ENTRY, "raw"),
    )

    assert [leg[3] for leg in legs_of("raw")] == [Decimal("0.000005"), Decimal("-0.000005")]


@pytest.mark.parametrize(
    "postings",
    [
        [],
        [("sales", "USD", 5)],
        [("sales", "USD", 5), ("adjustments", "USD", -4)],
        [("sales", "USD", 5), ("adjustments", "XAF", -5)],
    ],
)
def test_database_refuses_an_unbalanced_entry(sealed, postings):
    before = written()

    with pytest.raises(IntegrityError, match="does not balance"):
        run(
            *(
                (POSTING, "raw", account, None, currency, n, None)
                for account, currency, n in postings
            ),
            (ENTRY, "raw"),
        )

    assert written() == before


@pytest.mark.parametrize("amounts", [[5], [5, -5]])
def test_database_refuses_postings_without_an_entry(sealed, amounts):
    before = written()

    with pytest.raises(IntegrityError):
        run(*((POSTING, "raw", "sales", None, "USD", amount, None) for amount in amounts))

    assert written() == before


def test_database_refuses_postings_to_a_sealed_entry(sealed):
    _wallet, key = sealed
    before = written()

    with pytest.raises(IntegrityError, match="sealed"):
        run(
            (POSTING, key, "sales", None, "USD", 5, None),
            (POSTING, key, "sales", None, "USD", -5, None),
        )

    assert written() == before


def test_database_refuses_a_posting_in_another_currency_than_its_wallet(sealed):
    wallet, _key = sealed
    before = written()

    with pytest.raises(IntegrityError, match="currency"):
        run(
            (POSTING, "raw", "wallet", wallet.pk, "XAF", 5, 10_000_005),
            (POSTING, "raw", "sales", None, "XAF", -5, None),
            (ENTRY, "raw"),
        )

    assert written() == before


@pytest.mark.parametrize(
    ("account", "names_wallet", "after"),
    [("wallet", False, 5), ("wallet", True, None), ("wallet", True, -5), ("sales", True, 5)],
)
def test_database_refuses_a_posting_that_names_its_account_badly(
    sealed, account, names_wallet, after
):
    wallet, _key = sealed
    before = written()

    with pytest.raises(IntegrityError, match="posting_wallet_named"):
        run((POSTING, "raw", account, wallet.pk if names_wallet else None, "USD", 5, after))

    assert written() == before


def test_database_refuses_a_posting_of_nothing(sealed):
    with pytest.raises(IntegrityError, match="posting_moves_something"):
        run((POSTING, "raw", "sales", None, "USD", 0, None), (ENTRY, "raw"))


def test_database_refuses_a_negative_wallet(sealed):
    before = written()

    with pytest.raises(IntegrityError, match="wallet_never_negative"):
        run(("UPDATE accounts_wallet SET balance = balance - 10000001",))

    assert written() == before


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE accounts_journalentry SET reason = 'other'",
        "DELETE FROM accounts_journalentry",
        "UPDATE accounts_posting SET amount = amount * 2",
        "DELETE FROM accounts_posting",
    ],
)
def test_database_refuses_to_change_what_was_written(sealed, sql):
    before = written()

    with pytest.raises(IntegrityError, match="append-only"):
        run((sql,))

    assert written() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda: Posting.objects.update(amount=1),
        lambda: JournalEntry.objects.update(reason="other"),
        lambda: Posting.objects.all().delete(),
        lambda: Posting.objects.first().save(),
    ],
)
def test_orm_cannot_change_what_was_written(sealed, change):
    before = written()

    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        change()

    assert written() == before


def test_ledger_cannot_be_emptied_or_replaced(sealed):
    _wallet, key = sealed
    before = written()
    posting = Posting.objects.first().pk
    if connection.vendor == "postgresql":
        attempts = [
            ("TRUNCATE accounts_posting",),
            ("TRUNCATE accounts_journalentry CASCADE",),
        ]
    else:
        attempts = [
            (ENTRY.replace("INSERT", "INSERT OR REPLACE"), key),
            (
                "INSERT OR REPLACE INTO accounts_posting (id, entry_id, account, currency, amount)"
                " VALUES (%s, 'raw', 'sales', 'USD', 5)",
                posting,
            ),
        ]

    for attempt in attempts:
        with pytest.raises(IntegrityError, match="append-only"):
            run(attempt)

    assert written() == before
