"""One shard: a primary and its replicas. It decides which server a statement goes to."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from enum import Enum
from functools import partial
from types import TracebackType
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import structlog
from psycopg.pq import TransactionStatus
from psycopg.rows import AsyncRowFactory

from rcommerce.database.connection import Connection, Params, Raw
from rcommerce.database.pool import BUSY
from rcommerce.database.server import Server, is_broken, is_lost, translated
from rcommerce.errors import RCommerceError, Unavailable
from rcommerce.settings import DatabaseSettings

ATTEMPTS = 3  # to begin a transaction whose connection was dead; nothing has been done by then
REST_S = 5.0  # for how long a replica that erred is left out
POLL_S = 0.004  # how often a replica that is waited for is asked
HISTORY = 600  # samples of the primary's position: five minutes of them
# A read ends on a replica when the rows that it needs are vacuumed away on the primary.
RECOVERY_CONFLICT = "conflict with recovery"
# Taken after the commit, so it never claims less. Only where there are replicas to hold it against.
POSITION: LiteralString = """
select ((case when current_setting('synchronous_commit') = 'off'
              then pg_current_wal_insert_lsn() else pg_current_wal_flush_lsn() end)
        - '0/0'::pg_lsn)::bigint
"""
log = structlog.get_logger()


class Home:
    """Where a tenant lives: a shard, and the epoch of its stay there."""

    __slots__ = ("epoch", "shard", "tenant_id")

    def __init__(self, tenant_id: UUID, shard: str, epoch: int) -> None:
        self.tenant_id = tenant_id
        self.shard = shard
        self.epoch = epoch


class TenantMoved(RCommerceError):
    """The tenant does not live on this shard, or not in this epoch: the map is old. `to` is the
    forwarding address that it has left, if any."""

    def __init__(self, to: Home | None) -> None:
        super().__init__("the tenant has moved")
        self.to = to


class TenantFenced(RCommerceError):
    """The tenant is about to move: its writes wait a moment."""


class Freshness(Enum):
    """What a read may be given."""

    ANY = "a replica, or the primary where there is none"
    FRESH = "the primary; a replica only while there is no primary"
    LATEST = "the primary and nothing else"


class Shard:
    """`read` and `write` hand out a connection for a moment; both raise Unavailable."""

    def __init__(
        self, name: str, primary: Server, replicas: Sequence[Server], limits: DatabaseSettings
    ) -> None:
        self.name = name
        self.primary = primary
        self.replicas = list(replicas)
        self._most_lag_s = limits.max_replica_lag_s
        self._wait_s = limits.replica_wait_ms / 1000
        self._history: deque[tuple[float, int]] = deque(maxlen=HISTORY)
        self._reaching: dict[Server, asyncio.Task[None]] = {}
        self._lags_s: dict[Server, float] = {}
        # Replicas that have yet to show that they follow the present primary, and past which
        # position: after a failover, one may still hold what the new primary never had.
        self._unproven: dict[Server, int] = {}
        self._seen: dict[Server, int] = {}  # each replica's position at the primary's last probe
        self._primary_identity = ""
        if self.replicas:
            primary.probed = self._sample
        for replica in self.replicas:
            replica.probed = partial(self._measure, replica)

    @property
    def servers(self) -> list[Server]:
        """The primary and the replicas."""
        return [self.primary, *self.replicas]

    async def open(self) -> None:
        """Begins to watch the servers. The primary comes last: a replica is then never ahead."""
        await asyncio.gather(*(replica.open() for replica in self.replicas))
        await self.primary.open()

    async def close(self) -> None:
        """Gives every connection back."""
        for server in self.servers:
            await server.close()

    def read(self, freshness: Freshness = Freshness.LATEST, position: int = 0) -> "Reading":
        """A connection on which each statement stands alone. `position` is what the server must
        have replayed, in bytes of write-ahead log."""
        return Reading(self, freshness, position)

    def write(self, home: Home | None = None) -> "Writing":
        """A connection in a transaction, which commits where the block ends without an error.

        With a `home` only while the tenant lives here: raises TenantMoved, TenantFenced.
        """
        return Writing(self.primary, home, counts=bool(self.replicas))

    async def once(
        self,
        home: Home | None,
        sql: LiteralString,
        params: Params,
        rows: AsyncRowFactory[Any] | None = None,
    ) -> tuple[psycopg.AsyncCursor[Any], int]:
        """A transaction of one statement, in one message: its cursor, and where the commit ended.

        It is planned each time, so it pays for short statements. Raises TenantMoved, TenantFenced.
        """
        server, position = self.primary, 0
        raw = await server.take()
        try:
            text = psycopg.AsyncClientCursor(raw).mogrify(sql, params)
            after = f"; commit; {POSITION}" if self.replicas else "; commit"
            cursor = raw.cursor() if rows is None else raw.cursor(row_factory=rows)
            await cursor.execute(f"{_begin(home)}; {text}{after}".encode(), prepare=False)
            if self.replicas:
                await cursor.set_result(-1)
                row = cursor.pgresult
                position = int(row.get_value(0, 0) or 0) if row is not None else 0
            await cursor.set_result(1 if home is None else 2)
        except psycopg.Error as error:
            await _undo(server, raw, error)
            raise _sense(error, home) from error
        finally:
            server.give(raw)
        return cursor, position

    # Replicas ---------------------------------------------------------------------------------

    def lag_bytes(self, replica: Server) -> int:
        """How much of the primary's write-ahead log the replica has not replayed."""
        return max(0, self.primary.position - replica.position)

    def lag_s(self, replica: Server) -> float:
        """For how long the primary has been ahead of the replica, as of the last probe.

        By the primary's positions as they were seen here: two servers' clocks are not compared,
        and an idle primary makes no lag.
        """
        return self._lags_s.get(replica, 0.0)

    def _sample(self) -> None:
        """The primary has told its position."""
        primary = self.primary
        is_another = self._primary_identity not in ("", primary.identity)
        self._primary_identity = primary.identity
        if is_another:
            self._history.clear()
        self._history.append((time.monotonic(), primary.position))
        for replica in self.replicas:
            # Compared with where it was a probe ago: that was surely before the primary's answer.
            if is_another or self._seen.get(replica, 0) > primary.position:
                self._unproven[replica] = max(primary.position, replica.position)
            self._seen[replica] = replica.position
            self._measure(replica)

    def _measure(self, replica: Server) -> None:
        if replica.position > self._unproven.get(replica, replica.position):
            del self._unproven[replica]
        behind, now = 0.0, time.monotonic()
        for at, position in reversed(self._history):
            if position <= replica.position:
                break
            behind = now - at
        self._lags_s[replica] = behind

    def is_in_rotation(self, replica: Server) -> bool:
        """Whether reads go there."""
        return (
            replica.is_up
            and replica not in self._unproven
            and (replica.is_replica or replica.identity == self._primary_identity)
            and self.lag_s(replica) <= self._most_lag_s
            and (not replica.rests_until or time.monotonic() > replica.rests_until)
        )

    def choose(self, freshness: Freshness, position: int, tried: set[Server]) -> Server | None:
        """The server for a read, as far as is known; None where only waiting could help."""
        if not self.replicas or freshness is Freshness.LATEST:
            return None if self.primary in tried else self.primary
        if freshness is Freshness.FRESH:
            if self.primary.is_up and self.primary not in tried:
                return self.primary
            return self._least_behind(tried)
        found = [
            replica
            for replica in self.replicas
            if replica not in tried
            and self.is_in_rotation(replica)
            and replica.position >= position
        ]
        if found:
            return min(found, key=_load)
        if position:
            return None
        if self.primary.is_up and self.primary not in tried:
            return self.primary
        return self._least_behind(tried)

    def _least_behind(self, tried: set[Server]) -> Server | None:
        """While there is no primary, an old answer is better than none."""
        left = [each for each in self.replicas if each.is_up and each not in tried]
        return max(left, key=lambda each: each.position, default=None)

    async def reach(self, position: int, tried: set[Server]) -> Server:
        """Waits a moment until a replica has replayed `position`; the primary where none does."""
        left = [each for each in self.replicas if each not in tried and self.is_in_rotation(each)]
        # One that is seconds behind will not be here in a moment.
        best = max(left, key=lambda each: each.position, default=None)
        if best is not None and self.lag_s(best) <= max(self._wait_s, 1.0):
            until = time.monotonic() + self._wait_s
            while best.position < position and best.is_up and time.monotonic() < until:
                task = self._reaching.get(best)
                if task is None or task.done():
                    task = self._reaching[best] = asyncio.create_task(_ask_again(best))
                await asyncio.shield(task)
            if best.position >= position and best.is_up:
                return best
        return self.primary


def _begin(home: Home | None) -> str:
    """Begins, and checks in the same message that the tenant lives here. The simple protocol takes
    several statements, and no parameters: a UUID and a number."""
    if home is None:
        return "begin read write"
    return f"begin read write; select enter_tenant('{home.tenant_id}', {home.epoch:d})"


async def _undo(server: Server, raw: Raw, error: psycopg.Error) -> None:
    """After a failure: nothing is left open, and a server that is gone is known to be."""
    if raw.pgconn.transaction_status == TransactionStatus.INERROR:
        with contextlib.suppress(psycopg.OperationalError):
            await raw.execute("rollback", prepare=False)
    if is_lost(error):
        await server.check(str(error))


def _sense(error: psycopg.Error, home: Home | None) -> Exception:
    """What an error at the beginning of a write, or of a single statement, means."""
    if home is not None and error.sqlstate == "RC002":
        return TenantFenced()
    if home is not None and error.sqlstate == "RC001":
        shard, epoch = error.diag.message_detail, error.diag.message_hint
        return TenantMoved(Home(home.tenant_id, shard, int(epoch)) if shard and epoch else None)
    return translated(error) or error


def _load(server: Server) -> float:
    return (server.pool.in_use + server.pool.waiting) / server.pool.size


async def _ask_again(server: Server) -> None:
    """One look at a replica's position, shared by all who wait for it."""
    await asyncio.sleep(POLL_S)
    await server.probe()


class Reading:
    """`async with` gives a Connection. A statement whose server goes away is sent to another."""

    __slots__ = ("_connection", "_freshness", "_position", "_server", "_shard", "_tried")

    def __init__(self, shard: Shard, freshness: Freshness, position: int) -> None:
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
        """After a failure: a connection to another server, or another one to the same; None where
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
    """A connection whose statements each stand alone, so that one can be sent again elsewhere."""

    __slots__ = ("_reading",)

    def __init__(self, raw: Raw, reading: Reading) -> None:
        super().__init__(raw)
        self._reading = reading

    async def _run(
        self, sql: LiteralString, params: Params, rows: AsyncRowFactory[Any] | None = None
    ) -> psycopg.AsyncCursor[Any]:
        for _ in range(ATTEMPTS):
            try:
                return await super()._run(sql, params, rows)
            except psycopg.Error as error:
                other = await self._reading.move_on(error)
                if other is None:
                    raise
                self.raw = other
        return await super()._run(sql, params, rows)


class Writing:
    """`async with` gives a Connection in a transaction. `position` is where the commit ended in
    the write-ahead log; 0 where nobody counts, as there is no replica."""

    __slots__ = ("_connection", "_counts", "_home", "_server", "position")

    def __init__(self, server: Server, home: Home | None, *, counts: bool) -> None:
        self.position = 0
        self._counts = counts
        self._server = server
        self._home = home

    async def __aenter__(self) -> Connection:
        for attempt in range(1, ATTEMPTS + 1):
            raw = await self._server.take()
            try:
                await raw.execute(_begin(self._home).encode(), prepare=False)
            except psycopg.Error as error:
                await _undo(self._server, raw, error)
                self._server.give(raw)
                if is_lost(error) and self._server.is_up and attempt < ATTEMPTS:
                    continue
                raise _sense(error, self._home) from error
            except BaseException:
                self._server.give(raw)
                raise
            self._connection = Connection(raw)
            return self._connection
        raise self._server.unavailable()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        raw = self._connection.raw
        try:
            if error is None:
                await self._commit(raw)
            elif raw.pgconn.transaction_status in (
                TransactionStatus.INTRANS,
                TransactionStatus.INERROR,
            ):
                await raw.execute("rollback", prepare=False)
        except psycopg.OperationalError as lost:
            if error is None:
                error = lost
        finally:
            is_gone = raw.pgconn.transaction_status == TransactionStatus.UNKNOWN
            self._server.give(raw)
        if is_gone:
            await self._server.check(str(error))
        if isinstance(error, psycopg.Error):
            unavailable = translated(error)
            if unavailable is not None:
                raise unavailable from error
            if kind is None:
                raise error

    async def _commit(self, raw: Raw) -> None:
        if raw.pgconn.transaction_status == TransactionStatus.INERROR:
            # The block went on after an error; a commit would silently undo its work.
            await raw.execute("rollback", prepare=False)
            raise RCommerceError("the transaction had failed before its end")
        if not self._counts:
            await raw.execute("commit", prepare=False)
            return
        cursor = await raw.execute(f"commit; {POSITION}", prepare=False)
        cursor.nextset()
        row = await cursor.fetchone()
        self.position = row[0] if row else 0
