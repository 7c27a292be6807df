"""The API against a plain model of a shop: carts, coupons, gift cards, orders, cancellations and
refunds in any order, and every sum compared after each step."""

from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from conftest import Api, Running, completion, other_shop

PRICES = ("19.99", "0.05", "7.00")
CENT = Decimal("0.01")
SHIPPING = Decimal("5.00")
USES = 3


@dataclass
class Coupon:
    """A coupon, and how often it may still be used."""

    code: str
    kind: str
    value: Decimal
    id: str = ""
    used: int = 0


@dataclass
class Card:
    """A gift card, and what is left on it."""

    id: str
    code: str
    balance: Decimal


@dataclass
class Cart:
    """A cart as its buyer sees it."""

    id: str
    by: Api
    quantities: dict[int, int] = field(default_factory=dict)
    coupon: Coupon | None = None
    cards: list[Card] = field(default_factory=list)

    def discounts(self) -> dict[int, Decimal]:
        """What the coupon takes off each line."""
        whole = {number: PRICE[number] * count for number, count in self.quantities.items()}
        if self.coupon is None or self.coupon.used >= USES:
            return dict.fromkeys(whole, Decimal("0.00"))
        if self.coupon.kind == "percentage":
            return {
                number: (amount * self.coupon.value / 100).quantize(CENT, ROUND_HALF_EVEN)
                for number, amount in whole.items()
            }
        return _shared(min(self.coupon.value, sum(whole.values(), Decimal(0))), whole)

    def total(self) -> Decimal:
        """What its lines cost."""
        whole = sum((PRICE[n] * count for n, count in self.quantities.items()), Decimal("0.00"))
        return whole - sum(self.discounts().values(), Decimal("0.00"))

    def paid_by_cards(self, due: Decimal) -> dict[str, Decimal]:
        """What each card pays of an amount."""
        paid = {}
        for card in self.cards:
            paid[card.id] = min(card.balance, due)
            due -= paid[card.id]
        return paid


PRICE = [Decimal(price) for price in PRICES]


def _shared(amount: Decimal, whole: dict[int, Decimal]) -> dict[int, Decimal]:
    """An amount over lines, by the largest remainder; of equal ones the line that came first."""
    every = sum(whole.values(), Decimal(0))
    if not every:
        return dict.fromkeys(whole, Decimal("0.00"))
    exact = {
        n: Fraction(amount * 100) * Fraction(part) / Fraction(every) for n, part in whole.items()
    }
    shares = {n: int(share) for n, share in exact.items()}
    left = int(amount * 100) - sum(shares.values())
    for number in sorted(exact, key=lambda n: shares[n] - exact[n])[:left]:
        shares[number] += 1
    return {number: Decimal(share) * CENT for number, share in shares.items()}


@dataclass
class Order:
    """An order as its buyer sees it."""

    id: str
    by: Api
    quantities: dict[int, int]
    coupon: Coupon | None
    items: dict[int, str]
    paid: dict[int, Decimal]  # of each line
    charged: Decimal  # through the gateway, and not refunded
    by_card: dict[str, Decimal]  # the same of cards
    shipping: Decimal = SHIPPING
    refunded: dict[int, int] = field(default_factory=dict)

    def left(self) -> Decimal:
        """What is not refunded."""
        return self.charged + sum(self.by_card.values(), Decimal(0))

    def units_cost(self, number: int, units: int) -> Decimal:
        """What the next `units` of a line get back."""
        cents, every = int(self.paid[number] * 100), self.quantities[number]
        before = self.refunded.get(number, 0)
        return (cents * (before + units) // every - cents * before // every) * CENT


class Shop(RuleBasedStateMachine):
    """`guest`, `staff` and `products` are of a shop of its own."""

    guest: ClassVar[Api]
    staff: ClassVar[Api]
    products: ClassVar[list[dict[str, Any]]]
    carts = Bundle("carts")
    orders = Bundle("orders")

    def __init__(self) -> None:
        super().__init__()
        self.coupons = [
            self._coupon("percentage", Decimal("12.5")),
            self._coupon("fixed_amount", Decimal("5.00")),
        ]
        self.cards = [self._card("30.00"), self._card("8.00")]
        self.sold = dict.fromkeys(range(len(PRICES)), 0)
        self.before = [self._stock(number) for number in range(len(PRICES))]

    def _coupon(self, kind: str, value: Decimal) -> Coupon:
        made = Coupon(f"M{uuid4().hex[:10]}", kind, value)
        body = {"code": made.code, "type": kind, "value": str(value), "usage_limit": USES}
        made.id = self.staff.post("/coupons", body)["coupon"]["id"]
        return made

    def _card(self, amount: str) -> Card:
        made = self.staff.post("/gift-cards", {"amount": amount})["gift_card"]
        return Card(made["id"], made["code"], Decimal(amount))

    def _stock(self, number: int) -> int:
        variant = self.products[number]["variants"][0]["id"]
        levels = self.staff.get(f"/inventory/{variant}")["levels"]
        return sum(level["on_hand"] for level in levels)

    @rule(target=carts)
    def new_cart(self) -> Cart:
        made = self.guest.post("/carts/guest")["cart"]
        return Cart(made["id"], self.guest.by(X_Cart_Token=made["session_token"]))

    @rule(cart=carts, number=st.integers(0, 2), count=st.integers(1, 4))
    def add(self, cart: Cart, number: int, count: int) -> None:
        product = self.products[number]
        line = {"product_id": product["id"], "quantity": count}
        shown = cart.by.post(f"/carts/{cart.id}/items", line)
        cart.quantities[number] = cart.quantities.get(number, 0) + count
        self._is_shown(cart, shown)

    @rule(cart=carts, number=st.integers(0, 2), count=st.integers(1, 5))
    def change(self, cart: Cart, number: int, count: int) -> None:
        if number not in cart.quantities:
            return
        item = self._item(cart, number)
        shown = cart.by("PUT", f"/carts/{cart.id}/items/{item}", {"quantity": count}, 200).json()
        cart.quantities[number] = count
        self._is_shown(cart, shown)

    @rule(cart=carts, number=st.integers(0, 2))
    def remove(self, cart: Cart, number: int) -> None:
        if number not in cart.quantities:
            return
        item = self._item(cart, number)
        shown = cart.by("DELETE", f"/carts/{cart.id}/items/{item}", expect=200).json()
        del cart.quantities[number]
        self._is_shown(cart, shown)

    def _item(self, cart: Cart, number: int) -> str:
        items = cart.by.get(f"/carts/{cart.id}")["items"]
        product = self.products[number]["id"]
        return str(next(item["id"] for item in items if item["product_id"] == product))

    @rule(cart=carts, which=st.integers(0, 1))
    def apply(self, cart: Cart, which: int) -> None:
        coupon = self.coupons[which]
        answer = cart.by("POST", f"/carts/{cart.id}/coupon", {"coupon_code": coupon.code})
        if coupon.used >= USES and cart.coupon is not coupon:
            assert answer.json()["code"] == "coupon_usage_limit"
        elif cart.coupon is not None:
            # One whose uses are gone is in no other's way.
            if cart.coupon is coupon:
                assert answer.json()["code"] == "coupon_already_applied"
            elif cart.coupon.used < USES and cart.quantities:
                assert answer.status_code == 422
            elif answer.status_code == 200:
                cart.by("DELETE", f"/carts/{cart.id}/coupon?coupon_code={coupon.code}", expect=200)
        elif not cart.quantities:
            assert answer.json()["code"] == "coupon_product_not_eligible"
        elif answer.status_code == 200:
            cart.coupon = coupon
            self._is_shown(cart, answer.json())
        else:  # ten per cent of five cents is nothing
            assert answer.json()["code"] == "coupon_product_not_eligible"
            assert not any(Cart("", cart.by, cart.quantities, coupon).discounts().values())

    @rule(cart=carts)
    def take_out(self, cart: Cart) -> None:
        shown = cart.by("DELETE", f"/carts/{cart.id}/coupon", expect=200).json()
        cart.coupon = None
        self._is_shown(cart, shown)

    @rule(cart=carts, which=st.integers(0, 1))
    def use_card(self, cart: Cart, which: int) -> None:
        card = self.cards[which]
        answer = cart.by("POST", f"/carts/{cart.id}/gift-cards", {"code": card.code})
        if not card.balance:
            assert answer.json()["code"] == "gift_card_empty"
            return
        if card not in cart.cards:
            cart.cards.append(card)
        self._is_shown(cart, answer.json())

    @rule(cart=carts)
    def take_card_out(self, cart: Cart) -> None:
        if not cart.cards:
            return
        card = cart.cards.pop()
        path = f"/carts/{cart.id}/gift-cards?gift_card_id={card.id}"
        self._is_shown(cart, cart.by("DELETE", path, expect=200).json())

    def _is_shown(self, cart: Cart, shown: dict[str, Any]) -> None:
        assert shown["cart"]["total"] == str(cart.total()), (shown, cart)
        paid = {each["id"]: each["amount"] for each in shown["cart"]["gift_cards"]}
        by_card = cart.paid_by_cards(cart.total())
        assert paid == {card: str(amount) for card, amount in by_card.items() if amount}
        off = cart.discounts()
        by_product = {item["product_id"]: item["discount_amount"] for item in shown["items"]}
        expected = {self.products[n]["id"]: str(amount) for n, amount in off.items()}
        assert by_product == expected

    @rule(target=orders, cart=consumes(carts), token=st.sampled_from(["tok_approve"] * 3))
    def complete(self, cart: Cart, token: str) -> Any:
        body = completion(cart.id, token)
        if not cart.quantities:
            assert cart.by.post("/checkout/complete", body, 422)["code"] == "cart_empty"
            return multiple()
        answer = cart.by("POST", "/checkout/complete", body)
        if answer.status_code == 409:  # a coupon or a card was used up since it was shown
            assert answer.json()["code"] == "price_changed"
            answer = cart.by("POST", "/checkout/complete", body)
        done = answer.json()
        assert answer.status_code == 201, done
        total = cart.total() + SHIPPING
        by_card = cart.paid_by_cards(total)
        charged = total - sum(by_card.values(), Decimal(0))
        assert done["order"]["total"] == str(total)
        assert done["total_charged"] == done["order"]["amount_due"] == str(charged)
        for card in cart.cards:
            card.balance -= by_card[card.id]
        off = cart.discounts()
        coupon = cart.coupon if any(cart.discounts().values()) else None
        if coupon is not None:
            coupon.used += 1
        for number, count in cart.quantities.items():
            self.sold[number] += count
        item_of = {item["product_id"]: item["id"] for item in done["order"]["items"]}
        return Order(
            done["order"]["id"],
            self.guest.by(X_Order_Token=done["order_token"]),
            dict(cart.quantities),
            coupon,
            {number: item_of[self.products[number]["id"]] for number in cart.quantities},
            {number: PRICE[number] * n - off[number] for number, n in cart.quantities.items()},
            charged,
            by_card,
        )

    @rule(order=orders, share=st.integers(1, 100))
    def refund(self, order: Order, share: int) -> None:
        amount = (sum(order.paid.values(), SHIPPING) * share / 100).quantize(CENT)
        left = order.left()
        answer = self.staff("POST", f"/orders/{order.id}/refund", {"amount": str(amount)})
        if not 0 < amount <= left:
            assert answer.status_code in (400, 409, 422), answer.text
            return
        assert answer.status_code == 200, answer.text
        self._give_back(order, amount)

    @rule(order=orders, units=st.integers(0, 3), more=st.integers(0, 2), ships=st.booleans())
    def refund_items(self, order: Order, units: int, more: int, ships: bool) -> None:
        wanted = dict(zip(sorted(order.quantities), (units, more), strict=False))
        wanted = {number: count for number, count in wanted.items() if count}
        body: dict[str, Any] = {
            "refund_line_items": [
                {"line_item_id": order.items[number], "quantity": count}
                for number, count in wanted.items()
            ]
        }
        if ships:
            body["shipping"] = {"full_refund": True}
        answer = self.staff("POST", f"/orders/{order.id}/refunds", body)
        if any(
            n + order.refunded.get(number, 0) > order.quantities[number]
            for number, n in wanted.items()
        ):
            assert answer.json()["code"] == "too_many_units"
            return
        costs = {number: order.units_cost(number, count) for number, count in wanted.items()}
        amount = sum(costs.values(), order.shipping if ships else Decimal("0.00"))
        if not amount:
            assert answer.json()["code"] == "nothing_to_refund"
            return
        if amount > order.left():
            assert answer.json()["code"] == "refund_too_large"
            return
        refund = answer.json()["refund"]
        assert answer.status_code == 201
        assert refund["total"] == str(amount)
        assert refund["payment_amount"] == str(min(amount, order.charged))
        if ships:
            order.shipping = Decimal("0.00")
        for number, count in wanted.items():
            order.refunded[number] = order.refunded.get(number, 0) + count
        self._give_back(order, amount)

    def _give_back(self, order: Order, amount: Decimal) -> None:
        """To the gateway first, then to the cards by their ids."""
        to_gateway = min(amount, order.charged)
        order.charged -= to_gateway
        amount -= to_gateway
        for card in sorted(self.cards, key=lambda each: each.id):
            back = min(amount, order.by_card.get(card.id, Decimal(0)))
            if back:
                order.by_card[card.id] -= back
                card.balance += back
                amount -= back
        assert not amount

    @rule(order=consumes(orders))
    def cancel(self, order: Order) -> None:
        answer = order.by("POST", f"/orders/{order.id}/cancel", {})
        assert answer.status_code == 200, answer.text
        if order.coupon is not None:
            order.coupon.used -= 1
        for number, count in order.quantities.items():
            self.sold[number] -= count
        for card in self.cards:
            card.balance += order.by_card.get(card.id, Decimal(0))

    @invariant()
    def uses_are_counted(self) -> None:
        for coupon in self.coupons:
            found = self.staff.get(f"/coupons/{coupon.id}")["coupon"]
            assert found["usage_count"] == coupon.used <= USES

    @invariant()
    def cards_have_what_is_left(self) -> None:
        for card in self.cards:
            found = self.staff.get(f"/gift-cards/{card.id}")["gift_card"]
            assert found["balance"] == str(card.balance)

    def teardown(self) -> None:
        for number, before in enumerate(self.before):
            assert self._stock(number) == before - self.sold[number]


@pytest.fixture(scope="module")
def machine(embedded_shop: Running) -> type[Shop]:
    guest, staff = other_shop(embedded_shop, "EUR")
    own = Running(embedded_shop.server, guest, staff, embedded_shop.dsn, embedded_shop.control_dsn)
    Shop.guest, Shop.staff = replace(guest, old_s=0.0), staff  # carts are never old
    Shop.products = [own.product(stock=1_000_000, price=price) for price in PRICES]
    return Shop


def test_every_sum_is_the_models(machine: type[Shop]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=10,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
