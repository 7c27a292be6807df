"""The size of a fleet: each figure with its calculation."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rcommerce.errors import SettingsError
from rcommerce.simulation.service import Costs, latency_ms

BUSY = 0.70  # utilization of an instance's processors that autoscaling aims at
DATABASE_BUSY = 0.60
RESERVED = 3  # connections of PostgreSQL, for superusers
PROCESS_MB, CACHE_MB = 93, 100  # bench run memory; cache.max_size_mb
PAGE_TTL_S = 300  # cache.product_cache_ttl
ENTRY_KB, ENTRY_OVERHEAD_KB = 2.6, 0.4  # a product as Redis has it
SESSION_KB, SESSIONS_A_RPS = 0.5, 120  # of people who come back within a day
BODY_KB = 2.6
# Of `mixed`: 10 % carts, 5 % checkouts. Shares of people and prices are assumptions.
WRITE_SHARE = 0.15  # carts and checkouts, of all requests
WRITE_MS = 1.3  # of the primary's processors, for one of them
HOURS_A_MONTH = 730
# Measured on one machine; others were half as fast, and a quiet run a sixth faster.
SPREAD = (0.85, 2.0)
PRICES = {
    "instance_cpu_hour": 0.045,
    "database_cpu_hour": 0.09,
    "cache_gb_hour": 0.02,
    "traffic_gb": 0.05,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The requirements. `processors` and `memory_mb` are of an instance, `database_processors` of a
    PostgreSQL server."""

    rps: float
    p99_ms: float = 100.0
    products: int = 10_000
    tenants: int = 1
    processors: int = 2
    database_processors: int = 8
    pool_size: int = 20
    max_connections: int = 100
    max_client_conn: int = 10_000


@dataclass(frozen=True, slots=True)
class Line:
    """One figure: its name, its value, and its calculation."""

    what: str
    value: str
    sum: str


@dataclass(slots=True)
class Plan:
    """A fleet for what is wanted."""

    wanted: Wanted
    instances: int = 0
    instances_range: tuple[int, int] = (0, 0)
    p99_ms: float = 0.0
    memory_mb: int = 0
    needs_pooler: bool = False
    replicas: int = 0
    shards: int = 1
    redis_mb: int = 0
    megabits: float = 0.0
    cost_month: float = 0.0
    lines: list[Line] = field(default_factory=list)

    def fleet_toml(self) -> str:
        """The file for `rcommerce deploy render`, without addresses."""
        wanted = self.wanted
        most = max(self.instances * 2, self.instances_range[1])
        return (
            f"# rcommerce plan --rps {wanted.rps:g} --p99-ms {wanted.p99_ms:g}"
            f" --products {wanted.products} --tenants {wanted.tenants}\n"
            'domain = "shop.example.com"\n\n'
            "[instances]\n"
            f"count = {self.instances}\nmin = {self.instances}\nmax = {most}\n"
            f"cpus = {wanted.processors}\nmemory_mb = {self.memory_mb}\n\n"
            "[database]\n"
            f"max_connections = {wanted.max_connections}\n\n"
            f"[aws]\nmin = {self.instances}\nmax = {most}\ndesired = {self.instances}\n"
            f"replicas = {self.replicas}\n"
        )


def plan(wanted: Wanted, costs: Costs, prices: Mapping[str, float] = PRICES) -> Plan:
    """The smallest fleet that meets them, with one instance to spare. Raises SettingsError if no
    instance is fast enough."""
    made = Plan(wanted)
    _instances(made, costs)
    _connections(made)
    _databases(made, costs)
    _others(made)
    _cost(made, prices)
    return made


def _needed(wanted: Wanted, costs: Costs, times: float = 1.0) -> int:
    """Instances with at most this utilization and latency; a request costs `times` as much."""
    work_ms = costs.request_ms * times
    count = max(1, math.ceil(wanted.rps * work_ms / 1000 / wanted.processors / BUSY))
    for more in range(1000):
        at = wanted.rps / (count + more)
        if latency_ms(at, wanted.processors, work_ms, costs)[1] <= wanted.p99_ms:
            return count + more
    raise SettingsError(
        f"--p99-ms {wanted.p99_ms:g}: an idle instance has a p99 of {costs.base_p99_ms:g} ms here"
    )


def _instances(made: Plan, costs: Costs) -> None:
    wanted = made.wanted
    needed = _needed(wanted, costs)
    made.instances = max(2, needed + 1)
    made.instances_range = (
        max(2, _needed(wanted, costs, SPREAD[0]) + 1),
        max(2, _needed(wanted, costs, SPREAD[1]) + 1),
    )
    made.p99_ms = latency_ms(wanted.rps / needed, wanted.processors, costs.request_ms, costs)[1]
    busy = wanted.rps * costs.request_ms / 1000
    low, high = made.instances_range
    made.lines += [
        Line(
            "instances",
            f"{made.instances} ({low} to {high})",
            f"{wanted.rps:,.0f}/s × {costs.request_ms:.2f} ms = {busy:.1f} processors busy;"
            f" at most {BUSY:.0%} of {wanted.processors} each and a p99 of"
            f" {wanted.p99_ms:g} ms: {needed}, and one that may die. A processor may be"
            f" {1 / SPREAD[0]:.1f} times as fast, or half",
        ),
        Line(
            "p99",
            f"{made.p99_ms:.0f} ms",
            f"with one of them dead: {wanted.rps / needed:,.0f}/s each, M/G/{wanted.processors}",
        ),
        Line("processes", f"{wanted.processors} each", "one a processor"),
    ]
    memory = 256 + wanted.processors * (PROCESS_MB + CACHE_MB * 1.5)
    made.memory_mb = math.ceil(memory / 256) * 256
    made.lines.append(
        Line(
            "memory",
            f"{made.memory_mb:,} MB each",
            f"{wanted.processors} × ({PROCESS_MB} + 1.5 × {CACHE_MB} of pages) + 256 to spare",
        )
    )


def _connections(made: Plan) -> None:
    wanted = made.wanted
    each = wanted.pool_size
    room = wanted.max_connections - RESERVED
    fit, pooled = room // each, wanted.max_client_conn // each
    most = made.instances_range[1]
    made.needs_pooler = most > fit
    text = (
        f"{most} instances × {each} = {most * each}; PostgreSQL has {wanted.max_connections} -"
        f" {RESERVED} = {room}: {fit} instances; PgBouncer takes {wanted.max_client_conn:,}:"
        f" {pooled} instances"
    )
    value = 'pooler = "pgbouncer"' if made.needs_pooler else "no pooler"
    if made.needs_pooler and most > pooled:
        value += f"; max_client_conn = {most * each} at the least"
    made.lines.append(Line("connections", value, text))


def _databases(made: Plan, costs: Costs) -> None:
    wanted = made.wanted
    writes = wanted.rps * WRITE_SHARE * WRITE_MS / 1000
    reads = max(0.0, wanted.rps * costs.database_ms / 1000 - writes)
    most = wanted.database_processors * DATABASE_BUSY
    made.shards = max(1, math.ceil(writes / most), math.ceil(wanted.tenants / 5_000))
    made.replicas = max(1, math.ceil(reads / most))
    made.lines += [
        Line(
            "primaries",
            f"{made.shards}",
            f"{wanted.rps:,.0f}/s × {WRITE_SHARE:.0%} writes × {WRITE_MS} ms = {writes:.1f}"
            f" processors; at most {DATABASE_BUSY:.0%} of {wanted.database_processors} each, and"
            " 5,000 shops",
        ),
        Line(
            "replicas",
            f"{made.replicas}",
            f"reads that no memory has: {reads:.1f} processors; one at the least, to fail over to",
        ),
    ]


def _others(made: Plan) -> None:
    wanted = made.wanted
    # Unused entries expire; at most each read is of another page.
    asked = math.ceil(wanted.rps * (1 - WRITE_SHARE) * PAGE_TTL_S)
    pages = min(wanted.products * wanted.tenants, asked)
    entries = pages * (ENTRY_KB + ENTRY_OVERHEAD_KB) / 1024
    sessions = wanted.rps * SESSIONS_A_RPS * SESSION_KB / 1024
    made.redis_mb = math.ceil((entries + sessions) * 1.3)
    made.megabits = wanted.rps * BODY_KB * 8 / 1024
    made.lines += [
        Line(
            "Redis",
            f"{made.redis_mb:,} MB",
            f"{pages:,} pages within {PAGE_TTL_S} s × {ENTRY_KB + ENTRY_OVERHEAD_KB:g} kB +"
            f" sessions of {wanted.rps * SESSIONS_A_RPS:,.0f} people × {SESSION_KB:g} kB, and 30 %"
            " more",
        ),
        Line(
            "bandwidth",
            f"{made.megabits:,.0f} Mbit/s",
            f"{wanted.rps:,.0f}/s × {BODY_KB:g} kB; compressed a third of it",
        ),
    ]


def _cost(made: Plan, prices: Mapping[str, float]) -> None:
    wanted = made.wanted
    servers = made.shards + made.replicas
    parts = {
        "instances": made.instances * wanted.processors * prices["instance_cpu_hour"],
        "databases": servers * wanted.database_processors * prices["database_cpu_hour"],
        "Redis": made.redis_mb / 1024 * prices["cache_gb_hour"] * 2,
    }
    traffic = made.megabits / 8 / 1024 * 3600 * HOURS_A_MONTH / 3 * prices["traffic_gb"] / 3
    made.cost_month = sum(parts.values()) * HOURS_A_MONTH + traffic
    shown = " + ".join(f"{value * HOURS_A_MONTH:,.0f} {name}" for name, value in parts.items())
    made.lines.append(
        Line(
            "a month",
            f"{made.cost_month:,.0f}",
            f"{shown} + {traffic:,.0f} traffic (a third of the peak on average, compressed), by the"
            " prices",
        )
    )


def read_prices(path: Path) -> dict[str, float]:
    """Prices from a TOML file; those it lacks keep their defaults. Raises SettingsError."""
    try:
        tree: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error
    for name, value in tree.items():
        if name not in PRICES:
            raise SettingsError(f"{path}: there is no price {name}; there are {', '.join(PRICES)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise SettingsError(f"{path}: {name} must be a number of at least 0")
    return {**PRICES, **tree}
