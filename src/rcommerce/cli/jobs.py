"""rcommerce jobs: background jobs, waiting and failed."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from rcommerce.cli.session import ConfigFile, Json, out, with_services
from rcommerce.commerce.shop import Services
from rcommerce.database import Connection, Freshness
from rcommerce.errors import NotFound
from rcommerce.jobs import queue
from rcommerce.settings.load import MAIN

app = typer.Typer(help="Manage background jobs.", no_args_is_help=True)
MOST = 200
ShardName = Annotated[str, typer.Option(help="The shard of the job's queue.")]


@app.command("list")
def list_(
    failed: Annotated[bool, typer.Option("--failed", help="Only failed jobs.")] = False,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """List the jobs of every shard, oldest first: at most 200 per shard.

    Examples:

      rcommerce jobs list

      rcommerce jobs list --failed --json
    """

    async def work(services: Services) -> list[dict[str, Any]]:
        found = []
        for shard in services.cluster:
            async with shard.read(Freshness.FRESH) as conn:
                rows = await queue.listed(conn, MOST, only_failed=failed)
            found += [{"shard": shard.name, **row} for row in rows]
        return found

    found = with_services(config, work)
    if as_json:
        print(json.dumps({"jobs": found}))
        return
    if not found:
        out.print("no job was given up" if failed else "no job waits")
        return
    names = ("shard", "id", "task", "state", "attempts", "due", "args")
    table = Table(*(name.capitalize() for name in names), header_style="bold", box=None)
    for row in found:
        table.add_row(*(str(row[name] if row[name] is not None else "") for name in names))
    out.print(table)


@app.command()
def retry(
    job: Annotated[
        int | None, typer.Argument(help="The job's number. Default: all failed jobs.")
    ] = None,
    shard: ShardName = MAIN,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Enqueue failed jobs again.

    Examples:

      rcommerce jobs retry

      rcommerce jobs retry 4711 --shard shard-2
    """
    count = _of_failed(queue.retry_failed, job, shard, config)
    print(json.dumps({"retried": count})) if as_json else out.print(f"{count} jobs wait again")


@app.command()
def discard(
    job: Annotated[int | None, typer.Argument(help="The job's number.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All failed jobs, on every shard.")] = False,
    shard: ShardName = MAIN,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Delete failed jobs without running them.

    Examples:

      rcommerce jobs discard 4711

      rcommerce jobs discard --all
    """
    if (job is None) != every:
        raise typer.BadParameter("give a job's number, or --all", param_hint="JOB")
    count = _of_failed(queue.discard_failed, job, shard, config)
    print(json.dumps({"discarded": count})) if as_json else out.print(f"{count} jobs are forgotten")


def _of_failed(
    act: Callable[[Connection, int | None], Awaitable[int]],
    job: int | None,
    shard: str,
    config: Path | None,
) -> int:
    """Applies to one failed job of a shard, or to all of every shard. Raises NotFound."""

    async def work(services: Services) -> int:
        if job is None:
            count = 0
            for each in services.cluster:
                async with each.write() as conn:
                    count += await act(conn, None)
            return count
        async with services.cluster.shard(shard).write() as conn:
            if not await act(conn, job):
                raise NotFound(f"{shard} has no failed job {job}")
        return 1

    return with_services(config, work)


@app.command()
def run(
    name: Annotated[
        str,
        typer.Argument(
            help="media.sweep, webhooks.sweep, prices.exchange_rates or channels.listings."
        ),
    ],
    config: ConfigFile = None,
) -> None:
    """Run a periodic job now, without waiting for its time.

    Example: rcommerce jobs run media.sweep
    """
    from rcommerce.worker import PERIODIC

    if name not in PERIODIC:
        raise typer.BadParameter(f"there are {', '.join(PERIODIC)}", param_hint="NAME")
    with_services(config, PERIODIC[name][1])
    out.print(f"{name} is done")
