"""/metrics for Prometheus: what the worker processes of this instance know, put together.

The library is imported where a worker begins: it decides then, by PROMETHEUS_MULTIPROC_DIR, that
its figures are shared between processes.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from litestar import get
from litestar.exceptions import NotFoundException
from litestar.response.base import ASGIResponse

from rcommerce.cache.pages import Memory, Shelf
from rcommerce.cdn.purger import Purger
from rcommerce.commerce.shop import Services
from rcommerce.database import Cluster
from rcommerce.database.pool import Pool

FOLDER = "PROMETHEUS_MULTIPROC_DIR"


@get("/metrics", tags=["Operations"], summary="Figures for Prometheus", sync_to_thread=False)
def metrics(services: Services) -> ASGIResponse:
    """Text in Prometheus' format, of all workers of this instance together."""
    if not services.settings.features.metrics:
        raise NotFoundException
    from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = REGISTRY
    if os.environ.get(FOLDER):
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return ASGIResponse(
        body=generate_latest(registry),
        media_type=CONTENT_TYPE_LATEST,
        headers={"Cache-Control": "no-store"},
    )


def of_databases(cluster: Cluster) -> Callable[[], None]:
    """Makes the figures of the databases; the result brings them up to date, once a second or so:
    on the path of a request nothing is counted that is not counted anyway."""
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
    told: dict[Pool, tuple[int, float, int]] = {}

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
                before = told.get(pool, (0, 0.0, 0))
                now = (pool.waits, pool.waited_s, pool.shed)
                for counter, old, new in zip((waits, waited, shed), before, now, strict=True):
                    counter.labels(*labels).inc(new - old)
                told[pool] = now

    return update


# Counters of the cache, by what keeps them: an attribute, and what it counts.
_OF_MEMORY = {
    "hits": "Requests answered from memory",
    "misses": "Pages that memory did not have, for one request or many",
    "fill_s": "Seconds that it took to get those, from Redis or the database",
    "evictions": "Pages that had to make room",
    "invalidations": "Pages that were out of date",
}
_OF_SHARED = {
    "hits": "Answers that Redis had",
    "misses": "Answers that one process has made for all",
    "hit_s": "Seconds that the hits have taken",
    "untrue": "Answers in Redis that were out of date",
    "waits": "Looks at what another process is making",
    "away": "Times that Redis was away, and was done without",
}
_OF_PURGES = {"purged": "Tags that the CDN was told", "failed": "Purges that it did not take"}


def counting(prefix: str, about: Mapping[str, str], *parts: object) -> Callable[[], None]:
    """Counters of what the attributes of some parts count together."""
    from prometheus_client import Counter

    counters = {
        name: Counter(f"{prefix}_{name.replace('_s', '_seconds')}", text)
        for name, text in about.items()
    }
    told = dict.fromkeys(counters, 0.0)

    def update() -> None:
        for name, counter in counters.items():
            now = sum(getattr(part, name) for part in parts)
            counter.inc(now - told[name])
            told[name] = now

    return update


def of_cache(
    memory: Memory, shelves: Mapping[str, Shelf], services: Services, purgers: Sequence[Purger]
) -> Callable[[], None]:
    """The same for each level of the cache."""
    from prometheus_client import Counter, Gauge

    pages = Gauge("rcommerce_cache_pages", "Pages in memory", multiprocess_mode="livesum")
    size = Gauge("rcommerce_cache_bytes", "Their size, as bounded", multiprocess_mode="livesum")
    live = Gauge(
        "rcommerce_cache_listening",
        "1 while invalidations are heard; with 0 nothing is given from memory",
        ["shard"],
        multiprocess_mode="livemin",
    )
    up = Gauge(
        "rcommerce_redis_up", "1 while its breaker is closed", ["server"],
        multiprocess_mode="livemin",
    )  # fmt: skip
    opened = Counter("rcommerce_redis_breaker_opened", "Times that its breaker opened", ["server"])
    times: dict[str, int] = {}
    counts = [
        counting("rcommerce_cache", _OF_MEMORY, memory),
        counting("rcommerce_rate_limit", {"refused": "Requests over a limit"}, services.limits),
    ]
    if services.shared is not None:
        counts.append(counting("rcommerce_cache_redis", _OF_SHARED, services.shared))
    if purgers:
        counts.append(counting("rcommerce_cdn", _OF_PURGES, *purgers))

    def update() -> None:
        pages.set(memory.entries)
        size.set(memory.size)
        for name, shelf in shelves.items():
            live.labels(name).set(shelf.fence.is_live)
        for name, breaker in services.redis.breakers.items() if services.redis else ():
            up.labels(name).set(not breaker.is_open)
            opened.labels(name).inc(breaker.opened - times.get(name, 0))
            times[name] = breaker.opened
        for count in counts:
            count()

    return update


def forget_the_dead() -> None:
    """A worker that was killed has left its gauges behind. Before any figure is made."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    from prometheus_client.multiprocess import mark_process_dead

    for path in Path(folder).glob("gauge_live*_*.db"):
        pid = path.stem.rpartition("_")[2]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            mark_process_dead(int(pid))  # type: ignore[no-untyped-call]
