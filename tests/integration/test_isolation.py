"""Two shops of one installation never see each other; and the schema keeps to its one rule."""

from uuid import uuid4

from conftest import Api, Running, completion, other_shop
from rcommerce.database.tenancy import CONTROL_TABLES, SHARD_TABLES
from rcommerce.lab.ledger import ADDRESS


def test_ids_of_another_shop_do_not_exist(shop: Running) -> None:
    guest, staff = other_shop(shop)
    product = shop.product(sku=f"S{uuid4().hex}")
    variant = product["variants"][0]
    cart, shopper = shop.cart((product, 1))
    order = shopper.post("/checkout/complete", completion(cart))
    for path in (
        f"/products/{product['id']}",
        f"/products/{product['slug']}",
        f"/inventory/{variant['id']}",
        f"/orders/{order['order']['id']}",
        f"/orders/{order['order']['id']}/events",
        f"/payments/{order['payment_id']}",
        f"/carts/{cart}",
    ):
        assert staff("GET", path).status_code == 404, path
    assert (
        guest.by(X_Cart_Token=shopper.headers["X-Cart-Token"])("GET", f"/carts/{cart}").status_code
        == 404
    )
    staff("PATCH", f"/products/{product['id']}", {"title": "mine"}, expect=404)
    staff("POST", "/inventory/adjust", {"variant_id": variant["id"], "quantity": 1}, expect=404)
    staff("POST", f"/orders/{order['order']['id']}/refund", {}, expect=404)
    mine = guest.post("/carts/guest")["cart"]
    line = {"product_id": product["id"], "variant_id": variant["id"], "quantity": 1}
    guest.by(X_Cart_Token=mine["session_token"])(
        "POST", f"/carts/{mine['id']}/items", line, expect=404
    )
    assert staff.get("/products?per_page=100")["products"] == []
    assert staff.get("/orders")["orders"] == []


def test_the_same_slug_sku_and_email_stand_in_two_shops(shop: Running) -> None:
    guest, staff = other_shop(shop)
    body = {
        "title": "Twin",
        "slug": uuid4().hex,
        "sku": uuid4().hex,
        "price": "1",
        "status": "active",
    }
    shop.staff.post("/products", body)
    theirs = staff.post("/products", body)["product"]
    assert theirs["currency"] == "EUR"
    assert guest.get(f"/products/{body['slug']}")["product"]["id"] == theirs["id"]
    person = {
        "email": f"{uuid4().hex}@example.com",
        "password": "correct horse",
        "first_name": "A",
        "last_name": "B",
    }
    here = shop.guest.post("/auth/register", person)
    guest.post("/auth/register", person)
    token = {"Authorization": f"Bearer {here['access_token']}"}
    assert Api(guest.url, {**guest.headers, **token})("GET", "/customers/me").status_code == 401


def test_a_currency_without_digits_is_sold_without_digits(shop: Running) -> None:
    guest, staff = other_shop(shop, "JPY")
    product = staff.post(
        "/products", {"title": "Tea", "price": "990", "status": "active", "inventory_quantity": 5}
    )
    cart = guest.post("/carts/guest")["cart"]
    shopper = guest.by(X_Cart_Token=cart["session_token"])
    line = {"product_id": product["product"]["id"], "quantity": 2}
    assert shopper.post(f"/carts/{cart['id']}/items", line)["cart"]["total"] == "1980"
    body = {"cart_id": cart["id"], "shipping_address": ADDRESS}
    assert shopper.post("/checkout/initiate", body, 200)["total"] == "1985"
    assert shopper.post("/checkout/complete", completion(cart["id"]))["total_charged"] == "1985"


def test_every_tenant_owned_table_leads_its_keys_with_the_tenant(shop: Running) -> None:
    control = CONTROL_TABLES | SHARD_TABLES
    tables = {
        row[0]
        for row in shop.query(
            "select relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname = 'public' and c.relkind = 'r'"
        )
    }
    assert len(tables - control) > 20
    for table in sorted(tables - control):
        indexes = shop.query(
            "select i.relname, a.attname from pg_index x join pg_class i on i.oid = x.indexrelid"
            " join pg_class t on t.oid = x.indrelid"
            " join pg_attribute a on a.attrelid = t.oid and a.attnum = x.indkey[0]"
            " where t.relname = %s",
            table,
        )
        assert indexes, table
        assert {(name, first) for name, first in indexes if first != "tenant_id"} == set(), table
        keys = shop.query(
            "select conname, attname from pg_constraint c"
            " join pg_class t on t.oid = c.conrelid"
            " join pg_attribute a on a.attrelid = t.oid and a.attnum = c.conkey[1]"
            " where t.relname = %s and contype = 'f'",
            table,
        )
        assert {(name, first) for name, first in keys if first != "tenant_id"} == set(), table


def test_the_database_knows_the_digits_of_every_currency(shop: Running) -> None:
    from rcommerce import money

    codes = sorted(money.CURRENCIES)
    rows = shop.query("select c, currency_digits(c) from unnest(%s::text[]) c", codes)
    assert {code: money.digits(code) for code in codes} == dict(rows)
