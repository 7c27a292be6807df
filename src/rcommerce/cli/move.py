"""rcommerce tenant move: move a tenant to another shard while it sells."""

import json
from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import psycopg
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from rcommerce.cli.session import ConfigFile, Json, databases, err, out
from rcommerce.cli.session import settings as read_settings
from rcommerce.database import moves
from rcommerce.database.cluster import replicas
from rcommerce.errors import NotFound, SettingsError, StartError
from rcommerce.settings import Settings
from rcommerce.settings.load import MAIN

MaxPause = Annotated[
    float, typer.Option("--max-pause", min=0.5, max=60, help="Maximum pause of writes in seconds.")
]
DropAfter = Annotated[
    float,
    typer.Option(min=0, help="Seconds after the move when the old rows are deleted."),
]


def move(
    tenant: Annotated[str, typer.Argument(help="Slug or id.")],
    to: Annotated[str | None, typer.Option("--to", help="The shard, as in the settings.")] = None,
    abort: Annotated[bool, typer.Option("--abort", help="Revert an unfinished move.")] = False,
    max_pause: MaxPause = 2.5,
    drop_after: DropAfter = 20.0,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Move a tenant to another shard while it sells.

    PostgreSQL's logical replication copies its rows and follows its writes; then writes pause for a
    moment, every table is compared, and the tenant is switched. If interrupted at any point, the
    tenant keeps selling where it is: run the same command again to resume, or --abort.

    Examples:

      rcommerce tenant move acme --to shard-2

      rcommerce tenant move acme --abort
    """
    given = read_settings(config).settings
    if abort == (to is not None):
        raise SettingsError("tenant move needs either --to SHARD or --abort")
    what = plan_move(given, tenant, to or "", max_pause, drop_after)
    if abort:
        moves.abort(what)
        print(json.dumps({"aborted": True})) if as_json else out.print("Taken back.")
        return
    done = run_move(what, quiet=as_json)
    if as_json:
        print(json.dumps(asdict(done)))
    else:
        say_done(tenant, done)


def plan_move(
    given: Settings, tenant: str, to: str, max_pause_s: float = 2.5, drop_after_s: float = 20.0
) -> moves.Move:
    """What a move needs from the settings. Raises SettingsError, StartError, NotFound."""
    if given.database.db_type == "Embedded":
        raise SettingsError(
            "tenants are moved between PostgreSQL servers of your own: there is one embedded"
            " database here"
        )
    for node in (given.database, *given.database.shards):
        if node.pooler != "None" and not node.direct_hosts:
            raise SettingsError(
                "database.direct_hosts is needed for a move where a pooler stands before a server:"
                " replication does not pass it"
            )
    found = databases(given)
    return moves.Move(
        tenant=_id(found[MAIN], tenant),
        target=to,
        databases=found,
        control=found[MAIN],
        replicas=replicas(given.database, to),
        max_pause_s=max_pause_s,
        drop_after_s=drop_after_s,
    )


def run_move(what: moves.Move, *, quiet: bool) -> moves.Progress:
    """Moves, with a progress line on the terminal."""
    bar = Progress(
        TextColumn("[bold]{task.description:>9}[/bold]"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
        console=err,
        disable=quiet,
    )
    with bar:
        task = bar.add_task("prepare", total=None, state="")

        def tell(now: moves.Progress) -> None:
            bar.update(
                task,
                description=now.phase,
                total=now.of_rows or None,
                completed=now.rows,
                state=_state(now),
            )

        what.tell = tell
        return moves.move(what)


def _state(now: moves.Progress) -> str:
    parts = []
    if now.of_rows:
        parts.append(f"{now.rows:,} of {now.of_rows:,} rows")
    if now.phase == "copy":
        parts.append(f"{now.tables} of {now.of_tables} tables")
        if now.bytes:
            parts.append(f"{now.bytes / 1e6:.1f} MB")
    if now.phase in ("catch up", "drain"):
        parts.append(f"{now.lag_bytes / 1e3:,.0f} kB behind")
    if now.phase == "drop" and now.dropped_rows:
        parts.append(f"{now.dropped_rows:,} old rows deleted")
    if now.eta_s is not None:
        what = "until the old rows go" if now.phase == "drop" else "left"
        parts.append(f"{now.eta_s:.0f} s {what}")
    return " · ".join(parts)


def say_done(tenant: str, done: moves.Progress) -> None:
    """One line on what has happened."""
    if done.source == done.target:
        out.print(f"[bold]{tenant}[/bold] lives on {done.target} already.")
        return
    pause = f"; writes waited {done.pause_s:.2f} s" if done.pause_s is not None else ""
    out.print(
        f"Moved [bold]{tenant}[/bold] from {done.source} to [bold]{done.target}[/bold]:"
        f" {done.verified_rows:,} rows compared{pause}; {done.dropped_rows:,} old rows deleted."
    )


def _id(dsn: str, name: str) -> UUID:
    try:
        with psycopg.connect(dsn) as connection:
            row = connection.execute(
                "select id from tenant where slug = %(name)s or id::text = lower(%(name)s)",
                {"name": name},
            ).fetchone()
    except psycopg.OperationalError as error:
        raise StartError(f"the database cannot be reached: {str(error).strip()}") from error
    if row is None:
        raise NotFound(f"there is no tenant {name}")
    return UUID(str(row[0]))
