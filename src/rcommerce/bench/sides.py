"""Two servers of R Commerce in turn: the cost of a topology. The load is that of read-cold and of
checkout."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

from rcommerce.bench import checkout, read_cold, report
from rcommerce.bench.load import get, reads
from rcommerce.bench.report import Result
from rcommerce.bench.setup import pinned, temporary_folder
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


def _against(
    name: str,
    unit: str,
    load: Load,
    side: Server,
    plain: Server,
    tell: Tell,
) -> Result:
    load(side.port)  # both warm
    load(plain.port)
    values, ceilings = [], []
    for number in range(1, ROUNDS + 1):
        tell(f"round {number} of {ROUNDS}")
        # Who goes first changes, so that neither always has the warmer machine.
        if number % 2:
            values.append(load(side.port))
            ceilings.append(load(plain.port))
        else:
            ceilings.append(load(plain.port))
            values.append(load(side.port))
    details = {
        "ceiling_is": "one server, no pooler",
        "connections": read_cold.CONNECTIONS,
    }
    return report.against(name, unit, BARS[name], values, ceilings, details)


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
        folder = stack.enter_context(temporary_folder())
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
