"""rcommerce db: the revisions of the control database and of every shard."""

import asyncio
import json

import typer
from rich.table import Table

from rcommerce.cli.session import (
    ConfigFile,
    Json,
    databases,
    err,
    out,
    running_database,
    settings,
    settle,
)
from rcommerce.database import migrate, migrations
from rcommerce.errors import StartError
from rcommerce.settings import Settings

app = typer.Typer(help="Migrate the databases.", no_args_is_help=True)


@app.command()
def upgrade(config: ConfigFile = None, as_json: Json = False) -> None:
    """Migrate every database to this release's schema.

    Each database is migrated under its own lock: it is safe to run this twice, or concurrently. If
    one fails, the others are migrated, and the next run continues. Exit code 1: one has failed.

    Example: rcommerce db upgrade --config /etc/rcommerce.toml
    """
    given = settings(config).settings
    with running_database(given, migrated=False):
        reports = []
        is_one = len(databases(given)) == 1
        for report in migrate.upgrade_all(databases(given)):
            reports.append(report)
            if not as_json:
                _say(report, "" if is_one else f"{report.name}: ")
        failed = [report for report in reports if report.error]
        _finish(given, reports)
    if as_json:
        first = reports[0]
        rows = [
            {"name": each.name, "before": each.before, "after": each.after, "error": each.error}
            for each in reports
        ]
        print(json.dumps({"before": first.before, "after": first.after, "databases": rows}))
    if failed:
        raise typer.Exit(1)


def _finish(given: Settings, reports: list[migrate.Report]) -> None:
    """What follows a migration: the role's timeouts, and the tenants' shards, which need every
    database."""
    if given.database.db_type == "Postgres":
        for report in reports:
            if not report.error:
                migrate.keep_timeouts(databases(given)[report.name], given.database)
    if not any(report.error for report in reports):
        asyncio.run(settle(given))


def _say(report: migrate.Report, name: str) -> None:
    if report.error:
        err.print(f"[red]{name}{report.error}[/red]")
    elif report.before == report.after:
        out.print(f"{name}Already at [bold]{report.after}[/bold].")
    else:
        before = report.before or "an empty database"
        out.print(f"{name}Upgraded from {before} to [bold]{report.after}[/bold].")


@app.command()
def current(config: ConfigFile = None, as_json: Json = False) -> None:
    """Print the schema revision of each database and of this release. Exit code 1: they differ.

    Example: rcommerce db current --json
    """
    given = settings(config).settings
    found: dict[str, str | None] = {}
    with running_database(given, migrated=False):
        for name, dsn in databases(given).items():
            try:
                found[name] = migrate.revision(dsn)
            except StartError as error:
                if len(databases(given)) == 1:
                    raise
                err.print(f"[red]{name}: {error}[/red]")
                found[name] = None
    if as_json:
        answer = {"database": found["main"], "release": migrations.head(), "databases": found}
        print(json.dumps(answer))
    elif len(found) == 1:
        out.print(f"database {found['main'] or 'empty'}, release {migrations.head()}")
    else:
        table = Table("Database", "Revision", header_style="bold")
        for name, revision in found.items():
            table.add_row(name, revision or "-")
        out.print(table)
        out.print(f"release {migrations.head()}")
    if any(revision != migrations.head() for revision in found.values()):
        raise typer.Exit(1)
