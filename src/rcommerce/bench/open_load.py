"""An open-loop HTTP load: requests are sent when they are due, whether or not others were answered,
as those of many buyers are. Latencies count from when a request was due (no coordinated omission,
after Gil Tene).

It shares processors with what it measures, so it polls its sockets once per tick: an event loop
that wakes for each response took four times as much CPU.
"""

import contextlib
import gc
import random
import re
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

MOST_CONNECTIONS = 2000
AT_FIRST = 100
TICK_S = 0.002  # resolution of latencies
CHUNK = 256 * 1024
SETTLE_S = 10.0  # seconds to wait for responses at the end
CODE = re.compile(rb'"code": ?"([a-z_]+)"')  # the code of a problem
IDLE_S = 5.0  # a server may hang up on a connection without a request: nginx here after 10 s
LATE_S = 1.0  # seconds late without a free connection: not sent


class Sample(NamedTuple):
    """A request: when it was due (monotonic seconds), how long the response took, its status (0 if
    the connection broke), its kind, and the code of its problem."""

    due: float
    took_s: float
    status: int
    kind: str
    code: str = ""

    @property
    def is_accepted(self) -> bool:
        """Whether it was answered with what it asked for."""
        return 0 < self.status < 400


class Request(NamedTuple):
    """A request to send: its kind, its bytes, and a function for the body of a successful
    response."""

    kind: str
    raw: bytes
    then: Callable[[bytes], None] | None = None


@dataclass(slots=True)
class OpenLoad:
    """The responses of so many seconds, how many requests could not be sent in time, and the CPU
    use of the load itself."""

    seconds: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    unsent: int = 0
    cpu: float = 0.0

    @property
    def accepted_s(self) -> list[float]:
        """The latencies of successful requests."""
        return [each.took_s for each in self.samples if each.is_accepted]

    def accepted_of(self, kind: str) -> list[float]:
        """Those of one kind."""
        return [each.took_s for each in self.samples if each.is_accepted and each.kind == kind]

    @property
    def goodput(self) -> float:
        """Accepted requests a second."""
        return len(self.accepted_s) / self.seconds

    def by_kind(self, *, is_accepted: bool) -> dict[str, int]:
        """How many were accepted, or were not."""
        kinds = Counter(each.kind for each in self.samples if each.is_accepted is is_accepted)
        return dict(sorted(kinds.items()))

    def by_status(self) -> dict[str, int]:
        """How many there were of each status."""
        return {str(key): count for key, count in Counter(e.status for e in self.samples).items()}


class _Connection:
    """A keep-alive connection, with at most one request in progress."""

    __slots__ = ("_buffer", "_then", "code", "due", "idle_since", "kind", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setblocking(False)
        self._buffer = b""
        self.due = 0.0
        self.idle_since = time.monotonic()
        self.kind = self.code = ""
        self._then: Callable[[bytes], None] | None = None

    def send(self, request: Request, due: float) -> None:
        """Sends one that was due at a moment of the monotonic clock."""
        self.kind, self.due, self.code, self._then = request.kind, due, "", request.then
        self.socket.send(request.raw)

    def status(self) -> int | None:
        """The status of the response once it is complete; 0 if the server has hung up."""
        try:
            data = self.socket.recv(CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:  # distinguishes a truncated response from none
            self.code = f"cut off after {len(self._buffer)} bytes" if self._buffer else "hung up"
            return 0
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = self._buffer[:end].lower()
        at = head.find(b"content-length: ")
        length = int(head[at + 16 :].split(b"\r", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < end + 4 + length:
            return None
        status = int(head[9:12])
        if status >= 400 and (found := CODE.search(self._buffer, end)):
            self.code = found[1].decode()
        elif self._then is not None and status < 400:
            self._then(self._buffer[end + 4 :])
        self._buffer = b""
        return status


class _Connections:
    """The connections of a load: opened on demand, read without blocking."""

    def __init__(self, port: int, count_from: float, load: OpenLoad) -> None:
        self._port = port
        self._count_from = count_from
        self._load = load
        self._poll = select.epoll()
        self._all: dict[int, _Connection] = {}
        self._idle = [self._open() for _ in range(AT_FIRST)]

    def _open(self) -> _Connection:
        connection = _Connection(self._port)
        self._all[connection.socket.fileno()] = connection
        self._poll.register(connection.socket, select.EPOLLIN)
        return connection

    def free(self) -> _Connection | None:
        """An idle one; None if that would be one too many, or nobody listens."""
        while self._idle:
            connection = self._idle.pop()
            # What is sent while the server hangs up is lost (RFC 9112, 9.5), and no fault of it.
            if time.monotonic() - connection.idle_since < IDLE_S:
                return connection
            self._drop(connection.socket.fileno())
        if len(self._all) >= MOST_CONNECTIONS:
            return None
        with contextlib.suppress(OSError):
            return self._open()
        return None

    @property
    def are_busy(self) -> bool:
        """Whether a response is pending."""
        return len(self._idle) < len(self._all)

    def read(self) -> None:
        """Takes what has come."""
        for number, _ in self._poll.poll(0, MOST_CONNECTIONS):
            connection = self._all[number]
            status = connection.status()
            if status is None:
                continue
            if status:
                connection.idle_since = time.monotonic()
                self._idle.append(connection)
            else:
                self._drop(number)
                if connection in self._idle:  # nothing was under way
                    self._idle.remove(connection)
                    continue
            self._count(connection, status)

    def _drop(self, number: int) -> None:
        self._poll.unregister(number)
        self._all.pop(number).socket.close()

    def _count(self, connection: _Connection, status: int) -> None:
        if connection.due >= self._count_from:
            took_s = time.monotonic() - connection.due
            self._load.samples.append(
                Sample(connection.due, took_s, status, connection.kind, connection.code)
            )

    def close(self) -> None:
        """Closes everything: pending requests count as failed."""
        idle = set(map(id, self._idle))
        for connection in self._all.values():
            if id(connection) not in idle:
                self._count(connection, 0)
        for number in list(self._all):
            self._drop(number)
        self._poll.close()


def run(
    port: int,
    per_second: float,
    seconds: float,
    warm_s: float,
    pick: Callable[[], Request],
    is_over: Callable[[], bool] = lambda: False,
) -> OpenLoad:
    """Sends so many requests a second, at random moments (a Poisson process), for so many seconds
    or until it `is_over`. `pick` gives the next; what was due in the first `warm_s` is not
    counted."""
    with _uninterrupted():
        return _run(port, per_second, seconds, warm_s, pick, is_over)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Garbage collection of everything that the load remembers takes as long as a slow response."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _run(
    port: int,
    per_second: float,
    seconds: float,
    warm_s: float,
    pick: Callable[[], Request],
    is_over: Callable[[], bool],
) -> OpenLoad:
    load, used_s = OpenLoad(seconds - warm_s), time.process_time()
    begun = time.monotonic()
    connections = _Connections(port, begun + warm_s, load)
    due, stop = begun, begun + seconds
    while (moment := time.monotonic()) < stop and not is_over():
        connections.read()
        while due <= moment:
            connection = connections.free()
            if connection is not None:
                connection.send(pick(), due)
            elif moment - due < LATE_S:
                break  # it is late, which its latency will show
            else:
                load.unsent += 1
            due += random.expovariate(per_second)
        time.sleep(TICK_S)
    settled = time.monotonic() + SETTLE_S
    while connections.are_busy and time.monotonic() < settled:
        connections.read()
        time.sleep(TICK_S)
    load.cpu = (time.process_time() - used_s) / (time.monotonic() - begun)
    connections.close()
    return load
