"""In front of the router: what is everybody's, answered from memory.

A hit costs a few lookups; a miss runs the application once for all who ask meanwhile. An answer is
given only while it is known to be true: see rcommerce.cache. Who is somebody (a token, a key)
passes through, and so does a client whose own last write is not known here yet.
"""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Send

from rcommerce import ids
from rcommerce.cache import redis
from rcommerce.cache.pages import Memory, Page
from rcommerce.commerce.shop import NOBODY, Client, Services
from rcommerce.database.consistency import COOKIE, Tokens
from rcommerce.errors import Problem
from rcommerce.http import consistency, problems, security, shedding
from rcommerce.http.clients import client
from rcommerce.http.cross_origin import CrossOrigin
from rcommerce.http.drain import Drain
from rcommerce.http.entry import request_id
from rcommerce.http.identity import SAFE, by_host
from rcommerce.http.page_fill import PUBLIC, Fill, ResolvedTenant, now, route
from rcommerce.http.rate_limiting import RateLimiting
from rcommerce.http.representation import VARY, Headers, variant
from rcommerce.http.sessions import OF_STAFF
from rcommerce.rate_limits import networks
from rcommerce.resilience.shedding import Limiters
from rcommerce.telemetry.requests import Requests

PLACES = 10_000  # shops at most whose place is remembered
_TOKEN = b"x-consistency-token"
_TOKEN_COOKIE = COOKIE.encode() + b"="
_ID = b"x-request-id"
_AND = ord("&")  # bytes in bytes raise and catch an error before they look: a tenth of a hit
_HIT = (b"cache-status", b"rcommerce; hit")
_SHARED = (b"cache-status", b"rcommerce; hit; detail=redis")
_MISS = (b"cache-status", b"rcommerce; fwd=miss")
_STALE = (b"cache-status", b"rcommerce; fwd=stale; fwd-status=503")


class PageCache:
    """ASGI. A shard that has no shelf among the services is not cached."""

    def __init__(
        self,
        app: ASGIApp,
        services: Services,
        memory: Memory,
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
        self._get: Callable[[bytes], Page | None] = memory.get
        self.shard_caches = services.shard_caches
        self._tokens = Tokens(services.jwt_secret)
        self._places: dict[bytes, ResolvedTenant] = {}
        self._cross_origin = cross_origin
        self._varies = cross_origin.varies
        vary = VARY + b", Origin" if cross_origin.varies else VARY
        self._secure = security.headers(services.settings)
        always = [(b"vary", vary), *cross_origin.everybody, *self._secure]
        self._fill = Fill(app, services, memory, always, self.forget_places, limiters)

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
        if _AND in query:  # of two with one name the order may matter
            query = b"&".join(sorted(query.split(b"&"), key=_name))
        moment = begun = now()
        # A query as it came has no space in it, so no other pair has this key.
        key = place.prefix + query + b" " + scope["path"].encode()
        page = self._get(key)
        if page is None or not place.shard_cache.fence.is_live:
            found = await self._miss(key, page, place, scope, asked, send)
            if found is None:
                return
            page, status = found
            moment = now()
        else:
            self.memory.hits += 1
            status = _HIT
            if page.fresh_until < moment:
                self._fill.flight(key, place, scope)  # in the background: nobody need wait
        accept = asked.get(b"accept-encoding", b"")
        form = page.variants.get(accept) or variant(page, accept)
        second = int(moment - page.made_at)
        if second != form.second:
            form.set_age(second)
        named = asked.get(b"if-none-match")
        if named is not None and (named.find(form.etag) >= 0 or named.strip() == b"*"):
            code, body, reported = 304, b"", form.unchanged
        elif method == "GET":
            code, body, reported = 200, form.body, form.whole
        else:  # as long as what a GET would have (RFC 9110 section 8.6)
            length = (b"content-length", b"%d" % len(form.body))
            code, body, reported = 200, b"", (length, *form.whole)
        given = asked.get(_ID)
        its_id = (_ID, ids.new_name() if given is None else request_id(given))
        headers = [*reported, status, its_id, *self._drain.headers]
        if b"origin" in asked and (self._varies or code == 304):
            headers += self._cross_origin.headers_for(asked[b"origin"])
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})
        if (series := self._series.get((method, page.route, code))) is not None:
            series.add(now() - begun)
        else:
            self.requests.add(method, page.route, code, now() - begun)

    async def _miss(
        self,
        key: bytes,
        old: Page | None,
        place: ResolvedTenant,
        scope: HTTPScope,
        asked: dict[bytes, bytes],
        send: Send,
    ) -> tuple[Page, tuple[bytes, bytes]] | None:
        """The page, once it is made, and what is said of how; None where another answer was given.
        An old one is better than none."""
        redis.begin_request()
        if self._rates.looks and not await self._admit(place, scope, asked, send):
            return None
        begun, flight = now(), self._fill.flight(key, place, scope)
        self.requests.in_flight += 1
        try:
            made = None if flight is None else await flight.landed()
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
        if isinstance(made, Page):
            return made, _SHARED if made.is_shared else _MISS
        if made.status == 503 and old is not None:
            return old, _STALE
        await made.give(_with(send, self._cross_origin.headers_for(asked.get(b"origin"))))
        if made.code is not None:
            self.requests.refused[made.code] += 1
        self.requests.add(scope["method"], route(scope["path"]), made.status, now() - begun)
        return None

    # Whose it is, and who may have it -----------------------------------------------------------

    def forget_places(self) -> None:
        """Looks each shop up again: it may have been closed, or have moved."""
        self._places.clear()

    async def _find(self, shop: bytes, headers: dict[bytes, bytes]) -> ResolvedTenant | None:
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
        shard_cache = self.shard_caches.get(tenant.shard or self._services.cluster.place(tenant.id))
        if shard_cache is None:
            return None
        if len(self._places) >= PLACES:
            self._places.clear()
        place = self._places[shop] = ResolvedTenant(tenant, shard_cache)
        return place

    def _knows(self, place: ResolvedTenant, headers: dict[bytes, bytes]) -> bool:
        """Whether the client may be given what everybody is, and this process has heard of all that
        it has written."""
        cookies = headers.get(b"cookie", b"")
        if OF_STAFF in cookies:
            return False  # who sees what others do not
        if _TOKEN not in headers and _TOKEN_COOKIE not in cookies:
            return True
        texts = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
        tenant, shard_cache = place.tenant, place.shard_cache
        try:
            token = consistency.given(self._services.settings, tenant.id, self._tokens, texts)
        except Problem:
            return False
        return token is None or (
            (token.shard, token.epoch) == (shard_cache.name, tenant.epoch)
            and 0 < token.position < shard_cache.fence.horizon
        )

    async def _admit(
        self, place: ResolvedTenant, scope: HTTPScope, headers: dict[bytes, bytes], send: Send
    ) -> bool:
        """Whether a client may have what is not in memory; tells it why not."""
        address = self._who(scope, headers).address
        try:
            async with self._rates.admit(address) as verdicts:
                await self._rates.count(address, NOBODY, place.tenant.id, verdicts)
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


def _name(part: Any) -> bytes:
    return bytes(part.partition(b"=")[0])


def _with(send: Send, headers: Headers) -> Send:
    """A `send` that adds headers."""

    async def adding(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *headers]}
        await send(message)

    return adding
