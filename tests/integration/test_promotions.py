"""Coupons and promotions: in the cart, at checkout, in the order; and how often each is used."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from conftest import Api, Running, completion, eventually, other_shop
from rcommerce.lab.ledger import ADDRESS


@pytest.fixture(scope="module")
def own(shop: Running) -> Running:
    """A shop of one's own: an automatic promotion would apply to the carts of all other tests."""
    guest, staff = other_shop(shop, "EUR")
    return Running(shop.server, guest, staff, shop.dsn, shop.control_dsn)


@pytest.fixture
def automatic(own: Running) -> Iterator[Callable[..., dict[str, Any]]]:
    """Makes promotions that are gone after the test."""
    made: list[str] = []

    def make(**fields: Any) -> dict[str, Any]:
        body = {"title": "Sale", "type": "percentage", "value": "10", **fields}
        promotion: dict[str, Any] = own.staff.post("/promotions", body)["promotion"]
        made.append(promotion["id"])
        return promotion

    yield make
    for each in made:
        own.staff("DELETE", f"/promotions/{each}", expect=204)


def coupon(shop: Running, **fields: Any) -> dict[str, Any]:
    """A new coupon, of ten per cent unless said otherwise."""
    body = {"code": f"C{uuid4().hex[:10]}", "type": "percentage", "value": "10", **fields}
    made: dict[str, Any] = shop.staff.post("/coupons", body)["coupon"]
    return made


def apply(shopper: Api, cart: str, code: str, expect: int = 200) -> Any:
    return shopper("POST", f"/carts/{cart}/coupon", {"coupon_code": code}, expect).json()


def test_a_coupon_is_shown_charged_and_kept_with_the_order(shop: Running) -> None:
    made = coupon(shop, code=f"Summer {uuid4().hex[:6]}")
    one, two = shop.product(price="19.99"), shop.product(price="5.00")
    cart, shopper = shop.cart((one, 1), (two, 2))
    shown = apply(shopper, cart, f"  {made['code'].upper()} ")
    assert shown == shopper.get(f"/carts/{cart}")
    sums = shown["cart"]
    assert (sums["subtotal"], sums["discount_total"], sums["total"]) == ("29.99", "3.00", "26.99")
    assert sums["coupon_codes"] == [made["code"]]
    assert [item["discount_amount"] for item in shown["items"]] == ["2.00", "1.00"]
    assert [item["total"] for item in shown["items"]] == ["17.99", "9.00"]
    [discount] = sums["discounts"]
    assert (discount["code"], discount["amount"]) == (made["code"], "3.00")
    totals = shopper.get(f"/carts/{cart}/totals")
    assert (totals["discounts"], totals["total"]) == ([discount], "26.99")

    begun = shopper.post("/checkout/initiate", {"cart_id": cart, "shipping_address": ADDRESS}, 200)
    assert (begun["discount_total"], begun["total"]) == ("3.00", "31.99")
    done = shopper.post("/checkout/complete", completion(cart))
    order = done["order"]
    assert (done["total_charged"], order["discount_total"], order["total"]) == (
        "31.99",
        "3.00",
        "31.99",
    )
    assert [item["discount_amount"] for item in order["items"]] == ["2.00", "1.00"]
    [kept] = order["discounts"]
    assert kept["code"] == made["code"]
    assert {each["item_id"] for each in kept["lines"]} == {item["id"] for item in order["items"]}
    after = shopper.get(f"/carts/{cart}")
    assert (after["cart"]["total"], after["cart"]["discount_total"]) == ("31.99", "3.00")
    assert [item["discount_amount"] for item in after["items"]] == ["2.00", "1.00"]
    [use] = shop.staff.get(f"/coupons/{made['id']}/usage")["usage"]
    assert (use["order_id"], use["amount"], use["released_at"]) == (order["id"], "3.00", None)
    assert shop.staff.get(f"/coupons/{made['code']}")["coupon"]["usage_count"] == 1


def test_an_order_without_a_cart_takes_a_coupon(shop: Running) -> None:
    made, product = coupon(shop), shop.product(price="20.00")
    line = {"product_id": product["id"], "quantity": 2}
    body = {
        "items": [line],
        "shipping_address": ADDRESS,
        "customer_email": "ada@example.com",
        "coupon_code": made["code"],
    }
    order = shop.guest.post("/orders", body)
    assert (order["discount_total"], order["total"]) == ("4.00", "41.00")
    wrong = shop.guest.post("/orders", {**body, "coupon_code": "NO SUCH"}, 422)
    assert wrong["code"] == "coupon_not_found"


def test_an_order_that_costs_nothing_is_paid_without_a_gateway(
    own: Running, automatic: Callable[..., dict[str, Any]]
) -> None:
    automatic(title="Free shipping", type="free_shipping", value=None)
    made = coupon(own, value="100", combines_with=["shipping"])
    cart, shopper = own.cart((own.product(price="20.00"), 1))
    apply(shopper, cart, made["code"])
    # The gateway would decline.
    done = shopper.post("/checkout/complete", completion(cart, "tok_decline"))
    assert (done["total_charged"], done["order"]["payment_status"]) == ("0.00", "paid")
    buyer = own.guest.by(X_Order_Token=done["order_token"])
    buyer.post(f"/orders/{done['order']['id']}/cancel", {}, 200)
    assert own.staff.get(f"/coupons/{made['id']}")["coupon"]["usage_count"] == 0


def test_an_invalid_coupon_says_why(shop: Running) -> None:
    product, other = shop.product(price="20.00"), shop.product()
    cart, shopper = shop.cart((product, 1))
    now = datetime.now(UTC)
    tomorrow, yesterday = (
        (now + timedelta(days=1)).isoformat(),
        (now - timedelta(days=1)).isoformat(),
    )
    long_ago = (now - timedelta(days=2)).isoformat()
    cases: list[tuple[str, dict[str, Any]]] = [
        ("coupon_inactive", {"is_active": False}),
        ("coupon_not_started", {"starts_at": tomorrow}),
        ("coupon_expired", {"starts_at": long_ago, "expires_at": yesterday}),
        ("coupon_minimum_not_met", {"minimum_order_amount": "20.01"}),
        ("coupon_minimum_not_met", {"minimum_quantity": 2}),
        ("coupon_product_not_eligible", {"applies_to": {"product_ids": [other["id"]]}}),
        ("coupon_new_customers_only", {"customer_eligibility": {"new_customers_only": True}}),
        (
            "coupon_customer_not_eligible",
            {"customer_eligibility": {"customer_ids": [str(uuid4())]}},
        ),
        ("coupon_not_applicable", {"countries": ["fr"]}),
    ]
    for code, fields in cases:
        made = coupon(shop, **fields)
        assert apply(shopper, cart, made["code"], 422)["code"] == code
        tried = {"coupon_code": made["code"], "cart_id": cart}
        checked = shopper.post("/coupons/validate", tried, 200)
        assert (checked["valid"], checked["error"]["code"]) == (False, code)
    assert apply(shopper, cart, "NO SUCH", 422)["code"] == "coupon_not_found"
    good = coupon(shop)
    # Letters that only look alike are others.
    lookalike = good["code"].replace("C", "С")
    assert apply(shopper, cart, lookalike, 422)["code"] == "coupon_not_found"
    tried = {"coupon_code": good["code"], "cart_id": cart}
    assert shopper.post("/coupons/validate", tried, 200)["discount"] == {
        "subtotal": "20.00",
        "discount_amount": "2.00",
        "new_total": "18.00",
    }
    assert shopper.get(f"/carts/{cart}")["cart"]["coupon_codes"] == []
    apply(shopper, cart, good["code"])
    assert apply(shopper, cart, good["code"], 422)["code"] == "coupon_already_applied"
    second = coupon(shop)
    assert apply(shopper, cart, second["code"], 422)["code"] == "coupon_cannot_combine"
    path = f"/carts/{cart}/coupon?coupon_code={good['code'].lower()}"
    assert shopper("DELETE", path, expect=200).json()["cart"]["coupon_codes"] == []
    shopper("DELETE", path, expect=404)


def test_a_coupon_that_no_longer_applies_stays_in_the_cart_and_says_so(shop: Running) -> None:
    made = coupon(shop, minimum_quantity=2)
    product = shop.product(price="20.00")
    cart, shopper = shop.cart((product, 2))
    item = apply(shopper, cart, made["code"])["items"][0]["id"]
    less = shopper("PUT", f"/carts/{cart}/items/{item}", {"quantity": 1}, 200).json()
    assert (less["cart"]["discount_total"], less["cart"]["coupon_codes"]) == (
        "0.00",
        [made["code"]],
    )
    [why] = shopper.get(f"/carts/{cart}/promotions")["promotions"]
    assert (why["applied"], why["reason"], why["missing"]) == (False, "minimum_not_met", "1")
    shop.staff("DELETE", f"/coupons/{made['id']}", expect=204)
    assert shopper.get(f"/carts/{cart}")["cart"]["coupon_codes"] == [made["code"]]
    shopper.post("/checkout/complete", completion(cart))


def test_automatic_promotions_apply_by_themselves(
    own: Running, automatic: Callable[..., dict[str, Any]]
) -> None:
    shirt, hat = own.product(price="30.00"), own.product(price="10.00")
    buys, gets = {"product_ids": [shirt["id"]]}, [hat["id"]]
    terms = {
        "buy_quantity": 2,
        "get_quantity": 1,
        "buy_product_ids": buys["product_ids"],
        "get_product_ids": gets,
    }
    automatic(title="A hat with two shirts", type="buy_x_get_y", value=None, buy_x_get_y=terms)
    automatic(title="Free from 50", type="free_shipping", value=None, minimum_order_amount="50")
    cart, shopper = own.cart((shirt, 2), (hat, 2))
    shown = shopper.get(f"/carts/{cart}")
    assert (shown["cart"]["discount_total"], shown["cart"]["total"]) == ("10.00", "70.00")
    begun = shopper.post("/checkout/initiate", {"cart_id": cart, "shipping_address": ADDRESS}, 200)
    assert (begun["shipping_discount"], begun["shipping_total"], begun["total"]) == (
        "5.00",
        "0.00",
        "70.00",
    )
    # Each way to ship has been shown with its discount.
    express = {"cart_id": cart, "service_code": "express"}
    assert shopper.post("/checkout/shipping", express, 200)["total"] == "70.00"
    order = shopper.post("/checkout/complete", completion(cart))["order"]
    assert (order["shipping_discount"], order["total"]) == ("15.00", "70.00")
    titles = {each["title"]: each["amount"] for each in order["discounts"]}
    assert titles == {"A hat with two shirts": "10.00", "Free from 50": "15.00"}


def test_categories_include_those_below_and_collections_count(
    own: Running, automatic: Callable[..., dict[str, Any]]
) -> None:
    clothes = own.staff.post("/categories", {"name": f"Clothes {uuid4().hex[:6]}"})["category"]
    shirts = own.staff.post("/categories", {"name": "Shirts", "parent_id": clothes["id"]})[
        "category"
    ]
    shirt, other = own.product(price="10.00", category_id=shirts["id"]), own.product(price="10.00")
    new = {"title": f"New {uuid4().hex[:6]}", "product_ids": [other["id"]]}
    collection = own.staff.post("/collections", new)["collection"]
    automatic(title="Clothes", value="50", applies_to={"category_ids": [clothes["id"]]})
    automatic(title="New", value="20", applies_to={"collection_ids": [collection["id"]]})
    cart, shopper = own.cart((shirt, 1), (other, 1))
    items = shopper.get(f"/carts/{cart}")["items"]
    assert [item["discount_amount"] for item in items] == ["5.00", "2.00"]


def test_what_a_promotion_changes_is_shown_before_it_is_charged(
    own: Running, automatic: Callable[..., dict[str, Any]]
) -> None:
    product = own.product(price="20.00")
    cart, shopper = own.cart((product, 1))
    made = automatic(value="25")
    shopper.get(f"/carts/{cart}")  # waits until every process knows it
    # Nothing was shown with it.
    refused = shopper.post("/checkout/complete", completion(cart), 409)
    assert refused["code"] == "price_changed"
    assert {"field": "discount", "shown": "0.00", "now": "5.00"} in refused["changes"]
    assert refused["summary"]["total"] == "20.00"  # 15.00 and 5.00 to ship
    own.staff("PATCH", f"/promotions/{made['id']}", {"value": "50"}, 200)
    shopper.get(f"/carts/{cart}")
    again = shopper.post("/checkout/complete", completion(cart), 409)
    item = again["summary"]["items"][0]["id"]
    assert {"item_id": item, "field": "discount", "shown": "5.00", "now": "10.00"} in again[
        "changes"
    ]
    done = shopper.post("/checkout/complete", completion(cart))
    assert done["total_charged"] == "15.00"


def test_a_new_customer_is_one_without_an_order(shop: Running) -> None:
    made = coupon(shop, customer_eligibility={"new_customers_only": True}, combines_with=["order"])
    product = shop.product(price="20.00")
    email = f"{uuid4().hex[:12]}@example.com"
    body = {
        "items": [{"product_id": product["id"], "quantity": 1}],
        "shipping_address": ADDRESS,
        "customer_email": email.upper(),
        "coupon_code": made["code"],
    }
    first = shop.guest.post("/orders", body)
    assert first["discount_total"] == "2.00"
    assert shop.guest.post("/orders", body, 422)["code"] == "coupon_new_customers_only"
    buyer = shop.guest.by(X_Order_Token=first["order_token"])
    buyer.post(f"/orders/{first['id']}/cancel", {}, 200)
    assert shop.guest.post("/orders", body)["discount_total"] == "2.00"


def test_hours_and_days_are_those_of_the_shops_time_zone(shop: Running) -> None:
    guest, staff = other_shop(shop, "EUR")
    own = Running(shop.server, guest, staff, shop.dsn, shop.control_dsn)
    tenant = guest.headers["X-Tenant-ID"]

    def move(zone: str) -> int:
        return own.server.command("tenant", "set", tenant, "--time-zone", zone).returncode

    assert move("Asia/Tokyo") == 0
    unknown = own.server.command("tenant", "set", tenant, "--time-zone", "Asia/Tokio")
    assert (unknown.returncode, "Asia/Tokyo" in unknown.stderr) == (1, True)
    now = datetime.now(ZoneInfo("Asia/Tokyo"))
    around = {
        "since": f"{now - timedelta(hours=1):%H:%M}",
        "until": f"{now + timedelta(hours=1):%H:%M}",
    }
    sale = {"title": "Happy hour", "type": "percentage", "value": "10", "schedule": around}
    staff.post("/promotions", sale)
    cart, shopper = own.cart((own.product(price="20.00"), 1))

    def applies() -> bool:
        [why] = shopper.get(f"/carts/{cart}/promotions")["promotions"]
        return bool(why["applied"])

    eventually(applies)
    assert move("America/New_York") == 0
    eventually(lambda: not applies())


# How often ----------------------------------------------------------------------------------------


def buy(shop: Running, product: dict[str, Any], code: str, email: str) -> Any:
    """An order with a coupon by somebody: the response."""
    body = {
        "items": [{"product_id": product["id"], "quantity": 1}],
        "shipping_address": ADDRESS,
        "customer_email": email,
        "coupon_code": code,
    }
    return shop.guest("POST", "/orders", body)


def test_a_limited_coupon_is_used_as_often_as_it_may_be_whoever_comes_at_once(
    shop: Running,
) -> None:
    made, product = coupon(shop, usage_limit=10), shop.product(stock=500)
    with ThreadPoolExecutor(16) as many:
        answers = list(
            many.map(lambda n: buy(shop, product, made["code"], f"b{n}@example.com"), range(60))
        )
    assert sorted({answer.status_code for answer in answers}) == [201, 422]
    placed = [answer.json() for answer in answers if answer.status_code == 201]
    assert len(placed) == 10
    assert {order["discount_total"] for order in placed} == {"2.00"}
    refused = {answer.json()["code"] for answer in answers if answer.status_code == 422}
    assert refused == {"coupon_usage_limit"}
    # One that is cancelled gives its use back, once.
    buyer = shop.guest.by(X_Order_Token=placed[0]["order_token"])
    buyer.post(f"/orders/{placed[0]['id']}/cancel", {}, 200)
    buyer.post(f"/orders/{placed[0]['id']}/cancel", {}, 409)
    assert shop.staff.get(f"/coupons/{made['id']}")["coupon"]["usage_count"] == 9
    assert buy(shop, product, made["code"], "last@example.com").status_code == 201
    assert buy(shop, product, made["code"], "later@example.com").status_code == 422


def test_what_takes_the_place_of_one_used_up_is_used_as_often_as_it_may_be(
    own: Running, automatic: Callable[..., dict[str, Any]]
) -> None:
    product = own.product(stock=500)

    def order(number: int) -> str:
        body = {
            "items": [{"product_id": product["id"], "quantity": 1}],
            "shipping_address": ADDRESS,
            "customer_email": f"b{number}@example.com",
        }
        return str(own.guest.post("/orders", body)["discount_total"])

    for _ in range(4):
        made = [
            automatic(value=value, usage_limit=2, exclusive=True, priority=int(value))
            for value in ("50", "25", "10", "5")
        ]
        with ThreadPoolExecutor(12) as many:
            given = Counter(many.map(order, range(24)))
        assert given == {"10.00": 2, "5.00": 2, "2.00": 2, "1.00": 2, "0.00": 16}
        used = [own.staff.get(f"/promotions/{each['id']}")["promotion"] for each in made]
        assert [each["usage_count"] for each in used] == [2, 2, 2, 2]


def test_a_customer_uses_a_coupon_as_often_as_they_may(shop: Running) -> None:
    made, product = coupon(shop, usage_limit_per_customer=1), shop.product(stock=500)
    with ThreadPoolExecutor(8) as many:
        answers = list(
            many.map(lambda _: buy(shop, product, made["code"], "ada@example.com"), range(16))
        )
    assert sorted(answer.status_code for answer in answers) == [201, *[422] * 15]
    assert buy(shop, product, made["code"], "other@example.com").status_code == 201
    by_day = coupon(shop, usage_limit_per_day=2)
    codes = [buy(shop, product, by_day["code"], f"d{n}@example.com").status_code for n in range(3)]
    assert codes == [201, 201, 422]


def test_a_limit_counts_the_uses_from_before_it_was_set(shop: Running) -> None:
    made, product = coupon(shop), shop.product(stock=500)
    for number in range(2):
        assert buy(shop, product, made["code"], f"e{number}@example.com").status_code == 201
    path = f"/coupons/{made['id']}"
    limits = {"usage_limit": 3, "usage_limit_per_day": 3}
    assert shop.staff("PATCH", path, limits, 200).json()["coupon"]["usage_count"] == 2
    eventually(lambda: buy(shop, product, made["code"], "x@example.com").status_code == 422)
    assert shop.staff.get(path)["coupon"]["usage_count"] == 3


def test_an_order_that_is_never_paid_gives_its_use_back(shop: Running) -> None:
    made, product = coupon(shop, usage_limit=1), shop.product(price="20.00")
    cart, shopper = shop.cart((product, 1))
    apply(shopper, cart, made["code"])
    shopper.post("/checkout/complete", completion(cart, "tok_decline"), 402)
    assert shop.staff.get(f"/coupons/{made['id']}")["coupon"]["usage_count"] == 0
    done = shopper.post("/checkout/complete", completion(cart))
    assert done["order"]["discount_total"] == "2.00"
    other, someone = shop.cart((product, 1))
    assert apply(someone, other, made["code"], 422)["code"] == "coupon_usage_limit"


def test_generated_codes_are_each_used_once(shop: Running) -> None:
    made, product = coupon(shop), shop.product(stock=500)
    path = f"/coupons/{made['id']}/codes"
    assert shop.staff.post(path, {"count": 900, "prefix": "X-"}) == {"generated": 900}
    listed = shop.staff.get(f"{path}?per_page=3")
    assert listed["meta"]["total"] == 901
    exported = shop.staff("GET", f"{path}.csv", expect=200)
    assert exported.headers["content-type"].startswith("text/csv")
    rows = [line.split(",") for line in exported.text.splitlines()]
    assert rows[0] == ["code", "usage_limit", "usage_count"]
    codes = {row[0] for row in rows[1:]} - {made["code"]}
    assert len(codes) == 900
    assert all(code.startswith("X-") and len(code) == 12 for code in codes)
    once = codes.pop()
    with ThreadPoolExecutor(8) as many:
        answers = list(
            many.map(lambda n: buy(shop, product, once.lower(), f"o{n}@example.com"), range(16))
        )
    assert sorted(answer.status_code for answer in answers) == [201, *[422] * 15]
    assert buy(shop, product, codes.pop(), "other@example.com").status_code == 201
    assert f"{once},1,1" in shop.staff("GET", f"{path}.csv", expect=200).text
    shop.staff.post(path, {"count": 100_001}, 400)
    shop.staff.post(path, {"count": 1, "prefix": "a b"}, 400)


# What may be set up -------------------------------------------------------------------------------


def test_what_makes_no_sense_is_refused_by_its_field(shop: Running) -> None:
    product = shop.product()
    variant = product["variants"][0]["id"]
    archived = shop.product(status="archived")["variants"][0]["id"]
    cases: list[tuple[str, dict[str, Any]]] = [
        ("value", {"value": "100.01"}),
        ("value", {"value": "0"}),
        ("value", {"value": "-5"}),
        ("value", {"value": None}),
        ("value", {"type": "fixed_amount", "value": "1.001"}),
        ("value", {"type": "free_shipping"}),
        ("buy_x_get_y", {"type": "buy_x_get_y", "value": None}),
        ("gift", {"type": "gift", "value": None}),
        ("allocation", {"allocation": "each"}),
        ("currency", {"currency": "XXX"}),
        ("minimum_order_amount", {"minimum_order_amount": "-1"}),
        ("maximum_discount_amount", {"maximum_discount_amount": "1.005"}),
        (
            "expires_at",
            {"starts_at": "2026-11-27T12:00:00Z", "expires_at": "2026-11-27T11:00:00Z"},
        ),
        ("starts_at", {"starts_at": "noon"}),
        ("tiers[1].minimum", {"tiers": [{"minimum": "5", "value": "1"}] * 2}),
        ("tiers[0].value", {"tiers": [{"minimum": "5", "value": "101"}]}),
    ]
    for field, fields in cases:
        body = {"code": uuid4().hex, "type": "percentage", "value": "10", **fields}
        refused = shop.staff.post("/coupons", body, 400)
        assert field in [each["field"] for each in refused["errors"]], (fields, refused)
    gift = {"title": "Gift", "type": "gift", "gift": {"variant_id": archived}}
    assert shop.staff.post("/promotions", gift, 422)["errors"][0]["field"] == "gift.variant_id"
    parts = [{"variant_id": variant}, {"variant_id": archived}]
    bundle = {"title": "Set", "type": "bundle", "bundle": {"items": parts, "price": "5"}}
    refused = shop.staff.post("/promotions", bundle, 422)
    assert refused["errors"][0]["field"] == "bundle.items[1].variant_id"
    made = coupon(shop)
    same = {"code": f" {made['code'].upper()} ", "type": "percentage", "value": "10"}
    assert shop.staff.post("/coupons", same, 409)["code"] == "coupon_code_exists"


def test_a_coupon_is_listed_changed_and_deleted(shop: Running) -> None:
    made = coupon(shop, description="For friends", minimum_order_amount="5")
    assert made["minimum_order_amount"] == "5.00"
    path = f"/coupons/{made['id']}"
    answer = shop.staff("GET", path, expect=200)
    tag = answer.headers["etag"]
    assert shop.staff("GET", path, If_None_Match=tag).status_code == 304
    changed = shop.staff("PATCH", path, {"value": "15", "is_active": False}, 200, If_Match=tag)
    body = changed.json()["coupon"]
    assert (body["value"], body["is_active"], body["description"]) == ("15", False, "For friends")
    assert body["minimum_order_amount"] == "5.00"
    shop.staff("PATCH", path, {"value": "20"}, 412, If_Match=tag)
    assert shop.staff("PATCH", path, {"value": "200"}, 400).json()["errors"][0]["field"] == "value"
    listed = shop.staff.get("/coupons?per_page=1")
    assert listed["coupons"][0] == body
    shop.guest.get(path, expect=401)
    shop.staff("DELETE", path, expect=204)
    shop.staff.get(path, expect=404)
    shop.staff.get(f"/coupons/{made['code']}", expect=404)


def test_a_gift_comes_with_the_order_and_out_of_the_stock(
    own: Running, automatic: Callable[..., dict[str, Any]]
) -> None:
    mug, shirt = own.product(stock=2, price="4.00"), own.product(price="30.00")
    variant = mug["variants"][0]["id"]
    given = {"variant_id": variant, "quantity": 2}
    automatic(title="Two mugs", type="gift", value=None, gift=given, minimum_order_amount="50")
    cart, shopper = own.cart((shirt, 1))
    assert len(shopper.get(f"/carts/{cart}")["items"]) == 1
    item = shopper.get(f"/carts/{cart}")["items"][0]["id"]
    shown = shopper("PUT", f"/carts/{cart}/items/{item}", {"quantity": 2}, 200).json()
    assert (shown["cart"]["subtotal"], shown["cart"]["total"]) == ("68.00", "60.00")
    assert (shown["items"][1]["is_gift"], shown["items"][1]["total"]) == (True, "0.00")
    done = shopper.post("/checkout/complete", completion(cart))
    items = done["order"]["items"]
    assert [(each["quantity"], each["is_gift"]) for each in items] == [(2, False), (2, True)]
    assert done["order"]["total"] == "65.00"
    after = shopper.get(f"/carts/{cart}")
    assert [each["total"] for each in after["items"]] == ["60.00", "0.00"]
    assert own.stock(mug) == (0, 0)
    # Without stock there is no gift, and the order goes on.
    cart, shopper = own.cart((shirt, 2))
    [why] = shopper.get(f"/carts/{cart}/promotions")["promotions"]
    assert why["reason"] == "gift_not_available"
    assert shopper.post("/checkout/complete", completion(cart))["order"]["total"] == "65.00"


def test_a_bundle_costs_its_price(own: Running, automatic: Callable[..., dict[str, Any]]) -> None:
    shirt, hat = own.product(price="30.00"), own.product(price="10.00")
    parts = [{"variant_id": each["variants"][0]["id"]} for each in (shirt, hat)]
    bundle = {"items": parts, "price": "33"}
    automatic(title="Outfit", type="bundle", value=None, bundle=bundle)
    cart, shopper = own.cart((shirt, 2), (hat, 1))
    shown = shopper.get(f"/carts/{cart}")
    assert [each["discount_amount"] for each in shown["items"]] == ["5.25", "1.75"]
    assert shown["cart"]["total"] == "63.00"
