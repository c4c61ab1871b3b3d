"""Amounts are exact in Python and in both databases, or refused."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.core.exceptions import FieldError, ValidationError
from django.db import connection, models, transaction
from django.db.models import Avg, F, Max, Min, Sum, Value
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from accounts.models import Wallet
from accounts.money import (
    AMOUNT_STEP,
    PRICE_STEP,
    AmountField,
    Currency,
    RateField,
    round_down,
    round_up,
)
from tests.factories import UserFactory

LARGEST = Decimal(2**63 - 1).scaleb(-6)
amounts = st.decimals(min_value=-LARGEST, max_value=LARGEST, places=6)

REFUSED = [
    ("NaN", "invalid"),
    ("sNaN", "invalid"),
    ("Infinity", "invalid"),
    ("-Infinity", "invalid"),
    ("ten", "invalid"),
    ("", "invalid"),
    ("0.0000001", "places"),
    ("1.0000000000000000000000000000000000000001", "places"),
    ("1" + "." + "0" * 150 + "1", "places"),
    ("1E-1000000", "places"),
    ("9223372036854.775808", "range"),
    ("-9223372036854.775808", "range"),
    ("99999999999999999999999999999999999999999999", "range"),
    ("1E+1000000", "range"),
    ("1E+999999999999", "range"),
]


def balances(*values: str) -> None:
    """One wallet for each value, without a ledger: only the column matters here."""
    Wallet.objects.bulk_create(
        Wallet(user=UserFactory(), currency=Currency.USD, balance=Decimal(value))
        for value in values
    )


class TestRoundTrip(TestCase):
    @given(amounts)
    def test_amount_field_returns_what_was_stored(self, amount):
        field = AmountField()

        stored = field.get_prep_value(amount)

        assert isinstance(stored, int)
        assert field.from_db_value(stored, None, connection) == amount

    @given(st.decimals(min_value=0, max_value=LARGEST, places=6))
    def test_database_returns_what_was_stored(self, amount):
        wallet = Wallet.objects.create(user=UserFactory(), currency="USD", balance=amount)

        read = Wallet.objects.get(pk=wallet.pk)

        assert (read.balance, str(read.balance)) == (amount, str(wallet.balance + 0))
        assert Wallet.objects.get(balance=amount, pk=wallet.pk) == wallet


@pytest.mark.parametrize(("text", "code"), REFUSED)
def test_unreadable_amount_is_refused_when_validated(text, code):
    with pytest.raises(ValidationError) as refusal:
        AmountField().to_python(text)

    assert refusal.value.code == code


@pytest.mark.parametrize(("text", "code"), REFUSED)
def test_unreadable_amount_is_refused_by_a_query(db, text, code):
    with pytest.raises(ValueError, match=r"^balance: "):
        list(Wallet.objects.filter(balance=text))

    with pytest.raises(ValueError, match=r"^balance: "), transaction.atomic():
        Wallet.objects.create(user=UserFactory(), currency="USD", balance=text)
    assert not Wallet.objects.exists()


@pytest.mark.parametrize("text", ["1", "1.5", " 1.500000 ", "1E+2", "-0", "0.000001", "1.50000000"])
def test_readable_amount_is_kept_exactly(text):
    value = AmountField().to_python(text)

    assert value == Decimal(text.strip())
    assert value.as_tuple().exponent == -6


def test_sums_and_extremes_are_exact(db):
    # As floats, the three tenths would sum to 0.30000000000000004.
    balances("0.1", "0.1", "0.1", "9000000000000.000001")

    found = Wallet.objects.aggregate(Sum("balance"), Min("balance"), Max("balance"))

    assert found == {
        "balance__sum": Decimal("9000000000000.300001"),
        "balance__min": Decimal("0.1"),
        "balance__max": Decimal("9000000000000.000001"),
    }


def test_guarded_update_spends_exactly_what_is_there(db):
    balances("0.3")
    tenth = Value(Decimal("0.1"), AmountField())

    spent = [
        Wallet.objects.filter(balance__gte=Decimal("0.1")).update(balance=F("balance") - tenth)
        for _ in range(4)
    ]

    assert spent == [1, 1, 1, 0]
    assert Wallet.objects.get().balance == 0


@pytest.mark.parametrize(
    "expression",
    [F("balance") + Decimal(1), F("balance") + 1, F("balance") * Decimal("0.5"), F("id"), Value(1)],
)
def test_update_by_a_bare_number_is_refused(db, expression):
    """One would mean one millionth there."""
    balances("5")

    with pytest.raises(FieldError), transaction.atomic():
        Wallet.objects.update(balance=expression)

    assert Wallet.objects.get().balance == 5


def test_update_in_another_scale_is_refused(db):
    balances("5")

    with pytest.raises(FieldError), transaction.atomic():
        Wallet.objects.update(balance=Value(Decimal(1), RateField()))

    assert Wallet.objects.get().balance == 5


def test_average_is_refused_instead_of_cut(db):
    balances("0.000001", "0.000002")

    with pytest.raises(ValueError, match="divide Sum by Count"):
        Wallet.objects.aggregate(Avg("balance"))


@pytest.mark.parametrize(
    ("lookup", "expected"),
    [
        ("lt", ["1.9"]),
        ("lte", ["1.9", "2"]),
        ("gt", ["10"]),
        ("gte", ["2", "10"]),
        ("exact", ["2"]),
    ],
)
def test_comparisons_are_of_numbers(db, lookup, expected):
    balances("10", "2", "1.9")

    found = Wallet.objects.filter(**{f"balance__{lookup}": Decimal(2)}).order_by("balance")

    assert [wallet.balance for wallet in found] == [Decimal(value) for value in expected]


def test_bulk_update_keeps_amounts_exact(db):
    balances("1", "2")
    wallets = list(Wallet.objects.order_by("pk"))
    wallets[0].balance, wallets[1].balance = Decimal("0.000001"), LARGEST

    Wallet.objects.bulk_update(wallets, ["balance"])

    stored = Wallet.objects.order_by("pk").values_list("balance", flat=True)
    assert list(stored) == [Decimal("0.000001"), LARGEST]


@pytest.mark.parametrize(
    ("text", "cleaned"), [("1.000001", Decimal("1.000001")), ("9999999999999", 9999999999999)]
)
def test_form_field_takes_what_the_column_holds(text, cleaned):
    assert AmountField().formfield().clean(text) == cleaned


@pytest.mark.parametrize("text", [text for text, _code in REFUSED if "775808" not in text])
def test_form_field_refuses_what_the_column_cannot_hold(text):
    with pytest.raises(ValidationError):
        AmountField().formfield().clean(text)


def test_deconstructed_field_is_the_same_field():
    for field in (AmountField(null=True), RateField()):
        _name, _path, args, kwargs = field.deconstruct()

        again = type(field)(*args, **kwargs)

        assert (again.places, again.null) == (field.places, field.null)
        assert again.db_type(connection) == models.BigIntegerField().db_type(connection)


@given(
    st.decimals(min_value=0, max_value=10**15, places=20),
    st.sampled_from([*PRICE_STEP.values(), AMOUNT_STEP]),
)
def test_rounding_goes_to_the_nearest_step_on_its_side(value, step):
    up, down = round_up(value, step), round_down(value, step)

    assert down <= value <= up
    assert up - down in (0, step)
    assert (up % step, down % step) == (0, 0)


def test_rounding_up_sees_digits_beyond_the_usual_precision():
    value = Decimal("1.00000000000000000000000000000000000001")

    assert round_up(value, AMOUNT_STEP) == Decimal("1.000001")
    assert round_down(value) == 1
