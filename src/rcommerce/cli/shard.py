"""rcommerce shard: the databases of tenants."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from rcommerce.cli.move import DropAfter, MaxPause, plan_move, run_move, say_done
from rcommerce.cli.session import ConfigFile, Json, err, out, with_services
from rcommerce.cli.session import settings as read_settings
from rcommerce.commerce.shop import Services
from rcommerce.commerce.tenants import service
from rcommerce.errors import RCommerceError

app = typer.Typer(help="Manage the shards of tenants.", no_args_is_help=True)


@app.command("list")
def list_shards(config: ConfigFile = None, as_json: Json = False) -> None:
    """List the shards with their servers, tenants and moves in progress.

    Example: rcommerce shard list --json
    """

    async def work(services: Services) -> list[dict[str, Any]]:
        return await service.shards(services.cluster)

    found = with_services(config, work)
    if as_json:
        print(json.dumps({"shards": found}))
        return
    table = Table("Shard", "State", "Tenants", "Coming", "Going", "Size", header_style="bold")
    for each in found:
        size = f"{each['bytes'] / 1e6:,.0f} MB" if each["bytes"] is not None else "-"
        table.add_row(
            each["name"], each["state"], str(each["tenants"]), str(each["coming"]),
            str(each["going"]), size,
        )  # fmt: skip
    out.print(table)


@app.command()
def rebalance(
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the moves without running them.")
    ] = False,
    max_pause: MaxPause = 2.5,
    drop_after: DropAfter = 20.0,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Move every tenant to its shard: `id % number of shards`.

    Run this after shards were added to the settings of every instance. It moves one tenant after
    another, like “rcommerce tenant move”; if interrupted, run it again. Exit code 1: a move has
    failed; the others are done.

    Examples:

      rcommerce shard rebalance --plan

      rcommerce shard rebalance
    """
    given = read_settings(config).settings

    async def work(services: Services) -> list[service.Misplaced]:
        return await service.misplaced(services.cluster)

    wanted = with_services(config, work)
    if plan or not wanted:
        _print_plan(wanted, as_json=as_json)
        return
    done, failed = [], []
    for number, each in enumerate(wanted, 1):
        if not as_json:
            err.print(f"[dim]{number} of {len(wanted)}:[/dim] {each.slug} to {each.to}")
        try:
            what = plan_move(given, str(each.id), each.to, max_pause, drop_after)
            moved = run_move(what, quiet=as_json)
        except RCommerceError as error:
            failed.append({"tenant": each.slug, "error": str(error)})
            err.print(f"[red]{each.slug}:[/red] {error}")
            continue
        done.append({"tenant": each.slug, **asdict(moved)})
        if not as_json:
            say_done(each.slug, moved)
    if as_json:
        print(json.dumps({"moved": done, "failed": failed}))
    if failed:
        raise typer.Exit(1)


def _print_plan(wanted: list[service.Misplaced], *, as_json: bool) -> None:
    if as_json:
        rows = [
            {"tenant": each.slug, "id": str(each.id), "from": each.at, "to": each.to}
            for each in wanted
        ]
        print(json.dumps({"moves": rows}))
        return
    if not wanted:
        out.print("Every tenant is on the shard that its id belongs to.")
        return
    table = Table("Tenant", "From", "To", header_style="bold")
    for each in wanted:
        table.add_row(each.slug, each.at, each.to)
    out.print(table)
    out.print(f"{len(wanted)} moves; make them with “rcommerce shard rebalance”.")
