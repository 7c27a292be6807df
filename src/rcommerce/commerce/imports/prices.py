"""Imports prices of a price list: reads a table, writes batches, and records what was rejected."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import BinaryIO
from uuid import UUID

from rcommerce import money
from rcommerce.commerce.imports import numbers, text
from rcommerce.commerce.imports.shopify import Fault
from rcommerce.commerce.prices import service
from rcommerce.commerce.prices.schema import NewPrice
from rcommerce.commerce.shop import Shop
from rcommerce.errors import Invalid

BATCH = 1_000
MOST_UNITS = 9_999
# The fields, and the names that their columns may have, in any case.
NAMES: dict[str, tuple[str, ...]] = {
    "sku": ("sku", "variant sku"),
    "amount": ("price", "amount", "variant price"),
    "min_quantity": ("min quantity", "minimum quantity", "quantity"),
    "compare_at": ("compare at", "compare at price", "variant compare at price"),
}
REQUIRED = ("sku", "amount")
_NOBODY = UUID(int=0)  # until the SKU is looked up


@dataclass(slots=True)
class PriceReport:
    """The result. `layout`: how the file was read; `rows`: how many prices were in it."""

    layout: str = ""
    currency: str = ""
    rows: int = 0
    changed: int = 0
    rejected: list[Fault] = field(default_factory=list)

    @property
    def unchanged(self) -> int:
        """Prices that were there already."""
        return self.rows - self.changed - len(self.rejected)


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    sku: str
    amount: Decimal
    min_quantity: int
    compare_at: Decimal | None


async def prices(
    shop: Shop,
    file: BinaryIO,
    price_list: str,
    *,
    dry_run: bool = False,
    progress: Callable[[PriceReport], None] = lambda _: None,
) -> PriceReport:
    """Imports prices by SKU into the price list of a name or id. Each batch is a transaction; a dry
    run writes none, and counts every price as changed.

    Raises ValueError if the file is no such table, NotFound, Conflict.
    """
    its_id, currency = await service.named(shop, price_list)
    layout = await asyncio.to_thread(text.layout, file)
    report = PriceReport(layout=str(layout), currency=currency)
    rows = _rows(layout.rows(file), currency, report)
    while batch := await asyncio.to_thread(lambda: list(islice(rows, BATCH))):
        found = await service.variants_of(shop, [row.sku for row in batch])
        new = []
        for row in batch:
            if row.sku in found:
                price = NewPrice(
                    variant_id=found[row.sku],
                    min_quantity=row.min_quantity,
                    amount=row.amount,
                    compare_at=row.compare_at,
                )
                new.append(price)
            else:
                report.rejected.append(Fault(row.line, row.sku, "no variant has this SKU"))
        if dry_run:
            report.changed += len(new)
        elif new:
            report.changed += await service.put(shop, its_id, new)
        progress(report)
    report.rejected.sort(key=lambda fault: fault.line)
    return report


def _rows(
    lines: Iterator[tuple[int, list[str] | str]], currency: str, report: PriceReport
) -> Iterator[_Row]:
    """The valid rows; the others are put into the report. Raises ValueError."""
    places: dict[str, int] | None = None
    seen: set[tuple[str, int]] = set()
    for line, cells in lines:
        if isinstance(cells, str):
            report.rows += 1
            report.rejected.append(Fault(line, "", cells))
        elif places is None:
            places = _places(cells)
        elif any(cell.strip() for cell in cells):
            report.rows += 1
            values = {
                name: cells[place].strip() for name, place in places.items() if place < len(cells)
            }
            try:
                row = _row(line, values, currency, seen)
            except ValueError as error:
                report.rejected.append(Fault(line, values.get("sku", ""), str(error)))
                continue
            yield row


def _places(header: Sequence[str]) -> dict[str, int]:
    names = [" ".join(name.lower().replace("_", " ").replace("-", " ").split()) for name in header]
    places: dict[str, int] = {}
    for field_name, known in NAMES.items():
        for name in known:
            if name in names:
                places.setdefault(field_name, names.index(name))
    missing = [name for name in REQUIRED if name not in places]
    if missing:
        has = ", ".join(name.strip() for name in header)
        raise ValueError(
            f"the first line has no column “{NAMES[missing[0]][0]}”; it has: {has[:200]}"
        )
    return places


def _row(line: int, values: dict[str, str], currency: str, seen: set[tuple[str, int]]) -> _Row:
    """A row, which is none of those `seen`. Raises ValueError, which says what is wrong."""
    if not values.get("sku"):
        raise ValueError("the SKU is missing")
    units = values.get("min_quantity") or "1"
    if not units.isdecimal() or not 1 <= int(units) <= MOST_UNITS:
        raise ValueError(f"min quantity: “{units[:40]}” is no number from 1 to {MOST_UNITS}")
    compare_at = values.get("compare_at")
    new = NewPrice(
        variant_id=_NOBODY,
        amount=_amount(values.get("amount", ""), currency, "price"),
        compare_at=_amount(compare_at, currency, "compare at") if compare_at else None,
    )
    try:
        checked = service.checked_price(new, currency)
    except Invalid as error:
        raise ValueError(error.detail) from error
    key = (values["sku"], int(units))
    if key in seen:
        raise ValueError(f"the SKU has a price from {key[1]} units on already")
    seen.add(key)
    return _Row(line, key[0], checked.amount, key[1], checked.compare_at)


def _amount(cell: str, currency: str, name: str) -> Decimal:
    if not cell:
        raise ValueError(f"the {name} is missing")
    try:
        return numbers.number(cell, has_decimal_commas=money.digits(currency) > 0)
    except numbers.Ambiguous:
        raise ValueError(f"{name}: “{cell[:40]}” has two readings: write 1299 or 1.30") from None
    except ValueError:
        raise ValueError(f"{name}: “{cell[:40]}” is no amount, such as 19.99") from None
