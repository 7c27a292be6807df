"""Two servers of R Commerce in turn: the cost of a topology, or of another release. The load is
that of read-cold and of checkout."""

import asyncio
import contextlib
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

from rcommerce.bench import checkout, read_cold, report
from rcommerce.bench.load import get, reads
from rcommerce.bench.report import Result
from rcommerce.bench.setup import pinned
from rcommerce.database.embedded import EmbeddedPostgres
from rcommerce.errors import StartError
from rcommerce.lab import settings
from rcommerce.lab.pgbouncer import PgBouncer
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.server import Server

Tell = Callable[[str], None]
Load = Callable[[int], float]  # the server's port → requests or orders a second
ROUNDS = 7
PRODUCTS = 2_000
BARS = {"replica": 0.9, "pgbouncer": 0.5, "pgbouncer-checkout": 0.5}
QUIET = {
    "RCOMMERCE_CHECKOUT__SWEEP_INTERVAL_SECS": "3600",
    "RCOMMERCE_CACHE__ENABLED": "false",
}


def replica_reads(tell: Tell) -> Result:
    """Reads from a replica, against reads from the primary: the cost of the bookkeeping, since both
    are on one processor here; on machines of their own each replica adds its own."""
    with _servers(tell, _with_replica) as (side, plain, dsn):
        return _against("replica", "requests/s", _read_load(dsn), side, plain, tell)


def pgbouncer_reads(tell: Tell) -> Result:
    """Reads through PgBouncer, against reads without."""
    with _servers(tell, _with_pgbouncer) as (side, plain, dsn):
        return _against("pgbouncer", "requests/s", _read_load(dsn), side, plain, tell)


def pgbouncer_checkout(tell: Tell) -> Result:
    """Orders through PgBouncer, against orders without."""
    with _servers(tell, _with_pgbouncer) as (side, plain, dsn):
        return _against("pgbouncer-checkout", "orders/s", _checkout_load(dsn), side, plain, tell)


def releases(name: str, other: Path, tell: Tell) -> Result:
    """This release against the one in the checkout `other`, by read-cold or checkout. Raises
    StartError."""
    source = other / "src"
    if not (source / "rcommerce").is_dir():
        raise StartError(f"{other} is no checkout of R Commerce: it has no src/rcommerce")
    with contextlib.ExitStack() as stack:
        measured = stack.enter_context(pinned())
        sides, dsns = [], []
        for where in (None, source):
            folder = Path(stack.enter_context(_folder()))
            side = Server(folder, settings=QUIET, cpus=measured, source=where)
            postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
            tell(f"making {PRODUCTS:,} products")
            _load_demo(side)
            stack.enter_context(side)
            sides.append(side)
            dsns.append(postgres.conninfo)
        unit = "requests/s" if name == "read-cold" else "orders/s"
        # Demo products have the same ids everywhere: one list serves both.
        make = _read_load if name == "read-cold" else _checkout_load
        loads = [make(dsn) for dsn in dsns]
        return _against(f"compare {name}", unit, loads[0], sides[0], sides[1], tell, loads[1])


def _against(
    name: str,
    unit: str,
    load: Load,
    side: Server,
    plain: Server,
    tell: Tell,
    plain_load: Load | None = None,
) -> Result:
    other = plain_load or load
    load(side.port)  # both warm
    other(plain.port)
    values, ceilings = [], []
    for number in range(1, ROUNDS + 1):
        tell(f"round {number} of {ROUNDS}")
        # Who goes first changes, so that neither always has the warmer machine.
        if number % 2:
            values.append(load(side.port))
            ceilings.append(other(plain.port))
        else:
            ceilings.append(other(plain.port))
            values.append(load(side.port))
    details = {
        "ceiling_is": "the release before" if plain_load else "one server, no pooler",
        "connections": read_cold.CONNECTIONS,
    }
    return report.against(name, unit, BARS.get(name, 0.9), values, ceilings, details)


def _read_load(dsn: str) -> Load:
    with psycopg.connect(dsn) as connection:
        ids = [str(row[0]) for row in connection.execute("select id from product").fetchall()]
    requests = [get(f"/api/v1/products/{product}") for product in ids]

    def load(port: int) -> float:
        done = reads(port, read_cold.CONNECTIONS, 3.0, lambda: random.choice(requests))
        return asyncio.run(done).per_second

    return load


def _checkout_load(dsn: str) -> Load:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("update inventory_level set on_hand = 1000000")
        rows = connection.execute(
            "select product_id, id from variant order by id limit 500"
        ).fetchall()
    goods = [(str(row[0]), str(row[1])) for row in rows]

    def load(port: int) -> float:
        return asyncio.run(checkout.buy(port, goods, 4.0)).per_second

    return load


Build = Callable[[Postgres, Path, contextlib.ExitStack], dict[str, str]]


@contextlib.contextmanager
def _servers(tell: Tell, build: Build) -> Iterator[tuple[Server, Server, str]]:
    """(the side with `build`, the side without, the database's connection string)."""
    with contextlib.ExitStack() as stack:
        measured = stack.enter_context(pinned())
        folder = Path(stack.enter_context(_folder()))
        tell("starting PostgreSQL")
        primary = stack.enter_context(Postgres(folder / "primary"))
        plain_settings = settings.database(primary)
        plain = Server(folder / "plain", settings={**QUIET, **plain_settings}, cpus=measured)
        upgraded = plain.command("db", "upgrade")
        if upgraded.returncode != 0:
            raise StartError(upgraded.stderr)
        tell(f"making {PRODUCTS:,} products")
        _load_demo(plain)
        more = build(primary, folder, stack)
        side = Server(folder / "side", settings={**QUIET, **more}, cpus=measured)
        stack.enter_context(plain)
        stack.enter_context(side)
        yield side, plain, primary.conninfo()


def _with_replica(primary: Postgres, folder: Path, stack: contextlib.ExitStack) -> dict[str, str]:
    replica = primary.replica(folder / "replica")
    stack.callback(replica.kill)
    return settings.database(primary, [replica])


def _with_pgbouncer(primary: Postgres, folder: Path, stack: contextlib.ExitStack) -> dict[str, str]:
    behind = {"rcommerce": (primary, "rcommerce")}
    bouncer = stack.enter_context(PgBouncer(folder / "pgbouncer", behind))
    return settings.database(bouncer, direct=primary)


def _load_demo(server: Server) -> None:
    done = server.command("demo", "load", "--products", str(PRODUCTS), "--json")
    if done.returncode != 0:
        raise StartError(f"the demo products could not be made: {done.stderr[-2000:]}")


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    path = tempfile.mkdtemp(prefix="rcommerce-bench-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
