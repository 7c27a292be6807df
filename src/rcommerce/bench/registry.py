"""Every benchmark by its name."""

from collections.abc import Callable
from dataclasses import dataclass

from rcommerce.bench import checkout, footprint, read_cold
from rcommerce.bench.report import Result
from rcommerce.bench.setup import Bench, shop


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What it measures, and on how many products."""

    about: str
    bar: str
    products: int
    measure: Callable[[Bench], Result]


BENCHMARKS = {
    "read-cold": Benchmark(
        "product detail from PostgreSQL, no cache, against a bare psycopg loop",
        f"ratio ≥ {read_cold.BAR}",
        read_cold.PRODUCTS,
        read_cold.run,
    ),
    "checkout": Benchmark(
        "cart, item, paid order, against pgbench with the same statements",
        f"ratio ≥ {checkout.BAR}",
        checkout.PRODUCTS,
        checkout.run,
    ),
    "startup": Benchmark(
        "from the command to the first 200, PostgreSQL running",
        f"≤ {footprint.STARTUP_BAR_S:g} s",
        100,
        footprint.startup,
    ),
    "memory": Benchmark(
        "resident memory of one idle worker",
        f"≤ {footprint.MEMORY_BAR_MB:g} MB",
        100,
        footprint.memory,
    ),
}


def measure(name: str, tell: Callable[[str], None]) -> Result:
    """Runs a benchmark in a shop of its own. Raises StartError, LoadError."""
    benchmark = BENCHMARKS[name]
    with shop(benchmark.products, tell) as bench:
        return benchmark.measure(bench)
