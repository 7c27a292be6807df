"""A connection pool for one server.

A task that finds no free connection waits in a queue with a deadline and a maximum length; when the
server is found to be down, every task in the queue fails at once. (psycopg_pool can do neither: its
queue has only a timeout.)
"""

import asyncio
import contextlib
import os
import random
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from rcommerce.database.connection import Raw
from rcommerce.errors import Unavailable

WAITING_EACH = 50  # waiting tasks per connection; beyond that, refused at once
# seconds; so that load reaches a server that was added behind a load balancer
LONGEST_LIFE_S = 3600.0
BUSY = "database_busy"


class Pool:
    """`connect` opens a connection; `size` is the maximum."""

    def __init__(self, connect: Callable[[], Awaitable[Raw]], size: int, timeout_s: float) -> None:
        self.size = size
        self.waits = 0  # how many tasks have waited, how long in total, and how many in vain
        self.waited_s = 0.0
        self.shed = 0
        self._connect = connect
        self._timeout_s = timeout_s
        self._idle: list[Raw] = []
        self._until: dict[Raw, float] = {}  # every open connection, and when it is replaced
        self._lent: dict[Raw, None] = {}
        self._opening = 0
        self._connecting: set[asyncio.Future[Raw]] = set()
        self._waiting: deque[asyncio.Future[Raw | None]] = deque()
        self._is_closed = False

    @property
    def in_use(self) -> int:
        """Connections in use."""
        return len(self._lent)

    @property
    def open(self) -> int:
        """Connections that are open."""
        return len(self._until) + self._opening

    @property
    def waiting(self) -> int:
        """Waiting tasks."""
        return len(self._waiting)

    async def take(self) -> Raw:
        """A connection; return it with `give`.

        Raises Unavailable if none is free in time, psycopg.OperationalError if the server refuses.
        """
        if self._idle:
            raw = self._idle.pop()
        elif self.open < self.size:
            raw = await self._opened()
        else:
            raw = await self._wait()
        self._lent[raw] = None
        return raw

    def give(self, raw: Raw) -> None:
        """Takes a connection back; a broken or old one, or one inside a transaction, is closed."""
        if raw not in self._lent:
            return
        del self._lent[raw]
        if (
            raw.pgconn.transaction_status != TransactionStatus.IDLE
            or self._is_closed
            or time.monotonic() > self._until.get(raw, 0.0)
        ):
            self._let_go(raw)
        elif not self._hand_on(raw):
            self._idle.append(raw)

    def fail(self, error: Unavailable) -> None:
        """The server is down: waiting tasks get `error`, pending connects fail, and idle
        connections are closed."""
        while self._connecting:
            self._connecting.pop().cancel()
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(error)
        self.renew()

    def renew(self) -> None:
        """Closes the idle connections, and each one in use when it comes back."""
        for raw in self._idle:
            self._let_go(raw)
        self._idle.clear()
        for raw in self._lent:
            self._until[raw] = 0.0

    def hang_up(self) -> None:
        """Shuts the sockets of all connections in use, which a hanging server would keep for ever.
        Their tasks get an OperationalError."""
        for raw in self._lent:
            hang_up(raw)

    def close(self) -> None:
        """Closes the idle connections now, and the others as they come back."""
        self._is_closed = True
        self.fail(Unavailable("the server is shutting down", code="stopping"))

    async def _opened(self) -> Raw:
        self._opening += 1
        return await self._open_reserved()

    async def _open_reserved(self) -> Raw:
        """Opens a connection that is counted already."""
        try:
            raw = await self._connected()
        except BaseException:
            self._opening -= 1
            self._hand_on(None)
            raise
        self._opening -= 1
        life_s = LONGEST_LIFE_S * random.uniform(0.8, 1.0)  # noqa: S311 - not all at the same time
        self._until[raw] = time.monotonic() + life_s
        return raw

    async def _connected(self) -> Raw:
        """A new connection. Raises psycopg.OperationalError, also if `fail` is called meanwhile: a
        hanging server would be waited for."""
        connecting = asyncio.ensure_future(self._connect())
        self._connecting.add(connecting)
        try:
            return await connecting
        except asyncio.CancelledError as error:
            if connecting.done() and not (connecting.cancelled() or connecting.exception()):
                connecting.result().pgconn.finish()  # opened at the same moment
            task = asyncio.current_task()
            if connecting in self._connecting or task is None or task.cancelling():
                raise
            raise psycopg.OperationalError("the server went down meanwhile") from error
        finally:
            self._connecting.discard(connecting)

    async def _wait(self) -> Raw:
        if len(self._waiting) >= self.size * WAITING_EACH:
            self.shed += 1
            raise Unavailable("the queue for database connections is full", code=BUSY)
        future: asyncio.Future[Raw | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                raw = await future
        except TimeoutError as error:
            self.shed += 1
            self._hand_back(future)
            raise Unavailable("no database connection became free in time", code=BUSY) from error
        except BaseException:
            self._hand_back(future)
            raise
        finally:
            self.waits += 1
            self.waited_s += time.monotonic() - begun
        return await self._open_reserved() if raw is None else raw

    def _hand_back(self, future: asyncio.Future[Raw | None]) -> None:
        """The waiting task has given up: a connection that came at the same moment goes to the next
        one."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(future)
        if future.cancelled() or future.cancel() or future.exception() is not None:
            return
        raw = future.result()
        if raw is not None:
            self.give(raw)
        else:
            self._opening -= 1
            self._hand_on(None)

    def _hand_on(self, raw: Raw | None) -> bool:
        """Gives a connection, or permission to open one, to the first waiting task."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                if raw is None:
                    self._opening += 1
                else:
                    self._lent[raw] = None  # already given: its new holder may be cancelled by now
                future.set_result(raw)
                return True
        return False

    def _let_go(self, raw: Raw) -> None:
        self._until.pop(raw, None)
        raw.pgconn.finish()
        self._hand_on(None)


def hang_up(raw: Raw | psycopg.Connection[Any]) -> None:
    """Shuts a connection's socket, so that nobody waits for its answer any more."""
    with contextlib.suppress(OSError, psycopg.Error):
        duplicate = socket.socket(fileno=os.dup(raw.fileno()))
        with duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)
