"""Many at once, and crashes: nothing is sold twice, charged twice or lost."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest

from conftest import Running, completion
from rcommerce.lab.ledger import ADDRESS


def movements(shop: Running, product: dict[str, Any]) -> tuple[int, int]:
    """The sums of a variant's movements: they must be its level."""
    row = shop.query(
        "select sum(on_hand_change), sum(reserved_change) from inventory_movement"
        " where variant_id = %s",
        product["variants"][0]["id"],
    )[0]
    return int(row[0]), int(row[1])


def test_200_buyers_of_10_units_leave_10_orders_and_no_unit(shop: Running) -> None:
    product = shop.product(stock=10)
    carts = [shop.cart((product, 1)) for _ in range(200)]
    gate = threading.Barrier(40)

    def buy(number: int) -> int:
        if number < 40:
            gate.wait()
        cart, shopper = carts[number]
        while True:
            answer = shopper("POST", "/checkout/complete", completion(cart))
            if answer.status_code != 503:  # busy: as a client would, try again
                return answer.status_code
            time.sleep(0.2)

    with ThreadPoolExecutor(40) as buyers:
        outcomes = list(buyers.map(buy, range(200)))
    assert sorted(set(outcomes)) == [201, 409]
    assert outcomes.count(201) == 10
    assert shop.stock(product) == (0, 0)
    assert movements(shop, product) == (0, 0)
    variant = product["variants"][0]["id"]
    sold = shop.query(
        "select count(*), sum(i.quantity) from order_item i join sales_order o on o.id = i.order_id"
        " where i.variant_id = %s and o.status <> 'cancelled'",
        variant,
    )
    assert sold == [(10, 10)]
    assert shop.query("select count(*) from reservation where variant_id = %s", variant) == [(0,)]


def test_the_same_key_sent_50_times_at_once_leaves_one_order_and_50_equal_answers(
    shop: Running,
) -> None:
    product = shop.product(stock=60)
    cart, shopper = shop.cart((product, 1))
    key = str(uuid4())

    def complete(_: int) -> httpx.Response:
        return shopper("POST", "/checkout/complete", completion(cart), Idempotency_Key=key)

    with ThreadPoolExecutor(50) as clients:
        answers = list(clients.map(complete, range(50)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert shop.stock(product) == (59, 0)
    orders = shop.query("select id from sales_order where cart_id = %s", cart)
    assert len(orders) == 1
    assert shop.query("select count(*) from payment where order_id = %s", orders[0][0]) == [(1,)]
    reused = shopper("POST", "/checkout/complete", completion(cart, notes="x"), Idempotency_Key=key)
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")


def test_the_same_key_books_goods_in_once(shop: Running) -> None:
    product = shop.product(stock=0)
    body = {"variant_id": product["variants"][0]["id"], "quantity": 7}
    key = str(uuid4())

    def receive(_: int) -> httpx.Response:
        return shop.staff("POST", "/inventory/receive", body, Idempotency_Key=key)

    with ThreadPoolExecutor(20) as clients:
        answers = list(clients.map(receive, range(20)))
    assert {(each.status_code, each.content) for each in answers} == {(200, answers[0].content)}
    assert shop.stock(product) == (7, 0)


def test_an_error_keeps_no_answer_so_that_the_key_may_try_again(shop: Running) -> None:
    product = shop.product(stock=0)
    cart, shopper = shop.cart((product, 1))
    key = str(uuid4())
    shopper("POST", "/checkout/complete", completion(cart), expect=409, Idempotency_Key=key)
    stocked = {"variant_id": product["variants"][0]["id"], "quantity": 1}
    shop.staff.post("/inventory/receive", stocked, 200)
    shopper("POST", "/checkout/complete", completion(cart), expect=201, Idempotency_Key=key)


def test_two_guests_with_the_same_key_never_get_each_others_answer(shop: Running) -> None:
    product = shop.product()
    first, second = shop.cart((product, 1)), shop.cart((product, 1))
    tokens = set()
    for cart, shopper in (first, second):
        answer = shopper.post("/checkout/complete", completion(cart), Idempotency_Key="the-same")
        tokens.add(answer["order"]["id"])
    assert len(tokens) == 2
    short = shop.guest("POST", "/carts/guest", {}, expect=400, Idempotency_Key="guessable")
    assert short.json()["errors"][0]["field"] == "Idempotency-Key"


def test_a_few_hundred_at_once_are_no_overload(shop: Running) -> None:
    """They wait for a moment, as long as that is all that they have to wait for."""
    shop.product()
    gate = threading.Barrier(60)

    def come(number: int) -> list[int]:
        with httpx.Client(timeout=60) as client:
            client.get(f"{shop.guest.url}/health")
            gate.wait()
            return [
                client.get(
                    f"{shop.guest.url}/api/v1/products", params={"vendor": uuid4().hex}
                ).status_code
                if number % 2
                else client.post(f"{shop.guest.url}/api/v1/carts/guest", json={}).status_code
                for _ in range(4)
            ]

    with ThreadPoolExecutor(60) as clients:
        statuses = [status for each in clients.map(come, range(60)) for status in each]
    assert set(statuses) == {200, 201}


def test_carts_of_the_same_goods_in_any_order_never_deadlock(shop: Running) -> None:
    goods = [shop.product(stock=500) for _ in range(4)]
    carts = []
    for number in range(32):
        turned = goods[number % 4 :] + goods[: number % 4]
        carts.append(shop.cart(*((each, 1) for each in turned)))

    def buy(item: tuple[str, Any]) -> int:
        cart, shopper = item
        return int(shopper("POST", "/checkout/complete", completion(cart)).status_code)

    with ThreadPoolExecutor(16) as buyers:
        assert set(buyers.map(buy, carts)) == {201}
    assert {shop.stock(each) for each in goods} == {(468, 0)}


def undisturbed_s(shop: Running, product: dict[str, Any]) -> float:
    """How long a checkout takes here, the client's own work included."""
    cart, shopper = shop.cart((product, 1))
    begun = time.monotonic()
    shopper.post("/checkout/complete", completion(cart), Idempotency_Key=str(uuid4()))
    return time.monotonic() - begun


KILLS, MOST_KILLS = 6, 30


@pytest.mark.timeout(300)
def test_a_crash_anywhere_in_checkout_then_a_retry_leaves_one_order_and_one_charge(
    own_shop: Running,
) -> None:
    """kill -9 at any moment, so that it falls on each of the steps at some time. One that came
    after the answer says how long a checkout takes at the most. A coupon and a gift card are used
    once, too."""
    shop = own_shop
    product = shop.product(stock=1000)
    limited = {"code": "CRASH", "type": "fixed_amount", "value": "1.00", "usage_limit": 1000}
    coupon = shop.staff.post("/coupons", limited)["coupon"]["id"]
    whole_s = undisturbed_s(shop, product)
    landed = {"before": 0, "within": 0, "after": 0}
    for number in range(MOST_KILLS):
        if number >= KILLS and landed["within"]:
            break
        cart, shopper = shop.cart((product, 1))
        card = shop.staff.post("/gift-cards", {"amount": "4.00"})["gift_card"]
        shopper.post(f"/carts/{cart}/gift-cards", {"code": card["code"]}, 200)
        shopper.post(f"/carts/{cart}/coupon", {"coupon_code": "crash"}, 200)
        key = str(uuid4())
        answered: list[int] = []

        def complete(
            shopper: Any = shopper, cart: str = cart, key: str = key, answered: Any = answered
        ) -> None:
            try:
                sent = shopper("POST", "/checkout/complete", completion(cart), Idempotency_Key=key)
                answered.append(sent.status_code)
            except httpx.HTTPError:
                pass

        client = threading.Thread(target=complete)
        client.start()
        moment_s = random.uniform(0, whole_s)
        time.sleep(moment_s)
        shop.server.kill()
        client.join()
        rows = shop.query("select status from sales_order where cart_id = %s", cart)
        state = "after" if answered else "within" if rows else "before"
        landed[state] += 1
        if state == "after":
            whole_s = moment_s
        shop.server.start()
        if number % 5:  # who comes back at once waits until the first is known to be gone
            later = "update idempotency_key set created_at = now() - interval '6 s' where key = %s"
            shop.query(later, key)
        done = shopper.post("/checkout/complete", completion(cart), Idempotency_Key=key)
        assert done["order"]["payment_status"] == "paid"
        orders = shop.query("select id from sales_order where cart_id = %s", cart)
        assert len(orders) == 1
        charges = shop.query(
            "select amount::text from test_gateway_charge where idempotency_key in"
            " (select id::text from payment where order_id = %s)",
            orders[0][0],
        )
        assert charges == [("20.00",)]  # with shipping, without the coupon and the card
        found = shop.staff.get(f"/coupons/{coupon}")["coupon"]
        assert found["usage_count"] == number + 1
        assert shop.staff.get(f"/gift-cards/{card['id']}")["gift_card"]["balance"] == "0.00"
        assert shop.stock(product) == (999 - number - 1, 0)
    assert movements(shop, product) == (999 - sum(landed.values()), 0)
    assert landed["within"] > 0, f"no crash fell inside a checkout: {landed}"


def test_a_shop_without_its_database_says_so_and_comes_back(own_shop: Running) -> None:
    from rcommerce.database import embedded

    shop = own_shop
    product = shop.product()
    embedded.kill(shop.server.data_dir / "postgres")
    refused = shop.guest("GET", f"/products/{product['id']}", expect=503)
    assert refused.headers["Retry-After"]
    shop.guest("POST", "/carts/guest", {}, expect=503)
    assert httpx.get(f"{shop.server.url}/health/ready", timeout=20).status_code == 503
    assert httpx.get(f"{shop.server.url}/health", timeout=5).status_code == 200
    with embedded.EmbeddedPostgres(shop.server.data_dir / "postgres"):
        deadline = time.monotonic() + 30
        while shop.guest("GET", f"/products/{product['id']}").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        cart, shopper = shop.cart((product, 1))
        shopper.post("/checkout/initiate", {"cart_id": cart, "shipping_address": ADDRESS}, 200)
