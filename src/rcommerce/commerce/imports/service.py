"""Imports products: reads a file, writes batches, and keeps account of what was left out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO

from rcommerce.commerce.imports import bulk
from rcommerce.commerce.imports.bulk import Counts
from rcommerce.commerce.imports.shopify import Fault, Parsed, read
from rcommerce.commerce.shop import Shop

BATCH = 200


@dataclass(slots=True)
class Report:
    """What an import did. `rejected` were left out; `notes` were taken in another way."""

    counts: Counts = field(default_factory=Counts)
    rejected: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)


class _DryRun(Exception):
    pass


async def products(
    shop: Shop,
    file: BinaryIO,
    *,
    dry_run: bool = False,
    set_stock: bool = False,
    progress: Callable[[Report], None] = lambda _: None,
) -> Report:
    """Imports a Shopify export. Each batch is one transaction; a dry run takes each back.

    Raises ValueError where the file is no such export.
    """
    report = Report()
    parsed = _sorted_out(read(file, shop.tenant.currency), report)
    while batch := list(islice(parsed, BATCH)):
        try:
            async with shop.write() as tx:
                batch = await _without_foreign_skus(shop, batch, report)
                if batch:
                    counts = await bulk.upsert(
                        tx,
                        shop.tenant.id,
                        shop.tenant.currency,
                        [each.product for each in batch],
                        set_stock=set_stock,
                        actor=shop.caller.name,
                    )
                    report.counts.add(counts)
                _end(dry_run)
        except _DryRun:
            pass
        progress(report)
    report.rejected.sort(key=lambda fault: fault.line)
    return report


def _end(dry_run: bool) -> None:
    if dry_run:
        raise _DryRun


def _sorted_out(found: Iterator[Parsed | Fault], report: Report) -> Iterator[Parsed]:
    for each in found:
        if isinstance(each, Parsed):
            yield each
        else:
            (report.notes if each.is_note else report.rejected).append(each)


async def _without_foreign_skus(shop: Shop, batch: list[Parsed], report: Report) -> list[Parsed]:
    """Leaves out variants whose SKU is another's, in the shop or further up in the file."""
    skus = [v.sku for each in batch for v in each.product.variants if v.sku]
    async with shop.read() as conn:
        owners = await bulk.sku_owners(conn, shop.tenant.id, skus)
    kept = []
    for each in batch:
        product, slug = each.product, each.product.slug or ""
        good = []
        for line, variant in zip(each.variant_lines, product.variants, strict=True):
            me = (slug, variant.option_values)
            owner = owners.setdefault(variant.sku, me) if variant.sku else me
            if owner == me:
                good.append(variant)
            else:
                reason = f"Variant SKU: “{variant.sku}” belongs to the product {owner[0]}"
                report.rejected.append(Fault(line, slug, reason))
        product.variants = good
        if good:
            kept.append(each)
        else:
            reason = "the product is left out: it has no variant that is right"
            report.rejected.append(Fault(each.line, slug, reason))
    return kept
