"""rcommerce doctor: is everything that the settings name there, and does it fit together."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from rcommerce.app import worker_count
from rcommerce.cli.session import ConfigFile, Json, out
from rcommerce.cli.session import settings as read_settings
from rcommerce.database.doctor import Finding, examine

SIGNS = {"ok": "[green]✓[/green]", "warning": "[yellow]![/yellow]", "fault": "[red]✗[/red]"}


def doctor(
    instances: Annotated[
        int, typer.Option(min=1, help="How many instances are, or will be, running.")
    ] = 1,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Look at every server that the settings name, and say what is wrong, or will be.

    It compares what so many instances may hold with what PostgreSQL and PgBouncer have, and says
    with how many instances that ends. Exit code 1 where something is wrong.

    Examples:

      rcommerce doctor

      rcommerce doctor --instances 12 --json
    """
    settings = read_settings(config).settings
    if settings.database.db_type == "Embedded":
        found = [Finding("ok", "the database", "is embedded: this process starts and sizes it")]
    else:
        found = list(examine(settings.database, worker_count(settings), instances))
    if as_json:
        print(json.dumps({"findings": [asdict(each) for each in found]}))
    else:
        table = Table.grid(padding=(0, 1))
        for each in found:
            advice = f"\n[dim]→ {each.advice}[/dim]" if each.advice else ""
            table.add_row(SIGNS[each.state], f"[bold]{each.about}[/bold]", each.message + advice)
        out.print(table)
    if any(each.state == "fault" for each in found):
        raise typer.Exit(1)
