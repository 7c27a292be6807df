"""The pool's bookkeeping: never more than its size, nobody forgotten, everyone told."""

import asyncio
import random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from psycopg.pq import TransactionStatus

from rcommerce.database.connection import Raw
from rcommerce.database.pool import BUSY, Pool
from rcommerce.errors import Unavailable


class Connections:
    """Opens connections that are nothing but a status, and counts those that are open."""

    def __init__(self) -> None:
        self.open = 0
        self.most = 0

    async def connect(self) -> Raw:
        await asyncio.sleep(random.random() / 1000)
        self.open += 1
        self.most = max(self.most, self.open)
        status = SimpleNamespace(transaction_status=TransactionStatus.IDLE, finish=self._finish)
        return cast(Raw, _Connection(status))

    def _finish(self) -> None:
        self.open -= 1


class _Connection:
    def __init__(self, pgconn: Any) -> None:
        self.pgconn = pgconn


def test_no_more_than_its_size_whoever_is_cancelled_or_breaks() -> None:
    async def run() -> None:
        connections = Connections()
        pool = Pool(connections.connect, 3, 5.0)

        async def use() -> None:
            raw = await pool.take()
            try:
                await asyncio.sleep(random.random() / 500)
                if random.random() < 0.2:  # a connection that was lost
                    status: Any = raw.pgconn
                    status.transaction_status = TransactionStatus.UNKNOWN
            finally:
                pool.give(raw)

        tasks = [asyncio.create_task(use()) for _ in range(100)]
        for number, task in enumerate(tasks):
            if number % 3 == 0:
                await asyncio.sleep(0.001)
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert connections.most <= 3
        assert (pool.in_use, pool.waiting) == (0, 0)
        for raw in await asyncio.gather(*(pool.take() for _ in range(3))):  # none was forgotten
            pool.give(raw)

    for seed in range(20):
        random.seed(seed)
        asyncio.run(run())


def test_who_waits_too_long_is_refused_and_a_queue_has_an_end() -> None:
    async def run() -> None:
        pool = Pool(Connections().connect, 1, 0.05)
        held = await pool.take()
        with pytest.raises(Unavailable) as late:
            await pool.take()
        waiting = [asyncio.create_task(pool.take()) for _ in range(50)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable) as full:
            await pool.take()
        pool.give(held)
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert (late.value.code, full.value.code) == (BUSY, BUSY)
        assert sum(not isinstance(each, Exception) for each in found) == 1
        assert pool.shed == 51

    asyncio.run(run())


def test_when_the_server_is_down_everyone_who_waits_is_told_at_once() -> None:
    async def run() -> None:
        connections = Connections()
        pool = Pool(connections.connect, 1, 60.0)
        held = await pool.take()
        waiting = [asyncio.create_task(pool.take()) for _ in range(5)]
        await asyncio.sleep(0)
        pool.fail(Unavailable("gone", code="gone"))
        found = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 1)
        assert [getattr(each, "code", None) for each in found] == ["gone"] * 5
        pool.give(held)
        assert connections.open == 0  # and what was lent is not lent again

    asyncio.run(run())
