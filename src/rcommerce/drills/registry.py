"""Every drill by its name."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from rcommerce.drills import (
    caches,
    databases,
    disk,
    failover,
    files,
    instances,
    jobs,
    payments,
    pressure,
    replicas,
    sales,
    selling,
)
from rcommerce.drills.outcome import NotHere, Outcome
from rcommerce.drills.stage import Stage


@dataclass(frozen=True, slots=True)
class Drill:
    """A drill: what it breaks, and its function."""

    about: str
    run: Callable[[Stage], Outcome]


DRILLS = {
    "oversell": Drill("1,000 buyers of 100 units: 100 are sold", selling.oversell),
    "rolling-restart": Drill("each instance in turn: no request fails", instances.rolling_restart),
    "kill-instance": Drill("kill -9: no read fails, no order is lost", instances.kill_instance),
    "redis-down": Drill("all of Valkey dies: everything goes on", caches.redis_down),
    "redis-hang": Drill("all of Valkey hangs: everything goes on", caches.redis_hang),
    "redis-failover": Drill("a master dies: no request fails", caches.redis_failover),
    "replica-down": Drill("a replica dies: no request fails", databases.replica_down),
    "replica-lag": Drill("replicas lag: own writes are read, caches true", replicas.replica_lag),
    "sale-starts": Drill("a sale starts at its time, everywhere", sales.sale_starts),
    "primary-down": Drill("reads go on, writes are refused at once", databases.primary_down),
    "primary-failover": Drill("a replica takes over, and gives back", failover.primary_failover),
    "shard-down": Drill("a shard hangs: shops of others are unharmed", databases.shard_down),
    "tenant-move": Drill("a shop moves while it sells", databases.tenant_move),
    "pgbouncer-restart": Drill("the pooler dies and comes back", databases.pgbouncer_restart),
    "s3-down": Drill("uploads are refused, all else goes on", files.s3_down),
    "gateway-timeout": Drill("lost answers: nobody is charged twice", payments.gateway_timeout),
    "webhook-crash": Drill("whoever dies, no message is lost", jobs.webhook_crash),
    "worker-kill": Drill("the jobs of a worker that dies are done", jobs.worker_kill),
    "clock-skew": Drill("clocks that are wrong by days harm nothing", instances.clock_skew),
    "disk-full": Drill("the primary's disk is full: nothing is lost", disk.disk_full),
    "overload": Drill("three times its capacity: buyers go on", pressure.overload),
    "slowloris": Drill("10,000 slow connections harm nobody", pressure.slowloris),
    "config-drift": Drill("an instance with other settings is seen", instances.config_drift),
}


def run(name: str, stage: Stage, *, heals: bool = True) -> Outcome:
    """Runs one, and repairs the stage afterwards if `heals`. Raises StartError."""
    begun, drill = time.monotonic(), DRILLS[name]
    try:
        outcome = drill.run(stage)
    except NotHere as error:
        outcome = Outcome(
            name=name, promise=drill.about, load="", passed=False, checks=[], not_run=str(error)
        )
    outcome.seconds = round(time.monotonic() - begun, 1)
    if heals:
        stage.heal()
    return outcome
