"""rcommerce drill: break a fleet on this machine under load, and check its guarantees."""

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
app = typer.Typer(help="Break a fleet under load and check its guarantees.", no_args_is_help=True)


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
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Drills, as in drill list.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Run all of them.")] = False,
    as_json: Json = False,
) -> None:
    """Run drills on a temporary fleet. Exit code 1: a guarantee was broken.

    Examples:

      rcommerce drill run kill-instance

      rcommerce drill run redis-down redis-hang

      rcommerce drill run --all --json
    """
    if bool(names) == every:
        raise SettingsError("give a drill's name, or --all")
    wanted = names or list(DRILLS)
    if unknown := [each for each in wanted if each not in DRILLS]:
        raise SettingsError(f"unknown drill {unknown[0]}; available: {', '.join(DRILLS)}")
    outcomes: list[Outcome] = []
    with (
        err.status("Starting a fleet") as status,
        stage(lambda text: status.update(f"Starting a fleet: {text}")) as fleet,
    ):
        for number, each in enumerate(wanted, 1):
            status.update(f"{each} ({number} of {len(wanted)}): {DRILLS[each].about}")
            outcomes.append(run_one(each, fleet))
            if not as_json:
                _print(outcomes[-1])
        status.update("Stopping the fleet")
    if as_json:
        shown = outcomes[0] if len(outcomes) == 1 else {"drills": outcomes}
        print(msgspec.json.encode(shown).decode())
    elif len(outcomes) > 1:
        held = sum(each.passed for each in outcomes)
        left = sum(bool(each.not_run) for each in outcomes)
        more = f", {left} not run" if left else ""
        out.print(f"{held} of {len(outcomes)} drills passed{more}")
    if not all(each.passed or each.not_run for each in outcomes):
        raise typer.Exit(BROKEN)


def _print(outcome: Outcome) -> None:
    if outcome.not_run:
        out.print(f"[yellow]not run[/yellow]  [bold]{outcome.name}[/bold]: {outcome.not_run}")
        return
    verdict = "[green]passed[/green]" if outcome.passed else "[red]FAILED[/red]"
    out.print(f"{verdict}  [bold]{outcome.name}[/bold]: {outcome.promise}")
    out.print(f"  [dim]{outcome.load}; {outcome.seconds:g} s[/dim]")
    for check in outcome.checks:
        if not check.held:
            out.print(f"  [red]broken:[/red] {check.promise}: {check.found}")
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
