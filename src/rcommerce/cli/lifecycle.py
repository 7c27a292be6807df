"""The main process of a server: starts, replaces and stops the workers."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import structlog
from granian.server.mp import MPServer

from rcommerce.errors import SettingsError
from rcommerce.http.drain import BEGIN, is_ready
from rcommerce.settings import load

READY_TIMEOUT_S = 30.0
log = structlog.get_logger()


class Instance(MPServer):
    """SIGTERM: /health returns 503 at once, and for `drain_delay_s` everything is still answered
    while load balancers notice; then the workers finish their requests and end. A second one ends
    them at once. SIGHUP: starts new workers with the present settings, one by one, each before the
    one that it replaces ends. Workers report in `folder` that they are ready."""

    def __init__(self, target: str, *, folder: Path, drain_delay_s: float, **more: Any) -> None:
        super().__init__(target, **more)
        self._folder = folder
        self._is_replacing = False
        self.was_impatient = False
        self._drain_delay_s = drain_delay_s
        self._is_draining = False
        self._pid = os.getpid()
        # For a worker that gets the signal before it listens: it has nothing to finish.
        signal.signal(BEGIN, signal.SIG_IGN)

    def signal_handler_interrupt(self, number: int = signal.SIGTERM, *rest: Any) -> None:
        if os.getpid() != self._pid:
            # In a worker without handlers of its own yet. A terminal's Ctrl-C reaches it, too: the
            # main process, which gets it as well, ends it.
            if number == signal.SIGTERM:
                os._exit(0)
            return
        if self._is_draining:
            log.warning("server_killed", why="asked twice to stop")
            self.was_impatient = True
            for worker in self.wrks:
                worker.kill()  # type: ignore[no-untyped-call]
            super().signal_handler_interrupt()  # type: ignore[no-untyped-call]
            return
        self._is_draining = True
        delay_s = 0 if number == signal.SIGINT else self._drain_delay_s
        log.info("server_stopping", drain_delay_s=delay_s)
        for worker in self.wrks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.inner.pid, BEGIN)
        if delay_s:
            end = threading.Timer(delay_s, super().signal_handler_interrupt)
            end.daemon = True
            end.start()
        else:
            super().signal_handler_interrupt()  # type: ignore[no-untyped-call]

    def signal_handler_reload(self, *rest: Any) -> None:
        try:
            load()
        except SettingsError as error:
            log.error("settings_not_reloaded", error=str(error))  # noqa: TRY400 - it says enough
            return
        log.info("settings_reloaded")
        super().signal_handler_reload()  # type: ignore[no-untyped-call]

    def _reload(self, *rest: Any) -> None:
        self._is_replacing = True
        try:
            super()._reload(*rest)  # type: ignore[no-untyped-call]
        finally:
            self._is_replacing = False

    def _spawn_worker(self, *rest: Any, **more: Any) -> Any:
        worker = super()._spawn_worker(*rest, **more)
        if self._is_replacing:
            start = worker.start

            def start_and_wait() -> None:
                start()  # type: ignore[no-untyped-call]
                self._await(worker.inner.pid)

            worker.start = start_and_wait  # type: ignore[method-assign]
        return worker

    def _await(self, pid: int) -> None:
        """Waits until a worker is ready, or never will be; the server's own delay follows."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not is_ready(self._folder, pid) and not self.interrupt_signal:
            if time.monotonic() > deadline or not Path("/proc", str(pid)).exists():
                log.error("worker_not_ready", pid=pid)
                return
            time.sleep(0.05)
