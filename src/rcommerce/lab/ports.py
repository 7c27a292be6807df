"""Ports of the loopback address."""

import contextlib
import socket


def free_port(wanted: int = 0) -> int:
    """A TCP port on the loopback address that nobody listens on now: the wanted one, if it is
    free."""
    with contextlib.suppress(OSError):
        return _bound(wanted)
    return _bound(0)


def _bound(port: int) -> int:
    with socket.socket() as probe:
        if port:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        probe.bind(("127.0.0.1", port))
        return int(probe.getsockname()[1])
