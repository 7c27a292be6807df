"""Tells a process which of its cached responses are stale, for one shard.

Triggers record the tags that a write invalidates, in its own transaction (migration 0003). After
the commit a process publishes them, its own or another's, and every listening process receives
them. Each second a process also publishes what one that died has left.
"""

import asyncio
import contextlib
import random
from collections.abc import Iterable, Sequence
from typing import Any, LiteralString, Protocol
from uuid import UUID

import msgspec
import psycopg
import structlog

from rcommerce.database.connection import Connection
from rcommerce.database.shard import Shard
from rcommerce.errors import RCommerceError

CHANNEL = "rcommerce_invalidated"
GATHER_S = (0.005, 0.015)  # writes that end together are published together
# seconds after which a range that was too recent to be complete is published once more
AGAIN_S = 0.03
LEFT_BEHIND_EVERY_S = 1.0
HEARTBEAT_S = 5.0
ANSWER_WITHIN_S = 2.0
RETRY_S = 0.25
KEPT = "2 hours"  # longer than any cache keeps an entry
FORGET_EVERY_S = 600.0
MOST_TAGS = 50_000
_PUBLISH: LiteralString = "select publish_invalidations(%(wanted)s::bigint)"
_STATE: LiteralString = """
select substr(md5(
           (select system_identifier from pg_control_system())::text
           || substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8)), 1, 8), position
  from cache_horizon
"""
_TAGS: LiteralString = """
select tenant_id, tag, position from cache_tag order by position desc limit %(limit)s
"""
log = structlog.get_logger()


async def invalidate(tx: Connection, tenant: UUID, tags: Sequence[str]) -> None:
    """Invalidates these tags when the transaction commits."""
    await tx.execute(
        "select invalidate(%(tenant)s, %(tags)s)", {"tenant": tenant, "tags": list(tags)}
    )


async def publish(shard: Shard) -> None:
    """Publishes committed invalidations at once, for a process that does not run Invalidations."""
    await shard.once(None, _PUBLISH, {"wanted": None})


async def last(conn: Connection, tenant: UUID, tags: Sequence[str]) -> int:
    """The last position at which one of these tags was invalidated; 0: never."""
    found = await conn.value(
        """
        select coalesce(max(position), 0) from cache_tag
         where tenant_id = %(tenant)s and tag = any(%(tags)s)
        """,
        {"tenant": tenant, "tags": list(tags)},
    )
    return int(found)


async def state(conn: Connection) -> dict[str, int]:
    """A shard's cache state: recently invalidated tags, unpublished writes, and what the CDN has
    not been told."""
    row = await conn.one_or_none(
        """
        select (select count(*) from cache_tag), (select count(*) from cache_invalidation),
               (select count(*) from cache_tag t, cdn_purge p where t.position > p.position)
        """,
        None,
    )
    names = ("tags_made_untrue", "writes_not_published", "tags_the_cdn_was_not_told")
    return dict(zip(names, row or (0, 0, 0), strict=True))


class Keeper(Protocol):
    """A cache of what was read from a shard."""

    def invalidate(self, position: int, tags: Iterable[tuple[UUID, Sequence[str]]]) -> None:
        """What was read at `position` or earlier is stale if it has one of the tags."""

    def reach(self, horizon: int) -> None:
        """Every invalidation before `horizon` has been delivered."""

    def suspend(self) -> None:
        """From now on no invalidations are received."""

    def resume(self, era: str, horizon: int, tags: Sequence[tuple[UUID, str, int]]) -> None:
        """Received again. `tags` with their positions, latest first, are all that count. Positions
        of another `era` (a server's timeline) cannot be compared."""


class _Message(msgspec.Struct):
    position: int = 0
    tags: list[tuple[UUID, list[str]]] = []
    horizon: int | None = None


_DECODER = msgspec.json.Decoder(_Message)


class Invalidations:
    """`run` works for as long as the process lives. `dsn` connects to the primary directly: a
    pooler in transaction mode does not pass notifications."""

    def __init__(self, shard: Shard, dsn: str, keeper: Keeper) -> None:
        self._shard = shard
        self._dsn = dsn
        self._keeper = keeper
        self._horizon = 0
        self._wanted = 0
        self._written = asyncio.Event()
        shard.wrote = self.wrote

    def wrote(self, position: int) -> None:
        """Reports a commit of this process, up to `position`."""
        self._wanted = max(self._wanted, position)
        self._written.set()

    async def run(self) -> None:
        """Listens and publishes."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._publish())
            tasks.create_task(self._forget())

    # Listening --------------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            try:
                await self._follow()
            except (psycopg.Error, OSError, TimeoutError) as error:
                self._keeper.suspend()
                log.warning("invalidations_lost", shard=self._shard.name, error=str(error).strip())
            except asyncio.CancelledError:
                self._keeper.suspend()
                raise
            await asyncio.sleep(RETRY_S * random.uniform(0.5, 1.5))  # noqa: S311

    async def _follow(self) -> None:
        """Receives notifications until the connection fails. Raises psycopg.Error, OSError,
        TimeoutError."""
        connection = await psycopg.AsyncConnection.connect(
            self._dsn, autocommit=True, application_name="rcommerce listener"
        )
        try:
            await connection.execute(f"listen {CHANNEL}")
            # Whatever is published from here on waits in the connection; the rest is in the tables.
            await self._catch_up(connection)
            while True:
                async for notify in connection.notifies(timeout=HEARTBEAT_S):
                    self._hear(notify.payload)
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    await connection.execute("select 1")
        finally:
            connection.pgconn.finish()

    async def _catch_up(self, connection: psycopg.AsyncConnection[Any]) -> None:
        async with asyncio.timeout(ANSWER_WITHIN_S * 5):
            row = await (await connection.execute(_STATE)).fetchone()
            cursor = await connection.execute(_TAGS, {"limit": MOST_TAGS})
            tags = await cursor.fetchall()
        if row is None:
            raise psycopg.OperationalError("the horizon is missing: run rcommerce db upgrade")
        era, self._horizon = row
        self._keeper.resume(era, self._horizon, tags)

    def _hear(self, payload: str) -> None:
        message = _DECODER.decode(payload)
        if message.tags:
            self._keeper.invalidate(message.position, message.tags)
        if message.horizon is not None:
            self._horizon = message.horizon
            self._keeper.reach(message.horizon)

    # Publishing -------------------------------------------------------------------------------

    async def _publish(self) -> None:
        while True:
            wanted = await self._due()
            try:
                # None: looks for what other processes have left; it also finds that there is
                # nothing.
                if wanted is None or self._horizon <= wanted:
                    reached = await self._ask(wanted)
                    if wanted is not None and reached <= wanted:
                        # Too recent to be sure that every earlier commit was seen.
                        await asyncio.sleep(AGAIN_S)
                        self._written.set()
            except (RCommerceError, psycopg.Error) as error:
                log.warning("publishing_failed", shard=self._shard.name, error=str(error).strip())
                await asyncio.sleep(RETRY_S)
                if wanted is not None:
                    self._written.set()

    async def _due(self) -> int | None:
        """Waits until something is to be published: the position of the last write, or None."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEFT_BEHIND_EVERY_S * random.uniform(0.8, 1.2)):  # noqa: S311
                await self._written.wait()
        if not self._written.is_set():
            return None
        await asyncio.sleep(random.uniform(*GATHER_S))  # noqa: S311 - processes take turns
        self._written.clear()
        return self._wanted

    async def _ask(self, wanted: int | None) -> int:
        cursor, _ = await self._shard.once(None, _PUBLISH, {"wanted": wanted})
        row = await cursor.fetchone()
        return int(row[0]) if row is not None else 0

    async def _forget(self) -> None:
        while True:
            await asyncio.sleep(FORGET_EVERY_S * random.uniform(0.5, 1.5))  # noqa: S311
            with contextlib.suppress(RCommerceError, psycopg.Error):
                await self._shard.once(None, f"select forget_invalidations('{KEPT}')", None)
