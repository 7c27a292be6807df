"""The command `rcommerce`: one file a command."""

import atexit
import contextlib
import os
import sys

import structlog
import typer
from rich.console import Console

from rcommerce import __version__
from rcommerce.cli import (
    accounts,
    bench,
    cache,
    config,
    db,
    demo,
    doctor,
    imports,
    jobs,
    media,
    serve,
    shard,
    tenant,
    worker,
)
from rcommerce.errors import RCommerceError, SettingsError

app = typer.Typer(
    name="rcommerce",
    help="R Commerce: a headless commerce server that grows from one command to a fleet.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"rcommerce {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """What every command shares."""


app.command("serve")(serve.serve)
app.command("worker")(worker.worker)
app.command("doctor")(doctor.doctor)
app.add_typer(db.app, name="db")
app.add_typer(config.app, name="config")
app.add_typer(imports.app, name="import")
app.add_typer(demo.app, name="demo")
app.add_typer(tenant.app, name="tenant")
app.add_typer(shard.app, name="shard")
app.add_typer(accounts.keys, name="apikey")
app.add_typer(accounts.staff, name="staff")
app.add_typer(cache.app, name="cache")
app.add_typer(media.app, name="media")
app.add_typer(jobs.app, name="jobs")
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Runs a command. Exit codes: 0 done, 1 it failed, 2 it was called or set wrongly."""
    # What a command prints is for its reader, who may be a machine: the log is apart.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        app()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except SettingsError as error:
        errors.print("[red]Settings:[/red]", end=" ")
        errors.print(str(error), markup=False)
        code = 2
    except RCommerceError as error:
        errors.print("[red]Error:[/red]", end=" ")
        errors.print(str(error), markup=False)
        code = 1
    except KeyboardInterrupt:
        code = 130
    _leave(code)


def _leave(code: int) -> None:
    """Ends the process without taking the interpreter apart: a thread of the object store's library
    that wakes up meanwhile would abort it (PyO3 on Python before 3.14)."""
    atexit._run_exitfuncs()  # noqa: SLF001 - what was to be done at the end is done
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
