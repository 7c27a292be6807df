"""Two shops with the same slugs, SKUs, emails and coupon codes: neither sees the other through any
endpoint. The requests are generated from the whole OpenAPI document."""

import itertools
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from conftest import Api, Running, api_key, completion, eventually, picture
from rcommerce.database.moves import tables

METHODS = ("get", "put", "patch", "post", "delete")


class Furnished:
    """A tenant with one of everything. `ids` are its rows by the names of the API's fields."""

    def __init__(self, shop: Running, names: dict[str, str]) -> None:
        self.marker = f"secret{uuid4().hex[:12]}"
        slug = f"t{uuid4().hex[:10]}"
        made = json.loads(shop.server.command("tenant", "create", slug, "--json").stdout)
        self.id: str = made["id"]
        self.guest = shop.guest.by(X_Tenant_ID=self.id)
        key = api_key(shop.server, "--all", "--tenant", slug)
        self.staff = shop.guest.by(Authorization=f"Bearer {key}")
        category = self.staff.post("/categories", {"name": self.marker, "slug": names["slug"]})
        product = self.staff.post(
            "/products",
            {
                "title": self.marker, "slug": names["slug"], "sku": names["sku"], "price": "10.00",
                "status": "active", "inventory_quantity": 50, "description": self.marker,
                "vendor": self.marker, "category_id": category["category"]["id"],
            },
        )["product"]  # fmt: skip
        image = {"src": f"https://example.com/{self.marker}.jpg", "alt_text": self.marker}
        images = self.staff.post(f"/products/{product['id']}/images", image)
        collection = self.staff.post(
            "/collections",
            {"title": self.marker, "slug": names["slug"], "product_ids": [product["id"]]},
        )
        person = {
            "email": names["email"], "password": "correct horse", "first_name": self.marker,
            "last_name": "B",
        }  # fmt: skip
        session = self.guest.post("/auth/register", person)
        self.customer = self.guest.by(Authorization=f"Bearer {session['access_token']}")
        address = {
            "first_name": self.marker, "last_name": "B", "address1": "1 Road", "city": "London",
            "zip": "N1", "country": "GB",
        }  # fmt: skip
        kept = self.customer.post("/customers/me/addresses", {"address": address})
        line = {
            "product_id": product["id"],
            "variant_id": product["variants"][0]["id"],
            "quantity": 1,
        }
        mine = self.customer.post("/carts/items", line)
        guests = self.guest.post("/carts/guest", {"email": f"{self.marker}@example.com"})["cart"]
        shopper = self.guest.by(X_Cart_Token=guests["session_token"])
        shopper.post(f"/carts/{guests['id']}/items", line)
        new = {"code": names["slug"], "type": "percentage", "value": "10", "title": self.marker}
        coupon = self.staff.post("/coupons", {**new, "usage_limit": 50})["coupon"]
        shopper.post(f"/carts/{guests['id']}/coupon", {"coupon_code": names["slug"]}, 200)
        body = completion(guests["id"], notes=self.marker, shipping_address=address)
        order = shopper.post("/checkout/complete", body)
        promotion = self.staff.post("/promotions", {"title": self.marker, "type": "free_shipping"})[
            "promotion"
        ]
        card = self.staff.post("/gift-cards", {"amount": "5.00", "note": self.marker})["gift_card"]
        credit = {"amount": "5.00", "note": self.marker}
        self.staff.post(f"/customers/{session['customer']['id']}/credit", credit)
        there = {"slug": names["slug"], "name": self.marker}
        channel = self.staff.post("/channels", there)["channel"]
        group = self.staff.post("/customer-groups", {"name": self.marker})["customer_group"]
        its = f"/customer-groups/{group['id']}/customers/{session['customer']['id']}"
        self.staff("PUT", its, expect=204)
        prices = {
            "name": self.marker,
            "channel_ids": [channel["id"]],
            "customer_group_ids": [group["id"]],
        }
        price_list = self.staff.post("/price-lists", prices)["price_list"]
        price = {"variant_id": line["variant_id"], "amount": "5.00"}
        self.staff("PUT", f"/price-lists/{price_list['id']}/prices", [price], 200)
        self.staff("PUT", f"/channels/{channel['id']}/products/{product['id']}", {}, 200)
        rate = {"from": "EUR", "to": "USD", "rate": "1.1"}
        self.staff("PUT", "/exchange-rates", [rate], 200)
        location = self.staff.post("/inventory/locations", {"name": self.marker})
        images_id = json.dumps(images)
        media = httpx.post(
            f"{self.staff.url}/api/v1/media", content=picture(), headers=self.staff.headers
        ).json()["media"]
        eventually(lambda: self.staff.get(f"/media/{media['id']}")["media"]["is_processed"], 60)
        upload = self.staff.post("/media/uploads", {})["upload"]
        wanted = {"url": "https://127.0.0.1:1/", "events": ["order.paid"]}
        subscription = self.staff.post("/webhooks/subscriptions", wanted)["subscription"]
        hooks = f"/webhooks/subscriptions/{subscription['id']}"
        delivery = self.staff.post(f"{hooks}/test")["delivery"]
        self.staff("PATCH", hooks, {"is_active": False}, 200)  # so that nothing changes by itself
        eventually(
            lambda: self.staff.get(f"{hooks}/deliveries?status=dead")["meta"]["total"] == 1, 60
        )
        reserved = self.staff.post(
            "/inventory/reserve", {"variant_id": line["variant_id"], "quantity": 1}
        )
        assert self.marker in images_id
        self.ids: dict[str, str] = {
            "product_id": product["id"],
            "variant_id": line["variant_id"],
            "image_id": self.staff.get(f"/products/{product['id']}")["product"]["images"][0]["id"],
            "collection_id": collection["collection"]["id"],
            "category_id": category["category"]["id"],
            "parent_id": category["category"]["id"],
            "customer_id": session["customer"]["id"],
            "address_id": _first_id(kept),
            "cart_id": mine["cart"]["id"],
            "item_id": mine["items"][0]["id"],
            "order_id": order["order"]["id"],
            "payment_id": order["payment_id"],
            "location_id": _first_id(location),
            "from_location_id": _first_id(location),
            "to_location_id": _first_id(location),
            "reservation_id": reserved["reservation_id"],
            "gateway_id": "test",
            "coupon_id": coupon["id"],
            "gift_card_id": card["id"],
            "code": card["code"],
            "promotion_id": promotion["id"],
            "channel_id": channel["id"],
            "group_id": group["id"],
            "customer_group": group["id"],
            "price_list_id": price_list["id"],
            "media_id": media["id"],
            "subscription_id": subscription["id"],
            "delivery_id": delivery["id"],
            "upload_id": upload["id"],
            "key": product["id"],
            "session_id": self.customer.get("/auth/sessions")["sessions"][0]["id"],
        }

    def sums(self, dsns: list[str]) -> dict[str, Any]:
        """All its rows, in a few numbers."""
        found: dict[str, Any] = {}
        for dsn in dsns:
            with psycopg.connect(dsn, autocommit=True) as connection:
                for table in tables.owned(connection):
                    each = tables.sums(connection, table, UUID(self.id))
                    if each.rows:
                        found[table] = each
        return found


def _first_id(answer: dict[str, Any]) -> str:
    for value in (answer, *answer.values()):
        if isinstance(value, dict) and "id" in value:
            return str(value["id"])
    raise AssertionError(answer)


def body_of(schema: Any, ids: dict[str, str], schemas: Any, name: str = "") -> Any:
    """A value that fits a schema, with the ids of `ids` wherever an id may stand."""
    if "$ref" in schema:
        return body_of(schemas[schema["$ref"].rpartition("/")[2]], ids, schemas, name)
    for arms in ("oneOf", "anyOf", "allOf"):
        if arms in schema:
            found = [arm for arm in schema[arms] if arm.get("type") != "null"]
            return body_of(found[0], ids, schemas, name)
    if name in ids and schema.get("type", "string") == "string":
        return ids[name]
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next(each for each in kind if each != "null")
    if kind == "object" or "properties" in schema:
        example = (schema.get("examples") or [{}])[0]
        properties = schema.get("properties", {})
        wanted = {
            key: each
            for key, each in properties.items()
            if key in schema.get("required", ()) or key in ids or key in example
        }
        return {
            key: _replaced(example[key], ids)
            if key in example and key not in ids
            else body_of(each, ids, schemas, key)
            for key, each in wanted.items()
        }
    if kind == "array":
        singular = name.removesuffix("s")
        return [body_of(schema.get("items", {}), ids, schemas, singular)]
    return {"integer": 1, "number": 1, "boolean": True}.get(str(kind), "10.00")


def _replaced(value: Any, ids: dict[str, str]) -> Any:
    """An example's own value, with ids of the other tenant."""
    if isinstance(value, dict):
        return {key: ids.get(key) or _replaced(each, ids) for key, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, ids) for each in value]
    return value


def requests(document: Any, ids: dict[str, str]) -> Iterator[tuple[str, str, Any]]:
    """(method, path, body) of every operation, all ids being those of `ids`."""
    schemas = document["components"]["schemas"]
    # Those that log the caller out come last.
    for path, operations in sorted(document["paths"].items(), key=lambda p: "/auth/" in p[0]):
        if not path.startswith("/api/v1/"):
            continue
        for method, operation in operations.items():
            if method not in METHODS:
                continue
            names = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"]
            known = dict(ids)
            if "key" in names:
                kind = path.split("/")[3]
                single = {
                    "products": "product_id",
                    "collections": "collection_id",
                    "channels": "channel_id",
                }
                known["key"] = ids[single.get(kind, "category_id")]
            where = path.removeprefix("/api/v1")
            for name in names:
                where = where.replace(f"{{{name}}}", known[name])
            queries = [""]
            queries += [
                f"?{p['name']}={ids[p['name']]}"
                for p in operation.get("parameters", ())
                if p["in"] == "query" and p["name"] in ids
            ]
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            body = body_of(content["schema"], ids, schemas) if content else None
            for query in queries:
                yield method.upper(), where + query, body


@pytest.mark.timeout(300)
def test_no_endpoint_shows_or_changes_what_is_another_tenants(shop: Running) -> None:
    names = {
        "slug": f"s{uuid4().hex}",
        "sku": f"S{uuid4().hex}",
        "email": f"{uuid4().hex}@example.com",
    }
    mine, theirs = Furnished(shop, names), Furnished(shop, names)
    assert mine.guest.get(f"/products/{names['slug']}")["product"]["id"] == mine.ids["product_id"]
    assert theirs.guest.get(f"/products/{names['slug']}")["product"]["title"] == theirs.marker
    document = shop.guest.get("/openapi.json")
    dsns = [shop.dsn] if shop.dsn == shop.control_dsn else fleet_dsns(shop)
    before = theirs.sums(dsns)
    assert {"product", "cart_item", "order_item", "payment", "customer_address"} <= set(before)
    asked, seen = 0, set()
    for caller in (mine.guest, mine.staff, mine.customer):
        for method, path, body in requests(document, theirs.ids):
            answer = caller(method, path, body, None, Idempotency_Key=str(uuid4()))
            asked += 1
            seen.add(answer.status_code)
            assert answer.status_code < 500, (method, path, answer.text)
            assert theirs.marker not in answer.text, (method, path, answer.text)
            sent = json.dumps(body) + path
            shown = [each for each in set(theirs.ids.values()) - {"test"} if each in answer.text]
            assert all(each in sent for each in shown), (method, path, answer.text)
            if shown:  # an id that was sent may be named in a refusal, and in nothing else
                assert answer.status_code >= 400, (method, path, answer.text)
    assert asked > 200
    assert {200, 400, 401, 403, 404} <= seen
    assert theirs.sums(dsns) == before
    # The credentials of one shop open no other.
    headers = {**mine.staff.headers, "X-Tenant-ID": theirs.id}
    for method, path, _ in itertools.islice(requests(document, theirs.ids), 60):
        answer = httpx.request(method, f"{shop.guest.url}/api/v1{path}", headers=headers)
        assert answer.status_code in (400, 401), (method, path, answer.status_code)


def fleet_dsns(shop: Running) -> list[str]:
    """Every shard of the fleet, by the settings of its server."""
    from rcommerce.lab.postgres import DATABASE, PASSWORD

    shards = json.loads(shop.server.environment["RCOMMERCE_DATABASE__SHARDS"])
    return [
        f"host=127.0.0.1 port={each['direct_hosts'][0].rpartition(':')[2]}"
        f" dbname={each['database']} user=postgres password={PASSWORD}"
        for each in shards
        if each["database"] != DATABASE
    ]


def test_a_cart_token_and_an_order_token_open_nothing_elsewhere(shop: Running) -> None:
    names = {"slug": uuid4().hex, "sku": uuid4().hex, "email": f"{uuid4().hex}@example.com"}
    mine, theirs = Furnished(shop, names), Furnished(shop, names)
    cart = theirs.guest.post("/carts/guest")["cart"]
    intruder: Api = mine.guest.by(X_Cart_Token=cart["session_token"])
    assert intruder("GET", f"/carts/{cart['id']}").status_code == 404
    assert intruder("GET", "/carts/me").status_code == 404
    token = theirs.staff(
        "PATCH", f"/products/{theirs.ids['product_id']}", {"title": "x"}, 200
    ).headers["x-consistency-token"]
    refused = mine.guest("GET", "/products", X_Consistency_Token=token)
    assert refused.status_code == 400
