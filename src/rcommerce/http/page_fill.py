"""Makes the pages of the page cache: out of Redis, or by the application; once for all who miss one
meanwhile."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from hashlib import blake2b
from typing import Any
from uuid import UUID

import msgspec
from litestar.types import ASGIApp, HTTPReceiveMessage, HTTPScope

from rcommerce import clock
from rcommerce.cache.pages import Memory, Page, ShardCache
from rcommerce.cache.shared import PAGES, Entry
from rcommerce.cache.sources import Sources
from rcommerce.cdn.adapters import adapter
from rcommerce.cdn.tags import cdn_tags
from rcommerce.commerce.shop import Services, Tenant
from rcommerce.http import consistency, problems, shedding
from rcommerce.http.answer import Answer
from rcommerce.http.representation import CACHE_CONTROL, Headers
from rcommerce.resilience.shedding import Limiter, Limiters, Priority
from rcommerce.telemetry.requests import UNMATCHED

ATTEMPTS = 3  # to read something newer than what was invalidated meanwhile
# For how long others may join a read, while nobody would hear that it is stale.
JOIN_S = 0.1
# What an answer for all may depend on, and what its log line needs.
_PASSED_ON = frozenset({b"host", b"x-tenant-id", b"x-request-id", b"user-agent"})
PUBLIC = ("/api/v1/products", "/api/v1/collections", "/api/v1/categories")
now = time.monotonic  # the clock by which pages age


def route(path: str) -> str:
    """The route of a public read: as the router would say, whom a page out of Redis never met."""
    path = path.rstrip("/")
    if path in PUBLIC:
        return path
    parent = path.rpartition("/")[0]
    return f"{parent}/{{key}}" if parent in PUBLIC else UNMATCHED


class ResolvedTenant:
    """A shop as the cache knows it. `prefix` begins the keys of its pages."""

    __slots__ = ("prefix", "shard_cache", "tenant")

    def __init__(self, tenant: Tenant, shard_cache: ShardCache) -> None:
        self.tenant = tenant
        self.shard_cache = shard_cache
        self.prefix = tenant.id.bytes + tenant.epoch.to_bytes(8, "big")

    def name(self, key: bytes) -> str:
        """A page's name in Redis, for people too: whose, and the address."""
        query, _, path = key[len(self.prefix) :].decode("utf-8", "replace").partition(" ")
        return f"{self.tenant.id}.{self.tenant.epoch}:{path}{'?' if query else ''}{query}"


class Flight:
    """The making of a page, for all who wait for it: one who gives up ends it for nobody. Each has
    a future of his own, which is half of what a shield costs."""

    __slots__ = ("_waiting", "begun", "task")

    def __init__(self, making: Coroutine[Any, Any, Page | Answer | None]) -> None:
        self.begun = now()
        self.task = asyncio.create_task(making)
        self._waiting: list[asyncio.Future[None]] = []

    async def landed(self) -> Page | Answer | None:
        """What was made; None where there was too much to do."""
        if not self.task.done():
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future
        return self.task.result()

    def wake(self) -> None:
        """It has landed, or crashed."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)


class Fill:
    """`always` are headers of every page; `moved` is told that a shop was not where it was;
    `limiters` say how many pages may be made at a time, with what else there is to do."""

    def __init__(
        self,
        app: ASGIApp,
        services: Services,
        memory: Memory,
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
        self._flights: dict[bytes, Flight] = {}
        self._ttl_s = float(services.settings.cache.product_cache_ttl)
        self._control = CACHE_CONTROL.format(ttl=int(self._ttl_s)).encode()
        self._cdn = adapter(services.settings.cdn)

    def flight(self, key: bytes, place: ResolvedTenant, scope: HTTPScope) -> Flight | None:
        """The making of a page, joined by whoever misses it meanwhile. None: there is too much to
        do to begin one."""
        found = self._flights.get(key)
        if found is not None and (place.shard_cache.fence.is_live or now() < found.begun + JOIN_S):
            return found
        limiters, rank = self._limiters, shedding.priority(scope)
        making: Coroutine[Any, Any, Page | Answer | None]
        if limiters is None or rank is None:
            making = self._make(key, place, scope)
        else:
            limiter = limiters.of(rank)
            is_in = limiter.enter()
            if not is_in and limiter.turns_away(rank):
                return None
            making = self._make_limited(limiter, rank, key, place, scope, is_in=is_in)
        flight = self._flights[key] = Flight(making)

        def landed(_: object) -> None:
            flight.wake()
            if self._flights.get(key) is flight:
                del self._flights[key]

        flight.task.add_done_callback(landed)
        return flight

    async def _make_limited(
        self,
        limiter: Limiter,
        rank: Priority,
        key: bytes,
        place: ResolvedTenant,
        scope: HTTPScope,
        *,
        is_in: bool,
    ) -> Page | Answer | None:
        """None where there is too much to do to make one."""
        if not is_in and not await limiter.turn(rank):
            return None
        begun, kind, is_typical = now(), "made", False
        try:
            made = await self._make(key, place, scope)
            is_typical = isinstance(made, Page) or made.status < 400
            if isinstance(made, Page) and made.is_shared:
                kind = "redis"  # which takes less time
            return made
        finally:
            limiter.leave(f"{kind} {route(scope['path'])}", now() - begun, is_typical=is_typical)

    async def _make(self, key: bytes, place: ResolvedTenant, scope: HTTPScope) -> Page | Answer:
        """A page as Redis has it, or rebuilt; an answer where it is none to keep."""
        self._memory.misses += 1
        begun, fence, tenant = now(), place.shard_cache.fence, place.tenant.id
        is_shared = self._shared is not None and fence.is_live

        async def read() -> Entry | Answer:
            nonlocal is_shared
            is_shared = False
            return await self._read(place, scope)

        if self._shared is None or not fence.is_live:
            made = await read()
        else:
            made = await self._shared.obtain(
                self._shared.key(PAGES, place.name(key)),
                lambda entry: fence.holds(entry.era, entry.position, tenant, entry.tags),
                read,
                self._ttl_s,
            )
        self._memory.fill_s += now() - begun
        if isinstance(made, Answer):
            return made
        page = self._page(key, made, tenant, route(scope["path"]), is_shared=is_shared)
        place.shard_cache.add(page)
        return page

    async def _read(self, place: ResolvedTenant, scope: HTTPScope) -> Entry | Answer:
        """Runs the application. Where a lagging server has answered with what is known to be out
        of date, again with a server that is further; while there is none (the primary has died with
        what nobody else has), the old answer is better than none, and not to keep."""
        tenant, fence, required = place.tenant.id, place.shard_cache.fence, 0
        here = (place.shard_cache.name, place.tenant.epoch)
        old: Answer | None = None
        for _ in range(ATTEMPTS):
            sources, era = Sources(required), fence.era
            answer = await self._run(scope, sources)
            if answer.status == 503 and old is not None:
                return old
            if sources.assignment != here:
                self._moved()  # just now: positions are of another log
                return answer
            last = fence.last(tenant, sources.tags)
            if not sources.position or sources.position > last or not fence.is_live:
                break
            required = last + 1
            old = answer if answer.status == 200 else None
        if answer.status != 200 or not sources.tags:
            return answer
        etag = answer.headers.get(b"etag", b"").decode().strip('"')
        # PostgreSQL writes spaces: taken out once here, not by each who builds, keeps or sends it.
        body = msgspec.json.format(answer.body, indent=-1)
        return Entry(
            era,
            sources.position,
            sorted(sources.tags),
            body,
            etag or blake2b(body, digest_size=8).hexdigest(),
            answer.content_type,
            cdn_tags=cdn_tags(tenant, sources.tags),
        )

    async def _run(self, scope: HTTPScope, sources: Sources) -> Answer:
        answer = Answer()
        inner = {
            **scope,
            "method": "GET",
            "headers": [each for each in scope["headers"] if each[0] in _PASSED_ON],
            "state": dict(scope.get("state", {})),
            consistency.SOURCES: sources,
        }
        await self._app(inner, _nothing_more, answer.collect)  # type: ignore[arg-type]
        answer.code = problems.noted(inner)
        return answer

    def _page(
        self, key: bytes, entry: Entry, tenant: UUID, its_route: str, *, is_shared: bool
    ) -> Page:
        made_at = now() - max(0.0, clock.now() - entry.made_at)
        headers = [(b"cache-control", self._control), *self._always]
        if (cdn := self._cdn) is not None:  # for others they would be a weight, without a use
            headers.append((cdn.tags_header, entry.cdn_tags.replace(b" ", cdn.between)))
        return Page(
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
        )


async def _nothing_more() -> HTTPReceiveMessage:
    return {"type": "http.request", "body": b"", "more_body": False}
