"""rcommerce import: import a shop's data."""

import csv
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, BinaryIO, TypeVar

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from rcommerce.cli.session import ConfigFile, Json, TenantName, err, out, with_shop
from rcommerce.commerce.imports import service as imports
from rcommerce.commerce.imports.prices import PriceReport
from rcommerce.commerce.imports.prices import prices as import_prices
from rcommerce.commerce.imports.service import Report
from rcommerce.commerce.imports.shopify import Fault
from rcommerce.commerce.shop import Shop
from rcommerce.errors import StartError

T = TypeVar("T")
Work = Callable[[Shop], Awaitable[T]]
Progressing = Callable[[object], None]
SHOWN = 20
SOME_REJECTED = 3
app = typer.Typer(help="Import a shop's data.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Import a shop's data."""


@app.command()
def products(
    file: Annotated[
        Path, typer.Argument(help="A Shopify product export: CSV, or saved by a spreadsheet.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file; change nothing.")
    ] = False,
    set_stock: Annotated[
        bool,
        typer.Option("--set-stock", help="Also set the stock of existing variants."),
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write every rejected row to this CSV file.")
    ] = None,
    tenant: TenantName = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Import products. Running it again changes only what has changed in the file.

    Reads Shopify's product export, with today's column names or those of before 2024, in UTF-8,
    UTF-16 or Windows-1252, separated by commas, semicolons or tabs. A wrong row is rejected and
    reported with its line; the others are imported. Exit code 3: rows were rejected.

    Examples:

      rcommerce import products products_export.csv --dry-run

      rcommerce import products products_export.csv --report rejected.csv
    """

    def run(raw: BinaryIO, progress: Progressing) -> Work[Report]:
        return lambda shop: imports.products(
            shop, raw, dry_run=dry_run, set_stock=set_stock, progress=progress
        )

    done = _read(file, "Checking" if dry_run else "Importing", run, config, tenant, as_json)
    if report is not None:
        _write(report, done.rejected, "handle")
    if as_json:
        print(json.dumps(_summary(done, dry_run)))
    else:
        _print(done, dry_run)
    if done.rejected:
        raise typer.Exit(SOME_REJECTED)


@app.command()
def prices(
    file: Annotated[
        Path, typer.Argument(help="A table with the columns sku and price: CSV, or tabs.")
    ],
    price_list: Annotated[str, typer.Option("--list", help="Name or id of the price list.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file; change nothing.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write every rejected row to this CSV file.")
    ] = None,
    tenant: TenantName = None,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Import prices into a price list, by SKU. Running it again changes only what has changed.

    The columns are sku, price, and optionally min_quantity and compare_at, in any order; encodings
    and separators as for products. A wrong row is rejected and reported with its line; the others
    are imported. Exit code 3: rows were rejected.

    Example: rcommerce import prices wholesale.csv --list Wholesale --dry-run
    """

    def run(raw: BinaryIO, progress: Progressing) -> Work[PriceReport]:
        return lambda shop: import_prices(shop, raw, price_list, dry_run=dry_run, progress=progress)

    done = _read(file, "Checking" if dry_run else "Importing", run, config, tenant, as_json)
    if report is not None:
        _write(report, done.rejected, "sku")
    if as_json:
        print(json.dumps(_price_summary(done, dry_run)))
    else:
        valid = "valid" if dry_run else "changed"
        out.print(
            f"{done.changed:,} prices {valid}, {done.unchanged:,} unchanged;"
            f" {len(done.rejected):,} rows rejected."
        )
        _print_faults("Rejected", "SKU", done.rejected)
    if done.rejected:
        raise typer.Exit(SOME_REJECTED)


def _read(
    file: Path,
    title: str,
    run: Callable[[BinaryIO, Progressing], Work[T]],
    config: Path | None,
    tenant: str | None,
    is_quiet: bool,
) -> T:
    """Runs an import of a file, and shows how far it is. Raises StartError."""
    if not file.is_file():
        raise StartError(f"{file}: there is no such file")
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=is_quiet,
    )
    with bar, file.open("rb") as raw:
        size = file.stat().st_size
        task = bar.add_task(title, total=size)

        def show(_: object) -> None:
            bar.update(task, completed=size if raw.closed else raw.tell())

        try:
            done = with_shop(config, tenant, run(raw, show))
        except ValueError as error:
            raise StartError(f"{file}: {error}") from error
        bar.update(task, completed=size)
    return done


def _price_summary(done: PriceReport, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "read_as": done.layout,
        "currency": done.currency,
        "prices": {"changed": done.changed, "unchanged": done.unchanged},
        "rejected": [
            {"line": each.line, "sku": each.handle, "reason": each.reason} for each in done.rejected
        ],
    }


def _summary(done: Report, dry_run: bool) -> dict[str, object]:
    counts = done.counts
    return {
        "dry_run": dry_run,
        "read_as": done.layout,
        "products": {
            "created": counts.created,
            "updated": counts.updated,
            "unchanged": counts.unchanged,
        },
        "variants_written": counts.variants,
        "rejected": [
            {"line": each.line, "handle": each.handle, "reason": each.reason}
            for each in done.rejected
        ],
        "notes": [
            {"line": each.line, "handle": each.handle, "reason": each.reason} for each in done.notes
        ],
        "columns_not_imported": dict(done.untaken),
    }


def _print(done: Report, dry_run: bool) -> None:
    counts = done.counts
    would = "would be " if dry_run else ""
    out.print(
        f"{counts.created:,} products {would}created, {counts.updated:,} {would}updated,"
        f" {counts.unchanged:,} unchanged; {counts.variants:,} variants {would}written;"
        f" {len(done.rejected):,} rows rejected."
    )
    if done.layout != "UTF-8, separated by commas":
        out.print(f"Read as {done.layout}.")
    if done.untaken:
        names = ", ".join(f"{name} ({count:,})" for name, count in done.untaken.most_common())
        text = f"Columns that are not imported, with the rows that have a value: {names}"
        out.print(text.replace("[", "\\["))
    _print_faults("Rejected", "Handle", done.rejected)
    _print_faults("Changed", "Handle", done.notes)


def _print_faults(title: str, key: str, faults: list[Fault]) -> None:
    if not faults:
        return
    table = Table("Line", key, "Reason", title=title, header_style="bold")
    for each in faults[:SHOWN]:
        table.add_row(str(each.line), each.handle, each.reason.replace("[", "\\["))
    out.print(table)
    if len(faults) > SHOWN:
        out.print(f"… and {len(faults) - SHOWN:,} more: --report FILE lists all.")


def _write(path: Path, rejected: list[Fault], key: str) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("line", key, "reason"))
        writer.writerows((each.line, each.handle, each.reason) for each in rejected)
