"""channel-list: lists sorted by the prices of a channel, against the same lists sorted by the
products' own prices.

The channel has a price list that changes every price, one with prices of its own, and a sale to
come. Both are asked for in turn, each time for a list that no cache has.
"""

import asyncio
import random
import time
from collections.abc import Callable
from statistics import median

from rcommerce.bench import latency
from rcommerce.bench.growth import PRODUCTS, multiply
from rcommerce.bench.load import get, reads
from rcommerce.bench.report import Result
from rcommerce.bench.setup import UNLIMITED, Bench

SIZE = 100_000
BAR = 1.3  # upper bound: times the plain list's time
ROUNDS, SECONDS, WARM_S = 5, 2.0, 1.0
PAGES = 3
SETTING_UP = """
with shop as (
    select id, currency from tenant where is_default
), made as (
    insert into channel (tenant_id, id, slug, name, currency, prices_include_tax, is_active, listed)
    select id, gen_random_uuid(), 'bench', 'Bench', currency, false, true, 'all' from shop
), lists as (
    insert into price_list (tenant_id, id, name, currency, priority, starts_at, is_active,
                            adjustment_type, adjustment_value)
    select shop.id, gen_random_uuid(), w.name, shop.currency, w.priority, w.starts_at, true, w.type,
           w.value
      from shop, (values ('lower', 0, null, 'percentage', -10),
                         ('own', 1, null, null, null),
                         ('sale', 2, now() + interval '1 day', 'percentage', -50))
                 as w (name, priority, starts_at, type, value)
    returning tenant_id, id, name, currency
)
insert into list_price (tenant_id, price_list_id, variant_id, min_quantity, currency, amount)
select l.tenant_id, l.id, v.id, 1, l.currency, v.price
  from lists l
  join lateral (select v.id, v.price from variant v
                 where v.tenant_id = l.tenant_id order by v.id limit 1000) v on l.name = 'own'
"""


def run(bench: Bench) -> Result:
    """Medians of pages of 20, one request at a time."""
    bench.tell(f"making {SIZE:,} products")
    multiply(bench.query, 1, SIZE // PRODUCTS)
    bench.query(SETTING_UP)
    bench.tell("listing them in a channel")
    begun = time.perf_counter()
    bench.query(
        "set statement_timeout = 0;"
        " select list_products((select id from tenant where is_default), null, null)"
    )
    listed_s = time.perf_counter() - begun
    bench.query("vacuum analyze")
    plain, there = [], []
    with bench.server(UNLIMITED) as server:
        for number in range(1, ROUNDS + 1):
            bench.tell(f"round {number} of {ROUNDS}")
            plain.append(_median_ms(server.port, lambda: _list("")))
            there.append(_median_ms(server.port, lambda: _list("&channel=bench")))
    ratio = median(other / own for other, own in zip(there, plain, strict=True))
    return Result(
        name="channel-list",
        value=round(median(there), 2),
        unit="ms",
        ceiling=round(median(plain), 2),
        ratio=round(ratio, 2),
        bar=BAR,
        ok=ratio <= BAR,
        details={
            "ceiling_is": "the list without a channel, in ms",
            "at_most": True,
            "caches": "asked for what they do not have",
            "products": SIZE,
            "listed_s": round(listed_s, 1),
        },
    )


def _list(channel: str) -> bytes:
    page, lowest = random.randrange(1, PAGES + 1), random.random() / 1000
    asked = f"sort=price&min_price={lowest:.15f}&per_page=20&page={page}"
    return get(f"/api/v1/products?{asked}{channel}")


def _median_ms(port: int, request: Callable[[], bytes]) -> float:
    asyncio.run(reads(port, 1, WARM_S, request))
    load = asyncio.run(reads(port, 1, SECONDS, request))
    return latency.at(latency.histogram(load.latencies_s), 50)
