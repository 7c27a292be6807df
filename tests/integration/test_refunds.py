"""Refunds of items and shipping: in any steps they add up to what was paid, wherever it was paid
from."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any
from uuid import uuid4

from conftest import Api, Running, completion, eventually


def gift_card(shop: Running, amount: str) -> dict[str, Any]:
    made: dict[str, Any] = shop.staff.post("/gift-cards", {"amount": amount})["gift_card"]
    return made


def balance(shop: Running, card: dict[str, Any]) -> str:
    return str(shop.staff.get(f"/gift-cards/{card['id']}")["gift_card"]["balance"])


def bought(
    shop: Running, *lines: tuple[str, int], coupon: str = "", card: str = ""
) -> tuple[dict[str, Any], Api]:
    """A paid order of (price, quantity), and its buyer; 5.00 of it is shipping."""
    cart, shopper = shop.cart(*((shop.product(price=price), count) for price, count in lines))
    if coupon:
        body = {"code": uuid4().hex, "type": "fixed_amount", "value": coupon}
        code = shop.staff.post("/coupons", body)["coupon"]["code"]
        shopper.post(f"/carts/{cart}/coupon", {"coupon_code": code}, 200)
    if card:
        shopper.post(f"/carts/{cart}/gift-cards", {"code": card}, 200)
    done = shopper.post("/checkout/complete", completion(cart))
    return done["order"], shop.guest.by(X_Order_Token=done["order_token"])


def of(order: dict[str, Any], *units: int, **more: Any) -> dict[str, Any]:
    """The body of a refund of so many units of each item."""
    lines = [
        {"line_item_id": item["id"], "quantity": count}
        for item, count in zip(order["items"], units, strict=False)
        if count
    ]
    return {"refund_line_items": lines, **more}


def refund(shop: Running, order: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """A refund, which is what was calculated before."""
    path = f"/orders/{order['id']}/refunds"
    before = shop.staff.post(f"{path}/calculate", body, 200)["refund"]
    made: dict[str, Any] = shop.staff.post(path, body)["refund"]
    assert before == {**made, "id": None, "status": "calculated"}
    return made


def test_units_get_back_what_was_paid_for_them_in_any_steps(shop: Running) -> None:
    # 3 × 10.00 and 1 × 7.00, 5.00 off: 4.05 of it are the first item's, which cost 25.95 then.
    order, _ = bought(shop, ("10.00", 3), ("7.00", 1), coupon="5.00")
    assert order["total"] == "37.00"
    first = refund(shop, order, of(order, 1))
    assert first["line_items"][0]["amount"] == first["total"] == "8.65"
    both = refund(shop, order, of(order, 1, 1, note="broken"))
    last = refund(shop, order, of(order, 1, 0, shipping={"full_refund": True}))
    assert last["shipping"] == "5.00"
    assert sum(Decimal(each["total"]) for each in (first, both, last)) == Decimal("37.00")
    seen = shop.staff.get(f"/orders/{order['id']}")["order"]
    assert seen["payment_status"] == "refunded"
    assert [item["refunded_quantity"] for item in seen["items"]] == [3, 1]
    paid = shop.query("select amount, refunded from payment where order_id = %s", order["id"])
    assert paid == [(Decimal("37.00"), Decimal("37.00"))]


def test_what_cannot_be_refunded_says_why(shop: Running) -> None:
    order, buyer = bought(shop, ("10.00", 2), ("0.00", 1))
    path = f"/orders/{order['id']}/refunds"

    def refused(body: dict[str, Any], status: int = 422) -> dict[str, Any]:
        shop.staff("POST", f"{path}/calculate", body, status)
        problem: dict[str, Any] = shop.staff.post(path, body, status)
        return problem

    assert refused(of(order, 3))["code"] == "too_many_units"
    assert refused(of(order))["code"] == "nothing_to_refund"
    assert refused(of(order, 0, 1))["code"] == "nothing_to_refund"
    strange = {"refund_line_items": [{"line_item_id": str(uuid4()), "quantity": 1}]}
    assert refused(strange, 400)["errors"][0]["field"] == "refund_line_items"
    for shipping, status, field in (
        ({"amount": "5.01"}, 422, "shipping.amount"),
        ({"amount": "1.001"}, 400, "shipping.amount"),
        ({"amount": "1.00", "full_refund": True}, 400, "shipping"),
        ({}, 400, "shipping"),
    ):
        problem = refused(of(order, 1, shipping=shipping), status)
        assert problem["errors"][0]["field"] == field
    buyer("POST", path, of(order, 1), 401)
    refund(shop, order, of(order, 1, shipping={"amount": "2.00"}))
    assert (
        refused(of(order, shipping={"amount": "3.01"}))["errors"][0]["field"] == "shipping.amount"
    )
    # An amount may have been given back for no item: no more than the rest is left for them.
    shop.staff.post(f"/orders/{order['id']}/refund", {"amount": "10.00"}, 200)
    assert refused(of(order, 1))["code"] == "refund_too_large"


def test_the_gateway_gets_its_part_back_first_and_then_the_gift_card(shop: Running) -> None:
    card = gift_card(shop, "20.00")
    order, buyer = bought(shop, ("12.00", 2), card=card["code"])
    assert (order["total"], order["amount_due"]) == ("29.00", "9.00")
    first = refund(shop, order, of(order, 1))
    assert (first["payment_amount"], first["credit_amount"]) == ("9.00", "3.00")
    assert balance(shop, card) == "3.00"
    entries = shop.staff.get(f"/gift-cards/{card['id']}/entries")["entries"]
    assert (entries[-1]["kind"], entries[-1]["amount"]) == ("refunded", "3.00")
    # The rest comes back when the order is cancelled, once.
    buyer.post(f"/orders/{order['id']}/cancel", {}, 200)
    assert balance(shop, card) == "20.00"
    again = shop.staff.post(f"/orders/{order['id']}/refunds", of(order, 1), 422)
    assert again["code"] == "refund_too_large"
    assert balance(shop, card) == "20.00"


def test_an_order_that_a_gift_card_paid_alone_is_refunded_to_it(shop: Running) -> None:
    card = gift_card(shop, "50.00")
    order, _ = bought(shop, ("10.00", 3), card=card["code"])
    assert balance(shop, card) == "15.00"
    half = refund(shop, order, of(order, 2))
    assert (half["payment_amount"], half["credit_amount"]) == ("0.00", "20.00")
    assert balance(shop, card) == "35.00"
    rest = shop.staff.post(f"/orders/{order['id']}/refund", {}, 200)["order"]
    assert rest["payment_status"] == "refunded"
    assert balance(shop, card) == "50.00"


def test_a_refund_that_the_gateway_declines_changes_nothing(shop: Running) -> None:
    card = gift_card(shop, "10.00")
    order, _ = bought(shop, ("12.00", 2), card=card["code"])
    charge = "update test_gateway_charge set refunded = %s where idempotency_key = %s returning 1"
    payment = str(shop.query("select id from payment where order_id = %s", order["id"])[0][0])
    shop.control(charge, "19.00", payment)
    body = of(order, 2, shipping={"full_refund": True})
    shop.staff.post(f"/orders/{order['id']}/refunds", body, 402)
    assert balance(shop, card) == "0.00"
    shop.control(charge, "0.00", payment)
    made = refund(shop, order, body)
    assert (made["payment_amount"], made["credit_amount"]) == ("19.00", "10.00")
    assert balance(shop, card) == "10.00"


def test_units_are_refunded_once_however_many_ask_at_once(shop: Running) -> None:
    card = gift_card(shop, "20.00")
    order, _ = bought(shop, ("10.00", 3), card=card["code"])
    path, key = f"/orders/{order['id']}/refunds", uuid4().hex

    def ask(number: int) -> int:
        # Half of them are one refund, asked for again and again.
        by = shop.staff.by(Idempotency_Key=key) if number % 2 else shop.staff
        return by("POST", path, of(order, 1)).status_code

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(ask, range(16)))
    assert set(done) <= {201, 409, 422}
    seen = shop.staff.get(f"/orders/{order['id']}")["order"]
    assert seen["items"][0]["refunded_quantity"] == 3
    back = shop.query("select refunded from payment where order_id = %s", order["id"])
    assert back == [(Decimal("15.00"),)]
    assert balance(shop, card) == "15.00"


def test_a_refund_that_was_cut_off_goes_on_with_its_credit(shop: Running) -> None:
    card = gift_card(shop, "20.00")
    order, _ = bought(shop, ("10.00", 2), card=card["code"])
    [(payment,)] = shop.query("select id from payment where order_id = %s", order["id"])
    item = order["items"][0]["id"]
    # As a crash leaves it after the first transaction: the gateway was not asked yet.
    shop.query("update payment set refunded = 5.00 where id = %s", payment)
    shop.query("update order_item set refunded_quantity = 1 where id = %s", item)
    shop.query("update sales_order set credit_refunded = 5.00 where id = %s", order["id"])
    shop.query(
        "insert into refund (tenant_id, id, payment_id, currency, amount, credit_amount, items,"
        " status, created_at) select tenant_id, new_id(), id, currency, 5.00, 5.00,"
        " jsonb_build_array(jsonb_build_object('line_item_id', %s::text, 'quantity', 1,"
        " 'amount', '10.00')), 'pending', now() - interval '2 minutes' from payment where id = %s",
        item,
        payment,
    )
    eventually(lambda: balance(shop, card) == "5.00")
    seen = shop.staff.get(f"/orders/{order['id']}")["order"]
    assert seen["payment_status"] == "partially_refunded"
