"""The load of a shop's day: most look at products, by popularity; some search; few buy."""

import random
import uuid
from collections import deque
from collections.abc import Sequence
from itertools import accumulate

import msgspec

from rcommerce.bench.load import get, post
from rcommerce.bench.open_load import Request
from rcommerce.lab.ledger import ADDRESS

DETAIL, LISTS, CARTS = 0.70, 0.85, 0.95  # of all requests up to each; the rest are checkouts
SEARCHES = ("shirt", "chair", "lamp", "mug", "walnut", "linen", "knife", "bowl")
ZIPF = 1.0  # the exponent of popularity
QUEUES = 500  # most carts that wait for their next step


class Shoppers:
    """`pick` gives the next request. Products are picked by Zipf's law: of 100,000 the first is
    viewed 100,000 times as often as the last."""

    def __init__(self, goods: Sequence[tuple[str, str]]) -> None:
        """`goods` are products with a variant each, most popular first."""
        self._goods = list(goods)
        self._weights = list(accumulate(1 / n**ZIPF for n in range(1, len(goods) + 1)))
        self._requests = [get(f"/api/v1/products/{product}") for product, _ in goods]
        self._empty: deque[tuple[str, str]] = deque(maxlen=QUEUES)
        self._full: deque[tuple[str, str]] = deque(maxlen=QUEUES)

    def product(self, number: int) -> bytes:
        """The request for a product, by its popularity."""
        return self._requests[number]

    def pick(self) -> Request:
        """The next."""
        chance = random.random()
        if chance < DETAIL:
            return Request("detail", random.choices(self._requests, cum_weights=self._weights)[0])
        if chance < LISTS:
            return Request("list", self._list())
        if chance >= CARTS and self._full:
            return self._complete()
        return self._add() if self._empty and random.random() < 0.5 else self._create()

    def _list(self) -> bytes:
        if random.random() < 0.3:
            return get(f"/api/v1/products?q={random.choice(SEARCHES)}&per_page=20")
        page = min(20, int(random.paretovariate(1.2)))
        return get(f"/api/v1/products?per_page=20&page={page}")

    def _create(self) -> Request:
        def then(body: bytes) -> None:
            cart = msgspec.json.decode(body)["cart"]
            self._empty.append((cart["id"], cart["session_token"]))

        return Request("cart", post("/api/v1/carts/guest", b"{}"), then)

    def _add(self) -> Request:
        cart, token = self._empty.popleft()
        product, variant = random.choices(self._goods, cum_weights=self._weights)[0]
        line = {"product_id": product, "variant_id": variant, "quantity": 1}

        def then(_: bytes) -> None:
            self._full.append((cart, token))

        headers = f"X-Cart-Token: {token}\r\n"
        at = f"/api/v1/carts/{cart}/items"
        return Request("cart", post(at, msgspec.json.encode(line), headers), then)

    def _complete(self) -> Request:
        cart, token = self._full.popleft()
        order = {
            "cart_id": cart,
            "shipping_address": ADDRESS,
            "payment_method": {"type": "card", "gateway_id": "test", "token": "tok_approve"},
            "customer_email": "ada@example.com",
        }
        headers = f"X-Cart-Token: {token}\r\nIdempotency-Key: {uuid.uuid4()}\r\n"
        at = "/api/v1/checkout/complete"
        return Request("checkout", post(at, msgspec.json.encode(order), headers))
