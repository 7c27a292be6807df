"""A fleet under a trace: instances are requested, start, warm up, serve, refuse and end.

Events are SimPy's; requests are a flow, second by second: the traces have millions a second, none
of which has to be followed individually.
"""

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import simpy

from rcommerce.deploy.arithmetic import connections, poolers
from rcommerce.deploy.fleet import Fleet
from rcommerce.simulation.hpa import SYNC_S, Autoscaler, Pod, Policy, Rules
from rcommerce.simulation.service import SHED_AT, Costs, accepted, latency_ms
from rcommerce.simulation.target_tracking import PERIOD_S, TargetTracking
from rcommerce.simulation.traces import Trace

Kind = Literal["kubernetes", "aws"]
Events = Generator[simpy.Event, Any, None]
STEP_S = 1.0
SCRAPE_S = 15.0  # the metrics server's resolution: metrics are up to so old
ROW_S = 5.0
CLUSTER_PRIMARIES = 3  # the fewest of a cluster


@dataclass(frozen=True, slots=True)
class Setup:
    """The simulated setup. `schedule_s` is the time until a container or machine starts, `start_s`
    until it answers, and `ready_s` until its load balancer has noticed. `database_processors` are
    those of the primary and replicas together; `connections_fit` is the number of instances for
    which PostgreSQL has connections."""

    name: str
    kind: Kind
    first: int
    least: int
    most: int
    processors: float
    costs: Costs
    cpu_percent: float
    up: Rules
    down: Rules
    schedule_s: float
    start_s: float
    ready_s: float
    warmup_s: float
    database_processors: float
    connections_fit: int
    redis_primaries: int  # 0: there is no Redis
    redis_timeout_ms: float
    price_hour: float


@dataclass(frozen=True, slots=True)
class Around:
    """What a fleet's files do not say: processors of the databases together, primaries of Redis
    (None: three of a cluster, otherwise one), and the price of an instance per hour."""

    database_processors: float = 24
    redis_primaries: int | None = None
    price_hour: float = 0.10


def setup_of(fleet: Fleet, kind: Kind, costs: Costs, around: Around, name: str) -> Setup:
    """The setup that a fleet's files make."""
    file, cache = fleet.file, fleet.settings.cache
    primaries = around.redis_primaries or (CLUSTER_PRIMARIES if cache.redis_cluster else 1)
    scaling, health = file.autoscaling, file.health
    least, most, first = file.instances.min, file.instances.max, fleet.size
    if kind == "aws":
        least, most, first = file.aws.min, file.aws.max, file.aws.desired
    return Setup(
        name=name,
        kind=kind,
        first=min(max(first, least), most),
        least=least,
        most=most,
        processors=file.instances.cpus,
        costs=costs,
        cpu_percent=scaling.cpu_percent,
        up=Rules(
            scaling.up_stabilization_s,
            (Policy("Percent", scaling.up_percent, scaling.up_period_s),),
        ),
        down=Rules(
            scaling.down_stabilization_s,
            (Policy("Percent", scaling.down_percent, scaling.down_period_s),),
        ),
        schedule_s=5.0 if kind == "kubernetes" else 90.0,
        start_s=2.0 if kind == "kubernetes" else 30.0,
        ready_s=health.rise * health.interval_ms / 1000,
        warmup_s=float(file.aws.grace_s),
        database_processors=around.database_processors,
        connections_fit=_fit(fleet),
        redis_primaries=primaries if cache.cache_type == "Redis" else 0,
        redis_timeout_ms=cache.redis_timeout_ms,
        price_hour=around.price_hour,
    )


def _fit(fleet: Fleet) -> int:
    """How many instances PostgreSQL, or the poolers, have connections for."""
    servers = fleet.file.database
    room = servers.max_connections - servers.superuser_reserved_connections
    fits = [room // each for each in connections(fleet).values() if each]
    fits += [
        fleet.file.pgbouncer.max_client_conn // sum(node.pool_size for _, node in users)
        for users in poolers(fleet).values()
    ]
    return min(fits, default=10**6)


@dataclass(slots=True)
class Row:
    """One moment. Rates are a second, latencies in ms."""

    at_s: float
    asked: float
    served: float
    refused: float
    wanted: int
    ready: int
    utilization: float
    database: float
    redis: float
    p50_ms: float
    p99_ms: float


@dataclass(slots=True)
class Outcome:
    """A run. `refused_share` is of all requests; `slow_share` is the share of time with a p99 above
    the bound."""

    setup: Setup
    trace: Trace
    rows: list[Row] = field(default_factory=list)
    asked: float = 0.0
    refused: float = 0.0
    slow_s: float = 0.0
    cost: float = 0.0
    most: int = 0
    limits: set[str] = field(default_factory=set)

    @property
    def refused_share(self) -> float:
        """Of all requests."""
        return self.refused / self.asked if self.asked else 0.0

    @property
    def slow_share(self) -> float:
        """Of the time."""
        return self.slow_s / self.trace.seconds

    @property
    def has_held(self) -> bool:
        """At most one request in a thousand refused, and one second in a hundred slow."""
        return self.refused_share <= 0.001 and self.slow_share <= 0.01


class _Instance:
    __slots__ = ("born_s", "figure", "figure_s", "is_running", "ready_s", "used_s")

    def __init__(self, born_s: float) -> None:
        self.born_s = born_s
        self.is_running = False
        self.ready_s: float | None = None
        self.used_s = 0.0  # of its processors, since the last figure
        self.figure: float | None = None
        self.figure_s = 0.0


class _Run:
    def __init__(self, setup: Setup, trace: Trace, bound_ms: float) -> None:
        self.setup = setup
        self.trace = trace
        self.bound_ms = bound_ms
        self.env = simpy.Environment()
        self.outcome = Outcome(setup, trace)
        self.wanted = setup.first
        self.instances: list[_Instance] = []
        for _ in range(setup.first):  # those have been there for long
            each = _Instance(-3600.0)
            each.is_running, each.ready_s = True, -3600.0
            self.instances.append(each)

    def run(self) -> Outcome:
        self.env.process(self._serve())
        self.env.process(self._measure())
        self.env.process(self._scale())
        self.env.run(until=self.trace.seconds)
        return self.outcome

    # What is served ---------------------------------------------------------------------------

    def _serve(self) -> Events:
        while True:
            self._second(self.env.now)
            yield self.env.timeout(STEP_S)

    def _second(self, now: float) -> None:
        setup, costs = self.setup, self.setup.costs
        ready = [each for each in self.instances if each.ready_s is not None]
        asked = max(0.0, self.trace.at(now))
        works = [costs.at_age(now - (each.ready_s or 0.0)) for each in ready]
        capacity = sum(setup.processors * 1000 / work for work in works)
        mean_ms = len(ready) * setup.processors * 1000 / capacity if capacity else costs.request_ms
        served = accepted(asked, capacity, costs, mean_ms) if capacity else 0.0
        # A cold instance queries the database more; its processors are shared by all.
        database_ms = costs.database_ms * mean_ms / costs.request_ms
        database_rate = setup.database_processors * SHED_AT * 1000 / database_ms
        if served > database_rate:
            served = database_rate
            self.outcome.limits.add("the databases' processors")
        refused = asked - served
        used = served * mean_ms + refused * costs.refusal_ms if capacity else 0.0
        utilization = min(1.0, used / 1000 / (len(ready) * setup.processors)) if ready else 0.0
        for each in ready:
            each.used_s += utilization * setup.processors * STEP_S
        if refused > 0.005 * asked and ready:
            p50, p99 = self._refusing(served / len(ready))
        elif ready:
            p50, p99 = latency_ms(asked / len(ready), setup.processors, mean_ms, costs)
        else:
            p50 = p99 = math.inf
        database = served * database_ms / 1000 / setup.database_processors
        redis = self._redis(served, mean_ms)
        if redis > SHED_AT:  # requests wait in vain, and continue without it
            p99 = max(p99, setup.redis_timeout_ms)
            self.outcome.limits.add("Redis' processors: the shop goes on without")
        self._note(
            Row(
                now,
                asked,
                served,
                refused,
                self.wanted,
                len(ready),
                utilization,
                database,
                redis,
                p50,
                p99,
            )
        )

    def _redis(self, rate: float, work_ms: float) -> float:
        """The utilization of its primaries; cold instances use it more."""
        setup, costs = self.setup, self.setup.costs
        if not setup.redis_primaries:
            return 0.0
        commands = rate * costs.redis_commands * work_ms / costs.request_ms
        return commands * costs.redis_ms / 1000 / setup.redis_primaries

    def _refusing(self, rate: float) -> tuple[float, float]:
        """The load at which an instance reaches its concurrency limit: by Little's law."""
        costs = self.setup.costs
        held = costs.in_flight_shed * max(1.0, self.setup.processors)
        mean_ms = held / rate * 1000 if rate else math.inf
        return costs.base_p50_ms + mean_ms, costs.base_p99_ms + 2.4 * mean_ms

    def _note(self, row: Row) -> None:
        outcome = self.outcome
        outcome.asked += row.asked * STEP_S
        outcome.refused += row.refused * STEP_S
        outcome.slow_s += STEP_S * (row.p99_ms > self.bound_ms)
        outcome.cost += len(self.instances) * self.setup.price_hour * STEP_S / 3600
        outcome.most = max(outcome.most, row.ready)
        if row.refused > 0.005 * row.asked and len(self.instances) >= self.setup.most:
            outcome.limits.add(f"instances.max = {self.setup.most}")
        if row.at_s % ROW_S == 0:
            outcome.rows.append(row)

    # Starting and ending -------------------------------------------------------------------------

    def _measure(self) -> Events:
        while True:
            yield self.env.timeout(SCRAPE_S)
            for each in self.instances:
                if each.is_running:
                    each.figure = 100 * each.used_s / SCRAPE_S / self.setup.processors
                    each.figure_s = self.env.now
                    each.used_s = 0.0

    def _scale(self) -> Events:
        decide = self._kubernetes() if self.setup.kind == "kubernetes" else self._aws()
        while True:
            yield self.env.timeout(SYNC_S if self.setup.kind == "kubernetes" else PERIOD_S)
            self.wanted = decide()
            for _ in range(self.wanted - len(self.instances)):
                self.env.process(self._come())
            # The youngest end first; they finish their requests and get no new ones.
            by_age = sorted(
                self.instances, key=lambda each: (each.ready_s is not None, each.born_s)
            )
            for each in _going(by_age, len(self.instances) - self.wanted):
                self.instances.remove(each)

    def _kubernetes(self) -> Callable[[], int]:
        setup = self.setup
        scaler = Autoscaler(
            setup.least, setup.most, {"cpu": setup.cpu_percent}, up=setup.up, down=setup.down
        )

        def decide() -> int:
            pods = [
                Pod(each.born_s, each.ready_s, each.figure, each.figure_s, not each.is_running)
                for each in self.instances
            ]
            return scaler.decide(self.env.now, len(self.instances), {"cpu": pods})

        return decide

    def _aws(self) -> Callable[[], int]:
        setup = self.setup
        policy = TargetTracking(setup.least, setup.most, setup.cpu_percent)

        def decide() -> int:
            warm = [
                each.figure
                for each in self.instances
                if each.figure is not None and self.env.now - each.born_s >= setup.warmup_s
            ]
            return policy.decide(len(self.instances), sum(warm) / len(warm) if warm else None)

        return decide

    def _come(self) -> Events:
        setup = self.setup
        instance = _Instance(self.env.now)
        self.instances.append(instance)
        yield self.env.timeout(setup.schedule_s)
        instance.is_running = True
        if len(self.instances) > setup.connections_fit:
            self.outcome.limits.add(
                f"connections of PostgreSQL: {setup.connections_fit} instances fit"
            )
            return  # PostgreSQL refuses its connections, so it never becomes ready
        yield self.env.timeout(setup.start_s + setup.ready_s)
        if instance in self.instances:
            instance.ready_s = self.env.now


def _going(instances: Sequence[_Instance], count: int) -> list[_Instance]:
    """Those that are not ready yet, then the youngest."""
    by_age = sorted(instances, key=lambda each: (each.ready_s is not None, -each.born_s))
    return by_age[: max(0, count)]


def simulate(setup: Setup, trace: Trace, bound_ms: float = 100.0) -> Outcome:
    """Runs a fleet through a trace; a second whose p99 is above the bound counts as slow."""
    return _Run(setup, trace, bound_ms).run()
