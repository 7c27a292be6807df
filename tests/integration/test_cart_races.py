"""Each change of a cart beside its checkout, on two instances: the order is what the cart was.

Whatever was answered with 2xx is in the order, whatever came after the order is refused, and the
cart shows what its order does. A race is run often enough to fail without the lock: one in two or
three did. `RACES=200` runs more.
"""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from uuid import uuid4

import httpx
import pytest

from conftest import Fleet, Running, completion
from rcommerce.lab.ledger import ADDRESS
from rcommerce.lab.server import Server

RACES = int(os.environ.get("RACES", "20"))
AT_ONCE = 8
OTHER_ADDRESS = {**ADDRESS, "city": "Leeds", "zip": "LS1 4DY"}
Json = dict[str, Any]


@pytest.fixture(scope="module")
def instances(fleet: Fleet) -> Iterator[tuple[str, str]]:
    """The addresses of two instances of one shop."""
    server = fleet.shop.server
    with Server(server.data_dir / "beside", settings=server.settings) as second:
        yield server.url, second.url


@dataclass
class Cart:
    """A cart with two lines, as one who may open it sees it, through either instance."""

    id: str
    token: str
    client: httpx.AsyncClient
    bases: tuple[str, str]
    headers: dict[str, str]

    async def send(
        self, method: str, path: str, body: Any = None, instance: int = 0
    ) -> httpx.Response:
        """A request by who holds the cart."""
        url = f"{self.bases[instance]}/api/v1{path}"
        return await self.client.request(method, url, json=body, headers=self.headers)

    async def items(self) -> list[Json]:
        """Its lines, for each its id, variant, quantity, price."""
        answer = await self.send("GET", f"/carts/{self.id}")
        assert answer.status_code == 200, answer.text
        found: list[Json] = answer.json()["items"]
        return found


def lines(items: list[Json], price: str) -> set[tuple[str, int, str]]:
    """What the lines of a cart or an order come to."""
    return {(each["variant_id"], each["quantity"], each[price]) for each in items}


@dataclass
class Track:
    """Where the races are run: two instances, three products."""

    client: httpx.AsyncClient
    bases: tuple[str, str]
    products: list[Json]
    customers: list[Cart] = field(default_factory=list)

    async def cart(self) -> Cart:
        """A guest's cart with two units of one product and one of another."""
        made = await self.client.post(f"{self.bases[0]}/api/v1/carts/guest", json={})
        assert made.status_code == 201, made.text
        found = made.json()["cart"]
        headers = {"X-Cart-Token": found["session_token"]}
        cart = Cart(found["id"], found["session_token"], self.client, self.bases, headers)
        for number, quantity in ((0, 2), (1, 1)):
            await self.put(cart, number, quantity)
        return cart

    async def put(
        self, cart: Cart, number: int, quantity: int, instance: int = 0
    ) -> httpx.Response:
        """Puts units of one of the products into a cart."""
        line = {
            "product_id": self.products[number]["id"],
            "variant_id": self.variant(number),
            "quantity": quantity,
        }
        return await cart.send("POST", f"/carts/{cart.id}/items", line, instance)

    def variant(self, number: int) -> str:
        """The variant of one of the products."""
        return str(self.products[number]["variants"][0]["id"])

    async def customer(self) -> Cart:
        """One who is logged in, with an empty cart of their own; to be given back."""
        if not self.customers:
            person = {
                "email": f"{uuid4().hex}@example.com",
                "password": "correct horse battery",
                "first_name": "Ada",
                "last_name": "Lovelace",
            }
            made = await self.client.post(f"{self.bases[0]}/api/v1/auth/register", json=person)
            assert made.status_code == 201, made.text
            headers = {"Authorization": f"Bearer {made.json()['access_token']}"}
            self.customers.append(Cart("", "", self.client, self.bases, headers))
        found = self.customers.pop()
        found.id = (await found.send("GET", "/carts/me")).json()["cart"]["id"]
        await found.send("DELETE", f"/carts/{found.id}/items")
        return found


async def bought(cart: Cart) -> Json | None:
    """The order of a cart: what was changed meanwhile has been shown, and is agreed to. None where
    the cart has gone into another."""
    for _ in range(3):
        answer = await cart.send("POST", "/checkout/complete", completion(cart.id))
        if answer.status_code == 201:
            order: Json = answer.json()["order"]
            return order
        code = answer.json()["code"]
        if code == "cart_merged":
            return None
        assert code == "price_changed", answer.text
    raise AssertionError("the cart is never what it was shown")


async def beside(cart: Cart, change: Callable[[], Awaitable[httpx.Response]]) -> Any:
    """(the order, the answer to what came beside it), begun within some milliseconds."""

    async def late(what: Awaitable[Any]) -> Any:
        await asyncio.sleep(random.uniform(0, 0.006))
        return await what

    order, answer = await asyncio.gather(late(bought(cart)), late(change()))
    if answer.status_code >= 400:
        assert answer.json()["code"] == "cart_closed", answer.text
    return order, answer


def run(instances: tuple[str, str], shop: Running, race: Callable[[Track], Awaitable[bool]]) -> int:
    """Runs the races, some at a time; how often the change came first."""
    products = [shop.product(stock=100_000) for _ in range(3)]

    async def all_of_them() -> int:
        limits = httpx.Limits(max_connections=4 * AT_ONCE)
        nothing = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        async with httpx.AsyncClient(timeout=60, limits=limits, cookies=nothing) as client:
            track = Track(client, instances, products)
            turn = asyncio.Semaphore(AT_ONCE)

            async def one() -> bool:
                async with turn:
                    return await race(track)

            return sum(await asyncio.gather(*(one() for _ in range(RACES))))

    return asyncio.run(all_of_them())


async def agree(cart: Cart, order: Json) -> None:
    """A cart and its order show the same lines and totals."""
    answer = await cart.send("GET", f"/carts/{cart.id}", instance=1)
    found = answer.json()
    assert found["cart"]["status"] == "ordered"
    assert lines(found["items"], "unit_price") == lines(order["items"], "price")
    sums = ("subtotal", "discount_total", "tax_total", "shipping_total", "total")
    assert [found["cart"][name] for name in sums] == [order[name] for name in sums]


def quantities(order: Json) -> dict[str, int]:
    """Units by variant, of an order or a cart."""
    return {str(each["variant_id"]): int(each["quantity"]) for each in order["items"]}


def test_an_item_that_was_added_is_in_the_order(fleet: Fleet, instances: tuple[str, str]) -> None:
    async def race(track: Track) -> bool:
        cart = await track.cart()
        order, added = await beside(cart, lambda: track.put(cart, 2, 1, instance=1))
        assert (added.status_code == 201) == (track.variant(2) in quantities(order))
        await agree(cart, order)
        return bool(added.status_code == 201)

    assert run(instances, fleet.shop, race) > 0


def test_a_quantity_that_was_changed_is_the_orders(
    fleet: Fleet, instances: tuple[str, str]
) -> None:
    async def race(track: Track) -> bool:
        cart = await track.cart()
        item = (await cart.items())[1]
        path = f"/carts/{cart.id}/items/{item['id']}"
        order, changed = await beside(cart, lambda: cart.send("PUT", path, {"quantity": 5}, 1))
        expected = 5 if changed.status_code == 200 else 1
        assert quantities(order)[item["variant_id"]] == expected
        await agree(cart, order)
        return bool(changed.status_code == 200)

    assert run(instances, fleet.shop, race) > 0


def test_nobody_is_charged_for_an_item_that_was_taken_out(
    fleet: Fleet, instances: tuple[str, str]
) -> None:
    async def race(track: Track) -> bool:
        cart = await track.cart()
        item = (await cart.items())[1]
        path = f"/carts/{cart.id}/items/{item['id']}"
        order, gone = await beside(cart, lambda: cart.send("DELETE", path, None, 1))
        assert (gone.status_code == 200) == (item["variant_id"] not in quantities(order))
        await agree(cart, order)
        return bool(gone.status_code == 200)

    assert run(instances, fleet.shop, race) > 0


def test_a_coupon_is_in_the_order_or_refused(fleet: Fleet, instances: tuple[str, str]) -> None:
    code = f"R{uuid4().hex[:10]}"
    fleet.shop.staff.post("/coupons", {"code": code, "type": "percentage", "value": "10"})

    async def race(track: Track) -> bool:
        cart = await track.cart()
        path = f"/carts/{cart.id}/coupon"
        order, answer = await beside(
            cart, lambda: cart.send("POST", path, {"coupon_code": code}, 1)
        )
        await agree(cart, order)
        assert (answer.status_code == 200) == (order["discount_total"] != "0.00")
        after = await cart.send("POST", path, {"coupon_code": code})
        assert (after.status_code, after.json()["code"]) == (409, "cart_closed")
        return bool(answer.status_code == 200)

    assert run(instances, fleet.shop, race) > 0


@pytest.mark.parametrize("what", ["address", "shipping"])
def test_a_step_of_the_checkout_is_in_the_order(
    fleet: Fleet, instances: tuple[str, str], what: str
) -> None:
    async def race(track: Track) -> bool:
        cart = await track.cart()
        begin: Json = {"cart_id": cart.id, "shipping_address": ADDRESS}
        begun = await cart.send("POST", "/checkout/initiate", begin)
        assert begun.status_code == 200, begun.text
        path, body = "/checkout/initiate", {**begin, "shipping_address": OTHER_ADDRESS}
        if what == "shipping":
            path, body = "/checkout/shipping", {"cart_id": cart.id, "service_code": "express"}
        order, answer = await beside(cart, lambda: cart.send("POST", path, body, 1))
        if what == "shipping":
            assert (answer.status_code == 200) == (order["shipping_service"] == "express")
        await agree(cart, order)
        return bool(answer.status_code == 200)

    assert run(instances, fleet.shop, race) > 0


def test_a_cart_is_merged_or_ordered(fleet: Fleet, instances: tuple[str, str]) -> None:
    async def race(track: Track) -> bool:
        cart, customer = await track.cart(), await track.customer()
        merge = {"session_token": cart.token}
        order, merged = await beside(cart, lambda: customer.send("POST", "/carts/merge", merge, 1))
        assert (merged.status_code == 200) == (order is None)
        after = await cart.send("GET", f"/carts/{cart.id}")
        if order is None:
            assert (after.status_code, after.json()["code"]) == (410, "cart_merged")
            own = lines(merged.json()["items"], "unit_price")
            assert {(track.variant(0), 2), (track.variant(1), 1)} == {each[:2] for each in own}
        else:
            await agree(cart, order)
        track.customers.append(customer)
        return order is None

    assert run(instances, fleet.shop, race) > 0


def test_a_merge_into_a_cart_that_is_ordered_loses_nothing(
    fleet: Fleet, instances: tuple[str, str]
) -> None:
    async def race(track: Track) -> bool:
        guest, own = await track.cart(), await track.customer()
        await track.put(own, 2, 1)
        merge = {"session_token": guest.token}
        order, merged = await beside(own, lambda: own.send("POST", "/carts/merge", merge, 1))
        assert merged.status_code == 200, merged.text
        await agree(own, order)
        left = (await own.send("GET", "/carts/me")).json()
        kept = quantities(left)
        assert left["cart"]["id"] != own.id
        everything = {track.variant(0): 2, track.variant(1): 1, track.variant(2): 1}
        assert quantities(order) | kept == everything
        assert not quantities(order).keys() & kept.keys()
        track.customers.append(own)
        return not kept

    assert run(instances, fleet.shop, race) > 0
