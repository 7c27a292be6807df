"""Fills the response cache on a miss, from Redis or by the application: once for all requests that
miss the same response at the same time."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from hashlib import blake2b
from typing import Any
from uuid import UUID

import msgspec
from litestar.types import ASGIApp, HTTPReceiveMessage, HTTPScope

from rcommerce import clock
from rcommerce.cache.responses import CachedResponse, ResponseCache, ShardCache
from rcommerce.cache.shared import PAGES, Entry
from rcommerce.cache.sources import Sources
from rcommerce.cdn.adapters import adapter
from rcommerce.cdn.tags import cdn_tags
from rcommerce.commerce.shop import Services, Tenant
from rcommerce.http import consistency, problems, shedding
from rcommerce.http.answer import Answer
from rcommerce.http.representation import BOUNDED_CONTROL, CACHE_CONTROL, STALE_S, Headers
from rcommerce.resilience.shedding import Limiter, Limiters, Priority
from rcommerce.telemetry.requests import UNMATCHED

ATTEMPTS = 3  # at a read that is newer than the last invalidation
# How long requests may join a fill while invalidations are not received.
JOIN_S = 0.1
# Headers that a public response may depend on, and those that its log line needs.
_PASSED_ON = frozenset({b"host", b"x-tenant-id", b"x-channel", b"x-request-id", b"user-agent"})
CHANNEL = b"x-channel"
PUBLIC = ("/api/v1/products", "/api/v1/collections", "/api/v1/categories")
now = time.monotonic


def route(path: str) -> str:
    """The route of a public read, for metrics: responses from Redis do not pass the router."""
    path = path.rstrip("/")
    if path in PUBLIC:
        return path
    parent = path.rpartition("/")[0]
    return f"{parent}/{{key}}" if parent in PUBLIC else UNMATCHED


class ResolvedTenant:
    """A tenant, the cache of its shard, and the prefix of its keys, which contains the channel of
    requests that name none."""

    __slots__ = ("channel", "prefix", "shard_cache", "tenant")

    def __init__(self, tenant: Tenant, shard_cache: ShardCache) -> None:
        self.tenant = tenant
        self.shard_cache = shard_cache
        self.channel = (tenant.channel or "").encode()
        self.prefix = tenant.id.bytes + tenant.epoch.to_bytes(8, "big") + self.channel + b" "

    def name(self, key: bytes) -> str:
        """The name of a response in Redis: tenant, epoch and path, readable by people."""
        query, _, path = key[len(self.prefix) :].decode("utf-8", "replace").partition(" ")
        channel = f"@{self.tenant.channel}" if self.tenant.channel else ""
        query = f"?{query}" if query else ""
        return f"{self.tenant.id}.{self.tenant.epoch}{channel}:{path}{query}"


class PendingFill:
    """A fill in progress (as in Go's singleflight): a waiter that is cancelled does not cancel it.
    Each waiter has its own future, which costs half of what `asyncio.shield` does."""

    __slots__ = ("_waiting", "begun", "task")

    def __init__(self, making: Coroutine[Any, Any, CachedResponse | Answer | None]) -> None:
        self.begun = now()
        self.task = asyncio.create_task(making)
        self._waiting: list[asyncio.Future[None]] = []

    async def landed(self) -> CachedResponse | Answer | None:
        """The result; None if it was refused because of overload."""
        if not self.task.done():
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future
        return self.task.result()

    def wake(self) -> None:
        """Wakes all waiters: it has succeeded or failed."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)


class Fill:
    """`always` are headers of every response; `moved` is called when a tenant turns out to have
    moved; `limiters` bound the concurrent fills, together with other requests."""

    def __init__(
        self,
        app: ASGIApp,
        services: Services,
        memory: ResponseCache,
        always: Headers,
        moved: Callable[[], None],
        limiters: Limiters | None,
    ) -> None:
        self._app = app
        self._memory = memory
        self._shared = services.shared
        self._always = always
        self._moved = moved
        self._limiters = limiters
        self._pending: dict[bytes, PendingFill] = {}
        self._ttl_s = float(services.settings.cache.product_cache_ttl)
        self._control = CACHE_CONTROL.format(ttl=int(self._ttl_s), stale=STALE_S).encode()
        self._cdn = adapter(services.settings.cdn)

    def pending(self, key: bytes, resolved: ResolvedTenant, scope: HTTPScope) -> PendingFill | None:
        """The fill of a response, started or joined. None: refused because of overload."""
        found = self._pending.get(key)
        if found is not None and (
            resolved.shard_cache.positions.is_live or now() < found.begun + JOIN_S
        ):
            return found
        limiters, rank = self._limiters, shedding.priority(scope)
        making: Coroutine[Any, Any, CachedResponse | Answer | None]
        if limiters is None or rank is None:
            making = self._make(key, resolved, scope)
        else:
            limiter = limiters.of(rank)
            is_in = limiter.enter()
            if not is_in and limiter.turns_away(rank):
                return None
            making = self._make_limited(limiter, rank, key, resolved, scope, is_in=is_in)
        pending = self._pending[key] = PendingFill(making)

        def landed(_: object) -> None:
            pending.wake()
            if self._pending.get(key) is pending:
                del self._pending[key]

        pending.task.add_done_callback(landed)
        return pending

    async def _make_limited(
        self,
        limiter: Limiter,
        rank: Priority,
        key: bytes,
        resolved: ResolvedTenant,
        scope: HTTPScope,
        *,
        is_in: bool,
    ) -> CachedResponse | Answer | None:
        """None: refused because of overload."""
        if not is_in and not await limiter.turn(rank):
            return None
        begun, kind, is_typical = now(), "made", False
        try:
            made = await self._make(key, resolved, scope)
            is_typical = isinstance(made, CachedResponse) or made.status < 400
            if isinstance(made, CachedResponse) and made.is_shared:
                kind = "redis"  # faster than a fill from the database
            return made
        finally:
            limiter.leave(f"{kind} {route(scope['path'])}", now() - begun, is_typical=is_typical)

    async def _make(
        self, key: bytes, resolved: ResolvedTenant, scope: HTTPScope
    ) -> CachedResponse | Answer:
        """From Redis or the application; an `Answer` if it must not be cached."""
        self._memory.misses += 1
        begun, positions, tenant = now(), resolved.shard_cache.positions, resolved.tenant.id
        is_shared = self._shared is not None and positions.is_live

        async def read() -> Entry | Answer:
            nonlocal is_shared
            is_shared = False
            return await self._read(resolved, scope)

        if self._shared is None or not positions.is_live:
            made = await read()
        else:
            made = await self._shared.obtain(
                self._shared.key(PAGES, resolved.name(key)),
                lambda entry: (
                    positions.holds(entry.era, entry.position, tenant, entry.tags)
                    and entry.until > clock.now()
                ),
                read,
                self._ttl_s,
            )
        self._memory.fill_s += now() - begun
        if isinstance(made, Answer):
            return made
        response = self._response(key, made, tenant, route(scope["path"]), is_shared=is_shared)
        resolved.shard_cache.add(response)
        return response

    async def _read(self, resolved: ResolvedTenant, scope: HTTPScope) -> Entry | Answer:
        """Runs the application. If a lagging replica has answered with data that is known to be
        stale, runs it again on a server that is further ahead. If there is none (the primary has
        failed with the latest writes), the stale response is returned and not cached."""
        tenant, positions, required = resolved.tenant.id, resolved.shard_cache.positions, 0
        here = (resolved.shard_cache.name, resolved.tenant.epoch)
        old: Answer | None = None
        for _ in range(ATTEMPTS):
            sources, era = Sources(required), positions.era
            answer = await self._run(resolved, scope, sources)
            if answer.status == 503 and old is not None:
                return old
            if sources.assignment != here:
                self._moved()  # positions of different shards cannot be compared
                return answer
            last = positions.last(tenant, sources.tags)
            if not sources.position or sources.position > last or not positions.is_live:
                break
            required = last + 1
            old = answer if answer.status == 200 else None
        if answer.status != 200 or not sources.tags:
            return answer
        etag = answer.headers.get(b"etag", b"").decode().strip('"')
        # PostgreSQL's JSON has spaces after commas and colons.
        body = msgspec.json.format(answer.body, indent=-1)
        return Entry(
            era,
            sources.position,
            sorted(sources.tags),
            body,
            etag or blake2b(body, digest_size=8).hexdigest(),
            answer.content_type,
            cdn_tags=cdn_tags(tenant, sources.tags),
            until=sources.until,
        )

    async def _run(self, resolved: ResolvedTenant, scope: HTTPScope, sources: Sources) -> Answer:
        answer = Answer()
        headers = [each for each in scope["headers"] if each[0] in _PASSED_ON]
        if resolved.channel and not any(name == CHANNEL for name, _ in headers):
            headers.append((CHANNEL, resolved.channel))  # the one that is in the key
        inner = {
            **scope,
            "method": "GET",
            "headers": headers,
            "state": dict(scope.get("state", {})),
            consistency.SOURCES: sources,
        }
        await self._app(inner, _nothing_more, answer.collect)  # type: ignore[arg-type]
        answer.code = problems.noted(inner)
        return answer

    def _response(
        self, key: bytes, entry: Entry, tenant: UUID, its_route: str, *, is_shared: bool
    ) -> CachedResponse:
        moment = clock.now()
        made_at = now() - max(0.0, moment - entry.made_at)
        headers = [(b"cache-control", self._controlled(entry)), *self._always]
        if (cdn := self._cdn) is not None:
            headers.append((cdn.tags_header, entry.cdn_tags.replace(b" ", cdn.between)))
        return CachedResponse(
            key=key,
            body=entry.body,
            etag=entry.etag,
            media_type=entry.media_type,
            route=its_route,
            tenant=tenant,
            tags=tuple(entry.tags),
            position=entry.position,
            headers=tuple(headers),
            made_at=made_at,
            fresh_until=made_at + self._ttl_s,
            is_shared=is_shared,
            ends_at=now() + (entry.until - moment),
        )

    def _controlled(self, entry: Entry) -> bytes:
        """Cache-Control: a CDN serves nothing beyond the time at which prices change."""
        left = entry.until - entry.made_at
        if left > self._ttl_s + STALE_S:
            return self._control
        ttl = max(0, int(min(left, self._ttl_s)))
        return BOUNDED_CONTROL.format(ttl=ttl).encode()


async def _nothing_more() -> HTTPReceiveMessage:
    return {"type": "http.request", "body": b"", "more_body": False}
