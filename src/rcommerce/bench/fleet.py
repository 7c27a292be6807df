"""horizontal and single-instance: what more instances, and more processors, add.

With two processors, the CPU cost of a request is measured with 1, 3, 10 and 20 instances that share
a database; from that follows, by the Universal Scalability Law, what they would answer on machines
of their own. The rows state which is which.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from rcommerce.bench import hot, latency, open_load, scaling
from rcommerce.bench.load import Connection, get
from rcommerce.bench.open_load import Request
from rcommerce.bench.report import Result
from rcommerce.bench.setup import UNLIMITED, Bench, external_shop
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
ROUND_S, LEAST_S = 6.0, 1.0  # requests a second in a round: in total, and of each instance at least
IDLE_S = 5.0
ROUNDS = 2
SHARES = (0.02, 0.1, 0.25, 0.4, 0.55, 0.7)  # of the peak, at which latencies are taken
THINK_S = 2.0  # of a user between two requests: the seed's users have so many
LISTED = "select count(*) from pg_stat_activity where application_name like 'rcommerce%'"


@dataclass(frozen=True, slots=True)
class Side:
    """Instances that share a database, and their CPU use while idle."""

    bench: Bench
    servers: Sequence[Server]
    requests: Sequence[bytes]
    idle_cpu: float

    def workers(self) -> list[int]:
        """Their process ids."""
        return [pid for each in self.servers for pid in each.workers()]

    def load(self, number: int, seconds: float) -> tuple[float, float, float]:
        """Loads one of them, after a write that all receive: number of requests, CPU seconds beyond
        those of idle instances, duration."""
        meter, begun = Meter(self.workers()), time.monotonic()
        self.bench.query(
            "update product set updated_at = now() where id = ("
            " select id from product order by id offset %s limit 1)",
            number % PRODUCTS,
        )
        port = self.servers[number % len(self.servers)].port
        done = hot.load(port, self.requests, 200, seconds) * seconds
        took_s = time.monotonic() - begun
        return done, meter.used_s() - self.idle_cpu * took_s, took_s


def horizontal(bench: Bench) -> Result:
    """Loads 1, 3, 10 and 20 instances, while all receive as many writes; in turn with one that has
    a database of its own, since the machine's speed varies."""
    rows: list[dict[str, Any]] = []
    ratios: dict[int, float] = {}
    rate = last_us = alone_us = 0.0
    with ExitStack() as whole:
        apart = whole.enter_context(external_shop(PRODUCTS, bench.tell, POSTGRES))
        alone = _side(replace(apart, measured_cpus=bench.measured_cpus), 1, whole)
        for count in COUNTS:
            bench.tell(f"{count} instances come up")
            with ExitStack() as stack:
                side = _side(bench, count, stack)
                [(connections,)] = bench.query(LISTED)
                before = _heard(side.servers)
                cost_s, alone_s, per_second = _in_turn(side, alone)
                heard = _heard(side.servers) - before
                ratios[count] = cost_s / alone_s
                last_us, alone_us = round(cost_s * 1e6, 1), round(alone_s * 1e6, 1)
                rate = rate or per_second
                rows.append(
                    {
                        "instances": count,
                        "cpu_us_a_request": last_us,
                        "of_one_alone": alone_us,
                        "against_one": round(ratios[count], 3),
                        "idle_cpu_each": round(side.idle_cpu / count, 4),
                        "connections": connections,
                        "invalidations_heard_each": round(heard / count / ROUNDS, 1),
                    }
                )
    law = scaling.fitted(rate, ratios)
    for row in rows:
        seed_rate, seed_connections = SEED_HORIZONTAL[row["instances"]]
        row["requests/s_modelled"] = round(law.at(row["instances"]))
        row["seed_requests/s"], row["seed_connections"] = seed_rate, seed_connections
    ratio = ratios[COUNTS[-1]]
    return Result(
        name="horizontal",
        value=last_us,
        unit=f"µs of a processor a request at {COUNTS[-1]} instances",
        ceiling=alone_us,
        ratio=round(ratio, 3),
        bar=COST_BAR,
        ok=ratio <= COST_BAR,
        details={
            "ceiling_is": "one instance on a database of its own, in turn with those",
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
    """Brings every page into memory."""

    async def ask_all() -> None:
        connection = await Connection.open(port)
        for request in requests:
            await connection.ask(request)
        connection.close()

    asyncio.run(ask_all())


def _side(bench: Bench, count: int, stack: ExitStack) -> Side:
    """So many instances, with every page in memory. The stack ends them."""
    servers = [bench.server(UNLIMITED, name=f"{count}-{n}") for n in range(count)]
    requests = [get(f"/api/v1/products/{row[0]}") for row in bench.query("select id from product")]
    for each in servers:
        stack.enter_context(each)
        _warm(each.port, requests)
    idle = Meter([pid for each in servers for pid in each.workers()])
    time.sleep(IDLE_S)
    return Side(bench, servers, requests, idle.share())


def _in_turn(side: Side, alone: Side) -> tuple[float, float, float]:
    """CPU seconds per request of these, and of the one, over all rounds; requests a second of
    these."""
    seconds = max(ROUND_S / len(side.servers), LEAST_S)
    sums = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    for number in range(ROUNDS * len(side.servers)):
        if number % len(side.servers) == 0:
            side.bench.tell(
                f"{len(side.servers)} instances, round {number // len(side.servers) + 1}"
            )
        for each, total in zip((side, alone), sums, strict=True):
            for place, figure in enumerate(each.load(number, seconds)):
                total[place] += figure
    (done, used_s, took_s), (alone_done, alone_used_s, _) = sums
    return used_s / done, alone_used_s / alone_done, done / took_s


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
    """One and two processors measured, four and eight extrapolated: the peak in a closed loop, and
    the p99 at 70 % of it in an open one."""
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
    # With two processors, the load uses one of them as well: the cost of a request is more
    # accurate.
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
    """The p99 at rising shares of the peak, in an open loop, and by the model of `rcommerce
    simulate`: the latency without load, and the queue. The load sends once per tick, so requests of
    one tick wait for each other as well."""
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
