"""connections: 15,000 idle clients with open connections, while others send requests."""

import errno
import select
import socket
import time
from collections.abc import Callable
from typing import Any, Self

from rcommerce.bench import latency, open_load
from rcommerce.bench.load import get
from rcommerce.bench.open_load import Request
from rcommerce.bench.report import Result
from rcommerce.bench.setup import UNLIMITED, Bench
from rcommerce.bench.usage import resident_mb
from rcommerce.errors import StartError
from rcommerce.lab.limits import room_for

IDLE = 15_000
RATE = 500
SECONDS, WARM_S = 12.0, 2.0
PRODUCTS = 1_000
BAR = 1.25  # the p99 with the idle ones, against that without
AT_ONCE = 500
OPEN_TIMEOUT_S = 120.0


class Idle:
    """So many keep-alive connections, each of which has had a response. Use it as a context
    manager."""

    def __init__(self, port: int, count: int, request: bytes) -> None:
        self._port, self._count, self._request = port, count, request
        self._open: dict[int, socket.socket] = {}

    def __enter__(self) -> Self:
        poll = select.epoll()
        answered, deadline = 0, time.monotonic() + OPEN_TIMEOUT_S
        while answered < self._count:
            for _ in range(min(AT_ONCE, self._count - len(self._open))):
                made = socket.socket()
                made.setblocking(False)
                if made.connect_ex(("127.0.0.1", self._port)) not in (0, errno.EINPROGRESS):
                    made.close()
                    break
                self._open[made.fileno()] = made
                poll.register(made, select.EPOLLOUT)
            for number, what in poll.poll(0.1, AT_ONCE):
                connection = self._open[number]
                if what & select.EPOLLOUT:
                    connection.send(self._request)
                    poll.modify(connection, select.EPOLLIN)
                elif connection.recv(65536):
                    answered += 1
                    poll.modify(connection, 0)
            if time.monotonic() > deadline:
                raise StartError(f"only {answered:,} of {self._count:,} connections were answered")
        poll.close()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._open.values():
            each.close()

    def alive(self) -> int:
        """How many are still open."""
        found = 0
        for each in self._open.values():
            try:
                found += bool(each.recv(1))
            except BlockingIOError:
                found += 1
            except OSError:
                continue
        return found


def run(bench: Bench) -> Result:
    """Without and with them, in turn: raises StartError if too few files may be open."""
    if not room_for(IDLE):
        raise StartError(f"connections needs {IDLE + 500:,} open files: ulimit -n")
    ids = [str(row[0]) for row in bench.query("select id from product limit 200")]
    requests = [Request("hit", get(f"/api/v1/products/{each}")) for each in ids]
    turn = iter(range(10**9))

    def pick() -> Request:
        return requests[next(turn) % len(requests)]

    rows: list[dict[str, Any]] = []
    curves: dict[str, list[tuple[float, float]]] = {}
    patient = {"RCOMMERCE_SERVER__LIMITS__HEADER_TIMEOUT_SECS": "300"}
    with bench.server({**UNLIMITED, **patient}) as server:

        def measured(idle: int, alive: Callable[[], int] = lambda: 0) -> float:
            load = open_load.run(server.port, RATE, SECONDS, WARM_S, pick)
            found = latency.histogram(load.accepted_s)
            failed = sum(not each.is_accepted for each in load.samples) + load.unsent
            rows.append(
                {
                    "idle": idle,
                    "still_open": alive(),
                    "answered/s": round(load.goodput),
                    "failed": failed,
                    **latency.percentiles_ms(found),
                    "server_mb": round(resident_mb(server.workers()[0])),
                }
            )
            curves[f"{idle:,} idle"] = latency.curve(found)
            return latency.at(found, 99)

        bench.tell("warming up")
        open_load.run(server.port, RATE, 4.0, 0.0, pick)
        bench.tell("without")
        before_ms = measured(0)
        bench.tell(f"{IDLE:,} connections are opened")
        with Idle(server.port, IDLE, requests[0].raw) as idle:
            bench.tell("with them")
            with_ms = measured(IDLE, idle.alive)
    ratio = with_ms / before_ms
    held = rows[1]["still_open"] == IDLE and not rows[1]["failed"]
    return Result(
        name="connections",
        value=with_ms,
        unit=f"ms p99 at {RATE} requests/s, beside {IDLE:,} idle connections",
        ceiling=before_ms,
        ratio=round(ratio, 2),
        bar=BAR,
        ok=held and ratio <= BAR,
        details={"ceiling_is": "the p99 without them", "at_most": True, "curves": curves},
        rows=rows,
    )
