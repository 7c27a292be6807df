"""Metrics of the database servers: as this instance sees them, and as they report."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable

import psycopg

from rcommerce.commerce.credit import service as credits
from rcommerce.database import Cluster, Freshness
from rcommerce.database.pool import Pool
from rcommerce.database.server import Server
from rcommerce.database.shard import Shard
from rcommerce.errors import RCommerceError
from rcommerce.jobs import queue
from rcommerce.jobs.queue import QUEUES
from rcommerce.telemetry.prometheus import Update

WITHIN_EVERY_S = 10.0
# As `pg_stat_activity` names them; PostgreSQL's own processes have none.
SESSION_STATES = (
    "active", "idle", "idle in transaction", "idle in transaction (aborted)",
    "fastpath function call", "disabled",
)  # fmt: skip
SESSIONS = """
select state, count(*) from pg_stat_activity
 where datname = current_database() and state is not null group by state
"""


def of_databases(cluster: Cluster) -> Update:
    """Creates the metrics of the databases; the result updates them, about once a second: on the
    path of a request nothing is counted that is not counted anyway."""
    from prometheus_client import Counter, Gauge

    where = ["shard", "server"]
    up = Gauge(
        "rcommerce_database_up", "1 while the server answers", where, multiprocess_mode="livemin"
    )
    lag_bytes = Gauge(
        "rcommerce_database_replica_lag_bytes",
        "Write-ahead log that the replica has not replayed",
        where,
        multiprocess_mode="livemax",
    )
    lag_s = Gauge(
        "rcommerce_database_replica_lag_seconds",
        "For how long the primary has been ahead of the replica",
        where,
        multiprocess_mode="livemax",
    )
    connections = Gauge(
        "rcommerce_database_pool_connections",
        "Connections of this instance: open, in_use; and requests waiting for one",
        [*where, "state"],
        multiprocess_mode="livesum",
    )
    size = Gauge(
        "rcommerce_database_pool_size",
        "The most connections that this instance may hold",
        where,
        multiprocess_mode="livesum",
    )
    waits = Counter(
        "rcommerce_database_pool_waits", "Requests that had to wait for a connection", where
    )
    waited = Counter(
        "rcommerce_database_pool_wait_seconds", "Time that requests waited for one", where
    )
    shed = Counter(
        "rcommerce_database_pool_shed", "Requests refused as no connection got free", where
    )
    untried = Counter(
        "rcommerce_database_retries_refused",
        "Statements that were not sent again: too many were of late",
        where,
    )
    reported: dict[Pool, tuple[int, float, int, int]] = {}

    def update() -> None:
        for shard in cluster:
            for server in shard.servers:
                name = "primary" if server is shard.primary else server.address
                labels, pool = (shard.name, name), server.pool
                up.labels(*labels).set(server.is_up)
                if server is not shard.primary:
                    lag_bytes.labels(*labels).set(shard.rotation.lag_bytes(server))
                    lag_s.labels(*labels).set(shard.rotation.lag_s(server))
                size.labels(*labels).set(pool.size)
                for state, value in (
                    ("open", pool.open),
                    ("in_use", pool.in_use),
                    ("waiting", pool.waiting),
                ):
                    connections.labels(*labels, state).set(value)
                before = reported.get(pool, (0, 0.0, 0, 0))
                now = (pool.waits, pool.waited_s, pool.shed, server.retries.refused)
                every = (waits, waited, shed, untried)
                for counter, old, new in zip(every, before, now, strict=True):
                    counter.labels(*labels).inc(new - old)
                reported[pool] = now

    return update


class Within:
    """Metrics that only a server itself has: its sessions, its jobs, and gift cards that wait for
    their mail. Every process queries them now and then; all report the same."""

    def __init__(self, cluster: Cluster) -> None:
        from prometheus_client import Gauge

        self._cluster = cluster
        self._sessions = Gauge(
            "pg_stat_activity_count",
            "Sessions of the shop's database, of all clients, as PostgreSQL lists them",
            ["shard", "server", "state"],
            multiprocess_mode="livemostrecent",
        )
        labels = ["shard", "queue", "state"]
        self._jobs = Gauge(
            "rcommerce_jobs", "Jobs that wait (todo), run (doing), were given up (failed)", labels,
            multiprocess_mode="livemostrecent",
        )  # fmt: skip
        self._age = Gauge(
            "rcommerce_jobs_oldest_due_seconds",
            "For how long the oldest job has been due that nobody has begun",
            ["shard", "queue"],
            multiprocess_mode="livemostrecent",
        )
        self._unmailed = Gauge(
            "rcommerce_gift_cards_unmailed",
            "Gift cards that were bought and whose codes are not mailed yet",
            ["shard"],
            multiprocess_mode="livemostrecent",
        )

    async def run(self) -> None:
        """Queries for as long as the process lives. A server that does not answer delays no other;
        its metrics stay, and its breaker has the cause."""
        while True:
            asked = [self._ask_queues(shard) for shard in self._cluster]
            asked += [
                self._ask_server(shard, server)
                for shard in self._cluster
                for server in shard.servers
            ]
            await asyncio.gather(*(_quietly(each) for each in asked))
            await asyncio.sleep(WITHIN_EVERY_S * random.uniform(0.8, 1.2))  # noqa: S311 - spreads it

    async def _ask_server(self, shard: Shard, server: Server) -> None:
        raw = await server.take()
        try:
            rows = await (await raw.execute(SESSIONS)).fetchall()
        finally:
            server.give(raw)
        counts = dict.fromkeys(SESSION_STATES, 0) | dict(rows)
        name = "primary" if server is shard.primary else server.address
        for state, count in counts.items():
            self._sessions.labels(shard.name, name, state).set(count)

    async def _ask_queues(self, shard: Shard) -> None:
        async with shard.read(Freshness.FRESH) as conn:
            found = {(name, state): rest for name, state, *rest in await queue.depths(conn)}
            self._unmailed.labels(shard.name).set(await credits.unmailed(conn))
        for name in QUEUES:
            for state in ("todo", "doing", "failed"):
                count, age_s = found.get((name, state), (0, 0.0))
                self._jobs.labels(shard.name, name, state).set(count)
                if state == "todo":
                    self._age.labels(shard.name, name).set(age_s)


async def _quietly(asking: Awaitable[None]) -> None:
    with contextlib.suppress(RCommerceError, psycopg.Error):
        await asking
