"""Free ports of the loopback address.

They are below the range that the kernel uses for outgoing connections (32768 and up on Linux),
which could take one between its choice and the start of its server. For the same reason, concurrent
processes choose from different ranges, one after another.
"""

import contextlib
import os
import random
import socket
from collections.abc import Iterator
from itertools import count

from rcommerce.errors import StartError

FIRST, STRETCHES, STRETCH = 20_000, 16, 750
_turns: dict[int, Iterator[int]] = {}  # per process: a fork uses another range


def free_port(wanted: int = 0) -> int:
    """A TCP port on the loopback address without a listener: the wanted one if it is free. Raises
    StartError if there is none."""
    with contextlib.suppress(OSError):
        return _bound(wanted) if wanted else _next()
    return _next()


def _next() -> int:
    pid = os.getpid()
    turns = _turns.setdefault(pid, count(random.randrange(STRETCH)))  # noqa: S311
    begins = FIRST + pid % STRETCHES * STRETCH
    for _ in range(STRETCH):
        with contextlib.suppress(OSError):
            return _bound(begins + next(turns) % STRETCH)
    raise StartError(f"no port from {begins} to {begins + STRETCH - 1} is free")


def _bound(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        probe.bind(("127.0.0.1", port))
        return port
