"""Customers: their proof, their data, their own cart and orders."""

import re
from typing import Any
from uuid import uuid4

import httpx

from conftest import Api, Running, completion
from rcommerce.lab.ledger import ADDRESS


def registered(shop: Running) -> tuple[dict[str, Any], Api]:
    email = f"{uuid4().hex}@Example.com"
    body = {"email": email, "password": "correct horse", "first_name": "A", "last_name": "B"}
    session: dict[str, Any] = shop.guest.post("/auth/register", body)
    return session, shop.guest.by(Authorization=f"Bearer {session['access_token']}")


def test_a_customer_registers_logs_in_and_is_who_they_are(shop: Running) -> None:
    session, customer = registered(shop)
    email = session["customer"]["email"]
    assert email == email.lower()
    assert session["token_type"] == "Bearer"
    assert customer.get("/customers/me")["customer"]["email"] == email
    everyone = customer.get("/customers")
    assert everyone["customers"] == [everyone["customer"]]
    login = {"email": email.upper(), "password": "correct horse"}
    assert shop.guest.post("/auth/login", login, 200)["customer"]["id"] == session["customer"]["id"]
    again = {"email": email, "password": "correct horse", "first_name": "A", "last_name": "B"}
    shop.guest("POST", "/auth/register", again, expect=409)


def test_spaces_around_an_email_are_a_slip_of_the_keyboard(shop: Running) -> None:
    email = f"{uuid4().hex}@example.com"
    body = {
        "email": f"  {email} ",
        "password": "correct horse",
        "first_name": "A",
        "last_name": "B",
    }
    made = shop.guest.post("/auth/register", body)
    assert made["customer"]["email"] == email
    login = {"email": f"{email}\t", "password": "correct horse"}
    assert shop.guest.post("/auth/login", login, 200)["customer"] == made["customer"]
    cart, shopper = shop.cart((shop.product(), 1))
    paid = shopper.post("/checkout/complete", completion(cart, customer_email=f" {email}"))
    assert paid["order"]["customer_email"] == email
    within = {"email": "a b@example.com", "password": "correct horse"}
    refused = shop.guest("POST", "/auth/login", within, expect=400).json()
    assert refused["errors"][0]["field"] == "email"


def test_a_wrong_email_and_a_wrong_password_answer_alike(shop: Running) -> None:
    session, _ = registered(shop)
    wrong = {"email": session["customer"]["email"], "password": "wrong horse"}
    unknown = {"email": "nobody@example.com", "password": "wrong horse"}
    first = shop.guest("POST", "/auth/login", wrong, expect=401).json()
    second = shop.guest("POST", "/auth/login", unknown, expect=401).json()
    assert first == second


def test_a_refresh_token_works_once_and_its_reuse_ends_the_family(shop: Running) -> None:
    session, _ = registered(shop)
    first = {"refresh_token": session["refresh_token"]}
    second = {"refresh_token": shop.guest.post("/auth/refresh", first, 200)["refresh_token"]}
    third = {"refresh_token": shop.guest.post("/auth/refresh", second, 200)["refresh_token"]}
    shop.guest("POST", "/auth/refresh", first, expect=401)
    shop.guest("POST", "/auth/refresh", third, expect=401)


def test_logging_out_ends_the_refresh_token(shop: Running) -> None:
    session, _ = registered(shop)
    token = {"refresh_token": session["refresh_token"]}
    shop.guest.post("/auth/logout", token, 200)
    shop.guest("POST", "/auth/refresh", token, expect=401)


def test_a_forgotten_password_is_reset_by_the_link_of_the_mail(shop: Running) -> None:
    session, _ = registered(shop)
    email = session["customer"]["email"]
    shop.guest.post("/auth/password-reset", {"email": "nobody@example.com"}, 202)
    shop.guest.post("/auth/password-reset", {"email": email}, 202)
    mails = [line for line in shop.server.log.read_text().splitlines() if email in line]
    token = re.search(r"token=([\w-]+)", mails[-1])
    assert token is not None
    reset = {"token": token[1], "password": "another horse"}
    shop.guest.post("/auth/password-reset/confirm", reset, 200)
    shop.guest("POST", "/auth/password-reset/confirm", reset, expect=400)
    shop.guest("POST", "/auth/refresh", {"refresh_token": session["refresh_token"]}, expect=401)
    shop.guest.post("/auth/login", {"email": email, "password": "another horse"}, 200)


def test_forged_and_foreign_proofs_are_refused(shop: Running) -> None:
    session, _ = registered(shop)
    head, body, signature = session["access_token"].split(".")
    for token in (
        f"{head}.{body}.{signature[::-1]}",
        "eyJhbGciOiJub25lIn0." + body + ".",
        "x",
        "ak_nope.nope",
    ):
        refused = shop.guest.by(Authorization=f"Bearer {token}")("GET", "/customers/me", expect=401)
        assert refused.headers["WWW-Authenticate"] == "Bearer"
    shop.guest.by(Authorization="Basic eDp5")("GET", "/customers/me", expect=401)


def test_addresses_have_one_default(shop: Running) -> None:
    _, customer = registered(shop)
    first = customer.post("/customers/me/addresses", {"address": ADDRESS})["address"]
    assert first["is_default"]
    second = customer.post("/customers/me/addresses", {"address": ADDRESS, "is_default": True})
    found = customer.get("/customers/me/addresses")["addresses"]
    assert [(a["id"], a["is_default"]) for a in found] == [
        (second["address"]["id"], True),
        (first["id"], False),
    ]
    _, other = registered(shop)
    other("DELETE", f"/customers/me/addresses/{first['id']}", expect=404)
    other("PUT", f"/customers/me/addresses/{first['id']}", {"address": ADDRESS}, expect=404)
    customer("DELETE", f"/customers/me/addresses/{first['id']}", expect=204)


def test_a_guests_cart_merges_into_the_customers_own(shop: Running) -> None:
    product = shop.product(price="20.00")
    guest_cart, guest = shop.cart((product, 2))
    _, customer = registered(shop)
    line = {"product_id": product["id"], "quantity": 1}
    mine = customer.post("/carts/items", line)["cart"]["id"]
    merged = customer.post("/carts/merge", {"session_token": guest.headers["X-Cart-Token"]}, 200)
    assert (merged["cart"]["id"], merged["items"][0]["quantity"]) == (mine, 3)
    for method, path, body in (
        ("GET", f"/carts/{guest_cart}", None),
        ("GET", "/carts/me", None),
        ("POST", f"/carts/{guest_cart}/items", line),
        ("POST", "/checkout/complete", completion(guest_cart)),
        ("DELETE", f"/carts/{guest_cart}", None),
    ):
        assert guest(method, path, body, expect=410).json()["code"] == "cart_merged", path
    order = customer.post("/checkout/complete", completion(mine))["order"]
    assert [each["id"] for each in customer.get("/orders")["orders"]] == [order["id"]]
    _, stranger = registered(shop)
    stranger.get(f"/orders/{order['id']}", expect=404)
    assert stranger.get("/orders")["orders"] == []


def test_a_declined_payment_opens_a_customers_cart_again(shop: Running) -> None:
    line = {"product_id": shop.product()["id"], "quantity": 1}
    _, customer = registered(shop)
    first = customer.post("/carts/items", line)["cart"]["id"]
    declined = completion(first, "tok_decline")
    customer("POST", "/checkout/complete", declined, expect=402)
    assert customer.get("/carts/me")["cart"]["id"] == first


def test_a_merge_that_does_not_fit_moves_nothing(shop: Running) -> None:
    product, other = shop.product(stock=0), shop.product()
    guest_cart, guest = shop.cart((other, 1), (product, 6000))
    _, customer = registered(shop)
    line = {"product_id": product["id"], "quantity": 6000}
    mine = customer.post("/carts/items", line)["cart"]["id"]
    token = {"session_token": guest.headers["X-Cart-Token"]}
    problem = customer("POST", "/carts/merge", token, expect=422).json()
    assert problem["code"] == "quantity_too_large"
    assert [each["quantity"] for each in guest.get(f"/carts/{guest_cart}")["items"]] == [1, 6000]
    assert [each["quantity"] for each in customer.get(f"/carts/{mine}")["items"]] == [6000]


def test_a_cookie_of_another_origin_is_not_honoured(shop: Running) -> None:
    made = httpx.post(f"{shop.guest.url}/api/v1/carts/guest")
    cookie = made.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    token = {"Cookie": cookie.partition(";")[0]}
    url = f"{shop.guest.url}/api/v1/carts/me"
    assert httpx.get(url, headers=token).status_code == 200
    assert httpx.get(url, headers={**token, "Origin": "https://evil.example"}).status_code == 401


def test_staff_log_in_and_run_the_shop(shop: Running) -> None:
    import os
    import subprocess
    import sys

    email = f"{uuid4().hex}@example.com"
    environment = {**shop.server.environment, "RCOMMERCE_STAFF_PASSWORD": "a long password"}
    command = [sys.executable, "-m", "rcommerce", "staff", "create", email]
    subprocess.run(command, env=environment, cwd=os.getcwd(), check=True, capture_output=True)
    session = shop.guest.post("/auth/login", {"email": email, "password": "a long password"}, 200)
    staff = shop.guest.by(Authorization=f"Bearer {session['access_token']}")
    assert staff.get("/customers?per_page=1")["meta"]["per_page"] == 1
    staff.get("/inventory?per_page=1")
