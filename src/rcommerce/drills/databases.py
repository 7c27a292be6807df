"""Database servers and poolers fail."""

import json
import time

import httpx

from rcommerce.bench.open_load import Sample
from rcommerce.drills.course import Course, course
from rcommerce.drills.outcome import Check, Outcome
from rcommerce.drills.stage import Stage
from rcommerce.errors import StartError

AWAY_S = 5.0
AT_ONCE_S = 1.5  # within which a write is refused, once the primary is known to be away
NOTICED_S = 1.0
HANG_NOTICED_S = 5.0  # two probes have to go unanswered


def _is_catalogue(sample: Sample) -> bool:
    return sample.kind != "cart"  # a cart is read where it is written


def replica_down(stage: Stage) -> Outcome:
    """kill -9 of one of two."""

    def kill() -> None:
        stage.kill("replica-1")
        time.sleep(AWAY_S)

    found = course(stage, kill, lambda: stage.start("replica-1"))
    return found.outcome(
        "replica-down", "a replica that dies fails no request", [found.no_read_failed()]
    )


def primary_down(stage: Stage) -> Outcome:
    """kill -9, and it stays down for a while."""

    def kill() -> None:
        stage.kill("primary")
        time.sleep(AWAY_S)

    found = course(stage, kill, lambda: stage.start("primary"))
    catalogue = [each for each in found.failed if _is_catalogue(each)]
    refused = [
        each
        for each in found.ledger.attempts
        if found.broke_at + NOTICED_S < each.sent < found.broke_at + AWAY_S - AT_ONCE_S
    ]
    slow = [each for each in refused if each.took_s > AT_ONCE_S]
    return found.outcome(
        "primary-down",
        "without the primary the catalogue is read as before, writes are refused at once, and none"
        " is lost",
        [
            Check("no read of the catalogue fails", not catalogue, f"{len(catalogue)} failed"),
            Check(
                "writes are refused", bool(refused) and not any(e.status == 201 for e in refused)
            ),
            Check(f"each within {AT_ONCE_S:g} s", not slow, f"{len(slow)} took longer"),
            found.none_after(2.0),
            _sells_again(found),
        ],
    )


def _sells_again(found: Course) -> Check:
    after = found.orders_between(found.healed_at, float("inf"))
    return Check("orders are placed again", after > 0, f"{after}")


def shard_down(stage: Stage) -> Outcome:
    """A shard with other tenants hangs: it accepts connections and does not answer."""
    tenants = json.loads(stage.fleet.command("tenant", "list", "--json"))["tenants"]
    there = next(each for each in tenants if str(each["shard"]).startswith("shard-"))
    headers, known = {"X-Tenant-ID": there["id"]}, []
    [shard] = stage.processes(there["shard"])

    def freeze() -> None:
        shard.freeze()
        noticed = time.monotonic() + HANG_NOTICED_S
        while (begun := time.monotonic()) < noticed + AWAY_S:
            answer = httpx.post(
                f"{stage.fleet.url}/api/v1/carts/guest", json={}, headers=headers, timeout=60
            )
            if begun > noticed:
                known.append((answer.status_code, time.monotonic() - begun))
            time.sleep(0.2)

    try:
        found = course(stage, freeze, shard.thaw)
    finally:
        shard.thaw()
    slow = [took_s for _, took_s in known if took_s > AT_ONCE_S]
    return found.outcome(
        "shard-down",
        "a shard that hangs harms no shop of another",
        [
            found.no_read_failed("no read of the other shops fails"),
            found.none_slower(AT_ONCE_S * 2),
            Check("its own shops are told 503", {status for status, _ in known} == {503}),
            Check(f"within {AT_ONCE_S:g} s", not slow, f"{len(slow)} took longer"),
        ],
    )


def pgbouncer_restart(stage: Stage) -> Outcome:
    """kill -9 of the only pooler, started again."""
    stage.pooler()

    def restart() -> None:
        stage.kill("pgbouncer")
        time.sleep(1.0)
        stage.start("pgbouncer")

    found = course(stage, restart, lambda: None)
    catalogue = [each for each in found.failed if _is_catalogue(each)]
    return found.outcome(
        "pgbouncer-restart",
        "a pooler that restarts fails no catalogue read and loses no order",
        [
            Check("no read of the catalogue fails", not catalogue, f"{len(catalogue)} failed"),
            found.none_after(2.0),
            _sells_again(found),
        ],
    )


def tenant_move(stage: Stage) -> Outcome:
    """The selling tenant moves to a shard, and back."""
    faults: list[str] = []

    def move(to: str) -> None:
        try:
            stage.fleet.command("tenant", "move", "default", "--to", to, "--drop-after", "2")
        except StartError as error:
            faults.append(str(error))

    def back() -> None:
        if not faults:
            move("main")

    found = course(stage, lambda: move("shard-1"), back)
    gap = found.ledger.longest_gap_s()
    return found.outcome(
        "tenant-move",
        "a shop moves to another shard and back while it sells: writes pause for less than 2.5 s,"
        " and nothing is lost",
        [
            Check("it moves", not faults, "; ".join(faults)),
            found.no_read_failed(),
            Check("writes pause for less than 2.5 s", gap < 2.5, f"{gap:.2f} s"),
        ],
    )
