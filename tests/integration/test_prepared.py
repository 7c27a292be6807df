"""Statements prepared by SQL's own PREPARE: a connection that forgets them is no error."""

import asyncio
import contextlib
import random

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
