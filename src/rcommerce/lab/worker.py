"""`rcommerce worker` as a process: start, stop, kill, freeze."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from rcommerce.lab import server
from rcommerce.lab.server import Server

STOP_TIMEOUT_S = 60


class Worker:
    """Runs the jobs of a server's shop; use it as a context manager."""

    def __init__(self, of: Server, name: str = "worker") -> None:
        self.log: Path = of.data_dir / f"{name}.log"
        self._server = of
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int | None:
        """Its process id, where it runs."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    @property
    def address(self) -> str:
        """It listens on no port."""
        return ""

    @property
    def exit_code(self) -> int | None:
        """Its exit code; None while it runs."""
        return None if self._process is None else self._process.poll()

    def configure(self, settings: Mapping[str, str]) -> None:
        """More settings, from the next start on."""
        self._server.configure(settings)

    def start(self) -> None:
        """Starts it; the log says when it works."""
        self._process = server.launch(
            ["worker"], self._server.data_dir, self._server.environment, self.log
        )

    def send(self, number: signal.Signals) -> None:
        """A signal, where it lives."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)

    def stop(self) -> int:
        """Asks it to end (SIGTERM) and waits; its exit code."""
        self.send(signal.SIGTERM)
        return 0 if self._process is None else self._process.wait(STOP_TIMEOUT_S)

    def kill(self) -> None:
        """Ends it at once (SIGKILL), as a crash would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGCONT)
                self._process.kill()
            self._process.wait()
