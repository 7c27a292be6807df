"""read-redis, redis-away, stampede: the cache that instances share."""

import asyncio
import select
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import psycopg
import uvloop

from rcommerce.bench import hot, report
from rcommerce.bench.load import LoadError, get
from rcommerce.bench.report import Result
from rcommerce.bench.setup import Bench, pinned, python, run_pinned
from rcommerce.errors import StartError
from rcommerce.lab import settings
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.server import Server
from rcommerce.lab.valkey import Valkey

BARS = {"read-redis": 0.5, "redis-away": 0.9, "stampede": 1.0}
COLD_CONNECTIONS = 16  # as in read-cold: more would be refused on a slow machine
NO_MEMORY = {"RCOMMERCE_CACHE__MAX_SIZE_MB": "0"}
MISSES = 1_000
BURSTS = 25
HIT = "rcommerce; hit; detail=redis"


def read_redis(bench: Bench) -> Result:
    """Products from Redis, without process memory, against a bare loop with the same client."""
    products = [str(row[0]) for row in bench.query("select id from product order by id")]
    requests = [get(f"/api/v1/products/{product}") for product in products]
    with ExitStack() as stack:
        valkey = stack.enter_context(Valkey(bench.folder / "valkey"))
        server = stack.enter_context(bench.server({**settings.redis(valkey), **NO_MEMORY}))
        for request in requests:
            size, _ = hot.asked(server.port, request, HIT)
        keys = [key.decode() for key in valkey.client().keys("rcommerce:product:*")]
        command = python("rcommerce.bench.shared", str(valkey.port), str(hot.SECONDS))
        values, ceilings = hot.in_turn(
            bench,
            lambda: hot.load(server.port, requests, 200, hot.SECONDS),
            lambda: float(run_pinned(bench, command, stdin="\n".join(keys))),
        )
    details = {
        "ceiling_is": "a loop of GETs by the same client of Redis, of the same values",
        "connections": hot.CONNECTIONS,
        "body_bytes": size,
    }
    return report.against("read-redis", "requests/s", BARS["read-redis"], values, ceilings, details)


def redis_away(bench: Bench) -> Result:
    """Products from PostgreSQL while Redis is dead, against without one in the settings."""
    products = [str(row[0]) for row in bench.query("select id from product order by id")]
    requests = [get(f"/api/v1/products/{product}") for product in products]
    with ExitStack() as stack:
        valkey = Valkey(bench.folder / "valkey")  # never started
        side = stack.enter_context(bench.server({**settings.redis(valkey), **NO_MEMORY}))
        plain = stack.enter_context(bench.server(NO_MEMORY))
        values, ceilings = hot.in_turn(
            bench,
            lambda: hot.load(side.port, requests, 200, hot.SECONDS, COLD_CONNECTIONS),
            lambda: hot.load(plain.port, requests, 200, hot.SECONDS, COLD_CONNECTIONS),
        )
    more_ms = median(
        1000 / value - 1000 / ceiling for value, ceiling in zip(values, ceilings, strict=True)
    )
    details = {
        "ceiling_is": "the same server with no Redis in its settings",
        "connections": COLD_CONNECTIONS,
        "more_ms_a_request": round(more_ms, 4),
    }
    bar = BARS["redis-away"]
    return report.against("redis-away", "requests/s", bar, values, ceilings, details)


async def _gets(port: int, keys: list[str], seconds: float) -> float:
    """GETs a second of as many tasks as the load has connections."""
    import redis.asyncio as client

    pool = client.ConnectionPool(
        host="127.0.0.1", port=port, protocol=2, max_connections=hot.CONNECTIONS
    )
    commands = client.Redis(connection_pool=pool)
    done, stop = 0, time.perf_counter() + seconds

    async def loop(number: int) -> None:
        nonlocal done
        while time.perf_counter() < stop:
            number += 1
            if await commands.get(keys[number % len(keys)]) is None:
                raise LoadError(f"{keys[number % len(keys)]} is not in Redis")
            done += 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(hot.CONNECTIONS):
            tasks.create_task(loop(number * 7))
    await commands.aclose()
    return done / seconds


# A thousand at once -----------------------------------------------------------------------------


def stampede(tell: Callable[[str], None]) -> Result:
    """A thousand clients of two instances miss one product at once: how many queries, and the
    latency of the slowest percent."""
    with _fleet(tell) as (servers, primary):
        products = [str(row[0]) for row in primary.query("select id from product order by id")]
        requests = [get(f"/api/v1/products/{product}") for product in products]
        cold_ms, ports = [], [server.port for server in servers]
        for request in requests[BURSTS : BURSTS + 20]:
            cold_ms.append(_burst(ports[:1], request, 1)[0] * 1000)
        limits, values, queries, hots = [], [], [], []
        for number, request in enumerate(requests[:BURSTS], 1):
            tell(f"burst {number} of {BURSTS}")
            before = _reads(primary)
            missed = report.percentile(_burst(ports, request, MISSES), 0.99)
            queries.append(_reads(primary) - before)
            hot_p99 = report.percentile(_burst(ports, request, MISSES), 0.99)
            hots.append(hot_p99)
            values.append(missed)
            limits.append(3 * median(cold_ms) + hot_p99)
    ratio = median(value / limit for value, limit in zip(values, limits, strict=True))
    return Result(
        name="stampede",
        value=round(median(values), 1),
        unit="ms, p99",
        ceiling=round(median(limits), 1),
        ratio=round(ratio, 3),
        bar=BARS["stampede"],
        ok=ratio <= BARS["stampede"] and set(queries) == {1},
        details={
            "ceiling_is": "3 cold reads, and what the same burst takes of what is in memory",
            "queries": queries,
            "cold_read_ms": round(median(cold_ms), 2),
            "hot_burst_p99_ms": [round(each, 1) for each in hots],
            "instances": 2,
            "misses": MISSES,
        },
    )


def _burst(ports: list[int], request: bytes, count: int) -> list[float]:
    """Sends a request on so many connections at once, over several servers; what each has taken.
    Raises LoadError for any other answer than 200."""
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    for number in range(count):
        connection = socket.create_connection(("127.0.0.1", ports[number % len(ports)]))
        sockets[connection.fileno()] = connection
        poll.register(connection, select.EPOLLIN)
    time.sleep(0.2)  # every connection is accepted
    sent: dict[int, float] = {}
    for number, connection in sockets.items():
        sent[number] = time.perf_counter()
        connection.send(request)
    took: list[float] = []
    stop = time.perf_counter() + 60
    while len(took) < count and time.perf_counter() < stop:
        for number, _ in poll.poll(1.0):
            begin = sockets[number].recv(262_144)
            if not begin.startswith(b"HTTP/1.1 200 "):
                raise LoadError(f"{begin[:300]!r}")
            took.append(time.perf_counter() - sent[number])
            poll.unregister(number)
    poll.close()
    for connection in sockets.values():
        connection.close()
    if len(took) < count:
        raise LoadError(f"{count - len(took)} of {count} were not answered")
    return took


def _reads(primary: Postgres) -> int:
    """How many reads of a product there were."""
    with psycopg.connect(primary.conninfo("postgres"), autocommit=True) as connection:
        row = connection.execute(
            "select coalesce(sum(calls), 0) from pg_stat_statements"
            " where query like '%seo_title%' and query not like '%pg_stat%'"
        ).fetchone()
    return int(row[0]) if row else 0


@contextmanager
def _fleet(tell: Callable[[str], None]) -> Iterator[tuple[list[Server], Postgres]]:
    folder = Path(tempfile.mkdtemp(prefix="rcommerce-bench-"))
    try:
        with ExitStack() as stack:
            measured = stack.enter_context(pinned())
            tell("starting PostgreSQL and Valkey")
            counted = {"shared_preload_libraries": "pg_stat_statements"}
            primary = stack.enter_context(Postgres(folder / "primary", settings=counted))
            valkey = stack.enter_context(Valkey(folder / "valkey"))
            given = {**settings.database(primary), **settings.redis(valkey)}
            servers = [
                Server(folder / name, settings=given, cpus=measured) for name in ("one", "two")
            ]
            for command in (["db", "upgrade"], ["demo", "load", "--products", "100", "--json"]):
                done = servers[0].command(*command)
                if done.returncode != 0:
                    raise StartError(done.stderr[-2000:])
            with psycopg.connect(primary.conninfo("postgres"), autocommit=True) as connection:
                connection.execute("create extension pg_stat_statements")
            for server in servers:
                stack.enter_context(server)
            time.sleep(1.0)  # both listen
            yield servers, primary
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    names = sys.stdin.read().split()
    rate = uvloop.run(_gets(int(sys.argv[1]), names, float(sys.argv[2])))
    sys.stdout.write(f"{rate}\n")
