"""Valkey fails, hangs, or fails over."""

import time

from rcommerce.drills.course import course
from rcommerce.drills.outcome import Check, Outcome
from rcommerce.drills.stage import Stage
from rcommerce.errors import StartError
from rcommerce.lab.valkey import Valkey

AWAY_S = 5.0
SLOWEST_S = 2.0  # some calls wait half a second each, until its breakers open
NODES = tuple(f"valkey-{n}" for n in range(1, 7))


def redis_down(stage: Stage) -> Outcome:
    """kill -9 of all six."""

    def kill() -> None:
        stage.kill(*NODES)
        time.sleep(AWAY_S)

    found = course(stage, kill, lambda: stage.start(*NODES))
    sold = found.orders_between(found.broke_at, found.broke_at + AWAY_S)
    return found.outcome(
        "redis-down",
        "without Redis everything goes on",
        [found.no_read_failed(), Check("orders are placed meanwhile", sold > 0, f"{sold}")],
    )


def redis_hang(stage: Stage) -> Outcome:
    """All six are stopped (SIGSTOP): they accept connections and do not answer."""

    def freeze() -> None:
        for each in stage.processes("valkey"):
            each.freeze()
        time.sleep(AWAY_S)

    def thaw() -> None:
        for each in stage.processes("valkey"):
            each.thaw()

    try:
        found = course(stage, freeze, thaw)
    finally:
        thaw()
    sold = found.orders_between(found.broke_at + 1, found.broke_at + AWAY_S)
    return found.outcome(
        "redis-hang",
        "a Redis that hangs is left alone, and everything goes on",
        [
            found.no_read_failed(),
            found.none_slower(SLOWEST_S),
            Check("orders are placed meanwhile", sold > 0, f"{sold}"),
        ],
    )


def redis_failover(stage: Stage) -> Outcome:
    """kill -9 of one master: its replica takes its keys over."""
    name = _master(stage)

    def kill() -> None:
        stage.kill(name)
        time.sleep(AWAY_S)

    found = course(stage, kill, lambda: stage.start(name))
    return found.outcome(
        "redis-failover",
        "a master of the Cluster that dies fails no request",
        [found.no_read_failed()],
    )


def _master(stage: Stage) -> str:
    """A node that has keys: which ones do changes with every failover. Raises StartError."""
    for name in NODES:
        node = stage.fleet.members[name].part
        if isinstance(node, Valkey) and node.client().info("replication")["role"] == "master":
            return name
    raise StartError("no node of Valkey is a master")
