"""rcommerce config: write a settings file, and show the effective settings."""

import json
import secrets
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from rcommerce.cli.session import ConfigFile, Json, out
from rcommerce.errors import SettingsError, StartError
from rcommerce.settings import load

TEMPLATES = Path(__file__).parent.parent / "settings" / "templates"
NEXT = {
    "laptop": ["rcommerce serve --demo"],
    "server": ["rcommerce db upgrade", "rcommerce doctor", "rcommerce serve"],
    "fleet": [
        "rcommerce deploy render all --fleet fleet.toml --out deploy",
        "rcommerce deploy check deploy",
    ],
}
app = typer.Typer(help="Write and show settings.", no_args_is_help=True)


@app.command()
def init(
    server: Annotated[
        bool, typer.Option("--server", help="For one server with a PostgreSQL of your own.")
    ] = False,
    fleet: Annotated[
        bool, typer.Option("--fleet", help="For a fleet: writes fleet.toml, too.")
    ] = False,
    folder: Annotated[Path, typer.Option("--dir", help="Where to write.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: Json = False,
) -> None:
    """Write a commented rcommerce.toml: for a laptop, one server, or a fleet.

    Examples:

      rcommerce config init

      rcommerce config init --server --dir /etc/rcommerce

      rcommerce config init --fleet
    """
    if server and fleet:
        raise SettingsError("give --server or --fleet, not both")
    kind = "fleet" if fleet else "server" if server else "laptop"
    template = "fleet.settings" if fleet else kind
    text = (TEMPLATES / f"{template}.toml").read_text("utf-8")
    files = {folder / "rcommerce.toml": text.replace("{secret}", secrets.token_hex(32))}
    if fleet:
        files[folder / "fleet.toml"] = (TEMPLATES / "fleet.toml").read_text("utf-8")
    if not force and (existing := [each for each in files if each.exists()]):
        raise SettingsError(f"{existing[0]} exists already; --force replaces it")
    for path, written in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)  # it may hold a secret
            path.write_text(written, encoding="utf-8")
        except OSError as error:
            raise StartError(f"{path} cannot be written: {error.strerror}") from error
    if as_json:
        print(json.dumps({"written": [str(path) for path in files]}))
        return
    out.print(f"Wrote {' and '.join(map(str, files))}. Next:", soft_wrap=True)
    for command in NEXT[kind]:
        out.print(f"  [cyan]{command}[/cyan]", soft_wrap=True)


@app.command()
def show(config: ConfigFile = None, as_json: Json = False) -> None:
    """Print every setting with its origin; secrets are masked.

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
