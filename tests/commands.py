"""`rcommerce …` for tests, hundreds of times: each is a process of its own, forked from one that
has imported all that there is and built a server, as that is most of their time."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from rcommerce.lab import server

IMPORTED = """
    accounts bench cache config db demo deploy doctor drill imports jobs lab lifecycle media move
    openapi plan serve shard simulate tenant watch worker
""".split()
launch_anew = server.launch


def install() -> None:
    """From now on the lab's servers, workers and commands are started so."""
    server.launch, server.execute = launch, execute


class Forked:
    """As subprocess.Popen, as far as the lab needs it."""

    def __init__(self, *of: Any) -> None:
        self._process = _context().Process(target=_run, args=of)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        """The same."""
        return self.poll()

    def wait(self, timeout: float | None = None) -> int:
        """How it ended. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("rcommerce", timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Where it lives."""
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()


def launch(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    cpus: set[int] | None = None,
) -> Any:
    """As `rcommerce.lab.server.launch`."""
    if cpus or environment.get("LD_PRELOAD"):
        return launch_anew(arguments, folder, environment, log, cpus)
    log.touch(mode=0o600)  # some look into it at once
    return Forked(arguments, folder, dict(environment), log, log)


def execute(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """As `rcommerce.lab.server.execute`."""
    with tempfile.TemporaryDirectory(prefix="rcommerce-test-") as place:
        out, err = Path(place, "stdout"), Path(place, "stderr")
        code = Forked(arguments, folder, dict(environment), out, err).wait()
        return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())


def _context() -> ForkServerContext:
    """That of the process to fork from. It looks for what it imports where Python does by itself:
    what it does not find, it leaves out without a word."""
    context = multiprocessing.get_context("forkserver")
    commands = [f"rcommerce.cli.{name}" for name in IMPORTED]
    context.set_forkserver_preload([*commands, "commands", "warm"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        forkserver.ensure_running()
    return context


def _run(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], out: Path, err: Path
) -> None:
    os.setsid()
    # As in a process of its own: else the server's workers, too, would have to import everything.
    multiprocessing.set_start_method("fork", force=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    opened = [
        os.open(os.devnull, os.O_RDONLY),
        *(os.open(path, flags, 0o600) for path in (out, err)),
    ]
    for number, file in enumerate(opened):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["rcommerce", *arguments]
    if path := environment.get("PYTHONPATH"):
        _import_anew(path)
    import_module("rcommerce.cli").main()


def _import_anew(path: str) -> None:
    """From now on, the package is another copy; what it needs has been imported."""
    for name in list(sys.modules):
        if name.partition(".")[0] == "rcommerce":
            del sys.modules[name]
    sys.path[:0] = path.split(os.pathsep)
