"""Webhooks out: who hears of what, how it is proved to be ours, and what becomes of a failure."""

import base64
import hmac
import time
from collections.abc import Iterator
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pytest

from conftest import Running, completion, eventually
from rcommerce.commerce.webhooks.schema import EVENTS
from rcommerce.lab.receiver import Received, Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


def subscribe(shop: Running, url: str, *events: str) -> dict[str, Any]:
    made = shop.staff.post("/webhooks/subscriptions", {"url": url, "events": list(events)})
    subscription: dict[str, Any] = made["subscription"]
    return subscription


@pytest.fixture(autouse=True)
def nobody_else_listens(shop: Running) -> Iterator[None]:
    yield
    for each in shop.staff.get("/webhooks/subscriptions")["subscriptions"]:
        shop.staff("DELETE", f"/webhooks/subscriptions/{each['id']}", expect=204)


def verify(message: Received, secret: str) -> None:
    """As Standard Webhooks says, by another's words than the server's."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    stamp = message.headers["webhook-timestamp"]
    signed = message.id.encode() + b"." + stamp.encode() + b"." + message.body
    wanted = base64.b64encode(hmac.new(key, signed, sha256).digest()).decode()
    assert message.headers["webhook-signature"] == f"v1,{wanted}"
    assert abs(time.time() - int(stamp)) < 60


def types(receiver: Receiver) -> list[str]:
    return [each.json["type"] for each in receiver.received]


def test_an_order_is_told_in_its_order_and_signed(shop: Running, receiver: Receiver) -> None:
    made = subscribe(shop, receiver.url, "order.*")
    cart, shopper = shop.cart((shop.product(), 1))
    order = shopper.post("/checkout/complete", completion(cart))["order"]
    shop.staff.post(f"/orders/{order['id']}/cancel", {"reason": "test"}, 200)
    eventually(lambda: "order.cancelled" in types(receiver), timeout_s=30)
    reported = types(receiver)
    assert reported[0] == "order.placed"
    assert reported.index("order.paid") < reported.index("order.cancelled")
    for message in receiver.received:
        verify(message, made["secret"])
        assert message.json["data"]["id"] == order["id"]
        assert message.json["data"]["total"] == order["total"]
    assert len({message.id for message in receiver.received}) == len(reported)
    log = shop.staff.get(f"/webhooks/subscriptions/{made['id']}/deliveries")
    assert {each["state"] for each in log["deliveries"]} <= {"delivered", "pending"}


def test_only_what_was_asked_for_is_told(shop: Running, receiver: Receiver) -> None:
    subscribe(shop, receiver.url, "product.created", "customer.created")
    product = shop.product()
    shop.staff("PATCH", f"/products/{product['id']}", {"title": "Other"}, 200)
    person = {"password": "correct horse", "first_name": "Ada", "last_name": "L"}
    email = f"{uuid4().hex}@example.com"
    shop.guest.post("/auth/register", {"email": email, **person})
    eventually(lambda: len(receiver.received) == 2, timeout_s=30)
    assert sorted(types(receiver)) == ["customer.created", "product.created"]
    reported = {each.json["type"]: each.json["data"] for each in receiver.received}
    assert reported["customer.created"]["email"] == email
    assert reported["product.created"]["id"] == product["id"]


def test_what_is_undone_is_not_told(shop: Running, receiver: Receiver) -> None:
    subscribe(shop, receiver.url, "product.*")
    taken = shop.product()
    shop.staff("POST", "/products", {"title": "x", "slug": taken["slug"], "price": "1.00"}, 409)
    eventually(lambda: len(receiver.received) == 1, timeout_s=30)
    time.sleep(1.5)
    assert types(receiver) == ["product.created"]


def test_a_failure_is_tried_again_and_the_next_waits_for_it(
    shop: Running, receiver: Receiver
) -> None:
    failures = iter([500, 500])
    receiver.answer = lambda _: next(failures, 200)
    made = subscribe(shop, receiver.url, "product.*")
    product = shop.product()
    shop.staff("PATCH", f"/products/{product['id']}", {"title": "Other"}, 200)
    eventually(lambda: len(receiver.received) == 4, timeout_s=60)
    assert types(receiver) == ["product.created"] * 3 + ["product.updated"]
    assert len({each.id for each in receiver.received[:3]}) == 1
    log = f"/webhooks/subscriptions/{made['id']}/deliveries"
    eventually(lambda: shop.staff.get(f"{log}?status=delivered")["meta"]["total"] == 2)
    first = shop.staff.get(log)["deliveries"][-1]
    assert (first["attempts"], first["state"], first["response_status"]) == (3, "delivered", 200)


def test_a_receiver_that_is_gone_is_asked_no_more(shop: Running, receiver: Receiver) -> None:
    receiver.answer = lambda _: 410
    made = subscribe(shop, receiver.url, "product.*")
    at = f"/webhooks/subscriptions/{made['id']}"
    shop.product()
    eventually(lambda: not shop.staff.get(at)["subscription"]["is_active"], timeout_s=30)
    assert "410" in shop.staff.get(at)["subscription"]["ended_because"]
    eventually(lambda: shop.staff.get(f"{at}/deliveries?status=dead")["meta"]["total"] == 1)
    shop.product()
    receiver.answer = lambda _: 200
    shop.staff("PATCH", at, {"is_active": True}, 200)
    assert shop.staff.post(f"{at}/replay", expect=200) == {"replayed": 1}
    eventually(lambda: shop.staff.get(f"{at}/deliveries?status=delivered")["meta"]["total"] == 1)
    assert len(receiver.received) == 2


def test_one_message_is_sent_again(shop: Running, receiver: Receiver) -> None:
    made = subscribe(shop, receiver.url, "order.paid")
    at = f"/webhooks/subscriptions/{made['id']}"
    delivery = shop.staff.post(f"{at}/test")["delivery"]
    eventually(lambda: types(receiver) == ["webhook.test"], timeout_s=30)
    eventually(lambda: shop.staff.get(f"{at}/deliveries?status=delivered")["meta"]["total"] == 1)
    again = f"{at}/deliveries/{delivery['id']}/replay"
    assert shop.staff.post(again, expect=200) == {"replayed": 1}
    eventually(lambda: len(receiver.received) == 2, timeout_s=30)
    assert len({each.id for each in receiver.received}) == 1
    shop.staff.post(f"{at}/deliveries/{uuid4()}/replay", expect=404)


def test_a_new_secret_signs_what_comes(shop: Running, receiver: Receiver) -> None:
    made = subscribe(shop, receiver.url, "product.created")
    at = f"/webhooks/subscriptions/{made['id']}"
    rotated = shop.staff.post(f"{at}/rotate", expect=200)["subscription"]
    assert rotated["secret"] != made["secret"]
    assert "secret" not in shop.staff.get(at)["subscription"]
    shop.product()
    eventually(lambda: len(receiver.received) == 1, timeout_s=30)
    verify(receiver.received[0], rotated["secret"])


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://[::1]:8080/",
        "http://[::ffff:10.0.0.1]/",
        "http://0.0.0.0/",
        "http://[64:ff9b::a00:1]/",
        "http://2130706434/",  # 127.0.0.2 as a number: outside the network that the tests allow
    ],
)
def test_a_private_address_is_never_called(shop: Running, url: str) -> None:
    made = subscribe(shop, url, "product.created")
    at = f"/webhooks/subscriptions/{made['id']}"
    shop.staff.post(f"{at}/test")

    def is_dead() -> bool:
        [found] = shop.staff.get(f"{at}/deliveries")["deliveries"]
        return found["state"] == "dead" and "not public" in found["error"]

    eventually(is_dead, timeout_s=30)


def test_a_redirect_is_not_followed(shop: Running, receiver: Receiver) -> None:
    receiver.answer = lambda _: 302
    made = subscribe(shop, receiver.url, "product.created")
    at = f"/webhooks/subscriptions/{made['id']}"
    shop.staff.post(f"{at}/test")
    eventually(
        lambda: shop.staff.get(f"{at}/deliveries")["deliveries"][0]["response_status"] == 302,
        timeout_s=30,
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "ftp://example.com", "events": ["order.paid"]}, "url"),
        ({"url": "https://user:secret@example.com/", "events": ["order.paid"]}, "url"),
        ({"url": "https://example.com:99999/", "events": ["order.paid"]}, "url"),
        ({"url": "https://example.com/", "events": []}, "events"),
        ({"url": "https://example.com/", "events": ["order.payed"]}, "events"),
    ],
)
def test_a_wrong_subscription_is_refused(shop: Running, body: Any, field: str) -> None:
    problem = shop.staff.post("/webhooks/subscriptions", body, 400)
    assert problem["errors"][0]["field"] == field


def test_subscriptions_are_the_staffs(shop: Running) -> None:
    shop.guest("GET", "/webhooks/subscriptions", expect=401)


def test_whatever_happens_to_an_order_can_be_asked_for(shop: Running) -> None:
    """All that the tests before this one have done to orders."""
    happened = {f"order.{row[0]}" for row in shop.query("select distinct type from order_event")}
    assert happened - set(EVENTS) == set()


def test_old_messages_are_cleared_up(shop: Running) -> None:
    for name in ("webhooks.sweep", "media.sweep"):
        done = shop.server.command("jobs", "run", name)
        assert done.returncode == 0, done.stderr
    assert shop.server.command("jobs", "list", "--json").returncode == 0
    assert shop.server.command("jobs", "retry", "--json").stdout.strip() == '{"retried": 0}'
