"""Tenants on shards: their default place, a shard that is down, and moves under load."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from conftest import Api, Running, api_key
from rcommerce.lab import settings
from rcommerce.lab.ledger import Buyers
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.server import Server
from topology.conftest import FAST, eventually, server_for, shop_on

SHARDS = 4


@dataclass
class Tenant:
    """A shop of the installation, with its callers."""

    id: str
    slug: str
    shard: str
    guest: Api
    staff: Api

    def product(self, stock: int = 100_000) -> dict[str, Any]:
        body = {
            "title": f"Product {uuid4().hex[:12]}",
            "status": "active",
            "price": "20.00",
            "inventory_quantity": stock,
        }
        made: dict[str, Any] = self.staff.post("/products", body)["product"]
        return made


@dataclass
class Sharded:
    """An installation on a control database and four shards, each a server of its own."""

    shop: Running
    control: Postgres
    shards: dict[str, Postgres]

    @property
    def server(self) -> Server:
        return self.shop.server

    def tenant(self, shard: str | None = None) -> Tenant:
        """A new tenant, on the given shard."""
        for _ in range(200):
            slug = f"t{uuid4().hex[:10]}"
            made = self.server.command("tenant", "create", slug, "--json")
            assert made.returncode == 0, made.stderr
            found = json.loads(made.stdout)
            if shard in (None, found["shard"]):
                key = api_key(self.server, "--all", "--tenant", slug)
                guest = self.shop.guest.by(X_Tenant_ID=found["id"])
                staff = self.shop.guest.by(Authorization=f"Bearer {key}")
                return Tenant(found["id"], slug, found["shard"], guest, staff)
        raise AssertionError("no tenant came to the shard")

    def orders(self, tenant: Tenant, shard: str) -> set[str]:
        """The ids of a tenant's orders on a shard."""
        rows = self.shards[shard].query(
            "select id from sales_order where tenant_id = %s", tenant.id
        )
        return {str(row[0]) for row in rows}

    def home(self, tenant: Tenant) -> str:
        shown = self.server.command("tenant", "show", tenant.slug, "--json")
        return str(json.loads(shown.stdout)["shard"])

    def move(self, tenant: Tenant, to: str, *more: str) -> dict[str, Any]:
        done = self.server.command(
            "tenant", "move", tenant.slug, "--to", to, "--drop-after", "6", "--json", *more
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def other(self, tenant: Tenant) -> str:
        return next(name for name in sorted(self.shards) if name != tenant.shard)


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sharded]:
    folder = tmp_path_factory.mktemp("sharded")
    servers: list[Postgres] = []
    try:
        for name in ("control", *(f"shard-{number}" for number in range(SHARDS))):
            servers.append(Postgres(folder / name, settings=FAST))
            servers[-1].start()
        control, *rest = servers
        shards = {f"shard-{number}": server for number, server in enumerate(rest)}
        database = settings.database(
            control, shards=[settings.shard(name, server) for name, server in shards.items()]
        )
        with shop_on(server_for(folder / "shop", database)) as shop:
            yield Sharded(shop, control, shards)
    finally:
        for server in servers:
            server.kill()


def test_a_tenant_comes_to_the_shard_of_its_id(sharded: Sharded) -> None:
    for _ in range(3):
        tenant = sharded.tenant()
        assert tenant.shard == f"shard-{UUID(tenant.id).int % SHARDS}"
        product = tenant.product()
        held = [
            name
            for name, server in sharded.shards.items()
            if server.query("select 1 from product where id = %s", product["id"])
        ]
        assert held == [tenant.shard]
    assert sharded.control.query("select count(*) from product") == [(0,)]


def test_a_move_under_load_loses_nothing_and_pauses_for_less_than_2_5_s(sharded: Sharded) -> None:
    tenant = sharded.tenant()
    product = tenant.product()
    target = sharded.other(tenant)
    with Buyers(
        lambda: sharded.server.url, product, headers={"X-Tenant-ID": tenant.id}
    ) as buyers:
        buyers.await_orders(100)
        done = sharded.move(tenant, target)
        buyers.await_orders(100)
    ledger = buyers.ledger
    assert ledger.faults == []
    assert sharded.home(tenant) == target
    there = sharded.orders(tenant, target)
    assert set(ledger.acknowledged) - there == set()
    assert len(there) == len(ledger.acknowledged)  # and nothing twice
    assert sharded.orders(tenant, tenant.shard) == set()
    assert done["pause_s"] < 2.5
    assert ledger.longest_gap_s() < 2.5
    assert {each.status for each in ledger.attempts} <= {201, 503}
    stock = tenant.staff.get(f"/inventory/{product['variants'][0]['id']}")["levels"][0]
    assert stock["reserved"] == len(ledger.acknowledged)
    left = sharded.control.query("select count(*) from tenant_move")
    assert left == [(0,)]
    for server in (sharded.shards[tenant.shard], sharded.shards[target]):
        assert server.query("select 1 from pg_replication_slots", user="postgres") == []
        assert server.query("select 1 from pg_subscription", user="postgres") == []
        assert server.query("select 1 from pg_publication", user="postgres") == []
    # And back again, over what the first move has left.
    back = sharded.move(tenant, tenant.shard)
    assert back["verified_rows"] >= done["verified_rows"]
    assert sharded.orders(tenant, tenant.shard) == there
