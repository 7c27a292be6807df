"""overload: three times as many requests as the server can answer.

What it accepts must stay fast, and must be nearly as much as its peak; the rest is refused at once:
search before the catalogue, and that before carts. A burst of a thousand requests to an idle server
is no overload: all are answered if that takes no longer than the limit.
"""

import asyncio
import json
import random
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from statistics import median
from typing import Any

from rcommerce.bench import open_load, report
from rcommerce.bench.load import Load, get, reads
from rcommerce.bench.open_load import OpenLoad, Request
from rcommerce.bench.report import Result
from rcommerce.bench.setup import Bench
from rcommerce.resilience.shedding import BUYING_S, LOOKING_S

BAR = 0.9  # of the peak
SLOWER_BAR = 2.0  # p99, against that at 80 % of the peak
PRODUCTS = 2_000
CONNECTIONS = 16
ROUNDS = 3
SECONDS, WARM_S = 6.0, 2.0
TIMES = 3.0
BURST = 1000
NEW_CART = (
    b"POST /api/v1/carts/guest HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n"
    b"Content-Length: 2\r\n\r\n{}"
)


def run(bench: Bench) -> Result:
    """The peak, 80 % of it, and three times as much, in turn."""
    products = [str(row[0]) for row in bench.query("select id from product")]
    peaks, goodputs, ratios, slower, rounds = [], [], [], [], []
    uncached = {"RCOMMERCE_CACHE__ENABLED": "false"}
    # The peak: without a limit, with as many clients as keep the server busy.
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

        def bursts() -> list[dict[str, Any]]:
            reads = lambda: get(f"/api/v1/products?min_price={random.random():.9f}")  # noqa: E731
            kinds = {"looking": (reads, LOOKING_S), "buying": (lambda: NEW_CART, BUYING_S)}
            return [
                {"of": of, "bound_s": bound_s, **asyncio.run(_burst(server.port, make))}
                for of, (make, bound_s) in kinds.items()
            ]

        def opened(per_second: float) -> OpenLoad:
            return open_load.run(server.port, per_second, SECONDS, WARM_S, pick)

        closed(2.0)
        bench.tell(f"{BURST:,} at once")
        at_once = bursts()
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
                    "p99_ms_by_kind": {
                        kind: report.percentile(most.accepted_of(kind), 0.99)
                        for kind in most.by_kind(is_accepted=True)
                    },
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
        ok=ratio >= BAR
        and p99 <= SLOWER_BAR
        and all(each["refused"] == 0 or each["took_s"] > each["bound_s"] for each in at_once),
        details={
            "ceiling_is": "the peak of a server without a limit, by a closed loop",
            "p99_against_80_%": round(p99, 2),
            "p99_bar": SLOWER_BAR,
            "times_the_peak": TIMES,
            "bursts": at_once,
            "rounds": rounds,
        },
    )


async def _burst(port: int, make: Callable[[], bytes]) -> dict[str, Any]:
    """So many requests at once, over open connections: how many were refused, and how long the
    others took."""
    gate = asyncio.Event()

    async def one() -> tuple[int, float]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await gate.wait()
            writer.write(make())
            status = int((await reader.readline()).split()[1])
            return status, time.perf_counter()
        finally:
            writer.close()

    tasks = [asyncio.create_task(one()) for _ in range(BURST)]
    await asyncio.sleep(1.0)
    begun = time.perf_counter()
    gate.set()
    answers = await asyncio.gather(*tasks)
    statuses = Counter(status for status, _ in answers)
    ends = [end for status, end in answers if status < 400]
    await asyncio.sleep(1.0)
    return {
        "refused": BURST - len(ends),
        "took_s": round(max(ends, default=begun) - begun, 3),
        "statuses": {str(status): count for status, count in statuses.items()},
    }


def _cart(url: str) -> tuple[str, str]:
    """A guest's cart: its id, and what opens it."""
    request = urllib.request.Request(  # noqa: S310 - the bench's own server
        f"{url}/api/v1/carts/guest", b"{}", {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        cart = json.load(answer)["cart"]
    return cart["id"], cart["session_token"]
