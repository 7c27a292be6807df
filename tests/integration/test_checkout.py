"""From a cart to a paid order, and everything that can go wrong on the way."""

import asyncio
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from conftest import Running, completion
from rcommerce.commerce.payments.gateways import Test as Gateway
from rcommerce.database.cluster import cluster as make_cluster
from rcommerce.lab.ledger import ADDRESS
from rcommerce.settings import DatabaseSettings


def until(what: Callable[[], bool], seconds: float = 20) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)


def test_a_guest_buys(shop: Running) -> None:
    product = shop.product(stock=5, price="20.00")
    cart, shopper = shop.cart((product, 2))
    begun = shopper.post("/checkout/initiate", {"cart_id": cart, "shipping_address": ADDRESS}, 200)
    assert (begun["subtotal"], begun["shipping_total"], begun["total"]) == (
        "40.00",
        "5.00",
        "45.00",
    )
    assert {rate["service_code"] for rate in begun["available_shipping_rates"]} == {
        "standard",
        "express",
    }
    express = {"cart_id": cart, "service_code": "express"}
    assert shopper.post("/checkout/shipping", express, 200)["total"] == "55.00"
    done = shopper.post("/checkout/complete", completion(cart))
    order = done["order"]
    assert (done["total_charged"], order["total"], order["shipping_total"]) == (
        "55.00",
        "55.00",
        "15.00",
    )
    assert (order["status"], order["payment_status"]) == ("confirmed", "paid")
    assert shop.stock(product) == (3, 0)
    shop.guest.get(f"/orders/{order['id']}", expect=404)
    mine = shop.guest.by(X_Order_Token=done["order_token"])
    assert mine.get(f"/orders/{order['id']}")["order"]["id"] == order["id"]
    assert [e["type"] for e in mine.get(f"/orders/{order['id']}/events")["events"]] == [
        "placed",
        "paid",
    ]
    assert mine.get(f"/payments/{done['payment_id']}")["status"] == "succeeded"


def test_a_declined_payment_leaves_the_cart_and_the_stock_as_they_were(shop: Running) -> None:
    product = shop.product(stock=5)
    cart, shopper = shop.cart((product, 2))
    answer = shopper("POST", "/checkout/complete", completion(cart, "tok_decline"), expect=402)
    assert answer.json()["code"] == "payment_failed"
    assert shop.stock(product) == (5, 0)
    assert len(shopper.get(f"/carts/{cart}")["items"]) == 1
    shopper.post("/checkout/complete", completion(cart))
    assert shop.stock(product) == (3, 0)


def test_a_gateway_that_fails_keeps_the_order_open_for_another_try(shop: Running) -> None:
    product = shop.product(stock=5)
    cart, shopper = shop.cart((product, 1))
    failed = shopper("POST", "/checkout/complete", completion(cart, "tok_fail"), expect=503)
    assert failed.headers["Retry-After"]
    assert shop.stock(product) == (5, 1)
    first = shopper.post("/checkout/complete", completion(cart))
    again = shopper.post("/checkout/complete", completion(cart))
    assert first["order"]["id"] == again["order"]["id"]
    assert shop.stock(product) == (4, 0)


def test_a_delayed_payment_is_confirmed_when_the_gateway_has_decided(shop: Running) -> None:
    product = shop.product(stock=5)
    cart, shopper = shop.cart((product, 1))
    done = shopper.post("/checkout/complete", completion(cart, "tok_delay"))
    assert (done["order"]["status"], done["order"]["payment_status"]) == ("pending", "pending")
    order = shop.guest.by(X_Order_Token=done["order_token"])
    until(lambda: order.get(f"/orders/{done['order']['id']}")["order"]["payment_status"] == "paid")
    assert shop.stock(product) == (4, 0)


def test_a_payment_under_way_keeps_its_stock_past_its_time(shop: Running) -> None:
    product = shop.product(stock=5)
    cart, shopper = shop.cart((product, 1))
    done = shopper.post("/checkout/complete", completion(cart, "tok_delay"))
    shop.query("update sales_order set reserved_until = now() where id = %s", done["order"]["id"])
    order = shop.guest.by(X_Order_Token=done["order_token"])
    until(lambda: order.get(f"/orders/{done['order']['id']}")["order"]["payment_status"] == "paid")
    assert shop.stock(product) == (4, 0)


def test_too_little_stock_names_the_lines_and_holds_nothing(shop: Running) -> None:
    plenty, scarce = shop.product(stock=9), shop.product(stock=1)
    cart, shopper = shop.cart((plenty, 2), (scarce, 2))
    problem = shopper("POST", "/checkout/complete", completion(cart), expect=409).json()
    assert problem["code"] == "out_of_stock"
    assert problem["lines"] == [
        {"variant_id": scarce["variants"][0]["id"], "quantity": 2, "available": 1}
    ]
    assert (shop.stock(plenty), shop.stock(scarce)) == ((9, 0), (1, 0))


def test_a_changed_price_is_shown_before_it_is_charged(shop: Running) -> None:
    product = shop.product(price="20.00")
    cart, shopper = shop.cart((product, 1))
    shop.staff("PATCH", f"/products/{product['id']}", {"price": "30.00"}, expect=200)
    problem = shopper("POST", "/checkout/complete", completion(cart), expect=409).json()
    assert (problem["code"], problem["summary"]["subtotal"]) == ("price_changed", "30.00")
    assert shopper.get(f"/carts/{cart}")["cart"]["subtotal"] == "30.00"
    assert shopper.post("/checkout/complete", completion(cart))["total_charged"] == "35.00"


def test_a_checkout_charges_only_what_its_last_summary_showed(shop: Running) -> None:
    kept, more = shop.product(price="20.00"), shop.product(price="7.00")
    cart, shopper = shop.cart((kept, 2))
    shopper.post("/checkout/initiate", {"cart_id": cart, "shipping_address": ADDRESS}, 200)
    # In another tab, which shows no shipping and no sum with it.
    line = {"product_id": more["id"], "quantity": 1}
    items = shopper.post(f"/carts/{cart}/items", line)["items"]
    shopper("PUT", f"/carts/{cart}/items/{items[0]['id']}", {"quantity": 1}, expect=200)
    problem = shopper("POST", "/checkout/complete", completion(cart), expect=409).json()
    assert problem["code"] == "price_changed"
    assert problem["changes"] == [
        {"item_id": items[0]["id"], "field": "quantity", "shown": 2, "now": 1},
        {"item_id": items[1]["id"], "field": "quantity", "shown": 0, "now": 1},
        {"field": "total", "shown": "45.00", "now": "32.00"},
    ]
    assert [each["quantity"] for each in problem["summary"]["items"]] == [1, 1]
    assert shopper.post("/checkout/complete", completion(cart))["total_charged"] == "32.00"


def test_a_sum_that_the_buyer_was_not_shown_is_not_charged(shop: Running) -> None:
    cart, shopper = shop.cart((shop.product(price="20.00"), 1))
    wrong = completion(cart, expected_total="20.00")
    problem = shopper("POST", "/checkout/complete", wrong, expect=409).json()
    assert problem["changes"] == [{"field": "total", "shown": "20.00", "now": "25.00"}]
    right = completion(cart, expected_total="25.00")
    assert shopper.post("/checkout/complete", right)["total_charged"] == "25.00"


@pytest.mark.parametrize("how", ["product", "variant"])
def test_what_was_deleted_stays_in_the_cart_until_the_buyer_takes_it_out(
    shop: Running, how: str
) -> None:
    kept = shop.product(price="20.00")
    gone = shop.product(
        price="7.00",
        options=[{"name": "Size", "values": ["S", "M"]}],
        variants=[
            {"price": "7.00", "option_values": {"Size": size}, "inventory_quantity": 9}
            for size in "SM"
        ],
    )
    cart, shopper = shop.cart((kept, 1), (gone, 2))
    variant = gone["variants"][0]["id"]
    path = f"/products/{gone['id']}" + (f"/variants/{variant}" if how == "variant" else "")
    shop.staff("DELETE", path)
    shown = shopper.get(f"/carts/{cart}")
    (item,) = [each for each in shown["items"] if not each["is_available"]]
    assert (item["variant_id"], item["title"], item["quantity"], item["total"]) == (
        variant,
        gone["title"],
        2,
        "14.00",
    )
    assert shown["cart"]["total"] == "20.00"
    begin = {"cart_id": cart, "shipping_address": ADDRESS}
    for path, body in (("initiate", begin), ("complete", completion(cart))):
        problem = shopper("POST", f"/checkout/{path}", body, expect=409).json()
        assert problem["code"] == "no_longer_sold"
        assert problem["lines"] == [
            {"item_id": item["id"], "variant_id": variant, "title": gone["title"]}
        ]
        assert [each["is_available"] for each in problem["summary"]["items"]] == [True, False]
        assert problem["summary"]["subtotal"] == "20.00"
    shopper("DELETE", f"/carts/{cart}/items/{item['id']}", expect=200)
    done = shopper.post("/checkout/complete", completion(cart))
    assert done["total_charged"] == "25.00"
    # What was sold stays as it was sold.
    shop.staff("DELETE", f"/products/{kept['id']}", expect=204)
    ordered = shopper.get(f"/carts/{cart}")
    assert (ordered["cart"]["status"], ordered["cart"]["total"]) == ("ordered", "25.00")
    assert [each["title"] for each in ordered["items"]] == [kept["title"]]


def test_an_ordered_cart_takes_no_more_changes(shop: Running) -> None:
    product = shop.product()
    cart, shopper = shop.cart((product, 1))
    item = shopper.get(f"/carts/{cart}")["items"][0]["id"]
    shopper.post("/checkout/complete", completion(cart))
    line = {"product_id": product["id"], "quantity": 1}
    begin = {"cart_id": cart, "shipping_address": ADDRESS}
    for method, path, body in (
        ("POST", f"/carts/{cart}/items", line),
        ("POST", "/carts/items", line),
        ("PUT", f"/carts/{cart}/items/{item}", {"quantity": 3}),
        ("DELETE", f"/carts/{cart}/items/{item}", None),
        ("DELETE", f"/carts/{cart}/items", None),
        ("DELETE", f"/carts/{cart}", None),
        ("POST", f"/carts/{cart}/coupon", {"coupon_code": "SPRING"}),
        ("DELETE", f"/carts/{cart}/coupon", None),
        ("POST", "/checkout/initiate", begin),
        ("POST", "/checkout/shipping", {"cart_id": cart, "service_code": "express"}),
    ):
        problem = shopper(method, path, body, expect=409).json()
        assert problem["code"] == "cart_closed", (method, path)


def test_what_the_client_says_of_prices_is_never_believed(shop: Running) -> None:
    product = shop.product(price="20.00")
    rate = {
        "provider_id": "manual",
        "service_code": "standard",
        "rate": "0.00",
        "total_cost": "0.00",
    }
    cart, shopper = shop.cart((product, 1))
    done = shopper.post("/checkout/complete", completion(cart, selected_shipping_rate=rate))
    assert done["total_charged"] == "25.00"
    line = {"product_id": product["id"], "quantity": 1, "price": "0.01", "total": "0.01"}
    order = shop.guest.post(
        "/orders",
        {
            "items": [line],
            "shipping_address": ADDRESS,
            "customer_email": "a@example.com",
            "total": 1,
        },
    )
    assert order["total"] == "25.00"


def test_an_oversellable_variant_sells_past_its_stock_which_never_goes_negative(
    shop: Running,
) -> None:
    product = shop.product(stock=1, inventory_policy="continue")
    cart, shopper = shop.cart((product, 3))
    shopper.post("/checkout/complete", completion(cart))
    assert shop.stock(product) == (0, 0)


def test_an_order_without_a_cart_is_paid_afterwards(shop: Running) -> None:
    product = shop.product(stock=3, price="20.00")
    body = {
        "items": [{"product_id": product["id"], "quantity": 2}],
        "shipping_address": ADDRESS,
        "customer_email": "guest@example.com",
    }
    order = shop.guest.post("/orders", body)
    assert (order["status"], order["total"], shop.stock(product)) == ("pending", "45.00", (3, 2))
    payment = {
        "order_id": order["id"],
        "amount": "45.00",
        "currency": "USD",
        "gateway_id": "test",
        "payment_method_data": {"token": "tok_approve"},
    }
    shop.guest("POST", "/payments", payment, expect=404)
    mine = shop.guest.by(X_Order_Token=order["order_token"])
    mine("POST", "/payments", {**payment, "amount": "1.00"}, expect=422)
    first, again = mine.post("/payments", payment), mine.post("/payments", payment)
    assert first == again
    assert first["result"] == "success"
    assert mine.get(f"/orders/{order['id']}")["order"]["payment_status"] == "paid"
    assert shop.stock(product) == (1, 0)


def test_a_manual_payment_is_confirmed_by_hand(shop: Running) -> None:
    product = shop.product(stock=3)
    cart, shopper = shop.cart((product, 1))
    method = {"type": "invoice", "gateway_id": "manual"}
    done = shopper.post("/checkout/complete", completion(cart, payment_method=method))
    assert (done["order"]["status"], done["order"]["payment_status"]) == ("confirmed", "pending")
    shop.staff.post(f"/payments/{done['payment_id']}/confirm", expect=200)
    order = shop.staff.get(f"/orders/{done['order']['id']}")["order"]
    assert order["payment_status"] == "paid"


def bought(
    shop: Running, stock: int = 5, quantity: int = 2
) -> tuple[dict[str, Any], dict[str, Any]]:
    product = shop.product(stock=stock, price="20.00")
    cart, shopper = shop.cart((product, quantity))
    return product, shopper.post("/checkout/complete", completion(cart))["order"]


def test_an_order_is_fulfilled_returned_and_refunded_step_by_step(shop: Running) -> None:
    product, order = bought(shop)
    path = f"/orders/{order['id']}"
    item = order["items"][0]["id"]
    one = {"items": [{"order_item_id": item, "quantity": 1}]}
    part = shop.staff.post(f"{path}/fulfill", one, 200)["order"]
    assert (part["status"], part["fulfillment_status"]) == ("processing", "partially_fulfilled")
    whole = shop.staff.post(f"{path}/fulfill", {"tracking_number": "T1"}, 200)["order"]
    assert (whole["status"], whole["fulfillment_status"]) == ("completed", "fulfilled")
    refused = shop.staff("POST", f"{path}/cancel", {}, expect=409)
    assert refused.json()["code"] == "invalid_transition"
    back = shop.staff.post(f"{path}/return", one, 200)["order"]
    assert back["items"][0]["returned_quantity"] == 1
    assert shop.stock(product) == (4, 0)
    some = shop.staff.post(f"{path}/refund", {"amount": "20.00"}, 200)["order"]
    assert some["payment_status"] == "partially_refunded"
    shop.staff("POST", f"{path}/refund", {"amount": "30.00"}, expect=422)
    rest = shop.staff.post(f"{path}/refund", {}, 200)["order"]
    assert rest["payment_status"] == "refunded"
    charged = shop.query(
        "select sum(amount), sum(refunded) from payment where order_id = %s", order["id"]
    )
    assert charged[0][0] == charged[0][1]


def test_a_cancelled_order_gives_back_stock_and_money_once(shop: Running) -> None:
    product, order = bought(shop)
    assert shop.stock(product) == (3, 0)
    path = f"/orders/{order['id']}/cancel"
    assert (
        shop.staff.post(path, {"reason": "changed"}, 200)["order"]["payment_status"] == "refunded"
    )
    assert shop.staff.post(path, {}, 200)["order"]["status"] == "cancelled"
    assert shop.stock(product) == (5, 0)


def test_a_retried_refund_is_one_refund(shop: Running) -> None:
    _, order = bought(shop)
    key = uuid4().hex
    for _ in range(3):
        shop.staff(
            "POST", f"/orders/{order['id']}/refund", {"amount": "5.00"}, 200, Idempotency_Key=key
        )
    refunded = shop.query("select refunded from payment where order_id = %s", order["id"])
    assert str(refunded[0][0]) == "5.00"


def test_a_signed_event_is_applied_once_and_a_forged_one_never(shop: Running) -> None:
    import httpx

    from rcommerce.commerce.payments.gateways import sign

    product = shop.product(stock=5)
    cart, shopper = shop.cart((product, 1))
    done = shopper.post("/checkout/complete", completion(cart, "tok_delay"))
    event = (
        f'{{"id":"{uuid4()}","payment_id":"{done["payment_id"]}","outcome":"declined"}}'.encode()
    )
    now = str(int(time.time()))

    def send(signature: str, moment: str = now) -> int:
        headers = {"X-Test-Timestamp": moment, "X-Test-Signature": signature}
        url = f"{shop.guest.url}/api/v1/webhooks/test"
        return httpx.post(url, content=event, headers=headers).status_code

    assert send("0" * 64) == 401
    assert send(sign("test-webhook-secret", "1000", event), "1000") == 401
    assert [send(sign("test-webhook-secret", now, event)) for _ in range(3)] == [204] * 3
    order = shop.staff.get(f"/orders/{done['order']['id']}")["order"]
    assert (order["status"], order["payment_status"]) == ("cancelled", "failed")
    assert shop.stock(product) == (5, 0)


def test_an_id_alone_opens_no_cart(shop: Running) -> None:
    cart, shopper = shop.cart((shop.product(), 1))
    shop.guest.get(f"/carts/{cart}", expect=404)
    other = shop.guest.by(X_Cart_Token=shop.guest.post("/carts/guest")["cart"]["session_token"])
    other.get(f"/carts/{cart}", expect=404)
    other("POST", "/checkout/complete", completion(cart), expect=404)
    assert shopper.get(f"/carts/{cart}")["cart"]["id"] == cart


def test_a_cart_changes_and_empties(shop: Running) -> None:
    product = shop.product(price="20.00")
    cart, shopper = shop.cart((product, 1))
    item = shopper.get("/carts/me")["items"][0]["id"]
    assert (
        shopper("PUT", f"/carts/{cart}/items/{item}", {"quantity": 3}, 200).json()["cart"]["total"]
        == "60.00"
    )
    assert shopper("DELETE", f"/carts/{cart}/items/{item}", expect=200).json()["items"] == []
    shopper("POST", "/checkout/complete", completion(cart), expect=422)
    coupon = shopper("POST", f"/carts/{cart}/coupon", {"coupon_code": "SAVE"}, expect=422)
    assert coupon.json()["code"] == "coupon_not_found"
    shopper("DELETE", f"/carts/{cart}", expect=204)
    shopper.get(f"/carts/{cart}", expect=404)


def test_an_expired_reservation_returns_its_stock(shop: Running) -> None:
    product = shop.product(stock=5)
    held = {"variant_id": product["variants"][0]["id"], "quantity": 4, "expires_in_s": 1}
    shop.staff.post("/inventory/reserve", held)
    assert shop.stock(product) == (5, 4)
    until(lambda: shop.stock(product) == (5, 0))
    body = {
        "items": [{"product_id": product["id"], "quantity": 2}],
        "shipping_address": ADDRESS,
        "customer_email": "slow@example.com",
    }
    order = shop.guest.post("/orders", body)
    assert shop.stock(product) == (5, 2)
    shop.query("update sales_order set reserved_until = now() where id = %s", order["id"])
    until(lambda: shop.stock(product) == (5, 0))
    assert shop.staff.get(f"/orders/{order['id']}")["order"]["status"] == "cancelled"


def test_money_that_comes_after_the_order_was_given_up_is_sent_back(shop: Running) -> None:
    product = shop.product(stock=5)
    cart, shopper = shop.cart((product, 1))
    shopper("POST", "/checkout/complete", completion(cart, "tok_fail"), expect=503)
    payment, order, tenant = shop.query(
        "select p.id, o.id, o.tenant_id from payment p join sales_order o on o.id = p.order_id"
        " where o.cart_id = %s",
        cart,
    )[0]
    # The gateway did charge, though its answer never came; and then the order's time ran out.
    shop.staff.post(f"/orders/{order}/cancel", {}, 200)
    amount, currency = shop.query("select amount, currency from payment where id = %s", payment)[0]
    shop.control(
        "insert into test_gateway_charge (tenant_id, idempotency_key, amount, currency, outcome)"
        " values (%s, %s, %s, %s, 'approved')",
        tenant,
        str(payment),
        amount,
        currency,
    )
    shop.query(
        "update payment set updated_at = now() - interval '5 minutes' where id = %s", payment
    )
    until(
        lambda: (
            shop.control(
                "select refunded = amount from test_gateway_charge"
                " where (tenant_id, idempotency_key) = (%s, %s)",
                tenant,
                str(payment),
            )
            == [(True,)]
        )
    )
    assert shop.stock(product) == (5, 0)


def test_a_refund_that_was_cut_off_is_finished_by_the_sweep(shop: Running) -> None:
    _, order = bought(shop)
    payment = shop.query("select id from payment where order_id = %s", order["id"])[0][0]
    # As a crash leaves it: set aside in the shop's books, and the gateway was never asked.
    shop.query("update payment set refunded = 5.00 where id = %s", payment)
    shop.query(
        "insert into refund (tenant_id, id, payment_id, currency, amount, status, created_at)"
        " select tenant_id, new_id(), id, currency, 5.00, 'pending', now() - interval '2 minutes'"
        " from payment where id = %s",
        payment,
    )

    def state() -> str:
        return str(shop.staff.get(f"/orders/{order['id']}")["order"]["payment_status"])

    until(lambda: state() == "partially_refunded")
    books = shop.control(
        "select refunded from test_gateway_charge where idempotency_key = %s", str(payment)
    )
    assert str(books[0][0]) == "5.00"


def test_a_refund_that_several_ask_for_at_once_is_approved_to_each_and_made_once(
    embedded_shop: Running,
) -> None:
    """As the sweeps of two processes do."""
    shop = embedded_shop
    _, order = bought(shop)
    tenant, payment = shop.query(
        "select tenant_id, id from payment where order_id = %s", order["id"]
    )[0]

    async def ask() -> set[str]:
        cluster = make_cluster(DatabaseSettings(pool_size=4), 1, shop.control_dsn, listens=False)
        await cluster.open()
        gateway, refund = Gateway(cluster, "secret"), uuid4()
        with psycopg.connect(shop.control_dsn) as books:
            held = "select 1 from test_gateway_charge where idempotency_key = %s for update"
            books.execute(held, (str(payment),))
            asked = [
                asyncio.create_task(gateway.refund(tenant, payment, refund, Decimal("5.00")))
                for _ in range(3)
            ]
            await asyncio.sleep(0.5)  # all of them wait for the charge
        reported: set[str] = {(await each).state for each in asked}
        await cluster.close()
        return reported

    assert asyncio.run(ask()) == {"approved"}
    books = "select refunded from test_gateway_charge where idempotency_key = %s"
    assert shop.control(books, str(payment)) == [(Decimal("5.00"),)]


@pytest.mark.parametrize("country", ["GB", "gb", "JP"])
def test_short_addresses_are_fine(shop: Running, country: str) -> None:
    address = {
        "first_name": "A",
        "last_name": "B",
        "address1": "1",
        "city": "C",
        "country": country,
    }
    cart, shopper = shop.cart((shop.product(), 1))
    shopper.post("/checkout/complete", completion(cart, shipping_address=address))


def test_answers_are_forgotten_after_a_day(shop: Running) -> None:
    key = str(uuid4())
    shop.guest.post("/carts/guest", {}, Idempotency_Key=key)
    shop.query(
        "update idempotency_key set created_at = now() - interval '25 hours' where key = %s", key
    )
    until(lambda: shop.query("select 1 from idempotency_key where key = %s", key) == [])
