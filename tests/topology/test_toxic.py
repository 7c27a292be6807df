"""Every dependency behind a bad wire: refused, silent, slow, cut. What was promised holds, and all
is well once the wire is."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import SETTINGS, Running, completion, eventually, picture, running
from rcommerce.lab import settings
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.seaweedfs import SeaweedFS
from rcommerce.lab.server import Server
from rcommerce.lab.toxic import Toxic
from rcommerce.lab.valkey import Valkey
from topology.conftest import FAST


@dataclass
class Wired:
    """A shop, whose every dependency is behind a proxy."""

    shop: Running
    wires: dict[str, Toxic]
    product: dict[str, Any] = field(default_factory=dict)

    def state(self, wire: str) -> Any:
        """What the instance says of a dependency."""
        names = {"database": "database", "media": "media"}
        name = names.get(wire) or f"{wire} {self.wires[wire].address}"
        ready = httpx.get(f"{self.shop.guest.url}/health/ready", timeout=10)
        return ready.json()["dependencies"].get(name, {}).get("state")


@pytest.fixture(scope="module")
def wired(folder: Path) -> Iterator[Wired]:
    """A primary, a replica, a Valkey and an S3 server."""
    at = folder / "toxic"
    with ExitStack() as stack:
        primary = stack.enter_context(Postgres(at / "primary", settings=FAST))
        replica = primary.replica(at / "replica")
        stack.callback(replica.kill)
        valkey = stack.enter_context(Valkey(at / "valkey"))
        s3 = stack.enter_context(SeaweedFS(at / "s3"))
        wires = {
            "database": stack.enter_context(Toxic(primary.port)),
            "replica": stack.enter_context(Toxic(replica.port)),
            "redis": stack.enter_context(Toxic(valkey.port)),
            "media": stack.enter_context(Toxic(s3.port)),
        }
        given = {
            **SETTINGS,
            **settings.database(primary),
            **s3.settings,
            "RCOMMERCE_DATABASE__HOSTS": wires["database"].address,
            "RCOMMERCE_DATABASE__DIRECT_HOSTS": primary.address,
            "RCOMMERCE_DATABASE__READ_REPLICAS": wires["replica"].address,
            "RCOMMERCE_CACHE__CACHE_TYPE": "Redis",
            "RCOMMERCE_CACHE__REDIS_URL": f"redis://{wires['redis'].address}",
            "RCOMMERCE_CACHE__MAX_SIZE_MB": "0",  # every read comes to Redis, or the database
            "RCOMMERCE_MEDIA__S3_ENDPOINT": f"http://{wires['media'].address}",
            "RCOMMERCE_MEDIA__TIMEOUT_SECS": "2",
        }
        server = Server(at / "shop", settings=given)
        made = server.command("db", "upgrade")
        assert made.returncode == 0, made.stderr
        stack.callback(server.kill)
        server.start()
        shop = running(server, primary.conninfo())
        yield Wired(shop, wires, shop.product(stock=100_000))


@contextmanager
def reading(wired: Wired) -> Iterator[list[httpx.Response]]:
    """Four clients that read meanwhile: what they got."""
    answers: list[httpx.Response] = []
    stop = threading.Event()
    url = f"{wired.shop.guest.url}/api/v1/products"

    def client(number: int) -> None:
        with httpx.Client(timeout=30) as client:
            turn = 0
            while not stop.is_set():
                turn += 1
                # Half of them are in Redis, half in nothing but the database.
                address = f"{url}/{wired.product['id']}"
                if turn % 2:
                    address = f"{url}?per_page=1&vendor=none-{number}-{turn}"
                answers.append(client.get(address))

    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for each in clients:
        each.start()
    try:
        yield answers
    finally:
        stop.set()
        for each in clients:
            each.join()


def refuse(wire: Toxic) -> None:
    wire.refuse()


def hang(wire: Toxic) -> None:
    wire.hush()


def slow(wire: Toxic) -> None:
    wire.delay_s = 1.5


def sluggish(wire: Toxic) -> None:
    wire.delay_s = 0.5  # within every deadline


def cut(wire: Toxic) -> None:
    wire.cut()


def heal(wire: Toxic) -> None:
    wire.heal()
    wire.accept()


@pytest.mark.parametrize("harm", [refuse, hang, slow, cut], ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("name", ["replica", "redis"])
def test_reads_go_on_without_it(wired: Wired, name: str, harm: Callable[[Toxic], None]) -> None:
    wire = wired.wires[name]
    eventually(lambda: wired.state(name) == "up", timeout_s=30)
    with reading(wired) as answers:
        time.sleep(0.5)
        harm(wire)
        try:
            if harm is cut:
                time.sleep(2)
            else:
                eventually(lambda: wired.state(name) == "down", timeout_s=15)
                known = len(answers)
                # Known to be away: reads go on without it.
                eventually(lambda: len(answers) > known + 100)
        finally:
            heal(wire)
        time.sleep(0.5)
    assert {each.status_code for each in answers} == {200}
    eventually(lambda: wired.state(name) == "up", timeout_s=30)


@pytest.mark.parametrize("harm", [refuse, hang, slow], ids=lambda harm: harm.__name__)
def test_without_a_primary_reads_go_on_and_writes_are_refused_at_once(
    wired: Wired, harm: Callable[[Toxic], None]
) -> None:
    wire, shop = wired.wires["database"], wired.shop
    eventually(lambda: wired.state("database") == "up", timeout_s=30)
    cart, shopper = shop.cart((wired.product, 1))
    line = {"product_id": wired.product["id"], "quantity": 1}
    with reading(wired) as answers:
        harm(wire)
        try:
            eventually(lambda: wired.state("database") == "down", timeout_s=15)
            refused = shopper("POST", f"/carts/{cart}/items", line, expect=503)
            assert refused.json()["code"] == "database_unavailable"
            assert refused.headers["Retry-After"]
            time.sleep(1.0)
        finally:
            heal(wire)
    assert {each.status_code for each in answers} == {200}
    eventually(lambda: wired.state("database") == "up", timeout_s=30)
    eventually(lambda: shopper("POST", f"/carts/{cart}/items", line).status_code == 201)


@pytest.mark.parametrize("harm", [refuse, hang, sluggish, cut], ids=lambda harm: harm.__name__)
def test_without_its_store_only_media_fail(wired: Wired, harm: Callable[[Toxic], None]) -> None:
    wire, shop = wired.wires["media"], wired.shop
    url = f"{shop.guest.url}/api/v1/media"

    def upload() -> httpx.Response:
        files = {"file": ("a.jpg", picture())}
        return httpx.post(url, files=files, headers=shop.staff.headers, timeout=60)

    eventually(lambda: upload().status_code == 201, timeout_s=30)
    shown = f"{shop.guest.url}{upload().json()['media']['url']}"
    with reading(wired) as answers:
        harm(wire)
        try:
            for _ in range(4):
                given = httpx.get(shown, timeout=60)
                # A slow store is a slow store; one that is away is said to be.
                assert given.status_code == (200 if harm in (sluggish, cut) else 503)
            if harm in (refuse, hang):
                assert wired.state("media") == "down"
                assert upload().json()["code"] == "media_unavailable"
        finally:
            heal(wire)
    assert {each.status_code for each in answers} == {200}
    eventually(lambda: upload().status_code == 201, timeout_s=30)


def test_a_gateway_that_fails_is_left_alone_before_anything_is_reserved(wired: Wired) -> None:
    shop = wired.shop
    product = shop.product(stock=50)

    def pay(token: str, gateway: str = "test") -> tuple[int, str]:
        cart, shopper = shop.cart((product, 1))
        body = {
            "cart_id": cart,
            "customer_email": "ada@example.com",
            "shipping_address": completion(cart)["shipping_address"],
            "payment_method": {"type": "card", "gateway_id": gateway, "token": token},
        }
        answer = shopper("POST", "/checkout/complete", body)
        return answer.status_code, answer.json().get("code", "")

    def reserved() -> int:
        """By the primary: replicas are read from by who has not written."""
        sql = "select reserved from inventory_level where variant_id = %s"
        return int(shop.query(sql, product["variants"][0]["id"])[0][0])

    for _ in range(3):
        assert pay("tok_fail") == (503, "gateway_unavailable")
    assert reserved() == 3  # whether those were charged is not known yet
    assert pay("tok_approve") == (503, "gateway_unavailable")
    assert reserved() == 3  # nothing was reserved for it
    ready = httpx.get(f"{shop.guest.url}/health/ready").json()["dependencies"]
    assert ready["gateway test"]["state"] == "down"
    assert ready["gateway test"]["cause"]
    # Another one goes on; and after a rest one order finds out that it is back.
    assert pay("", "manual")[0] == 201
    eventually(lambda: pay("tok_approve")[0] == 201, timeout_s=20, every_s=1)
    ready = httpx.get(f"{shop.guest.url}/health/ready").json()["dependencies"]
    assert ready["gateway test"] == {"state": "up", "breaker": "closed"}
