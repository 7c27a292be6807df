"""rcommerce simulate: simulate a fleet under a load."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from rcommerce.cli.session import Json, err, out
from rcommerce.deploy.fleet import load_fleet
from rcommerce.errors import SettingsError
from rcommerce.simulation import plots, traces
from rcommerce.simulation.fleet import Around, Kind, Outcome, setup_of, simulate
from rcommerce.simulation.service import Costs

SHOWN_ROWS = 24
app = typer.Typer(help="Simulate a fleet under load.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """More than one command, some day."""


@app.command()
def autoscale(
    trace: Annotated[
        str, typer.Argument(help="diurnal, flash-sale, black-friday, bots, or a file.csv.")
    ],
    fleet: Annotated[Path, typer.Option("--fleet", "-f", help="The fleet file.")] = Path(
        "fleet.toml"
    ),
    against: Annotated[
        Path | None, typer.Option(help="Another fleet.toml to compare with.")
    ] = None,
    on: Annotated[str, typer.Option(help="Autoscaling of kubernetes or aws.")] = "kubernetes",
    rps: Annotated[
        float, typer.Option(min=1, help="Requests per second on an ordinary day.")
    ] = 2_000,
    edge_hits: Annotated[
        float,
        typer.Option(
            min=0, max=0.99999, help="For black-friday: share of requests that the CDN answers."
        ),
    ] = 0.995,
    p99_ms: Annotated[
        float,
        typer.Option(min=1, help="Limit in milliseconds above which a second counts as slow."),
    ] = 100,
    costs: Annotated[
        Path | None,
        typer.Option(help="Output of rcommerce bench run mixed --json on your machine."),
    ] = None,
    database_cpus: Annotated[
        float, typer.Option(min=0.1, help="CPUs of the primary and its replicas together.")
    ] = 24,
    redis_primaries: Annotated[
        int | None,
        typer.Option(min=1, help="Primaries of the cluster. Default: 3, or 1 without a cluster."),
    ] = None,
    price: Annotated[float, typer.Option(min=0, help="Price of a CPU hour.")] = 0.10,
    plot: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a plot as SVG and PNG.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Simulate autoscaling of these settings under a load trace.

    Follows the rules of Kubernetes' HorizontalPodAutoscaler, or of AWS target tracking. Instances
    take time to start, and more CPU per request until their caches are filled. The fleet holds if
    at most one request in a thousand is refused and one second in a hundred is slow. Exit code 1:
    it does not.

    Examples:

      rcommerce simulate autoscale flash-sale

      rcommerce simulate autoscale flash-sale --against prewarmed.toml --plot plots

      rcommerce simulate autoscale black-friday --edge-hits 0.999 --on aws --json

      rcommerce simulate autoscale yesterday.csv --database-cpus 48
    """
    if on not in ("kubernetes", "aws"):
        raise SettingsError(f"--on is {on}: it must be kubernetes or aws")
    kind: Kind = "kubernetes" if on == "kubernetes" else "aws"
    wanted = _trace(trace, rps, edge_hits)
    measured = measured_costs(costs)
    around = Around(database_cpus, redis_primaries, price)
    setups = [
        setup_of(load_fleet(path), kind, measured, around, path.stem)
        for path in (fleet, *([against] if against else []))
    ]
    outcomes = [simulate(each, wanted, p99_ms) for each in setups]
    for path in plots.save(outcomes, plot) if plot else ():
        err.print(f"[dim]drawn: {path}[/dim]")
    if as_json:
        print(json.dumps({"trace": wanted.about, "runs": [_shown(each) for each in outcomes]}))
    else:
        out.print(f"[bold]{wanted.name}[/bold]: {wanted.about}\n")
        for outcome in outcomes:
            _print(outcome, p99_ms)
    if not outcomes[0].has_held:
        raise typer.Exit(1)


def _trace(name: str, rps: float, edge_hits: float) -> traces.Trace:
    if name.endswith(".csv"):
        return traces.from_csv(Path(name))
    known = traces.built_in(rps, edge_hits)
    if name not in known:
        raise SettingsError(f"unknown trace {name}; available: {', '.join(known)}, or a file.csv")
    return known[name]


def measured_costs(path: Path | None) -> Costs:
    """The built-in costs, or those of a result of `bench run mixed`. Raises SettingsError."""
    if path is None:
        return Costs()
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        quiet, busy = rows[0], max(rows, key=lambda row: row["answered/s"])
        return Costs(
            request_ms=1000 * busy["server_cpu"] / busy["answered/s"],
            base_p50_ms=quiet["p50_ms"],
            base_p99_ms=quiet["p99_ms"],
        )
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise SettingsError(
            f"--costs {path}: must be what “rcommerce bench run mixed --json” printed ({error})"
        ) from error


def _print(outcome: Outcome, p99_ms: float) -> None:
    setup = outcome.setup
    table = Table(
        "minute", "asked", "served", "refused", "instances", "busy", "DB",
        *(["Redis"] if setup.redis_primaries else []), "p99 ms",
        title=f"{setup.name}: {setup.least} to {setup.most} instances of {setup.processors:g}"
        f" processors, {setup.cpu_percent:g} %, by {setup.kind}; requests a second",
        title_justify="left", header_style="bold",
    )  # fmt: skip
    for row in _few(outcome.rows):
        instances = f"{row.ready}" if row.ready == row.wanted else f"{row.ready} of {row.wanted}"
        p99 = "∞" if math.isinf(row.p99_ms) else f"{row.p99_ms:,.0f}"
        table.add_row(
            f"{row.at_s / 60:.1f}", f"{row.asked:,.0f}", f"{row.served:,.0f}",
            f"{row.refused:,.0f}", instances, f"{row.utilization:.0%}", f"{row.database:.0%}",
            *([f"{row.redis:.0%}"] if setup.redis_primaries else []),
            f"[red]{p99}[/red]" if row.p99_ms > p99_ms else p99,
        )  # fmt: skip
    out.print(table)
    verdict = "[green]It would have held.[/green]" if outcome.has_held else (
        "[red]It would not have held.[/red]"
    )  # fmt: skip
    out.print(
        f"{verdict} {outcome.refused_share:.2%} of the requests refused, {outcome.slow_share:.1%}"
        f" of the time slower than {p99_ms:g} ms, {outcome.most} instances at the most, cost"
        f" {outcome.cost:,.2f}."
    )
    for limit in sorted(outcome.limits):
        out.print(f"  what it met: {limit}")
    out.print()


def _few(rows: Sequence[Any]) -> list[Any]:
    """The rows where something changes: those that differ most from the row before."""
    if len(rows) <= SHOWN_ROWS:
        return list(rows)
    shown = [rows[0]]
    for bound in (1.05, 1.1, 1.2, 1.35, 1.6, 2.0, 3.0):
        shown = [rows[0]]
        for row in rows[1:]:
            last = shown[-1]
            high, low = max(row.asked, last.asked, 1), max(min(row.asked, last.asked), 1)
            if high / low > bound or abs(row.ready - last.ready) > (bound - 1) * max(3, last.ready):
                shown.append(row)
        if len(shown) <= SHOWN_ROWS:
            break
    return [*shown, rows[-1]] if shown[-1] is not rows[-1] else shown


def _shown(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.setup.name,
        "setup": asdict(outcome.setup),
        "has_held": outcome.has_held,
        "refused_share": outcome.refused_share,
        "slow_share": outcome.slow_share,
        "most_instances": outcome.most,
        "cost": outcome.cost,
        "limits": sorted(outcome.limits),
        "rows": [
            {key: None if value == math.inf else value for key, value in asdict(row).items()}
            for row in outcome.rows
        ],
    }
