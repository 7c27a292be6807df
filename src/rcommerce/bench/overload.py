"""overload: three times as many requests as the server can answer.

What it accepts has to stay quick, and has to be nearly as much as it answers at its best: the rest
is refused at once, search before the catalogue, and that before carts.
"""

import asyncio
import json
import random
import urllib.request
from statistics import median

from rcommerce.bench import open_load, report
from rcommerce.bench.load import Load, get, reads
from rcommerce.bench.open_load import OpenLoad, Request
from rcommerce.bench.report import Result
from rcommerce.bench.setup import Bench

BAR = 0.85  # of the peak
SLOWER_BAR = 2.0  # the 99th percentile, against that at 80 % of the peak
PRODUCTS = 2_000
CONNECTIONS = 16
ROUNDS = 3
SECONDS, WARM_S = 6.0, 2.0
TIMES = 3.0


def run(bench: Bench) -> Result:
    """The peak, 80 % of it, and three times as much, in turn."""
    products = [str(row[0]) for row in bench.query("select id from product")]
    peaks, goodputs, ratios, slower, rounds = [], [], [], [], []
    uncached = {"RCOMMERCE_CACHE__ENABLED": "false"}
    # At its best a server without a limit is asked by as many clients as keep it busy: no more.
    free = {"RCOMMERCE_SERVER__LIMITS__ADAPTIVE_CONCURRENCY": "false"}
    with bench.server(uncached) as server, bench.server({**uncached, **free}) as unlimited:
        carts = [_cart(server.url) for _ in range(50)]

        def pick() -> Request:
            chance = random.random()
            if chance < 0.7:
                return Request("catalogue", get(f"/api/v1/products/{random.choice(products)}"))
            if chance < 0.95:
                cart, token = random.choice(carts)
                headers = f"X-Cart-Token: {token}\r\n"
                return Request("cart", get(f"/api/v1/carts/{cart}", headers))
            return Request("search", get("/api/v1/products?q=shirt&per_page=1"))

        def closed(seconds: float) -> Load:
            return asyncio.run(reads(unlimited.port, CONNECTIONS, seconds, lambda: pick().raw))

        def opened(per_second: float) -> OpenLoad:
            return open_load.run(server.port, per_second, SECONDS, WARM_S, pick)

        closed(2.0)
        for number in range(1, ROUNDS + 1):
            bench.tell(f"round {number} of {ROUNDS}: the peak, 80 % of it, {TIMES:g} times as much")
            peak = closed(SECONDS - WARM_S).per_second
            usual = opened(0.8 * peak)
            most = opened(TIMES * peak)
            before_ms = report.percentile(usual.accepted_s, 0.99)
            under_ms = report.percentile(most.accepted_s, 0.99)
            peaks.append(peak)
            goodputs.append(most.goodput)
            ratios.append(most.goodput / peak)
            slower.append(under_ms / before_ms)
            rounds.append(
                {
                    "peak": round(peak, 1),
                    "p99_ms_at_80_%": before_ms,
                    "refused_at_80_%": sum(usual.by_kind(is_accepted=False).values()),
                    "p99_ms": under_ms,
                    "accepted": most.by_kind(is_accepted=True),
                    "refused": most.by_kind(is_accepted=False),
                    "statuses": most.by_status(),
                    "unsent": most.unsent,
                }
            )
    ratio, p99 = median(ratios), median(slower)
    return Result(
        name="overload",
        value=round(median(goodputs), 1),
        unit="accepted requests/s",
        ceiling=round(median(peaks), 1),
        ratio=round(ratio, 3),
        bar=BAR,
        ok=ratio >= BAR and p99 <= SLOWER_BAR,
        details={
            "ceiling_is": "the peak of a server without a limit, by a closed loop",
            "p99_against_80_%": round(p99, 2),
            "p99_bar": SLOWER_BAR,
            "times_the_peak": TIMES,
            "rounds": rounds,
        },
    )


def _cart(url: str) -> tuple[str, str]:
    """A guest's cart: its id, and what opens it."""
    request = urllib.request.Request(  # noqa: S310 - the bench's own server
        f"{url}/api/v1/carts/guest", b"{}", {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        cart = json.load(answer)["cart"]
    return cart["id"], cart["session_token"]
