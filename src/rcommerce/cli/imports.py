"""rcommerce import: import a shop's data."""

import csv
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from rcommerce.cli.session import ConfigFile, Json, TenantName, err, out, with_shop
from rcommerce.commerce.imports import service as imports
from rcommerce.commerce.imports.service import Report
from rcommerce.commerce.shop import Shop
from rcommerce.errors import StartError

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
    if not file.is_file():
        raise StartError(f"{file}: there is no such file")
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=as_json,
    )
    with bar, file.open("rb") as raw:
        size = file.stat().st_size
        task = bar.add_task("Checking" if dry_run else "Importing", total=size)

        async def work(shop: Shop) -> Report:
            return await imports.products(
                shop,
                raw,
                dry_run=dry_run,
                set_stock=set_stock,
                progress=lambda _: bar.update(task, completed=size if raw.closed else raw.tell()),
            )

        try:
            done = with_shop(config, tenant, work)
        except ValueError as error:
            raise StartError(f"{file}: {error}") from error
        bar.update(task, completed=size)
    if report is not None:
        _write(report, done)
    if as_json:
        print(json.dumps(_summary(done, dry_run)))
    else:
        _print(done, dry_run)
    if done.rejected:
        raise typer.Exit(SOME_REJECTED)


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
    for title, faults in (("Rejected", done.rejected), ("Changed", done.notes)):
        if not faults:
            continue
        table = Table("Line", "Handle", "Reason", title=title, header_style="bold")
        for each in faults[:SHOWN]:
            table.add_row(str(each.line), each.handle, each.reason.replace("[", "\\["))
        out.print(table)
        if len(faults) > SHOWN:
            out.print(f"… and {len(faults) - SHOWN:,} more: --report FILE lists all.")


def _write(path: Path, done: Report) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("line", "handle", "reason"))
        writer.writerows((each.line, each.handle, each.reason) for each in done.rejected)
