"""Gift cards and store credit: they pay for orders, also in part, and are never negative."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from conftest import Api, Running, completion, eventually
from rcommerce.lab.ledger import ADDRESS


def gift_card(shop: Running, amount: str = "50.00", **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = shop.staff.post("/gift-cards", {"amount": amount, **fields})["gift_card"]
    return made


def balance(shop: Running, card: dict[str, Any]) -> str:
    found = shop.staff.get(f"/gift-cards/{card['id']}")["gift_card"]
    return str(found["balance"])


def use(shopper: Api, cart: str, code: str, expect: int = 200) -> Any:
    return shopper("POST", f"/carts/{cart}/gift-cards", {"code": code}, expect).json()


def customer(shop: Running) -> tuple[str, Api]:
    """(id, API) of a new customer."""
    person = {
        "email": f"{uuid4().hex}@example.com", "password": "correct horse", "first_name": "Ada",
        "last_name": "L",
    }  # fmt: skip
    made = shop.guest.post("/auth/register", person)
    return made["customer"]["id"], shop.guest.by(Authorization=f"Bearer {made['access_token']}")


def test_a_gift_card_pays_a_part_and_the_gateway_the_rest(shop: Running) -> None:
    card, product = gift_card(shop, "15.00"), shop.product(price="20.00")
    cart, shopper = shop.cart((product, 1))
    shown = use(shopper, cart, card["code"].lower().replace("-", " "))
    assert (shown["cart"]["total"], shown["cart"]["amount_due"]) == ("20.00", "5.00")
    [pays] = shown["cart"]["gift_cards"]
    assert (pays["last_characters"], pays["amount"]) == (card["last_characters"], "15.00")
    begun = shopper.post("/checkout/initiate", {"cart_id": cart, "shipping_address": ADDRESS}, 200)
    assert (begun["total"], begun["amount_due"]) == ("25.00", "10.00")
    done = shopper.post("/checkout/complete", completion(cart))
    order = done["order"]
    assert (done["total_charged"], order["total"], order["amount_due"]) == (
        "10.00",
        "25.00",
        "10.00",
    )
    assert order["payment_status"] == "paid"
    assert shopper.get(f"/carts/{cart}")["cart"]["amount_due"] == "10.00"
    assert balance(shop, card) == "0.00"
    other, someone = shop.cart((product, 1))
    assert use(someone, other, card["code"], 422)["code"] == "gift_card_empty"
    buyer = shop.guest.by(X_Order_Token=done["order_token"])
    buyer.post(f"/orders/{order['id']}/cancel", {}, 200)
    assert balance(shop, card) == "15.00"
    entries = shop.staff.get(f"/gift-cards/{card['id']}/entries")["entries"]
    assert [(each["kind"], each["amount"], each["balance"]) for each in entries] == [
        ("issued", "15.00", "15.00"),
        ("redeemed", "-15.00", "0.00"),
        ("restored", "15.00", "15.00"),
    ]


def test_card_credit_and_gateway_pay_together_or_need_no_gateway(shop: Running) -> None:
    someone, buyer = customer(shop)
    given = {"amount": "7.00", "note": "sorry"}
    [credit] = shop.staff.post(f"/customers/{someone}/credit", given)["credit"]
    assert credit["balance"] == "7.00"
    card, product = gift_card(shop, "50.00"), shop.product(price="20.00")
    line = {"product_id": product["id"], "quantity": 1}
    cart = buyer.post("/carts/items", line)["cart"]["id"]
    shown = buyer.post(f"/carts/{cart}/gift-cards", {"use_credit": True}, 200)
    assert shown["cart"]["amount_due"] == "13.00"
    use(buyer, cart, card["code"])
    # The gateway would decline; it is not asked.
    done = buyer.post("/checkout/complete", completion(cart, "tok_decline"))
    assert (done["total_charged"], done["order"]["payment_status"]) == ("0.00", "paid")
    assert balance(shop, card) == "32.00"
    assert buyer.get("/customers/me/credit")["credit"][0]["balance"] == "0.00"
    entries = buyer.get("/customers/me/credit/entries")["entries"]
    assert [each["amount"] for each in entries] == ["7.00", "-7.00"]
    refused = shop.staff.post(f"/customers/{someone}/credit", {"amount": "-0.01"}, 422)
    assert refused["code"] == "balance_too_low"
    again = buyer.post("/carts/items", line)["cart"]["id"]
    nothing = buyer.post(f"/carts/{again}/gift-cards", {"use_credit": True}, 422)
    assert nothing["code"] == "gift_card_empty"


def test_a_declined_payment_gives_the_gift_card_back(shop: Running) -> None:
    card, product = gift_card(shop, "15.00"), shop.product(price="20.00")
    cart, shopper = shop.cart((product, 1))
    use(shopper, cart, card["code"])
    shopper.post("/checkout/complete", completion(cart, "tok_decline"), 402)
    assert balance(shop, card) == "15.00"
    done = shopper.post("/checkout/complete", completion(cart))
    assert done["total_charged"] == "10.00"


def test_what_is_due_is_shown_before_it_is_charged(shop: Running) -> None:
    card, product = gift_card(shop, "15.00"), shop.product(price="20.00")
    first, ana = shop.cart((product, 1))
    second, bob = shop.cart((product, 1))
    use(ana, first, card["code"])
    ana("DELETE", f"/carts/{first}/gift-cards", expect=200)
    assert ana.get(f"/carts/{first}")["cart"]["amount_due"] == "20.00"
    use(ana, first, card["code"])
    use(bob, second, card["code"])
    ana.post("/checkout/complete", completion(first))
    refused = bob.post("/checkout/complete", completion(second), 409)
    assert {"field": "gift_cards", "shown": "15.00", "now": "0.00"} in refused["changes"]
    assert refused["summary"]["amount_due"] == "25.00"
    assert bob.post("/checkout/complete", completion(second))["total_charged"] == "25.00"


def test_a_balance_is_spent_once_however_many_want_it(shop: Running) -> None:
    card, product = gift_card(shop, "100.00"), shop.product(price="20.00", stock=100)
    carts = [shop.cart((product, 1)) for _ in range(12)]
    for cart, shopper in carts:
        use(shopper, cart, card["code"])

    def complete(which: tuple[str, Api]) -> Any:
        cart, shopper = which
        return shopper("POST", "/checkout/complete", completion(cart))

    with ThreadPoolExecutor(12) as many:
        answers = list(many.map(complete, carts))
    assert {answer.status_code for answer in answers} == {201, 409}
    done = [answer.json() for answer in answers if answer.status_code == 201]
    spent = sum(25 - float(each["total_charged"]) for each in done)
    assert float(balance(shop, card)) == 100 - spent >= 0
    entries = shop.staff.get(f"/gift-cards/{card['id']}/entries")["entries"]
    assert [each["number"] for each in entries] == list(range(1, len(entries) + 1))


def test_the_ledger_refuses_what_does_not_add_up(shop: Running) -> None:
    card = gift_card(shop, "10.00")

    def add(number: int, amount: int, before: int, after: int) -> None:
        shop.query(
            """
            insert into credit_entry (tenant_id, account_id, number, kind, amount,
                                      balance_before, balance)
            select tenant_id, id, %s, 'adjusted', %s, %s, %s from credit_account where id = %s
            """,
            number,
            amount,
            before,
            after,
            card["id"],
        )

    wrong = [(2, 5, 0, 5), (2, -11, 10, -1), (3, 5, 10, 15), (2, 5, 10, 16), (1, 5, 0, 5)]
    for each in wrong:
        with pytest.raises(psycopg.IntegrityError):
            add(*each)
    add(2, 5, 10, 15)
    assert balance(shop, card) == "15"


def test_who_may_see_and_use_a_gift_card(shop: Running) -> None:
    card = gift_card(shop, "5.00", recipient_email="Ada@Example.com", note="Birthday")
    assert card["recipient_email"] == "ada@example.com"
    found = shop.staff.get(f"/gift-cards/{card['id']}")["gift_card"]
    assert "code" not in found
    [[stored]] = shop.query("select count(*) from credit_account t where t::text ilike %s",
                            f"%{card['code']}%")  # fmt: skip
    assert stored == 0
    shown = shop.guest.get(f"/gift-cards/{card['code']}/balance")
    assert (shown["balance"], shown["expires_at"]) == ("5.00", None)
    shop.guest.get(f"/gift-cards/{card['id']}", expect=401)
    shop.guest("POST", "/gift-cards", {"amount": "5.00"}, 401)
    cart, shopper = shop.cart((shop.product(), 1))
    assert use(shopper, cart, "NO-SUCH", 422)["code"] == "gift_card_not_found"
    assert shopper.post(f"/carts/{cart}/gift-cards", {}, 400)["errors"][0]["field"] == "code"
    shop.staff("PATCH", f"/gift-cards/{card['id']}", {"is_active": False}, 200)
    assert use(shopper, cart, card["code"], 422)["code"] == "gift_card_not_found"
    shop.guest.get(f"/gift-cards/{card['code']}/balance", expect=404)
    other = gift_card(shop, "500", currency="JPY")
    assert use(shopper, cart, other["code"], 422)["code"] == "currency_mismatch"
    assert shop.staff.get("/gift-cards?per_page=1")["gift_cards"][0]["id"] == other["id"]
    owed = shop.staff.get("/gift-cards/liability")["liability"]
    assert {"gift_card"} <= {each["kind"] for each in owed}
    for body, field in (
        ({"amount": "0"}, "amount"),
        ({"amount": "1.001"}, "amount"),
        ({"amount": "5", "currency": "XXX"}, "currency"),
        ({"amount": "5", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
    ):
        assert shop.staff.post("/gift-cards", body, 400)["errors"][0]["field"] == field


def bought(shop: Running, cards: int, **fields: Any) -> tuple[dict[str, Any], Api, str, str]:
    """An order of gift cards of 25.00, beside something that is discounted; its email, and its
    payment."""
    card = shop.product(price="25.00", product_type="gift_card", requires_shipping=False)
    other = shop.product(price="20.00")
    code, email = f"H{uuid4().hex}", f"{uuid4().hex}@example.com"
    shop.staff.post("/coupons", {"code": code, "type": "percentage", "value": "50"})
    cart, shopper = shop.cart((card, cards), (other, 1))
    shown = shopper.post(f"/carts/{cart}/coupon", {"coupon_code": code}, 200)
    assert shown["cart"]["discount_total"] == "10.00"  # money is not sold for less
    done = shopper.post("/checkout/complete", completion(cart, customer_email=email, **fields))
    order: dict[str, Any] = done["order"]
    assert [item["is_gift_card"] for item in order["items"]] == [True, False]
    return order, shop.guest.by(X_Order_Token=done["order_token"]), email, done["payment_id"]


def of_order(shop: Running, email: str) -> list[dict[str, Any]]:
    found = shop.staff.get("/gift-cards?per_page=100")["gift_cards"]
    return [each for each in found if each["recipient_email"] == email]


def test_gift_cards_are_bought_and_mailed_once_they_are_paid(embedded_shop: Running) -> None:
    shop = embedded_shop
    order, _, email, _ = bought(shop, 2)
    assert order["payment_status"] == "paid"
    cards = of_order(shop, email)
    assert [(each["balance"], each["issued"]) for each in cards] == [("25.00", "25.00")] * 2

    def codes() -> set[str]:
        lines = [line for line in shop.server.log.read_text().splitlines() if email in line]
        return set(re.findall(r"[0-9A-Z]{4}(?:-[0-9A-Z]{4}){3}", " ".join(lines)))

    eventually(lambda: len(codes()) == 2, 60)
    assert {code[-4:] for code in codes()} == {each["last_characters"] for each in cards}
    cart, shopper = shop.cart((shop.product(price="20.00"), 1))
    for code in codes():
        assert shop.guest.get(f"/gift-cards/{code}/balance")["balance"] == "25.00"
        use(shopper, cart, code)
    assert shopper.get(f"/carts/{cart}")["cart"]["amount_due"] == "0.00"
    left = "select count(*) from sold_gift_card where email = %s and mailed_at is null"
    eventually(lambda: shop.query(left, email) == [(0,)])


def test_gift_cards_that_are_not_paid_are_not_made_and_cancelled_ones_pay_nothing(
    shop: Running,
) -> None:
    method = {"type": "invoice", "gateway_id": "manual"}
    waiting, buyer, email, payment = bought(shop, 1, payment_method=method)
    assert of_order(shop, email) == []
    for _ in range(2):
        shop.staff("POST", f"/payments/{payment}/confirm", {}, 200)
    [card] = of_order(shop, email)
    assert (card["balance"], card["is_active"]) == ("25.00", True)
    left = "select count(*) from sold_gift_card where order_id = %s and mailed_at is null"
    eventually(lambda: shop.query(left, waiting["id"]) == [(0,)], 60)
    buyer.post(f"/orders/{waiting['id']}/cancel", {}, 200)
    [card] = of_order(shop, email)
    assert (card["balance"], card["is_active"]) == ("25.00", False)
    # One whose mail did not go out before is not mailed any more.
    again = "update sold_gift_card set mailed_at = null, claimed_at = null where order_id = %s"
    shop.query(again, waiting["id"])
    later, *_ = bought(shop, 1)
    eventually(lambda: shop.query(left, later["id"]) == [(0,)], 60)
    assert shop.query(left, waiting["id"]) == [(1,)]


def test_a_refunded_gift_card_pays_nothing(shop: Running) -> None:
    order, _, email, _ = bought(shop, 3)
    unit = {"line_item_id": order["items"][0]["id"], "quantity": 1}
    shop.staff.post(f"/orders/{order['id']}/refunds", {"refund_line_items": [unit]})
    assert sorted(each["is_active"] for each in of_order(shop, email)) == [False, True, True]
    shop.staff.post(f"/orders/{order['id']}/refund", {}, 200)
    assert not any(each["is_active"] for each in of_order(shop, email))
