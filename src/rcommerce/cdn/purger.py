"""Purges a CDN of what a shard's writes have invalidated.

The tags to purge are in `cache_tag`, committed when the write was published; the CDN's progress is
in `cdn_purge`. A crash loses nothing: the next process continues, and purging twice does no harm.
"""

import asyncio
import contextlib
import random
from typing import LiteralString

import psycopg
import structlog

from rcommerce.cdn.adapters import Adapter, CdnError
from rcommerce.cdn.tags import cdn_tag
from rcommerce.database.shard import Shard
from rcommerce.errors import RCommerceError

# A CDN refills from any process, so every process must have received the invalidation first:
# docs/caching.md promises 250 ms.
AFTER_MS = 350
LOOK_EVERY_S = 5.0
LEASE_S = 30
BATCH = 1000
BACKOFF_S = (1.0, 60.0)
# One process at a time. A position beyond the log's end is of a server that was restored.
_CLAIM: LiteralString = """
update cdn_purge set leased_until = now() + make_interval(secs => %(lease)s)
 where leased_until < now()
   and exists (
     select from cache_tag t
      where t.position > case when cdn_purge.position <= pg_current_wal_insert_lsn() - '0/0'::pg_lsn
                              then cdn_purge.position else 0 end
        and t.published_at < now() - make_interval(secs => %(after_s)s))
returning case when position <= pg_current_wal_insert_lsn() - '0/0'::pg_lsn then position else 0 end
"""
_DUE: LiteralString = """
select t.tenant_id, t.tag, t.position from cache_tag t
 where t.position > %(position)s and t.published_at < now() - make_interval(secs => %(after_s)s)
 order by t.position limit %(limit)s
"""
_DONE: LiteralString = """
update cdn_purge set position = %(position)s,
       leased_until = now() + make_interval(secs => %(rest_s)s)
"""
log = structlog.get_logger()


class Purger:
    """`run` works for as long as the process lives; `changed` wakes it."""

    def __init__(self, shard: Shard, cdn: Adapter, changed: asyncio.Event) -> None:
        self.purged = self.failed = 0
        self._shard = shard
        self._cdn = cdn
        self._changed = changed
        self._backoff_s = BACKOFF_S[0]

    async def run(self) -> None:
        """Purges what is due."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S * random.uniform(0.5, 1.5)):  # noqa: S311
                    await self._changed.wait()
            self._changed.clear()
            # One process purges for all.
            await asyncio.sleep(AFTER_MS / 1000 + random.uniform(0.01, 0.15))  # noqa: S311
            try:
                while await self._purge():
                    pass
            except (RCommerceError, psycopg.Error) as error:
                log.warning("cdn_purge_failed", shard=self._shard.name, error=str(error).strip())

    async def _purge(self) -> bool:
        """Purges a batch; returns whether there may be more."""
        after_s = AFTER_MS / 1000
        cursor, _ = await self._shard.once(None, _CLAIM, {"lease": LEASE_S, "after_s": after_s})
        row = await cursor.fetchone()
        if row is None:
            return False
        position = int(row[0])
        async with self._shard.read() as conn:
            due = await conn.all(_DUE, {"position": position, "limit": BATCH, "after_s": after_s})
        # Customers' responses are not in a CDN.
        tags = [
            cdn_tag(tenant, tag).decode()
            for tenant, tag, _ in due
            if not tag.startswith("customer:")
        ]
        try:
            for start in range(0, len(tags), self._cdn.most_tags):
                await self._cdn.purge(tags[start : start + self._cdn.most_tags])
        except CdnError as error:
            self.failed += 1
            log.warning("cdn_purge_failed", shard=self._shard.name, error=str(error))
            await self._leave(position, self._backoff_s)
            self._backoff_s = min(2 * self._backoff_s, BACKOFF_S[1])
            await asyncio.sleep(self._backoff_s / 2)
            self._changed.set()
            return False
        self._backoff_s = BACKOFF_S[0]
        self.purged += len(tags)
        await self._leave(max((row[2] for row in due), default=position), 0.0)
        return len(due) == BATCH

    async def _leave(self, position: int, rest_s: float) -> None:
        await self._shard.once(None, _DONE, {"position": position, "rest_s": rest_s})
