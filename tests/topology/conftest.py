"""Fixtures of several real servers: PostgreSQL with replicas, and R Commerce on top."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import Running, running
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.server import Server

# A crash of the machine is no part of these tests, a kill of the process is: fsync may be off.
FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_preload_libraries": "pg_stat_statements",
}
QUICK = {
    "RCOMMERCE_CACHE__ENABLED": "false",  # what is asked of the databases is to come to them
    "RCOMMERCE_CHECKOUT__SWEEP_INTERVAL_SECS": "1",
    "RCOMMERCE_LOGGING__FORMAT": "Json",
}


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """A folder for one test's servers, gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="rcommerce-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def started() -> Iterator[Callable[[Postgres], Postgres]]:
    """Starts servers that end with the test, whatever happens."""
    servers: list[Postgres] = []

    def start(server: Postgres) -> Postgres:
        servers.append(server)
        if not server.process.is_running:
            server.start()
        return server

    yield start
    for server in servers:
        server.kill()


@contextlib.contextmanager
def shop_on(server: Server) -> Iterator[Running]:
    """A running shop on databases that are migrated here."""
    made = server.command("db", "upgrade")
    assert made.returncode == 0, made.stdout + made.stderr
    try:
        server.start()
        yield running(server)
    finally:
        server.kill()


def count_statements(primary: Postgres) -> None:
    """Lets a primary and its replicas count what they run."""
    primary.query("create extension if not exists pg_stat_statements", user="postgres")


def product_reads(server: Postgres) -> int:
    """How many reads of products the server has run."""
    rows = server.query(
        "select coalesce(sum(calls), 0) from pg_stat_statements"
        " where query ilike '%from product %' and query not ilike '%insert into%'"
        " and query not ilike '%pg_stat_statements%'",
        user="postgres",
    )
    return int(rows[0][0])


def server_for(folder: Path, database: dict[str, str], **more: str) -> Server:
    """R Commerce on such a database."""
    return Server(folder, settings={**QUICK, **database, **more})
