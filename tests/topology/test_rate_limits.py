"""Rate limits of a caller, an address and a shop, shared by all instances."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import Running, eventually, running
from rcommerce.lab import settings
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.server import Server
from rcommerce.lab.valkey import Valkey
from topology.conftest import FAST, QUICK

ROOM_S = 20  # of a minute, for a test of two seconds
LIMITS = {
    "RCOMMERCE_RATE_LIMITING__ENABLED": "true",
    "RCOMMERCE_RATE_LIMITING__REQUESTS_PER_MINUTE": "30",
    "RCOMMERCE_RATE_LIMITING__API_KEY_REQUESTS_PER_MINUTE": "50",
    "RCOMMERCE_RATE_LIMITING__MAX_CONCURRENT_PER_IP": "1000",
    "RCOMMERCE_RATE_LIMITING__BLOCKLIST": "203.0.113.0/24",
    "RCOMMERCE_RATE_LIMITING__ALLOWLIST": "198.51.100.7",
    "RCOMMERCE_SERVER__LIMITS__RATE_LIMIT_PER_MINUTE": "200",
    "RCOMMERCE_SERVER__LIMITS__RATE_LIMIT_BURST": "150",
}


class Limited:
    """Two instances with one Valkey."""

    def __init__(self, shop: Running, servers: list[Server], valkey: Valkey) -> None:
        self.shop = shop
        self.servers = servers
        self.valkey = valkey
        self._turn = 0

    def ask(self, address: str, path: str = "/carts/guest", **headers: str) -> httpx.Response:
        """From an address, of one instance after the other."""
        self._turn += 1
        server = self.servers[self._turn % 2]
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(
            f"{server.url}/api/v1{path}",
            json={},
            headers={"X-Forwarded-For": address, **named},
            timeout=30,
        )


@pytest.fixture(scope="module")
def limited(folder: Path) -> Iterator[Limited]:
    with ExitStack() as stack:
        primary = stack.enter_context(Postgres(folder / "primary-of-limits", settings=FAST))
        valkey = stack.enter_context(Valkey(folder / "valkey-of-limits"))
        given = {**QUICK, **settings.database(primary), **settings.redis(valkey), **LIMITS}
        servers = [Server(folder / f"limits-{name}", settings=given) for name in ("one", "two")]
        assert servers[0].command("db", "upgrade").returncode == 0
        for server in servers:
            stack.enter_context(server)
        yield Limited(running(servers[0]), servers, valkey)


@pytest.fixture(autouse=True)
def _within_one_minute(limited: Limited) -> None:
    """Windows begin with the clock's minute; where one ends meanwhile, it lets some more in."""
    while (left_s := 60 - time.time() % 60) < ROOM_S:
        time.sleep(left_s)


def statuses(limited: Limited, count: int, address: str, **headers: str) -> Counter[int]:
    return Counter(limited.ask(address, **headers).status_code for _ in range(count))


def test_a_caller_has_so_many_requests_whatever_instance_he_asks(limited: Limited) -> None:
    first = limited.ask("192.0.2.1")
    assert first.headers["ratelimit-policy"] == (
        '"address";q=200;w=60, "burst";q=150;w=1, "caller";q=30;w=60'
    )
    assert '"caller";r=29;t=' in first.headers["ratelimit"]
    assert statuses(limited, 34, "192.0.2.1") == {201: 29, 429: 5}
    refused = limited.ask("192.0.2.1")
    assert refused.json()["code"] == "rate_limited"
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert "caller" in refused.json()["detail"]
    assert '"caller";r=0;t=' in refused.headers["ratelimit"]
    # Others are none the worse.
    assert limited.ask("192.0.2.2").status_code == 201
    # Each is a key in Redis that goes by itself.
    keys = limited.valkey.client().keys("rcommerce:rate:limit:*")
    assert keys
    assert all(limited.valkey.client().ttl(key) != -1 for key in keys)


def test_a_key_has_a_limit_of_its_own_and_an_address_one_over_all(limited: Limited) -> None:
    headers = {"Authorization": limited.shop.staff.headers["Authorization"]}
    assert statuses(limited, 60, "192.0.2.3", **headers)[201] == 50
    # An address of many callers, as an office has it.
    people = [f"192.0.2.4, 10.0.0.{number}" for number in range(3)]
    assert all(limited.ask(each).status_code in (201, 429) for each in people)


def test_an_address_may_be_shut_out_or_let_through(limited: Limited) -> None:
    blocked = limited.ask("203.0.113.9")
    assert (blocked.status_code, blocked.json()["code"]) == (403, "address_blocked")
    assert statuses(limited, 40, "198.51.100.7") == {201: 40}


def test_what_a_client_writes_into_x_forwarded_for_is_not_believed(limited: Limited) -> None:
    """Only the last hop that no trusted proxy has counts."""
    assert statuses(limited, 31, "203.0.113.9, 192.0.2.5")[201] == 30
    assert limited.ask("1.2.3.4, 192.0.2.5").status_code == 429


def test_what_memory_has_is_free_and_a_refusal_is_its_clients_alone(limited: Limited) -> None:
    server = limited.servers[0]

    def get(query: int, address: str) -> httpx.Response:
        url = f"{server.url}/api/v1/products?per_page={query}"
        return httpx.get(url, headers={"X-Forwarded-For": address}, timeout=30)

    eventually(
        lambda: get(1, "198.51.100.7") and "hit" in get(1, "198.51.100.7").headers["cache-status"]
    )
    found = Counter(get(query, "192.0.2.20").status_code for query in range(2, 40))
    assert found == {200: 30, 429: 8}
    refused = get(50, "192.0.2.20")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert "retry-after" in refused.headers
    assert "cache-control" in refused.headers
    assert get(50, "192.0.2.21").status_code == 200
    # What is in memory costs nothing, and has nothing in it that is of one client.
    again = get(50, "192.0.2.20")
    assert again.status_code == 200
    assert "ratelimit" not in again.headers
    assert get(50, "203.0.113.9").status_code == 403


def test_without_redis_each_process_counts_for_itself_and_none_fails(limited: Limited) -> None:
    limited.valkey.process.freeze()
    try:
        found = statuses(limited, 90, "192.0.2.6")
        assert found[201] == 60  # two instances with a worker each
        assert found[429] == 30
    finally:
        limited.valkey.process.thaw()

    def is_up(server: Server) -> bool:
        ready = httpx.get(f"{server.url}/health/ready").json()
        return all(part["state"] == "up" for part in ready["dependencies"].values())

    # Until all count together again: the next test may need it.
    for server in limited.servers:
        eventually(partial(is_up, server))
    eventually(lambda: limited.ask("192.0.2.7").status_code == 201)


def test_so_many_at_once_from_one_address_and_no_more(folder: Path) -> None:
    given = {
        "RCOMMERCE_RATE_LIMITING__ENABLED": "true",
        "RCOMMERCE_RATE_LIMITING__MAX_CONCURRENT_PER_IP": "2",
        "RCOMMERCE_RATE_LIMITING__REQUESTS_PER_MINUTE": "100000",
    }
    with Server(folder / "at-once", settings={**QUICK, **given}) as server:
        person: dict[str, Any] = {"password": "correct horse battery", "first_name": "A"}
        found: list[httpx.Response] = []

        def register(number: int) -> None:
            body = {**person, "email": f"a{number}@example.com", "last_name": "B"}
            found.append(httpx.post(f"{server.url}/api/v1/auth/register", json=body, timeout=60))

        threads = [threading.Thread(target=register, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        codes = Counter(each.status_code for each in found)
        assert set(codes) == {201, 429}
        refused = next(each for each in found if each.status_code == 429)
        assert refused.json()["code"] == "too_many_at_once"
        time.sleep(0.1)
        register(99)
        assert found[-1].status_code == 201
        shown = server.command("cache", "stats", "--url", server.url, "--json")
        assert shown.returncode == 0, shown.stderr
        assert json.loads(shown.stdout)["redis"] is None
