"""Another server is promoted to primary."""

import os
import signal
import time

from rcommerce.drills.course import course
from rcommerce.drills.outcome import Check, Outcome
from rcommerce.drills.stage import Stage
from rcommerce.drills.waiting import until
from rcommerce.errors import StartError
from rcommerce.lab.pgbouncer import PgBouncer
from rcommerce.lab.postgres import DATABASE, Postgres

# A commit returns once one of the replicas has it, too.
SYNCHRONOUS = "ANY 1 (*)"
ALONE_S = 0.5
AWAY_S = 2.0
WITHIN_S = 5.0
NAMES = ("replica-1", "replica-2")


def primary_failover(stage: Stage) -> Outcome:
    """The network to the replicas fails, then the primary; the most advanced replica is promoted,
    and PgBouncer points to it. The old primary returns as a replica, and takes over again in
    order."""
    primary, pooler = stage.postgres(), stage.pooler()
    replicas = [stage.postgres(name) for name in NAMES]
    promoted: list[Postgres] = []
    primary.configure({"synchronous_standby_names": SYNCHRONOUS})
    until(lambda: bool(primary.query(SYNCED, user="postgres")), WITHIN_S)

    def fail() -> None:
        for pid in primary.senders():  # nothing leaves the primary any more
            os.kill(pid, signal.SIGSTOP)
        time.sleep(ALONE_S)
        stage.kill("primary")
        time.sleep(AWAY_S)

    def take_over() -> None:
        best = max(replicas, key=lambda each: each.replayed())
        best.promote()
        pooler.lead(DATABASE, best)
        promoted.append(best)

    def ends(_: object) -> None:
        [new] = promoted
        other = next(each for each in replicas if each is not new)
        other.follow(new)
        _give_back(primary, new, other, pooler)

    found = course(stage, fail, take_over, ends=ends)
    primary.configure({"synchronous_standby_names": ""})
    sold = found.orders_between(found.healed_at, float("inf"))
    return found.outcome(
        "primary-failover",
        "a replica takes over from a primary that dies, and nothing acknowledged is lost",
        [
            Check(
                "no read of the catalogue fails",
                not (missed := [each for each in found.failed if each.kind != "cart"]),
                f"{len(missed)} failed",
            ),
            found.none_after(WITHIN_S),
            Check("orders are placed again", sold > 0, f"{sold}"),
        ],
    )


SYNCED = "select 1 from pg_stat_replication where sync_state = 'quorum' limit 1"
STREAMING = "select count(*) from pg_stat_replication where state = 'streaming'"


def _give_back(primary: Postgres, new: Postgres, other: Postgres, pooler: PgBouncer) -> None:
    """The old primary is copied from the new one, and becomes the primary again. Raises
    StartError."""
    primary.copy_again(new)
    if not until(lambda: new.query(STREAMING, user="postgres") == [(2,)], 30):
        raise StartError("the replicas do not follow the new primary")
    primary.become_primary(new)
    pooler.lead(DATABASE, primary)
    other.follow(primary)
    new.copy_again(primary)
    if not until(lambda: primary.query(STREAMING, user="postgres") == [(2,)], 30):
        raise StartError("the replicas do not follow the primary that is back")
