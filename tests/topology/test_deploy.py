"""What `rcommerce deploy` renders, run for real before instances of the server."""

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from conftest import Running, completion, eventually, running
from deploy_files import fleet_in
from rcommerce.database import binaries
from rcommerce.deploy.render import rendered
from rcommerce.errors import StartError
from rcommerce.lab import pgbouncer, settings
from rcommerce.lab.haproxy import HAProxy
from rcommerce.lab.nginx import Nginx
from rcommerce.lab.postgres import DATABASE, USER, Postgres
from rcommerce.lab.process import Process
from rcommerce.lab.server import Server
from rcommerce.ports import free_port
from topology.conftest import FAST, QUICK, server_for, shop_on
from topology.test_lifecycle import Client, Traffic

DRAIN_S = 60  # longer than a test: a second signal ends it


@dataclass
class Three:
    """Instances of one shop."""

    instances: list[Server]
    shop: Running

    @property
    def ports(self) -> list[int]:
        return [each.port for each in self.instances]


@pytest.fixture(scope="module")
def three(folder: Path) -> Iterator[Three]:
    place = folder / "deploy"
    more = {
        "RCOMMERCE_SERVER__DRAIN_DELAY_SECS": str(DRAIN_S),
        "RCOMMERCE_SERVER__LIMITS__RATE_LIMIT_PER_MINUTE": "0",
        "RCOMMERCE_CACHE__ENABLED": "true",
    }
    with Postgres(place / "primary", settings=FAST) as primary:
        database = settings.database(primary)
        servers = [server_for(place / f"shop-{n}", database, **more) for n in range(3)]
        with shop_on(servers[0]) as shop:
            try:
                for each in servers[1:]:
                    each.start()
                yield Three(servers, shop)
            finally:
                for each in servers:
                    each.kill()


def status(nginx: Nginx) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{nginx.admin_url}/status").json()
    return found


def _has_group(nginx: Nginx, name: str) -> bool:
    return bool(status(nginx)["group"] == name)


@pytest.mark.timeout(120)
def test_nginx_takes_out_an_instance_that_was_killed_and_fails_nothing_after(
    three: Three, own_folder: Path
) -> None:
    product = three.shop.product(stock=1_000_000)
    victim = three.instances[2]
    # No second try: what fails is seen to.
    with Nginx(own_folder / "nginx", three.ports, max_fails=0) as nginx:
        eventually(lambda: status(nginx)["group"] == "rcommerce")

        async def main() -> tuple[list[str], int]:
            traffic = Traffic(nginx.port, product)
            async with asyncio.TaskGroup() as both:
                both.create_task(traffic.run())
                await asyncio.sleep(1)
                victim.kill()
                gone = partial(_has_group, nginx, "rcommerce_without_3")
                await asyncio.to_thread(eventually, gone)
                await asyncio.sleep(1)  # from the second after it noticed
                traffic.client.faults.clear()
                begun = sum(traffic.client.statuses.values())
                await asyncio.sleep(3)
                traffic.end()
            return traffic.client.faults, sum(traffic.client.statuses.values()) - begun

        faults, answered = asyncio.run(main())
        assert faults == []
        assert answered > 100
        victim.start()
        eventually(lambda: status(nginx)["group"] == "rcommerce")


def requests_of(server: Server) -> float:
    """How many requests of clients an instance has answered."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("http_requests_total") and "/api/v1/" in line
    )


def _has_answered(client: Client, count: int) -> bool:
    return sum(client.statuses.values()) >= count


def _is_unasked(server: Server, seconds: float) -> bool:
    before = requests_of(server)
    time.sleep(seconds)
    return requests_of(server) == before


def drains_unasked(three: Three, port: int, *, number: int) -> None:
    """An instance that drains is asked nothing more once its checks have failed."""
    server = three.instances[number]
    assert server.process is not None
    process = server.process
    product = three.shop.product(stock=1_000_000)

    async def main() -> Client:
        traffic = Traffic(port, product)
        async with asyncio.TaskGroup() as both:
            both.create_task(traffic.run())
            await asyncio.to_thread(eventually, lambda: requests_of(server) > 100)
            os.kill(process.pid, signal.SIGTERM)
            await asyncio.to_thread(eventually, partial(_is_unasked, server, 1.5))
            os.kill(process.pid, signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 30) == 1
            answered = sum(traffic.client.statuses.values())
            more = partial(_has_answered, traffic.client, answered + 100)
            await asyncio.to_thread(eventually, more)
            traffic.end()
        return traffic.client

    try:
        assert asyncio.run(main()).faults == []
    finally:
        server.kill()
        server.start()


@pytest.mark.timeout(120)
def test_nginx_asks_an_instance_that_drains_nothing_more(three: Three, own_folder: Path) -> None:
    with Nginx(own_folder / "nginx", three.ports) as nginx:
        drains_unasked(three, nginx.port, number=1)


@pytest.mark.timeout(120)
def test_haproxy_asks_an_instance_that_drains_nothing_more(three: Three, own_folder: Path) -> None:
    try:
        haproxy = HAProxy(own_folder / "haproxy", three.ports)
    except StartError as error:
        pytest.skip(str(error))
    with haproxy:
        drains_unasked(three, haproxy.port, number=1)


def test_nginx_keeps_what_is_everybodys_and_forgets_it_when_told(
    three: Three, own_folder: Path
) -> None:
    product = three.shop.product(stock=5)
    with Nginx(own_folder / "nginx", three.ports, micro_cache_s=60) as nginx:
        url = f"{nginx.url}/api/v1/products/{product['id']}"

        def kept(**headers: str) -> str:
            answer = httpx.get(url, headers=headers)
            assert answer.status_code == 200
            return str(answer.headers.get("x-cache", ""))

        assert kept() == "MISS"
        assert kept() == "HIT"
        # Who is somebody, or waits for what he wrote, asks an instance.
        assert kept(Authorization=three.shop.staff.headers["Authorization"]) == "BYPASS"
        assert kept(Cookie="consistency=x") == "BYPASS"
        assert kept() == "HIT"
        refused = httpx.get(f"{nginx.admin_url}/purge?host=127.0.0.1")
        assert refused.status_code == 400
        purged = httpx.post(f"{nginx.admin_url}/purge?host=127.0.0.1")
        assert purged.status_code == 200, purged.text
        assert kept() == "MISS"
        # A cart is nobody else's.
        assert "x-cache" not in httpx.post(f"{nginx.url}/api/v1/carts/guest", json={}).headers


def test_nginx_gives_what_it_kept_while_no_instance_answers(own_folder: Path) -> None:
    with Server(own_folder / "shop", settings={**QUICK, "RCOMMERCE_CACHE__ENABLED": "true"}) as one:
        product = running(one).product()
        with Nginx(own_folder / "nginx", [one.port], micro_cache_s=1) as nginx:
            url = f"{nginx.url}/api/v1/products/{product['id']}"
            assert httpx.get(url).status_code == 200
            one.kill()
            time.sleep(2.5)
            assert httpx.get(url).headers["x-cache"] in {"STALE", "UPDATING"}
            one.start()


def test_one_client_may_not_ask_too_often(three: Three, own_folder: Path) -> None:
    given = {"requests_per_second": 1, "request_burst": 4}
    with Nginx(own_folder / "nginx", three.ports, **given) as nginx:
        statuses = [httpx.get(f"{nginx.url}/api/v1/products").status_code for _ in range(12)]
    assert statuses.count(200) in {5, 6}
    assert statuses.count(429) >= 6


@contextlib.contextmanager
def pooler_as_rendered(folder: Path, primary: Postgres, auth_type: str) -> Iterator[str]:
    """PgBouncer on the file that is rendered for a fleet; where it listens."""
    port = free_port()
    place = folder / "pgbouncer"
    place.mkdir(parents=True)
    text = dict(
        rendered(
            fleet_in(
                folder,
                "[instances]\nmax = 3\n[pgbouncer]\n"
                f'listen_addr = "127.0.0.1"\nauth_type = "{auth_type}"\n'
                f'auth_file = "{place}/userlist.txt"\n',
                f'[database]\nhosts = ["127.0.0.1:{port}"]\npooler = "pgbouncer"\n'
                f'direct_hosts = ["127.0.0.1:{primary.port}"]\ndatabase = "{DATABASE}"\n'
                f'username = "{USER}"\n',
            ),
            "pgbouncer",
        )
    )["pgbouncer/pgbouncer.ini"]
    (place / "pgbouncer.ini").write_text(text)
    # The statement of the file's own comment makes the list of users.
    statement = re.search(r'psql -Atc "(.*)"', text)
    assert statement is not None
    rows = primary.query(statement[1].replace('\\"', '"'), user="postgres")
    (place / "userlist.txt").write_text("".join(f"{row[0]}\n" for row in rows))
    binaries.let_in(folder)
    for each in (place, *place.iterdir()):
        binaries.give(each)
    command = [str(pgbouncer.program()), "-q", str(place / "pgbouncer.ini")]
    process = Process("PgBouncer", command, place / "pgbouncer.log")
    process.start()
    try:
        process.await_port(port)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()


def test_a_shop_sells_through_the_pooler_that_is_rendered(own_folder: Path) -> None:
    try:
        pgbouncer.program()
    except StartError as error:
        pytest.skip(str(error))
    with Postgres(own_folder / "primary", settings=FAST) as primary:
        assert "SCRAM-SHA-256" in str(
            primary.query(
                "select rolpassword from pg_authid where rolname = %s", USER, user="postgres"
            )
        )
        with pooler_as_rendered(own_folder, primary, "scram-sha-256") as address:
            database = settings.database(primary)
            given = {
                **QUICK,
                **database,
                "RCOMMERCE_DATABASE__HOSTS": address,
                "RCOMMERCE_DATABASE__POOLER": "pgbouncer",
                "RCOMMERCE_DATABASE__DIRECT_HOSTS": f"127.0.0.1:{primary.port}",
            }
            with shop_on(Server(own_folder / "shop", settings=given)) as shop:
                product = shop.product(stock=3)
                cart, shopper = shop.cart((product, 1))
                shopper.post("/checkout/complete", completion(cart))
            with pytest.raises(psycopg.OperationalError, match="authentication failed"):
                psycopg.connect(f"host=127.0.0.1 port={address.rpartition(':')[2]}"
                                f" dbname={DATABASE} user={USER} password=wrong")  # fmt: skip
