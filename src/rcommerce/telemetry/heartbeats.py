"""Each process's state, written every few seconds to a table of the control database, so that any
instance can show the whole fleet without Prometheus."""

import asyncio
import os
import resource
import socket
import time
from collections.abc import Callable
from typing import Literal

import msgspec
import psycopg
import structlog

from rcommerce import __version__, clock
from rcommerce.cache.responses import ResponseCache
from rcommerce.commerce.shop import Services
from rcommerce.database import Connection, Jsonb
from rcommerce.errors import RCommerceError
from rcommerce.settings import Settings
from rcommerce.settings.digests import digests
from rcommerce.telemetry.requests import BOUNDS_S, Requests

BEAT_EVERY_S = 2.0
LAST_S = 1.0  # seconds to report the shutdown
FORGOTTEN_S = 60.0  # seconds of silence after which a process is forgotten
Kind = Literal["server", "worker"]
log = structlog.get_logger()


class Pool(msgspec.Struct):
    """A process's connections to a database server."""

    server: str
    size: int
    in_use: int
    waiting: int


class Figures(msgspec.Struct, kw_only=True):
    """A process's metrics since its last heartbeat. Latencies in milliseconds, memory in MiB, `cpu`
    in processors; ratios are None without requests."""

    requests_per_s: float = 0.0
    errors_per_s: float = 0.0  # 5xx except shed requests
    refused_per_s: float = 0.0  # 429 and 503: overload, or an unavailable dependency
    orders_per_s: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    in_flight: int = 0
    memory_hit_ratio: float | None = None
    redis_hit_ratio: float | None = None
    cpu: float = 0.0
    memory_mb: float = 0.0
    clock_behind_s: float = 0.0
    pools: list[Pool] = []
    open_breakers: dict[str, str] = {}  # the cause, by dependency


class Process(msgspec.Struct, kw_only=True):
    """A process's last heartbeat, and the seconds since then."""

    instance: str
    pid: int
    kind: Kind
    version: str
    settings: dict[str, str]
    is_draining: bool
    figures: Figures
    up_s: float
    silent_s: float


class Meter:
    """Computes this process's metrics from its counters."""

    def __init__(
        self,
        services: Services,
        requests: Requests | None = None,
        memory: ResponseCache | None = None,
    ) -> None:
        self._services = services
        self._requests = requests
        self._memory = memory
        self._before = self._counted()
        self._at = time.monotonic()

    def read(self) -> Figures:
        """Those since the last call."""
        before, self._before = self._before, self._counted()
        at, self._at = self._at, time.monotonic()
        took_s = max(self._at - at, 1e-3)
        more = {key: value - before.get(key, 0.0) for key, value in self._before.items()}
        buckets = [more[f"bucket-{n}"] for n in range(len(BOUNDS_S) + 1)]
        services = self._services
        return Figures(
            requests_per_s=round(more["requests"] / took_s, 1),
            errors_per_s=round(more["errors"] / took_s, 2),
            refused_per_s=round(more["refused"] / took_s, 2),
            orders_per_s=round(more["orders"] / took_s, 2),
            p50_ms=quantile(buckets, 0.5),
            p99_ms=quantile(buckets, 0.99),
            in_flight=self._requests.in_flight if self._requests else 0,
            memory_hit_ratio=_ratio(more["memory_hits"], more["memory_misses"]),
            redis_hit_ratio=_ratio(more["redis_hits"], more["redis_misses"]),
            cpu=round(more["cpu_s"] / took_s, 3),
            memory_mb=round(_resident_mb(), 1),
            clock_behind_s=round(clock.differs_by_s(), 2),
            pools=[
                Pool(server.breaker.name, server.pool.size, server.pool.in_use, server.pool.waiting)
                for shard in services.cluster
                for server in shard.servers
            ],
            open_breakers={each.name: each.cause for each in services.breakers if each.is_open},
        )

    def _counted(self) -> dict[str, float]:
        services, usage = self._services, resource.getrusage(resource.RUSAGE_SELF)
        found = {f"bucket-{n}": 0.0 for n in range(len(BOUNDS_S) + 1)}
        found |= dict.fromkeys(("requests", "errors", "refused"), 0.0)
        for (_, _, status), series in (self._requests.series if self._requests else {}).items():
            count = sum(series.buckets)
            found["requests"] += count
            if status in (429, 503):
                found["refused"] += count
            else:
                found["errors"] += count if status >= 500 else 0
                for n, of_bucket in enumerate(series.buckets):
                    found[f"bucket-{n}"] += of_bucket
        memory, shared = self._memory, services.shared
        return found | {
            "orders": float(services.order_events["created"]),
            "memory_hits": float(memory.hits if memory else 0),
            "memory_misses": float(memory.misses if memory else 0),
            "redis_hits": float(shared.hits if shared else 0),
            "redis_misses": float(shared.misses if shared else 0),
            "cpu_s": usage.ru_utime + usage.ru_stime,
        }


def quantile(buckets: list[float], at: float) -> float | None:
    """A percentile of latencies in buckets of BOUNDS_S, in milliseconds, like Prometheus'
    histogram_quantile: within a bucket they are assumed to be spread evenly. None without any."""
    left = sum(buckets) * at
    if not left:
        return None
    lower = 0.0
    for upper, count in zip(BOUNDS_S, buckets, strict=False):
        if count and left <= count:
            return round((lower + (upper - lower) * left / count) * 1000, 2)
        left -= count
        lower = upper
    return BOUNDS_S[-1] * 1000


def _ratio(hits: float, misses: float) -> float | None:
    return round(hits / (hits + misses), 3) if hits + misses else None


def _resident_mb() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


class Heart:
    """Sends heartbeats for as long as the process lives. `instance` is its name in the fleet."""

    def __init__(
        self,
        services: Services,
        kind: Kind,
        meter: Meter,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        settings = services.settings
        self.instance = name(settings, kind)
        self._services = services
        self._kind = kind
        self._meter = meter
        self._is_draining = is_draining
        self._settings = digests(settings, services.jwt_secret)
        self._begun = time.monotonic()
        self._has_beaten = False

    async def run(self) -> None:
        """Without the control database, they are lost."""
        while True:
            try:
                await self.beat()
            except (RCommerceError, psycopg.Error) as error:
                log.debug("heartbeat_missed", error=str(error))
            await asyncio.sleep(BEAT_EVERY_S)

    def process(self) -> Process:
        """The present heartbeat."""
        return Process(
            instance=self.instance, pid=os.getpid(), kind=self._kind, version=__version__,
            settings=self._settings, is_draining=self._is_draining(), figures=self._meter.read(),
            up_s=time.monotonic() - self._begun, silent_s=0.0,
        )  # fmt: skip

    async def beat(self) -> None:
        """Sends one, in a message that no cache needs to know of. Raises Unavailable."""
        now, self._has_beaten = self.process(), True
        await self._services.cluster.control.once(
            None,
            """
            with forgotten as (
                delete from heartbeat
                 where seen_at < now() - make_interval(secs => %(forgotten_s)s)
            )
            insert into heartbeat
                   (instance, pid, kind, version, settings, is_draining, figures, started_at)
            values (%(instance)s, %(pid)s, %(kind)s, %(version)s, %(settings)s,
                    %(is_draining)s, %(figures)s, now() - make_interval(secs => %(up_s)s))
            on conflict (instance, pid) do update
            set is_draining = excluded.is_draining, figures = excluded.figures,
                seen_at = now()
            """,
            {
                **{key: getattr(now, key) for key in ("instance", "pid", "kind", "version")},
                "is_draining": now.is_draining,
                "settings": Jsonb(now.settings),
                "figures": Jsonb(msgspec.to_builtins(now.figures)),
                "up_s": now.up_s,
                "forgotten_s": FORGOTTEN_S,
            },
        )

    async def stop(self) -> None:
        """Reports the shutdown, so that nobody misses it. A hanging database does not delay
        that."""
        if not self._has_beaten:
            return
        try:
            async with asyncio.timeout(LAST_S), self._services.cluster.control.write() as tx:
                await tx.execute(
                    "delete from heartbeat where (instance, pid) = (%(instance)s, %(pid)s)",
                    {"instance": self.instance, "pid": os.getpid()},
                )
        except (RCommerceError, psycopg.Error, TimeoutError) as error:
            log.debug("heartbeat_missed", error=str(error))


def name(settings: Settings, kind: Kind) -> str:
    """This process's name in the fleet: host and port."""
    host = socket.gethostname()
    return f"{host}:{settings.port}" if kind == "server" else f"{host} worker"


async def heard(conn: Connection) -> list[Process]:
    """Every process with a recent heartbeat."""
    rows = await conn.dicts(
        """
        select instance, pid, kind, version, settings, is_draining, figures,
               extract(epoch from now() - started_at)::float8 as up_s,
               extract(epoch from now() - seen_at)::float8 as silent_s
          from heartbeat
         order by kind, instance, pid
        """
    )
    return msgspec.convert(rows, list[Process])
