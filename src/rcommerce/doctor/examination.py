"""Runs all checks, in the order in which they are printed."""

import asyncio
from collections.abc import Iterator

from rcommerce.database.server import Role, conninfo
from rcommerce.doctor import databases, instances, machine, media, outside, redis
from rcommerce.doctor.clocks import agreement
from rcommerce.doctor.findings import Finding
from rcommerce.doctor.safety import risks
from rcommerce.services import embedded, worker_count
from rcommerce.settings import Settings


async def examine(settings: Settings, count: int | None) -> list[Finding]:
    """All findings, for `count` instances; None: as many as are running now.

    Raises SettingsError for a pool that is too small by itself.
    """
    database = settings.database
    is_embedded = database.db_type == "Embedded"
    dsn = (
        embedded(settings).conninfo
        if is_embedded
        else conninfo(database, database.direct_addresses, Role.PRIMARY)
    )
    processes = await instances.listen(dsn)
    if processes is None and is_embedded:
        processes = []  # it runs as long as any of them does
    running = len({each.instance for each in processes or () if each.kind == "server"})
    count = count or max(running, 1)

    def of_databases() -> list[Finding]:
        if is_embedded:
            return list(databases.embedded(dsn))
        return list(databases.examine(database, worker_count(settings), count))

    async def of_redis() -> list[Finding]:
        return await redis.examine(settings.cache) if settings.cache.cache_type == "Redis" else []

    parts = await asyncio.gather(
        asyncio.to_thread(of_databases),
        of_redis(),
        media.examine(settings, count),
        outside.examine(settings),
    )
    found = [finding for part in parts for finding in part]
    found += agreement(found)
    found += instances.examine(processes, settings)
    found += machine.examine(settings)
    found += _safety(settings)
    return found


def _safety(settings: Settings) -> Iterator[Finding]:
    """Settings that are unsafe on a public network. An embedded database is a laptop's: there they
    are fine."""
    if settings.database.db_type == "Embedded":
        yield Finding("green", "safety", "not checked with an embedded database")
        return
    found = list(risks(settings))
    yield from found or [Finding("green", "safety", "no setting is unsafe")]
