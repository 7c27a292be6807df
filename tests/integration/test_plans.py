"""No statement of the API reads a big table from end to end.

PostgreSQL's own auto_explain writes the plan of every statement that the server sends, while a walk
through the whole API runs over a large catalogue; each plan is then searched for such a scan.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from conftest import SETTINGS, Running, completion, running
from rcommerce.bench import growth
from rcommerce.bench.statements import entries
from rcommerce.database.embedded import EmbeddedPostgres
from rcommerce.lab.ledger import ADDRESS
from rcommerce.lab.server import Server

PRODUCTS = 50_000
BIG_ROWS = 2_000


@pytest.fixture(scope="module")
def large_shop() -> Iterator[Running]:
    path = Path(tempfile.mkdtemp(prefix="rcommerce-test-"))
    # Statistics have to be what a shop of that age has; the planner then does as it would there.
    server = Server(path, settings=SETTINGS)
    try:
        with EmbeddedPostgres(path / "postgres"):
            made = server.command("demo", "load", "--products", str(growth.PRODUCTS), "--json")
            assert made.returncode == 0, made.stderr
            with server:
                shop = running(server)
                growth.multiply(shop.query, 1, PRODUCTS // growth.PRODUCTS)
                assert shop.query("select count(*) from product") == [(PRODUCTS,)]
                yield shop
    finally:
        server.kill()
        shutil.rmtree(path, ignore_errors=True)


def explained(shop: Running) -> list[tuple[str, dict[str, Any]]]:
    """(statement, plan) of what has been logged."""
    log = shop.server.data_dir / "postgres" / "postgres.log"
    found = []
    for kind, text in entries(log):
        if kind == "LOG" and "plan:\n" in text:
            plan = json.loads(text.partition("plan:\n")[2])
            found.append((plan["Query Text"], plan["Plan"]))
    return found


def scans(plan: dict[str, Any]) -> Iterator[str]:
    """The tables that a plan reads from end to end: the table itself, or one of its indexes."""
    kind = plan["Node Type"]
    whole_index = kind in ("Index Scan", "Index Only Scan") and "Index Cond" not in plan
    if kind == "Seq Scan" or whole_index:
        yield plan["Relation Name"]
    for child in plan.get("Plans", ()):
        yield from scans(child)


def faults(shop: Running, plans: list[tuple[str, dict[str, Any]]]) -> set[tuple[str, str]]:
    """(table, statement) of every scan of a big table."""
    rows = shop.query(
        "select relname from pg_class where relkind = 'r' and reltuples >= %s", BIG_ROWS
    )
    big = {row[0] for row in rows}
    assert {"product", "variant", "inventory_level", "product_image"} <= big
    return {
        (table, re.sub(r"\s+", " ", sql)[:300])
        for sql, plan in plans
        for table in scans(plan)
        if table in big
    }


def walk(shop: Running) -> None:
    """Calls what there is to call, with every filter and sort."""
    page = shop.guest.get("/products?per_page=50")
    product = page["products"][0]
    shop.guest.get(f"/products?cursor={page['meta']['next_cursor']}")
    shop.guest.get(f"/products/{product['id']}")
    detail = shop.guest.get(f"/products/{product['slug']}")["product"]
    shop.staff.get(f"/products/{product['slug']}")
    shop.staff.get(f"/products/{product['id']}")
    collection = shop.guest.get("/collections")["collections"][0]
    shop.guest.get(f"/collections/{collection['slug']}")
    shop.guest.get("/categories")
    for sort in ("title", "price", "created_at", "updated_at"):
        for order in ("asc", "desc"):
            found = shop.guest.get(f"/products?sort={sort}&order={order}")
            cursor = found["meta"]["next_cursor"]
            shop.guest.get(f"/products?sort={sort}&order={order}&cursor={cursor}")
    for query in (
        "vendor=Stonecrop", "product_type=Mug", "min_price=100&max_price=101", "tags=eco,new",
        f"ids={product['id']}", f"collection_id={collection['id']}", "category=kitchen",
        "category=mugs&sort=price", "is_featured=true", "is_featured=false",
        "inventory_status=in_stock", "vendor=Stonecrop&inventory_status=out_of_stock",
        "q=merino chair", "q=merinno chiar", "q=8A6B59A7-91D",
        "q=terracotta&sort=price", "page=400",
    ):  # fmt: skip
        shop.guest.get(f"/products?{query}")
    line = {
        "product_id": detail["id"],
        "variant_id": detail["variants"][0]["id"],
        "quantity": 1,
    }
    shop.staff.post("/inventory/receive", {"variant_id": line["variant_id"], "quantity": 50}, 200)
    cart = shop.guest.post("/carts/guest")["cart"]
    shopper = shop.guest.by(X_Cart_Token=cart["session_token"])
    shopper.post(f"/carts/{cart['id']}/items", line)
    shopper.post("/checkout/initiate", {"cart_id": cart["id"], "shipping_address": ADDRESS}, 200)
    key = str(uuid4())
    done = shopper.post("/checkout/complete", completion(cart["id"]), Idempotency_Key=key)
    order = f"/orders/{done['order']['id']}"
    shop.staff.get(order)
    shop.staff.get(f"{order}/events")
    shop.staff.get("/orders?status=confirmed")
    shop.staff.post(f"{order}/fulfill", {}, 200)
    shop.staff.post(f"{order}/return", {}, 200)
    shop.staff.post(f"{order}/refund", {}, 200)
    body = {"items": [line], "shipping_address": ADDRESS, "customer_email": "a@example.com"}
    placed = shop.guest.post("/orders", body)
    shop.staff.post(f"/orders/{placed['id']}/cancel", {}, 200)
    shop.staff.get("/inventory")
    shop.staff.get(f"/inventory/{line['variant_id']}")
    shop.staff.get(f"/inventory/movements?variant_id={line['variant_id']}")
    made = shop.product()
    shop.staff("PATCH", f"/products/{made['id']}", {"title": "Other"}, 200)
    shop.staff.post("/collections", {"title": uuid4().hex, "product_ids": [made["id"]]})
    shop.staff("DELETE", f"/products/{made['id']}", expect=204)
    person = {
        "email": f"{uuid4().hex}@example.com",
        "password": "correct horse",
        "first_name": "A",
        "last_name": "B",
    }
    session = shop.guest.post("/auth/register", person)
    customer = shop.guest.by(Authorization=f"Bearer {session['access_token']}")
    customer.post("/carts/items", line)
    customer.get("/orders")
    customer.get("/customers/me")


@pytest.mark.timeout(300)
def test_no_statement_reads_a_big_table_from_end_to_end(large_shop: Running) -> None:
    shop = large_shop
    walk(shop)  # the connections are there now, and the statements prepared
    for setting in (
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_format = 'json'",
        "auto_explain.log_nested_statements = on",
    ):
        shop.query(f"alter system set {setting}")
    shop.query("select pg_reload_conf()")
    shop.server.stop()
    shop.server.start()
    log = shop.server.data_dir / "postgres" / "postgres.log"
    log.write_bytes(b"")
    for _ in range(7):  # past the fifth time a prepared statement may get a generic plan
        walk(shop)
    plans = explained(shop)
    assert len({sql for sql, _ in plans}) > 60
    assert faults(shop, plans) == set()
    # And the check can fail:
    log.write_bytes(b"")
    shop.query("select count(*) from product where lower(title) = 'x'")
    assert {table for table, _ in faults(shop, explained(shop))} == {"product"}
