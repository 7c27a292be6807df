"""`rcommerce …` for tests, hundreds of times: each command is a process of its own, forked from one
that has imported what commands need, as that is most of their time."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path

from rcommerce.cli import main
from rcommerce.lab.server import Server

SPAWNED = Server.command
IMPORTED = ("accounts", "config", "db", "demo", "doctor", "imports", "jobs", "shard", "tenant")


def command(self: Server, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """As `Server.command`; what needs another interpreter gets one."""
    if not all(name.startswith("RCOMMERCE_") for name in more) or self.is_of_another_release:
        return SPAWNED(self, *arguments, **more)
    self.data_dir.mkdir(parents=True, exist_ok=True)
    environment = {**self.environment, **more}
    with tempfile.TemporaryDirectory(prefix="rcommerce-test-") as place:
        streams = [Path(place, name) for name in ("stdout", "stderr")]
        process = _context().Process(
            target=_run, args=(arguments, environment, self.data_dir, streams)
        )
        process.start()
        process.join()
        out, err = (each.read_text() for each in streams)
    return subprocess.CompletedProcess(arguments, process.exitcode or 0, out, err)


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["commands", *(f"rcommerce.cli.{name}" for name in IMPORTED)])
    return context


def _run(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, streams: Sequence[Path]
) -> None:
    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["rcommerce", *arguments]
    main()
