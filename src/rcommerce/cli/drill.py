"""rcommerce drill: breaks a fleet of this machine under load, and holds it to what is promised."""

from typing import Annotated

import msgspec
import typer
from rich.table import Table

from rcommerce.cli.session import Json, err, out
from rcommerce.drills.outcome import Outcome, Phase
from rcommerce.drills.registry import DRILLS
from rcommerce.drills.registry import run as run_one
from rcommerce.drills.stage import stage
from rcommerce.errors import SettingsError

BROKEN = 1
app = typer.Typer(
    help="Breaks a fleet under load, and holds it to what is promised.", no_args_is_help=True
)


@app.command("list")
def list_drills(as_json: Json = False) -> None:
    """List the drills."""
    if as_json:
        rows = [{"name": name, "about": each.about} for name, each in DRILLS.items()]
        print(msgspec.json.encode({"drills": rows}).decode())
        return
    table = Table("Name", "What", header_style="bold", box=None)
    for name, each in DRILLS.items():
        table.add_row(name, each.about)
    out.print(table)


@app.command()
def run(
    name: Annotated[str | None, typer.Argument(help="A drill's name.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them, one after the other.")] = False,
    as_json: Json = False,
) -> None:
    """Run a drill on a fleet of its own, or all. Exit code 1: a promise was broken.

    Examples:

      rcommerce drill run kill-instance

      rcommerce drill run --all --json
    """
    if (name is None) != every:
        raise SettingsError("give a drill's name, or --all")
    if name is not None and name not in DRILLS:
        raise SettingsError(f"there is no drill {name}; there are {', '.join(DRILLS)}")
    names = list(DRILLS) if name is None else [name]
    outcomes: list[Outcome] = []
    with (
        err.status("a fleet comes up") as status,
        stage(lambda text: status.update(f"a fleet comes up: {text}")) as fleet,
    ):
        for number, each in enumerate(names, 1):
            status.update(f"{each} ({number} of {len(names)}): {DRILLS[each].about}")
            outcomes.append(run_one(each, fleet))
            if not as_json:
                _print(outcomes[-1])
        status.update("the fleet goes")
    if as_json:
        shown = outcomes[0] if name else {"drills": outcomes}
        print(msgspec.json.encode(shown).decode())
    elif len(outcomes) > 1:
        held = sum(each.passed for each in outcomes)
        out.print(f"{held} of {len(outcomes)} drills passed")
    if not all(each.passed for each in outcomes):
        raise typer.Exit(BROKEN)


def _print(outcome: Outcome) -> None:
    verdict = "[green]passed[/green]" if outcome.passed else "[red]FAILED[/red]"
    out.print(f"{verdict}  [bold]{outcome.name}[/bold]: {outcome.promise}")
    out.print(f"  [dim]{outcome.load}; {outcome.seconds:g} s[/dim]")
    for check in outcome.checks:
        if not check.held:
            out.print(f"  [red]not held:[/red] {check.promise}: {check.found}")
    phases = {"before": outcome.before, "during": outcome.during, "after": outcome.after}
    if any(phases.values()):
        out.print(_phases(phases))
    facts = [f"{outcome.acknowledged:,} orders acknowledged"]
    facts += [f"{getattr(outcome, each)} {each}" for each in ("lost", "duplicated", "oversold")]
    if outcome.recovered_s is not None:
        facts.append(f"recovered in {outcome.recovered_s:g} s")
    out.print(f"  {', '.join(facts)}")
    for key, value in outcome.details.items():
        out.print(f"  [dim]{key.replace('_', ' ')}: {value or 'none'}[/dim]")


def _phases(phases: dict[str, Phase | None]) -> Table:
    table = Table("", "reads", "failed", "p50 ms", "p99 ms", box=None, padding=(0, 2))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, each in phases.items():
        if each is not None:
            cells = (each.requests, each.failed, each.p50_ms, each.p99_ms)
            table.add_row(name, *("-" if cell is None else f"{cell:,g}" for cell in cells))
    return table
