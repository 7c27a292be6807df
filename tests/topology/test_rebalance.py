"""Doubling the shards: four become eight, under load, by the commands of the documentation."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from conftest import api_key
from rcommerce.lab import settings
from rcommerce.lab.ledger import Buyers
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.server import Server
from topology.conftest import FAST, QUICK, server_for, shop_on


def described(servers: list[Postgres], count: int) -> list[dict[str, Any]]:
    """So many shards, each a database of its own, on these servers in turn."""
    return [
        {**settings.shard(f"shard-{number}", servers[number % 2]), "database": f"shard-{number}"}
        for number in range(count)
    ]


@pytest.mark.timeout(300)
def test_four_shards_become_eight_while_the_shops_sell(
    own_folder: Path, started: Callable[[Postgres], Postgres]
) -> None:
    control = started(Postgres(own_folder / "control", settings=FAST))
    servers = [started(Postgres(own_folder / name, settings=FAST)) for name in ("one", "two")]
    for number in range(8):
        servers[number % 2].query(
            f'create database "shard-{number}" owner rcommerce', user="postgres"
        )
    four = settings.database(control, shards=described(servers, 4))
    eight = settings.database(control, shards=described(servers, 8))
    with ExitStack() as stack:
        shop = stack.enter_context(shop_on(server_for(own_folder / "shop", four)))
        tenants: list[dict[str, Any]] = []
        while sum(UUID(each["id"]).int % 8 >= 4 for each in tenants) < 3:
            made = shop.server.command("tenant", "create", f"t{uuid4().hex[:10]}", "--json")
            tenants.append(json.loads(made.stdout))
        buyers = []
        for tenant in tenants:
            key = api_key(shop.server, "--all", "--tenant", tenant["slug"])
            staff = shop.guest.by(Authorization=f"Bearer {key}")
            product = staff.post(
                "/products",
                {"title": "Tea", "status": "active", "price": "2", "inventory_quantity": 100_000},
            )["product"]
            headers = {"X-Tenant-ID": tenant["id"]}
            buyers.append(Buyers(lambda: second.url, product, count=1, headers=headers))
        # A second instance with eight shards in its settings; the first goes on with four.
        second = Server(own_folder / "second", settings={**QUICK, **eight})
        upgraded = second.command("db", "upgrade", "--json")
        assert upgraded.returncode == 0, upgraded.stderr
        assert len(json.loads(upgraded.stdout)["databases"]) == 9
        stack.enter_context(second)
        for each in buyers:
            stack.enter_context(each)
            each.await_orders(5)
        plan = json.loads(second.command("shard", "rebalance", "--plan", "--json").stdout)["moves"]
        wanted = {
            (each["slug"], each["shard"], f"shard-{UUID(each['id']).int % 8}")
            for each in tenants
            if UUID(each["id"]).int % 8 >= 4
        }
        default = {(each["tenant"], each["from"], each["to"]) for each in plan} - wanted
        assert {(each["tenant"], each["from"], each["to"]) for each in plan} >= wanted
        assert {name for name, _, _ in default} <= {"default"}
        done = second.command("shard", "rebalance", "--drop-after", "1", "--json")
        assert done.returncode == 0, done.stderr
        assert {each["tenant"] for each in json.loads(done.stdout)["moved"]} == {
            each["tenant"] for each in plan
        }
        for each in buyers:
            each.await_orders(5)
            each.__exit__(None, None, None)
        assert json.loads(second.command("shard", "rebalance", "--plan", "--json").stdout) == {
            "moves": []
        }
        for tenant, each in zip(tenants, buyers, strict=True):
            number = UUID(tenant["id"]).int % 8
            rows = servers[number % 2].conninfo(database=f"shard-{number}")
            assert each.ledger.faults == []
            assert orders(rows, tenant["id"]) == set(each.ledger.acknowledged)


def orders(dsn: str, tenant: str) -> set[str]:
    import psycopg

    with psycopg.connect(dsn) as connection:
        found = connection.execute("select id from sales_order where tenant_id = %s", (tenant,))
        return {str(row[0]) for row in found.fetchall()}
