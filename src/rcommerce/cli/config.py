"""rcommerce config: the effective settings."""

import json
from pathlib import Path

import typer
from rich.table import Table

from rcommerce.cli.session import ConfigFile, Json, out
from rcommerce.settings import load

app = typer.Typer(help="The settings.", no_args_is_help=True)


@app.command()
def show(config: ConfigFile = None, as_json: Json = False) -> None:
    """Print every setting, secrets masked, and where each came from.

    Example: RCOMMERCE_SERVER__PORT=9000 rcommerce config show
    """
    loaded = load(config)
    if as_json:
        rows = {
            key: {"value": _plain(value), "origin": origin}
            for key, value, origin in loaded.masked()
        }
        print(json.dumps(rows, indent=2, default=str))
        return
    table = Table("Setting", "Value", "From", header_style="bold")
    for key, value, origin in loaded.masked():
        style = "dim" if origin == "default" else ""
        shown = "[dim]unset[/dim]" if value is None else _escaped(value)
        table.add_row(key, shown, origin, style=style)
    out.print(table)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _escaped(value: object) -> str:
    return str(value).replace("[", "\\[")
