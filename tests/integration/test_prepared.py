"""Statements prepared by SQL's own PREPARE: a connection that forgets them is no error."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from decimal import Decimal

import psycopg
import pytest

from conftest import Running
from rcommerce.database.server import Server
from rcommerce.database.writing import Writing, once
from rcommerce.settings.schema import DatabaseSettings


def test_writes_that_are_rolled_back_or_cancelled_leave_every_connection_usable(
    embedded_shop: Running,
) -> None:
    random.seed(4)

    async def run() -> None:
        server = Server(
            "test", embedded_shop.dsn, dependency="test", size=2, limits=DatabaseSettings()
        )

        async def commits(number: int) -> None:
            cursor, _ = await once(
                server, None, "select %(number)s::int + 1", {"number": number}, None, None
            )
            assert await cursor.fetchone() == (number + 1,)

        async def rolls_back() -> None:
            with contextlib.suppress(KeyError):
                async with Writing(server, None, None) as tx:
                    for _ in range(6):  # psycopg prepares it, and deallocates all at the rollback
                        await tx.value("select %(number)s::int", {"number": 1})
                    raise KeyError

        async def is_cancelled(number: int) -> None:
            task = asyncio.create_task(rolls_back() if number % 2 else commits(number))
            await asyncio.sleep(random.random() / 300)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        for number in range(300):
            await asyncio.gather(commits(number), rolls_back(), is_cancelled(number))
        await server.close()

    asyncio.run(run())


async def with_server(
    shop: Running, work: Callable[[Server], Awaitable[None]], *, through_pooler: bool = False
) -> None:
    server = Server(
        "test", shop.dsn, dependency="test", size=2, limits=DatabaseSettings(),
        through_pooler=through_pooler,
    )  # fmt: skip
    try:
        await work(server)
    finally:
        await server.close()


NOTES = "create temp table note (number int unique) on commit drop"
NOTE = "insert into note values (%(number)s) returning number"


@pytest.mark.parametrize("through_pooler", [False, True])
def test_what_is_sent_later_comes_before_what_is_sent_next(
    embedded_shop: Running, through_pooler: bool
) -> None:
    async def work(server: Server) -> None:
        async with Writing(server, None, None) as tx:
            await tx.execute(NOTES)
            noted = [await tx.later(NOTE, {"number": number}) for number in (1, 2)]
            assert [each.row for each in noted] == ([(1,), (2,)] if through_pooler else [None] * 2)
            # Its types are those of a statement that is sent alone.
            assert await tx.one("select array_agg(number), 'x', 1.50 from note") == (
                [1, 2], "x", Decimal("1.50"),
            )  # fmt: skip
            assert [each.row for each in noted] == [(1,), (2,)]
            third = await tx.later(NOTE, {"number": 3})
            assert await tx.dicts("select max(number) from note") == [{"max": 3}]
            assert third.row == (3,)
            assert await tx.execute("update note set number = number + 10") == 3

    asyncio.run(with_server(embedded_shop, work, through_pooler=through_pooler))


def test_an_error_of_what_is_sent_with_the_commit_undoes_everything(
    embedded_shop: Running,
) -> None:
    async def breaks(server: Server) -> None:
        async with Writing(server, None, None) as tx:
            await tx.execute(NOTES)
            await tx.later(NOTE, {"number": 1})
            await tx.later(NOTE, {"number": 1})

    async def work(server: Server) -> None:
        for _ in range(3):  # more often than there are connections
            with pytest.raises(psycopg.errors.UniqueViolation):
                await breaks(server)
        async with Writing(server, None, None) as tx:
            assert await tx.value("select to_regclass('pg_temp.note')") is None
            assert await tx.value("select 1") == 1

    asyncio.run(with_server(embedded_shop, work))
