"""rcommerce bench: benchmarks, as ratios to ceilings measured in the same run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from rcommerce.bench import plots, releases
from rcommerce.bench.load import LoadError
from rcommerce.bench.registry import BENCHMARKS, measure
from rcommerce.bench.releases import COMPARISONS
from rcommerce.bench.report import Result
from rcommerce.cli.session import Json, err, out
from rcommerce.errors import SettingsError, StartError

MISSED = 1
app = typer.Typer(help="Run benchmarks.", no_args_is_help=True)


@app.command("list")
def list_benchmarks(as_json: Json = False) -> None:
    """List the benchmarks."""
    if as_json:
        rows = [{"name": name, "about": b.about, "bar": b.bar} for name, b in BENCHMARKS.items()]
        print(msgspec.json.encode({"benchmarks": rows}).decode())
        return
    table = Table("Name", "What", "Bar", header_style="bold")
    for name, benchmark in BENCHMARKS.items():
        table.add_row(name, benchmark.about, benchmark.bar)
    out.print(table)


@app.command()
def run(
    name: Annotated[list[str], typer.Argument(help="Names of benchmarks, or all.")],
    plot: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write plots as SVG and PNG.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run benchmarks, each in a new shop. Exit code 1: one missed its bar, or could not be
    run.

    Examples:

      rcommerce bench run read-cold

      rcommerce bench run read-hot list-hot

      rcommerce bench run mixed --plot plots

      rcommerce bench run all --json
    """
    names = list(BENCHMARKS) if "all" in name else list(dict.fromkeys(name))
    is_one = len(names) == 1
    if unknown := [each for each in names if each not in BENCHMARKS]:
        known = ", ".join([*BENCHMARKS, "all"])
        raise SettingsError(f"unknown benchmark {unknown[0]}; available: {known}")
    results: list[Result] = []
    not_run: dict[str, str] = {}
    for number, each in enumerate(names, 1):
        title = each if is_one else f"{each} ({number} of {len(names)})"
        try:
            with err.status(title) as status:
                result = measure(each, lambda text, it=title: status.update(f"{it}: {text}"))  # type: ignore[misc]
        except (StartError, LoadError) as error:
            if is_one:
                raise
            not_run[each] = str(error)  # the other results are still useful
            err.print(f"[yellow]not run[/yellow]  [bold]{each}[/bold]: {error}")
            continue
        results.append(result)
        for path in plots.save(result, plot) if plot else ():
            err.print(f"[dim]drawn: {path}[/dim]")
        if not as_json:
            _print(result)
    if as_json:
        shown = results[0] if is_one else {"results": results, "not_run": not_run}
        print(msgspec.json.encode(shown).decode())
    elif not is_one:
        met = sum(result.ok for result in results)
        more = f", {len(not_run)} could not be run here" if not_run else ""
        out.print(f"{met} of {len(names)} benchmarks meet their bar{more}")
    if not_run or not all(result.ok for result in results):
        raise typer.Exit(MISSED)


@app.command()
def compare(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(COMPARISONS)}.")],
    other: Annotated[Path, typer.Option("--with", help="A clone of another release.")],
    as_json: Json = False,
) -> None:
    """Compare this release with another one. Exit code 1: below 0.95 of its throughput (reads) or
    0.90 (checkouts).

    Example: git worktree add ../before v0.1.0; rcommerce bench compare read-cold --with ../before
    """
    if name not in COMPARISONS:
        raise SettingsError(f"compare runs {', '.join(COMPARISONS)}, not {name}")
    with err.status(name) as status:
        result = releases.compared(name, other.absolute(), status.update)
    if as_json:
        print(msgspec.json.encode(result).decode())
    else:
        _print(result)
    if not result.ok:
        raise typer.Exit(MISSED)


def _print(result: Result) -> None:
    verdict = "[green]ok[/green]" if result.ok else "[red]missed[/red]"
    if result.ratio is None:
        line = f"{result.value:g} {result.unit} (bar ≤ {result.bar:g})"
    else:
        line = (
            f"{result.value:,.0f} {result.unit}, ceiling {result.ceiling:,.0f}:"
            f" ratio {result.ratio:.2f}"
        )
        line += f" (bar {'≤' if result.details.get('at_most') else '≥'} {result.bar:g})"
    out.print(f"[bold]{result.name}[/bold]  {line}  {verdict}")
    for key, value in result.details.items():
        if key not in ("rounds", "curves", "at_most"):
            out.print(f"  [dim]{key.replace('_', ' ')}: {value}[/dim]")
    if result.rows:
        out.print(_table(result.rows))


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for key in rows[0]:
        table.add_column(key.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*("-" if each is None else _cell(each) for each in row.values()))
    return table


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)
