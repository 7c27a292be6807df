"""A closed-loop HTTP load: connections that each send the next request after the response.
Hand-written, since a library would take longer than the server's response."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rcommerce.errors import RCommerceError

MOST_BODY = 64 * 1024 * 1024


class LoadError(RCommerceError):
    """The response is not what the load expects."""


@dataclass(slots=True)
class Load:
    """What a load has measured: latencies in seconds, one for each request."""

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return len(self.latencies_s) / self.seconds if self.seconds else 0.0


class Connection:
    """One keep-alive connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connects to the loopback address."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=MOST_BODY))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Sends a request; its status and body."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        at = head.lower().find(b"content-length: ")
        if at < 0:
            raise LoadError(f"an answer without content-length: {head[:200]!r}")
        length = int(head[at + 16 : head.index(b"\r", at)])
        body = await self._reader.readexactly(length) if length else b""
        return int(head[9:12]), body

    def close(self) -> None:
        """Hangs up."""
        self._writer.close()


def get(path: str, headers: str = "") -> bytes:
    """A GET as it goes over the wire; `headers` are whole lines with their line ends."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n{headers}\r\n".encode()


def post(path: str, body: bytes, headers: str = "") -> bytes:
    """A POST of JSON as it goes over the wire."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode() + body


async def reads(
    port: int, connections: int, seconds: float, next_request: Callable[[], bytes]
) -> Load:
    """Sends GETs for so many seconds. Raises LoadError for any answer but 200."""
    load = Load()
    stop = time.perf_counter() + seconds

    async def client() -> None:
        connection = await Connection.open(port)
        try:
            while (begun := time.perf_counter()) < stop:
                status, body = await connection.ask(next_request())
                if status != 200:
                    raise LoadError(f"status {status}: {body[:300]!r}")
                load.latencies_s.append(time.perf_counter() - begun)
        finally:
            connection.close()

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as clients:
        for _ in range(connections):
            clients.create_task(client())
    load.seconds = time.perf_counter() - begun
    return load
