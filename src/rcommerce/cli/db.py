"""rcommerce db: the database's revisions."""

import json

import typer

from rcommerce.cli.session import ConfigFile, Json, out, running_database, settings
from rcommerce.database import migrate, migrations

app = typer.Typer(help="The database's migrations.", no_args_is_help=True)


@app.command()
def upgrade(config: ConfigFile = None, as_json: Json = False) -> None:
    """Bring the database to this release's revision. Safe to run twice, or twice at once.

    Example: rcommerce db upgrade --config /etc/rcommerce.toml
    """
    with running_database(settings(config).settings, migrated=False) as dsn:
        before, after = migrate.upgrade(dsn)
    if as_json:
        print(json.dumps({"before": before, "after": after}))
    elif before == after:
        out.print(f"Already at [bold]{after}[/bold].")
    else:
        out.print(f"Upgraded from {before or 'an empty database'} to [bold]{after}[/bold].")


@app.command()
def current(config: ConfigFile = None, as_json: Json = False) -> None:
    """Print the database's revision, and the one that this release needs; exit 1 if they differ."""
    with running_database(settings(config).settings, migrated=False) as dsn:
        found = migrate.revision(dsn)
    if as_json:
        print(json.dumps({"database": found, "release": migrations.head()}))
    else:
        out.print(f"database {found or 'empty'}, release {migrations.head()}")
    if found != migrations.head():
        raise typer.Exit(1)
