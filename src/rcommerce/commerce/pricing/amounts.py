"""Amounts as whole numbers of a currency's minor unit (cents), and back."""

from decimal import Decimal

from rcommerce import money


def unit_of(currency: str) -> Decimal:
    """A currency's minor unit: 0.01."""
    return Decimal(1).scaleb(-money.digits(currency))


def minor(amount: Decimal, unit: Decimal) -> int:
    """An amount in minor units. Raises ValueError if it has more digits."""
    whole = amount / unit
    if whole != (number := int(whole)):
        raise ValueError(f"{amount} has more digits than its currency")
    return number
