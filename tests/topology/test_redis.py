"""The level that instances share: one fill for all, and what happens when Redis dies."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import Running, eventually, running
from rcommerce.cache.shared import FORMAT
from rcommerce.errors import StartError
from rcommerce.lab import settings
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.server import Server
from rcommerce.lab.valkey import Cluster, Valkey, redis_program
from topology.conftest import FAST, QUICK, count_statements, product_reads
from topology.test_cache import changed_source, status_of

SHARED = "rcommerce; hit; detail=redis"


@pytest.fixture(scope="module")
def primary(folder: Path) -> Iterator[Postgres]:
    """One database for all tests of this file: what differs is Redis."""
    with Postgres(folder / "primary-of-redis", settings=FAST) as server:
        yield server


@dataclass
class Fleet:
    """Two instances, with two workers and one."""

    shop: Running
    servers: list[Server]
    primary: Postgres


@contextmanager
def fleet(
    folder: Path,
    primary: Postgres,
    redis: dict[str, str],
    more: Mapping[str, str] | None = None,
    *,
    sources: tuple[Path | None, Path | None] = (None, None),
) -> Iterator[Fleet]:
    """Instances on this Redis."""
    given = {**QUICK, **settings.database(primary), **redis, **(more or {})}
    servers = [
        Server(folder / name, settings=given, workers=workers, source=source)
        for name, workers, source in (("one", 2, sources[0]), ("two", 1, sources[1]))
    ]
    made = servers[0].command("db", "upgrade")
    assert made.returncode == 0, made.stderr
    with ExitStack() as stack:
        with ThreadPoolExecutor() as both:
            list(both.map(stack.enter_context, servers))
        yield Fleet(running(servers[0]), servers, primary)


@pytest.fixture
def valkey(own_folder: Path) -> Iterator[Valkey]:
    with Valkey(own_folder / "valkey") as server:
        yield server


NO_MEMORY = {"RCOMMERCE_CACHE__MAX_SIZE_MB": "0"}


@pytest.fixture(scope="module")
def steady(folder: Path) -> Iterator[Valkey]:
    with Valkey(folder / "valkey-of-redis") as server:
        yield server


@pytest.fixture(scope="module")
def those(folder: Path, primary: Postgres, steady: Valkey) -> Iterator[Fleet]:
    """For the tests that leave them as they were; process memory is off."""
    with fleet(folder / "of-redis", primary, settings.redis(steady), NO_MEMORY) as found:
        yield found


def test_what_one_instance_has_read_the_others_need_not(those: Fleet, steady: Valkey) -> None:
    path = f"/api/v1/products/{those.shop.product()['id']}"
    eventually(lambda: status_of(httpx.get(those.servers[0].url + path)) == SHARED)
    assert status_of(httpx.get(those.servers[1].url + path)) == SHARED
    # A change is not given by Redis, on any instance.
    product = path.rpartition("/")[2]
    those.shop.staff("PATCH", f"/products/{product}", {"title": "Renamed"}, expect=200)
    time.sleep(0.25)
    for server in those.servers:
        assert httpx.get(server.url + path).json()["product"]["title"] == "Renamed"
    keys = [key.decode() for key in steady.client().keys("rcommerce:product:*")]
    assert any(key.endswith(f":{path}}}") for key in keys), keys
    looks_into_it(those.servers[0], path)
    assert all(steady.client().ttl(key) <= 300 for key in keys)


def looks_into_it(server: Server, path: str) -> None:
    """What an operator sees of it by the commands."""

    def reported(*arguments: str) -> dict[str, Any]:
        done = server.command("cache", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    product = path.rpartition("/")[2]
    entry = reported("inspect", path)
    assert entry["is_true"]
    assert f"product:{product}" in entry["tags"]
    assert 0 < entry["ttl_s"] <= 300
    assert reported("purge", f"product:{product}") == {"purged": [f"product:{product}"]}
    assert not reported("inspect", path)["is_true"]
    absent = server.command("cache", "inspect", "/api/v1/products/nothing")
    assert absent.returncode == 1
    assert "no entry for" in absent.stderr
    assert reported("stats", "--url", server.url)["redis"]["keys of product"] >= 1
    # Of the worker that does not answer, the figures are up to a second old.
    eventually(lambda: reported("stats", "--url", server.url)["memory"]["redis_hits"] > 0)
    doctor = server.command("doctor")
    assert "Valkey 8" in doctor.stdout, doctor.stdout


def test_a_thousand_who_miss_at_once_cost_one_query_in_the_whole_fleet(those: Fleet) -> None:
    product = those.shop.product()["id"]
    count_statements(those.primary)
    those.primary.query("select pg_stat_statements_reset()", user="postgres")
    statuses = Counter[int]()

    def ask(url: str) -> None:
        with httpx.Client(timeout=60) as client:
            for _ in range(10):
                statuses[client.get(f"{url}/api/v1/products/{product}").status_code] += 1

    together(100, lambda number: ask(those.servers[number % 2].url))
    assert statuses == {200: 1000}
    assert product_reads(those.primary) == 1


def test_two_releases_share_a_redis(own_folder: Path, primary: Postgres, valkey: Valkey) -> None:
    """Each format of what is kept has keys of its own."""
    this, next_one = (f"\nFORMAT = {number}" for number in (FORMAT, FORMAT + 1))
    other = changed_source(own_folder / "source", "cache/shared.py", this, next_one)
    redis = {**settings.redis(valkey), **NO_MEMORY}
    with fleet(own_folder, primary, redis, sources=(None, other)) as those:
        path = f"/api/v1/products/{those.shop.product()['id']}"
        for server in those.servers:
            assert status_of(httpx.get(server.url + path)) != SHARED
            url = server.url + path
            eventually(partial(is_shared, url))
        formats = {key.split(b":")[2] for key in valkey.client().keys("rcommerce:product:*")}
        assert formats == {b"%d" % FORMAT, b"%d" % (FORMAT + 1)}


def test_a_value_that_is_none_of_ours_is_read_anew(those: Fleet, steady: Valkey) -> None:
    url = f"{those.servers[1].url}/api/v1/products/{those.shop.product()['id']}"
    eventually(lambda: status_of(httpx.get(url)) == SHARED)
    client = steady.client()
    for key in client.keys("rcommerce:product:*"):
        client.set(key, b"what somebody else has put here, long enough to have a head")
    assert httpx.get(url).status_code == 200
    eventually(lambda: status_of(httpx.get(url)) == SHARED)


def is_shared(url: str) -> bool:
    return status_of(httpx.get(url)) == SHARED


# When Redis dies ------------------------------------------------------------------------------


@dataclass
class Load:
    """Readers of many products, for as long as the block lasts."""

    statuses: Counter[int] = field(default_factory=Counter)
    shared: int = 0


@contextmanager
def load(those: Fleet, products: list[str], readers: int = 4) -> Iterator[Load]:
    """Reads without a pause."""
    found, over = Load(), threading.Event()

    def read(number: int) -> None:
        turn = number
        with httpx.Client(timeout=60) as client:
            while not over.is_set():
                turn += 1
                url = those.servers[turn % 2].url
                answer = client.get(f"{url}/api/v1/products/{products[turn % len(products)]}")
                found.statuses[answer.status_code] += 1
                found.shared += status_of(answer) == SHARED

    threads = [threading.Thread(target=read, args=(number,)) for number in range(readers)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        over.set()
        for thread in threads:
            thread.join()


def together(count: int, work: Callable[[int], None]) -> None:
    """Does something so many times at once."""
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait()
        work(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def log_in(those: Fleet, email: str) -> httpx.Response:
    body = {"email": email, "password": "correct horse battery"}
    return httpx.post(f"{those.servers[1].url}/api/v1/auth/login", json=body, timeout=30)


def registered(those: Fleet) -> str:
    email = f"ada-{time.monotonic_ns()}@example.com"
    person = {"password": "correct horse battery", "first_name": "Ada", "last_name": "L"}
    those.shop.guest.post("/auth/register", {"email": email, **person})
    return email


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_when_redis_dies_reads_go_on_and_all_comes_back(
    how: str, those: Fleet, steady: Valkey
) -> None:
    products = [those.shop.product()["id"] for _ in range(20)]
    email = registered(those)
    signed_in = log_in(those, email)
    assert signed_in.status_code == 200
    # Any instance serves any request.
    cookies = {"session": signed_in.cookies["session"]}
    for server in those.servers:
        mine = httpx.get(f"{server.url}/api/v1/customers/me", cookies=cookies)
        assert mine.json()["customer"]["email"] == email
    with load(those, products) as found:
        eventually(lambda: found.shared > 200)
        steady.kill() if how == "killed" else steady.process.freeze()
        eventually(lambda: state_of_redis(those) == {"open"}, 10)
        before = sum(found.statuses.values())
        eventually(lambda: sum(found.statuses.values()) > before + 400)
        # What needs a session asks to try again; what needs none goes on.
        refused = log_in(those, email)
        assert (refused.status_code, refused.json()["code"]) == (503, "sessions_unavailable")
        assert "retry-after" in refused.headers
        token = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
        mine = httpx.get(f"{those.servers[1].url}/api/v1/customers/me", headers=token)
        assert mine.status_code == 200
        path = f"{those.servers[1].url}/api/v1"
        assert httpx.get(f"{path}/customers/me", cookies=cookies).status_code == 503
        assert httpx.get(f"{path}/products", cookies=cookies).status_code == 200
        steady.start() if how == "killed" else steady.process.thaw()
        eventually(lambda: state_of_redis(those) == {"closed"})
        shared = found.shared
        eventually(lambda: found.shared > shared + 100)
        eventually(lambda: log_in(those, email).status_code == 200)
    assert set(found.statuses) == {200}


def state_of_redis(those: Fleet) -> set[str]:
    """The breakers' states, by every worker that answers."""
    states = set()
    for server in those.servers:
        for _ in range(4):
            ready = httpx.get(f"{server.url}/health/ready", timeout=10).json()
            states |= {
                part["state"]
                for name, part in ready["dependencies"].items()
                if name.startswith("redis")
            }
    return {"closed" if state == "up" else "open" for state in states}


def test_without_redis_one_fill_a_key_is_all_that_the_database_sees(
    own_folder: Path, primary: Postgres, valkey: Valkey
) -> None:
    with fleet(own_folder, primary, settings.redis(valkey)) as those:
        valkey.kill()
        eventually(lambda: state_of_redis(those) == {"open"})  # though nobody has asked for it
        product = those.shop.product()["id"]
        those.shop.guest.get("/products")  # by then all have heard that it was made
        count_statements(primary)
        primary.query("select pg_stat_statements_reset()", user="postgres")
        url = f"{those.servers[1].url}/api/v1/products/{product}"  # of one worker
        statuses: list[int] = []
        together(60, lambda _: statuses.append(httpx.get(url, timeout=30).status_code))
        assert statuses == [200] * 60
        assert product_reads(primary) == 1


def test_a_master_of_a_cluster_dies_under_load_and_its_replica_takes_over(
    own_folder: Path, primary: Postgres
) -> None:
    with (
        Cluster(own_folder / "valkey") as cluster,
        fleet(own_folder, primary, settings.redis(cluster), NO_MEMORY) as those,
    ):
        products = [those.shop.product()["id"] for _ in range(30)]
        email = registered(those)
        with load(those, products) as found:
            eventually(lambda: found.shared > 300)
            keys = set()
            for node in cluster.nodes[:3]:
                keys |= {key.decode() for key in node.client().keys("rcommerce:product:*")}
            victim = cluster.master_of(sorted(keys)[0])
            lost = [key for key in keys if cluster.master_of(key) is victim]
            assert 0 < len(lost) < len(keys)
            victim.kill()
            eventually(lambda: cluster.master_of(lost[0]) is not victim)
            cluster.await_ok()
            eventually(lambda: state_of_redis(those) == {"closed"})
            # The new master gives what is kept there, too.
            path = "/api/v1/" + lost[0].partition("/api/v1/")[2].rstrip("}")
            eventually(lambda: status_of(httpx.get(those.servers[1].url + path)) == SHARED)
            eventually(lambda: log_in(those, email).status_code == 200)
        assert set(found.statuses) == {200}


# Ways to reach it -----------------------------------------------------------------------------


def test_redis_with_tls_and_a_password(own_folder: Path, primary: Postgres) -> None:
    try:
        program = redis_program()
    except StartError as error:
        pytest.skip(str(error))
    certificates = certificate(own_folder)
    tls = {
        "port": "0",
        "requirepass": "of the/lab:@",
        "tls-auth-clients": "no",
        "tls-cert-file": str(certificates["cert"]),
        "tls-key-file": str(certificates["key"]),
        "tls-ca-cert-file": str(certificates["cert"]),
    }
    with Valkey(own_folder / "redis", settings=tls, executable=program) as redis:
        given = {
            **settings.redis(redis),
            "RCOMMERCE_CACHE__REDIS_CA_FILE": str(certificates["cert"]),
            **NO_MEMORY,
        }
        with fleet(own_folder, primary, given) as those:
            url = f"{those.servers[1].url}/api/v1/products/{those.shop.product()['id']}"
            eventually(lambda: status_of(httpx.get(url)) == SHARED)


def certificate(folder: Path) -> dict[str, Path]:
    """A certificate for localhost that signs itself."""
    import subprocess

    folder.mkdir(parents=True, exist_ok=True)
    found = {"cert": folder / "cert.pem", "key": folder / "key.pem"}
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(found["key"]), "-out", str(found["cert"])],
        check=True, capture_output=True,
    )  # fmt: skip
    for path in found.values():
        path.chmod(0o644)
    return found


def test_of_several_servers_the_one_that_takes_writes_is_used(
    own_folder: Path, primary: Postgres, valkey: Valkey
) -> None:
    follower = {"replicaof": f"127.0.0.1 {valkey.port}"}
    with Valkey(own_folder / "follower", settings=follower) as other:
        redis = {
            **settings.redis(other),
            "RCOMMERCE_CACHE__REDIS_URL": f"{other.url},127.0.0.1:{valkey.port}",
        }
        with fleet(own_folder, primary, redis, NO_MEMORY) as those:
            url = f"{those.servers[1].url}/api/v1/products/{those.shop.product()['id']}"
            eventually(lambda: status_of(httpx.get(url)) == SHARED)
            valkey.kill()
            other.client().execute_command("REPLICAOF", "NO", "ONE")
            httpx.get(url)
            eventually(lambda: httpx.get(url) and status_of(httpx.get(url)) == SHARED)
