"""A limited coupon over two instances: it is used as often as it may be, whoever comes at once and
whatever is killed."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from conftest import Running, completion, eventually
from rcommerce.lab import settings
from rcommerce.lab.ledger import ADDRESS
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.server import Server
from topology.conftest import FAST, server_for, shop_on

USES = 100


@dataclass
class Two:
    """Two instances of one shop."""

    shop: Running
    servers: list[Server]


@pytest.fixture
def two(request: pytest.FixtureRequest, own_folder: Path) -> Iterator[Two]:
    ttl = {"RCOMMERCE_CHECKOUT__RESERVATION_TTL_SECS": request.param}
    with Postgres(own_folder / "primary", settings=FAST) as primary:
        first, second = (
            server_for(own_folder / name, settings.database(primary), **ttl)
            for name in ("first", "second")
        )
        with shop_on(first) as shop:
            shop.dsn = primary.conninfo("postgres")
            try:
                second.start()
                yield Two(shop, [first, second])
            finally:
                second.kill()


def limited(shop: Running, uses: int) -> str:
    body = {"code": f"L{uuid4().hex[:8]}", "type": "percentage", "value": "10"}
    made = shop.staff.post("/coupons", {**body, "usage_limit": uses})["coupon"]
    return str(made["code"])


def in_books(shop: Running) -> tuple[int, int, int]:
    """(what is counted, redemptions that hold, orders with a discount that are not cancelled)."""
    [row] = shop.query(
        """
        select (select coalesce(sum(used), 0)::int from promotion_use where key = ''),
               (select count(*)::int from redemption where released_at is null),
               (select count(*)::int from sales_order
                 where discount_total > 0 and status <> 'cancelled')
        """
    )
    return row[0], row[1], row[2]


@pytest.mark.parametrize("two", ["600"], indirect=True)
def test_of_a_thousand_buyers_at_once_a_hundred_get_it(two: Two) -> None:
    code, product = limited(two.shop, USES), two.shop.product(stock=10_000)
    body = {
        "items": [{"product_id": product["id"], "quantity": 1}],
        "shipping_address": ADDRESS,
        "coupon_code": code,
    }

    def buy(number: int) -> str:
        url = f"{two.servers[number % 2].url}/api/v1/orders"
        order = {**body, "customer_email": f"b{number}@example.com"}
        answer = httpx.post(url, json=order, timeout=60)
        return "placed" if answer.status_code == 201 else str(answer.json()["code"])

    with ThreadPoolExecutor(32) as many:
        found = Counter(many.map(buy, range(1_000)))
    assert found == {"placed": USES, "coupon_usage_limit": 1_000 - USES}
    assert in_books(two.shop) == (USES, USES, USES)


@pytest.mark.parametrize("two", ["3"], indirect=True)
def test_whatever_is_killed_each_use_has_its_order(two: Two) -> None:
    """Between the use and the payment, too: what is never paid gives its use back."""
    code, product = limited(two.shop, 40), two.shop.product(stock=10_000)
    ending = time.monotonic() + 12

    def buy(number: int) -> None:
        chance = random.Random(number)
        while time.monotonic() < ending:
            url = f"{two.servers[chance.randrange(2)].url}/api/v1"
            try:
                with httpx.Client(base_url=url, timeout=10) as client:
                    checkout(client, chance, number)
            except (httpx.HTTPError, KeyError):
                time.sleep(0.05)

    def checkout(client: httpx.Client, chance: random.Random, number: int) -> None:
        cart: dict[str, Any] = client.post("/carts/guest").json()["cart"]
        client.headers["X-Cart-Token"] = cart["session_token"]
        line = {"product_id": product["id"], "quantity": 1}
        client.post(f"/carts/{cart['id']}/items", json=line)
        client.post(f"/carts/{cart['id']}/coupon", json={"coupon_code": code})
        token = chance.choice(["tok_approve", "tok_decline", "tok_delay"])
        body = completion(cart["id"], token, customer_email=f"b{number}@example.com")
        done = client.post("/checkout/complete", json=body)
        if done.status_code == 201 and chance.random() < 0.5:
            order = done.json()
            opened = {"X-Order-Token": order["order_token"]}
            client.post(f"/orders/{order['order']['id']}/cancel", json={}, headers=opened)

    with ThreadPoolExecutor(8) as many:
        buying = [many.submit(buy, number) for number in range(8)]
        for number in range(6):
            time.sleep(1.5)
            two.servers[number % 2].kill()
            two.servers[number % 2].start()
        for each in buying:
            each.result()

    def is_settled() -> bool:
        [[open_]] = two.shop.query("select count(*) from sales_order where status = 'pending'")
        return bool(open_ == 0)

    eventually(is_settled, timeout_s=60, every_s=0.5)
    counted, held, orders = in_books(two.shop)
    assert counted == held == orders
    assert 0 < orders <= 40
