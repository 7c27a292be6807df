"""What is under way for a request ends with its time, and with its client."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from conftest import SETTINGS, Running, completion, eventually
from rcommerce.lab import settings
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.server import Server
from rcommerce.resilience.shedding import START
from topology.conftest import FAST, shop_on

PATIENT = {  # statements wait longer than any request has time
    "RCOMMERCE_DATABASE__LOCK_TIMEOUT_SECS": "60",
    "RCOMMERCE_DATABASE__STATEMENT_TIMEOUT_SECS": "60",
    "RCOMMERCE_CHECKOUT__SWEEP_INTERVAL_SECS": "3600",  # it would wait as well
}


@pytest.fixture(scope="module")
def locked_shop(folder: Path) -> Iterator[tuple[Running, Postgres]]:
    """A shop, and its database, whose tables a test may lock."""
    place = folder / "budgets"
    with Postgres(place / "primary", settings=FAST) as primary:
        given = {**SETTINGS, **settings.database(primary), **PATIENT}
        with shop_on(Server(place / "shop", settings=given)) as shop:
            yield shop, primary


@contextlib.contextmanager
def locked(primary: Postgres, table: str) -> Iterator[None]:
    """Nobody reads or writes the table meanwhile."""
    with psycopg.connect(primary.conninfo("postgres")) as connection:
        connection.execute(f"lock table {table} in access exclusive mode")
        yield


def waiting(primary: Postgres) -> int:
    """Statements that wait for a lock."""
    rows = primary.query(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock'", user="postgres"
    )
    return int(rows[0][0])


def send_and_leave(url: str, request: str, after_s: float) -> None:
    """A client that does not wait for its answer."""
    at = urlsplit(url)
    with socket.create_connection((at.hostname or "", at.port or 0)) as connection:
        connection.sendall(request.encode())
        time.sleep(after_s)


def test_a_request_whose_time_is_over_is_told_so_and_its_statement_ends(
    locked_shop: tuple[Running, Postgres],
) -> None:
    shop, primary = locked_shop
    product = shop.product()
    cart, shopper = shop.cart((product, 1))
    with locked(primary, "cart"):
        late = shopper("GET", f"/carts/{cart}", expect=503, X_Request_Timeout="0.5")
        assert late.json()["code"] == "deadline_exceeded"
        assert late.headers["Retry-After"]
        eventually(lambda: waiting(primary) == 0, timeout_s=3)
        written = shopper(
            "POST", f"/carts/{cart}/items", {"product_id": product["id"], "quantity": 1},
            expect=503, X_Request_Timeout="0.5",
        )  # fmt: skip
        assert written.json()["code"] == "deadline_exceeded"
        eventually(lambda: waiting(primary) == 0, timeout_s=3)
    assert len(shopper.get(f"/carts/{cart}")["items"]) == 1


@pytest.mark.parametrize("given", ["soon", "-1", "0", "1e3", ""])
def test_a_time_that_is_none_is_refused(locked_shop: tuple[Running, Postgres], given: str) -> None:
    shop, _ = locked_shop
    answer = httpx.get(f"{shop.guest.url}/api/v1/carts/me", headers={"X-Request-Timeout": given})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "X-Request-Timeout"


def test_a_client_that_goes_away_takes_its_statement_with_it(
    locked_shop: tuple[Running, Postgres],
) -> None:
    shop, primary = locked_shop
    cart, shopper = shop.cart((shop.product(), 1))
    token = shopper.headers["X-Cart-Token"]
    request = f"GET /api/v1/carts/{cart} HTTP/1.1\r\nHost: x\r\nX-Cart-Token: {token}\r\n\r\n"
    with locked(primary, "cart"):
        send_and_leave(shop.guest.url, request, 0.1)
        time.sleep(0.1)
        send_and_leave(shop.guest.url, request, 0.6)
        eventually(lambda: waiting(primary) == 0, timeout_s=3)

    def gone() -> bool:
        text = httpx.get(f"{shop.guest.url}/metrics").text
        name = 'http_requests_total{method="GET",route="/api/v1/carts/{cart_id}",status="499"}'
        return f"{name} 2.0" in text

    eventually(gone)
    assert shopper.get(f"/carts/{cart}")["items"]


def test_what_money_depends_on_goes_on_without_its_client(
    locked_shop: tuple[Running, Postgres],
) -> None:
    shop, primary = locked_shop
    product = shop.product(stock=5)
    cart, shopper = shop.cart((product, 1))
    token = shopper.headers["X-Cart-Token"]
    body = httpx.Request("POST", "http://x", json=completion(cart)).content.decode()
    request = (
        f"POST /api/v1/checkout/complete HTTP/1.1\r\nHost: x\r\nX-Cart-Token: {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n\r\n{body}"
    )
    with locked(primary, "payment"):
        send_and_leave(shop.guest.url, request, 1.0)
        time.sleep(0.5)
        assert waiting(primary) == 1
    eventually(
        lambda: (
            primary.query("select status, payment_status from sales_order")
            == [("confirmed", "paid")]
        )
    )


def test_who_has_waited_too_long_in_line_is_refused_and_health_never_is(
    locked_shop: tuple[Running, Postgres],
) -> None:
    """More carts than the server works on at a time, none of which gets an answer."""
    shop, primary = locked_shop
    cart, shopper = shop.cart((shop.product(), 1))
    url = f"{shopper.url}/api/v1/carts/{cart}"
    headers = {**shopper.headers, "Origin": "https://a.example", "X-Request-Timeout": "10"}
    more = START + 50

    async def ask(client: httpx.AsyncClient) -> tuple[httpx.Response, float]:
        begun = time.monotonic()
        return await client.get(url, headers=headers), time.monotonic() - begun

    async def all_at_once() -> list[tuple[httpx.Response, float]]:
        limits = httpx.Limits(max_connections=more + 1)
        async with httpx.AsyncClient(timeout=30, limits=limits) as client:
            asked = [asyncio.create_task(ask(client)) for _ in range(more)]
            await asyncio.wait(asked, timeout=4)
            assert (await client.get(f"{shop.server.url}/health")).status_code == 200
            return await asyncio.gather(*asked)

    with locked(primary, "cart"):
        answers = asyncio.run(all_at_once())
    refused = [each for each in answers if each[0].json()["code"] == "overloaded"]
    let_in_s = [took_s for answer, took_s in answers if answer.json()["code"] != "overloaded"]
    assert len(refused) >= 50
    assert len(let_in_s) > START / 2
    for answer, took_s in refused:
        assert answer.status_code == 503
        assert took_s < min(let_in_s)
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["X-Request-ID"]
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    shopper.get(f"/carts/{cart}")
