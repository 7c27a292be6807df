"""read-cold: product detail from PostgreSQL without any cache.

The ceiling is a bare psycopg loop that runs the same SQL on as many connections, in a process on
the same processor, and takes the same bytes out of the result.
"""

import asyncio
import json
import random
import sys
import time

import psycopg
import uvloop

from rcommerce.bench import report
from rcommerce.bench.load import get, reads
from rcommerce.bench.report import Result
from rcommerce.bench.setup import Bench, python, run_pinned
from rcommerce.commerce.catalog.queries import DETAIL

BAR = 0.45
CONNECTIONS = 16
SECONDS = 5.0
ROUNDS = 5
PRODUCTS = 10_000


def run(bench: Bench) -> Result:
    """Both sides in turn."""
    ids = [str(row[0]) for row in bench.query("select id from product")]
    requests = [get(f"/api/v1/products/{product}") for product in ids]
    tenant = str(bench.query("select id from tenant where is_default")[0][0])
    values, ceilings, latencies = [], [], []
    with bench.server({"RCOMMERCE_CACHE__ENABLED": "false"}) as server:
        asyncio.run(reads(server.port, CONNECTIONS, 1.0, lambda: random.choice(requests)))
        for number in range(1, ROUNDS + 1):
            bench.tell(f"round {number} of {ROUNDS}")
            load = asyncio.run(
                reads(server.port, CONNECTIONS, SECONDS, lambda: random.choice(requests))
            )
            values.append(load.per_second)
            latencies.append(report.percentile(load.latencies_s, 0.99))
            ceilings.append(_ceiling(bench, tenant))
    return report.against(
        "read-cold",
        "requests/s",
        BAR,
        values,
        ceilings,
        {
            "ceiling_is": "a bare psycopg loop with the same SQL",
            "connections": CONNECTIONS,
            "products": PRODUCTS,
            "p99_ms": sorted(latencies)[len(latencies) // 2],
        },
    )


def _ceiling(bench: Bench, tenant: str) -> float:
    task = json.dumps({"dsn": bench.dsn, "tenant": tenant})
    return float(run_pinned(bench, python("rcommerce.bench.read_cold"), task))


async def _loop(dsn: str, tenant: str) -> float:
    """The bare loop: statements a second."""
    connections = [
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) for _ in range(CONNECTIONS)
    ]
    rows = await (await connections[0].execute("select id from product")).fetchall()
    ids = [str(row[0]) for row in rows]
    done = 0
    begun = time.perf_counter()
    stop = begun + SECONDS

    async def client(connection: psycopg.AsyncConnection) -> None:
        nonlocal done
        while time.perf_counter() < stop:
            params = {"tenant": tenant, "key": random.choice(ids), "media": "/media"}
            cursor = await connection.execute(DETAIL["id", False, False], params)
            if cursor.pgresult is None or not cursor.pgresult.get_value(0, 1):
                raise LookupError("no product")
            done += 1

    async with asyncio.TaskGroup() as clients:
        for connection in connections:
            clients.create_task(client(connection))
    took_s = time.perf_counter() - begun
    for connection in connections:
        await connection.close()
    return done / took_s


if __name__ == "__main__":
    given = json.load(sys.stdin)
    sys.stdout.write(str(uvloop.run(_loop(given["dsn"], given["tenant"]))))
