"""The outermost ASGI layer, which every request passes."""

import asyncio
import re
from typing import Any, TypeGuard
from urllib.parse import unquote_to_bytes

import structlog
from litestar.enums import HttpMethod
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from rcommerce import ids, logs, tracing
from rcommerce.cache import redis
from rcommerce.commerce.shop import Shop
from rcommerce.errors import Invalid, Problem, TooSlow, Unavailable
from rcommerce.http import budget, problems, security, shedding
from rcommerce.http.budget import Budget
from rcommerce.http.consistency import SOURCES
from rcommerce.http.cross_origin import CrossOrigin
from rcommerce.http.drain import Drain
from rcommerce.http.identity import SAFE
from rcommerce.http.ops import STREAM
from rcommerce.http.traces import traced
from rcommerce.resilience.shedding import Limiter, Limiters
from rcommerce.settings import Settings
from rcommerce.telemetry.requests import UNMATCHED, Requests, now

HEAD = "rcommerce.is_head"  # in the scope of a HEAD request that is handled as a GET
GONE = 499  # nginx's status for a client that has disconnected
log = structlog.get_logger()
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{8,128}")


def is_http(scope: Any) -> TypeGuard[HTTPScope]:
    """Whether this is an HTTP request, not a lifespan or a websocket."""
    return bool(scope["type"] == "http")


def request_id(given: bytes | None) -> bytes:
    """The request id: the client's if it is valid, otherwise a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return ids.new_name()


class Entry:
    """Sheds load, assigns a request id, counts, sets the time budget, rejects malformed paths, and
    answers HEAD like GET.

    A valid X-Request-ID of the client is kept; every log line of the request has it.
    """

    __slots__ = (
        "_always", "_cross_origin", "_drain", "_limiters", "_requests", "_slow_s",
        "_tells_all", "_time_s", "app",
    )  # fmt: skip

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        cross_origin: CrossOrigin,
        drain: Drain,
        requests: Requests,
        limiters: Limiters | None,
    ) -> None:
        self.app = app
        self._cross_origin = cross_origin
        self._drain = drain
        self._requests = requests
        self._limiters = limiters
        self._slow_s = settings.logging.slow_request_ms / 1000
        self._tells_all = settings.logging.requests
        self._always = security.headers(settings)
        self._time_s = float(settings.server.request_timeout_secs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if not is_http(scope):
            await self.app(scope, receive, send)
            return
        # A fill was admitted before, when it was looked up in Redis.
        limiters = self._limiters if SOURCES not in scope else None
        rank = shedding.priority(scope) if limiters is not None else None
        if limiters is None or rank is None:
            await self._handle(scope, receive, send, None)
            return
        limiter = limiters.of(rank)
        if limiter.enter() or (not limiter.turns_away(rank) and await limiter.turn(rank)):
            await self._handle(scope, receive, send, limiter)
        else:
            reported = self._cross_origin.told_to(scope)
            await shedding.refuse(send, [*self._always, *self._drain.headers, *reported])
            self._requests.refused[shedding.CODE] += 1
            self._requests.add(scope["method"], UNMATCHED, 503, 0.0)

    async def _handle(
        self, scope: HTTPScope, receive: Receive, send: Send, limiter: Limiter | None
    ) -> None:
        begun, method = now(), scope["method"]
        if SOURCES not in scope:  # a fill is part of a request that has used Redis already
            redis.begin_request()
        is_head = method == "HEAD"
        if is_head:  # a GET whose body is dropped (RFC 9110, section 9.3.2)
            scope = {**scope, "method": HttpMethod.GET, HEAD: True}  # type: ignore[misc]
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
        its_id = request_id(given)
        bind_contextvars(request_id=its_id.decode())
        status = GONE

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [
                    *message["headers"],
                    (b"x-request-id", its_id),
                    *self._always,
                    *self._drain.headers,
                ]
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", b"no-store"))  # unless it is public
                message["headers"] = headers
            elif is_head and message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        # For a fill, the requests that wait for it are counted; streams have no duration.
        is_counted = SOURCES not in scope and scope["path"] != STREAM
        self._requests.in_flight += is_counted
        try:
            await self._answer(scope, receive, named)
        finally:
            took_s = now() - begun
            self._requests.in_flight -= is_counted
            if limiter is not None:
                key = f"{method} {scope.get('path_template')}"
                limiter.leave(key, took_s, is_typical=status < 400)
            if is_counted:
                self._count(scope, method, status, took_s)

    async def _answer(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        path = ""
        try:
            _require_text(scope)
            path = scope["path"]
            if path == STREAM:
                await self._run(scope, receive, send)
            elif shedding.is_transfer(scope):
                await self._run(scope, self._unhurried(receive), send)
            else:
                await self._answer_in_time(scope, receive, send)
        except Problem as refused:
            problems.note(scope, refused.code)
            await problems.give(send, refused, path, self._cross_origin.told_to(scope))

    async def _answer_in_time(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """Raises Invalid, Unavailable, TooSlow."""
        given = next((value for name, value in scope["headers"] if name == budget.HEADER), None)
        time_s = budget.seconds(given, self._time_s)
        limited = Budget(scope, receive, send, time_s, has_client=SOURCES not in scope)
        try:
            async with limited:
                await self._run(scope, limited.receive, limited.send)
        except TimeoutError as error:
            if limited.is_gone:
                return
            if limited.is_reading:
                raise TooSlow(f"the body has not come in {time_s:g} s") from error
            raise Unavailable(f"no answer in {time_s:g} s", code="deadline_exceeded") from error

    async def _run(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        if tracing.is_on():
            await traced(self.app, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _unhurried(self, receive: Receive) -> Receive:
        """A `receive` for files, which may take long: raises TooSlow if nothing arrives for as long
        as another request may take in total."""

        async def receiving() -> Any:
            try:
                async with asyncio.timeout(self._time_s):
                    return await receive()
            except TimeoutError as error:
                raise TooSlow(f"nothing more has come for {self._time_s:g} s") from error

        return receiving

    def _count(self, scope: HTTPScope, method: str, status: int, took_s: float) -> None:
        route = scope.get("path_template") or UNMATCHED
        code = problems.noted(scope)
        shop: Shop | None = scope.get("state", {}).get("shop")
        if shop is not None and shop.caller.runs_shop and (method not in SAFE or status == 403):
            logs.audit(
                method=method,
                path=scope["path"],
                route=route,
                status=status,
                code=code,
                address=shop.client.address,
            )
        if code is not None:
            self._requests.refused[code] += 1
        self._requests.add(method, route, status, took_s)
        if status < 500 and took_s < self._slow_s and not self._tells_all:
            return
        tell = log.warning if status >= 500 else log.info
        tell(
            "request",
            method=method,
            path=scope["path"],
            route=route,
            status=status,
            code=code,
            took_ms=round(took_s * 1000, 1),
        )


def _require_text(scope: HTTPScope) -> None:
    """Raises Invalid if the path or the query has NUL, or bytes that are not UTF-8."""
    path, query = scope["path"], scope["query_string"]
    if "\x00" in path or "\ufffd" in path or any("\ud800" <= c <= "\udfff" for c in path):
        raise Invalid("the path must be text in UTF-8 without NUL")
    if b"%" in query:
        raw = unquote_to_bytes(query)
        try:
            raw.decode()
        except UnicodeDecodeError:
            raw = b"\x00"
        if b"\x00" in raw:
            raise Invalid("the query must be text in UTF-8 without NUL")
