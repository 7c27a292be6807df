"""Tax rates as data: the files that are shipped, and those that a shop brings.

A file is CSV with the columns country, region, kind, rate, valid_from, valid_until and note, after
comments that name what it has, its `source`, its `date`, and how many `rates` there are with their
sum, by which a change by mistake is found.
"""

import csv
from collections.abc import Iterable
from datetime import date
from decimal import Decimal, InvalidOperation
from importlib.resources import files

import msgspec

from rcommerce.errors import Invalid

COLUMNS = ("country", "region", "kind", "rate", "valid_from", "valid_until", "note")
SHIPPED = ("eu", "europe", "us", "canada", "oceania")
ORIGIN = "origin"  # in a note: sellers of the region collect the rates of their own place


class ShippedRate(msgspec.Struct, frozen=True, kw_only=True):
    """A rate in per cent, as a country or one of its regions levies it on a kind of goods
    (standard, reduced, …), from a day until another."""

    country: str
    region: str | None
    kind: str
    rate: Decimal
    valid_from: date
    valid_until: date | None
    note: str


class RateFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of rates."""

    title: str
    source: str
    published: date
    rates: tuple[ShippedRate, ...]


def shipped() -> list[RateFile]:
    """The files that come with the shop."""
    folder = files("rcommerce.commerce.taxes") / "data"
    return [read((folder / f"{name}.csv").read_text("utf-8").splitlines()) for name in SHIPPED]


def read(lines: Iterable[str]) -> RateFile:
    """A file of rates. Raises Invalid, which names the line."""
    comments: list[str] = []
    rows: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            comments.append(line.removeprefix("#").strip())
        elif line.strip():
            rows.append((number, line))
    reader = csv.DictReader(line for _, line in rows)
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise Invalid.field("file", f"needs the columns {', '.join(COLUMNS)}")
    numbers = [number for number, _ in rows[1:]]
    found = tuple(_rate(number, row) for number, row in zip(numbers, reader, strict=True))
    _check_periods(found)
    named = dict(line.split(": ", 1) for line in comments[1:] if ": " in line)
    return RateFile(
        title=comments[0] if comments else "",
        source=named.get("source", ""),
        published=_day(0, "date", named.get("date", "")),
        rates=_counted(found, named.get("rates")),
    )


def _counted(found: tuple[ShippedRate, ...], said: str | None) -> tuple[ShippedRate, ...]:
    """Raises Invalid if a file says that it has others."""
    there = f"{len(found)}, which add up to {sum(each.rate for each in found)}"
    if said is not None and said != there:
        raise Invalid.field("file", f"says that it has the rates {said}, and has {there}")
    return found


def _rate(number: int, row: dict[str, str]) -> ShippedRate:
    try:
        rate = Decimal(row["rate"])
    except InvalidOperation:
        raise _wrong(number, "rate", "must be a number, in per cent") from None
    if not 0 <= rate <= 100:
        raise _wrong(number, "rate", "must be from 0 to 100 per cent")
    if len(row["country"]) != 2 or not row["country"].isupper():
        raise _wrong(number, "country", "must be two capital letters (ISO 3166-1)")
    until = row["valid_until"]
    made = ShippedRate(
        country=row["country"],
        region=row["region"] or None,
        kind=row["kind"],
        rate=rate,
        valid_from=_day(number, "valid_from", row["valid_from"]),
        valid_until=_day(number, "valid_until", until) if until else None,
        note=row["note"] or "",
    )
    if made.valid_until is not None and made.valid_until <= made.valid_from:
        raise _wrong(number, "valid_until", "must be after valid_from")
    return made


def _day(number: int, name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise _wrong(number, name, "must be a day: 2026-01-01") from None


def _wrong(number: int, name: str, problem: str) -> Invalid:
    return Invalid.field(name, f"{problem} (line {number})" if number else problem)


def _check_periods(found: Iterable[ShippedRate]) -> None:
    """Raises Invalid where two rates of one kind are valid on the same day."""
    last: dict[tuple[str, str | None, str], ShippedRate] = {}
    for each in sorted(found, key=lambda one: one.valid_from):
        key = (each.country, each.region, each.kind)
        before = last.get(key)
        if before is not None and (before.valid_until or date.max) > each.valid_from:
            where = "-".join(part for part in key[:2] if part)
            raise Invalid.field(
                "valid_from", f"{where} has two rates “{each.kind}” on {each.valid_from}"
            )
        last[key] = each
