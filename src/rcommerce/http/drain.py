"""Graceful shutdown of a worker: load balancers stop sending, clients are asked to reconnect
elsewhere, and whatever still arrives is answered."""

import asyncio
import os
import signal
from pathlib import Path

import structlog

from rcommerce.http.representation import Headers

BEGIN = signal.SIGUSR1  # sent by the server's main process to its workers
log = structlog.get_logger()


class Drain:
    """`headers` are added to each response; `begun` is set when the shutdown begins."""

    __slots__ = ("begun", "headers")

    def __init__(self) -> None:
        self.headers: Headers = []
        self.begun = asyncio.Event()

    @property
    def is_on(self) -> bool:
        """Whether the shutdown has begun."""
        return self.begun.is_set()

    def begin(self) -> None:
        """From now on each response closes its connection (RFC 9112, section 9.6)."""
        if not self.is_on:
            log.info("draining")
            self.headers = [(b"connection", b"close")]
            self.begun.set()

    def listen(self) -> None:
        """Begins when the main process signals it."""
        asyncio.get_running_loop().add_signal_handler(BEGIN, self.begin)


def is_ready(folder: Path, pid: int) -> bool:
    """Whether a worker has said that it is ready."""
    return (folder / f"ready-{pid}").exists()


def say_ready(folder: Path) -> None:
    """Tells the main process that this worker is ready: the one that it replaces may go."""
    (folder / f"ready-{os.getpid()}").touch()
