"""Where connections come from: a pool to one PostgreSQL, for reads and for writes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from rcommerce.database.connection import Connection, Raw
from rcommerce.errors import Unavailable
from rcommerce.settings import DatabaseSettings

SSL_MODES = {
    "Disable": "disable",
    "Prefer": "prefer",
    "Require": "require",
    "VerifyFull": "verify-full",
}
# What a client may try again: the server is away, restarting, or two writers met.
PASSING = (
    psycopg.OperationalError,
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
)


def conninfo(settings: DatabaseSettings) -> str:
    """The libpq connection string of a server that was named in the settings."""
    return psycopg.conninfo.make_conninfo(
        host=settings.host,
        port=settings.port,
        dbname=settings.database,
        user=settings.username,
        password=settings.password,
        sslmode=SSL_MODES[settings.ssl_mode],
        connect_timeout=5,
    )


class Database:
    """The pool. `read` and `write` hand out a connection for a moment.

    Both raise Unavailable (503) where no connection is to be had within `pool_timeout_secs`,
    or the server goes away.
    """

    def __init__(self, dsn: str, settings: DatabaseSettings, workers: int = 1) -> None:
        size = max(1, settings.pool_size // workers)
        seconds = {
            "statement_timeout": settings.statement_timeout_secs,
            "lock_timeout": settings.lock_timeout_secs,
            "idle_in_transaction_session_timeout": settings.idle_in_transaction_timeout_secs,
        }
        options = " ".join(f"-c {name}={value}s" for name, value in seconds.items())
        self._pool: AsyncConnectionPool[Raw] = AsyncConnectionPool(
            dsn,
            min_size=min(2, size),
            max_size=size,
            # A queue without end is an outage in slow motion: past this, refuse at once.
            max_waiting=size * 50,
            timeout=settings.pool_timeout_secs,
            reconnect_timeout=5,
            kwargs={"autocommit": True, "application_name": "rcommerce", "options": options},
            open=False,
        )

    async def open(self) -> None:
        """Opens the pool; connections come as they are needed."""
        await self._pool.open()

    async def close(self) -> None:
        """Gives every connection back to the server."""
        await self._pool.close()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Connection]:
        """A connection on which each statement stands alone."""
        try:
            async with self._pool.connection() as raw:
                yield Connection(raw)
        except (PoolTimeout, TooManyRequests, PoolClosed) as error:
            raise Unavailable("no database connection is free", code="database_busy") from error
        except PASSING as error:
            raise _translated(error) from error

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Connection]:
        """A connection in a transaction, which commits where the block ends without an error."""
        async with self.read() as connection, connection.raw.transaction():
            yield connection


def _translated(error: psycopg.Error) -> Unavailable:
    if isinstance(error, psycopg.errors.QueryCanceled):
        return Unavailable("the database took too long", code="database_slow")
    if isinstance(error, psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure):
        return Unavailable("another write was in the way", code="write_conflict")
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return Unavailable("another write is in the way", code="write_conflict")
    return Unavailable("the database cannot be reached", code="database_unavailable")
