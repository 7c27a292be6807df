"""The latency of an instance by its load: a queue with as many servers as it has processors.

Waiting times are those of M/G/c by the approximation of Lee and Longton (1959): those of M/M/c
(Erlang C), times (1 + cv²) / 2, where cv² is the squared coefficient of variation of a request's
work.
"""

import math
from dataclasses import dataclass

SHED_AT = 0.97  # utilization at which an instance is busy all the time


@dataclass(frozen=True, slots=True)
class Costs:
    """Measured costs: by `bench run mixed`, the others by hand (docs/autoscaling.md). Times are in
    ms; `request` and `refusal` are CPU time, `database` is PostgreSQL's, `redis` is a primary's per
    command. A cold instance pays `cold` times as much, and less as its cache fills: half as much
    more after each `warm_s`."""

    request_ms: float = 0.27
    refusal_ms: float = 0.029
    database_ms: float = 0.26
    redis_ms: float = 0.007
    redis_commands: float = 2.0  # a request: a page that memory has not, and a limit's count
    base_p50_ms: float = 3.4
    base_p99_ms: float = 12.0
    variation: float = 6.0  # cv²
    cold: float = 1.9
    warm_s: float = 45.0
    in_flight_shed: float = 64.0  # of each process, where it refuses the rest

    def at_age(self, seconds: float) -> float:
        """The cost of a request for an instance that has been ready for so long, in ms."""
        left = math.exp2(-max(0.0, seconds) / self.warm_s)
        return self.request_ms * (1 + (self.cold - 1) * left)


def erlang_c(servers: int, load: float) -> float:
    """The share of requests that wait, in M/M/c with so much work at a time (in servers)."""
    if load >= servers:
        return 1.0
    blocked = 1.0  # Erlang B, by its recursion
    for each in range(1, servers + 1):
        blocked = load * blocked / (each + load * blocked)
    busy = load / servers
    return blocked / (1 - busy * (1 - blocked))


def wait_ms(rate: float, servers: int, work_ms: float, variation: float, share: float) -> float:
    """The shortest wait of the slowest 1 - `share`; infinite if more arrives than can be done."""
    if servers == 0 or rate * work_ms / 1000 >= servers:
        return math.inf
    load = rate * work_ms / 1000
    waiting = erlang_c(servers, load)
    if waiting <= 1 - share:
        return 0.0
    drained = servers / work_ms - rate / 1000  # a ms
    return math.log(waiting / (1 - share)) / drained * (1 + variation) / 2


def latency_ms(rate: float, processors: float, work_ms: float, costs: Costs) -> tuple[float, float]:
    """p50 and p99 of an instance."""
    servers = max(1, round(processors))
    p50 = costs.base_p50_ms + wait_ms(rate, servers, work_ms, costs.variation, 0.5)
    p99 = costs.base_p99_ms + wait_ms(rate, servers, work_ms, costs.variation, 0.99)
    return p50, p99


def accepted(offered: float, capacity: float, costs: Costs, work_ms: float) -> float:
    """Of so many requests a second, how many are answered if each refusal costs a little."""
    if offered <= capacity * SHED_AT:
        return offered
    refusal = costs.refusal_ms / work_ms
    left = (capacity * SHED_AT - offered * refusal) / (1 - refusal)
    return max(0.0, min(offered, left))
