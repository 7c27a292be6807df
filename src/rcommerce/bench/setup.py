"""The environment of benchmarks: a shop in a temporary folder, each side on its processor.

PostgreSQL and the load are on one processor, the measured side (a worker of the server, or the
client that is its ceiling) on another: the same for both sides of a ratio.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from rcommerce.database.embedded import EmbeddedPostgres
from rcommerce.errors import StartError
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.server import Server
from rcommerce.lab.settings import database

INSTANCE = {
    "RCOMMERCE_JOBS__IN_SERVER": "false",
    "RCOMMERCE_CHECKOUT__SWEEP_INTERVAL_SECS": "3600",
}
# A load comes from one address.
UNLIMITED = {
    "RCOMMERCE_RATE_LIMITING__ENABLED": "false",
    "RCOMMERCE_SERVER__LIMITS__RATE_LIMIT_PER_MINUTE": "0",
}


@dataclass(frozen=True, slots=True)
class Bench:
    """A shop to measure. `tell` reports progress; `settings` are those of its database if that is
    not embedded."""

    folder: Path
    dsn: str
    measured_cpus: set[int]
    other_cpus: set[int]
    tell: Callable[[str], None]
    settings: Mapping[str, str] = field(default_factory=dict)

    def server(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        workers: int = 1,
        every: bool = False,
        name: str = "",
    ) -> Server:
        """The server with one worker, on the measured processor; with `every` on the others, too.
        Like an instance of a fleet, it runs no jobs."""
        cpus = self.measured_cpus | self.other_cpus if every else self.measured_cpus
        given = {**INSTANCE, **self.settings, **(settings or {})}
        return Server(self.folder / name, settings=given, cpus=cpus, workers=workers)

    def query(self, sql: str, *params: object) -> list[tuple[object, ...]]:
        """Rows from the shop's database."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(sql, params or None)
            return list(cursor.fetchall()) if cursor.description else []


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is removed afterwards."""
    path = Path(tempfile.mkdtemp(prefix="rcommerce-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def shop(products: int, tell: Callable[[str], None]) -> Iterator[Bench]:
    """A shop with so many demo products; its folder is removed afterwards. Raises StartError."""
    with temporary_folder() as folder, pinned() as measured:
        yield from _shop(folder, products, measured, tell)


@contextlib.contextmanager
def unpinned_shop(products: int, tell: Callable[[str], None]) -> Iterator[Bench]:
    """The same, with every processor for each part. Raises StartError."""
    with temporary_folder() as folder:
        yield from _shop(folder, products, os.sched_getaffinity(0), tell)


@contextlib.contextmanager
def external_shop(
    products: int, tell: Callable[[str], None], postgres: Mapping[str, str]
) -> Iterator[Bench]:
    """The same on a PostgreSQL that is not embedded, with settings of its own. Raises
    StartError."""
    with temporary_folder() as folder, pinned() as measured:
        tell("starting PostgreSQL")
        with Postgres(folder / "primary", settings=postgres) as primary:
            settings = database(primary)
            dsn = primary.conninfo("postgres")
            bench = Bench(folder, dsn, measured, os.sched_getaffinity(0), tell, settings)
            admin = Server(folder / "admin", settings=settings)
            upgraded = admin.command("db", "upgrade")
            if upgraded.returncode != 0:
                raise StartError(upgraded.stderr)
            tell(f"making {products:,} products")
            _load_demo(admin, products)
            yield bench


@contextlib.contextmanager
def pinned() -> Iterator[set[int]]:
    """Keeps this process, and all that it starts, off the measured processor: yields that."""
    before = os.sched_getaffinity(0)
    measured = {min(before)}
    os.sched_setaffinity(0, before - measured or before)
    try:
        yield measured
    finally:
        os.sched_setaffinity(0, before)


def _shop(
    folder: Path, products: int, measured: set[int], tell: Callable[[str], None]
) -> Iterator[Bench]:
    tell("starting PostgreSQL")
    with EmbeddedPostgres(folder / "postgres") as postgres:
        tell(f"making {products:,} products")
        _load_demo(Server(folder), products)
        yield Bench(folder, postgres.conninfo, measured, os.sched_getaffinity(0), tell)


def _load_demo(server: Server, products: int) -> None:
    done = server.command("demo", "load", "--products", str(products), "--json")
    if done.returncode != 0:
        raise StartError(f"the demo products could not be made: {done.stderr[-2000:]}")


def run_pinned(bench: Bench, command: list[str], stdin: str = "") -> str:
    """A program's whole output, run on the measured processor. Raises StartError."""
    cpus = bench.measured_cpus
    done = subprocess.run(  # noqa: S603
        command,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )
    if done.returncode != 0:
        raise StartError(f"{command[0]} failed ({done.returncode}): {done.stdout[-3000:]}")
    return done.stdout


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules."""
    return [sys.executable, "-m", module, *arguments]
