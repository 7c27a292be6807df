"""Leaving without being missed: balancers are told to send nothing more, clients to come back by
another connection, while all that still comes is answered."""

import asyncio
import os
import signal
from pathlib import Path

import structlog

from rcommerce.http.representation import Headers

BEGIN = signal.SIGUSR1  # what the server's main process tells its workers
log = structlog.get_logger()


class Drain:
    """A worker's. `headers` belong into each answer; `begun` is set once it is to end."""

    __slots__ = ("begun", "headers")

    def __init__(self) -> None:
        self.headers: Headers = []
        self.begun = asyncio.Event()

    @property
    def is_on(self) -> bool:
        """Whether this worker is about to end."""
        return self.begun.is_set()

    def begin(self) -> None:
        """From now on each answer says that its connection ends (RFC 9112 section 9.6)."""
        if not self.is_on:
            log.info("draining")
            self.headers = [(b"connection", b"close")]
            self.begun.set()

    def listen(self) -> None:
        """Begins when the main process says so."""
        asyncio.get_running_loop().add_signal_handler(BEGIN, self.begin)


def is_ready(folder: Path, pid: int) -> bool:
    """Whether a worker has said that it is."""
    return (folder / f"ready-{pid}").exists()


def say_ready(folder: Path) -> None:
    """Tells the main process that this worker is about to answer: the one before it may go."""
    (folder / f"ready-{os.getpid()}").touch()
