"""Where a sale is taxed, by whom, and at which rates: from a shop's set-up to a quote's `Taxation`.

Pure. Sources of the rules:

- Goods sold to consumers of another member state are taxed where they arrive, those of digital
  services where the customer is (Directive 2006/112/EC, articles 33 and 58); below 10,000 EUR a
  year of both together, where the seller is (article 59c). The seller declares them there, or all
  of them at home in the One-Stop-Shop (articles 369a to 369x).
- Supplies to a business of another member state with a valid VAT number are exempt (article 138) or
  owed by the customer (article 196); exports are exempt (article 146).
- Canada: GST and HST by the province where goods are delivered (New Harmonized Value-added Tax
  System Regulations, part 1); PST, RST and QST only from those who are registered there.
- United States: a state's tax only from those who have a nexus there (South Dakota v. Wayfair,
  2018); where goods arrive, but in states of origin sourcing where a seller of that state is.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Literal
from uuid import UUID

import msgspec

from rcommerce.commerce.pricing.taxes import Kind, Levy, Rounding, Rule, Taxation, TaxRate

EU = frozenset(
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split()
)
Distance = Literal["origin", "oss", "local"]


class Place(msgspec.Struct, frozen=True):
    """A country (ISO 3166-1), with its region (ISO 3166-2, without the country) and postal code as
    far as they are known."""

    country: str
    region: str | None = None
    postal_code: str | None = None


class ZoneRate(msgspec.Struct, frozen=True, kw_only=True):
    """A rate of a zone: for a tax category, or (None) for all that have none of their own; from
    a day on, and until another. Of a region it is owed by those who are registered there."""

    rate: TaxRate
    category: UUID | None = None
    is_regional: bool = False
    applies_to_shipping: bool = True
    valid_from: date | None = None
    valid_until: date | None = None

    def counts(self, day: date) -> bool:
        """Whether it is valid on a day."""
        return (self.valid_from is None or self.valid_from <= day) and (
            self.valid_until is None or day < self.valid_until
        )


class Zone(msgspec.Struct, frozen=True, kw_only=True):
    """A country, one of its regions, or some of its postal codes, as ranges of which both ends are
    in it. `is_origin`: sellers of the region collect the rates of their own place."""

    id: UUID
    name: str
    country: str
    region: str | None = None
    postal_codes: tuple[tuple[str, str], ...] = ()
    is_origin: bool = False
    rates: tuple[ZoneRate, ...] = ()

    def rank(self, place: Place) -> int | None:
        """How exactly it names a place: the highest counts. None: it does not."""
        if self.country != place.country or self.region not in (None, place.region):
            return None
        if not self.postal_codes:
            return 0 if self.region is None else 1
        code = place.postal_code
        if code is None or not any(low <= code <= high for low, high in self.postal_codes):
            return None
        return 2


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """A shop's taxes: where it is, its zones, the countries and regions (as `US-CA`) where it is
    registered, and how it declares what it sells to consumers of other member states."""

    home: Place
    zones: Sequence[Zone]
    registrations: frozenset[str]
    distance: Distance = "origin"
    shipping_category: UUID | None = None
    shipping_by_shares: bool = True
    rounding: Rounding = "line"


class TaxPayer(msgspec.Struct, frozen=True, kw_only=True):
    """Who buys. `vat_country` is the member state of a VAT number that was found to be valid;
    `exempt` are the countries and regions where nothing is levied on the buyer."""

    vat_country: str | None = None
    exempt: frozenset[str] = frozenset()


class Supply(msgspec.Struct, frozen=True):
    """By which rule, and at the rates of which place; None: at no rate."""

    rule: Rule
    place: Place | None


def taxation(
    setup: Setup,
    *,
    categories: Iterable[UUID | None],
    ships_to: Place,
    lives_in: Place | None,
    payer: TaxPayer,
    day: date,
    prices_include: bool,
    is_estimate: bool = False,
) -> Taxation:
    """How goods of these tax categories are taxed for a buyer who has them sent to a place, and
    lives in another; None: in the same."""
    levies: dict[Kind, Levy] = {}
    supplies = {
        False: supply(setup, ships_to, payer),
        True: supply(setup, lives_in or ships_to, payer),
    }
    home = _zone(setup.zones, setup.home)
    for is_digital, found in supplies.items():
        zone = None if found.place is None else _zone(setup.zones, found.place)
        for category in {None, setup.shipping_category, *categories}:
            levies[Kind(category, is_digital)] = _levy(setup, found, zone, home, category, day)
    shipping = None
    if not setup.shipping_by_shares:
        shipping = levies[Kind(setup.shipping_category)]
    return Taxation(
        levies=levies,
        shipping=shipping,
        prices_include=prices_include,
        rounding=setup.rounding,
        is_estimate=is_estimate,
    )


def supply(setup: Setup, to: Place, payer: TaxPayer) -> Supply:
    """Where something that goes to a place is taxed, and why there."""
    home = setup.home
    if not payer.exempt.isdisjoint(_names(to)):
        return Supply(Rule.EXEMPT, None)
    if to.country == home.country:
        return Supply(Rule.DOMESTIC, _sourced(setup, to))
    if to.country in EU and home.country in EU:
        return _within_eu(setup, to, payer)
    if to.country in setup.registrations or not setup.registrations.isdisjoint(_names(to)):
        return Supply(Rule.DESTINATION, to)
    if to.country in EU and "IOSS" in setup.registrations and payer.vat_country is None:
        return Supply(Rule.IOSS, to)
    return Supply(Rule.EXPORT, None)


def _within_eu(setup: Setup, to: Place, payer: TaxPayer) -> Supply:
    if payer.vat_country is not None and payer.vat_country != setup.home.country:
        return Supply(Rule.REVERSE_CHARGE, None)
    if to.country in setup.registrations:
        return Supply(Rule.DESTINATION, to)
    if setup.distance == "oss":
        return Supply(Rule.OSS, to)
    if setup.distance == "origin":
        return Supply(Rule.ORIGIN, setup.home)
    return Supply(Rule.NOT_REGISTERED, None)


def _sourced(setup: Setup, to: Place) -> Place:
    """Within a country: where goods arrive, unless the seller's own region is one of origin."""
    if to.region is None or to.region != setup.home.region:
        return to
    region = Place(to.country, to.region)
    zone = _zone(setup.zones, region)
    return setup.home if zone is not None and zone.is_origin else to


def _names(place: Place) -> frozenset[str]:
    return frozenset([place.country, f"{place.country}-{place.region}"])


def _zone(zones: Sequence[Zone], place: Place) -> Zone | None:
    """The one that names a place most exactly."""
    ranked = [(rank, zone) for zone in zones if (rank := zone.rank(place)) is not None]
    return max(ranked, key=lambda each: each[0], default=(0, None))[1]


def _levy(
    setup: Setup,
    found: Supply,
    zone: Zone | None,
    home: Zone | None,
    category: UUID | None,
    day: date,
) -> Levy:
    if found.place is None:
        return Levy(rule=found.rule, contained=_owed(setup, home, category, day))
    rates = _owed(setup, zone, category, day)
    is_owed = rates or not _rates(zone, category, day)
    return Levy(
        rule=found.rule if is_owed else Rule.NOT_REGISTERED,
        rates=rates,
        zone_id=None if zone is None else zone.id,
    )


def _rates(zone: Zone | None, category: UUID | None, day: date) -> list[ZoneRate]:
    """A zone's rates of a category; without one of its own, those of all others."""
    valid = [] if zone is None else [each for each in zone.rates if each.counts(day)]
    own = [each for each in valid if each.category == category]
    return own or [each for each in valid if each.category is None]


def _owed(setup: Setup, zone: Zone | None, category: UUID | None, day: date) -> tuple[TaxRate, ...]:
    """Those that the shop collects there."""
    return tuple(
        each.rate
        for each in _rates(zone, category, day)
        if zone is not None
        and (not each.is_regional or f"{zone.country}-{zone.region}" in setup.registrations)
    )
