"""Reads a Shopify product export (CSV): streaming, row by row.

A product stands in one row or in several that follow each other with the same Handle: the first
has the Title, each may have a variant, an image, or both. What is wrong with a row is reported with
its line, and the rows around it stay good.

Source: https://help.shopify.com/manual/products/import-export/using-csv
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, BinaryIO

import msgspec

from rcommerce import ids, money
from rcommerce.commerce.catalog.schema import NewImage, NewProduct, NewVariant
from rcommerce.errors import Problem

LARGEST_FIELD = 10 * 1024 * 1024  # characters
GRAMS = {
    "g": Decimal(1),
    "kg": Decimal(1000),
    "oz": Decimal("28.349523125"),
    "lb": Decimal("453.59237"),
}
TRUE, FALSE = {"true", "yes", "1"}, {"false", "no", "0"}


@dataclass(frozen=True, slots=True)
class Fault:
    """A row, or a part of one, that was left out; or `is_note`, taken in another way."""

    line: int
    handle: str
    reason: str
    is_note: bool = False


@dataclass(slots=True)
class Parsed:
    """A product with the lines that its variants came from."""

    line: int
    product: NewProduct
    variant_lines: list[int] = field(default_factory=list)


class _Wrong(Exception):
    """What is wrong with a part of a row."""


def read(file: BinaryIO, currency: str) -> Iterator[Parsed | Fault]:
    """The products of an export, and what is wrong with it, in the order of the file.

    Raises ValueError where it is no such export at all.
    """
    csv.field_size_limit(LARGEST_FIELD)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    seen: set[int] = set()
    group: list[tuple[int, dict[str, str]]] = []
    for line, row in _rows(text):
        if isinstance(row, Fault):
            yield row
            continue
        handle = row["Handle"]
        if group and group[0][1]["Handle"] != handle:
            yield from _product(group, seen, currency)
            group = []
        group.append((line, row))
    if group:
        yield from _product(group, seen, currency)


def _rows(text: io.TextIOWrapper) -> Iterator[tuple[int, dict[str, str] | Fault]]:
    """(the line where it begins, the row by its columns)."""
    reader = csv.reader(text, strict=True)
    try:
        header = [name.strip() for name in next(reader)]
    except StopIteration:
        raise ValueError("the file is empty") from None
    except csv.Error as error:
        raise ValueError(f"line 1: {error}") from error
    missing = [name for name in ("Handle", "Title", "Variant Price") if name not in header]
    if missing:
        raise ValueError(
            f"this is no Shopify product export: the first line has no column “{missing[0]}”"
        )
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, Fault(line, "", f"not valid CSV: {error}")
            continue
        if cells:
            yield line, _row(line, header, cells)


def _row(line: int, header: list[str], cells: list[str]) -> dict[str, str] | Fault:
    row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
    handle = row.get("Handle", "")
    if len(cells) != len(header):
        reason = f"has {len(cells)} columns, the first line has {len(header)}"
        return Fault(line, _printable(handle), reason)
    for name, cell in row.items():
        if "\x00" in cell:
            return Fault(line, _printable(handle), f"{name}: has a NUL character")
        if any("\udc80" <= character <= "\udcff" for character in cell):
            return Fault(line, _printable(handle), f"{name}: is not valid UTF-8")
    if not handle:
        return Fault(line, "", "Handle: is missing")
    return row


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\x00", "?")


def _product(
    group: list[tuple[int, dict[str, str]]], seen: set[int], currency: str
) -> Iterator[Parsed | Fault]:
    """One product from its rows."""
    line, first = group[0]
    handle = first["Handle"]
    reason = None
    if hash(handle) in seen:
        reason = "the rows of a product must follow each other, and this one stood further up"
    elif not first["Title"]:
        reason = "Title: is missing in the first row of the product"
    seen.add(hash(handle))
    if reason is not None:
        yield from (Fault(each, handle, reason) for each, _ in group)
        return
    try:
        fields = _fields(first)
    except _Wrong as error:
        for number, (each, _) in enumerate(group):
            why = str(error) if number == 0 else f"the product was left out at line {line}"
            yield Fault(each, handle, why)
        return
    names = [first.get(f"Option{number} Name", "") for number in (1, 2, 3)]
    variants, faults = _variants(group, names, currency)
    images, more = _images(group)
    yield from faults
    yield from more
    if not variants:
        yield Fault(line, handle, "the product is left out: it has no variant that is right")
        return
    options = []
    for name in filter(None, names):
        values = (variant.option_values.get(name) for _, variant in variants)
        options.append({"name": name, "values": list(dict.fromkeys(filter(None, values)))})
    if options == [{"name": "Title", "values": ["Default Title"]}]:
        options = []  # how Shopify writes a product without options
        for _, variant in variants:
            variant.option_values, variant.title = {}, "Default"
    try:
        product = msgspec.convert({**fields, "options": options}, NewProduct)
    except msgspec.ValidationError as error:
        yield Fault(line, handle, _words(error))
        return
    product.variants = [variant for _, variant in variants]
    product.images = images
    yield Parsed(line, product, [each for each, _ in variants])


def _fields(row: dict[str, str]) -> dict[str, Any]:
    """The product's own fields, checked as a request's would be."""
    status = row.get("Status", "").lower()
    if not status:
        status = "active" if _truth(row, "Published", default=True) else "draft"
    unit = row.get("Variant Weight Unit", "").lower() or "kg"
    grams = _decimal(row, "Variant Grams")
    if unit not in GRAMS:
        raise _Wrong(f"Variant Weight Unit: “{unit}” is none of g, kg, oz, lb")
    fields: dict[str, Any] = {
        "slug": row["Handle"],
        "title": row["Title"],
        "description": row.get("Body (HTML)", ""),
        "vendor": row.get("Vendor", ""),
        "product_type": row.get("Type", ""),
        "tags": list(
            dict.fromkeys(tag.strip() for tag in row.get("Tags", "").split(",") if tag.strip())
        ),
        "status": status,
        "requires_shipping": _truth(row, "Variant Requires Shipping", default=True),
        "weight": round(grams / GRAMS[unit], 6) if grams else None,
        "weight_unit": unit,
        "seo_title": row.get("SEO Title", ""),
        "seo_description": row.get("SEO Description", ""),
    }
    if ids.is_uuid(row["Handle"]):
        raise _Wrong("Handle: must not look like an id")
    try:
        msgspec.convert(fields, NewProduct)
    except msgspec.ValidationError as error:
        raise _Wrong(_words(error)) from error
    return fields


def _variants(
    group: list[tuple[int, dict[str, str]]], names: list[str], currency: str
) -> tuple[list[tuple[int, NewVariant]], list[Fault]]:
    variants: list[tuple[int, NewVariant]] = []
    faults: list[Fault] = []
    taken: dict[tuple[str, ...], int] = {}
    for line, row in group:
        if not row.get("Variant Price") and not row.get("Option1 Value"):
            if not row.get("Image Src"):
                faults.append(Fault(line, row["Handle"], "has neither a variant nor an image"))
            continue
        try:
            variant, note = _variant(row, names, currency, len(variants) + 1)
        except _Wrong as error:
            faults.append(Fault(line, row["Handle"], str(error)))
            continue
        key = tuple(variant.option_values.values())
        if key in taken:
            reason = f"the variant has the same options as line {taken[key]}"
            faults.append(Fault(line, row["Handle"], reason))
            continue
        if note:
            faults.append(Fault(line, row["Handle"], note, is_note=True))
        taken[key] = line
        variants.append((line, variant))
    return variants, faults


def _variant(
    row: dict[str, str], names: list[str], currency: str, position: int
) -> tuple[NewVariant, str | None]:
    price = _decimal(row, "Variant Price")
    if price is None:
        raise _Wrong("Variant Price: is missing")
    quantity, note = _quantity(row)
    values = {
        name: row.get(f"Option{number} Value", "")
        for number, name in enumerate(names, start=1)
        if name
    }
    empty = [name for name, value in values.items() if not value]
    if empty:
        raise _Wrong(f"the option “{empty[0]}” has no value")
    try:
        variant = msgspec.convert(
            {
                "title": " / ".join(values.values()) or "Default",
                "sku": row.get("Variant SKU") or None,
                "barcode": row.get("Variant Barcode") or None,
                "price": _amount(price, currency, "Variant Price"),
                "compare_at_price": _optional(row, "Variant Compare At Price", currency),
                "cost_price": _optional(row, "Cost per item", currency),
                "option_values": values,
                "tracks_inventory": bool(row.get("Variant Inventory Tracker"))
                or bool(row.get("Variant Inventory Qty")),
                "inventory_policy": row.get("Variant Inventory Policy", "").lower() or "deny",
                "inventory_quantity": quantity,
                "position": position,
            },
            NewVariant,
        )
    except msgspec.ValidationError as error:
        raise _Wrong(_words(error)) from error
    return variant, note


def _quantity(row: dict[str, str]) -> tuple[int, str | None]:
    text = row.get("Variant Inventory Qty", "")
    if not text:
        return 0, None
    if not text.lstrip("-").isdecimal():
        raise _Wrong(f"Variant Inventory Qty: “{text[:40]}” is not a whole number")
    if text.startswith("-"):
        return 0, f"Variant Inventory Qty: {text[:40]} is taken as 0"
    return int(text[:12]), None


def _images(group: list[tuple[int, dict[str, str]]]) -> tuple[list[NewImage], list[Fault]]:
    images: list[NewImage] = []
    faults: list[Fault] = []
    for line, row in group:
        src = row.get("Image Src")
        if not src or any(image.src == src for image in images):
            continue
        alt_text = row.get("Image Alt Text", "")[:255]
        position = row.get("Image Position", "")
        number = int(position[:6]) if position.isdecimal() else len(images) + 1
        try:
            image = msgspec.convert(
                {"src": src, "alt_text": alt_text, "position": number}, NewImage
            )
        except msgspec.ValidationError as error:
            faults.append(Fault(line, row["Handle"], f"Image Src: {_words(error)}"))
            continue
        images.append(image)
    return images, faults


def _truth(row: dict[str, str], name: str, *, default: bool) -> bool:
    text = row.get(name, "").lower()
    if not text:
        return default
    if text not in TRUE | FALSE:
        raise _Wrong(f"{name}: “{text[:40]}” is neither true nor false")
    return text in TRUE


def _decimal(row: dict[str, str], name: str) -> Decimal | None:
    text = row.get(name, "")
    if not text:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise _Wrong(f"{name}: “{text[:40]}” is not a number") from None
    if not value.is_finite() or not 0 <= value < money.LARGEST:
        raise _Wrong(f"{name}: “{text[:40]}” must be at least 0 and below {money.LARGEST:f}")
    return value


def _optional(row: dict[str, str], name: str, currency: str) -> Decimal | None:
    value = _decimal(row, name)
    return None if value is None else _amount(value, currency, name)


def _amount(value: Decimal, currency: str, name: str) -> Decimal:
    try:
        return money.amount(value, currency, name)
    except Problem as error:
        raise _Wrong(error.detail) from error


def _words(error: msgspec.ValidationError) -> str:
    """The validator's message with the field in front."""
    reason, _, place = str(error).replace("`", "").partition(" - at $.")
    return f"{place}: {reason}" if place else reason
