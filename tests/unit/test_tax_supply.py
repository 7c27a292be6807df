"""Where a sale is taxed: worked examples of the EU, Canada and the United States; shipped rates."""

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

import pytest

from rcommerce.commerce.pricing.taxes import Kind, Levy, Rule, TaxRate
from rcommerce.commerce.taxes import rates
from rcommerce.commerce.taxes.supply import (
    EU,
    Place,
    Setup,
    TaxPayer,
    Zone,
    ZoneRate,
    taxation,
)
from rcommerce.errors import Invalid

NAMES = UUID(int=1)
USUAL = Kind()
DIGITAL = Kind(None, is_digital=True)
TODAY = date(2026, 6, 1)


def zones() -> list[Zone]:
    """A zone for each country and region that is shipped, with its usual rates."""
    found: dict[tuple[str, str | None], list[ZoneRate]] = {}
    origins = set()
    for each in (rate for file in rates.shipped() for rate in file.rates):
        place = (each.country, each.region)
        found.setdefault(place, [])
        if rates.ORIGIN in each.note:
            origins.add(place)
        if each.kind in ("standard", "sales", "GST", "HST", "PST", "RST", "QST"):
            found[place].append(
                ZoneRate(
                    rate=TaxRate(
                        uuid5(NAMES, f"{place}{each.kind}{each.rate}"), each.kind, each.rate
                    ),
                    is_regional=each.kind in ("sales", "PST", "RST", "QST"),
                    valid_from=each.valid_from,
                    valid_until=each.valid_until,
                )
            )
    return [
        Zone(
            id=uuid5(NAMES, str(place)), name=str(place), country=place[0], region=place[1],
            is_origin=place in origins, rates=tuple(its),
        )
        for place, its in found.items()
    ]  # fmt: skip


ZONES = zones()


def levied(
    home: str, to: str, *registered: str, kind: Kind = USUAL, day: date = TODAY, **more: Any
) -> Levy:
    setup = Setup(
        home=place(home), zones=ZONES, registrations=frozenset(registered),
        distance=more.pop("distance", "origin"),
    )  # fmt: skip
    payer = TaxPayer(vat_country=more.pop("vat", None), exempt=more.pop("exempt", frozenset()))
    lives_in = more.pop("lives_in", None)
    return taxation(
        setup,
        categories=[],
        ships_to=place(to),
        lives_in=lives_in and place(lives_in),
        payer=payer,
        day=day,
        prices_include=True,
    ).of(kind)


def place(named: str) -> Place:
    country, _, region = named.partition("-")
    return Place(country, region or None)


def said(levy: Levy) -> tuple[Rule, list[Decimal]]:
    return levy.rule, [each.rate for each in levy.rates]


def percents(*given: str) -> list[Decimal]:
    return [Decimal(each) for each in given]


def test_distance_sales_in_the_union() -> None:
    """European Commission, "VAT One Stop Shop", guide to the OSS: a German seller's goods for a
    consumer in France."""
    assert said(levied("DE", "DE")) == (Rule.DOMESTIC, percents("19"))
    assert said(levied("DE", "FR")) == (Rule.ORIGIN, percents("19"))
    assert said(levied("DE", "FR", distance="oss")) == (Rule.OSS, percents("20"))
    assert said(levied("DE", "FR", "FR")) == (Rule.DESTINATION, percents("20"))
    assert said(levied("DE", "FR", distance="local")) == (Rule.NOT_REGISTERED, [])


def test_businesses_in_the_union_owe_it_themselves() -> None:
    away = levied("DE", "FR", vat="FR")
    assert said(away) == (Rule.REVERSE_CHARGE, [])
    assert [each.rate for each in away.contained] == percents("19")
    assert said(levied("DE", "DE", vat="DE")) == (Rule.DOMESTIC, percents("19"))
    assert said(levied("DE", "FR", vat="DE")) == (Rule.ORIGIN, percents("19"))


def test_what_is_digital_is_taxed_where_the_buyer_lives() -> None:
    given: dict[str, Any] = {"distance": "oss", "lives_in": "FI"}
    assert said(levied("DE", "FR", kind=DIGITAL, **given)) == (Rule.OSS, percents("25.5"))
    assert said(levied("DE", "FR", **given)) == (Rule.OSS, percents("20"))


def test_exports_and_imports() -> None:
    assert said(levied("DE", "US-CA")) == (Rule.EXPORT, [])
    assert said(levied("DE", "GB", "GB")) == (Rule.DESTINATION, percents("20"))
    assert said(levied("GB", "DE")) == (Rule.EXPORT, [])
    assert said(levied("GB", "DE", "IOSS")) == (Rule.IOSS, percents("19"))
    assert said(levied("NO", "NO")) == (Rule.DOMESTIC, percents("25"))
    assert said(levied("AU", "NZ", "NZ")) == (Rule.DESTINATION, percents("15"))


def test_canada_by_the_province_of_delivery() -> None:
    """Canada Revenue Agency, "GST/HST rates and place-of-supply rules": a seller of Ontario."""
    assert said(levied("CA-ON", "CA-ON")) == (Rule.DOMESTIC, percents("13"))
    assert said(levied("CA-ON", "CA-NS")) == (Rule.DOMESTIC, percents("14"))
    assert said(levied("CA-ON", "CA-NS", day=date(2025, 3, 31))) == (Rule.DOMESTIC, percents("15"))
    assert said(levied("CA-ON", "CA-AB")) == (Rule.DOMESTIC, percents("5"))
    assert said(levied("CA-ON", "CA-BC")) == (Rule.DOMESTIC, percents("5"))
    assert said(levied("CA-ON", "CA-BC", "CA-BC")) == (Rule.DOMESTIC, percents("5", "7"))
    assert said(levied("CA-ON", "CA-QC", "CA-QC")) == (Rule.DOMESTIC, percents("5", "9.975"))


def test_states_of_destination_and_of_origin() -> None:
    """New York's tax is where goods arrive; a seller of Texas collects that of its own place."""
    assert said(levied("US-NY", "US-NY", "US-NY")) == (Rule.DOMESTIC, percents("4"))
    assert said(levied("US-NY", "US-FL", "US-NY")) == (Rule.NOT_REGISTERED, [])
    assert said(levied("US-NY", "US-FL", "US-FL")) == (Rule.DOMESTIC, percents("6"))
    dallas = Zone(
        id=UUID(int=9), name="Dallas", country="US", region="TX",
        postal_codes=(("75201", "75398"),),
        rates=(ZoneRate(rate=TaxRate(UUID(int=10), "Dallas", Decimal("8.25")), is_regional=True),),
    )  # fmt: skip
    setup = Setup(
        home=Place("US", "TX", "75205"),
        zones=[*ZONES, dallas],
        registrations=frozenset(["US-TX"]),
    )
    given: dict[str, Any] = {
        "categories": [], "lives_in": None, "payer": TaxPayer(), "day": TODAY,
        "prices_include": False,
    }  # fmt: skip
    houston = taxation(setup, ships_to=Place("US", "TX", "77002"), **given).of(USUAL)
    assert said(houston) == (Rule.DOMESTIC, percents("8.25"))


def test_whoever_is_exempt_pays_none() -> None:
    free = levied("US-NY", "US-NY", "US-NY", exempt=frozenset(["US-NY"]))
    assert said(free) == (Rule.EXEMPT, [])


def test_every_member_state_has_a_usual_rate_on_every_day() -> None:
    [eu] = [each for each in rates.shipped() if each.title.startswith("VAT rates of the member")]
    for day in (date(2024, 1, 1), date(2025, 7, 1), eu.published, TODAY):
        usual = [
            each.country
            for each in eu.rates
            if each.kind == "standard" and each.valid_from <= day < (each.valid_until or date.max)
        ]
        assert sorted(usual) == sorted(EU)
    assert all(each.source and each.published for each in rates.shipped())


HEADER = "country,region,kind,rate,valid_from,valid_until,note"


@pytest.mark.parametrize(
    ("rows", "field", "says"),
    [
        (["DE,,standard,119,2026-01-01,,"], "rate", "from 0 to 100"),
        (["DE,,standard,-1,2026-01-01,,"], "rate", "from 0 to 100"),
        (["DE,,standard,much,2026-01-01,,"], "rate", "a number"),
        (["Germany,,standard,19,2026-01-01,,"], "country", "two capital letters"),
        (["DE,,standard,19,2026-01-01,2025-01-01,"], "valid_until", "after valid_from"),
        (["DE,,standard,19,tomorrow,,"], "valid_from", "2026-01-01"),
        (
            ["DE,,standard,19,2026-01-01,,", "DE,,standard,20,2026-07-01,,"],
            "valid_from",
            "two rates",
        ),
    ],
)
def test_a_file_that_is_wrong_is_refused(rows: list[str], field: str, says: str) -> None:
    with pytest.raises(Invalid, match=f"^{field}: .*{says}"):
        rates.read(["# rates", "# date: 2026-01-01", HEADER, *rows])


def test_a_file_that_has_other_rates_than_it_says_is_refused() -> None:
    lines = ["# x", "# date: 2026-01-01", "# rates: 1, which add up to 20", HEADER]
    with pytest.raises(Invalid):
        rates.read([*lines, "DE,,standard,19,2026-01-01,,"])
    with pytest.raises(Invalid):
        rates.read(["country,rate", "DE,19"])
