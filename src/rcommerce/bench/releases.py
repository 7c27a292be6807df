"""This release and another one, in turn, on the same processor."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import psycopg

from rcommerce.bench import checkout, hot, read_cold, report
from rcommerce.bench.checkout import Step
from rcommerce.bench.load import get, reads
from rcommerce.bench.report import Result
from rcommerce.bench.setup import INSTANCE, pinned, temporary_folder
from rcommerce.database.embedded import EmbeddedPostgres
from rcommerce.errors import StartError
from rcommerce.lab.server import Server

PRODUCTS = 2_000
SECONDS = 4.0  # of a round
UNCACHED = {"RCOMMERCE_CACHE__ENABLED": "false"}

Load = Callable[[Server], float]  # requests or orders a second


class Side(NamedTuple):
    """A release, with its database's connection string."""

    server: Server
    dsn: str
    is_ours: bool


class Comparison(NamedTuple):
    """What is measured, and the least ratio of this release to the other."""

    bar: float
    unit: str
    load: Callable[[Side], Load]
    settings: Mapping[str, str]
    rounds: int
    is_the_same: str = ""


def compared(name: str, other: Path, tell: Callable[[str], None]) -> Result:
    """This release against the one in the checkout `other`. Raises StartError."""
    source = other / "src"
    if not (source / "rcommerce").is_dir():
        raise StartError(f"{other} is no checkout of R Commerce: it has no src/rcommerce")
    what = COMPARISONS[name]
    with contextlib.ExitStack() as stack:
        measured = stack.enter_context(pinned())
        sides = []
        for where in (None, source):
            folder = stack.enter_context(temporary_folder())
            server = Server(
                folder, settings={**INSTANCE, **what.settings}, cpus=measured, source=where
            )
            postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
            tell(f"making {PRODUCTS:,} products")
            done = server.command("demo", "load", "--products", str(PRODUCTS), "--json")
            if done.returncode != 0:
                raise StartError(f"the demo products could not be made: {done.stderr[-2000:]}")
            stack.enter_context(server)
            sides.append(Side(server, postgres.conninfo, where is None))
        loads = [(what.load(side), side.server) for side in sides]
        for load, server in loads:
            load(server)  # warm
        for side in sides:  # what is planned for empty tables takes any index
            with psycopg.connect(side.dsn, autocommit=True) as connection:
                connection.execute("vacuum analyze")
        rates: list[list[float]] = [[], []]
        for number in range(1, what.rounds + 1):
            tell(f"round {number} of {what.rounds}")
            # Who goes first changes, so that neither always has the warmer machine.
            for each in (0, 1) if number % 2 else (1, 0):
                load, server = loads[each]
                rates[each].append(load(server))
    details = {"ceiling_is": "the release before" + what.is_the_same}
    return report.against(f"compare {name}", what.unit, what.bar, rates[0], rates[1], details)


def _hot(path: str | None) -> Callable[[Side], Load]:
    """Requests per CPU second, of a page in memory; None: of a product."""

    def of(side: Side) -> Load:
        at = path or f"/api/v1/products/{_products(side.dsn)[0]}"
        hot.asked(side.server.port, get(at))
        return lambda server: hot.efficiency(server.workers, server.port, [get(at)], 200)

    return of


def _cold(side: Side) -> Load:
    requests = [get(f"/api/v1/products/{product}") for product in _products(side.dsn)]

    def load(server: Server) -> float:
        done = reads(server.port, read_cold.CONNECTIONS, SECONDS, lambda: random.choice(requests))
        return asyncio.run(done).per_second

    return load


def _products(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("select id from product order by id").fetchall()
    return [str(row[0]) for row in rows]


def _checkout(ours: Step | None, theirs: Step | None) -> Callable[[Side], Load]:
    def of(side: Side) -> Load:
        with psycopg.connect(side.dsn, autocommit=True) as connection:
            connection.execute("update inventory_level set on_hand = 1000000")
            rows = connection.execute(
                "select product_id, id from variant order by id limit 500"
            ).fetchall()
        goods = [(str(row[0]), str(row[1])) for row in rows]
        step = ours if side.is_ours else theirs

        def load(server: Server) -> float:
            return asyncio.run(checkout.buy(server.port, goods, SECONDS, step)).per_second

        return load

    return of


_CPU = "requests/s of a processor"
COMPARISONS = {
    "read-hot": Comparison(0.95, _CPU, _hot(None), {}, 15),
    "list-hot": Comparison(0.95, _CPU, _hot("/api/v1/products?per_page=20"), {}, 15),
    "read-cold": Comparison(0.95, "requests/s", _cold, UNCACHED, 9),
    "checkout": Comparison(0.9, "orders/s", _checkout(None, None), {}, 9),
    # Both sides change the cart once more.
    "checkout-coupon": Comparison(
        0.9, "orders/s", _checkout("coupon", "again"), {}, 9,
        ", with a second item of the product instead of the coupon",
    ),
}  # fmt: skip
