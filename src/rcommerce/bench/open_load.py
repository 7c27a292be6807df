"""An open-loop HTTP load: requests leave when they are due, whether others have been answered or
not, as those of many buyers do. Latencies count from when a request was due (no coordinated
omission, after Gil Tene).

It shares the processors with what it measures, so it looks at its sockets once a tick rather than
when something comes: an event loop woken for each answer took four times as much of a processor.
"""

import random
import select
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

MOST_CONNECTIONS = 2000
AT_FIRST = 100
TICK_S = 0.002  # how exact a latency is
CHUNK = 256 * 1024
SETTLE_S = 1.0  # for what is under way at the end
LATE_S = 1.0  # so late for want of a connection, it is not sent


@dataclass(slots=True)
class OpenLoad:
    """What came back: the latencies of what was accepted in seconds, answers by status and by kind,
    and how many requests could not be sent in time."""

    seconds: float = 0.0
    accepted_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    unsent: int = 0

    @property
    def goodput(self) -> float:
        """Accepted requests a second."""
        return len(self.accepted_s) / self.seconds


class _Connection:
    """One keep-alive connection, with at most one request under way."""

    __slots__ = ("_buffer", "due", "kind", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setblocking(False)
        self._buffer = b""
        self.due = 0.0
        self.kind = ""

    def send(self, kind: str, request: bytes, due: float) -> None:
        """Sends one that was due at a moment of the monotonic clock."""
        self.kind, self.due = kind, due
        self.socket.send(request)

    def status(self) -> int | None:
        """Of the answer, once all of it is here; 0 where the server has hung up."""
        try:
            data = self.socket.recv(CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            return 0
        if not data:
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
        self._buffer = b""
        return int(head[9:12])


class _Connections:
    """Those of a load: opened as they are needed, read without waiting."""

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
        """One that has nothing under way; None where that would be one too many."""
        if self._idle:
            return self._idle.pop()
        return self._open() if len(self._all) < MOST_CONNECTIONS else None

    def read(self) -> None:
        """Takes what has come."""
        for number, _ in self._poll.poll(0, MOST_CONNECTIONS):
            connection = self._all[number]
            status = connection.status()
            if status is None:
                continue
            if status:
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
        if connection.due < self._count_from:
            return
        self._load.statuses[status] += 1
        if 0 < status < 400:
            self._load.accepted_s.append(time.monotonic() - connection.due)
            self._load.accepted[connection.kind] += 1
        else:
            self._load.refused[connection.kind] += 1

    def close(self) -> None:
        """Hangs up."""
        for number in list(self._all):
            self._drop(number)
        self._poll.close()


def run(
    port: int,
    per_second: float,
    seconds: float,
    warm_s: float,
    pick: Callable[[], tuple[str, bytes]],
) -> OpenLoad:
    """Sends so many requests a second, at random moments (a Poisson process). `pick` gives the kind
    and the bytes of the next; what was due in the first `warm_s` is not counted."""
    load = OpenLoad(seconds - warm_s)
    begun = time.monotonic()
    connections = _Connections(port, begun + warm_s, load)
    due, stop = begun, begun + seconds
    while (moment := time.monotonic()) < stop:
        connections.read()
        while due <= moment:
            connection = connections.free()
            if connection is not None:
                connection.send(*pick(), due)
            elif moment - due < LATE_S:
                break  # it is late, and says so once it is sent
            else:
                load.unsent += 1
            due += random.expovariate(per_second)
        time.sleep(TICK_S)
    while time.monotonic() < stop + SETTLE_S:
        connections.read()
        time.sleep(TICK_S)
    connections.close()
    return load
