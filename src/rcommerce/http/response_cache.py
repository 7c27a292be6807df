"""Answers public reads from memory, before they reach the router.

A hit costs a few lookups; a miss runs the application once for all concurrent requests. Responses
are served only while they are known to be current: see rcommerce.cache. Requests with credentials
pass through, and so do those whose client's last write this process has not yet heard of.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Send

from rcommerce import ids
from rcommerce.cache import redis
from rcommerce.cache.responses import CachedResponse, ResponseCache
from rcommerce.commerce.shop import NOBODY, Client, Services
from rcommerce.database.consistency import COOKIE, Tokens
from rcommerce.errors import Problem
from rcommerce.http import consistency, problems, security, shedding
from rcommerce.http.clients import client
from rcommerce.http.cross_origin import CrossOrigin
from rcommerce.http.drain import Drain
from rcommerce.http.entry import request_id
from rcommerce.http.identity import SAFE, find_by_host
from rcommerce.http.rate_limiting import RateLimiting
from rcommerce.http.representation import VARY, Headers, variant
from rcommerce.http.response_fill import CHANNEL, PUBLIC, Fill, ResolvedTenant, now, route
from rcommerce.http.sessions import OF_STAFF
from rcommerce.rate_limits import networks
from rcommerce.resilience.shedding import Limiters
from rcommerce.telemetry.requests import Requests

MOST_TENANTS = 10_000  # resolved tenants that are kept, at most
_TOKEN = b"x-consistency-token"
_TOKEN_COOKIE = COOKIE.encode() + b"="
_ID = b"x-request-id"
_AND = ord("&")  # `int in bytes` is faster than `bytes in bytes`, by a tenth of a hit
_HIT = (b"cache-status", b"rcommerce; hit")
_SHARED = (b"cache-status", b"rcommerce; hit; detail=redis")
_MISS = (b"cache-status", b"rcommerce; fwd=miss")
_STALE = (b"cache-status", b"rcommerce; fwd=stale; fwd-status=503")


class CacheMiddleware:
    """ASGI. Shards without a `ShardCache` among the services are not cached."""

    def __init__(
        self,
        app: ASGIApp,
        services: Services,
        memory: ResponseCache,
        cross_origin: CrossOrigin,
        rates: RateLimiting,
        drain: Drain,
        requests: Requests,
        limiters: Limiters | None,
    ) -> None:
        self._app = app
        self.requests = requests
        self._series = requests.series
        self._drain = drain
        self._rates = rates
        self._blocks = rates.blocks
        self._trusted = networks(services.settings.server.trusted_proxies)
        self._services = services
        self.memory = memory
        self._get: Callable[[bytes], CachedResponse | None] = memory.get
        self.shard_caches = services.shard_caches
        self._tokens = Tokens(services.jwt_secret)
        self._resolved: dict[bytes, ResolvedTenant] = {}
        self._cross_origin = cross_origin
        self._varies = cross_origin.varies
        vary = VARY + b", Origin" if cross_origin.varies else VARY
        self._secure = security.headers(services.settings)
        always = [(b"vary", vary), *cross_origin.everybody, *self._secure]
        self._fill = Fill(app, services, memory, always, self.forget_tenants, limiters)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """ASGI. The path of a hit is one function on purpose: each call costs 2 % of a hit."""
        if (
            scope["type"] != "http"
            or not scope["path"].startswith(PUBLIC)
            or (method := scope["method"]) not in SAFE
        ):
            await self._app(scope, receive, send)
            return
        asked = dict(scope["headers"])
        shop = asked.get(b"x-tenant-id") or asked.get(b"host", b"")
        resolved = self._resolved.get(shop) or await self._find(shop, asked)
        if (
            resolved is None
            or b"authorization" in asked
            or ((b"cookie" in asked or _TOKEN in asked) and not self._knows(resolved, asked))
            or (self._blocks and self._rates.is_blocked(self._who(scope, asked).address))
        ):
            await self._app(scope, receive, send)
            return
        query = scope["query_string"]
        if _AND in query or CHANNEL in asked:
            query = _canonical(query, asked.get(CHANNEL))
        moment = begun = now()
        # A query contains no space, so the key is unambiguous.
        key = resolved.prefix + query + b" " + scope["path"].encode()
        response = self._get(key)
        if (
            response is None
            or not resolved.shard_cache.positions.is_live
            or response.ends_at <= moment
        ):
            found = await self._miss(key, response, resolved, scope, asked, send)
            if found is None:
                return
            response, status = found
            moment = now()
        else:
            self.memory.hits += 1
            status = _HIT
            if response.fresh_until < moment:
                self._fill.pending(key, resolved, scope)  # refreshed in the background
        accept = asked.get(b"accept-encoding", b"")
        form = response.variants.get(accept) or variant(response, accept)
        second = int(moment - response.made_at)
        if second != form.second:
            form.set_age(second)
        named = asked.get(b"if-none-match")
        if named is not None and (named.find(form.etag) >= 0 or named.strip() == b"*"):
            code, body, reported = 304, b"", form.unchanged
        elif method == "GET":
            code, body, reported = 200, form.body, form.whole
        else:  # the Content-Length of a GET (RFC 9110, section 8.6)
            length = (b"content-length", b"%d" % len(form.body))
            code, body, reported = 200, b"", (length, *form.whole)
        given = asked.get(_ID)
        its_id = (_ID, ids.new_name() if given is None else request_id(given))
        headers = [*reported, status, its_id, *self._drain.headers]
        if b"origin" in asked and (self._varies or code == 304):
            headers += self._cross_origin.headers_for(asked[b"origin"])
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})
        if (series := self._series.get((method, response.route, code))) is not None:
            series.add(now() - begun)
        else:
            self.requests.add(method, response.route, code, now() - begun)

    async def _miss(
        self,
        key: bytes,
        old: CachedResponse | None,
        resolved: ResolvedTenant,
        scope: HTTPScope,
        asked: dict[bytes, bytes],
        send: Send,
    ) -> tuple[CachedResponse, tuple[bytes, bytes]] | None:
        """The response and its Cache-Status; None if another one has been sent. A stale one is
        returned if there is no other."""
        redis.begin_request()
        if self._rates.looks and not await self._admit(resolved, scope, asked, send):
            return None
        begun, pending = now(), self._fill.pending(key, resolved, scope)
        self.requests.in_flight += 1
        try:
            made = None if pending is None else await pending.landed()
            if isinstance(made, CachedResponse) and made.ends_at <= now():
                # It was read just before prices changed, for somebody who came then.
                pending = self._fill.pending(key, resolved, scope)
                made = None if pending is None else await pending.landed()
        finally:
            self.requests.in_flight -= 1
        if made is None:
            if old is not None:
                return old, _STALE
            reported = self._cross_origin.headers_for(asked.get(b"origin"))
            await shedding.refuse(send, [*self._secure, *self._drain.headers, *reported])
            self.requests.refused[shedding.CODE] += 1
            self.requests.add(scope["method"], route(scope["path"]), 503, 0.0)
            return None
        if isinstance(made, CachedResponse):
            return made, _SHARED if made.is_shared else _MISS
        if made.status == 503 and old is not None:
            return old, _STALE
        await made.give(_with(send, self._cross_origin.headers_for(asked.get(b"origin"))))
        if made.code is not None:
            self.requests.refused[made.code] += 1
        self.requests.add(scope["method"], route(scope["path"]), made.status, now() - begun)
        return None

    # Tenants and clients -------------------------------------------------------------------------

    def forget_tenants(self) -> None:
        """Resolves every tenant again: it may have been suspended or moved."""
        self._resolved.clear()

    async def _find(self, shop: bytes, headers: dict[bytes, bytes]) -> ResolvedTenant | None:
        """The tenant of a request; None if there is none, or if it is suspended."""
        tenants = self._services.tenants
        name = shop.decode("latin-1")
        try:
            if b"x-tenant-id" not in headers:
                tenant = await find_by_host(self._services, name)
            elif ids.is_uuid(name):
                tenant = await tenants.by_id(UUID(name))
            else:
                return None
        except Problem:
            return None  # the application answers with the error
        shard_cache = self.shard_caches.get(tenant.shard or self._services.cluster.place(tenant.id))
        if shard_cache is None:
            return None
        if len(self._resolved) >= MOST_TENANTS:
            self._resolved.clear()
        resolved = self._resolved[shop] = ResolvedTenant(tenant, shard_cache)
        return resolved

    def _knows(self, resolved: ResolvedTenant, headers: dict[bytes, bytes]) -> bool:
        """Whether the client sees what everyone sees, and this process has received the
        invalidations of all its writes."""
        cookies = headers.get(b"cookie", b"")
        if OF_STAFF in cookies:
            return False  # staff see more
        if _TOKEN not in headers and _TOKEN_COOKIE not in cookies:
            return True
        texts = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
        tenant, shard_cache = resolved.tenant, resolved.shard_cache
        try:
            token = consistency.given(self._services.settings, tenant.id, self._tokens, texts)
        except Problem:
            return False
        return token is None or (
            (token.shard, token.epoch) == (shard_cache.name, tenant.epoch)
            and 0 < token.position < shard_cache.positions.horizon
        )

    async def _admit(
        self, resolved: ResolvedTenant, scope: HTTPScope, headers: dict[bytes, bytes], send: Send
    ) -> bool:
        """Whether the client is within its rate limits; otherwise sends it the error."""
        address = self._who(scope, headers).address
        try:
            async with self._rates.admit(address) as verdicts:
                await self._rates.count(address, NOBODY, resolved.tenant.id, verdicts)
        except Problem as refused:
            named = [
                (_ID, request_id(headers.get(_ID))),
                *self._cross_origin.headers_for(headers.get(b"origin")),
            ]
            await problems.give(send, refused, scope["path"], named)
            self.requests.refused[refused.code] += 1
            self.requests.add(scope["method"], route(scope["path"]), refused.status, 0.0)
            return False
        return True

    def _who(self, scope: HTTPScope, headers: dict[bytes, bytes]) -> Client:
        forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1")
        return client(scope, {"x-forwarded-for": forwarded}, self._trusted)


def _canonical(query: bytes, channel: bytes | None) -> bytes:
    """The query in one order, stable, since that of two values of one parameter may matter; with
    the channel after a #, which no query contains."""
    query = b"&".join(sorted(query.split(b"&"), key=_name))
    return query if channel is None else query + b"#" + channel.replace(b" ", b"_")


def _name(part: Any) -> bytes:
    return bytes(part.partition(b"=")[0])


def _with(send: Send, headers: Headers) -> Send:
    """A `send` that adds headers."""

    async def adding(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *headers]}
        await send(message)

    return adding
