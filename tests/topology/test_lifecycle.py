"""Instances come and go, and nobody notices: SIGTERM, SIGHUP, a rolling restart under load."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from conftest import Running, completion, eventually, running
from rcommerce.bench.load import Connection, get, post
from rcommerce.lab import settings
from rcommerce.lab.nginx import Nginx
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.server import Server
from topology.conftest import FAST, QUICK, server_for, shop_on

INSTANCES = 3
RATE = 250  # requests a second
DRAIN_S = 2


@dataclass
class Balanced:
    """Three instances behind nginx."""

    instances: list[Server]
    shop: Running
    nginx: Nginx


@pytest.fixture(scope="module")
def balanced(folder: Path) -> Iterator[Balanced]:
    """On one PostgreSQL, with answers kept in memory."""
    place = folder / "lifecycle"
    more = {
        "RCOMMERCE_SERVER__DRAIN_DELAY_SECS": str(DRAIN_S),
        "RCOMMERCE_SERVER__LIMITS__RATE_LIMIT_PER_MINUTE": "0",
        "RCOMMERCE_CACHE__ENABLED": "true",
    }
    with Postgres(place / "primary", settings=FAST) as primary:
        database = settings.database(primary)
        servers = [
            server_for(place / f"instance-{number}", database, **more)
            for number in range(INSTANCES)
        ]
        with shop_on(servers[0]) as shop:
            shop.dsn = primary.conninfo("postgres")
            try:
                for each in servers[1:]:
                    each.start()
                with Nginx(place / "nginx", [each.port for each in servers]) as nginx:
                    yield Balanced(servers, shop, nginx)
            finally:
                for each in servers:
                    each.kill()


@dataclass
class Client:
    """What clients got through the balancer."""

    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    orders: int = 0
    late: int = 0  # requests that were not sent in their second


class Traffic:
    """So many requests a second: nine reads, then carts, and now and then a checkout."""

    def __init__(self, port: int, product: dict[str, Any]) -> None:
        self.client = Client()
        self._port = port
        self._product = product
        self._ending = asyncio.Event()

    async def run(self, connections: int = 40) -> None:
        async with asyncio.TaskGroup() as clients:
            for number in range(connections):
                clients.create_task(self._client(number / RATE, connections / RATE))

    def end(self) -> None:
        self._ending.set()

    async def _client(self, offset_s: float, every_s: float) -> None:
        connection = None
        due = time.perf_counter() + offset_s
        while not self._ending.is_set():
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if time.perf_counter() - due > 1.0:
                self.client.late += 1
                due = time.perf_counter()
            due += every_s
            try:
                if connection is None:
                    connection = await Connection.open(self._port)
                chance = random.random()
                if chance < 0.94:
                    await self._ask(connection, get(f"/api/v1/products/{self._product['id']}"), 200)
                else:
                    await self._shop(connection, buys=chance > 0.98)
            except (OSError, EOFError, asyncio.IncompleteReadError) as error:
                self.client.faults.append(repr(error))
                connection = None
        if connection is not None:
            connection.close()

    async def _shop(self, connection: Connection, *, buys: bool) -> None:
        made = await self._ask(connection, post("/api/v1/carts/guest", b"{}"), 201)
        if made is None:
            return
        cart, token = made["cart"]["id"], f"X-Cart-Token: {made['cart']['session_token']}\r\n"
        line = {
            "product_id": self._product["id"],
            "variant_id": self._product["variants"][0]["id"],
            "quantity": 1,
        }
        body = msgspec.json.encode(line)
        await self._ask(connection, post(f"/api/v1/carts/{cart}/items", body, token), 201)
        if not buys:
            return
        key = f"{token}Idempotency-Key: {uuid.uuid4()}\r\n"
        body = msgspec.json.encode(completion(cart))
        if await self._ask(connection, post("/api/v1/checkout/complete", body, key), 201):
            self.client.orders += 1

    async def _ask(self, connection: Connection, request: bytes, expected: int) -> Any:
        status, body = await connection.ask(request)
        self.client.statuses[status] += 1
        if status != expected:
            self.client.faults.append(f"{status}: {body[:200]!r}")
            return None
        return msgspec.json.decode(body)


@pytest.mark.timeout(300)
def test_a_rolling_restart_fails_no_request(balanced: Balanced) -> None:
    product = balanced.shop.product(stock=1_000_000)
    before = balanced.shop.query("select count(*) from sales_order")[0][0]

    async def restart(traffic: Traffic) -> None:
        await asyncio.sleep(2)
        for each in balanced.instances:
            begun = time.monotonic()
            assert await asyncio.to_thread(each.stop) == 0, each.log.read_text()[-2000:]
            assert time.monotonic() - begun >= DRAIN_S
            await asyncio.to_thread(each.start)
            await asyncio.sleep(1.5)
        traffic.end()

    async def main() -> Client:
        traffic = Traffic(balanced.nginx.port, product)
        async with asyncio.TaskGroup() as both:
            both.create_task(traffic.run())
            both.create_task(restart(traffic))
        return traffic.client

    begun = time.monotonic()
    client = asyncio.run(main())
    took_s = time.monotonic() - begun
    assert client.faults == []
    assert sum(client.statuses.values()) > 0.5 * RATE * took_s
    assert client.orders > 50
    after = balanced.shop.query("select count(*) from sales_order")[0][0]
    assert after - before == client.orders


def test_an_instance_that_ends_says_so_and_answers_until_a_second_signal(own_folder: Path) -> None:
    given = {**QUICK, "RCOMMERCE_SERVER__DRAIN_DELAY_SECS": "60"}
    with (
        Server(own_folder, settings=given) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        product = running(server).product()
        assert client.get("/health").status_code == 200
        kept = client.get(f"/api/v1/products/{product['id']}")
        assert "connection" not in kept.headers
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGTERM)
        eventually(lambda: client.get("/health").status_code == 503)
        assert client.get("/health").json()["status"] == "draining"
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health/live").status_code == 200
        for path in (f"/api/v1/products/{product['id']}", "/api/v1/openapi.json", "/"):
            answer = client.get(path)
            assert answer.status_code == 200
            assert answer.headers["connection"] == "close"
        assert client.post("/api/v1/carts/guest", json={}).status_code == 201
        os.kill(server.process.pid, signal.SIGTERM)
        assert server.process.wait(30) == 1


def test_what_is_under_way_is_finished(balanced: Balanced) -> None:
    """A request that takes longer than the drain delay: it waits for a lock."""
    server, shop = balanced.instances[2], balanced.shop
    product = shop.product()
    staff = {"Authorization": shop.staff.headers["Authorization"]}
    import psycopg

    with psycopg.connect(shop.dsn) as holder:
        holder.execute("select from product where id = %s for update", (product["id"],))

        async def main() -> httpx.Response:
            async with httpx.AsyncClient(timeout=30) as client:
                url = f"{server.url}/api/v1/products/{product['id']}"
                asked = asyncio.create_task(
                    client.patch(url, json={"title": "late"}, headers=staff)
                )
                await asyncio.sleep(0.5)
                assert server.process is not None
                os.kill(server.process.pid, signal.SIGTERM)
                await asyncio.sleep(DRAIN_S + 1)
                assert not asked.done()
                holder.rollback()
                return await asked

        assert asyncio.run(main()).status_code == 200
    assert server.process is not None
    assert server.process.wait(20) == 0
    server.start()


def test_workers_that_have_just_been_started_end_as_well(own_folder: Path) -> None:
    """A signal that comes before a worker has handlers of its own was lost on it: it was killed
    half a minute later."""
    server = Server(own_folder, workers=2, settings={"RCOMMERCE_DATABASE__DB_TYPE": "Embedded"})
    for _ in range(2):
        server.start()  # the first worker answers: the other may not
        assert server.stop() == 0
    assert "refused to gracefully stop" not in server.log.read_text()


def test_settings_are_read_anew(own_folder: Path) -> None:
    own_folder.mkdir(parents=True, exist_ok=True)
    file = own_folder / "shop.toml"
    file.write_text("[server]\ngraceful_shutdown_timeout_secs = 5\n")
    with Server(own_folder, settings={**QUICK, "RCOMMERCE_CONFIG": str(file)}) as server:
        shop = running(server)
        first = server.workers()
        assert server.process is not None
        file.write_text("[cors]\nenabled = false\n")
        os.kill(server.process.pid, signal.SIGHUP)
        eventually(lambda: "settings_not_reloaded" in server.log.read_text())
        assert server.workers() == first
        file.write_text("[media]\nmax_upload_mb = 7\n")
        os.kill(server.process.pid, signal.SIGHUP)
        statuses = set()

        def is_new() -> bool:
            # Who connects in the very moment in which a worker goes asks again, as balancers do.
            with contextlib.suppress(httpx.RemoteProtocolError):
                statuses.add(httpx.get(f"{server.url}/api/v1/products").status_code)
            return not set(first) & set(server.workers())

        eventually(is_new, timeout_s=30)
        assert statuses == {200}
        begun = shop.staff.post("/media/uploads", {})["upload"]
        assert begun["max_size_bytes"] == 7 * 1024 * 1024


def test_health_needs_neither_http_1_1_nor_a_host(balanced: Balanced) -> None:
    """As HAProxy asks by default."""
    for request in (b"GET /health HTTP/1.0\r\n\r\n", b"OPTIONS /health HTTP/1.0\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", balanced.instances[0].port), 5) as wire:
            wire.sendall(request)
            assert wire.recv(100).startswith((b"HTTP/1.0 20", b"HTTP/1.1 20"))
