"""Every drill by its name."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from rcommerce.drills import caches, databases, files, instances, selling
from rcommerce.drills.outcome import Outcome
from rcommerce.drills.stage import Stage


@dataclass(frozen=True, slots=True)
class Drill:
    """What it breaks, and what is promised nevertheless."""

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
    "primary-down": Drill("reads go on, writes are refused at once", databases.primary_down),
    "shard-down": Drill("shops of other shards are unharmed", databases.shard_down),
    "tenant-move": Drill("a shop moves while it sells", databases.tenant_move),
    "pgbouncer-restart": Drill("the pooler dies and comes back", databases.pgbouncer_restart),
    "s3-down": Drill("uploads are refused, all else goes on", files.s3_down),
}


def run(name: str, stage: Stage) -> Outcome:
    """Runs one, and leaves the stage well again. Raises StartError."""
    begun = time.monotonic()
    outcome = DRILLS[name].run(stage)
    outcome.seconds = round(time.monotonic() - begun, 1)
    stage.heal()
    return outcome
