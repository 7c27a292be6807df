"""Pools: what an instance may hold, what waits, what is shed; and the doctor's arithmetic."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest

from rcommerce.errors import StartError
from rcommerce.lab import settings
from rcommerce.lab.pgbouncer import PgBouncer, program
from rcommerce.lab.postgres import Postgres
from rcommerce.lab.server import Server
from topology.conftest import FAST, QUICK, server_for, shop_on


def test_an_instance_holds_no_more_than_its_pool_size_and_sheds_what_waits_too_long(
    own_folder: Path, started: Callable[[Postgres], Postgres]
) -> None:
    primary = started(Postgres(own_folder / "primary", settings=FAST))
    replica = started(primary.replica(own_folder / "replica"))
    database = settings.database(primary, [replica])
    server = Server(
        own_folder / "shop",
        workers=2,
        settings={
            **QUICK,
            **database,
            "RCOMMERCE_DATABASE__POOL_SIZE": "8",
            "RCOMMERCE_DATABASE__POOL_TIMEOUT_SECS": "1",
            "RCOMMERCE_DATABASE__LOCK_TIMEOUT_SECS": "2",
            "RCOMMERCE_CHECKOUT__SWEEP_INTERVAL_SECS": "600",
        },
    )
    with shop_on(server) as shop:
        product = shop.product()
        with ThreadPoolExecutor(24) as pool:
            list(pool.map(lambda _: shop.guest.get("/products"), range(200)))
            list(pool.map(lambda _: shop.guest.post("/carts/guest"), range(100)))
        held = [
            each.query(
                "select count(*) from pg_stat_activity where application_name = 'rcommerce'",
                user="postgres",
            )[0][0]
            for each in (primary, replica)
        ]
        assert held[0] <= 4
        assert held[1] <= 4
        # A row that somebody holds: writers of it keep their connections, others wait, then go.
        with psycopg.connect(primary.conninfo()) as blocker:
            blocker.execute("select 1 from product where id = %s for update", (product["id"],))

            def change(number: int) -> tuple[int, str]:
                answer = shop.staff("PATCH", f"/products/{product['id']}", {"title": f"T{number}"})
                return answer.status_code, answer.text

            with ThreadPoolExecutor(24) as pool:
                found = list(pool.map(change, range(24)))
        codes = {json.loads(text)["code"] for status, text in found if status == 503}
        assert {status for status, _ in found} == {503}
        # That it takes so long is a sign of load: some may be refused before they ask for one.
        assert codes - {"overloaded"} == {"database_busy", "write_conflict"}
        time.sleep(1.2)  # of the worker that does not answer, the figures are up to a second old
        figures = httpx.get(f"{shop.server.url}/metrics").text
        values = {
            line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
            for line in figures.splitlines()
            if not line.startswith("#")
        }
        where = '{server="primary",shard="main"}'
        assert values[f"rcommerce_database_pool_size{where}"] == 4
        assert values[f"rcommerce_database_pool_shed_total{where}"] >= 10
        assert values[f"rcommerce_database_pool_wait_seconds_total{where}"] > 5
        lag = f'{{server="{replica.address}",shard="main"}}'
        assert values[f"rcommerce_database_replica_lag_seconds{lag}"] >= 0


def test_a_pool_too_small_for_its_workers_and_servers_is_refused(tmp_path: Path) -> None:
    server = Server(
        tmp_path,
        settings={
            "RCOMMERCE_DATABASE__HOST": "db.internal",
            "RCOMMERCE_DATABASE__READ_REPLICAS": "a:5432,b:5432",
            "RCOMMERCE_DATABASE__POOL_SIZE": "8",
            "RCOMMERCE_SERVER__WORKERS": "4",
            "RCOMMERCE_SECURITY__JWT__SECRET": "x" * 32,
        },
    )
    done = server.command("doctor")
    assert done.returncode in (1, 2)
    assert "pool_size" in done.stderr + done.stdout


def test_the_doctor_says_with_how_many_instances_it_ends(
    own_folder: Path, started: Callable[[Postgres], Postgres]
) -> None:
    few = {**FAST, "max_connections": "50"}
    primary = started(Postgres(own_folder / "primary", settings=few))
    replica = started(primary.replica(own_folder / "replica"))
    shop = server_for(own_folder / "shop", settings.database(primary, [replica]))
    assert shop.command("doctor").returncode == 1  # not migrated yet
    assert shop.command("db", "upgrade").returncode == 0
    fine = shop.command("doctor", "--instances", "4")
    assert fine.returncode == 0, fine.stdout
    # 20 a pool, shared out evenly: 10 to each server, of 47.
    assert "4 fit" in fine.stdout
    many = shop.command("doctor", "--instances", "5", "--json")
    assert many.returncode == 1
    faults = [f for f in json.loads(many.stdout)["findings"] if f["state"] == "red"]
    assert {"the database", f"the replica {replica.address} of the database"} == {
        each["about"] for each in faults
    }
    assert "too many clients" in faults[0]["message"]
    replica.kill()
    down = shop.command("doctor")
    assert down.returncode == 1
    assert "cannot be reached" in down.stdout
    primary.kill()
    dark = json.loads(shop.command("doctor", "--json").stdout)["findings"]
    [unknown] = [each for each in dark if each["about"] == "instances"]
    assert (unknown["state"], "unknown" in unknown["message"]) == ("yellow", True)


def test_the_doctor_knows_the_poolers_sizes(
    own_folder: Path, started: Callable[[Postgres], Postgres]
) -> None:
    try:
        program()
    except StartError as error:
        pytest.skip(str(error))
    server = started(Postgres(own_folder / "server", settings=FAST))
    behind = {"rcommerce": (server, "rcommerce")}
    with PgBouncer(own_folder / "bouncer", behind) as bouncer:
        database = settings.database(bouncer, direct=server)
        shop = server_for(own_folder / "shop", database)
        assert shop.command("db", "upgrade").returncode == 0
        fine = shop.command("doctor", "--instances", "500", "--json")
        assert fine.returncode == 0, fine.stdout
        assert "500 instances fit" in fine.stdout
        many = shop.command("doctor", "--instances", "501", "--json")
        assert many.returncode == 1
        faults = [f for f in json.loads(many.stdout)["findings"] if f["state"] == "red"]
        assert [each["about"] for each in faults] == [f"PgBouncer at {bouncer.address}"]
    wide = {"default_pool_size": "300"}
    with PgBouncer(own_folder / "wide", behind, settings=wide) as bouncer:
        shop = server_for(own_folder / "shop", settings.database(bouncer, direct=server))
        done = shop.command("doctor")
        assert done.returncode == 1
        assert "default_pool_size" in done.stdout
