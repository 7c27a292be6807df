"""The shop as one request sees it: its tenant, the caller, and the services."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, LiteralString, Protocol, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from psycopg import AsyncCursor
from psycopg.rows import AsyncRowFactory

from rcommerce import clock
from rcommerce.cache.redis import Redis
from rcommerce.cache.responses import ShardCache
from rcommerce.cache.shared import Entry, Shared
from rcommerce.cache.sources import Sources
from rcommerce.cache.values import Values
from rcommerce.commerce.guarded import GuardedGateway
from rcommerce.commerce.pricing.stacking import Stacking
from rcommerce.commerce.strategies import ExchangeRates, Mailer, ShippingProvider
from rcommerce.database import (
    Cluster,
    Connection,
    Freshness,
    ShardAssignment,
    Statement,
    TenantFenced,
    TenantMoved,
)
from rcommerce.database.connection import Params
from rcommerce.database.shard import Reading
from rcommerce.database.writing import Writing
from rcommerce.errors import Forbidden, Unauthenticated, Unavailable
from rcommerce.rate_limits import Limits
from rcommerce.resilience.breaker import Breaker
from rcommerce.resilience.outgoing import Outgoing
from rcommerce.settings import Settings
from rcommerce.storage.objects import Objects

T = TypeVar("T")
RESOURCES = (
    "products", "inventory", "orders", "customers", "carts", "coupons", "payments", "webhooks",
    "media", "statistics", "tenants",
)  # fmt: skip
SCOPES = frozenset(f"{resource}:{verb}" for resource in RESOURCES for verb in ("read", "write"))


# A router's `opt` for public data: it may be read from any replica. A buyer's own data is read from
# the primary unless a token states what the client has seen: a new cart must not be missing for a
# client that does not use tokens.
FROM_REPLICAS = "from_replicas"
RELOCATIONS = 3  # how often a write follows a tenant that has moved
FENCE_WAIT_S = 4.0  # seconds; a move pauses writes for less


class Tenant(msgspec.Struct, frozen=True):
    """A tenant, and the shard that the directory names for it."""

    id: UUID
    slug: str
    name: str
    currency: str
    status: str
    shard: str | None = None
    epoch: int = 1
    time_zone: str = "UTC"
    channel: str | None = None  # the slug of the one for requests that name none


@dataclass(frozen=True, slots=True)
class Proof:
    """How a customer is authenticated: by an access token, or by a session's cookie. It is valid
    while the customer's `token_version` is this one. `expires_at` is in seconds since 1970."""

    token_version: int
    token_id: UUID | None = None
    expires_at: float = 0.0
    session: str | None = None  # the hash of the cookie


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller: nobody, a customer, staff, an API key with its scopes, or a process of the shop
    itself."""

    customer_id: UUID | None = None
    is_staff: bool = False
    key: str | None = None
    channel: str | None = None  # the slug of the API key's
    process: str | None = None
    scopes: frozenset[str] = field(default_factory=frozenset)
    proof: Proof | None = None

    @property
    def name(self) -> str:
        """The caller's name in the audit log."""
        if self.process:
            return self.process
        if self.key:
            return f"key:{self.key}"
        if self.customer_id:
            return f"{'staff' if self.is_staff else 'customer'}:{self.customer_id}"
        return "guest"

    @property
    def runs_shop(self) -> bool:
        """Whether it is staff or an API key, whose actions are written to the audit log."""
        return self.is_staff or self.key is not None

    def may(self, scope: str) -> bool:
        """Whether the caller has this scope, as staff or by key."""
        return self.is_staff or scope in self.scopes

    def require(self, scope: str) -> None:
        """Raises Unauthenticated without a caller, Forbidden without the scope."""
        if self.may(scope):
            return
        if self.customer_id is None and self.key is None:
            raise Unauthenticated("a staff login or an API key is required")
        raise Forbidden(f"the scope {scope} is required", code="missing_scope")

    def require_customer(self) -> UUID:
        """The customer's id. Raises Unauthenticated if no customer is logged in."""
        if self.customer_id is None:
            raise Unauthenticated("a customer login is required")
        return self.customer_id


NOBODY = Caller()


class StoredSession(msgspec.Struct, kw_only=True):
    """A login by cookie. Times are in seconds since 1970."""

    customer_id: UUID
    role: str
    token_version: int
    user_agent: str
    address: str
    created_at: float
    seen_at: float


class Sessions(Protocol):
    """A store of sessions. Each method raises Unavailable while it is unavailable."""

    async def add(self, shop: "Shop", token_hash: str, session: StoredSession) -> None:
        """Stores a new one."""

    async def find(self, shop: "Shop", token_hash: str) -> StoredSession | None:
        """The session of a cookie, marked as used now; None if it has expired."""

    async def all(self, shop: "Shop", customer: UUID) -> Sequence[tuple[str, StoredSession]]:
        """A customer's sessions, with their hashes."""

    async def end(self, shop: "Shop", customer: UUID, token_hashes: Sequence[str]) -> None:
        """Deletes some of a customer's sessions."""


class Tenants(Protocol):
    """The tenants of the installation."""

    async def by_id(self, tenant_id: UUID) -> Tenant:
        """The tenant of this id. Raises NotFound, Forbidden."""

    async def find_by_host(self, host: str) -> Tenant:
        """The tenant with this host name, otherwise the default one."""

    async def listen(self) -> None:
        """Forgets tenants that have changed since the last call. Raises Unavailable."""

    async def relocated(self, tenant_id: UUID, to: ShardAssignment | None) -> Tenant:
        """The tenant's present shard, after it was not found where it was expected; `to` is its new
        shard as stated by the old one."""


@dataclass(frozen=True, slots=True)
class Services:
    """What `app.py` builds once per process."""

    cluster: Cluster
    tenants: Tenants
    settings: Settings
    jwt_secret: str
    gateways: Mapping[str, GuardedGateway]
    shipping: ShippingProvider
    stacking: Stacking
    exchange_rates: ExchangeRates
    mailer: Mailer
    sessions: Sessions
    limits: Limits
    objects: Objects
    outgoing: Outgoing
    shard_caches: Mapping[str, ShardCache] = field(default_factory=dict)
    redis: Redis | None = None
    shared: Shared | None = None
    order_events: Counter[str] = field(default_factory=Counter)  # committed ones
    live_promotions: Values[Any] = field(
        default_factory=lambda: Values(("promotions", "categories"))
    )
    live_channels: Values[Any] = field(default_factory=lambda: Values(("channels",)))

    @property
    def breakers(self) -> list[Breaker]:
        """Of every dependency in the settings; those of webhooks' hosts are in `outgoing`."""
        return [
            *(server.breaker for shard in self.cluster for server in shard.servers),
            *(self.redis.breakers.values() if self.redis else ()),
            self.objects.breaker,
            *(gateway.breaker for gateway in self.gateways.values()),
        ]


@dataclass(frozen=True, slots=True)
class Client:
    """The client of a request: its address and user agent."""

    address: str = ""
    user_agent: str = ""


class Shop:
    """Passed to every service call. `connection` is set if the whole request is one transaction (an
    idempotent POST); reads and writes then share it.

    `freshness` and `read_position` state what a read may return; `position` is the end of this
    request's last write, None if it has written nothing. `order_events` are those of the
    transaction in progress: they count once it is committed. `sources` is set if the response may
    be cached, and records what it was made from.
    """

    __slots__ = (
        "assignment", "caller", "channel", "client", "connection", "freshness", "idempotency_key",
        "new_session_token", "order_events", "outlasting", "position", "read_position", "services",
        "session_token", "sources", "tenant",
    )  # fmt: skip

    def __init__(self, services: Services, tenant: Tenant, caller: Caller) -> None:
        self.services = services
        self.caller = caller
        self.client = Client()
        self.channel: str | None = None  # the slug that X-Channel names, or the API key's
        # The cookie that the client has; and the one that it is to get: "" removes it.
        self.session_token: str | None = None
        self.new_session_token: str | None = None
        self.connection: Connection | None = None
        self.idempotency_key: str | None = None
        self.freshness = Freshness.LATEST
        self.read_position = 0
        self.position: int | None = None
        self.sources: Sources | None = None
        self.order_events: list[str] = []
        self.outlasting: list[Callable[[Connection], Awaitable[None]]] = []
        self.live(tenant)

    def local_time(self) -> datetime:
        """What time it is in the shop."""
        return datetime.fromtimestamp(clock.now(), ZoneInfo(self.tenant.time_zone))

    def with_zones(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values with times that have no offset in the shop's time zone. Of a time that there
        is twice when clocks go back, the first counts; one that is left out when they go forward is
        an hour later (PEP 495)."""
        zone = ZoneInfo(self.tenant.time_zone)
        return {
            name: value.replace(tzinfo=zone)
            if isinstance(value, datetime) and value.tzinfo is None
            else value
            for name, value in values.items()
        }

    @property
    def media_url(self) -> str:
        """The beginning of the URLs of uploads."""
        return self.services.settings.media.base_url

    def live(self, tenant: Tenant) -> None:
        """Stores the tenant's shard."""
        self.tenant = tenant
        shard = tenant.shard or self.services.cluster.place(tenant.id)
        self.assignment = ShardAssignment(tenant.id, shard, tenant.epoch)

    async def relocate(self, to: ShardAssignment | None = None) -> None:
        """Looks up the tenant's shard again."""
        self.live(await self.services.tenants.relocated(self.tenant.id, to))

    def read(self) -> AbstractAsyncContextManager[Connection]:
        """A connection for statements without a transaction."""
        if self.connection is not None:
            return _Shared(self.connection)
        seen = None if self.sources is None else self.sources.read_at
        return self.services.cluster.read(self.assignment, self.freshness, self.read_position, seen)

    async def cached(
        self,
        namespace: str,
        name: str,
        tag: str,
        ttl_s: float,
        read: Callable[[Connection], Awaitable[bytes | None]],
    ) -> bytes | None:
        """The result of `read`, or what another process has read since `tag` was last invalidated.

        `name` identifies the value within the tenant, and must contain everything that it depends
        on. A value from Redis is at least as recent as the request's consistency token; without
        one, it is as recent as docs/caching.md promises. A request that writes reads from the
        primary.
        """
        shared, shard_cache = (
            self.services.shared,
            self.services.shard_caches.get(self.assignment.shard),
        )
        is_write = self.connection is not None or self.freshness is Freshness.LATEST
        if (
            is_write
            or shared is None
            or shard_cache is None
            or not (
                shard_cache.positions.is_live and self.read_position < shard_cache.positions.horizon
            )
        ):
            async with self.read() if is_write else self._read_fresh() as conn:
                return await read(conn)
        positions, assignment = shard_cache.positions, self.assignment

        async def make() -> Entry:
            sources, era = Sources(), positions.era
            async with self._read_fresh(sources.read_at) as conn:
                found = await read(conn)
            return Entry(era, sources.position, [tag], found or b"")

        entry = await shared.obtain(
            self._cache_key(shared, namespace, name),
            lambda entry: positions.holds(
                entry.era, entry.position, assignment.tenant_id, entry.tags
            ),
            make,
            ttl_s,
            is_personal=True,
        )
        return bytes(entry.body) or None

    async def compiled(self, values: Values[T], make: Callable[[Connection], Awaitable[T]]) -> T:
        """The tenant's value among `values`, or what `make` makes of its data. It is at least as
        recent as the request's consistency token; without one, as docs/caching.md promises."""
        shard_cache = self.services.shard_caches.get(self.assignment.shard)
        key = (self.tenant.id, self.tenant.epoch)
        if shard_cache is None or self.read_position >= shard_cache.positions.horizon:
            async with self._read_fresh() as conn:
                return await make(conn)
        found = values.get(key, shard_cache.positions)
        if found is not None:
            return found
        if self.connection is not None:  # this request holds one already: it waits for no other
            return await make(self.connection)
        sources, era = Sources(), shard_cache.positions.era
        async with self._read_fresh(sources.read_at) as conn:
            made = await make(conn)
        values.put(key, era, sources.position, made)
        return made

    async def forget(self, namespace: str, *names: str) -> None:
        """Removes a cached value after a write, so that others need not wait for its
        invalidation."""
        if self.services.shared is not None:
            for name in names:
                key = self._cache_key(self.services.shared, namespace, name)
                await self.services.shared.forget(key)

    def _read_fresh(self, seen: Callable[[int], None] | None = None) -> Reading:
        """From the primary while there is one."""
        return self.services.cluster.read(
            self.assignment, Freshness.FRESH, self.read_position, seen
        )

    def _cache_key(self, shared: Shared, namespace: str, name: str) -> str:
        return shared.key(namespace, f"{self.tenant.id}.{self.tenant.epoch}:{name}")

    def write(self) -> AbstractAsyncContextManager[Connection]:
        """A connection in a transaction."""
        return _Write(self)

    def hold(
        self, lock: Statement, *reads: Statement
    ) -> AbstractAsyncContextManager[tuple[Connection, list[Any]]]:
        """A transaction that begins by locking a row: its connection, and the first row of `lock`
        and of each of `reads`, None where there is none.

        The lock is sent with the begin, so it costs no round trip, and what is read afterwards is
        current while the row is locked. A statement that waits for a lock itself sees all other
        rows as they were before it waited (PostgreSQL manual, 13.2.1); `reads` are other ones, in
        the same message.
        """
        return _Hold(self, (lock, *reads))

    async def commit_apart(self, work: Callable[[Connection], Awaitable[None]]) -> None:
        """Commits what must survive a refused request, such as a revocation: in a transaction of
        its own, whatever wraps the request. If the whole request is one transaction, which may have
        locked rows that `work` needs, it runs after that has ended, however it ends."""
        if self.connection is not None:
            self.outlasting.append(work)
            return
        async with self.write() as tx:
            await work(tx)

    @asynccontextmanager
    async def as_one(self) -> AsyncIterator[Connection]:
        """Runs the whole request as one transaction: its reads and writes are part of it."""
        try:
            async with self.write() as tx:
                self.connection = tx
                yield tx
        finally:
            self.connection = None
            for work in self.outlasting:
                await self.commit_apart(work)
            self.outlasting.clear()

    @asynccontextmanager
    async def write_once(self, *, is_durable: bool = True) -> AsyncIterator[Connection]:
        """A connection for a single short statement, which is its own transaction: begun and
        committed in one message. If a crash may undo it without harm, it need not be `is_durable`,
        and does not wait for the disk."""
        yield self.connection or _Once(self, is_durable=is_durable)

    async def run_once(
        self,
        sql: LiteralString,
        params: Params,
        rows: AsyncRowFactory[Any] | None,
        *,
        is_durable: bool,
    ) -> AsyncCursor[Any]:
        """Runs such a statement on the tenant's shard."""

        async def attempt() -> tuple[AsyncCursor[Any], int]:
            shard = self.services.cluster.shard(self.assignment.shard)
            return await shard.once(self.assignment, sql, params, rows, is_durable=is_durable)

        cursor, position = await self._at_home(attempt)
        self._wrote(position)
        return cursor

    def _wrote(self, position: int) -> None:
        self.position = position
        # Later reads of this request must show what it has written.
        self.freshness, self.read_position = Freshness.LATEST, 0

    async def begin(self, first: Sequence[Statement]) -> tuple[Writing, Connection]:
        """Begins a transaction on the tenant's shard."""

        async def attempt() -> tuple[Writing, Connection]:
            writing = self.services.cluster.write(self.assignment, first)
            return writing, await writing.__aenter__()

        return await self._at_home(attempt)

    def committed(self, position: int) -> None:
        """A transaction has ended well."""
        self._wrote(position)
        self.services.order_events.update(self.order_events)
        self.order_events.clear()

    async def _at_home(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Begins on the tenant's shard: follows a tenant that has moved, and waits while it is
        about to."""
        relocations = 0
        until = time.monotonic() + FENCE_WAIT_S
        while True:
            try:
                return await attempt()
            except TenantMoved as moved:
                relocations += 1
                if relocations > RELOCATIONS:
                    raise Unavailable("the shop is being moved", code="tenant_moving") from moved
                await self.relocate(moved.to)
            except TenantFenced as fenced:
                if time.monotonic() > until:
                    raise Unavailable("the shop is being moved", code="tenant_moving") from fenced
                await asyncio.sleep(random.uniform(0.02, 0.06))  # noqa: S311 - spreads the load


class _Transaction:
    """A transaction of a shop; the request's own, if that is one."""

    __slots__ = ("_first", "_shop", "_writing")

    def __init__(self, shop: Shop, first: Sequence[Statement] = ()) -> None:
        self._shop = shop
        self._first = first
        self._writing: Writing | None = None

    async def _begin(self) -> tuple[Connection, list[Any]]:
        shop = self._shop
        if shop.connection is not None:
            rows = [await shop.connection.one_or_none(*each) for each in self._first]
            return shop.connection, rows
        shop.order_events.clear()  # of a transaction that was rolled back
        self._writing, connection = await shop.begin(self._first)
        return connection, self._writing.rows

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writing is not None:
            await self._writing.__aexit__(kind, error, trace)
            if kind is None:
                self._shop.committed(self._writing.position)


class _Write(_Transaction):
    __slots__ = ()

    async def __aenter__(self) -> Connection:
        return (await self._begin())[0]


class _Hold(_Transaction):
    __slots__ = ()

    async def __aenter__(self) -> tuple[Connection, list[Any]]:
        return await self._begin()


class _Once(Connection):
    """Sends its one statement through the shop."""

    __slots__ = ("_is_durable", "_is_used", "_shop")

    # No connection is taken before the statement is known.
    def __init__(self, shop: Shop, *, is_durable: bool) -> None:
        self._text, self._waiting = None, []
        self._shop = shop
        self._is_durable = is_durable
        self._is_used = False

    async def _run(
        self, sql: LiteralString, params: Params, rows: AsyncRowFactory[Any] | None = None
    ) -> AsyncCursor[Any]:
        if self._is_used:
            raise RuntimeError("write_once is for one statement; take write for more")
        self._is_used = True
        return await self._shop.run_once(sql, params, rows, is_durable=self._is_durable)


class _Shared:
    """The request's own transaction, if a read is part of it."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def __aenter__(self) -> Connection:
        return self._connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass
