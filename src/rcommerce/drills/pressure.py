"""Overload, and slow clients."""

import asyncio
import math
import random
import time

from rcommerce.bench import load, open_load
from rcommerce.bench.load import LoadError, get
from rcommerce.bench.open_load import OpenLoad, Request
from rcommerce.bench.report import percentile
from rcommerce.drills.course import course
from rcommerce.drills.outcome import Check, NotHere, Outcome
from rcommerce.drills.slow import SlowClients
from rcommerce.drills.stage import Stage
from rcommerce.lab.limits import room_for

TIMES = 3
CALM_S, OVERLOAD_S = 4.0, 8.0
CONNECTIONS = 24  # which keep the whole fleet at work, and no queue
QUICK_S = 3.0
SHARE = 1 / 3  # of what it can do, which it does still
RECOVERED_S = 5.0
SLOW = 10_000
SLOW_S = 6.0
HUNG_UP_S = 30.0  # longer than headers may take, and than so many take to be opened


def _search() -> bytes:
    """A list that no cache has."""
    return get(f"/api/v1/products?min_price={random.random():.9f}&per_page=20")  # noqa: S311


def overload(stage: Stage) -> Outcome:
    """Three times as many searches as the fleet can answer, while buyers buy."""
    try:
        peak = asyncio.run(load.reads(stage.port, CONNECTIONS, CALM_S, _search)).per_second
    except LoadError as error:
        raise NotHere(f"overload could not find what the fleet can do: {error}") from error
    flood: list[OpenLoad] = []

    def drown() -> None:
        flood.append(
            open_load.run(
                stage.port,
                TIMES * peak,
                OVERLOAD_S,
                OVERLOAD_S / 4,
                lambda: Request("flood", _search()),
            )
        )

    found = course(stage, drown, lambda: time.sleep(RECOVERED_S))
    over = found.broke_at + OVERLOAD_S
    [reported] = flood
    accepted = reported.accepted_s
    statuses = {status for status in reported.by_status() if status not in ("200", "503")}
    p99_s = percentile(accepted, 0.99) / 1000 if accepted else math.inf
    bought = [
        each.took_s
        for each in found.ledger.attempts
        if each.status == 201 and found.broke_at < each.answered < over
    ]
    late = [each for each in found.failed if each.due > over + RECOVERED_S]
    outcome = found.outcome(
        "overload",
        "three times as much as it can do: buyers go on, and what is answered is answered quickly",
        [
            Check("some searches are refused", reported.goodput < TIMES * peak * 0.9),
            Check("they are told 503", not statuses, f"{reported.by_status()}"),
            Check(
                f"beside the buyers, {SHARE:.0%} of what it can do is done",
                reported.goodput >= peak * SHARE,
                f"{reported.goodput:.0f} of {peak:.0f} searches/s",
            ),
            Check(f"within {QUICK_S:g} s, 99 of 100", p99_s < QUICK_S, f"{p99_s:.2f} s"),
            Check("orders are placed meanwhile", bool(bought), f"{len(bought)}"),
            Check(
                f"each within {QUICK_S:g} s",
                max(bought, default=0.0) < QUICK_S,
                f"{max(bought, default=0.0):.2f} s",
            ),
            Check(f"{RECOVERED_S:g} s after it all is well", not late, f"{len(late)} failed"),
        ],
    )
    outcome.details |= {
        "searches_that_it_can_do": round(peak),
        "asked_for": round(TIMES * peak),
        "answered": round(reported.goodput),
        "their_p99_ms": round(p99_s * 1000) if accepted else None,
    }
    return outcome


def slowloris(stage: Stage) -> Outcome:
    """Ten thousand clients that send their headers byte by byte."""
    if not room_for(SLOW):
        raise NotHere(f"slowloris needs {SLOW:,} open files: ulimit -n")
    counts: list[int] = []

    def drip() -> None:
        with SlowClients(stage.port, SLOW) as clients:
            time.sleep(SLOW_S)
            clients.wait(HUNG_UP_S)
        counts.extend((clients.opened, clients.most, clients.ended))

    found = course(stage, drip, lambda: None)
    opened, most, ended = counts
    sold = found.orders_between(found.broke_at, found.healed_at)
    outcome = found.outcome(
        "slowloris",
        f"{SLOW:,} slow connections keep nobody else waiting",
        [
            Check("so many were opened", opened >= SLOW, f"{opened:,}"),
            # On a slow machine the first are hung up on before the last are opened.
            Check("and open at once", most >= 0.9 * SLOW, f"{most:,}"),
            Check("and most were hung up on", ended > SLOW / 2, f"{ended:,}"),
            found.no_read_failed(),
            Check("orders are placed meanwhile", sold > 0, f"{sold}"),
        ],
    )
    outcome.details |= {"slow_connections": opened, "open_at_once": most, "hung_up_on": ended}
    return outcome
