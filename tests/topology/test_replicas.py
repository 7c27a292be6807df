"""Read replicas: spread, lag, failure, and reading one's own writes."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import Running, eventually
from rcommerce.lab import settings
from rcommerce.lab.postgres import Postgres
from topology.conftest import (
    FAST,
    count_statements,
    product_reads,
    server_for,
    shop_on,
)


@dataclass
class Replicated:
    """A shop on a primary with two replicas."""

    shop: Running
    primary: Postgres
    replicas: list[Postgres]

    def replica_states(self) -> dict[str, Any]:
        """What the instance says of its replicas."""
        answer = httpx.get(f"{self.shop.server.url}/health/ready", timeout=10).json()
        return {
            name: state["state"]
            for name, state in answer["dependencies"].items()
            if name.startswith("replica")
        }


@contextmanager
def replication(folder: Path) -> Iterator[Replicated]:
    with ExitStack() as stack:
        primary = stack.enter_context(Postgres(folder / "primary", settings=FAST))
        count_statements(primary)
        with ThreadPoolExecutor() as both:
            replicas = list(both.map(lambda name: primary.replica(folder / name), ("one", "two")))
        for replica in replicas:
            stack.callback(replica.kill)
        database = settings.database(primary, replicas)
        server = server_for(folder / "shop", database, RCOMMERCE_DATABASE__MAX_REPLICA_LAG_S="2")
        yield Replicated(stack.enter_context(shop_on(server)), primary, replicas)


@pytest.fixture
def replicated(own_folder: Path) -> Iterator[Replicated]:
    """For a test that kills some of them."""
    with replication(own_folder) as found:
        yield found


@pytest.fixture(scope="module")
def lasting(folder: Path) -> Iterator[Replicated]:
    """For the tests that leave them as they were."""
    with replication(folder / "replicas") as found:
        yield found


def delay(replica: Postgres, by: str) -> None:
    replica.configure({"recovery_min_apply_delay": by})


def read_all(url: str, count: int) -> list[int]:
    with httpx.Client(timeout=10) as client:
        return [client.get(f"{url}/api/v1/products").status_code for _ in range(count)]


def test_reads_are_spread_over_the_replicas_and_leave_the_primary_alone(
    lasting: Replicated,
) -> None:
    shop = lasting.shop
    shop.product()
    before = [product_reads(each) for each in (lasting.primary, *lasting.replicas)]
    with ThreadPoolExecutor(8) as pool:
        for statuses in pool.map(lambda _: read_all(shop.server.url, 50), range(8)):
            assert set(statuses) == {200}
    after = [product_reads(each) for each in (lasting.primary, *lasting.replicas)]
    primary, one, two = (b - a for a, b in zip(before, after, strict=True))
    assert one + two >= 400
    assert min(one, two) > 100
    assert primary < 10


def test_a_client_reads_its_own_writes_from_replicas_that_lag(lasting: Replicated) -> None:
    shop = lasting.shop
    product = shop.product()
    path = f"/products/{product['id']}"
    delay(lasting.replicas[0], "300ms")
    delay(lasting.replicas[1], "20ms")
    before = [product_reads(each) for each in lasting.replicas]
    stale, unmarked = [], 0
    url = f"{shop.server.url}/api/v1{path}"
    with httpx.Client(timeout=30, headers=shop.staff.headers) as client:
        for number in range(400):
            written = client.patch(url, json={"title": f"Title {number}"})
            assert written.status_code == 200, written.text
            token = written.headers["x-consistency-token"]
            by_header = number % 2 == 0
            if by_header:
                client.cookies.clear()
            else:
                assert client.cookies["consistency_token"] == token
            headers = {"X-Consistency-Token": token} if by_header else {}
            read = client.get(url, headers=headers)
            if read.json()["product"]["title"] != f"Title {number}":
                stale.append(number)
            client.cookies.clear()
            unmarked += client.get(url).json()["product"]["title"] != f"Title {number}"
    assert stale == []
    # Reads without a token went on to use the replicas, and could be told by it.
    assert unmarked > 40
    after = [product_reads(each) for each in lasting.replicas]
    assert sum(after) - sum(before) > 360
    for replica in lasting.replicas:
        delay(replica, "0")


def test_a_token_that_was_not_made_here_is_refused_and_a_foreign_cookie_ignored(
    lasting: Replicated,
) -> None:
    shop = lasting.shop
    for bad in ("x", "A" * 40, "é"):
        answer = httpx.get(
            f"{shop.server.url}/api/v1/products",
            headers=[(b"X-Consistency-Token", bad.encode("latin-1"))],
        )
        assert answer.status_code == 400, bad
        assert answer.json()["errors"][0]["field"] == "X-Consistency-Token"
    cookie = {"Cookie": "consistency_token=AAAA"}
    assert httpx.get(f"{shop.server.url}/api/v1/products", headers=cookie).status_code == 200


def test_a_replica_past_its_lag_leaves_and_comes_back(lasting: Replicated) -> None:
    shop, late = lasting.shop, lasting.replicas[0]
    delay(late, "1h")
    name = f"replica {late.address}"

    def is_lagging() -> bool:
        shop.product()
        return bool(lasting.replica_states()[name] == "lagging")

    eventually(is_lagging, every_s=0.3)
    before = product_reads(late)
    assert set(read_all(shop.server.url, 100)) == {200}
    assert product_reads(late) == before
    delay(late, "0")
    eventually(lambda: lasting.replica_states()[name] == "up")


def test_a_replica_that_errs_is_left_out_and_costs_no_read(replicated: Replicated) -> None:
    shop, broken = replicated.shop, replicated.replicas[0]
    shop.product()
    path = broken.query("select pg_relation_filepath('product')")[0][0]
    # So that its start does not make the file again from the log.
    replicated.primary.query("checkpoint", user="postgres")
    end = replicated.primary.query("select pg_current_wal_lsn()", user="postgres")[0][0]
    eventually(lambda: broken.query("select pg_last_wal_replay_lsn() >= %s", end)[0][0])
    broken.query("checkpoint", user="postgres")
    broken.stop()
    (broken.data / path).rename(broken.data / f"{path}.gone")
    broken.start()
    name = f"replica {broken.address}"
    eventually(lambda: replicated.replica_states()[name] == "up")
    with ThreadPoolExecutor(4) as pool:
        for statuses in pool.map(lambda _: read_all(shop.server.url, 30), range(4)):
            assert set(statuses) == {200}
    assert replicated.replica_states()[name] == "erring"


def test_killed_replicas_cost_no_read_and_come_back(replicated: Replicated) -> None:
    shop = replicated.shop
    shop.product()
    url = shop.server.url
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(read_all, url, 700) for _ in range(4)]
        time.sleep(0.3)
        replicated.replicas[0].kill()
        time.sleep(0.3)
        replicated.replicas[1].kill()  # none is left: the primary serves
        for each in running:
            statuses = each.result()
            assert set(statuses) == {200}, statuses
    assert set(replicated.replica_states().values()) == {"down"}
    for replica in replicated.replicas:
        replica.start()
    eventually(lambda: set(replicated.replica_states().values()) == {"up"})
    before = [product_reads(each) for each in replicated.replicas]
    assert set(read_all(url, 100)) == {200}
    after = [product_reads(each) for each in replicated.replicas]
    assert sum(after) - sum(before) >= 100


def test_without_a_primary_reads_go_on_and_writes_are_refused_at_once(
    replicated: Replicated,
) -> None:
    shop = replicated.shop
    product = shop.product()
    cart, shopper = shop.cart((product, 1))
    replicated.primary.kill()
    for _ in range(20):
        read = shop.staff("GET", f"/products/{product['id']}", expect=200)
        assert read.json()["product"]["id"] == product["id"]
        written = shop.guest("POST", "/carts/guest", {})
        assert written.status_code == 503, written.text
        assert int(written.headers["retry-after"]) >= 1
    shopper("GET", f"/carts/{cart}", expect=200)
    replicated.primary.start()
    eventually(lambda: shop.guest("POST", "/carts/guest", {}).status_code == 201)
