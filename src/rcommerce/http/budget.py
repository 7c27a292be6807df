"""A request's time budget, and its cancellation if the client disconnects: its work in progress (a
statement, a call to Redis, the media store, a gateway) is cancelled with it."""

import asyncio
import re
from typing import Any

from litestar.types import HTTPScope, Message, Receive, Send

from rcommerce.errors import Invalid
from rcommerce.http.idempotency import STEPS

HEADER = b"x-request-timeout"
# seconds; a client is watched from then on: most responses are faster
WATCH_AFTER_S = 0.25
_SECONDS = re.compile(rb"[0-9]{1,6}(\.[0-9]{1,3})?")
_OF_A_BODY = frozenset({b"content-length", b"transfer-encoding"})


def seconds(given: bytes | None, most_s: float) -> float:
    """A request's time: from its header, at most what the settings allow. Raises Invalid."""
    if given is None:
        return most_s
    if not _SECONDS.fullmatch(given) or float(given) == 0:
        raise Invalid.field("X-Request-Timeout", "must be seconds, such as 2 or 0.5")
    return min(most_s, float(given))


class Budget:
    """The budget of one request: `async with` it around the work, with its `receive` and `send`.

    Without a client (a fill for many) nobody is watched.

    Raises TimeoutError if the time is over before the response has begun. `is_gone`: the client has
    disconnected; `is_reading`: it was waiting for the request's body. Several steps that move money
    are not cancelled by a disconnect.
    """

    __slots__ = (
        "_ends_at",
        "_first_s",
        "_has_client",
        "_is_whole",
        "_loop",
        "_receive",
        "_scope",
        "_send",
        "_timeout",
        "_timer",
        "_watching",
        "is_gone",
        "is_reading",
    )  # fmt: skip

    def __init__(
        self, scope: HTTPScope, receive: Receive, send: Send, time_s: float, *, has_client: bool
    ) -> None:
        self.is_gone = False
        self._scope = scope
        self._receive = receive
        self._send = send
        self.is_reading = self._is_whole = False
        self._has_client = has_client
        self._timer: asyncio.TimerHandle | None = None
        self._watching: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._ends_at = self._loop.time() + time_s
        # Most requests are done before either matters: one timer serves both.
        self._timeout = asyncio.timeout(None)
        self._first_s = min(WATCH_AFTER_S, time_s)

    async def __aenter__(self) -> "Budget":
        await self._timeout.__aenter__()
        self._timer = self._loop.call_later(self._first_s, self._begin)
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._stop()
        if self._watching is not None:
            self._watching.cancel()
        await self._timeout.__aexit__(*error)

    async def receive(self) -> Any:
        """ASGI's receive."""
        if self._watching is not None:
            await asyncio.wait([self._watching])
            return {"type": "http.disconnect"}
        self.is_reading = True
        message = await self._receive()
        self.is_reading = False
        self._is_whole = not message.get("more_body")
        return message

    async def send(self, message: Message) -> None:
        """ASGI's send. Once the response has begun, it may take any time."""
        if message["type"] == "http.response.start":
            self._timeout.reschedule(None)
            self._stop()
        await self._send(message)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self) -> None:
        self._timeout.reschedule(self._ends_at)
        if self._has_client:
            self._watch()

    def _watch(self) -> None:
        # A body that is not yet read is left alone: its reader notices the disconnect.
        if not (
            self._is_whole or _OF_A_BODY.isdisjoint(name for name, _ in self._scope["headers"])
        ):
            self._timer = self._loop.call_later(WATCH_AFTER_S, self._watch)
        else:
            self._watching = self._loop.create_task(self._await_end())

    async def _await_end(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        handler = self._scope.get("route_handler")
        if handler is None or handler.opt.get("idempotency") != STEPS:
            self.is_gone = True
            self._timeout.reschedule(self._loop.time())
