"""One PostgreSQL server, or several of which one is the primary: its connections and its state."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from enum import Enum
from typing import LiteralString

import psycopg
import structlog

from rcommerce import clock
from rcommerce.database import pooler
from rcommerce.database.connection import Raw
from rcommerce.database.pool import Pool, hang_up
from rcommerce.errors import Unavailable
from rcommerce.resilience.breaker import Breaker
from rcommerce.resilience.retries import RetryBudget
from rcommerce.settings import DatabaseSettings
from rcommerce.settings.schema import Node

SSL_MODES = {
    "Disable": "disable",
    "Prefer": "prefer",
    "Require": "require",
    "VerifyFull": "verify-full",
}
CONNECT_TIMEOUT_S = 2
PROBE_TIMEOUT_S = 1.0
PROBE_EVERY_S = 0.5
PROBE_DOWN_EVERY_S = 0.2
PREPARE_AFTER = 5  # psycopg's own default
# The server's position in the write-ahead log (replayed by a replica, durable on a primary),
# whether it is a replica, its identity, and its time.
PROBE: LiteralString = """
select pg_is_in_recovery(),
       ((case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
              else pg_current_wal_flush_lsn() end) - '0/0'::pg_lsn)::bigint,
       pg_postmaster_start_time()::text || ' ' || coalesce(inet_server_port(), 0),
       extract(epoch from clock_timestamp())::float8
"""
log = structlog.get_logger()


class Role(Enum):
    """What a connection requires of the server."""

    PRIMARY = "primary"
    ANY = "any"


def conninfo(node: Node, addresses: Sequence[str], role: Role) -> str:
    """The libpq connection string of `addresses` (host:port), tried in order."""
    pairs = [address.rpartition(":") for address in addresses]
    return psycopg.conninfo.make_conninfo(
        host=",".join(host.strip("[]") for host, _, _ in pairs),
        port=",".join(port for _, _, port in pairs),
        dbname=node.database,
        user=node.username,
        password=node.password,
        sslmode=SSL_MODES[node.ssl_mode],
        connect_timeout=CONNECT_TIMEOUT_S,
        target_session_attrs=role.value,
    )


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection has failed, rather than a statement."""
    state = error.sqlstate
    if state is None:  # libpq's own: the server sent nothing
        return isinstance(error, psycopg.OperationalError)
    # 57P01 to 03: the server is shutting down, has crashed, or is starting. 53300: it has no free
    # connection. 08…: PgBouncer has lost the server.
    return state in {"57P01", "57P02", "57P03", "53300"} or state.startswith("08")


def is_broken(error: psycopg.Error) -> bool:
    """Whether the server cannot work: out of resources, a disk error, or an internal one."""
    return (error.sqlstate or "")[:2] in {"53", "58", "XX"}


def translated(error: psycopg.Error) -> Unavailable | None:
    """The problem for an error that a client may retry: the server is unavailable or slow, or two
    writes conflict. None for other errors."""
    if is_lost(error):
        return Unavailable("the database cannot be reached", code="database_unavailable")
    if isinstance(error, psycopg.errors.QueryCanceled):
        return Unavailable("the database timed out", code="database_slow")
    if isinstance(error, psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure):
        return Unavailable("a concurrent write conflicts; try again", code="write_conflict")
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return Unavailable("a concurrent write conflicts; try again", code="write_conflict")
    if isinstance(error, psycopg.OperationalError):
        return Unavailable("the database cannot be reached", code="database_unavailable")
    return None


class Server:
    """Its pool and the result of its last probe. `name` is for people, `dependency` for metrics,
    `address` a replica's as in the settings."""

    def __init__(
        self,
        name: str,
        dsn: str,
        *,
        address: str = "",
        dependency: str,
        size: int,
        limits: DatabaseSettings,
        through_pooler: bool = False,
    ) -> None:
        self.name = name
        self.address = address
        self.dsn = dsn
        self.breaker = Breaker(dependency)
        self.retries = RetryBudget()
        self.is_replica = False
        self.identity = ""  # of the running server: it changes with a restart or a failover
        self.position = 0  # bytes of write-ahead log, see PROBE
        self.latency_s = 0.0  # of the last probe
        self.pool = Pool(self._connect, size, limits.pool_timeout_secs)
        self._prepares: bool | None = None if through_pooler else True
        self.through_pooler = through_pooler  # which does not track what SQL's PREPARE prepares
        # A pooler drops these; `rcommerce db upgrade` stores them with the role as well.
        self._options = "" if through_pooler else " ".join(
            f"-c {name}={value}" for name, value in session_settings(limits).items()
        ) + " -c default_transaction_read_only=on"  # fmt: skip
        self.sets_clock = False  # of this process
        self.probed: Callable[[], None] = _nothing  # called after each successful probe
        self.rests_until = 0.0  # when it failed last, by the monotonic clock
        self._last_answer = time.monotonic()
        self._watching: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[None] | None = None

    @property
    def is_up(self) -> bool:
        """Whether it answers, as far as known from probes and requests."""
        return not self.breaker.is_open

    @property
    def state(self) -> str:
        """`up` or `down`."""
        return "up" if self.is_up else "down"

    async def open(self) -> None:
        """Probes the server, and goes on to."""
        await self.probe()
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Closes all connections."""
        for task in (self._watching, self._checking):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self.pool.close()

    async def take(self) -> Raw:
        """A connection. Raises Unavailable, at once if the server is known to be down."""
        if not self.is_up:
            raise self.unavailable()
        self.retries.earn()
        try:
            return await self.pool.take()
        except psycopg.OperationalError as error:
            await self.check(str(error))
            raise self.unavailable() from error

    def give(self, raw: Raw) -> None:
        """Takes a connection back."""
        self._last_answer = time.monotonic()
        self.pool.give(raw)

    def unavailable(self) -> Unavailable:
        """The error for requests while the server is down."""
        return Unavailable("the database cannot be reached", code="database_unavailable")

    async def check(self, cause: str) -> None:
        """Called by a request that has lost its connection: finds out at once whether the server is
        down.

        Concurrent calls share one probe. A known state is not probed again: probing a hanging
        server takes seconds.
        """
        if not self.is_up:
            return
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check(cause))
        await asyncio.shield(self._checking)

    async def _check(self, cause: str) -> None:
        try:
            await self._probe_afresh()
        except (psycopg.Error, TimeoutError) as error:
            self._went_down(cause or str(error))
        else:
            self.pool.renew()  # its other connections may be broken, too
            self.breaker.succeeded()

    async def _watch(self) -> None:
        """Probes for as long as the process lives."""
        while True:
            await asyncio.sleep(PROBE_EVERY_S if self.is_up else PROBE_DOWN_EVERY_S)
            try:
                await self.probe()
            except Exception:
                log.exception("probe_failed", server=self.name)

    async def probe(self) -> None:
        """Probes the server, and records whether it is up."""
        try:
            if self.is_up:
                await self._probe_by_pool()
            else:
                self.breaker.try_again()
                await self._probe_afresh()
        except (psycopg.Error, TimeoutError) as error:
            if self.is_up:
                # The connection itself may have failed: tries once more, on another one.
                await self._check(str(error))
            else:
                self.breaker.failed(str(error).strip())
            return
        except Unavailable:
            return  # no connection to probe with: all are in use
        self.breaker.succeeded()

    async def _probe_by_pool(self) -> None:
        if self.pool.in_use >= self.pool.size:
            # All connections are in use: if any comes back, the server is up.
            if time.monotonic() - self._last_answer > PROBE_TIMEOUT_S:
                await self._probe_afresh()
            return
        raw = await self.pool.take()
        try:
            await self._ask(raw)
        finally:
            self.give(raw)

    async def _probe_afresh(self) -> None:
        async with asyncio.timeout(CONNECT_TIMEOUT_S + PROBE_TIMEOUT_S):
            raw = await self._connect()
        try:
            await self._ask(raw)
        finally:
            raw.pgconn.finish()

    async def _ask(self, raw: Raw) -> None:
        """Raises TimeoutError without an answer."""
        overdue = asyncio.get_running_loop().call_later(PROBE_TIMEOUT_S, hang_up, raw)
        begun = time.monotonic()
        try:
            row = await (await raw.execute(PROBE)).fetchone()
        except psycopg.OperationalError as error:
            if time.monotonic() - begun >= PROBE_TIMEOUT_S:
                raise TimeoutError("no answer to a probe") from error
            raise
        finally:
            overdue.cancel()
        if row is not None:
            self.is_replica, self.position, self.identity, their_time = row
            self._last_answer = time.monotonic()
            self.latency_s = self._last_answer - begun
            if self.sets_clock:
                clock.agree(their_time, self.latency_s)
            self.probed()

    def _went_down(self, cause: str) -> None:
        self.breaker.failed(cause.strip(), surely=True)
        self.pool.fail(self.unavailable())
        self.pool.hang_up()

    async def _connect(self) -> Raw:
        raw = await Raw.connect(
            self.dsn,
            autocommit=True,
            application_name="rcommerce",
            prepare_threshold=PREPARE_AFTER if self._prepares else None,
            options=self._options or None,
        )
        if self._prepares is None:
            self._prepares = await pooler.keeps_prepared_statements(raw)
            raw.prepare_threshold = PREPARE_AFTER if self._prepares else None
        return raw


def _nothing() -> None:
    pass


def session_settings(limits: DatabaseSettings) -> dict[str, str]:
    """The timeouts of each session, as PostgreSQL's settings."""
    seconds = {
        "statement_timeout": limits.statement_timeout_secs,
        "lock_timeout": limits.lock_timeout_secs,
        "idle_in_transaction_session_timeout": limits.idle_in_transaction_timeout_secs,
    }
    return {name: f"{value}s" for name, value in seconds.items()}
