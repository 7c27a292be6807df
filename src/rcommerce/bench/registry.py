"""Every benchmark by its name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from rcommerce.bench import (
    channels,
    checkout,
    connections,
    fleet,
    footprint,
    growth,
    hot,
    importing,
    mixed,
    overload,
    quoting,
    read_cold,
    shared,
    sides,
)
from rcommerce.bench.report import Result
from rcommerce.bench.setup import Bench, external_shop, shop, unpinned_shop


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What it measures."""

    about: str
    bar: str
    measure: Callable[[Callable[[str], None]], Result]


def _in_shop(
    products: int, measure: Callable[[Bench], Result], tell: Callable[[str], None]
) -> Result:
    with shop(products, tell) as bench:
        return measure(bench)


def _import(tell: Callable[[str], None]) -> Result:
    with unpinned_shop(1, tell) as bench:
        return importing.run(bench)


def _horizontal(tell: Callable[[str], None]) -> Result:
    with external_shop(fleet.PRODUCTS, tell, fleet.POSTGRES) as bench:
        return fleet.horizontal(bench)


BENCHMARKS = {
    "read-cold": Benchmark(
        "product detail from PostgreSQL, no cache, against a bare psycopg loop",
        f"ratio ≥ {read_cold.BAR}",
        partial(_in_shop, read_cold.PRODUCTS, read_cold.run),
    ),
    "checkout": Benchmark(
        "cart, item, paid order, against pgbench with the same statements",
        f"ratio ≥ {checkout.BAR}",
        partial(_in_shop, checkout.PRODUCTS, checkout.run),
    ),
    "read-hot": Benchmark(
        "product detail from memory, against a constant of the same size",
        f"ratio ≥ {hot.BARS['read-hot']}",
        partial(_in_shop, hot.PRODUCTS, hot.read_hot),
    ),
    "list-hot": Benchmark(
        "a page of 20 products from memory, against a constant of the same size",
        f"ratio ≥ {hot.BARS['list-hot']}",
        partial(_in_shop, hot.PRODUCTS, hot.list_hot),
    ),
    "not-modified": Benchmark(
        "a product that the client has already (304), against a constant 304",
        f"ratio ≥ {hot.BARS['not-modified']}",
        partial(_in_shop, hot.PRODUCTS, hot.not_modified),
    ),
    "read-redis": Benchmark(
        "product detail from Redis, memory off, against a bare loop of GETs",
        f"ratio ≥ {shared.BARS['read-redis']}",
        partial(_in_shop, hot.PRODUCTS, shared.read_redis),
    ),
    "redis-away": Benchmark(
        "product detail while Redis is dead, against without Redis in the settings",
        f"ratio ≥ {shared.BARS['redis-away']}",
        partial(_in_shop, hot.PRODUCTS, shared.redis_away),
    ),
    "stampede": Benchmark(
        "1,000 misses at once on two instances: one query; p99 against 3 cold reads and queueing",
        f"1 query, ratio ≤ {shared.BARS['stampede']:g}",
        shared.stampede,
    ),
    "overload": Benchmark(
        "three times as many requests as it can answer: what it accepts, against its peak",
        f"ratio ≥ {overload.BAR}, p99 ≤ {overload.SLOWER_BAR:g} times that at 80 %",
        partial(_in_shop, overload.PRODUCTS, overload.run),
    ),
    "mixed": Benchmark(
        "a shop's day over 100,000 products, at rising arrival rates, open loop",
        f"≥ {mixed.BAR:g} requests/s with a p99 under {mixed.BAR_MS:g} ms",
        partial(_in_shop, mixed.PRODUCTS, mixed.run),
    ),
    "single-instance": Benchmark(
        "product reads on one and two processors, and on more by a model; beside the seed's table",
        "the seed's row of one vCPU",
        partial(_in_shop, fleet.PRODUCTS, fleet.single_instance),
    ),
    "horizontal": Benchmark(
        "1, 3, 10 and 20 instances: what a request costs; beside the seed's table",
        f"at 20 instances ≤ {fleet.COST_BAR:g} times what it costs at 1",
        _horizontal,
    ),
    "connections": Benchmark(
        f"{connections.IDLE:,} idle keep-alive clients, beside {connections.RATE} requests/s",
        f"all held, p99 ≤ {connections.BAR:g} times that without them",
        partial(_in_shop, connections.PRODUCTS, connections.run),
    ),
    "catalogue-growth": Benchmark(
        "product detail and lists with 1,000, 100,000 and a million products, caches off",
        f"≤ {growth.FLAT:g} times the time with 1,000",
        partial(_in_shop, growth.PRODUCTS, growth.catalogue),
    ),
    "tenant-growth": Benchmark(
        "product detail and lists with 10, 1,000 and 10,000 tenants, caches off",
        f"≤ {growth.FLAT:g} times the time with 10",
        partial(_in_shop, growth.OF_TENANT, growth.tenants),
    ),
    "import": Benchmark(
        "products a second of an import into an empty shop, and its memory",
        f"≥ {importing.BAR_PER_S:,}/s, ≤ {importing.MEMORY_BAR_MB} MB",
        _import,
    ),
    "quote": Benchmark(
        "what a cart of 50 lines with 20 promotions costs: CPU time of a quote",
        f"≤ {quoting.BAR_MS:g} ms",
        quoting.run,
    ),
    "channel-list": Benchmark(
        f"a list of {channels.SIZE:,} products by the prices of a channel, against by their own",
        f"≤ {channels.BAR:g} times the time",
        partial(_in_shop, growth.PRODUCTS, channels.run),
    ),
    "startup": Benchmark(
        "from the command to the first 200, PostgreSQL running",
        f"≤ {footprint.STARTUP_BAR_S:g} s",
        partial(_in_shop, 100, footprint.startup),
    ),
    "memory": Benchmark(
        "resident memory of one idle worker",
        f"≤ {footprint.MEMORY_BAR_MB:g} MB",
        partial(_in_shop, 100, footprint.memory),
    ),
    "replica": Benchmark(
        "product detail from a replica, against from the primary alone",
        f"ratio ≥ {sides.BARS['replica']}",
        sides.replica_reads,
    ),
    "pgbouncer": Benchmark(
        "product detail through PgBouncer, against without",
        f"ratio ≥ {sides.BARS['pgbouncer']}",
        sides.pgbouncer_reads,
    ),
    "pgbouncer-checkout": Benchmark(
        "cart, item, paid order through PgBouncer, against without",
        f"ratio ≥ {sides.BARS['pgbouncer-checkout']}",
        sides.pgbouncer_checkout,
    ),
}


def measure(name: str, tell: Callable[[str], None]) -> Result:
    """Runs a benchmark in a shop of its own. Raises StartError, LoadError."""
    return BENCHMARKS[name].measure(tell)
