"""Splits amounts without losing or inventing a unit. Amounts are whole minor units (cents)."""

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal

_ONE, _HUNDRED = Decimal(1), Decimal(100)


def allocate(amount: int, weights: Sequence[int]) -> list[int]:
    """Shares of `amount` in proportion to `weights`, by the method of the largest remainder
    (Hamilton): they add up to `amount`, and each is its exact share rounded down or up. Of equal
    remainders the first one is rounded up.

    With `amount` at most the sum of the weights, no share is larger than its weight. Weights are at
    least 0, and one of them is more unless `amount` is 0.
    """
    whole = sum(weights)
    if amount == 0 or whole == 0:
        return [0] * len(weights)
    shares = [amount * weight // whole for weight in weights]
    left = amount - sum(shares)
    if left:
        by_remainder = sorted(
            range(len(weights)), key=lambda each: -(amount * weights[each] % whole)
        )
        for index in by_remainder[:left]:
            shares[index] += 1
    return shares


def part(amount: int, quantity: int, units: int) -> int:
    """What the first `units` of `quantity` equal units make of `amount`, rounded down.

    Differences of it split an amount exactly, however often and in whatever steps: what units 2 to
    3 make is `part(amount, quantity, 3) - part(amount, quantity, 1)`.
    """
    return amount * units // quantity


def percent(amount: int, value: Decimal) -> int:
    """`value` per cent of an amount, rounded half to even."""
    return int((Decimal(amount) * value / _HUNDRED).quantize(_ONE, ROUND_HALF_EVEN))
