"""The primary dies and a replica is promoted, under a load that keeps its own books."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx

from conftest import Running, eventually
from rcommerce.lab import settings
from rcommerce.lab.ledger import Buyers
from rcommerce.lab.postgres import Postgres
from topology.conftest import FAST, server_for, shop_on


def test_writes_go_on_after_a_promotion_and_no_acknowledged_order_is_lost(
    own_folder: Path, started: Callable[[Postgres], Postgres]
) -> None:
    primary = started(Postgres(own_folder / "primary"))
    standby = started(primary.replica(own_folder / "standby", name="standby"))
    other = started(primary.replica(own_folder / "other", name="other"))
    # Synchronous replication: a commit returns once the standby has it, too.
    primary.configure({"synchronous_standby_names": "standby", "synchronous_commit": "on"})
    eventually(
        lambda: primary.query(
            "select true from pg_stat_replication where sync_state = 'sync'", user="postgres"
        )
    )
    database = settings.database(primary, [other], hosts=[primary, standby, other])
    with shop_on(server_for(own_folder / "shop", database)) as shop:
        product = shop.product(stock=100_000)
        with Buyers(lambda: shop.server.url, product) as buyers:
            buyers.await_orders(50)
            primary.kill()
            # While there is no primary: reads go on, writes are refused at once.
            for _ in range(10):
                shop.guest("GET", f"/products/{product['id']}", expect=200)
                assert shop.guest("POST", "/carts/guest", {}).status_code == 503
                time.sleep(0.1)
            standby.promote()
            buyers.await_orders(50)
        ledger = buyers.ledger
        assert ledger.faults == []
        kept = {str(row[0]) for row in standby.query("select id from sales_order")}
        assert set(ledger.acknowledged) - kept == set()
        assert len(ledger.acknowledged) == len(set(ledger.acknowledged))
        assert any(each.status == 503 for each in ledger.attempts)
        # The other replica may hold what the new primary never had: it is copied from that, and
        # read from again.
        other.kill()
        other.copy_again(standby)
        token = shop.staff("PATCH", f"/products/{product['id']}", {"title": "After"}, 200).headers[
            "x-consistency-token"
        ]
        eventually(
            lambda: (
                other.query("select title from product where id = %s", product["id"])
                == [("After",)]
            )
        )
        read = shop.guest.get(f"/products/{product['id']}", X_Consistency_Token=token)
        assert read["product"]["title"] == "After"

        def is_back() -> bool:
            shop.guest.post("/carts/guest")  # what it replays shows whom it follows
            return state(shop, other) == "up"

        eventually(is_back)


def test_a_replica_that_holds_what_the_new_primary_never_had_is_not_read(
    own_folder: Path, started: Callable[[Postgres], Postgres]
) -> None:
    """The old primary comes back by itself, as a server of its own: its position is ahead."""
    primary = started(Postgres(own_folder / "primary", settings=FAST))
    standby = started(primary.replica(own_folder / "standby"))
    database = settings.database(primary, [primary], hosts=[standby, primary])
    with shop_on(server_for(own_folder / "shop", database)) as shop:
        product = shop.product()
        assert state(shop, primary) == "up"  # listed as a replica, and the primary itself
        eventually(
            lambda: standby.query("select 1 from product where id = %s", product["id"]) != []
        )
        primary.kill()
        standby.promote()
        primary.start()
        primary.query("update product set title = 'Of the past'")
        primary.query("create table ahead as select generate_series(1, 100000)")

        def is_served_by_the_new_one() -> bool:
            shop.staff("PATCH", f"/products/{product['id']}", {"title": "Now"}, 200)
            return state(shop, primary) != "up"

        eventually(is_served_by_the_new_one)
        for _ in range(20):
            assert shop.guest.get(f"/products/{product['id']}")["product"]["title"] == "Now"


def state(shop: Running, replica: Postgres) -> str:
    """What the instance says of a replica."""
    ready = httpx.get(f"{shop.server.url}/health/ready").json()["dependencies"]
    return str(ready[f"replica {replica.address}"]["state"])


def test_an_instance_starts_on_hosts_of_which_the_first_is_a_standby(
    own_folder: Path, started: Callable[[Postgres], Postgres]
) -> None:
    primary = started(Postgres(own_folder / "primary", settings={"fsync": "off"}))
    standby = started(primary.replica(own_folder / "standby"))
    database = settings.database(primary, hosts=[standby, primary])
    with shop_on(server_for(own_folder / "shop", database)) as shop:
        shop.guest("POST", "/carts/guest", {}, expect=201)
