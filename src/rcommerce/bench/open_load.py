"""An open-loop HTTP load: requests leave when they are due, whether others have been answered or
not, as those of many buyers do. Latencies count from when a request was due (no coordinated
omission, after Gil Tene)."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MOST_CONNECTIONS = 2000
TICK_S = 0.0005


@dataclass(slots=True)
class OpenLoad:
    """What came back: the latencies of what was accepted in seconds, answers by status, and how
    many requests could not be sent in time."""

    seconds: float = 0.0
    accepted_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    unsent: int = 0

    @property
    def goodput(self) -> float:
        """Accepted requests a second."""
        return len(self.accepted_s) / self.seconds


class _Client(asyncio.Protocol):
    """One keep-alive connection; a parser of a few lines, as a library's would be the load."""

    def __init__(self, idle: list["_Client"], done: Callable[[int, float, str], None]) -> None:
        self._idle = idle
        self._done = done
        self._transport: Any = None
        self._buffer = b""
        self._due = 0.0
        self._kind = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self, kind: str, request: bytes, due: float) -> None:
        """Sends one that was due at a moment of the monotonic clock."""
        self._kind, self._due = kind, due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._buffer.lower().find(b"content-length: ", 0, head)
        length = int(self._buffer[at + 16 : self._buffer.index(b"\r", at)]) if at >= 0 else 0
        if len(self._buffer) < head + 4 + length:
            return
        status = int(self._buffer[9:12])
        self._buffer = b""
        self._idle.append(self)
        self._done(status, time.monotonic() - self._due, self._kind)

    def connection_lost(self, error: Exception | None) -> None:
        if self in self._idle:
            self._idle.remove(self)

    def close(self) -> None:
        """Hangs up."""
        self._transport.close()


async def run(
    port: int,
    per_second: float,
    seconds: float,
    warm_s: float,
    pick: Callable[[], tuple[str, bytes]],
) -> OpenLoad:
    """Sends so many requests a second, at random moments (a Poisson process). `pick` gives the kind
    and the bytes of the next; what was due in the first `warm_s` is not counted."""
    load, loop = OpenLoad(seconds - warm_s), asyncio.get_running_loop()
    idle: list[_Client] = []
    every: list[_Client] = []
    begun = time.monotonic()
    count_from, stop = begun + warm_s, begun + seconds

    def done(status: int, took_s: float, kind: str) -> None:
        if time.monotonic() - took_s < count_from:
            return
        load.statuses[status] += 1
        if status < 400:
            load.accepted_s.append(took_s)
        else:
            load.refused[kind] += 1

    async def connect() -> None:
        _, client = await loop.create_connection(lambda: _Client(idle, done), "127.0.0.1", port)
        every.append(client)
        idle.append(client)

    await asyncio.gather(*(connect() for _ in range(100)))
    opening: set[asyncio.Task[None]] = set()
    due = begun
    while (moment := time.monotonic()) < stop:
        while due <= moment:
            if idle:
                idle.pop().send(*pick(), due)
            else:
                if len(every) + len(opening) < MOST_CONNECTIONS:
                    opening.add(loop.create_task(connect()))
                if moment - due < 1.0:
                    break  # it is late, and says so once it is sent
                load.unsent += 1
            due += random.expovariate(per_second)
        opening = {each for each in opening if not each.done()}
        await asyncio.sleep(TICK_S)
    await asyncio.sleep(1.0)
    for client in every:
        client.close()
    return load
