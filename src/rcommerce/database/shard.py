"""One shard: a primary and its replicas. Decides which server a statement goes to."""

import asyncio
import time
from collections.abc import Callable, Sequence
from enum import Enum
from types import TracebackType
from typing import Any, LiteralString

import psycopg
import structlog
from psycopg.pq import TransactionStatus
from psycopg.rows import AsyncRowFactory

from rcommerce.database.assignment import ShardAssignment
from rcommerce.database.connection import Connection, Params, Raw, Statement
from rcommerce.database.pool import BUSY
from rcommerce.database.rotation import Rotation
from rcommerce.database.server import Server, is_broken, is_lost, translated
from rcommerce.database.writing import Writing, once
from rcommerce.errors import Unavailable
from rcommerce.settings import DatabaseSettings

ATTEMPTS = 3  # attempts at a statement whose server has failed
REST_S = 5.0  # seconds that a failed replica is left out
POLL_S = 0.004  # seconds between two looks at a replica that is waited for
# A read is cancelled on a replica when the primary vacuums rows that it needs.
RECOVERY_CONFLICT = "conflict with recovery"
REPLAYED: LiteralString = """
select ((case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
              else pg_current_wal_flush_lsn() end) - '0/0'::pg_lsn)::bigint
"""
log = structlog.get_logger()


class Freshness(Enum):
    """How recent a read must be."""

    ANY = "a replica, or the primary where there is none"
    FRESH = "the primary; a replica only while there is no primary"
    LATEST = "the primary and nothing else"


class Shard:
    """`read` and `write` provide a connection for a moment; both raise Unavailable."""

    def __init__(
        self, name: str, primary: Server, replicas: Sequence[Server], limits: DatabaseSettings
    ) -> None:
        self.name = name
        self.primary = primary
        self.replicas = list(replicas)
        self.rotation = Rotation(primary, replicas, limits.max_replica_lag_s)
        # Called with the position of each commit. None if nobody needs it.
        self.wrote: Callable[[int], None] | None = _nothing if replicas else None
        self._wait_s = limits.replica_wait_ms / 1000
        self._reaching: dict[Server, asyncio.Task[None]] = {}

    @property
    def servers(self) -> list[Server]:
        """The primary and the replicas."""
        return [self.primary, *self.replicas]

    async def open(self) -> None:
        """Starts to probe the servers. The primary is last, so that no replica seems ahead of
        it."""
        await asyncio.gather(*(replica.open() for replica in self.replicas))
        await self.primary.open()

    async def close(self) -> None:
        """Closes all connections."""
        for server in self.servers:
            await server.close()

    def read(
        self,
        freshness: Freshness = Freshness.LATEST,
        position: int = 0,
        seen: Callable[[int], None] | None = None,
    ) -> "Reading":
        """A connection for statements without a transaction. `position` is what the server must
        have replayed, in bytes of write-ahead log; `seen` is called with what it had replayed
        before the statements ran."""
        return Reading(self, freshness, position, seen)

    def write(
        self, assignment: ShardAssignment | None = None, first: Sequence[Statement] = ()
    ) -> "Writing":
        """A connection in a transaction, which is committed if the block ends without an error.

        With a `home`, only while the tenant is on this shard: raises TenantMoved, TenantFenced. The
        statements `first` are sent with the begin; `Writing.rows` has the first row of each.
        """
        return Writing(self.primary, assignment, self.wrote, first)

    async def once(
        self,
        assignment: ShardAssignment | None,
        sql: LiteralString,
        params: Params,
        rows: AsyncRowFactory[Any] | None = None,
        *,
        is_durable: bool = True,
    ) -> tuple[psycopg.AsyncCursor[Any], int]:
        """A transaction of one statement, in one message: its cursor, and the position of the
        commit.

        Behind a pooler it is planned each time. If it need not be `is_durable`, it does not wait
        for the disk or a standby: a crash within a second may undo it, and the position does not
        cover it. Raises TenantMoved, TenantFenced.
        """
        wrote = self.wrote if assignment else None
        return await once(self.primary, assignment, sql, params, rows, wrote, is_durable=is_durable)

    # Replicas ---------------------------------------------------------------------------------

    def choose(self, freshness: Freshness, position: int, tried: set[Server]) -> Server | None:
        """The server for a read, as far as known; None if only waiting could help."""
        if not self.replicas or freshness is Freshness.LATEST:
            return None if self.primary in tried else self.primary
        if freshness is Freshness.FRESH:
            if self.primary.is_up and self.primary not in tried:
                return self.primary
            return self._least_behind(tried)
        found = [
            replica
            for replica in self.replicas
            if replica not in tried and self.rotation.has(replica) and replica.position >= position
        ]
        if found:
            return min(found, key=_load)
        if position:
            return None
        if self.primary.is_up and self.primary not in tried:
            return self.primary
        return self._least_behind(tried)

    def _least_behind(self, tried: set[Server]) -> Server | None:
        """Without a primary, an older answer is better than none."""
        left = [each for each in self.replicas if each.is_up and each not in tried]
        return max(left, key=lambda each: each.position, default=None)

    async def reach(self, position: int, tried: set[Server]) -> Server:
        """Waits a moment until a replica has replayed `position`; otherwise the primary."""
        left = [each for each in self.replicas if each not in tried and self.rotation.has(each)]
        # A replica that lags by seconds will not catch up in a moment.
        best = max(left, key=lambda each: each.position, default=None)
        if best is not None and self.rotation.lag_s(best) <= max(self._wait_s, 1.0):
            until = time.monotonic() + self._wait_s
            while best.position < position and best.is_up and time.monotonic() < until:
                task = self._reaching.get(best)
                if task is None or task.done():
                    task = self._reaching[best] = asyncio.create_task(_ask_again(best))
                await asyncio.shield(task)
            if best.position >= position and best.is_up:
                return best
        return self.primary


def _nothing(_: int) -> None:
    pass


def _load(server: Server) -> float:
    return (server.pool.in_use + server.pool.waiting) / server.pool.size


async def _ask_again(server: Server) -> None:
    """A replica's position, looked up once for all who wait for it."""
    await asyncio.sleep(POLL_S)
    await server.probe()


class Reading:
    """`async with` gives a Connection. If the server fails, the statement is sent to another."""

    __slots__ = ("_connection", "_freshness", "_position", "_server", "_shard", "_tried", "seen")

    def __init__(
        self,
        shard: Shard,
        freshness: Freshness,
        position: int,
        seen: Callable[[int], None] | None,
    ) -> None:
        self.seen = seen
        self._shard = shard
        self._freshness = freshness
        self._position = position
        self._server = shard.primary
        self._tried: set[Server] = set()

    async def __aenter__(self) -> Connection:
        raw = await self._take()
        self._connection = _Reader(raw, self)
        return self._connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.give(self._connection.raw)
        if isinstance(error, psycopg.Error):
            unavailable = translated(error)
            if unavailable is not None:
                raise unavailable from error

    async def _take(self) -> Raw:
        shard = self._shard
        while True:
            server = shard.choose(self._freshness, self._position, self._tried)
            if server is None and self._position and shard.primary not in self._tried:
                server = await shard.reach(self._position, self._tried)
            if server is None:
                raise shard.primary.unavailable()
            self._server = server
            try:
                return await server.take()
            except Unavailable as error:
                if error.code == BUSY:
                    raise  # it was the least loaded
                self._tried.add(server)
                if self._freshness is Freshness.LATEST or len(self._tried) >= len(shard.servers):
                    raise

    async def move_on(self, error: psycopg.Error) -> Raw | None:
        """After a failure: a connection to another server, or another one to the same; None if
        sending the statement again would not help."""
        raw, server = self._connection.raw, self._server
        is_elsewhere_fine = RECOVERY_CONFLICT in str(error)
        if is_broken(error) and server is not self._shard.primary:
            log.error("replica_erred", server=server.name, error=str(error))
            server.rests_until = time.monotonic() + REST_S
            is_elsewhere_fine = True
        if not is_lost(error) and not is_elsewhere_fine:
            return None
        server.give(raw)
        if is_lost(error):
            await server.check(str(error))
        if not server.retries.spend():
            return None
        if not server.is_up or raw.pgconn.transaction_status == TransactionStatus.IDLE:
            self._tried.add(server)
        elif len(self._tried) > ATTEMPTS:
            return None
        try:
            return await self._take()
        except Unavailable:
            self._server = server
            return None


class _Reader(Connection):
    """A connection for statements without a transaction, each of which can be repeated
    elsewhere."""

    __slots__ = ("_is_placed", "_reading")

    def __init__(self, raw: Raw, reading: Reading) -> None:
        super().__init__(raw)
        self._reading = reading
        self._is_placed = False  # whether this server's position was looked up

    async def _run(
        self, sql: LiteralString, params: Params, rows: AsyncRowFactory[Any] | None = None
    ) -> psycopg.AsyncCursor[Any]:
        for _ in range(ATTEMPTS):
            try:
                if self._reading.seen is not None and not self._is_placed:
                    await self._place(self._reading.seen)
                return await super()._run(sql, params, rows)
            except psycopg.Error as error:
                other = await self._reading.move_on(error)
                if other is None:
                    raise
                self.raw, self._is_placed = other, False
        return await super()._run(sql, params, rows)

    async def _place(self, seen: Callable[[int], None]) -> None:
        """A statement of its own, before the one that reads: afterwards it would be too high."""
        row = await (await super()._run(REPLAYED, None)).fetchone()
        seen(row[0] if row is not None else 0)
        self._is_placed = True
