"""The outermost layer: a raw ASGI wrapper that every request passes, so it does little."""

import re
from typing import Any, TypeGuard
from urllib.parse import unquote_to_bytes

from litestar.enums import HttpMethod
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from rcommerce import ids
from rcommerce.errors import Invalid
from rcommerce.http import problems
from rcommerce.http.drain import Drain

HEAD = "rcommerce.is_head"  # in the scope of a HEAD, for whom its answer is much work
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
    """Names the request, turns away an address that is not text, and answers HEAD like GET.

    A request keeps the X-Request-ID that it came with, where that is sane.
    """

    __slots__ = ("_drain", "app")

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self.app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if not is_http(scope):
            await self.app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        if is_head:  # a GET whose body nobody wants (RFC 9110 section 9.3.2)
            scope = {**scope, "method": HttpMethod.GET, HEAD: True}  # type: ignore[assignment]
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
        its_id = request_id(given)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], (b"x-request-id", its_id), *self._drain.headers]
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append(
                        (b"cache-control", b"no-store")
                    )  # unless it is said to be public
                message["headers"] = headers
            elif is_head and message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        fault = _address_fault(scope)
        if fault is not None:
            refused = Invalid(f"the {fault} must be text in UTF-8 without NUL")
            await problems.give(named, refused, "")
            return
        await self.app(scope, receive, named)


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
