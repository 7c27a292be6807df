"""The cache of several instances: never the past, whatever lags, dies or is slow."""

import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

import rcommerce
from conftest import PROPAGATION_S, Api, Running, api_key, eventually, running
from rcommerce.lab import settings
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.server import Server
from rcommerce.lab.valkey import Valkey
from topology.conftest import FAST, QUICK

CACHED = {**QUICK, "RCOMMERCE_CACHE__ENABLED": "true"}


@dataclass
class Instances:
    """Two instances on a primary, a replica, and a Valkey where `with_redis` asks for it."""

    shop: Running
    servers: list[Server]
    primary: Postgres
    replica: Postgres


@pytest.fixture
def instances(own_folder: Path, request: pytest.FixtureRequest) -> Iterator[Instances]:
    """Of one test, which may kill what it likes. `request.param` has a change of the source that
    they run on, if any, and whether there is a Redis."""
    change, with_redis = getattr(request, "param", (None, False))
    with two_instances(own_folder, change, with_redis=with_redis) as found:
        yield found


@pytest.fixture(scope="module")
def steady(folder: Path) -> Iterator[Instances]:
    """For the tests that leave them as they were."""
    with two_instances(folder / "of-cache") as found:
        yield found


@contextmanager
def two_instances(
    folder: Path, change: tuple[str, str, str] | None = None, *, with_redis: bool = False
) -> Iterator[Instances]:
    """Starts them; they end with the block."""
    source = changed_source(folder / "source", *change) if change else None
    with ExitStack() as stack:
        primary = stack.enter_context(Postgres(folder / "primary", settings=FAST))
        replica = primary.replica(folder / "replica")
        stack.callback(replica.kill)
        database = settings.database(primary, [replica])
        given = {**CACHED, **database, "RCOMMERCE_DATABASE__MAX_REPLICA_LAG_S": "60"}
        if with_redis:
            given |= settings.redis(stack.enter_context(Valkey(folder / "valkey")))
        servers = [
            Server(folder / name, settings=given, workers=workers, source=source)
            for name, workers in (("one", 2), ("two", 1))
        ]
        made = servers[0].command("db", "upgrade")
        assert made.returncode == 0, made.stderr
        with ThreadPoolExecutor() as both:
            list(both.map(stack.enter_context, servers))
        yield Instances(running(servers[0]), servers, primary, replica)


def changed_source(folder: Path, file: str, old: str, new: str) -> Path:
    """The package as it is here, but for one change."""
    package = Path(rcommerce.__file__).parent
    shutil.copytree(package, folder / "rcommerce", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "rcommerce" / file
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    return folder


def status_of(response: httpx.Response) -> str:
    return str(response.headers.get("cache-status", ""))


def shown_by(response: httpx.Response) -> int:
    """The number that was written last, as far as the answer knows."""
    if response.status_code == 404:
        return -1  # a server that lags has not even heard of the product
    return int(response.json()["product"]["short_description"] or 0)


@dataclass
class Ledger:
    """What was answered when, by the client's own clock."""

    answered: list[float] = field(default_factory=list)  # by the number that was written
    stale: list[str] = field(default_factory=list)
    own_stale: list[int] = field(default_factory=list)
    reads: int = 0
    hits: int = 0

    def read(self, begun: float, response: httpx.Response) -> None:
        shown = shown_by(response)
        self.reads += 1
        self.hits += status_of(response) == "rcommerce; hit"
        # The latest that was answered early enough.
        due = sum(at + PROPAGATION_S < begun for at in list(self.answered))
        if shown < due:
            self.stale.append(f"{shown} after {due} was answered")


WRITES, READERS, LONGEST_S = 1_000, 3, 90.0


def interleaved(instances: Instances, at_least: int) -> Ledger:
    """One who writes, and reads it at once with his token; others who read without."""
    instances.replica.configure({"recovery_min_apply_delay": "5s"})
    product = instances.shop.product()["id"]
    ledger, over = Ledger(), threading.Event()
    urls = [f"{server.url}/api/v1/products/{product}" for server in instances.servers]

    def read(number: int) -> None:
        with httpx.Client(timeout=30) as client:
            turn = number
            while not over.is_set():
                turn += 1
                begun = time.monotonic()
                ledger.read(begun, client.get(urls[turn % 2]))

    readers = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
    time.sleep(PROPAGATION_S)
    for reader in readers:
        reader.start()
    begun = time.monotonic()
    try:
        with httpx.Client(timeout=30) as writer, httpx.Client(timeout=30) as own:
            number = 0
            while time.monotonic() < begun + LONGEST_S:
                number += 1
                answer = writer.patch(
                    urls[number % 2],
                    json={"short_description": str(number)},
                    headers=instances.shop.staff.headers,
                )
                ledger.answered.append(time.monotonic())
                assert answer.status_code == 200, answer.text
                token = answer.headers["x-consistency-token"]
                seen = own.get(urls[(number + 1) % 2], headers={"X-Consistency-Token": token})
                own.cookies.clear()
                if shown_by(seen) != number:
                    ledger.own_stale.append(number)
                if ledger.reads + 2 * number >= at_least and number >= WRITES // 10:
                    break
                if number % 10 == 0:
                    time.sleep(PROPAGATION_S * 1.2)  # so that pages are kept, and hit, meanwhile
    finally:
        over.set()
        for reader in readers:
            reader.join()
    return ledger


@pytest.mark.parametrize("instances", [(None, True)], indirect=True)
def test_no_read_is_older_than_the_bound_and_none_is_to_its_writer(instances: Instances) -> None:
    ledger = interleaved(instances, at_least=10_000)
    assert ledger.own_stale == []
    assert ledger.stale == []
    assert ledger.reads + 2 * len(ledger.answered) >= 10_000
    assert ledger.hits > ledger.reads // 4, (ledger.hits, ledger.reads)


NO_POSITIONS = (
    "cache/positions.py",
    "        return found\n",
    "        return 0\n",
)


@pytest.mark.parametrize("instances", [(NO_POSITIONS, True)], indirect=True)
def test_without_the_positions_the_past_comes_back(instances: Instances) -> None:
    """So the test above can fail: a replica that lags fills the caches with what is old."""
    ledger = interleaved(instances, at_least=1_500)
    assert ledger.stale


def test_what_a_process_that_died_has_written_is_published_by_another(
    steady: Instances,
) -> None:
    product = steady.shop.product()["id"]
    url = f"{steady.servers[1].url}/api/v1/products/{product}"
    eventually(lambda: status_of(httpx.get(url)) == "rcommerce; hit")
    # As after a crash: committed, and nobody left who would tell.
    with psycopg.connect(steady.primary.conninfo(), autocommit=True) as connection:
        connection.execute(
            "update product set title = 'Of a dead process' where id = %s", [product]
        )
    eventually(lambda: httpx.get(url).json()["product"]["title"] == "Of a dead process", 3.0)


def test_without_its_channel_a_process_serves_nothing_from_memory(steady: Instances) -> None:
    product = steady.shop.product()["id"]
    url = f"{steady.servers[1].url}/api/v1/products/{product}"
    eventually(lambda: status_of(httpx.get(url)) == "rcommerce; hit")
    steady.primary.query(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'rcommerce listener'",
        user="postgres",
    )
    # As soon as it notices, and however soon it listens again: what it had is gone.
    eventually(lambda: status_of(httpx.get(url)) != "rcommerce; hit", 2, every_s=0.002)
    eventually(lambda: status_of(httpx.get(url)) == "rcommerce; hit")


def test_while_no_database_answers_an_old_page_is_better_than_none(instances: Instances) -> None:
    product = instances.shop.product()["id"]
    url = f"{instances.servers[1].url}/api/v1/products/{product}"
    eventually(lambda: status_of(httpx.get(url)) == "rcommerce; hit")
    instances.replica.kill()
    instances.primary.kill()
    eventually(lambda: "fwd=stale" in status_of(httpx.get(url)))
    assert httpx.get(url).status_code == 200
    assert httpx.get(f"{instances.servers[1].url}/api/v1/products").status_code == 503
    instances.primary.start()
    eventually(lambda: status_of(httpx.get(url)) == "rcommerce; hit", 30.0)


def test_many_who_miss_together_cost_one_query(instances: Instances) -> None:
    """In one process; instances that share a Redis share this, too."""
    product = instances.shop.product()["id"]
    server = instances.servers[1]
    instances.replica.kill()
    primary = instances.primary
    primary.query("create extension if not exists pg_stat_statements", user="postgres")
    eventually(lambda: httpx.get(f"{server.url}/health/ready").json()["status"] == "degraded")
    primary.query("select pg_stat_statements_reset()", user="postgres")
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(httpx.get(f"{server.url}/api/v1/products/{product}").status_code)

    threads = [threading.Thread(target=ask) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 100
    rows = primary.query(
        "select coalesce(sum(calls), 0) from pg_stat_statements where query like '%seo_title%'"
        " and query not like '%pg_stat%'",
        user="postgres",
    )
    assert int(rows[0][0]) == 1


def test_a_shopper_with_a_token_is_served_from_memory_again_in_a_moment(
    steady: Instances,
) -> None:
    product = steady.shop.product()["id"]
    url = f"{steady.servers[1].url}/api/v1/products/{product}"
    with httpx.Client(timeout=30) as browser:
        made = browser.post(f"{steady.servers[1].url}/api/v1/carts/guest", json={})
        assert made.status_code == 201
        assert browser.cookies["consistency_token"]
        eventually(lambda: status_of(browser.get(url)) == "rcommerce; hit", 2.0)


def test_a_suspended_shop_is_closed_though_its_pages_are_in_memory(steady: Instances) -> None:
    server = steady.servers[1]
    made = server.command("tenant", "create", "acme", "--currency", "EUR")
    assert made.returncode == 0, made.stderr
    tenant = made.stdout.split("X-Tenant-ID ")[1].split()[0]
    key = api_key(server, "--all", "--tenant", tenant)
    staff = Api(server.url, {"Authorization": f"Bearer {key}"})
    product: dict[str, Any] = staff.post(
        "/products", {"title": "Tea", "price": "1.00", "status": "active"}
    )["product"]
    url = f"{server.url}/api/v1/products/{product['id']}"
    headers = {"X-Tenant-ID": tenant}
    eventually(lambda: status_of(httpx.get(url, headers=headers)) == "rcommerce; hit")
    assert httpx.get(url).status_code == 404  # another shop's
    assert server.command("tenant", "suspend", "acme").returncode == 0
    eventually(lambda: httpx.get(url, headers=headers).status_code == 403, 5.0)
