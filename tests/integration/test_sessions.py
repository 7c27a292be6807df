"""Logged in by a cookie: who is, where, until when, and who may not use it."""

from hashlib import sha256
from typing import Any
from uuid import uuid4

import httpx
import pytest

from conftest import Fleet, Running, api_key

PASSWORD = "correct horse battery"


class Browser:
    """A browser of one page of the shop: it keeps cookies and sends its Origin."""

    def __init__(self, shop: Running, agent: str = "Firefox") -> None:
        self.url = f"{shop.guest.url}/api/v1"
        host = shop.guest.url.partition("://")[2]
        self.own = {"Origin": f"http://{host}", "User-Agent": agent}
        self.session = ""

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        # Cookies by hand: those with Secure would not go over plain HTTP.
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {**self.own, "Cookie": f"session={self.session}", **named}
        answer = httpx.request(method, self.url + path, json=body, headers=sent, timeout=60)
        given = answer.headers.get_list("set-cookie")
        for line in given:
            if line.startswith("session="):
                self.session = line.partition("=")[2].partition(";")[0]
        return answer

    def log_in(self, email: str) -> httpx.Response:
        answer = self("POST", "/auth/login", {"email": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return answer


def registered(shop: Running) -> str:
    email = f"{uuid4().hex}@example.com"
    person = {"password": PASSWORD, "first_name": "Ada", "last_name": "Lovelace"}
    shop.guest.post("/auth/register", {"email": email, **person})
    return email


def test_a_login_gives_a_cookie_that_no_script_reads(shop: Running, embedded_shop: Running) -> None:
    browser = Browser(shop)
    answer = browser.log_in(registered(shop))
    line = next(each for each in answer.headers.get_list("set-cookie") if "session=" in each)
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=2592000"} <= set(line.split("; "))
    # Over plain HTTP only in development.
    assert ("Secure" in line.split("; ")) == (shop is not embedded_shop)
    mine = browser("GET", "/customers/me")
    assert mine.status_code == 200
    assert mine.headers["cache-control"] == "no-store"


def test_the_cookie_is_another_one_after_each_login(shop: Running) -> None:
    browser, email = Browser(shop), registered(shop)
    browser.session = "c_planted-by-somebody-else"
    browser.log_in(email)
    first = browser.session
    assert first != "c_planted-by-somebody-else"
    browser.log_in(email)
    assert browser.session != first
    browser.session = first
    assert browser("GET", "/customers/me").status_code == 401


def test_a_session_ends_a_day_after_its_last_use(fleet: Fleet, embedded_shop: Running) -> None:
    browser = Browser(embedded_shop)
    browser.log_in(registered(embedded_shop))
    name = sha256(browser.session.encode()).hexdigest()
    shift = "update session set seen_at = now() - interval '%s' where token_hash = '%s'"
    embedded_shop.query(shift % ("23 h", name))
    assert browser("GET", "/customers/me").status_code == 200  # which counts as a use
    seen = embedded_shop.query("select now() - seen_at from session where token_hash = %s", name)
    assert seen[0][0].total_seconds() < 60
    embedded_shop.query(shift % ("25 h", name))
    assert browser("GET", "/customers/me").status_code == 401
    # In Redis by its time to live, and never longer than a month after the login.
    browser = Browser(fleet.shop)
    browser.log_in(registered(fleet.shop))
    name = sha256(browser.session.encode()).hexdigest()
    node = fleet.valkey.master_of(next(iter(keys_of(fleet, name))))
    client, (key,) = node.client(), node.client().keys(f"*{name}")
    client.expire(key, 100)
    assert browser("GET", "/customers/me").status_code == 200
    assert client.ttl(key) > 86_000
    client.delete(key)
    assert browser("GET", "/customers/me").status_code == 401


def keys_of(fleet: Fleet, name: str) -> set[str]:
    """The keys in the Cluster that end so."""
    return {
        key.decode() for node in fleet.valkey.nodes[:3] for key in node.client().keys(f"*{name}")
    }


def test_devices_are_listed_and_logged_out_one_by_one(shop: Running) -> None:
    email = registered(shop)
    phone, laptop = Browser(shop, "Phone"), Browser(shop, "Laptop")
    phone.log_in(email)
    laptop.log_in(email)
    listed = laptop("GET", "/auth/sessions").json()["sessions"]
    # Registering has logged a third one in.
    assert {"Phone", "Laptop"} < {each["user_agent"] for each in listed}
    assert [each["user_agent"] for each in listed if each["is_current"]] == ["Laptop"]
    assert all(each["address"] == "127.0.0.1" for each in listed)
    there = next(each for each in listed if each["user_agent"] == "Phone")
    stranger = Browser(shop)
    stranger.log_in(registered(shop))
    assert stranger("DELETE", f"/auth/sessions/{there['id']}").status_code == 404
    assert laptop("DELETE", f"/auth/sessions/{there['id']}").status_code == 204
    assert phone("GET", "/customers/me").status_code == 401
    assert laptop("GET", "/customers/me").status_code == 200


def test_log_out_everywhere_ends_cookies_and_tokens_alike(shop: Running) -> None:
    email = registered(shop)
    phone, laptop = Browser(shop), Browser(shop)
    tokens = phone.log_in(email).json()
    laptop.log_in(email)
    by_token = shop.guest.by(Authorization=f"Bearer {tokens['access_token']}")
    assert by_token.get("/customers/me")["customer"]["email"] == email
    assert laptop("DELETE", "/auth/sessions").status_code == 204
    assert laptop.session == ""
    assert phone("GET", "/customers/me").status_code == 401
    for path in ("/customers/me", "/products"):
        refused = by_token("GET", path, expect=401).json()
        assert refused["code"] == "token_revoked"
    refresh = {"refresh_token": tokens["refresh_token"]}
    assert shop.guest("POST", "/auth/refresh", refresh).status_code == 401
    # Who logs in again is in.
    assert laptop.log_in(email).status_code == 200
    assert laptop("GET", "/customers/me").status_code == 200


def test_a_logout_ends_this_cookie_and_this_token_at_once(shop: Running) -> None:
    email = registered(shop)
    browser, other = Browser(shop), Browser(shop)
    token = browser.log_in(email).json()["access_token"]
    kept = other.log_in(email).json()["access_token"]
    assert browser("POST", "/auth/logout", {}).status_code == 200
    assert browser.session == ""
    by_token = shop.guest.by(Authorization=f"Bearer {token}")
    by_token.get("/customers/me")
    by_token.post("/auth/logout", {}, expect=200)
    assert by_token("GET", "/customers/me", expect=401).json()["code"] == "token_revoked"
    assert other("GET", "/customers/me").status_code == 200
    shop.guest.by(Authorization=f"Bearer {kept}").get("/customers/me")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 200, None),
        ({"Origin": ""}, 403, "cross_site"),
        ({"Origin": "", "Sec-Fetch-Site": "cross-site"}, 403, "cross_site"),
        ({"Origin": "", "Sec-Fetch-Site": "same-site"}, 403, "cross_site"),
        ({"Origin": "", "Sec-Fetch-Site": "same-origin"}, 200, None),
        ({"Origin": "null"}, 401, "unauthenticated"),
        ({"Origin": "https://evil.example"}, 401, "unauthenticated"),
    ],
)
def test_no_other_sites_page_can_change_anything_by_the_cookie(
    shop: Running, headers: dict[str, str], status: int, code: str | None
) -> None:
    browser = Browser(shop)
    browser.log_in(registered(shop))
    browser.own = {k: v for k, v in {**browser.own, **headers}.items() if v}
    answer = browser("PATCH", "/customers/me", {"first_name": "Eve"})
    assert answer.status_code == status, answer.text
    if code is not None:
        assert answer.json()["code"] == code
    name = shop.query("select first_name from customer order by id desc limit 1")[0][0]
    assert (name == "Eve") == (status == 200)


def test_another_sites_page_reads_nothing_by_the_cookie(shop: Running) -> None:
    browser = Browser(shop)
    browser.log_in(registered(shop))
    answer = browser("GET", "/customers/me", Origin="https://evil.example")
    assert answer.status_code == 401
    assert "access-control-allow-credentials" not in answer.headers


def test_a_new_password_ends_every_session(shop: Running) -> None:
    email = registered(shop)
    browser = Browser(shop)
    token = browser.log_in(email).json()["access_token"]
    secret = uuid4().hex
    customer = shop.query("select id, tenant_id from customer where email = %s", email)[0]
    shop.query(
        "insert into password_reset (tenant_id, token_hash, customer_id, expires_at)"
        " values (%s, sha256(%s), %s, now() + interval '1 h')",
        customer[1], secret.encode(), customer[0],
    )  # fmt: skip
    body = {"token": secret, "password": "another horse battery"}
    shop.guest.post("/auth/password-reset/confirm", body, expect=200)
    assert browser("GET", "/customers/me").status_code == 401
    by_token = shop.guest.by(Authorization=f"Bearer {token}")
    assert by_token("GET", "/customers/me", expect=401).json()["code"] == "token_revoked"


def test_a_session_of_one_shop_opens_nothing_in_another(shop: Running) -> None:
    made = shop.server.command("tenant", "create", f"s{uuid4().hex[:8]}", "--currency", "EUR")
    tenant = made.stdout.split("X-Tenant-ID ")[1].split()[0]
    browser = Browser(shop)
    browser.log_in(registered(shop))
    assert browser("GET", "/customers/me").status_code == 200
    assert browser("GET", "/customers/me", X_Tenant_ID=tenant).status_code == 401


def test_customers_read_the_catalogue_from_memory_and_staff_see_more(shop: Running) -> None:
    draft = shop.product(status="draft")
    public = shop.product()
    email = f"{uuid4().hex}@example.com"
    made = shop.server.command("staff", "create", email, RCOMMERCE_STAFF_PASSWORD=PASSWORD)
    assert made.returncode == 0, made.stderr
    staff = Browser(shop)
    staff.log_in(email)
    assert staff.session.startswith("s_")
    assert staff("GET", f"/products/{draft['id']}").status_code == 200
    assert "cache-status" not in staff("GET", f"/products/{public['id']}").headers
    customer = Browser(shop)
    customer.log_in(registered(shop))
    assert customer("GET", f"/products/{draft['id']}").status_code == 404
    assert "rcommerce" in customer("GET", f"/products/{public['id']}").headers["cache-status"]
    # To say that one is staff does not make it so.
    customer.session = "s_" + customer.session[2:]
    assert customer("GET", f"/products/{draft['id']}").status_code == 404


def test_what_is_a_customers_own_is_never_anothers(shop: Running) -> None:
    """Callers of every kind ask for the same addresses in turn, so that each meets what was kept
    for the one before."""
    emails = [registered(shop) for _ in range(3)]
    browsers = [Browser(shop) for _ in emails]
    tokens = [browser.log_in(email).json()["access_token"] for browser, email in
              zip(browsers, emails, strict=True)]  # fmt: skip
    for number, token in enumerate(tokens):
        address = {"first_name": str(number), "last_name": "L", "address1": f"{number} Street",
                   "city": "Berlin", "zip": "10115", "country": "DE"}  # fmt: skip
        by_token = shop.guest.by(Authorization=f"Bearer {token}")
        by_token.post("/customers/me/addresses", {"address": address})
    for _ in range(3):
        for number, (browser, token, email) in enumerate(
            zip(browsers, tokens, emails, strict=True)
        ):
            by_token = shop.guest.by(Authorization=f"Bearer {token}")
            assert by_token.get("/customers/me")["customer"]["email"] == email
            assert browser("GET", "/customers/me").json()["customer"]["email"] == email
            kept = by_token.get("/customers/me/addresses")["addresses"]
            assert [each["address"]["address1"] for each in kept] == [f"{number} Street"]
            assert shop.guest("GET", "/customers/me").status_code == 401
    # Another tenant's customer of the same email is another one.
    made = shop.server.command("tenant", "create", f"o{uuid4().hex[:8]}", "--currency", "EUR")
    tenant = made.stdout.split("X-Tenant-ID ")[1].split()[0]
    there = shop.guest.by(X_Tenant_ID=tenant)
    person = {"password": PASSWORD, "first_name": "Other", "last_name": "Shop"}
    token = there.post("/auth/register", {"email": emails[0], **person})["access_token"]
    other = there.by(Authorization=f"Bearer {token}").get("/customers/me")["customer"]
    assert (other["first_name"], other["currency"]) == ("Other", "EUR")
    assert api_key(shop.server, "--all", "--tenant", tenant)


def test_a_customer_sees_a_change_at_once_without_a_token(shop: Running) -> None:
    token = Browser(shop).log_in(registered(shop)).json()["access_token"]
    me = shop.guest.by(Authorization=f"Bearer {token}")
    for number in range(20):
        me.get("/customers/me")
        me("PATCH", "/customers/me", {"first_name": f"Ada {number}"}, expect=200)
        assert me.get("/customers/me")["customer"]["first_name"] == f"Ada {number}"


def test_too_many_logins_of_one_account_have_to_wait(shop: Running) -> None:
    email = registered(shop)
    wrong = {"email": email, "password": "wrong horse battery"}
    # Without Redis each of two workers counts for itself; the window slides on meanwhile.
    tries = [shop.guest("POST", "/auth/login", wrong) for _ in range(40)]
    assert {each.status_code for each in tries} == {401, 429}
    assert 10 <= sum(each.status_code == 401 for each in tries) <= 25
    refused = next(each for each in tries if each.status_code == 429)
    assert refused.json()["code"] == "rate_limited"
    assert 0 < int(refused.headers["retry-after"]) <= 60
    # Another account is none the worse.
    Browser(shop).log_in(registered(shop))
    many = [
        shop.guest("POST", "/auth/password-reset", {"email": email}).status_code for _ in range(14)
    ]
    assert set(many) == {202, 429}
