"""The tax of a quote: what is levied on each amount, rounded by line or by total.

Pure, like the quote: `Taxation` is what the shop's zones, rates and registrations make of one buyer
at one place and moment. Amounts are whole minor units (cents). Halves are rounded up, as tax
authorities do (EU: Directive 2006/112/EC leaves it to the states, case C-484/06 Ahold; UK: HMRC
VAT Notice 700, 17.5).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from math import lcm
from typing import Literal, NamedTuple
from uuid import UUID

import msgspec

from rcommerce.commerce.pricing.allocation import allocate

Rounding = Literal["line", "total"]


class Rule(StrEnum):
    """Why an amount is taxed as it is: what an invoice has to say."""

    DOMESTIC = "domestic"
    ORIGIN = "origin"  # below the threshold of distance sales: as at home
    DESTINATION = "destination"  # where the shop is registered
    OSS = "oss"  # at the buyer's rate, declared in the One-Stop-Shop
    IOSS = "ioss"
    REVERSE_CHARGE = "reverse_charge"
    EXPORT = "export"
    EXEMPT = "exempt"
    VOUCHER = "voucher"  # taxed when it is redeemed
    NOT_REGISTERED = "not_registered"
    NONE = "none"  # nothing is levied there


class TaxRate(msgspec.Struct, frozen=True):
    """A rate, in per cent. A compound one is levied on the price and the taxes before it."""

    id: UUID
    name: str
    rate: Decimal
    is_compound: bool = False


class Levy(msgspec.Struct, frozen=True, kw_only=True):
    """What is levied on a kind of goods. Where it is nothing, `contained` are the rates that
    inclusive prices have in them, which the buyer does not pay then."""

    rule: Rule
    rates: tuple[TaxRate, ...] = ()
    contained: tuple[TaxRate, ...] = ()
    zone_id: UUID | None = None


UNTAXED = Levy(rule=Rule.NONE)
VOUCHER = Levy(rule=Rule.VOUCHER)


class Kind(NamedTuple):
    """A kind of goods: its tax category (None: the shop's usual one), and whether it is digital,
    which is taxed where the buyer is."""

    category: UUID | None = None
    is_digital: bool = False


class Taxation(msgspec.Struct, frozen=True, kw_only=True):
    """How one buyer is taxed: the levies by kind of goods, and on shipping; None: shipping is taxed
    like the items, by their shares. `is_estimate`: the place is not the buyer's, but the
    channel's."""

    levies: Mapping[Kind, Levy]
    shipping: Levy | None = None
    prices_include: bool = False
    rounding: Rounding = "line"
    is_estimate: bool = False

    def of(self, kind: Kind) -> Levy:
        """The levy on a kind of goods."""
        return self.levies.get(kind, UNTAXED)


class Base(NamedTuple):
    """An amount, in minor units, and what is levied on it."""

    amount: int
    levy: Levy


class Levied(NamedTuple):
    """The tax of a rate on a part of an amount, in minor units."""

    rate: TaxRate
    levy: Levy
    taxable: int
    amount: int


def net(amount: int, rates: Sequence[TaxRate]) -> int:
    """An inclusive amount without its taxes."""
    return _rounded(amount / (1 + sum(_factors(rates), Fraction(0))))


def levied(
    bases: Sequence[Base], *, prices_include: bool, rounding: Rounding
) -> list[list[Levied]]:
    """The taxes of each base, by rate. By total, what a rate makes of all bases is rounded once and
    shared by the largest remainder. What is `taxable` is an inclusive amount without its taxes."""
    exact = [_exact(base, prices_include=prices_include) for base in bases]
    if rounding == "line":
        amounts = [[_rounded(share) for share in shares] for shares in exact]
    else:
        amounts = _by_total(bases, exact)
    return [
        [
            Levied(rate, base.levy, base.amount - prices_include * sum(taxes), tax)
            for rate, tax in zip(base.levy.rates, taxes, strict=True)
        ]
        for base, taxes in zip(bases, amounts, strict=True)
    ]


def shipping_bases(amount: int, levy: Levy | None, items: Sequence[Base]) -> list[Base]:
    """What shipping is taxed as: with a levy of its own, or by the shares of the items."""
    if levy is not None:
        return [Base(amount, levy)]
    by_levy: dict[Levy, int] = defaultdict(int)
    for item in items:
        by_levy[item.levy] += item.amount
    if not any(by_levy.values()):
        return [Base(amount, next(iter(by_levy), UNTAXED))]
    shares = allocate(amount, list(by_levy.values()))
    return [Base(share, its) for share, its in zip(shares, by_levy, strict=True)]


def _factors(rates: Sequence[TaxRate]) -> list[Fraction]:
    """What each rate makes of a net amount of one."""
    found: list[Fraction] = []
    for each in rates:
        on = 1 + sum(found, Fraction(0)) if each.is_compound else Fraction(1)
        found.append(on * Fraction(each.rate) / 100)
    return found


def _exact(base: Base, *, prices_include: bool) -> list[Fraction]:
    factors = _factors(base.levy.rates)
    whole = 1 + sum(factors, Fraction(0)) if prices_include else Fraction(1)
    return [base.amount * factor / whole for factor in factors]


def _by_total(bases: Sequence[Base], exact: Sequence[Sequence[Fraction]]) -> list[list[int]]:
    amounts = [[0] * len(shares) for shares in exact]
    places: dict[TaxRate, list[tuple[int, int]]] = defaultdict(list)
    for index, base in enumerate(bases):
        for position, rate in enumerate(base.levy.rates):
            places[rate].append((index, position))
    for where in places.values():
        shares = [exact[index][position] for index, position in where]
        scale = lcm(*(share.denominator for share in shares))
        weights = [int(share * scale) for share in shares]
        whole = _rounded(sum(shares, Fraction(0)))
        for (index, position), amount in zip(where, allocate(whole, weights), strict=True):
            amounts[index][position] = amount
    return amounts


def _rounded(amount: Fraction) -> int:
    """Halves up."""
    return (2 * amount.numerator + amount.denominator) // (2 * amount.denominator)
