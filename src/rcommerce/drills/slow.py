"""Clients that send their headers byte by byte (slowloris)."""

import contextlib
import errno
import select
import socket
import threading
import time
from typing import Self

DRIP_EVERY_S = 2.0
OPENING_S = 0.005  # seconds between two batches: all must be open before the first is closed
BEGIN = b"GET /api/v1/products HTTP/1.1\r\nHost: slow\r\nX-Drip: "


class SlowClients:
    """So many connections to a port; closed ones are opened again. Use it as a context manager."""

    def __init__(self, port: int, count: int) -> None:
        self.most = 0  # open at the same time
        self.ended = 0  # by the server
        self._port = port
        self._count = count
        self._open: dict[int, socket.socket] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        for each in self._open.values():
            each.close()

    def _run(self) -> None:
        poll = select.epoll()
        dripped = time.monotonic()
        while not self._ending.is_set():
            self._connect(poll)
            self.most = max(self.most, len(self._open))
            is_full = len(self._open) == self._count
            for number, _ in poll.poll(0.05 if is_full else OPENING_S, self._count):
                self._read(poll, number)
            if time.monotonic() - dripped > DRIP_EVERY_S:
                dripped = time.monotonic()
                for each in list(self._open.values()):
                    with contextlib.suppress(OSError):
                        each.send(b"x")
        poll.close()

    def _connect(self, poll: select.epoll) -> None:
        for _ in range(min(250, self._count - len(self._open))):
            made = socket.socket()
            made.setblocking(False)
            if made.connect_ex(("127.0.0.1", self._port)) not in (0, errno.EINPROGRESS):
                made.close()
                return
            with contextlib.suppress(OSError):
                made.send(BEGIN)
            self._open[made.fileno()] = made
            poll.register(made, select.EPOLLIN)

    def _read(self, poll: select.epoll, number: int) -> None:
        connection = self._open[number]
        data = b""
        with contextlib.suppress(BlockingIOError, OSError):
            data = connection.recv(4096)
        if data and not data.startswith(b"HTTP/1.1 408"):
            return
        poll.unregister(number)
        self._open.pop(number).close()
        self.ended += 1
