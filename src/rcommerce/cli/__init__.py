"""The command `rcommerce`: one file a command, imported when it is asked for."""

import atexit
import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import structlog
import typer
from rich.console import Console
from typer.core import TyperGroup

from rcommerce import __version__
from rcommerce.errors import RCommerceError, SettingsError

COMMANDS = {
    "serve": "serve:serve",
    "worker": "worker:worker",
    "doctor": "doctor:doctor",
    "db": "db:app",
    "config": "config:app",
    "openapi": "openapi:openapi",
    "import": "imports:app",
    "demo": "demo:app",
    "tenant": "tenant:app",
    "shard": "shard:app",
    "apikey": "accounts:keys",
    "staff": "accounts:staff",
    "cache": "cache:app",
    "media": "media:app",
    "jobs": "jobs:app",
    "lab": "lab:app",
    "drill": "drill:app",
    "bench": "bench:app",
    "deploy": "deploy:app",
    "simulate": "simulate:app",
    "plan": "plan:plan_fleet",
}
# Packages that not every installation has, and the extra that brings them.
OPTIONAL = {"hdrh": "lab", "matplotlib": "lab"}


class _Commands(Mapping[str, Any]):
    """Each is imported when it is asked for: a server that starts needs none of the others."""

    def __getitem__(self, name: str) -> Any:
        module, _, what = COMMANDS[name].partition(":")
        found = getattr(import_module(f"rcommerce.cli.{module}"), what)
        parent = typer.Typer(add_completion=False)
        if isinstance(found, typer.Typer):
            parent.add_typer(found, name=name)
        else:
            parent.command(name)(found)
        return typer.main.get_group(parent).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _Group(TyperGroup):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands: Any = _Commands()


app = typer.Typer(
    name="rcommerce",
    help="R Commerce: a headless commerce server that grows from one command to a fleet.",
    cls=_Group,
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
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        errors.print(
            f"[red]Error:[/red] this command needs packages that a shop does not:"
            f" run “make install” in a clone, or “pip install rcommerce\\[{OPTIONAL[error.name]}]”"
        )
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
