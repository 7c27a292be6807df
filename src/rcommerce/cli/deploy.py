"""rcommerce deploy: render the files of load balancers, poolers, clusters and monitoring."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from rcommerce.cli.session import Json, err, out
from rcommerce.deploy import check as checks
from rcommerce.deploy import render as rendering
from rcommerce.deploy.fleet import load_fleet
from rcommerce.errors import SettingsError, StartError

ALL = "all"
SIGNS = {"ok": "[green]✓[/green]", "missing": "[yellow]![/yellow]", "fault": "[red]✗[/red]"}
app = typer.Typer(
    help="Render and check configuration files for a fleet.",
    no_args_is_help=True,
)


@app.command()
def render(
    target: Annotated[list[str], typer.Argument(help="Targets; see rcommerce deploy targets.")],
    folder: Annotated[Path, typer.Option("--out", "-o", help="Output folder.")],
    fleet: Annotated[Path, typer.Option("--fleet", "-f", help="The fleet file.")] = Path(
        "fleet.toml"
    ),
    as_json: Json = False,
) -> None:
    """Render the files of targets, each in its own folder.

    Rendering is deterministic. No file contains a secret: each names where the secret is. An
    inconsistent fleet is rejected, with the calculation.

    Examples:

      rcommerce deploy render all --out deploy

      rcommerce deploy render nginx pgbouncer --fleet production.toml --out /tmp/deploy
    """
    wanted = list(rendering.TARGETS) if ALL in target else list(dict.fromkeys(target))
    for each in wanted:
        if each not in rendering.TARGETS:
            names = ", ".join([*rendering.TARGETS, ALL])
            raise SettingsError(f"unknown target {each}; available: {names}")
    written = rendering.render(load_fleet(fleet), wanted, folder)
    if as_json:
        print(json.dumps({"files": [str(each) for each in written]}))
        return
    for path in written:
        out.print(f"  {path}", markup=False)
    out.print(f"{len(written)} files. Have them checked: rcommerce deploy check {folder}")


@app.command()
def targets(as_json: Json = False) -> None:
    """List what can be rendered."""
    if as_json:
        print(json.dumps(rendering.TARGETS))
        return
    table = Table.grid(padding=(0, 2))
    for name, about in rendering.TARGETS.items():
        table.add_row(f"[bold]{name}[/bold]", about)
    out.print(table)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Folder of the rendered files.")],
    as_json: Json = False,
) -> None:
    """Check rendered files with the tools that will read them.

    Tools that are not installed are named, and how to install them. Exit code 1: a fault was found.

    Examples:

      rcommerce deploy check deploy

      rcommerce deploy check deploy --json
    """
    found = checks.check(folder)
    if not found:
        names = ", ".join(rendering.TARGETS)
        raise StartError(f"{folder} has nothing that was rendered: none of {names} is in it")
    if as_json:
        print(json.dumps({"checks": [asdict(each) for each in found]}))
    else:
        table = Table.grid(padding=(0, 1))
        for each in found:
            table.add_row(SIGNS[each.state], f"[bold]{each.target}[/bold]", each.tool)
        out.print(table)
        for each in found:
            if each.message and each.state != "ok":
                err.print(f"\n[bold]{each.target}[/bold], {each.tool}:")
                err.print(each.message, markup=False)
            if each.advice:
                err.print(f"→ {each.advice}", markup=False)
    if any(each.state == "fault" for each in found):
        raise typer.Exit(1)
