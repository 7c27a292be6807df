"""rcommerce doctor: check the whole installation."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from rcommerce.cli.session import ConfigFile, Json, err, out
from rcommerce.cli.session import settings as read_settings
from rcommerce.doctor.examination import examine
from rcommerce.doctor.findings import Finding, State

SIGNS: dict[State, str] = {
    "green": "[green]✓[/green]",
    "yellow": "[yellow]![/yellow]",
    "red": "[red]✗[/red]",
}
# the most important findings are last, next to the prompt
ORDER: tuple[State, ...] = ("green", "yellow", "red")


def doctor(
    instances: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of instances to plan for. Default: those that run, at least one.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 for yellow findings, too.")
    ] = False,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Check everything that the shop depends on, now or for more instances.

    Connects to every server in the settings: databases, replicas and poolers (version, mode,
    migrations), Redis (version, slots), the media store (writes, reads and deletes an object), the
    mail server and the CDN; each with its round-trip time. Running instances are compared with each
    other and with this command: release, settings, clocks. The connections of that many instances
    are compared with what PostgreSQL and PgBouncer allow.

    Green: healthy. Yellow: works, but should be improved. Red: does not work, or will not with that
    many instances; exit code 1.

    Examples:

      rcommerce doctor

      rcommerce doctor --instances 12 --json

      rcommerce doctor --strict --config /etc/rcommerce.toml
    """
    loaded = read_settings(config)
    with err.status("Looking at every server…"):
        found = asyncio.run(examine(loaded.settings, instances))
    counts = Counter(each.state for each in found)
    worst: State = "red" if counts["red"] else "yellow" if counts["yellow"] else "green"
    if as_json:
        print(json.dumps({"state": worst, "findings": [asdict(each) for each in found]}))
    else:
        out.print(_table(found))
        out.print(", ".join(f"[{each}]{counts[each]} {each}[/{each}]" for each in ORDER))
    if worst == "red" or (strict and worst == "yellow"):
        raise typer.Exit(1)


def _table(found: Sequence[Finding]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column()
    table.add_column(ratio=1, overflow="fold")
    table.add_column(ratio=2, overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    for each in sorted(found, key=lambda each: ORDER.index(each.state)):
        advice = f"\n[dim]→ {escape(each.advice)}[/dim]" if each.advice else ""
        trip = "" if each.round_trip_ms is None else f"{each.round_trip_ms:,.2f} ms"
        about, message = f"[bold]{escape(each.about)}[/bold]", escape(each.message) + advice
        table.add_row(SIGNS[each.state], about, message, f"[dim]{trip}[/dim]")
    return table
