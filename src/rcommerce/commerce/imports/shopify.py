"""Reads a Shopify product export, streaming.

A product takes one row, or several that follow each other with the same handle: the first has the
title, each may have a variant, an image, or both. A fault in a row is reported with its line, and
does not affect other rows.

Source: Shopify help, manual/products/import-export/using-csv
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, BinaryIO
from uuid import UUID

import msgspec

from rcommerce import ids, money
from rcommerce.commerce.catalog.schema import NewImage, NewProduct, NewVariant, Url
from rcommerce.commerce.imports import numbers
from rcommerce.commerce.imports.columns import Columns
from rcommerce.commerce.imports.text import is_invalid, layout
from rcommerce.errors import Problem

GRAMS = {
    "g": Decimal(1),
    "kg": Decimal(1000),
    "oz": Decimal("28.349523125"),
    "lb": Decimal("453.59237"),
}
TRUE, FALSE = {"true", "yes", "1"}, {"false", "no", "0"}
POLICIES = {"": "deny", "false": "deny", "true": "continue"}
OPTIONS = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Fault:
    """A row or part of one that was rejected; or, with `is_note`, a value that was changed."""

    line: int
    handle: str
    reason: str
    is_note: bool = False


class Variant(NewVariant, kw_only=True):
    """A variant with its image's URL, its line, and the id that it gets if it is new."""

    image_src: Url | None = None
    line: int = 0
    id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """A product, and the line where it begins. Its `product.variants` are empty."""

    line: int
    product: NewProduct
    variants: list[Variant]


class _Wrong(Exception):
    """A fault in a part of a row."""


@dataclass(slots=True)
class _Row:
    """The cells of a line, stripped."""

    line: int
    cells: list[str]
    columns: Columns

    def __getitem__(self, field: str) -> str:
        """The cell of a field; empty if the file has no such column."""
        place = self.columns.places.get(field)
        return "" if place is None else self.cells[place]

    def wrong(self, field: str, words: str) -> _Wrong:
        """A fault of a field, with its column's name in the file."""
        return _Wrong(f"{self.columns.name(field)}: {words}")


class Export:
    """The products of a file, and its faults, in the order of the file.

    `untaken` counts the non-empty cells of each column that is not imported.
    """

    def __init__(self, file: BinaryIO, currency: str) -> None:
        """Raises ValueError if it is no such export."""
        self.layout = layout(file)
        self.untaken: Counter[str] = Counter()
        self._currency = currency
        self._has_decimal_commas = self.layout.delimiter != ","
        self._rows = self.layout.rows(file)
        _, header = next(self._rows)
        if isinstance(header, str):
            raise ValueError(f"line 1: {header}")  # noqa: TRY004 - a fault of the file's text
        self._columns = Columns(header)
        self._seen: set[int] = set()
        self._skus: dict[int, int] = {}  # hashes of the handles, and their lines

    def __iter__(self) -> Iterator[Parsed | Fault]:
        """Can be iterated once. Raises ValueError if the file ends within a character."""
        group: list[_Row] = []
        handle = ""
        for line, cells in self._rows:
            row = Fault(line, "", cells) if isinstance(cells, str) else self._row(line, cells)
            if isinstance(row, Fault):
                yield row
                continue
            if group and row["handle"] != handle:
                yield from self._product(group)
                group = []
            handle = row["handle"]
            group.append(row)
        if group:
            yield from self._product(group)

    def _row(self, line: int, cells: list[str]) -> _Row | Fault:
        columns = self._columns
        row = _Row(line, [cell.strip() for cell in cells], columns)
        if len(cells) != columns.count:
            reason = f"has {len(cells)} columns, the first line has {columns.count}"
            return Fault(line, _printable(row.cells[0]), reason)
        for name, place in columns.untaken.items():
            if row.cells[place]:
                self.untaken[name] += 1
        handle = row["handle"]
        for name, cell in zip(columns.header, row.cells, strict=True):
            if "\x00" in cell:
                return Fault(line, _printable(handle), f"{name}: has a NUL character")
            if is_invalid(cell):
                reason = f"{name}: is not valid {self.layout.encoding}"
                return Fault(line, _printable(handle), reason)
        if not handle:
            return Fault(line, "", f"{columns.name('handle')}: is missing")
        return row

    def _product(self, group: list[_Row]) -> Iterator[Parsed | Fault]:
        """One product from its rows."""
        first = group[0]
        handle, line = first["handle"], first.line
        reason = None
        if hash(handle) in self._seen:
            reason = "the rows of a product must follow each other, and this one stood further up"
        elif not first["title"]:
            name = self._columns.name("title")
            reason = f"{name}: is missing in the first row of the product"
        self._seen.add(hash(handle))
        if reason is not None:
            yield from (Fault(row.line, handle, reason) for row in group)
            return
        try:
            product = self._fields(first)
        except _Wrong as error:
            for number, row in enumerate(group):
                why = str(error) if number == 0 else f"the product was skipped at line {line}"
                yield Fault(row.line, handle, why)
            return
        names = [first[f"option{number}_name"] for number in OPTIONS]
        variants, faults = self._variants(group, names, product.weight_unit)
        images, more = _images(group)
        yield from faults
        yield from more
        if not variants:
            yield Fault(line, handle, "product skipped: it has no valid variant")
            return
        try:
            _complete(product, names, variants, images)
        except msgspec.ValidationError as error:
            yield Fault(line, handle, _words(error))
            return
        yield Parsed(line, product, variants)

    def _fields(self, row: _Row) -> NewProduct:
        """The product with its own fields, but no variants."""
        if ids.is_uuid(row["handle"]):
            raise row.wrong("handle", "must not look like an id")
        status = row["status"].lower()
        if not status:
            status = "active" if _truth(row, "published", default=True) else "draft"
        unit = row["weight_unit"].lower() or "kg"
        if unit not in GRAMS:
            raise row.wrong("weight_unit", f"“{unit}” is none of g, kg, oz, lb")
        tags = (tag.strip() for tag in row["tags"].split(","))
        fields = {
            "slug": row["handle"],
            "title": row["title"],
            "description": row["description"],
            "vendor": row["vendor"],
            "product_type": row["type"],
            "tags": list(dict.fromkeys(filter(None, tags))),
            "status": status,
            "requires_shipping": _truth(row, "requires_shipping", default=True),
            "weight_unit": unit,
            "seo_title": row["seo_title"],
            "seo_description": row["seo_description"],
            "meta_fields": {
                key: row.cells[place]
                for key, place in self._columns.metafields.items()
                if row.cells[place]
            },
        }
        try:
            return msgspec.convert(fields, NewProduct)
        except msgspec.ValidationError as error:
            raise _Wrong(_words(error)) from error

    def _variants(
        self, group: list[_Row], names: list[str], unit: str
    ) -> tuple[list[Variant], list[Fault]]:
        variants: list[Variant] = []
        faults: list[Fault] = []
        taken: dict[tuple[str, ...], int] = {}
        for row in group:
            handle = row["handle"]
            if not row["price"] and not row["option1_value"]:
                if not row["image"]:
                    faults.append(Fault(row.line, handle, "has neither a variant nor an image"))
                continue
            try:
                variant, note = self._variant(row, names, unit, len(variants) + 1)
            except _Wrong as error:
                faults.append(Fault(row.line, handle, str(error)))
                continue
            key = tuple(variant.option_values.values())
            if key in taken:
                reason = f"the variant has the same options as line {taken[key]}"
                faults.append(Fault(row.line, handle, reason))
                continue
            other = self._skus.setdefault(hash(variant.sku), row.line) if variant.sku else row.line
            if other != row.line:
                name = self._columns.name("sku")
                reason = f"{name}: “{variant.sku}” stands in line {other} already"
                faults.append(Fault(row.line, handle, reason))
                continue
            if note:
                faults.append(Fault(row.line, handle, note, is_note=True))
            taken[key] = row.line
            variants.append(variant)
        return variants, faults

    def _variant(
        self, row: _Row, names: list[str], unit: str, position: int
    ) -> tuple[Variant, str | None]:
        price = self._amount(row, "price")
        if price is None:
            raise row.wrong("price", "is missing")
        quantity, note = self._quantity(row)
        values = {
            name: row[f"option{number}_value"]
            for number, name in zip(OPTIONS, names, strict=True)
            if name
        }
        for name, value in values.items():
            if not value:
                raise _Wrong(f"the option “{name}” has no value")
        grams = self._decimal(row, "grams")
        policy = row["policy"].lower()
        fields = {
            "title": " / ".join(values.values()) or "Default",
            "sku": row["sku"] or None,
            "barcode": row["barcode"] or None,
            "price": price,
            "compare_at_price": self._amount(row, "compare_at_price"),
            "cost_price": self._amount(row, "cost_price"),
            "option_values": values,
            "tracks_inventory": bool(row["tracker"] or row["quantity"]),
            "inventory_policy": POLICIES.get(policy, policy),
            "inventory_quantity": quantity,
            "weight": round(grams / GRAMS[unit], 6) if grams else None,
            "hs_code": row["hs_code"] or None,
            "position": position,
            "image_src": row["variant_image"] or None,
            "line": row.line,
        }
        try:
            return msgspec.convert(fields, Variant), note
        except msgspec.ValidationError as error:
            raise _Wrong(_words(error)) from error

    def _quantity(self, row: _Row) -> tuple[int, str | None]:
        cell = row["quantity"]
        value = self._decimal(row, "quantity", least=-money.LARGEST) or Decimal(0)
        if value != value.to_integral_value():
            raise row.wrong("quantity", f"“{cell[:40]}” is not a whole number")
        if value < 0:
            return 0, f"{self._columns.name('quantity')}: {cell[:40]} is taken as 0"
        return int(value), None

    def _amount(self, row: _Row, field: str) -> Decimal | None:
        value = self._decimal(row, field)
        try:
            return None if value is None else money.amount(value, self._currency, field)
        except Problem as error:
            raise row.wrong(field, error.detail.removeprefix(f"{field}: ")) from error

    def _decimal(self, row: _Row, field: str, least: Decimal = money.ZERO) -> Decimal | None:
        cell = row[field]
        if not cell:
            return None
        try:
            value = numbers.number(cell, has_decimal_commas=self._has_decimal_commas)
        except numbers.Ambiguous:
            bare = cell.replace(",", "").replace(".", "")
            words = f"“{cell}” may be {bare} or {bare[:-3]}.{bare[-3:]}"
            raise row.wrong(
                field, f"{words}; write numbers without a thousands separator"
            ) from None
        except ValueError:
            raise row.wrong(field, f"“{cell[:40]}” is not a number") from None
        if not least <= value < money.LARGEST:
            words = f"must be at least 0 and below {money.LARGEST:f}"
            raise row.wrong(field, f"“{cell[:40]}” {words}")
        return value


def _complete(
    product: NewProduct, names: list[str], variants: list[Variant], images: list[NewImage]
) -> None:
    """Sets a product's fields that come from its variants. Raises msgspec.ValidationError."""
    options: list[dict[str, Any]] = []
    for name in filter(None, names):
        values = (variant.option_values[name] for variant in variants)
        options.append({"name": name, "values": list(dict.fromkeys(values))})
    if options == [{"name": "Title", "values": ["Default Title"]}]:
        options = []  # Shopify's form of a product without options
        for variant in variants:
            variant.option_values, variant.title = {}, "Default"
    product.options = msgspec.convert({"title": "x", "options": options}, NewProduct).options
    # A product has its first variant's weight; a variant that differs has its own.
    product.weight = next((variant.weight for variant in variants if variant.weight), None)
    known = {image.src for image in images}
    for variant in variants:
        if variant.weight == product.weight:
            variant.weight = None
        if variant.image_src and variant.image_src not in known:
            known.add(variant.image_src)
            given = {"src": variant.image_src, "position": len(images) + 1}
            images.append(msgspec.convert(given, NewImage))
    product.images = images


def _images(group: list[_Row]) -> tuple[list[NewImage], list[Fault]]:
    images: dict[str, NewImage] = {}
    faults: list[Fault] = []
    for row in group:
        src = row["image"]
        if not src or src in images:
            continue
        position = row["image_position"]
        number = int(position[:6]) if position.isdecimal() else len(images) + 1
        fields = {"src": src, "alt_text": row["image_alt"][:255], "position": number}
        try:
            images[src] = msgspec.convert(fields, NewImage)
        except msgspec.ValidationError as error:
            name = row.columns.name("image")
            faults.append(Fault(row.line, row["handle"], f"{name}: {_words(error)}"))
    return list(images.values()), faults


def _truth(row: _Row, field: str, *, default: bool) -> bool:
    cell = row[field].lower()
    if not cell:
        return default
    if cell not in TRUE | FALSE:
        raise row.wrong(field, f"“{cell[:40]}” is neither true nor false")
    return cell in TRUE


def _printable(cell: str) -> str:
    return cell[:80].encode("utf-8", "replace").decode().replace("\x00", "?")


def _words(error: msgspec.ValidationError) -> str:
    """The validator's message, with the field in front."""
    reason, _, place = str(error).replace("`", "").partition(" - at $.")
    return f"{place}: {reason}" if place else reason
