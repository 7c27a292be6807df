"""Many buyers of few units."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx

from rcommerce.drills.outcome import Check, Outcome
from rcommerce.drills.stage import Stage
from rcommerce.lab.ledger import ADDRESS

CROWD, UNITS, AT_ONCE = 1_000, 100, 100


def oversell(stage: Stage) -> Outcome:
    """A thousand buyers of a hundred units, over three instances."""
    product = stage.product(UNITS)
    variant = product["variants"][0]["id"]
    body = {
        "items": [{"product_id": product["id"], "variant_id": variant, "quantity": 1}],
        "shipping_address": ADDRESS,
        "customer_email": "ada@example.com",
    }
    statuses: Counter[int] = Counter()
    reported: list[str] = []
    counting = threading.Lock()

    def buy(number: int) -> None:
        key = {"Idempotency-Key": f"crowd-{product['id']}-{number}"}
        for _ in range(100):
            answer = client.post("/api/v1/orders", json=body, headers=key)
            if answer.status_code != 503:  # that one is to be sent again
                break
            time.sleep(0.2)
        with counting:
            statuses[answer.status_code] += 1
            if answer.status_code == 201:
                reported.append(answer.json()["id"])

    begun = time.monotonic()
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    with (
        httpx.Client(base_url=stage.fleet.url, timeout=60, limits=limits) as client,
        ThreadPoolExecutor(AT_ONCE) as crowd,
    ):
        list(crowd.map(buy, range(CROWD)))
    primary = stage.postgres()
    rows = primary.query("select order_id, quantity from order_item where variant_id = %s", variant)
    there, sold = {str(order) for order, _ in rows}, sum(quantity for _, quantity in rows)
    [(on_hand, reserved)] = primary.query(
        "select sum(on_hand), sum(reserved) from inventory_level where variant_id = %s", variant
    )
    free = int(on_hand) - int(reserved)
    others = {status: n for status, n in statuses.items() if status not in (201, 409)}
    checks = [
        Check(f"{UNITS} units are sold", sold == UNITS, f"{sold}"),
        Check(f"{UNITS} buyers are told so", len(set(reported)) == UNITS, f"{len(reported)}"),
        Check("the same orders are there", there == set(reported), f"{len(there)}"),
        Check("none is left over", free == 0, f"{free}"),
        Check("the others are told that there is none", not others, f"{others or ''}"),
    ]
    return Outcome(
        name="oversell",
        promise=f"{CROWD:,} buyers of {UNITS} units over {len(stage.instances)} instances:"
        f" {UNITS} are sold",
        load=f"{CROWD:,} orders, {AT_ONCE} at a time",
        passed=all(each.held for each in checks),
        checks=checks,
        acknowledged=len(reported),
        lost=len(set(reported) - there),
        duplicated=len(there - set(reported)),
        oversold=max(0, sold - UNITS),
        seconds=round(time.monotonic() - begun, 1),
    )
