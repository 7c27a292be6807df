"""read-hot, list-hot, not-modified: responses from memory.

The ceiling is the same HTTP server on the same processor with a three-line program that returns a
constant of the same size. CPU time per request is compared, not wall-clock time, so that other load
on the machine does not matter.
"""

import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any

from rcommerce.bench import report
from rcommerce.bench.load import LoadError, get
from rcommerce.bench.report import Result
from rcommerce.bench.setup import Bench, python
from rcommerce.bench.usage import Meter
from rcommerce.errors import StartError
from rcommerce.lab.process import START_TIMEOUT_S, family
from rcommerce.ports import free_port

CONNECTIONS = 32
SECONDS = 3.0
ROUNDS = 7
SLICE_S, SLICES = 1.0, 21  # compared by CPU time
PRODUCTS = 200
STATUS, SIZE = "RCOMMERCE_BENCH_STATUS", "RCOMMERCE_BENCH_SIZE"
BARS = {"read-hot": 0.8, "list-hot": 0.7, "not-modified": 0.8}


def read_hot(bench: Bench) -> Result:
    """A product that is in memory."""
    product = bench.query("select id from product order by id limit 1")[0][0]
    return _run(bench, "read-hot", f"/api/v1/products/{product}")


def list_hot(bench: Bench) -> Result:
    """A page of 20 that is in memory."""
    return _run(bench, "list-hot", "/api/v1/products?per_page=20")


def not_modified(bench: Bench) -> Result:
    """A product that the client has already."""
    product = bench.query("select id from product order by id limit 1")[0][0]
    return _run(bench, "not-modified", f"/api/v1/products/{product}", conditional=True)


def _run(bench: Bench, name: str, path: str, *, conditional: bool = False) -> Result:
    with bench.server() as server:
        request, status = get(path), 200
        size, etag = asked(server.port, request)
        if conditional:
            request, status, size = get(path, f"If-None-Match: {etag}\r\n"), 304, 0
        with constant_server(bench, status, size) as (port, pid):
            values, ceilings = in_turn(
                bench,
                lambda: efficiency(server.workers, server.port, [request], status),
                lambda: efficiency(lambda: family(pid)[1:], port, [get("/")], status),
                SLICES,
            )
    details = {
        "ceiling_is": "the same HTTP server with a constant of the same size",
        "connections": CONNECTIONS,
        "body_bytes": size,
    }
    unit = "requests/s of a processor"
    return report.against(name, unit, BARS[name], values, ceilings, details)


def efficiency(
    workers: Callable[[], list[int]], port: int, requests: Sequence[bytes], status: int
) -> float:
    """Requests per CPU second of a server's workers."""
    meter = Meter(workers())
    done = load(port, requests, status, SLICE_S) * SLICE_S
    return done / meter.used_s()


def in_turn(
    bench: Bench,
    value: Callable[[], float],
    ceiling: Callable[[], float],
    rounds: int = ROUNDS,
) -> tuple[list[float], list[float]]:
    """Measures both sides in turn, after a round to warm up."""
    values, ceilings = [], []
    for number in range(rounds + 1):
        bench.tell(f"round {number} of {rounds}" if number else "warming up")
        values.append(value())
        ceilings.append(ceiling())
    return values[1:], ceilings[1:]


def asked(port: int, request: bytes, status: str = "rcommerce; hit") -> tuple[int, str]:
    """Size and entity tag of a response, once it comes from memory, or has another Cache-Status.
    Raises LoadError."""
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request)
            head, _, body = connection.recv(1_000_000).partition(b"\r\n\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
        if fields.get("cache-status") == status:
            return int(fields["content-length"]), fields["etag"]
        time.sleep(0.1)
    raise LoadError(f"not answered as “{status}”: {head!r} {body[:300]!r}")


def load(
    port: int,
    requests: Sequence[bytes],
    status: int,
    seconds: float,
    connections: int = CONNECTIONS,
) -> float:
    """Requests a second of a closed loop over plain sockets: asyncio would take longer than the
    server. Raises LoadError for any other status."""
    poll, turn = select.epoll(), cycle(requests)
    sockets: dict[int, socket.socket] = {}
    for _ in range(connections):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[connection.fileno()] = connection
        poll.register(connection, select.EPOLLIN)
        connection.send(next(turn))
    begin = f"HTTP/1.1 {status} ".encode()
    pending = dict.fromkeys(sockets, b"")
    done, begun = 0, time.perf_counter()
    stop = begun + seconds
    while time.perf_counter() < stop:
        for number, _ in poll.poll(1.0):
            connection = sockets[number]
            answer = pending[number] + connection.recv(262_144)
            if not _is_whole(answer):
                pending[number] = answer
                continue
            if not answer.startswith(begin):
                raise LoadError(f"{answer[:300]!r}")
            pending[number] = b""
            done += 1
            connection.send(next(turn))
    took_s = time.perf_counter() - begun
    poll.close()
    for connection in sockets.values():
        connection.close()
    return done / took_s


def _is_whole(answer: bytes) -> bool:
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return not answer
    at = answer.find(b"content-length: ", 0, end)
    size = int(answer[at + 16 : answer.find(b"\r\n", at)]) if at >= 0 else 0
    return len(answer) >= end + 4 + size


@contextmanager
def constant_server(bench: Bench, status: int, size: int) -> Iterator[tuple[int, int]]:
    """The same HTTP server with a constant: its port, and its process."""
    port = free_port()
    cpus = bench.measured_cpus
    process = subprocess.Popen(  # noqa: S603
        [*python("rcommerce.bench.hot"), str(port)],
        env={**os.environ, STATUS: str(status), SIZE: str(size)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )
    try:
        _await(process, port)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def _await(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _is_open(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise StartError("the server with a constant did not start")
        time.sleep(0.05)


def _is_open(port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Constant:
    """ASGI."""

    def __init__(self, status: int, size: int) -> None:
        self._status = status
        self._body = b"x" * size
        self._headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(size).encode()),
        ]

    async def __call__(self, scope: Mapping[str, Any], receive: object, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return
        await send(
            {"type": "http.response.start", "status": self._status, "headers": self._headers}
        )
        await send({"type": "http.response.body", "body": self._body, "more_body": False})


def constant() -> Constant:
    """What the worker serves."""
    return Constant(int(os.environ[STATUS]), int(os.environ[SIZE]))


if __name__ == "__main__":
    from granian import Granian
    from granian.constants import Interfaces, Loops

    Granian(
        "rcommerce.bench.hot:constant",
        factory=True,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        port=int(sys.argv[1]),
        workers=1,
        websockets=False,
    ).serve()
