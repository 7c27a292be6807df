"""PgBouncer in transaction mode, with the seed's figures. (The whole integration suite runs through
it as well: see the fixture `shop`.)"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest

from conftest import eventually
from rcommerce.database import pooler
from rcommerce.errors import StartError
from rcommerce.lab import settings
from rcommerce.lab.ledger import ADDRESS
from rcommerce.lab.pgbouncer import PgBouncer, program
from rcommerce.lab.postgres import Postgres
from topology.conftest import FAST, server_for, shop_on

CLIENTS = 10_000
CONNECTING = 200  # at a time


@pytest.fixture(autouse=True)
def installed() -> None:
    try:
        program()
    except StartError as error:
        pytest.skip(str(error))


@contextmanager
def pooled(folder: Path, server: Postgres, **settings: str) -> Iterator[PgBouncer]:
    with PgBouncer(
        folder / "pgbouncer", {"rcommerce": (server, "rcommerce")}, settings=settings
    ) as found:
        yield found


@pytest.mark.timeout(300)
def test_ten_thousand_clients_are_connected_at_once_and_answered(
    own_folder: Path, started: Callable[[Postgres], Postgres]
) -> None:
    server = started(Postgres(own_folder / "server", settings=FAST))

    async def run(dsn: str) -> tuple[int, int]:
        gate = asyncio.Semaphore(CONNECTING)

        async def connect() -> psycopg.AsyncConnection:
            async with gate:
                return await psycopg.AsyncConnection.connect(
                    dsn, autocommit=True, prepare_threshold=None, connect_timeout=120
                )

        async def ask(number: int, connection: psycopg.AsyncConnection) -> bool:
            row = await (await connection.execute("select %s::int", (number,))).fetchone()
            return row == (number,)

        clients = await asyncio.gather(*(connect() for _ in range(CLIENTS)))
        open_now = sum(not each.closed for each in clients)
        # All of them ask at the same time.
        answered = await asyncio.gather(*(ask(*each) for each in enumerate(clients)))
        for each in clients:
            each.pgconn.finish()
        return open_now, sum(answered)

    with pooled(own_folder, server) as bouncer:
        assert asyncio.run(run(bouncer.conninfo())) == (CLIENTS, CLIENTS)
        rows = server.query(
            "select count(*) from pg_stat_activity where usename = 'rcommerce'"
            " and datname = 'rcommerce' and pid <> pg_backend_pid()"
        )
        assert rows[0][0] <= 25


def test_prepared_statements_are_used_only_where_the_pooler_keeps_them(
    own_folder: Path, started: Callable[[Postgres], Postgres]
) -> None:
    """Debian's 1.18 does not; a newer one (LAB_PGBOUNCER names its program) does where
    max_prepared_statements is set."""
    server = started(Postgres(own_folder / "server", settings=FAST))

    async def keeps(dsn: str) -> bool:
        # As the server connects before it knows.
        async with await psycopg.AsyncConnection.connect(
            dsn, autocommit=True, prepare_threshold=None
        ) as connection:
            found = await pooler.keeps_prepared_statements(connection)
            left = await connection.execute("select 1 from pg_prepared_statements", prepare=False)
            if not found:  # nothing stays behind for the next client
                assert await left.fetchone() is None
            return found

    with pooled(own_folder, server) as bouncer:
        version = bouncer.admin("show version")[0]["version"]
        is_new = tuple(int(part) for part in version.split()[-1].split(".")[:2]) >= (1, 21)
        if not is_new:
            assert asyncio.run(keeps(bouncer.conninfo())) is False
    if is_new:
        with pooled(own_folder, server, max_prepared_statements="0") as bouncer:
            assert asyncio.run(keeps(bouncer.conninfo())) is False
        with pooled(own_folder, server, max_prepared_statements="100") as bouncer:
            assert asyncio.run(keeps(bouncer.conninfo())) is True
    assert asyncio.run(keeps(server.conninfo())) is False  # no pooler, none of its names


def test_many_at_once_share_few_connections_and_none_sees_anothers_answer(
    own_folder: Path, started: Callable[[Postgres], Postgres]
) -> None:
    """Two servers of connections, two instances, 24 clients: transactions of all kinds."""
    server = started(Postgres(own_folder / "server", settings=FAST))
    with pooled(own_folder, server, default_pool_size="2") as bouncer:
        database = settings.database(bouncer, direct=server)
        with shop_on(server_for(own_folder / "shop", database)) as shop:
            product = shop.product(stock=1000)

            def shopper(_: int) -> set[int]:
                found = set()
                for _ in range(4):
                    cart, me = shop.cart((product, 1))
                    found.add(me("GET", f"/carts/{cart}", expect=200).status_code)
                    key = str(uuid4())
                    body = {
                        "cart_id": cart,
                        "shipping_address": ADDRESS,
                        "payment_method": {
                            "type": "card", "gateway_id": "test", "token": "tok_approve",
                        },
                        "customer_email": "a@example.com",
                    }  # fmt: skip
                    done = me("POST", "/checkout/complete", body, Idempotency_Key=key)
                    assert done.json()["order"]["items"][0]["product_id"] == product["id"]
                    found.add(done.status_code)
                return found

            with ThreadPoolExecutor(24) as pool:
                assert set().union(*pool.map(shopper, range(24))) == {200, 201}
            assert shop.stock(product) == (1000 - 24 * 4, 0)


def test_timeouts_hold_behind_the_pooler_after_db_upgrade(
    own_folder: Path, started: Callable[[Postgres], Postgres]
) -> None:
    server = started(Postgres(own_folder / "server", settings=FAST))
    with pooled(own_folder, server) as bouncer:
        database = settings.database(bouncer, direct=server)
        shop = server_for(own_folder / "shop", database, RCOMMERCE_DATABASE__LOCK_TIMEOUT_SECS="3")
        assert shop.command("db", "upgrade").returncode == 0
        with psycopg.connect(bouncer.conninfo(), prepare_threshold=None) as connection:
            shown = [
                connection.execute(f"show {name}").fetchone()
                for name in ("statement_timeout", "lock_timeout")
            ]
        assert shown == [("15s",), ("3s",)]


def test_a_pooler_that_restarts_costs_seconds_at_the_most(
    own_folder: Path, started: Callable[[Postgres], Postgres]
) -> None:
    server = started(Postgres(own_folder / "server", settings=FAST))
    with pooled(own_folder, server) as bouncer:
        database = settings.database(bouncer, direct=server)
        with shop_on(server_for(own_folder / "shop", database)) as shop:
            shop.product()
            statuses: list[int] = []
            ending = threading.Event()

            def read() -> None:
                with httpx.Client(timeout=10) as client:
                    while not ending.is_set():
                        answer = client.get(f"{shop.server.url}/api/v1/products")
                        statuses.append(answer.status_code)

            reader = threading.Thread(target=read)
            reader.start()
            time.sleep(0.5)
            bouncer.kill()
            time.sleep(1)
            bouncer.start()
            eventually(lambda: shop.guest("POST", "/carts/guest", {}).status_code == 201, 5)
            ending.set()
            reader.join()
            assert set(statuses) == {200, 503}
            assert statuses[-1] == 200
