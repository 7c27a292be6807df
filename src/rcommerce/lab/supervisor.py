"""The process that runs the parts of a lab: keeps `lab.json` current, and executes other commands'
requests."""

import contextlib
import json
import os
import signal
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rcommerce.errors import RCommerceError, StartError
from rcommerce.lab import state
from rcommerce.lab.fleet import Fleet

LOOK_EVERY_S = 0.5


class Supervisor:
    """Runs a fleet until it is asked to end (SIGTERM, SIGINT)."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._folder = fleet.folder
        self._phase: state.Phase = "starting"
        self._ended = threading.Event()
        self._one_at_a_time = threading.Lock()
        self._written: dict[str, Any] = {}

    def run(self, is_up: Callable[[], None]) -> None:
        """Starts the fleet, calls `is_up`, and watches it. At the end nothing of it is running, and
        its folder is removed, unless it never came up. Raises StartError."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt)
        keeping = threading.Thread(target=self._keep_true, daemon=True)
        try:
            with self._listening():
                keeping.start()
                self._fleet.start()
                self._phase = "up"
                self._write()
                is_up()
                signal.pause()
        except KeyboardInterrupt:
            self._phase = "ending"
        except BaseException:
            self._phase = "failed"
            raise
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # it ends already
            self._fleet.kill()
            self._ended.set()
            keeping.join()
            if self._phase == "failed":
                self._write()
            else:
                state.remove(self._folder)

    def _keep_true(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            self._write()

    def _write(self) -> None:
        members = []
        for each in list(self._fleet.members.values()):
            pid = each.part.pid
            members.append(
                {
                    "name": each.name,
                    "about": each.about,
                    "address": each.part.address,
                    "state": each.state,
                    "pid": pid,
                    "born": state.born(pid),
                    "log": str(each.part.log),
                }
            )
        found = {
            "profile": self._fleet.profile,
            "phase": self._phase,
            "url": self._fleet.url,
            "pid": os.getpid(),
            "born": state.born(os.getpid()),
            "parts": members,
            "missing": self._fleet.missing,
        }
        if found != self._written:
            state.write(self._folder, found)
            self._written = found

    # Requests of other commands -----------------------------------------------------------------

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        supervisor = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                answer = supervisor.answer(json.loads(self.rfile.readline()))
                self.wfile.write(json.dumps(answer).encode() + b"\n")

        with socketserver.ThreadingUnixStreamServer(str(self._folder / state.SOCKET), Handler) as s:
            s.daemon_threads = True
            serving = threading.Thread(target=s.serve_forever, daemon=True)
            serving.start()
            try:
                yield
            finally:
                s.shutdown()
                serving.join()

    def answer(self, asked: dict[str, str]) -> dict[str, str]:
        """Executes a request about a part; returns its result."""
        what, name = asked.get("do", ""), asked.get("part", "")
        acts = {
            "start": self._fleet.start_part,
            "stop": self._fleet.stop_part,
            "kill": self._fleet.kill_part,
        }
        if what not in acts or name not in self._fleet.members:
            return {"error": f"there is nothing to {what or 'do'} that is called {name}"}
        begun = time.monotonic()
        try:
            with self._one_at_a_time:
                acts[what](name)
        except (RCommerceError, OSError) as error:
            return {"error": str(error)}
        self._write()
        return {
            "state": self._fleet.members[name].state,
            "seconds": f"{time.monotonic() - begun:.1f}",
        }


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def prepared(folder: Path) -> Path:
    """The empty folder of a lab. Raises StartError if it has other files, or a lab is running."""
    folder = folder.absolute()
    if len(str(folder / state.SOCKET)) > state.LONGEST_SOCKET:
        raise StartError(f"{folder} is too long a name for a Unix socket: choose another --dir")
    if folder.exists() and any(folder.iterdir()):
        found = state.read(folder)
        if found is None:
            raise StartError(f"{folder} is not empty, and no lab's: choose another --dir")
        if state.is_alive(found["pid"], found["born"]):
            raise StartError(f"there is a lab in {folder} already: rcommerce lab status, or down")
        state.end_orphans(found)
        state.remove(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
