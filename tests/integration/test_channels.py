"""Channels, price lists, exchange rates and customer groups, over HTTP."""

import random
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from conftest import Api, Running, api_key, completion, eventually
from market import Market, soon
from rcommerce.lab.ledger import ADDRESS


@pytest.fixture
def market(shop: Running) -> Market:
    return Market(shop)


def test_a_channel_shows_its_prices_and_nobody_else_sees_them(market: Market) -> None:
    product = market.product()
    assert market.shown(product) == ("20.00", None)
    sale = market.price_list(channel_ids=[market.channel["id"]])
    market.set_price(sale, product, amount="15.00")
    assert market.shown(product) == ("15.00", "20.00")
    assert market.shown(product, None) == ("20.00", None)
    market.make_channel("austria")
    assert market.shown(product, "austria") == ("20.00", None)
    page = market.guest.by(X_Channel="germany").get(f"/products/{product['slug']}")["product"]
    assert (page["price"], page["price_includes_tax"]) == ("15.00", False)
    assert page["variants"][0]["price"] == "15.00"
    market.set_price(sale, product, amount="12.00", compare_at="30.00")
    assert market.shown(product) == ("12.00", "30.00")
    keys = [{"variant_id": product["variants"][0]["id"]}]
    gone = market.staff("DELETE", f"/price-lists/{sale['id']}/prices", keys, 200).json()
    assert gone == {"prices": 1}
    assert market.shown(product) == ("20.00", None)


def test_the_highest_priority_counts_and_then_the_lowest_price(market: Market) -> None:
    product = market.product("100.00")
    market.price_list(name="all", adjustment={"type": "percentage", "value": "-10"})
    assert market.shown(product) == ("90.00", "100.00")
    market.price_list(name="more", adjustment={"type": "fixed", "value": "-30"})
    assert market.shown(product) == ("70.00", "100.00")
    first = market.price_list(name="first", priority=1)
    market.set_price(first, product, amount="95.00")
    assert market.shown(product) == ("95.00", "100.00")
    explained = market.staff.get(f"/products/{product['id']}/prices?channel=germany")
    [variant] = explained["variants"]
    assert [(each["price_list"], each["amount"]) for each in variant["possible"]] == [
        ("first", "95.00"), ("more", "70.00"), ("all", "90.00"), (None, "100.00"),
    ]  # fmt: skip
    assert variant["price_list_id"] == first["id"]
    market.staff("PATCH", f"/price-lists/{first['id']}", {"is_active": False}, 200)
    assert market.shown(product) == ("70.00", "100.00")
    # What the variant itself costs is new, and everything that follows from it.
    market.staff("PATCH", f"/products/{product['id']}", {"price": "50.00"}, 200)
    assert market.shown(product) == ("20.00", "50.00")
    market.staff("DELETE", f"/price-lists/{first['id']}", expect=204)


def test_a_sale_begins_and_ends_by_itself(market: Market) -> None:
    product = market.product()
    assert market.shown(product) == ("20.00", None)  # in every cache
    starts, ends = time.time() + 2.5, time.time() + 5
    market.price_list(
        starts_at=soon(2.5), ends_at=soon(5), adjustment={"type": "percentage", "value": "-25"}
    )
    seen = []
    while time.time() < ends + 0.6:
        sent = time.time()
        page = market.guest.get(f"/products/{product['id']}?channel=germany")["product"]
        seen.append((sent, time.time(), page["price"]))
        sent = time.time()
        [row] = market.guest.get(f"/products?ids={product['id']}&channel=germany")["products"]
        seen.append((sent, time.time(), row["price"]))
        time.sleep(0.02)
    assert {price for _, had, price in seen if had < starts} == {"20.00"}
    assert {price for sent, had, price in seen if starts + 0.3 < sent and had < ends} == {"15.00"}
    assert {price for sent, _, price in seen if sent > ends + 0.3} == {"20.00"}
    cached = market.guest("GET", f"/products/{product['id']}?channel=germany", expect=200)
    assert "stale-while-revalidate" in cached.headers["cache-control"]
    market.price_list(starts_at=soon(9), adjustment={"type": "percentage", "value": "-50"})
    bounded = market.guest("GET", f"/products/{product['id']}?channel=germany", expect=200)
    control = bounded.headers["cache-control"]
    assert "stale-while-revalidate" not in control
    assert int(control.partition("s-maxage=")[2].partition(",")[0]) <= 9


def test_automatic_rates_stay_when_the_settings_name_no_source_any_more(shop: Running) -> None:
    product = shop.product()["id"]
    shop.query(
        "insert into exchange_rate (tenant_id, from_currency, to_currency, rate, rounding,"
        " is_automatic) select tenant_id, 'ISK', 'ZAR', 0.13, 'none', true from product"
        " where id = %s",
        product,
    )
    done = shop.server.command("jobs", "run", "prices.exchange_rates")
    assert done.returncode == 0, done.stderr
    kept = "delete from exchange_rate where from_currency = 'ISK' returning rate::text"
    assert shop.query(kept) == [("0.13",)]


def test_other_currencies_by_a_price_or_by_a_rate(market: Market) -> None:
    product = market.product("20.00", compare_at_price="25.00")
    market.make_channel("usa", currency="USD")
    hidden = market.guest("GET", f"/products/{product['id']}?channel=usa", expect=404).json()
    assert hidden["code"] == "not_found"
    assert not market.guest.get(f"/products?ids={product['id']}&channel=usa")["products"]
    rates = [{"from": "EUR", "to": "USD", "rate": "1.0837", "rounding": "0.99"}]
    set_by_hand = [{**rates[0], "is_automatic": False}]
    assert (
        market.staff("PUT", "/exchange-rates", rates, 200).json()["exchange_rates"] == set_by_hand
    )
    assert market.shown(product, "usa") == ("21.99", "26.99")
    own = market.price_list(currency="USD")
    market.set_price(own, product, amount="23.50")
    assert market.shown(product, "usa") == ("23.50", "26.99")
    assert market.staff.get("/exchange-rates")["exchange_rates"] == set_by_hand
    market.make_channel("japan", currency="JPY")
    whole = [*rates, {"from": "EUR", "to": "JPY", "rate": "161.3"}]
    market.staff("PUT", "/exchange-rates", whole, 200)
    assert market.shown(product, "japan") == ("3226", "4033")
    market.staff("PUT", "/exchange-rates", [], 200)
    assert market.shown(product, "usa") == ("23.50", None)


def test_what_a_channel_sells(market: Market) -> None:
    one, two = market.product(), market.product()
    market.staff("PATCH", "/channels/germany", {"listed": "chosen"}, 200)
    assert market.guest.get("/products?channel=germany")["products"] == []
    path = f"/channels/germany/products/{one['id']}"
    market.staff("PUT", path, {}, 200)
    assert [each["id"] for each in market.guest.get("/products?channel=germany")["products"]] == [
        one["id"]
    ]
    assert market.shown(one) == ("20.00", None)
    market.guest.get(f"/products/{two['id']}?channel=germany", expect=404)
    later = market.staff("PUT", path, {"available_from": soon(1.5)}, 200).json()["listing"]
    assert later["available_until"] is None
    market.guest.get(f"/products/{one['id']}?channel=germany", expect=404)
    assert market.guest.get("/products?channel=germany")["products"] == []
    time.sleep(1.8)
    assert market.shown(one) == ("20.00", None)
    market.staff("DELETE", path, expect=204)
    market.staff("DELETE", path, expect=404)
    market.guest.get(f"/products/{one['id']}?channel=germany", expect=404)
    made = market.guest.by(X_Channel="germany").post("/carts/guest")["cart"]
    shopper = market.guest.by(X_Cart_Token=made["session_token"])
    line = {"product_id": two["id"], "quantity": 1}
    refused = shopper.post(f"/carts/{made['id']}/items", line, 422)
    assert refused["code"] == "not_in_channel"


def test_lists_filter_and_sort_by_the_channels_prices(market: Market) -> None:
    products = [market.product(f"{10 + number}.00") for number in range(5)]
    dear = market.price_list(channel_ids=[market.channel["id"]])
    market.set_price(dear, products[0], amount="99.00")
    listed = market.guest.get("/products?channel=germany&sort=price&per_page=3")
    assert [each["price"] for each in listed["products"]] == ["11.00", "12.00", "13.00"]
    rest = market.guest.get(
        f"/products?channel=germany&sort=price&per_page=3&cursor={listed['meta']['next_cursor']}"
    )
    assert [each["price"] for each in rest["products"]] == ["14.00", "99.00"]
    some = market.guest.get("/products?channel=germany&min_price=13&max_price=99")["products"]
    assert {each["price"] for each in some} == {"13.00", "14.00", "99.00"}
    word = products[0]["title"].split()[1]
    [found] = market.guest.get(f"/products?channel=germany&q={word}")["products"]
    assert found["price"] == "99.00"
    assert listed["meta"]["total"] == 5


def test_a_cart_in_a_channel_costs_what_it_shows(market: Market) -> None:
    product = market.product()
    market.make_channel("usa", currency="USD")
    market.staff("PUT", "/exchange-rates", [{"from": "EUR", "to": "USD", "rate": "1.1"}], 200)
    shown, shopper = market.cart(product, 2, "usa")
    cart = shown["cart"]
    assert (cart["channel"], cart["currency"], cart["subtotal"]) == ("usa", "USD", "44.00")
    bulk = market.price_list(currency="USD")
    market.set_price(bulk, product, min_quantity=5, amount="18.00")
    item = shown["items"][0]["id"]
    path = f"/carts/{cart['id']}/items/{item}"
    five = shopper("PUT", path, {"quantity": 5}, 200).json()
    assert (five["items"][0]["unit_price"], five["cart"]["subtotal"]) == ("18.00", "90.00")
    two = shopper("PUT", path, {"quantity": 2}, 200).json()
    assert two["cart"]["subtotal"] == "44.00"
    market.set_price(bulk, product, min_quantity=1, amount="21.00")
    refused = shopper.post("/checkout/complete", completion(cart["id"]), 409)
    assert refused["code"] == "price_changed"
    done = shopper.post("/checkout/complete", completion(cart["id"]))
    assert done["order"]["subtotal"] == "42.00"
    assert done["order"]["currency"] == "USD"
    channel = market.staff.get("/channels/usa")["channel"]
    assert done["order"]["channel_id"] == channel["id"]
    kept = market.staff("DELETE", "/channels/usa", expect=409).json()
    assert kept["code"] == "channel_in_use"
    money = market.staff("PATCH", "/channels/usa", {"currency": "CAD"}, 409).json()
    assert money["code"] == "channel_in_use"


def test_an_order_without_a_cart_and_a_gift_have_the_channels_prices(market: Market) -> None:
    product, gift = market.product(), market.product("8.00")
    lower = market.price_list(adjustment={"type": "percentage", "value": "-50"})
    market.staff.post(
        "/promotions",
        {
            "title": "A gift", "type": "gift", "channel_ids": [market.channel["id"]],
            "gift": {"variant_id": gift["variants"][0]["id"]},
        },
    )  # fmt: skip
    body = {
        "items": [{"product_id": product["id"], "quantity": 1}], "customer_email": "a@example.com",
        "shipping_address": ADDRESS,
    }  # fmt: skip
    ordered = market.guest.by(X_Channel="germany").post("/orders", body)
    assert [(each["price"], each["total"]) for each in ordered["items"]] == [
        ("10.00", "10.00"), ("4.00", "4.00"),
    ]  # fmt: skip
    assert ordered["discount_total"] == "4.00"
    plain = market.guest.post("/orders", body)
    assert plain["subtotal"] == "20.00"
    market.staff("DELETE", f"/price-lists/{lower['id']}", expect=204)


def test_a_group_has_prices_of_its_own(market: Market) -> None:
    product = market.product()
    group = market.staff.post("/customer-groups", {"name": "Trade"})["customer_group"]
    trade = market.price_list(customer_group_ids=[group["id"]])
    market.set_price(trade, product, amount="12.00")
    market.staff.post(
        "/promotions",
        {
            "title": "For the trade", "type": "percentage", "value": "50",
            "customer_eligibility": {"customer_group_ids": [group["id"]]},
        },
    )  # fmt: skip
    assert market.shown(product) == ("20.00", None)
    person = {
        "email": f"{uuid4().hex}@example.com", "password": "correct horse battery",
        "first_name": "Ada", "last_name": "L",
    }  # fmt: skip
    made = market.guest.post("/auth/register", person)
    customer = made["customer"]["id"]
    buyer = market.guest.by(Authorization=f"Bearer {made['access_token']}", X_Channel="germany")
    line = {"product_id": product["id"], "quantity": 1}
    assert buyer.post("/carts/items", line)["cart"]["subtotal"] == "20.00"
    path = f"/customer-groups/{group['id']}/customers"
    market.staff("PUT", f"{path}/{customer}", expect=204)
    assert market.staff.get(path)["customers"][0]["email"] == person["email"]
    cart = buyer.post("/carts/items", line)["cart"]
    assert (cart["subtotal"], cart["total"]) == ("24.00", "12.00")
    by_group = f"/products/{product['id']}/prices?channel=germany&customer_group={group['id']}"
    assert market.staff.get(by_group)["variants"][0]["amount"] == "12.00"
    in_use = market.staff("DELETE", f"/customer-groups/{group['id']}", expect=409).json()
    assert in_use["code"] == "group_in_use"
    market.staff("DELETE", f"{path}/{customer}", expect=204)
    market.staff("DELETE", f"{path}/{customer}", expect=404)
    assert buyer.post("/carts/items", line)["cart"]["subtotal"] == "60.00"
    [listed] = market.staff.get(f"/price-lists/{trade['id']}/prices")["prices"]
    assert (listed["amount"], listed["min_quantity"]) == ("12.00", 1)
    market.staff("DELETE", f"/price-lists/{trade['id']}", expect=204)
    market.staff("DELETE", f"/customer-groups/{group['id']}", expect=204)
    market.staff.get(f"/customer-groups/{group['id']}", expect=404)


def bad(staff: Api, method: str, path: str, body: Any, field: str, expect: int = 400) -> str:
    found = staff(method, path, body, expect).json()
    assert found["errors"][0]["field"] == field, found
    return str(found["errors"][0]["message"])


def test_what_is_wrong_says_so(market: Market) -> None:
    product, staff = market.product(), market.staff
    says = market.guest("GET", "/products?channel=germony", expect=400).json()
    assert "there is no channel “germony”: the shop has germany" in says["detail"]
    market.guest.by(X_Channel="nowhere")("POST", "/carts/guest", {}, 400)
    usa = market.make_channel("usa", currency="USD")
    body: dict[str, Any] = {"name": "A", "channel_ids": [usa["id"]]}
    assert "sells in USD, and the list is in EUR" in bad(
        staff, "POST", "/price-lists", body, "channel_ids", 422
    )
    body = {"name": "A", "adjustment": {"type": "percentage", "value": "-101"}}
    bad(staff, "POST", "/price-lists", body, "adjustment.value")
    body = {"name": "A", "adjustment": {"type": "fixed", "value": "1.001"}}
    bad(staff, "POST", "/price-lists", body, "adjustment.value")
    body = {"name": "A", "starts_at": "2026-01-02T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z"}
    bad(staff, "POST", "/price-lists", body, "ends_at")
    listed = market.price_list(starts_at="2026-01-02T00:00:00Z")
    earlier = {"ends_at": "2026-01-01T00:00:00Z"}
    bad(staff, "PATCH", f"/price-lists/{listed['id']}", earlier, "ends_at")
    path, variant = f"/price-lists/{listed['id']}/prices", product["variants"][0]["id"]
    one = {"variant_id": variant, "amount": "5.00"}
    bad(staff, "PUT", path, [{**one, "amount": "-1"}], "[0].amount")
    bad(staff, "PUT", path, [{**one, "amount": "1.001"}], "[0].amount")
    bad(staff, "PUT", path, [{**one, "compare_at": "5.00"}], "[0].compare_at")
    bad(staff, "PUT", path, [one, {**one, "amount": "4.00"}], "[1].min_quantity")
    unknown = [one, {**one, "variant_id": str(uuid4())}]
    bad(staff, "PUT", path, unknown, "[1].variant_id", 422)
    rate = {"from": "EUR", "to": "USD", "rate": "1.1"}
    bad(staff, "PUT", "/exchange-rates", [{**rate, "to": "EUR"}], "[0].to")
    bad(staff, "PUT", "/exchange-rates", [{**rate, "rate": "0"}], "[0].rate")
    bad(staff, "PUT", "/exchange-rates", [rate, rate], "[1]")
    bad(staff, "PUT", "/exchange-rates", [{"from": "EUR", "to": "USD"}], "[0].rate")
    automatic = {**rate, "is_automatic": True}
    bad(staff, "PUT", "/exchange-rates", [automatic], "[0].is_automatic")
    yen = {**rate, "to": "JPY", "rounding": "0.99"}
    bad(staff, "PUT", "/exchange-rates", [yen], "[0].rounding")
    times = {"available_from": soon(5), "available_until": soon(4)}
    bad(staff, "PUT", f"/channels/usa/products/{product['id']}", times, "available_until")
    missing = f"/channels/usa/products/{uuid4()}"
    bad(staff, "PUT", missing, {}, "product_id", 422)
    bad(staff, "POST", "/channels", {"slug": "germany", "name": "B"}, "slug", 409)
    staff("PUT", f"/channels/nowhere/products/{product['id']}", {}, 404)
    wrong = market.guest.by(X_Channel="usa")("POST", "/carts/guest", {"currency": "EUR"}, 422)
    assert wrong.json()["code"] == "currency_mismatch"


def test_every_combination_is_cached_by_itself(market: Market) -> None:
    """Channels, currencies and groups, by parameter and by header: each sees its own price, from
    whatever cache."""
    product = market.product("10.00")
    market.make_channel("usa", currency="USD")
    market.make_channel("canada", currency="USD")
    market.staff("PUT", "/exchange-rates", [{"from": "EUR", "to": "USD", "rate": "2"}], 200)
    group = market.staff.post("/customer-groups", {"name": "Trade"})["customer_group"]["id"]
    prices: dict[str | None, str] = {
        None: "10.00", "germany": "11.00", "usa": "12.00", "canada": "20.00",
    }  # fmt: skip
    for slug, currency in (("germany", "EUR"), ("usa", "USD")):
        channel = market.staff.get(f"/channels/{slug}")["channel"]["id"]
        its = market.price_list(channel_ids=[channel], currency=currency)
        market.set_price(its, product, amount=prices[slug])
        trade = market.price_list(
            channel_ids=[channel], currency=currency, customer_group_ids=[group], priority=9
        )
        market.set_price(trade, product, amount="1.00")
    person = {
        "email": f"{uuid4().hex}@example.com", "password": "correct horse battery",
        "first_name": "Ada", "last_name": "L",
    }  # fmt: skip
    made = market.guest.post("/auth/register", person)
    path = f"/customer-groups/{group}/customers/{made['customer']['id']}"
    market.staff("PUT", path, expect=204)
    member = market.guest.by(Authorization=f"Bearer {made['access_token']}")
    ways: list[tuple[Api, str, str]] = []
    for named, price in prices.items():
        slug = named or ""
        for client in (market.guest, member):
            ways.append((client.by(X_Channel=slug) if slug else client, "", price))
            if slug:
                ways.append((client, f"channel={slug}", price))
                # The parameter wins.
                ways.append((client.by(X_Channel="usa"), f"channel={slug}", price))
    for _ in range(4):
        random.shuffle(ways)
        for client, query, price in ways:
            page = client("GET", f"/products/{product['id']}?{query}", expect=200)
            assert page.json()["product"]["price"] == price
            [row] = client.get(f"/products?ids={product['id']}&{query}")["products"]
            assert row["price"] == price
            if client.headers.get("Authorization") is None:
                assert "X-Channel" in page.headers["vary"]
    odd = market.guest("GET", f"/products/{product['id']}?%23usa", expect=400)
    assert odd.json()["errors"][0]["field"] == "%23usa"


def everywhere(check: Callable[[], bool]) -> None:
    """Waits until every process knows."""
    eventually(lambda: all(check() for _ in range(20)))


def test_times_without_an_offset_are_the_shops_over_a_change_of_clocks(
    embedded_shop: Running,
) -> None:
    market = Market(embedded_shop)
    slug = embedded_shop.control(
        "select slug from tenant where id = %s", market.guest.headers["X-Tenant-ID"]
    )[0][0]
    command = ("tenant", "set", slug, "--time-zone", "Europe/Berlin", "--channel", "germany")
    assert embedded_shop.server.command(*command).returncode == 0

    def times(path: str, body: Any, *names: str) -> list[str]:
        made = market.staff.post(path, body)
        [found] = [value for value in made.values() if isinstance(value, dict)]
        return [found[name] for name in names]

    def zoned() -> bool:
        # Clocks go forward on 2027-03-28 at 02:00, and back on 2027-10-31 at 03:00.
        body = {"name": "A", "starts_at": "2027-03-27T12:00:00", "ends_at": "2027-03-28T12:00:00"}
        return times("/price-lists", body, "starts_at", "ends_at") == [
            "2027-03-27T11:00:00.000000Z", "2027-03-28T10:00:00.000000Z",
        ]  # fmt: skip

    everywhere(zoned)
    body = {"name": "B", "starts_at": "2027-03-28T02:30:00", "ends_at": "2027-10-31T02:30:00"}
    assert times("/price-lists", body, "starts_at", "ends_at") == [
        "2027-03-28T01:30:00.000000Z", "2027-10-31T00:30:00.000000Z",
    ]  # fmt: skip
    coupon = {"code": "A", "type": "free_shipping", "starts_at": "2027-07-01T00:00:00"}
    assert times("/coupons", coupon, "starts_at") == ["2027-06-30T22:00:00.000000Z"]
    card = {"amount": "5.00", "expires_at": "2027-01-01T00:00:00"}
    assert times("/gift-cards", card, "expires_at") == ["2026-12-31T23:00:00.000000Z"]
    # Whoever names no channel is in the shop's.
    product = market.product()
    market.price_list(adjustment={"type": "percentage", "value": "-50"})

    def price() -> Any:
        return market.guest.get(f"/products/{product['id']}")["product"]["price"]

    everywhere(lambda: price() == "10.00")
    assert market.guest.post("/carts/guest")["cart"]["channel"] == "germany"
    kept = market.staff("DELETE", "/channels/germany", expect=409).json()
    assert kept["code"] == "channel_in_use"
    market.make_channel("plain", listed="chosen")
    key = api_key(embedded_shop.server, "--all", "--tenant", slug, "--channel", "plain")
    owner = market.guest.by(Authorization=f"Bearer {key}")
    assert owner.get("/products")["products"] == []
    assert owner.get("/products?channel=germany")["products"]
    assert owner.by(X_Channel="germany").get("/products")["products"]
    wrong = embedded_shop.server.command("tenant", "set", slug, "--channel", "germony")
    assert wrong.returncode != 0
    assert "there is no channel “germony”: the shop has germany" in wrong.stderr
    none = embedded_shop.server.command("tenant", "set", slug, "--channel", "")
    assert none.returncode == 0, none.stderr
    everywhere(lambda: price() == "20.00")


def test_a_channel_sells_what_its_locations_have(market: Market) -> None:
    far = market.staff.post("/inventory/locations", {"name": "Far"})["id"]
    product = market.product(inventory_quantity=5)
    variant = product["variants"][0]["id"]
    made = market.make_channel("far", locations=[far])
    assert made["locations"] == [far]

    def left(channel: str) -> Any:
        page = market.guest.get(f"/products/{product['id']}?channel={channel}")["product"]
        query = f"/products?ids={product['id']}&channel={channel}"
        [row] = market.guest.get(query)["products"]
        assert row["inventory_quantity"] in (page["inventory_quantity"], None)
        in_stock = market.guest.get(f"{query}&inventory_status=in_stock")["products"]
        assert bool(in_stock) == (page["inventory_quantity"] > 0)
        return page["inventory_quantity"]

    assert (left("germany"), left("far")) == (5, 0)
    cart, shopper = market.cart(product, 1, "far")
    refused = shopper.post("/checkout/complete", completion(cart["cart"]["id"]), 409)
    assert refused["code"] == "out_of_stock"
    received = {"variant_id": variant, "quantity": 2, "location_id": far}
    market.staff.post("/inventory/receive", received, 200)
    assert (left("germany"), left("far")) == (7, 2)
    shopper.post("/checkout/complete", completion(cart["cart"]["id"]))
    assert (left("germany"), left("far")) == (6, 1)
    market.staff("PATCH", "/channels/far", {"locations": []}, 200)
    assert left("far") == 6
    bad(market.staff, "PATCH", "/channels/far", {"locations": [str(uuid4())]}, "locations", 422)
