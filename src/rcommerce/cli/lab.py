"""rcommerce lab: a whole fleet on this machine, as real processes."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.live import Live
from rich.table import Table

from rcommerce.cli.session import Json, err, out
from rcommerce.errors import StartError
from rcommerce.lab import state
from rcommerce.lab.fleet import Fleet, Profile
from rcommerce.lab.supervisor import Supervisor, prepared

app = typer.Typer(help="Run a whole fleet on this machine.", no_args_is_help=True)
FOLDER = Path("data/lab")
PRODUCTS = 1_000
UP_TIMEOUT_S = 180.0
COLOURS = {"running": "green", "dead": "red", "stopped": "yellow"}
Folder = Annotated[Path, typer.Option("--dir", help="The lab's folder.")]
PartName = Annotated[str, typer.Argument(metavar="PART", help="As in lab status.")]


@app.command()
def up(
    profile: Annotated[
        Profile, typer.Option(help="fleet: everything. shop: one instance.")
    ] = "fleet",
    products: Annotated[int, typer.Option(min=1, help="In the default tenant.")] = PRODUCTS,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    folder: Folder = FOLDER,
    as_json: Json = False,
) -> None:
    """Start a fleet, until Ctrl-C or lab down.

    fleet: nginx and HAProxy before three instances and a worker; a PostgreSQL primary with two
    replicas, four shards, PgBouncer; a Valkey Cluster of three masters and three replicas;
    SeaweedFS as S3; Prometheus. shop: one instance, a worker, one PostgreSQL.

    Everything listens on 127.0.0.1 and writes below --dir, which is removed at the end.

    Examples:

      rcommerce lab up

      rcommerce lab up --profile shop --detach

      rcommerce lab kill shop-2; rcommerce lab status
    """
    folder = prepared(folder)
    if detach:
        _up_detached(folder, profile, products, is_quiet=as_json)
        _show(state.require(folder), as_json=as_json)
        return
    begun = time.monotonic()

    def tell(text: str) -> None:
        err.print(f"[dim]{time.monotonic() - begun:5.1f} s[/dim]  {text}")

    def is_up() -> None:
        found = state.require(folder)
        _show(found, as_json=as_json)
        if not as_json:
            took_s = time.monotonic() - begun
            out.print(f"Up in {took_s:.0f} s. [dim]Ctrl-C ends it, and removes its files.[/dim]")

    supervisor = Supervisor(Fleet(folder, profile, products=products, tell=tell))
    supervisor.run(is_up)
    err.print("All of it has ended.")


def _up_detached(folder: Path, profile: Profile, products: int, *, is_quiet: bool) -> None:
    """Starts a lab in a process of its own, and waits until it is up. Raises StartError."""
    command = [
        sys.executable, "-m", "rcommerce", "lab", "up", "--profile", profile,
        "--products", str(products), "--dir", str(folder),
    ]  # fmt: skip
    log = folder.with_name(f"{folder.name}.log")
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
    reported, deadline = 0, time.monotonic() + UP_TIMEOUT_S
    try:
        while (found := state.read(folder)) is None or found["phase"] == "starting":
            if process.poll() is not None or time.monotonic() > deadline:
                break
            lines = log.read_text(errors="replace").splitlines()
            for line in lines[reported:] if not is_quiet else ():
                err.print(line, markup=False, highlight=False)
            reported = len(lines)
            time.sleep(0.1)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    if found is None or found["phase"] != "up":
        process.terminate()
        process.wait()
        raise StartError(f"the lab did not come up:\n{log.read_text(errors='replace')[-3000:]}")
    log.unlink()


@app.command()
def status(folder: Folder = FOLDER, as_json: Json = False) -> None:
    """Show the parts and their states. Exit code 1: a part is dead.

    Example: rcommerce lab status --json
    """
    found = state.require(folder)
    _show(found, as_json=as_json)
    if any(part["state"] == "dead" for part in found["parts"]):
        raise typer.Exit(1)


@app.command()
def watch(
    url: Annotated[
        str | None, typer.Option(help="Any fleet, such as https://shop.example. Default: the lab.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(envvar="RCOMMERCE_KEY", help="An API key with the scope tenants:read."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print once and exit.")] = False,
    folder: Folder = FOLDER,
    as_json: Json = False,
) -> None:
    """Watch instances, databases and queues until Ctrl-C, like the page /ops.

    Examples:

      rcommerce lab watch

      rcommerce lab watch --once --json

      rcommerce lab watch --url https://shop.example --key ak_...
    """
    from rcommerce.cli.watch import drawn, views

    urls = [url.rstrip("/")] if url else _instances(folder)
    last, note = None, ""
    with contextlib.ExitStack() as stack:
        live = None
        if not as_json and not once:
            live = stack.enter_context(
                Live(console=out, screen=out.is_terminal, auto_refresh=False)
            )
        for each in views(urls, key):
            if isinstance(each, str):
                note = each
                if once:
                    raise StartError(each)
            else:
                last, note = each, ""
            if live is not None and last is not None:
                live.update(drawn(last, note), refresh=True)
            elif as_json and not note:
                print(msgspec.json.encode(each).decode(), flush=True)
            elif last is not None:
                out.print(drawn(last))
            if once:
                return


def _instances(folder: Path) -> list[str]:
    parts = state.require(folder)["parts"]
    found = [f"http://{each['address']}" for each in parts if each["name"].startswith("shop-")]
    if not found:
        raise StartError("the lab has no instance yet")
    return found


@app.command()
def logs(
    part: PartName,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Number of lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow the log.")] = False,
    folder: Folder = FOLDER,
) -> None:
    """Print the log of a part.

    Examples:

      rcommerce lab logs shop-1 --follow

      rcommerce lab logs primary -n 200
    """
    log = Path(_part(folder, part)["log"])
    if not log.exists():
        return
    with log.open(errors="replace") as file:
        print(*file.read().splitlines()[-lines:] if lines else (), sep="\n", flush=True)
        while follow and log.exists():
            print(file.read(), end="", flush=True)
            time.sleep(0.2)


@app.command()
def kill(part: PartName, folder: Folder = FOLDER, as_json: Json = False) -> None:
    """Kill a part (SIGKILL).

    Example: rcommerce lab kill primary
    """
    _ask(folder, "kill", part, as_json=as_json)


@app.command()
def stop(part: PartName, folder: Folder = FOLDER, as_json: Json = False) -> None:
    """Stop a part, and wait until it has stopped.

    Example: rcommerce lab stop shop-2
    """
    _ask(folder, "stop", part, as_json=as_json)


@app.command()
def start(part: PartName, folder: Folder = FOLDER, as_json: Json = False) -> None:
    """Start a stopped or killed part, and wait until it answers.

    Example: rcommerce lab start shop-2
    """
    _ask(folder, "start", part, as_json=as_json)


@app.command()
def down(folder: Folder = FOLDER, as_json: Json = False) -> None:
    """Stop a lab and remove its files, after a crash too.

    Example: rcommerce lab down
    """
    was_there = state.end(folder)
    if was_there:
        state.remove(folder)
    if as_json:
        print(json.dumps({"ended": was_there}))
    else:
        out.print("All of it has ended." if was_there else f"There is no lab in {folder}.")


def _ask(folder: Path, what: str, part: str, *, as_json: bool) -> None:
    answer = state.ask(folder, what, part)
    if as_json:
        print(json.dumps({"part": part, **answer}))
    else:
        out.print(f"{part}: {answer['state']} [dim]after {answer['seconds']} s[/dim]")


def _part(folder: Path, name: str) -> Mapping[str, Any]:
    return state.part(state.require(folder), name)


def _show(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found))
        return
    table = Table("Part", "What", "Address", "Pid", "State", header_style="bold", box=None)
    for part in found["parts"]:
        colour = COLOURS.get(part["state"], "dim")
        table.add_row(
            part["name"],
            f"[dim]{part['about']}[/dim]",
            part["address"] or "-",
            str(part["pid"] or "-"),
            f"[{colour}]{part['state']}[/{colour}]",
        )
    out.print(table)
    for line in found["missing"]:
        out.print(f"[yellow]{line}[/yellow]")
    if found["url"]:
        out.print(f"[bold]{found['url']}[/bold]", f"[dim]{found['url']}/docs[/dim]", sep="   ")
