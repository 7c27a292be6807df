# ruff: noqa: S608 - statements are made of the schema's own words
"""catalogue-growth and tenant-growth: the time of a request as a shop, or the number of shops,
grows.

Rows are multiplied inside PostgreSQL: creating a million products through the API would take a day.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any

from rcommerce.bench import latency
from rcommerce.bench.load import Connection, get, reads
from rcommerce.bench.report import Result
from rcommerce.bench.setup import UNLIMITED, Bench

PRODUCTS = 1_000  # made by the demo; the rest are their copies
CATALOGUES = (1_000, 100_000, 1_000_000)
TENANTS = (10, 1_000, 10_000)
OF_TENANT = 20  # products of each, copied from the demo
FLAT = 1.5  # upper bound: times the smallest one's time
SECONDS, WARM_S = 4.0, 2.0
UNCACHED = {**UNLIMITED, "RCOMMERCE_CACHE__ENABLED": "false"}
# The demo's rows that are copied, by table.
_BY_PRODUCT = "{} t join bench_demo d on (d.tenant_id, d.id) = (t.tenant_id, t.product_id)"
DEMO = {
    "product": "product t join bench_demo d on (d.tenant_id, d.id) = (t.tenant_id, t.id)",
    "inventory_level": "inventory_level t join variant v on (v.tenant_id, v.id) ="
    " (t.tenant_id, t.variant_id) join bench_demo d"
    " on (d.tenant_id, d.id) = (v.tenant_id, v.product_id)",
    "product_image": _BY_PRODUCT.format("product_image"),
    "variant": _BY_PRODUCT.format("variant"),
    "collection_product": _BY_PRODUCT.format("collection_product"),
}
# The columns in which a copy differs, by name.
COPY = {
    "id": "md5({0}::text || n)::uuid",
    "product_id": "md5({0}::text || n)::uuid",
    "variant_id": "md5({0}::text || n)::uuid",
    "slug": "{0} || '-' || n",
    "sku": "{0} || '-' || n",
    "created_at": "{0} + n * interval '5 days'",
    "updated_at": "{0} + n * interval '5 days'",
}
Query = Callable[[str], list[tuple[Any, ...]]]
COLUMNS = """
select column_name from information_schema.columns
 where table_schema = 'public' and table_name = '{}' and is_generated = 'NEVER'
"""
SECONDARY = """
select i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
  from pg_index i
 where i.indrelid = '{}'::regclass and not i.indisprimary
   and not exists (select from pg_constraint c where c.conindid = i.indexrelid)
"""
SESSION = (
    "set session_replication_role = replica; set statement_timeout = 0;"
    " set maintenance_work_mem = '512MB'; set synchronous_commit = off;"
)


def catalogue(bench: Bench) -> Result:
    """Product detail and the first page of lists, from PostgreSQL each time."""
    rows: list[dict[str, Any]] = []
    there = PRODUCTS
    for size in CATALOGUES:
        if size > there:
            bench.tell(f"making {size:,} products")
            multiply(bench.query, there // PRODUCTS, size // PRODUCTS)
            there = size
        sample = bench.query("select id from product order by md5(id::text) limit 2000")
        details = [get(f"/api/v1/products/{row[0]}") for row in sample]
        with bench.server(UNCACHED) as server:
            bench.tell(f"{size:,} products")
            rows.append(
                {
                    "products": size,
                    "detail_ms": _median_ms(server.port, lambda: random.choice(details)),  # noqa: B023
                    "list_ms": _median_ms(server.port, _list),
                }
            )
    return _flat("catalogue-growth", "products", ("detail_ms", "list_ms"), rows)


def tenants(bench: Bench) -> Result:
    """Product detail and lists of any of the tenants."""
    rows: list[dict[str, Any]] = []
    there = 1
    for size in TENANTS:
        bench.tell(f"making {size:,} tenants")
        _settle(bench, there, size)
        there = size
        known = [str(row[0]) for row in bench.query("select id from tenant")]
        of_default = "select id from product where tenant_id = (select id from tenant" + (
            f" where is_default) order by id limit {OF_TENANT}"
        )
        products = [str(row[0]) for row in bench.query(of_default)]

        def detail(known: list[str] = known, products: list[str] = products) -> bytes:
            named = f"X-Tenant-ID: {random.choice(known)}\r\n"
            return get(f"/api/v1/products/{random.choice(products)}", named)

        def listed(known: list[str] = known) -> bytes:
            return get("/api/v1/products?per_page=20", f"X-Tenant-ID: {random.choice(known)}\r\n")

        with bench.server(UNCACHED) as server:
            bench.tell(f"each of {size:,} tenants is asked for once")
            _visit(server.port, known, products[0])
            bench.tell(f"{size:,} tenants")
            rows.append(
                {
                    "tenants": size,
                    "detail_ms": _median_ms(server.port, detail),
                    "list_ms": _median_ms(server.port, listed),
                }
            )
    return _flat("tenant-growth", "tenants", ("detail_ms", "list_ms"), rows)


def _visit(port: int, tenants: list[str], product: str) -> None:
    """Brings every tenant's rows into PostgreSQL's memory. The server forgets most tenants within 5
    s, and looks them up again: that is measured, too."""

    async def ask_all() -> None:
        connection = await Connection.open(port)
        for each in tenants:
            await connection.ask(get(f"/api/v1/products/{product}", f"X-Tenant-ID: {each}\r\n"))
        connection.close()

    asyncio.run(ask_all())


def _list() -> bytes:
    return get(f"/api/v1/products?per_page=20&page={random.randrange(1, 4)}")


def _median_ms(port: int, request: Callable[[], bytes]) -> float:
    """With one request at a time: no queue."""
    asyncio.run(reads(port, 1, WARM_S, request))
    load = asyncio.run(reads(port, 1, SECONDS, request))
    return latency.at(latency.histogram(load.latencies_s), 50)


def _flat(name: str, of: str, figures: tuple[str, ...], rows: list[dict[str, Any]]) -> Result:
    first, last = rows[0], rows[-1]
    for row in rows:
        for figure in figures:
            row[f"{figure.removesuffix('_ms')}_against_first"] = round(
                row[figure] / first[figure], 2
            )
    worst = max(last[figure] / first[figure] for figure in figures)
    return Result(
        name=name,
        value=round(worst, 2),
        unit=f"times as long with {last[of]:,} {of} as with {first[of]:,}",
        ceiling=1.0,
        ratio=round(worst, 2),
        bar=FLAT,
        ok=worst <= FLAT,
        details={"ceiling_is": f"{first[of]:,} {of}", "at_most": True, "caches": "off"},
        rows=rows,
    )


def multiply(query: Query, have: int, want: int) -> None:
    """Copies of every product of the demo, numbered from `have` to before `want`. `query` is a
    superuser's."""
    query("create table if not exists bench_demo as select tenant_id, id from product")
    _copy(query, f"cross join generate_series({have}, {want - 1}) n", COPY)


def _settle(bench: Bench, have: int, want: int) -> None:
    """Tenants numbered from `have` to before `want`, each with products of the demo."""
    bench.query(
        f"create table if not exists bench_demo as select tenant_id, id from product order by id"
        f" limit {OF_TENANT};"
        f"{SESSION}"
        f" create table bench_tenant as select n, md5('tenant' || n)::uuid as id"
        f" from generate_series({have}, {want - 1}) n;"
        f" insert into tenant (id, slug, name, currency)"
        f" select id, 'bench-' || n, 'Bench ' || n, 'USD' from bench_tenant;"
        f" insert into tenant_directory (tenant_id, shard, epoch)"
        f" select id, 'main', 1 from bench_tenant;"
        f" insert into tenant_placement (tenant_id, epoch, state)"
        f" select id, 1, 'active' from bench_tenant"
    )
    _copy(
        bench.query, "cross join bench_tenant n", {"tenant_id": "n.id", "category_id": "null::uuid"}
    )
    bench.query("drop table bench_tenant")


def _copy(query: Query, times: str, changed: Mapping[str, str]) -> None:
    for table, demo in DEMO.items():
        indexes = query(SECONDARY.format(table))
        columns = [str(row[0]) for row in query(COLUMNS.format(table))]
        values = ", ".join(changed.get(each, "{0}").format(f"t.{each}") for each in columns)
        for name, _ in indexes:  # rebuilding them is faster
            query(f"drop index {name}")
        query(
            f"{SESSION} insert into {table} ({', '.join(columns)})"
            f" select {values} from {demo} {times}"
        )
        for _, made in indexes:
            query(f"{SESSION} {made}")
    query("vacuum analyze")
