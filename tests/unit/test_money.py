"""Money is exact, in the digits of its currency."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcommerce import money
from rcommerce.errors import Invalid


@pytest.mark.parametrize(
    ("value", "currency", "text"),
    [
        ("9.9", "EUR", "9.90"),
        ("990", "JPY", "990"),
        ("1.5", "KWD", "1.500"),
        ("0", "CLF", "0.0000"),
    ],
)
def test_an_amount_has_the_digits_of_its_currency(value: str, currency: str, text: str) -> None:
    assert str(money.amount(Decimal(value), currency, "price")) == text


@pytest.mark.parametrize(
    ("value", "currency"),
    [("9.999", "EUR"), ("1.5", "JPY"), ("-1", "EUR"), ("NaN", "EUR"), ("Infinity", "EUR"),
     ("1e400", "EUR"), ("1000000000000", "EUR"), ("sNaN", "USD")],
)  # fmt: skip
def test_an_amount_that_a_client_states_is_never_rounded_or_stretched(
    value: str, currency: str
) -> None:
    with pytest.raises(Invalid, match="price"):
        money.amount(Decimal(value), currency, "price")


@given(st.decimals(min_value=0, max_value=10**9, places=6))
def test_rounding_is_half_to_even_and_off_by_half_a_unit_at_most(value: Decimal) -> None:
    rounded = money.rounded(value, "EUR")
    assert rounded.as_tuple().exponent == -2
    assert abs(rounded - value) <= Decimal("0.005")


def test_half_goes_to_the_even_neighbour() -> None:
    assert str(money.rounded(Decimal("0.125"), "EUR")) == "0.12"
    assert str(money.rounded(Decimal("0.135"), "EUR")) == "0.14"


def test_a_currency_is_one_of_iso_4217() -> None:
    assert money.currency("eur") == "EUR"
    with pytest.raises(Invalid):
        money.currency("XXA")
