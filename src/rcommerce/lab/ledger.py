"""Buyers with records of their own: what the shop has acknowledged, whatever happens to it.

Each buyer places one order after another, with an Idempotency-Key each, and repeats a request until
it is answered. Afterwards the records are compared with the database.
"""

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType
from typing import Any

import httpx

ADDRESS = {
    "first_name": "Ada",
    "last_name": "Lovelace",
    "address1": "12 St James's Square",
    "city": "London",
    "zip": "SW1Y 4JH",
    "country": "GB",
}


# The connection broke, the same request is in progress, or the server cannot do it now: a load
# balancer whose instance failed returns 502, or 504 after its timeout.
UNANSWERED = frozenset({0, 409, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Purchase:
    """A buyer's request, repeated until it is answered."""

    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


# Prepares the next purchase of one unit, given a cart line of the product; None if the shop could
# not do its part now.
Prepare = Callable[[httpx.Client, str, Mapping[str, Any]], Purchase | None]


def order_at_once(client: httpx.Client, url: str, line: Mapping[str, Any]) -> Purchase:
    """An order without a cart, to be paid by invoice."""
    body = {"items": [line], "shipping_address": ADDRESS, "customer_email": "ada@example.com"}
    return Purchase("/api/v1/orders", body)


def checkout_by_card(token: str) -> Prepare:
    """A guest's cart, paid with a card of the test gateway."""

    def prepare(client: httpx.Client, url: str, line: Mapping[str, Any]) -> Purchase | None:
        try:
            made = client.post(f"{url}/api/v1/carts/guest", json={})
            if made.status_code != 201:
                return None
            cart = made.json()["cart"]
            headers = {"X-Cart-Token": cart["session_token"]}
            into = f"{url}/api/v1/carts/{cart['id']}/items"
            if client.post(into, json=line, headers=headers).status_code != 201:
                return None
        except httpx.TransportError:
            return None
        body = {
            "cart_id": cart["id"],
            "shipping_address": ADDRESS,
            "payment_method": {"type": "card", "gateway_id": "test", "token": token},
            "customer_email": "ada@example.com",
        }
        return Purchase("/api/v1/checkout/complete", body, headers)

    return prepare


@dataclass(slots=True)
class Attempt:
    """One request: when it was sent and answered (monotonic seconds), and its status; 0 if the
    connection broke."""

    sent: float
    answered: float
    status: int

    @property
    def took_s(self) -> float:
        """How long the answer took."""
        return self.answered - self.sent


@dataclass(slots=True)
class Ledger:
    """The buyers' records."""

    acknowledged: list[str] = field(default_factory=list)  # the ids of orders
    attempts: list[Attempt] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # unexpected responses

    def longest_gap_s(self, status: int = 201) -> float:
        """The longest time without an acknowledged order."""
        times = sorted(each.answered for each in self.attempts if each.status == status)
        return max((b - a for a, b in pairwise(times)), default=0.0)


PAUSE_S = 0.02  # seconds between two orders of a buyer


class Buyers(AbstractContextManager["Buyers"]):
    """So many buyers of one product, inside `with`.

    `url` is called for every request.
    """

    def __init__(
        self,
        url: Callable[[], str],
        product: Mapping[str, Any],
        *,
        count: int = 4,
        headers: Mapping[str, str] | None = None,
        prepare: Prepare = order_at_once,
    ) -> None:
        self.ledger = Ledger()
        self._prepare = prepare
        self._url = url
        self._line = {
            "product_id": product["id"],
            "variant_id": product["variants"][0]["id"],
            "quantity": 1,
        }
        self._headers = dict(headers or {})
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._buy, daemon=True) for _ in range(count)]

    def __enter__(self) -> "Buyers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(60)

    def await_orders(self, more: int, timeout_s: float = 30.0) -> None:
        """Waits for so many more acknowledged orders. Raises TimeoutError."""
        wanted = len(self.ledger.acknowledged) + more
        deadline = time.monotonic() + timeout_s
        while len(self.ledger.acknowledged) < wanted:
            if time.monotonic() > deadline:
                last = self.ledger.attempts[-1].status if self.ledger.attempts else None
                raise TimeoutError(f"{more} orders did not come; the last status was {last}")
            time.sleep(0.01)

    def _buy(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._ending.is_set():
                self._order(client)
                self._ending.wait(PAUSE_S)

    def _order(self, client: httpx.Client) -> None:
        purchase = self._prepare(client, self._url(), self._line)
        if purchase is None:
            time.sleep(0.05)
            return
        headers = {**self._headers, **purchase.headers, "Idempotency-Key": str(uuid.uuid4())}
        # An order in progress is finished, so that its result is known.
        for _ in range(600):
            sent = time.monotonic()
            status, answer = 0, None
            try:
                answer = client.post(
                    f"{self._url()}{purchase.path}", json=purchase.body, headers=headers
                )
                status = answer.status_code
            except httpx.TransportError:
                pass
            self.ledger.attempts.append(Attempt(sent, time.monotonic(), status))
            if answer is not None and status == 201:
                reported = answer.json()
                self.ledger.acknowledged.append(reported.get("order", reported)["id"])
                return
            if status not in UNANSWERED:
                self.ledger.faults.append(f"{status}: {answer.text[:500] if answer else ''}")
                return
            time.sleep(0.05)
        self.ledger.faults.append("an order was not answered in 600 attempts")
