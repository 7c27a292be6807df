"""Imports products: reads a file, writes batches, and records what was rejected."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from typing import BinaryIO

from rcommerce.commerce.imports import bulk
from rcommerce.commerce.imports.bulk import Counts
from rcommerce.commerce.imports.shopify import Export, Fault, Parsed
from rcommerce.commerce.shop import Shop
from rcommerce.database import Connection

BATCH = 500
WRITERS = 2
# After these batches PostgreSQL's statistics are updated: a shop that was empty has grown to many
# times the size that its plans were made for, sooner than autovacuum looks.
ANALYZED_BEFORE = {4**power for power in range(10)}


@dataclass(slots=True)
class Report:
    """The result of an import. `layout`: how the file was read. `rejected` were left out; `notes`
    were changed; `untaken` counts the values in columns that are not imported."""

    layout: str = ""
    counts: Counts = field(default_factory=Counts)
    rejected: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)
    untaken: Counter[str] = field(default_factory=Counter)


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
    """Imports a Shopify export. Each batch is a transaction; a dry run rolls each back. Some
    batches are written concurrently, while the next one is read.

    Raises ValueError if the file is no such export.
    """
    export = await asyncio.to_thread(Export, file, shop.tenant.currency)
    report = Report(layout=str(export.layout), untaken=export.untaken)
    parsed = _sorted_out(iter(export), report)
    numbers, turn = count(), asyncio.Lock()

    async def write() -> None:
        while True:
            async with turn:
                batch = await asyncio.to_thread(_next, parsed)
                if batch and next(numbers) in ANALYZED_BEFORE:
                    await bulk.analyze(shop)
            if not batch:
                return
            await _write(shop, batch, report, dry_run=dry_run, set_stock=set_stock)
            progress(report)

    try:
        async with asyncio.TaskGroup() as writers:
            for _ in range(WRITERS):
                writers.create_task(write())
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    report.rejected.sort(key=lambda fault: fault.line)
    return report


def _next(parsed: Iterator[Parsed]) -> list[Parsed]:
    return list(islice(parsed, BATCH))


async def _write(
    shop: Shop, batch: list[Parsed], report: Report, *, dry_run: bool, set_stock: bool
) -> None:
    try:
        async with shop.write() as tx:
            batch = await _without_foreign_skus(tx, shop, batch, report)
            if batch:
                counts = await bulk.upsert(
                    tx,
                    shop.tenant.id,
                    shop.tenant.currency,
                    batch,
                    set_stock=set_stock,
                    actor=shop.caller.name,
                )
                report.counts.add(counts)
            _end(dry_run)
    except _DryRun:
        pass


def _end(dry_run: bool) -> None:
    if dry_run:
        raise _DryRun


def _sorted_out(found: Iterator[Parsed | Fault], report: Report) -> Iterator[Parsed]:
    for each in found:
        if isinstance(each, Parsed):
            yield each
        else:
            (report.notes if each.is_note else report.rejected).append(each)


async def _without_foreign_skus(
    tx: Connection, shop: Shop, batch: list[Parsed], report: Report
) -> list[Parsed]:
    """Rejects variants whose SKU another product of the shop has."""
    skus = [variant.sku for each in batch for variant in each.variants if variant.sku]
    owners = await bulk.sku_owners(tx, shop.tenant.id, skus)
    kept = []
    for each in batch:
        slug = each.product.slug or ""
        good = []
        for variant in each.variants:
            me = (slug, variant.option_values)
            owner = owners.get(variant.sku or "", me)
            if owner == me:
                good.append(variant)
            else:
                reason = f"SKU: “{variant.sku}” belongs to the product {owner[0]}"
                report.rejected.append(Fault(variant.line, slug, reason))
        each.variants[:] = good
        if good:
            kept.append(each)
        else:
            reason = "product skipped: it has no valid variant"
            report.rejected.append(Fault(each.line, slug, reason))
    return kept
