"""A server of the lab as a process: start, watch, stop, kill, freeze."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from rcommerce.database import binaries
from rcommerce.errors import StartError

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 20
# How to install what a lab needs.
WHEELS = "run “make install” in a clone, or “pip install rcommerce[lab]”"


def installed(program: str, title: str, packages: str) -> Path:
    """A Debian program, even if the PATH lacks system folders. Raises StartError."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/usr/local/bin"
    found = shutil.which(program, path=path)
    if found is None:
        raise StartError(f"{title} is not installed: apt-get install {packages}")
    return Path(found)


class Process:
    """A program in the foreground, run as a user that a database server accepts."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id. Raises StartError where it does not run."""
        if self._process is None:
            raise StartError(f"{self.name} has not been started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the program; `await_port` waits until it listens."""
        self.log.touch(mode=0o600)
        binaries.give(self.log)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **binaries.identity(),
            )

    def await_port(self, port: int) -> None:
        """Waits for a listener. Raises StartError, with the end of the log."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if not self.is_running:
                raise StartError(f"{self.name} ended at its start:\n{self.log_tail()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.02)
        raise StartError(f"{self.name} did not listen on port {port}:\n{self.log_tail()}")

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, where it lives."""
        if self.is_running:
            os.kill(self.pid, number)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Asks it to end and waits; kills it if it hangs."""
        if self._process is None:
            return
        self.send(how)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kills it and its children (SIGKILL), like a power failure."""
        if self._process is None:
            return
        self._send_all(signal.SIGKILL)
        self._process.wait()

    def freeze(self) -> None:
        """Freezes it and its children (SIGSTOP): connections are accepted and not answered."""
        self._send_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continues it (SIGCONT)."""
        self._send_all(signal.SIGCONT)

    def _send_all(self, number: signal.Signals) -> None:
        for pid in family(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def log_tail(self, lines: int = 15) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Part(ABC):
    """A server of the lab on a port of the loopback address; use it as a context manager."""

    def __init__(self, port: int, process: Process) -> None:
        self.port = port
        self.process = process

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def address(self) -> str:
        """host:port, as in the settings."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Its process id, where it runs."""
        return self.process.pid if self.process.is_running else None

    @property
    def log(self) -> Path:
        """Its log file."""
        return self.process.log

    @abstractmethod
    def start(self) -> None:
        """Starts it, creating it at the first time, and waits until it answers.

        Raises StartError.
        """

    def stop(self) -> None:
        """Stops it."""
        self.process.stop()

    def kill(self) -> None:
        """Kills it, like a power failure."""
        self.process.kill()


def family(pid: int) -> list[int]:
    """A process and its descendants: a server's children may have sessions of their own."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
            found += [int(child) for child in children.split()]
    return found
