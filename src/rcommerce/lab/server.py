"""R Commerce itself as a process, started as a user starts it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from rcommerce.errors import StartError
from rcommerce.ports import free_port

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 40


def launch(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    log: Path,
    cpus: set[int] | None = None,
) -> subprocess.Popen[bytes]:
    """`rcommerce …` as a process with a session of its own."""
    with log.open("ab") as file:
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "rcommerce", *arguments],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None,
        )


def execute(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """`rcommerce …` to its end, with what it printed."""
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "rcommerce", *arguments],
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
    )


class Server:
    """`rcommerce serve` on a data directory; use it as a context manager.

    `settings` are environment variables, such as {"RCOMMERCE_CHECKOUT__SWEEP_INTERVAL_SECS": "1"};
    `cpus` pins the process and its workers. `source` is a folder with another release's package,
    instead of this one's.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        workers: int = 1,
        settings: Mapping[str, str] | None = None,
        cpus: set[int] | None = None,
        port: int | None = None,
        source: Path | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data_dir / f"server-{self.port}.log"
        self._workers = workers
        self._settings = dict(settings or {})
        self._cpus = cpus
        self._source = source
        self.process: subprocess.Popen[bytes] | None = None
        self.start_s = 0.0

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def settings(self) -> dict[str, str]:
        """What was given."""
        return dict(self._settings)

    @property
    def environment(self) -> dict[str, str]:
        """The environment for a command on the same shop."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RCOMMERCE_")}
        if self._source is not None:
            kept["PYTHONPATH"] = str(self._source)
        return {
            **kept,
            "RCOMMERCE_DATA_DIR": str(self.data_dir),
            "RCOMMERCE_SERVER__HOST": "127.0.0.1",
            **self._settings,
        }

    def configure(self, settings: Mapping[str, str]) -> None:
        """Adds settings, from the next start on."""
        self._settings |= settings

    def start(self) -> None:
        """Starts it and waits for its first 200. Raises StartError."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        command = ["serve", "--port", str(self.port), "--workers", str(self._workers)]
        begun = time.perf_counter()
        self.process = launch(command, self.data_dir, self.environment, self.log, self._cpus)
        self._await_first_answer(begun + START_TIMEOUT_S)
        self.start_s = time.perf_counter() - begun

    def _await_first_answer(self, deadline: float) -> None:
        while time.perf_counter() < deadline:
            if self.process is None or self.process.poll() is not None:
                raise StartError(f"the server ended at its start:\n{self.log.read_text()[-3000:]}")
            with (
                contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError),
                urllib.request.urlopen(f"{self.url}/health/ready", timeout=2) as answer,  # noqa: S310
            ):
                if answer.status == 200:
                    return
            time.sleep(0.02)
        self.kill()
        raise StartError(f"the server did not answer in {START_TIMEOUT_S} s: see {self.log}")

    def stop(self) -> int:
        """Sends SIGTERM and waits; its exit code. Kills it if it hangs."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode

    def kill(self) -> None:
        """Kills it and its workers (SIGKILL), like a crash."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id of the main process, if it is running."""
        if self.process is None or self.process.poll() is not None:
            return None
        return self.process.pid

    def workers(self) -> list[int]:
        """The process ids of its workers."""
        if self.process is None:
            return []
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def command(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Runs `rcommerce …` on the same shop, with `more` in its environment."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        return execute(arguments, self.data_dir, {**self.environment, **more})
