"""The outermost layer: a raw ASGI wrapper that every request passes, so it does little."""

import re
from typing import Any, TypeGuard
from urllib.parse import unquote_to_bytes

import structlog
from litestar.enums import HttpMethod
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from rcommerce import ids
from rcommerce.errors import Invalid
from rcommerce.http import problems
from rcommerce.http.consistency import SOURCES
from rcommerce.http.drain import Drain
from rcommerce.settings.schema import Logging
from rcommerce.telemetry.requests import UNMATCHED, Requests, now

HEAD = "rcommerce.is_head"  # in the scope of a HEAD, for whom its answer is much work
GONE = 499  # what nginx logs for a client that did not wait
log = structlog.get_logger()
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{8,128}")


def is_http(scope: Any) -> TypeGuard[HTTPScope]:
    """Whether this is a request, not a lifespan or a websocket."""
    return bool(scope["type"] == "http")


def request_id(given: bytes | None) -> bytes:
    """The name of a request: as it came, where that is sane, else a new one."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return ids.new_name()


class Entry:
    """Names the request, counts it, turns away an address that is not text, and answers HEAD like
    GET.

    A request keeps the X-Request-ID that it came with, where that is sane; every line of the log
    that is written for it has it.
    """

    __slots__ = ("_drain", "_requests", "_slow_s", "_tells_all", "app")

    def __init__(self, app: ASGIApp, drain: Drain, requests: Requests, logging: Logging) -> None:
        self.app = app
        self._drain = drain
        self._requests = requests
        self._slow_s = logging.slow_request_ms / 1000
        self._tells_all = logging.requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if not is_http(scope):
            await self.app(scope, receive, send)
            return
        begun, method = now(), scope["method"]
        is_head = method == "HEAD"
        if is_head:  # a GET whose body nobody wants (RFC 9110 section 9.3.2)
            scope = {**scope, "method": HttpMethod.GET, HEAD: True}  # type: ignore[assignment]
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
        its_id = request_id(given)
        bind_contextvars(request_id=its_id.decode())
        status = GONE

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], (b"x-request-id", its_id), *self._drain.headers]
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append(
                        (b"cache-control", b"no-store")
                    )  # unless it is said to be public
                message["headers"] = headers
            elif is_head and message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        if SOURCES in scope:  # to be kept for all: those who wait for it are counted
            await self.app(scope, receive, named)
            return
        self._requests.in_flight += 1
        try:
            await self._answer(scope, receive, named)
        finally:
            self._requests.in_flight -= 1
            self._count(scope, method, status, now() - begun)

    async def _answer(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        fault = _address_fault(scope)
        if fault is None:
            await self.app(scope, receive, send)
            return
        refused = Invalid(f"the {fault} must be text in UTF-8 without NUL")
        problems.note(scope, refused.code)
        await problems.give(send, refused, "")

    def _count(self, scope: HTTPScope, method: str, status: int, took_s: float) -> None:
        route = scope.get("path_template") or UNMATCHED
        code = problems.noted(scope)
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


def _address_fault(scope: Any) -> str | None:
    """What is wrong with the path or the query, if anything: NUL, or bytes that are not UTF-8."""
    path, query = scope["path"], scope["query_string"]
    if "\x00" in path or "\ufffd" in path or any("\ud800" <= c <= "\udfff" for c in path):
        return "path"
    if b"%" in query:
        raw = unquote_to_bytes(query)
        if b"\x00" in raw:
            return "query"
        try:
            raw.decode()
        except UnicodeDecodeError:
            return "query"
    return None
