"""Clients that send their headers byte by byte (slowloris), in a process of their own: beside a
drill's load they would not be opened in time."""

import contextlib
import errno
import json
import select
import socket
import subprocess
import sys
import threading
import time
from typing import Self

from rcommerce.bench.setup import python

DRIP_EVERY_S = 2.0
OPENING_S = 0.02  # seconds between two batches: the server accepts them as they come
BEGIN = b"GET /api/v1/products HTTP/1.1\r\nHost: slow\r\nX-Drip: "


class SlowClients:
    """So many connections to a port; closed ones are opened again. Use it as a context manager."""

    def __init__(self, port: int, count: int) -> None:
        # Known at the end.
        self.opened = 0
        self.most = 0  # open at the same time
        self.ended = 0  # by the server
        self._command = python("rcommerce.drills.slow", str(port), str(count))

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603
            self._command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        self._process.stdout.readline()  # it begins
        return self

    def wait(self, seconds: float) -> None:
        """Waits until all have been opened and most hung up on, so long at most."""
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        if select.select([self._process.stdout], [], [], seconds)[0]:
            self._process.stdout.readline()

    def __exit__(self, *_: object) -> None:
        told, _nothing = self._process.communicate()  # closes its input, which ends it
        self.opened, self.most, self.ended = json.loads(told.splitlines()[-1])


class _Dripping:
    """What that process does, until `ending` is set."""

    def __init__(self, port: int, count: int, ending: threading.Event) -> None:
        self.opened = 0
        self.most = 0
        self.ended = 0
        self._port = port
        self._count = count
        self._open: dict[int, socket.socket] = {}
        self._ending = ending

    def run(self) -> None:
        """Opens, drips and reads."""
        poll = select.epoll()
        dripped = time.monotonic()
        is_told = False
        while not self._ending.is_set():
            self._connect(poll)
            if not is_told and self.opened >= self._count and self.ended > self._count / 2:
                is_told = True
                print(flush=True)  # noqa: T201 - the drill waits for it
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
            self.opened += 1
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


if __name__ == "__main__":
    over = threading.Event()
    dripping = _Dripping(int(sys.argv[1]), int(sys.argv[2]), over)
    thread = threading.Thread(target=dripping.run)
    thread.start()
    print(flush=True)  # noqa: T201 - the drill waits for it
    sys.stdin.read()
    over.set()
    thread.join()
    sys.stdout.write(json.dumps([dripping.opened, dripping.most, dripping.ended]))
