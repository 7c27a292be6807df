"""In front of the router: what is everybody's, answered from memory.

A hit costs a few lookups; a miss runs the application once for all who ask meanwhile. An answer is
given only while it is known to be true: see rcommerce.cache. Who is somebody (a token, a key)
passes through, and so does a client whose own last write is not known here yet.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from hashlib import blake2b
from typing import Any
from uuid import UUID

from litestar.config.cors import CORSConfig
from litestar.types import ASGIApp, HTTPReceiveMessage, HTTPScope, Message, Receive, Send

from rcommerce import ids
from rcommerce.cache.pages import Memory, Page, Shelf
from rcommerce.cache.shared import Entry
from rcommerce.cache.sources import Sources
from rcommerce.cdn.tags import cdn_tags
from rcommerce.commerce.shop import NOBODY, Client, Services, Tenant
from rcommerce.database.consistency import COOKIE, Tokens
from rcommerce.errors import Problem
from rcommerce.http import consistency, problems
from rcommerce.http.answer import Answer
from rcommerce.http.clients import client
from rcommerce.http.entry import request_id
from rcommerce.http.identity import SAFE, by_host
from rcommerce.http.rate_limiting import RateLimiting
from rcommerce.http.representation import (
    CACHE_CONTROL,
    VARY,
    Headers,
    variant,
)
from rcommerce.http.sessions import OF_STAFF
from rcommerce.rate_limits import networks

PUBLIC = ("/api/v1/products", "/api/v1/collections", "/api/v1/categories")
ATTEMPTS = 3  # to read something newer than what was made untrue meanwhile
# For how long others may join a read, while nobody would hear that it is out of date.
JOIN_S = 0.1
PLACES = 10_000  # shops at most whose place is remembered
# What an answer for all may depend on, and what its log line needs.
_PASSED_ON = frozenset({b"host", b"x-tenant-id", b"x-request-id", b"user-agent"})
_TOKEN = b"x-consistency-token"
_TOKEN_COOKIE = COOKIE.encode() + b"="
now = time.monotonic  # the clock by which pages age
_ID = b"x-request-id"
_HIT = (b"cache-status", b"rcommerce; hit")
_SHARED = (b"cache-status", b"rcommerce; hit; detail=redis")
_MISS = (b"cache-status", b"rcommerce; fwd=miss")
_STALE = (b"cache-status", b"rcommerce; fwd=stale; fwd-status=503")


class Place:
    """A shop as the cache knows it. `prefix` begins the keys of its pages."""

    __slots__ = ("prefix", "shelf", "tenant")

    def __init__(self, tenant: Tenant, shelf: Shelf) -> None:
        self.tenant = tenant
        self.shelf = shelf
        self.prefix = tenant.id.bytes + tenant.epoch.to_bytes(8, "big")

    def name(self, key: bytes) -> str:
        """A page's name in Redis, for people too: whose, and the address."""
        query, _, path = key[len(self.prefix) :].decode("utf-8", "replace").partition(" ")
        return f"{self.tenant.id}.{self.tenant.epoch}:{path}{'?' if query else ''}{query}"


NAMESPACE = "product"  # in Redis


class Flight:
    """The making of a page, for all who wait for it: one who gives up ends it for nobody."""

    __slots__ = ("begun", "landed", "task")

    def __init__(self, making: Coroutine[Any, Any, Page | Answer]) -> None:
        self.begun = now()
        self.task = asyncio.create_task(making)
        self.landed = asyncio.Event()  # to wait for it is half of what a shield would cost
        self.task.add_done_callback(lambda _: self.landed.set())


class PageCache:
    """ASGI. `shelves` are by the name of their shard; one that has none is not cached."""

    def __init__(
        self,
        app: ASGIApp,
        services: Services,
        memory: Memory,
        shelves: Mapping[str, Shelf],
        cors: CORSConfig | None,
        rates: RateLimiting,
    ) -> None:
        self._app = app
        self._rates = rates
        self._blocks = rates.blocks
        self._trusted = networks(services.settings.server.trusted_proxies)
        self._services = services
        self.memory = memory
        self._get: Callable[[bytes], Page | None] = memory.get
        self.shelves = shelves
        self._shared = services.shared
        self._tokens = Tokens(services.jwt_secret)
        self._places: dict[bytes, Place] = {}
        self._flights: dict[bytes, Flight] = {}
        self._ttl_s = float(services.settings.cache.product_cache_ttl)
        self._control = CACHE_CONTROL.format(ttl=int(self._ttl_s)).encode()
        self._cors = cors
        self._vary = VARY
        self._open: Headers = []  # what every origin is told
        if cors is not None and cors.is_allow_all_origins:
            self._open = _lower(cors.simple_headers)
        elif cors is not None:
            self._vary += b", Origin"

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """ASGI. What a hit runs through is written out in one piece: a call costs 2 % of it."""
        if (
            scope["type"] != "http"
            or not scope["path"].startswith(PUBLIC)
            or (method := scope["method"]) not in SAFE
        ):
            await self._app(scope, receive, send)
            return
        asked = dict(scope["headers"])
        shop = asked.get(b"x-tenant-id") or asked.get(b"host", b"")
        place = self._places.get(shop) or await self._find(shop, asked)
        if (
            place is None
            or b"authorization" in asked
            or ((b"cookie" in asked or _TOKEN in asked) and not self._knows(place, asked))
            or (self._blocks and self._rates.is_blocked(self._who(scope, asked).address))
        ):
            await self._app(scope, receive, send)
            return
        query = scope["query_string"]
        if b"&" in query:  # of two with one name the order may matter
            query = b"&".join(sorted(query.split(b"&"), key=_name))
        # A query as it came has no space in it, so no other pair has this key.
        key = b"%b%b %b" % (place.prefix, query, scope["path"].encode())
        page, moment = self._get(key), now()
        if page is None or not place.shelf.fence.is_live:
            if self._rates.looks and not await self._admit(place, scope, asked, send):
                return
            flight = self._flight(key, place, scope)
            await flight.landed.wait()
            made = flight.task.result()
            if isinstance(made, Page):
                page, status = made, _SHARED if made.is_shared else _MISS
            elif made.status == 503 and page is not None:
                status = _STALE
            else:
                await made.give(_with(send, self._cross_origin(asked)))
                return
        else:
            self.memory.hits += 1
            status = _HIT
            if page.fresh_until < moment:
                self._flight(key, place, scope)  # in the background; this client need not wait
        accept = asked.get(b"accept-encoding", b"")
        form = page.variants.get(accept) or variant(page, accept)
        second = int(moment - page.made_at)
        if second != form.second:
            form.grow(second)
        named = asked.get(b"if-none-match")
        if named is not None and (form.etag in named or named.strip() == b"*"):
            code, body, told = 304, b"", form.unchanged
        else:
            code, told = 200, form.whole
            body = form.body if method == "GET" else b""
        given = asked.get(_ID)
        told = [*told, status, (_ID, ids.new_name() if given is None else request_id(given))]
        if not self._open and b"origin" in asked:
            told += self._cross_origin(asked)
        await send({"type": "http.response.start", "status": code, "headers": told})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    # Whose it is, and who may have it -----------------------------------------------------------

    def forget_places(self) -> None:
        """Looks each shop up anew: it may have been closed, or have moved."""
        self._places.clear()

    async def _find(self, shop: bytes, headers: dict[bytes, bytes]) -> Place | None:
        """The place of a shop; None for one that there is not, or that is closed."""
        tenants = self._services.tenants
        name = shop.decode("latin-1")
        try:
            if b"x-tenant-id" not in headers:
                tenant = await by_host(self._services, name)
            elif ids.is_uuid(name):
                tenant = await tenants.by_id(UUID(name))
            else:
                return None
        except Problem:
            return None  # the application says why
        shelf = self.shelves.get(tenant.shard or self._services.cluster.place(tenant.id))
        if shelf is None:
            return None
        if len(self._places) >= PLACES:
            self._places.clear()
        place = self._places[shop] = Place(tenant, shelf)
        return place

    def _knows(self, place: Place, headers: dict[bytes, bytes]) -> bool:
        """Whether the client may be given what everybody is, and this process has heard of all that
        it has written."""
        cookies = headers.get(b"cookie", b"")
        if OF_STAFF in cookies:
            return False  # who sees what others do not
        if _TOKEN not in headers and _TOKEN_COOKIE not in cookies:
            return True
        texts = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
        tenant, shelf = place.tenant, place.shelf
        try:
            token = consistency.given(self._services.settings, tenant.id, self._tokens, texts)
        except Problem:
            return False
        return token is None or (
            (token.shard, token.epoch) == (shelf.name, tenant.epoch)
            and 0 < token.position < shelf.fence.horizon
        )

    async def _admit(
        self, place: Place, scope: HTTPScope, headers: dict[bytes, bytes], send: Send
    ) -> bool:
        """Whether a client may have what is not in memory; tells it why not."""
        address = self._who(scope, headers).address
        try:
            async with self._rates.admit(address) as verdicts:
                await self._rates.count(address, NOBODY, place.tenant.id, verdicts)
        except Problem as refused:
            named = [(_ID, request_id(headers.get(_ID))), *self._cross_origin(headers)]
            await problems.give(_with(send, named), refused, scope["path"])
            return False
        return True

    def _who(self, scope: HTTPScope, headers: dict[bytes, bytes]) -> Client:
        forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1")
        return client(scope, {"x-forwarded-for": forwarded}, self._trusted)

    def _cross_origin(self, headers: dict[bytes, bytes]) -> Headers:
        """What this client's origin is told (CORS)."""
        origin = headers.get(b"origin")
        if origin is None or self._cors is None:
            return self._open
        if self._open or not self._cors.is_origin_allowed(origin.decode("latin-1")):
            return self._open
        return [*_lower(self._cors.simple_headers), (b"access-control-allow-origin", origin)]

    # Filling ------------------------------------------------------------------------------------

    def _flight(self, key: bytes, place: Place, scope: HTTPScope) -> "Flight":
        """The making of a page, joined by whoever misses it meanwhile."""
        found = self._flights.get(key)
        if found is not None and (place.shelf.fence.is_live or now() < found.begun + JOIN_S):
            return found
        flight = self._flights[key] = Flight(self._make(key, place, scope))

        def landed(_: object) -> None:
            if self._flights.get(key) is flight:
                del self._flights[key]

        flight.task.add_done_callback(landed)
        return flight

    async def _make(self, key: bytes, place: Place, scope: HTTPScope) -> Page | Answer:
        """A page as Redis has it, or made anew; an answer where it is none to keep."""
        self.memory.misses += 1
        begun, fence, tenant = now(), place.shelf.fence, place.tenant.id
        is_shared = self._shared is not None and fence.is_live

        async def read() -> Entry | Answer:
            nonlocal is_shared
            is_shared = False
            return await self._read(place, scope)

        if self._shared is None or not fence.is_live:
            made = await read()
        else:
            made = await self._shared.obtain(
                self._shared.key(NAMESPACE, place.name(key)),
                lambda entry: fence.holds(entry.era, entry.position, tenant, entry.tags),
                read,
                self._ttl_s,
            )
        self.memory.fill_s += now() - begun
        if isinstance(made, Answer):
            return made
        page = self._page(key, made, tenant)
        page.is_shared = is_shared
        place.shelf.add(page)
        return page

    async def _read(self, place: Place, scope: HTTPScope) -> Entry | Answer:
        """Runs the application. Where a lagging server has answered with what is known to be out
        of date, again with a server that is further."""
        tenant, fence, required = place.tenant.id, place.shelf.fence, 0
        here = (place.shelf.name, place.tenant.epoch)
        for _ in range(ATTEMPTS):
            sources, era = Sources(required), fence.era
            answer = await self._run(scope, sources)
            if sources.home != here:
                self._places.clear()  # the shop has just moved: positions are of another log
                return answer
            last = fence.last(tenant, sources.tags)
            if not sources.position or sources.position > last or not fence.is_live:
                break
            required = last + 1
        if answer.status != 200 or not sources.tags:
            return answer
        etag = answer.headers.get(b"etag", b"").decode().strip('"')
        return Entry(
            era,
            sources.position,
            sorted(sources.tags),
            answer.body,
            etag or blake2b(answer.body, digest_size=8).hexdigest(),
            answer.content_type,
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
        return answer

    def _page(self, key: bytes, entry: Entry, tenant: UUID) -> Page:
        page = Page(key, entry.body, entry.etag, entry.media_type)
        page.made_at = now() - max(0.0, time.time() - entry.made_at)
        page.fresh_until = page.made_at + self._ttl_s
        page.tenant, page.tags, page.position = tenant, frozenset(entry.tags), entry.position
        tags = cdn_tags(tenant, page.tags)
        page.headers = [
            (b"cache-control", self._control),
            (b"vary", self._vary),
            (b"cache-tag", tags.replace(b" ", b",")),
            (b"surrogate-key", tags),
            *self._open,
        ]
        return page


def _name(part: Any) -> bytes:
    return bytes(part.partition(b"=")[0])


def _lower(headers: dict[str, str]) -> Headers:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


async def _nothing_more() -> HTTPReceiveMessage:
    return {"type": "http.request", "body": b"", "more_body": False}


def _with(send: Send, headers: Headers) -> Send:
    """A `send` that adds headers."""

    async def adding(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *headers]}
        await send(message)

    return adding
