"""rcommerce plan: calculate the size of a fleet."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from rcommerce.cli.session import Json, err, out
from rcommerce.cli.simulate import measured_costs
from rcommerce.errors import StartError
from rcommerce.simulation.planning import PRICES, Wanted, plan, read_prices


def plan_fleet(
    rps: Annotated[float, typer.Option(min=1, help="Requests per second at the peak.")],
    p99_ms: Annotated[float, typer.Option(min=1, help="Limit of the p99.")] = 100,
    products: Annotated[int, typer.Option(min=0, help="Per tenant.")] = 10_000,
    tenants: Annotated[int, typer.Option(min=1, help="Number of tenants.")] = 1,
    cpus: Annotated[int, typer.Option(min=1, help="CPUs per instance.")] = 2,
    database_cpus: Annotated[int, typer.Option(min=1, help="Of a PostgreSQL server.")] = 8,
    pool_size: Annotated[int, typer.Option(min=1, help="database.pool_size.")] = 20,
    max_connections: Annotated[int, typer.Option(min=10, help="Of a PostgreSQL server.")] = 100,
    costs: Annotated[
        Path | None,
        typer.Option(help="Output of rcommerce bench run mixed --json on your machine."),
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help=f"TOML with prices of an hour: {', '.join(PRICES)}.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a fleet.toml for rcommerce deploy.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Plan the size of a fleet, with the calculation.

    Costs were measured on the machine in docs/performance.md, or on yours with --costs. The range
    beside the number of instances covers slower and faster processors.

    Examples:

      rcommerce plan --rps 5000

      rcommerce plan --rps 100000 --p99-ms 50 --products 50000 --tenants 200 --cpus 4

      rcommerce bench run mixed --json > mixed.json; rcommerce plan --rps 20000 --costs mixed.json

      rcommerce plan --rps 5000 --write fleet.toml
    """
    wanted = Wanted(
        rps=rps,
        p99_ms=p99_ms,
        products=products,
        tenants=tenants,
        processors=cpus,
        database_processors=database_cpus,
        pool_size=pool_size,
        max_connections=max_connections,
    )
    made = plan(wanted, measured_costs(costs), read_prices(prices) if prices else PRICES)
    if write is not None:
        try:
            with write.open("x", encoding="utf-8") as file:
                file.write(made.fleet_toml())
        except OSError as error:
            raise StartError(f"{write} cannot be written: {error.strerror}") from error
        err.print(f"[dim]written: {write}[/dim]")
    if as_json:
        print(json.dumps(asdict(made)))
        return
    table = Table(show_header=False, box=None, padding=(0, 2))
    for line in made.lines:
        table.add_row(f"[bold]{line.what}[/bold]", line.value, f"[dim]{line.sum}[/dim]")
    out.print(table)
