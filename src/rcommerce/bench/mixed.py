"""mixed: a shop's day. 70 % product detail, 15 % lists and search, 10 % carts, 5 % checkouts, over
100,000 products (Zipf distribution); at rising arrival rates until the server falls behind."""

import os
from typing import Any

from rcommerce.bench import hot, latency, open_load
from rcommerce.bench.load import get
from rcommerce.bench.open_load import OpenLoad
from rcommerce.bench.report import Result
from rcommerce.bench.setup import UNLIMITED, Bench
from rcommerce.bench.shoppers import Shoppers
from rcommerce.bench.usage import Meter

PRODUCTS = 100_000
BAR, BAR_MS = 2_000.0, 50.0  # requests a second, with a p99 of less
SEED = 500.0  # the seed's row of one vCPU, at 50 ms
RATES = (500, 1_000, 1_400, 2_000, 2_400, 2_800, 3_400, 4_000)
SECONDS, WARM_S = 14.0, 4.0
GOODS = "select product_id, min(id::text) from variant group by product_id order by product_id"


def run(bench: Bench, warm_s: float = 60.0) -> Result:
    """One rate after the other, once the server has been warm for so long."""
    bench.query("update inventory_level set on_hand = 1000000")
    bench.query("vacuum analyze")
    shoppers = Shoppers([(str(row[0]), str(row[1])) for row in bench.query(GOODS)])
    rows: list[dict[str, Any]] = []
    curves: dict[str, list[tuple[float, float]]] = {}
    held = 0.0
    with bench.server(UNLIMITED) as server:
        bench.tell("warming up")
        open_load.run(server.port, RATES[0], warm_s, 0.0, shoppers.pick)
        for rate in RATES:
            bench.tell(f"{rate:,} requests/s")
            meter = Meter(server.workers())
            load = open_load.run(server.port, rate, SECONDS, WARM_S, shoppers.pick)
            row = _row(rate, load, meter.share())
            rows.append(row)
            curves[str(rate)] = latency.curve(latency.histogram(load.accepted_s))
            if row["p99_ms"] >= BAR_MS or row["failed"] > 0.001 * len(load.samples):
                break
            held = load.goodput
        size, _ = hot.asked(server.port, shoppers.product(0))
        with hot.constant_server(bench, 200, size) as (port, _):
            ceiling = hot.load(port, [get("/")], 200, hot.SECONDS)
    return Result(
        name="mixed",
        value=round(held),
        unit=f"requests/s at a p99 under {BAR_MS:g} ms",
        ceiling=round(ceiling),
        ratio=round(held / ceiling, 3),
        bar=BAR,
        ok=held >= 0.97 * BAR,  # arrivals are random
        details={
            "ceiling_is": "the same HTTP server with a constant of the size of a product",
            "the_seed's_row": f"1 vCPU: {SEED:g} requests/s at 50 ms",
            "products": PRODUCTS,
            "processors": f"1 for the server, {len(os.sched_getaffinity(0))} for the rest",
            "curves": curves,
        },
        rows=rows,
    )


def _row(rate: float, load: OpenLoad, cpu: float) -> dict[str, Any]:
    failed = [each for each in load.samples if not each.is_accepted]
    worst: dict[str, float] = {}
    for kind in ("detail", "list", "cart", "checkout"):
        its = [each.took_s for each in load.samples if each.kind == kind and each.is_accepted]
        worst[f"{kind}_p99_ms"] = latency.at(latency.histogram(its), 99)
    return {
        "asked/s": rate,
        "answered/s": round(load.goodput),
        "failed": len(failed) + load.unsent,
        **latency.percentiles_ms(latency.histogram(load.accepted_s)),
        **worst,
        "server_cpu": round(cpu, 2),
        "load_cpu": round(load.cpu, 2),
    }
