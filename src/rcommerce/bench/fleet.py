"""horizontal and single-instance: what more instances, and more processors, add.

Two processors are not twenty: what is measured here is what a request costs, in time of a
processor, with 1, 3, 10 and 20 instances that share a database; and from that follows, by the
Universal Scalability Law, what they would answer on machines of their own. The rows say which is
which.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import psycopg

from rcommerce.bench import hot, latency, open_load, scaling
from rcommerce.bench.load import Connection, get
from rcommerce.bench.open_load import Request
from rcommerce.bench.report import Result
from rcommerce.bench.setup import UNLIMITED, Bench
from rcommerce.bench.usage import Meter
from rcommerce.lab.server import Server
from rcommerce.simulation.service import Costs, latency_ms

PRODUCTS = 200
POSTGRES = {"max_connections": "500"}
COUNTS = (1, 3, 10, 20)
SEED_HORIZONTAL = {1: (5_000, 20), 3: (15_000, 60), 10: (50_000, 200), 20: (100_000, 400)}
SEED_SINGLE = {
    1: (500, 50, 1_000),
    2: (2_000, 20, 5_000),
    4: (5_000, 10, 15_000),
    8: (12_000, 8, 40_000),
}
COST_BAR = 1.15  # a request's cost at 20 instances, against at 1
ROUND_S, LEAST_S = 6.0, 1.0  # of load in a round: together, and of each instance at the least
IDLE_S = 5.0
ROUNDS = 2
SHARES = (0.02, 0.1, 0.25, 0.4, 0.55, 0.7)  # of the peak, at which latencies are taken
THINK_S = 2.0  # of a user between two requests: the seed's users have so many
LISTED = "select count(*) from pg_stat_activity where application_name like 'rcommerce%'"


def horizontal(bench: Bench) -> Result:
    """A load on 1, 3, 10 and 20 instances, one after the other, while as many writes are heard by
    all of them."""
    ids = [str(row[0]) for row in bench.query("select id from product")]
    requests = [get(f"/api/v1/products/{each}") for each in ids]
    rows: list[dict[str, Any]] = []
    costs: dict[int, float] = {}
    rate = 0.0
    for count in COUNTS:
        bench.tell(f"{count} instances come up")
        with ExitStack() as stack:
            servers = _instances(bench, count, stack)
            workers = [pid for each in servers for pid in each.workers()]
            for each in servers:
                _warm(each.port, requests)
            idle = Meter(workers)
            time.sleep(IDLE_S)
            idle_cpu = idle.share()
            [(connections,)] = bench.query(LISTED)
            each_s: list[float] = []
            rates: list[float] = []
            heard = 0
            for number in range(1, ROUNDS + 1):
                bench.tell(f"{count} instances, round {number} of {ROUNDS}")
                found = _round(bench, servers, workers, requests, idle_cpu)
                each_s.append(found[0])
                rates.append(found[1])
                heard += found[2]
            cost_s = min(each_s)
            costs[count] = cost_s
            rate = rate or max(rates)
            rows.append(
                {
                    "instances": count,
                    "cpu_us_a_request": round(cost_s * 1e6, 1),
                    "against_one": round(cost_s / costs[1], 3),
                    "idle_cpu_each": round(idle_cpu / count, 4),
                    "connections": connections,
                    "invalidations_heard_each": round(heard / count / ROUNDS, 1),
                }
            )
    law = scaling.fitted(rate, {count: cost / costs[1] for count, cost in costs.items()})
    for row in rows:
        seed_rate, seed_connections = SEED_HORIZONTAL[row["instances"]]
        row["requests/s_modelled"] = round(law.at(row["instances"]))
        row["seed_requests/s"], row["seed_connections"] = seed_rate, seed_connections
    ratio = costs[COUNTS[-1]] / costs[1]
    return Result(
        name="horizontal",
        value=round(costs[COUNTS[-1]] * 1e6, 1),
        unit=f"µs of a processor a request at {COUNTS[-1]} instances",
        ceiling=round(costs[1] * 1e6, 1),
        ratio=round(ratio, 3),
        bar=COST_BAR,
        ok=ratio <= COST_BAR,
        details={
            "ceiling_is": "the same at one instance",
            "at_most": True,
            "measured": "cpu, connections, invalidations: here, all instances on one processor",
            "modelled": "requests/s: by the Universal Scalability Law from the measured costs,"
            " where each instance has a processor of its own and the database keeps up",
            "contention": round(law.contention, 5),
            "coherence": round(law.coherence, 7),
        },
        rows=rows,
    )


def _warm(port: int, requests: Sequence[bytes]) -> None:
    """Every page is in memory afterwards."""

    async def ask_all() -> None:
        connection = await Connection.open(port)
        for request in requests:
            await connection.ask(request)
        connection.close()

    asyncio.run(ask_all())


def _instances(bench: Bench, count: int, stack: ExitStack) -> list[Server]:
    servers = [bench.server(UNLIMITED, name=f"{count}-{n}") for n in range(count)]
    for each in servers:
        stack.enter_context(each)
    return servers


def _round(
    bench: Bench,
    servers: Sequence[Server],
    workers: Sequence[int],
    requests: Sequence[bytes],
    idle_cpu: float,
) -> tuple[float, float, int]:
    """(seconds of a processor a request, requests a second of all, invalidations heard by all)."""
    before = _heard(servers)
    meter, begun = Meter(workers), time.monotonic()
    done = 0.0
    with psycopg.connect(bench.dsn, autocommit=True) as connection:
        seconds = max(ROUND_S / len(servers), LEAST_S)
        for number, each in enumerate(servers):
            connection.execute(
                "update product set updated_at = now() where id = ("
                " select id from product order by id offset %s limit 1)",
                (number % PRODUCTS,),
            )
            done += hot.load(each.port, requests, 200, seconds) * seconds
    took_s = time.monotonic() - begun
    cost_s = (meter.used_s() - idle_cpu * took_s) / done
    return cost_s, done / took_s, _heard(servers) - before


def _heard(servers: Sequence[Server]) -> int:
    import urllib.request

    found = 0
    for each in servers:
        with urllib.request.urlopen(f"{each.url}/metrics", timeout=10) as answer:  # noqa: S310
            for line in answer.read().decode().splitlines():
                if line.startswith("rcommerce_cache_invalidations_total"):
                    found += int(float(line.split()[-1]))
    return found


def single_instance(bench: Bench) -> Result:
    """One and two processors measured, four and eight modelled: what it answers at most, by a
    closed loop, and its p99 at 70 % of that, by an open one."""
    ids = [str(row[0]) for row in bench.query("select id from product")]
    requests = [get(f"/api/v1/products/{each}") for each in ids]
    turn = iter(range(10**9))

    def pick() -> Request:
        return Request("hit", requests[next(turn) % len(requests)])

    measured: dict[int, tuple[float, float, float]] = {}
    points: list[dict[str, float]] = []
    for cpus in (1, 2):
        bench.tell(f"{cpus} processors")
        with bench.server(UNLIMITED, workers=cpus, every=cpus > 1) as server:
            for _ in range(cpus * 4):  # a connection is one worker's
                _warm(server.port, requests)
            meter = Meter(server.workers())
            peak = hot.load(server.port, requests, 200, hot.SECONDS)
            cost_s = meter.used_s() / (peak * hot.SECONDS)
            load = open_load.run(server.port, min(0.7 * peak, 3_000.0), 8.0, 2.0, pick)
            measured[cpus] = (peak, latency.at(latency.histogram(load.accepted_s), 99), cost_s)
            if cpus == 1:
                points = _latencies(bench, server.port, pick, peak, 1000 * cost_s)
    # With two, the load is on one of the processors as well: the cost of a request tells more.
    law = scaling.fitted(1 / measured[1][2], {2: measured[2][2] / measured[1][2]})
    rows = []
    for cpus, (seed_rate, seed_ms, seed_users) in SEED_SINGLE.items():
        known = measured.get(cpus)
        rate = known[0] if cpus == 1 and known else law.at(cpus)
        rows.append(
            {
                "processors": cpus,
                "requests/s": round(rate),
                "is": "measured" if cpus == 1 else "modelled",
                "p99_ms": known[1] if known else None,
                "users": round(rate * THINK_S),
                "cpu_us_a_request": round(known[2] * 1e6, 1) if known else None,
                "seed_requests/s": seed_rate,
                "seed_p99_ms": seed_ms,
                "seed_users": seed_users,
            }
        )
    value, p99, _ = measured[1]
    return Result(
        name="single-instance",
        value=round(value),
        unit="requests/s of one processor",
        ceiling=float(SEED_SINGLE[1][0]),
        ratio=round(value / SEED_SINGLE[1][0], 1),
        bar=1.0,
        ok=value >= SEED_SINGLE[1][0] and p99 < SEED_SINGLE[1][1],
        details={
            "ceiling_is": "the seed's row of one vCPU",
            "load": "product detail from memory; `mixed` has a whole shop's",
            "p99_at": "70 % of the peak, at most 3,000/s, open loop; with two processors the load"
            " is on one of them",
            "modelled": "by the Universal Scalability Law from what a request costs with one and"
            " with two workers",
            "contention": round(law.contention, 4),
            "a_user_asks_every_s": THINK_S,
            "latency_model": "that of rcommerce simulate, by what a request costs and the first"
            " point",
            "latencies": points,
        },
        rows=rows,
    )


def _latencies(
    bench: Bench, port: int, pick: Callable[[], Request], peak: float, work_ms: float
) -> list[dict[str, float]]:
    """The p99 at rising shares of the peak, by an open loop, and by the model of `rcommerce
    simulate`: what one has that hardly waits, and the queue. The load sends what is due once a
    tick, so that what comes together waits for each other as well."""
    points: list[dict[str, float]] = []
    for share in SHARES:
        rate = share * peak
        bench.tell(f"{rate:,.0f} requests/s")
        load = open_load.run(port, rate, 6.0, 2.0, pick)
        p99 = latency.at(latency.histogram(load.accepted_s), 99)
        alone = points[0]["p99_ms"] if points else p99
        costs = Costs(request_ms=work_ms, base_p99_ms=alone, variation=1.0)
        together = rate * open_load.TICK_S * work_ms
        modelled = latency_ms(rate, 1, work_ms, costs)[1] + (together if points else 0.0)
        points.append(
            {
                "requests/s": round(rate),
                "p99_ms": p99,
                "modelled_p99_ms": round(modelled, 2),
                "against_measured": round(modelled / p99, 2),
                "load_cpu": round(load.cpu, 2),
            }
        )
    return points
